//! How encoded bytes get to their reserved place in a segment, and from there to stable storage.
//!
//! One implementation so far, by positional writes. The trait is what another way (a mapped segment) stands behind.

use std::fmt::Debug;
use std::sync::Arc;

/// One segment's bytes.
///
/// Concurrency: `write_at` is called by many threads at once, for ranges that do not overlap.
pub(crate) trait Backend: Send + Sync + Debug {
    /// Puts `bytes` at `offset`. They then survive the process.
    fn write_at(&self, bytes: &[u8], offset: u64) -> vfs::Result<()>;

    /// Makes everything written before the call durable. After an error, never again.
    fn sync(&self) -> vfs::Result<()>;
}

/// Positional writes into the file; no lock, no buffer.
#[derive(Debug)]
pub(crate) struct Positional(pub Arc<dyn vfs::File>);

impl Backend for Positional {
    fn write_at(&self, bytes: &[u8], offset: u64) -> vfs::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> vfs::Result<()> {
        self.0.sync_data()
    }
}
