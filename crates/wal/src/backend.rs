//! How a record gets to its reserved place in a segment's file.
//!
//! Two ways behind one trait: positional writes, and stores into a mapped window of the file. The bytes are the same,
//! and so is what they survive: both end in the system's page cache, which outlives the process. Whichever way a record
//! went, a sync of the file makes it durable.

use std::fmt::Debug;

use crate::tail::Place;

mod mapped;
mod positional;

pub(crate) use mapped::Mapped;
pub(crate) use positional::Positional;

/// From so many bytes on a record is written by a system call, from where its parts are: the call's cost is then a small
/// part, and the windows are left to small records. (Records of 64 KiB: 15,300 and 16,500 a second written, 13,300 and
/// 19,000 stored, in turn.)
pub(crate) const LARGE_BYTES: u64 = 16 << 10;

/// What is to be put to a place.
#[derive(Debug)]
pub(crate) struct Content<'a> {
    /// What salts the checksums.
    pub salt: u32,
    /// How many leading bytes of the segment are known to be durable.
    pub vouched: u32,
    /// The payload, in parts.
    pub parts: &'a [&'a [u8]],
    /// Its writer syncs it next.
    pub is_synced: bool,
}

impl Content<'_> {
    /// Whether it is written to a place of so many bytes, also where that is mapped.
    pub fn is_written(&self, bytes: u64) -> bool {
        self.is_synced || bytes >= LARGE_BYTES
    }
}

/// A way to the places of one segment.
///
/// Concurrency: `put` is called by many threads at once, each with a place of its own.
pub(crate) trait Backend: Send + Sync + Debug {
    /// Encodes the record and puts it to its place. On success it survives the process; on failure any part of it may
    /// stand there.
    fn put(&self, place: &mut Place, content: &Content<'_>) -> vfs::Result<()>;

    /// The bytes of memory that are mapped.
    fn mapped_bytes(&self) -> u64 {
        0
    }
}
