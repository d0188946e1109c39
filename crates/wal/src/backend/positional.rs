//! Positional writes into the file: no lock, one system call a record, or a few for one of megabytes.

use std::cell::Cell;
use std::io::IoSlice;
use std::sync::Arc;

use base::record::{self, HEADER_BYTES};

use super::{Backend, Content, LARGE_BYTES};
use crate::tail::Place;

/// So many chunks of a long record go into one write: half a megabyte.
const CHUNKS: usize = 16;

thread_local! {
    /// Where this thread gathers records that are not large. Taken out while in use, so that whatever runs inside a write
    /// finds an empty one. A thread that is ending, whose locals are being dropped, has none.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Positional writes.
#[derive(Clone, Debug)]
pub(crate) struct Positional(pub Arc<dyn vfs::File>);

impl Backend for Positional {
    fn put(&self, place: &mut Place, content: &Content<'_>) -> vfs::Result<()> {
        let range = place.range();
        if range.end - range.start < LARGE_BYTES {
            self.put_gathered(range.start, content)
        } else {
            self.put_in_parts(range.start, content)
        }
    }
}

impl Positional {
    /// Writes a record from a copy: for a short one that costs less than many parts do.
    fn put_gathered(&self, at: u64, content: &Content<'_>) -> vfs::Result<()> {
        let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
        buffer.clear();
        for chunk in record::chunks(at, content.salt, content.vouched, content.parts) {
            buffer.resize(buffer.len() + chunk.padding, 0);
            buffer.extend_from_slice(&chunk.header);
            chunk.body().for_each(|slice| buffer.extend_from_slice(slice));
        }
        let written = self.0.write_all_at(&buffer, at);
        let _none_in_a_thread_that_ends = BUFFER.try_with(|kept| kept.set(buffer));
        written
    }

    /// Writes a record from where its parts are.
    fn put_in_parts(&self, mut at: u64, content: &Content<'_>) -> vfs::Result<()> {
        const PADDING: [u8; HEADER_BYTES] = [0; HEADER_BYTES];
        let mut chunks = record::chunks(at, content.salt, content.vouched, content.parts);
        loop {
            let group: Vec<_> = chunks.by_ref().take(CHUNKS).collect();
            if group.is_empty() {
                return Ok(());
            }
            let mut slices = Vec::with_capacity(4 * group.len());
            for chunk in &group {
                if chunk.padding > 0 {
                    slices.push(IoSlice::new(&PADDING[..chunk.padding]));
                }
                slices.push(IoSlice::new(&chunk.header));
                slices.extend(chunk.body().map(IoSlice::new));
            }
            self.0.write_parts_at(&mut slices, at)?;
            at += group.iter().map(|chunk| chunk.encoded_len() as u64).sum::<u64>();
        }
    }
}
