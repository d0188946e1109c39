//! Positional writes into the file: no lock, one system call a record.

use std::cell::Cell;
use std::sync::Arc;

use base::record;

use super::{Backend, Content};
use crate::tail::Place;

/// The longest single write; a longer record is encoded and written in pieces of about this size, so that the buffer
/// that each thread keeps stays small.
const PIECE_BYTES: usize = 256 << 10;

thread_local! {
    /// Where this thread encodes. Taken out while in use, so that whatever runs inside a write finds an empty one.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Positional writes.
#[derive(Clone, Debug)]
pub(crate) struct Positional(pub Arc<dyn vfs::File>);

impl Backend for Positional {
    fn put(&self, place: &mut Place, content: &Content<'_>) -> vfs::Result<()> {
        let mut buffer = BUFFER.take();
        buffer.clear();
        let mut at = place.range().start;
        let Content { salt, vouched, parts, .. } = *content;
        let encoded = record::encode_with(at, salt, vouched, parts, |slice| {
            if buffer.len() + slice.len() > PIECE_BYTES {
                self.0.write_all_at(&buffer, at)?;
                at += buffer.len() as u64;
                buffer.clear();
            }
            buffer.extend_from_slice(slice);
            Ok(())
        });
        let written = encoded.and_then(|()| self.0.write_all_at(&buffer, at));
        BUFFER.set(buffer);
        written
    }
}
