//! The blocks of one writer that are being compressed by helpers, in the order in which they belong into the file.

use super::Cut;
use crate::helpers::{Buffers, CompressionHelpers, Finished, Lane, usual_bytes};
use crate::options::{Compression, TableOptions};
use std::collections::VecDeque;
use std::sync::Arc;

/// See the module's text. Dropped, it takes back what nobody has begun and waits for the rest, of which each helper has
/// one block at most.
pub(super) struct Flight {
    helpers: Arc<CompressionHelpers>,
    lane: Arc<Lane>,
    blocks: VecDeque<Sent>,
    /// The first of `blocks` has this number, and so on.
    first: u64,
    /// Bytes of the blocks before compression.
    raw_bytes: usize,
    /// Bytes that the blocks and what belongs to them hold.
    held_bytes: usize,
    /// What comes back is sent out again.
    spare: Vec<(Buffers, Cut)>,
    raw_bytes_max: usize,
    usual_bytes: usize,
    compression: Compression,
}

/// A block that was handed over.
struct Sent {
    cut: Cut,
    raw_bytes: usize,
    held_bytes: usize,
}

impl Flight {
    pub(super) fn new(helpers: &Arc<CompressionHelpers>, options: &TableOptions) -> Self {
        Self {
            helpers: Arc::clone(helpers),
            lane: Arc::new(Lane::new(options.compression)),
            blocks: VecDeque::new(),
            first: 0,
            raw_bytes: 0,
            held_bytes: 0,
            spare: Vec::new(),
            raw_bytes_max: helpers.raw_bytes_max(options),
            usual_bytes: usual_bytes(options),
            compression: options.compression,
        }
    }

    /// Bytes of the blocks before compression.
    pub(super) fn raw_bytes(&self) -> usize {
        self.raw_bytes
    }

    /// Bytes of memory that are held for it.
    pub(super) fn memory_bytes(&self) -> usize {
        let spare: usize = self.spare.iter().map(|(buffers, cut)| held_bytes(buffers, cut)).sum();
        self.held_bytes + spare + self.lane.compressor_bytes()
    }

    /// Whether a block is small enough to be worth the copy.
    pub(super) fn takes(&self, raw_bytes: usize) -> bool {
        raw_bytes <= self.raw_bytes_max
    }

    /// Whether a block can be sent, or, if it is not taken, be written, before one has come back.
    pub(super) fn has_room(&self, raw_bytes: usize) -> bool {
        self.blocks.is_empty()
            || self.blocks.len() < self.helpers.blocks_max()
                && self.raw_bytes + raw_bytes <= self.raw_bytes_max
    }

    /// Sends a block out; `cut`, which belongs to it, is empty then.
    pub(super) fn send(&mut self, raw: &[u8], cut: &mut Cut) {
        let (mut buffers, mut place) = self.spare.pop().unwrap_or_default();
        std::mem::swap(&mut place, cut);
        buffers.raw.reserve_exact(raw.len());
        buffers.raw.extend_from_slice(raw);
        // Here, so that what is held is known whoever compresses it.
        self.compression.make_room(&mut buffers.out, raw.len());
        let held_bytes = held_bytes(&buffers, &place);
        let sent = Sent { cut: place, raw_bytes: raw.len(), held_bytes };
        self.raw_bytes += sent.raw_bytes;
        self.held_bytes += sent.held_bytes;
        let number = self.first + self.blocks.len() as u64;
        self.blocks.push_back(sent);
        self.helpers.submit(&self.lane, number, buffers);
    }

    /// The oldest block, compressed, and what belongs to it.
    pub(super) fn collect(&mut self) -> Option<(Finished, Cut)> {
        let sent = self.blocks.pop_front()?;
        let finished = self.helpers.collect(&self.lane, self.first);
        self.first += 1;
        self.raw_bytes -= sent.raw_bytes;
        self.held_bytes -= sent.held_bytes;
        Some((finished, sent.cut))
    }

    /// Takes what a block needed back, for the next one.
    pub(super) fn keep(&mut self, mut buffers: Buffers, mut cut: Cut) {
        if buffers.raw.capacity() > self.usual_bytes {
            buffers = Buffers::default();
        }
        buffers.raw.clear();
        cut.clear();
        self.spare.push((buffers, cut));
    }
}

fn held_bytes(buffers: &Buffers, cut: &Cut) -> usize {
    buffers.raw.capacity() + buffers.out.capacity() + cut.memory_bytes()
}

impl Drop for Flight {
    fn drop(&mut self) {
        while self.collect().is_some() {}
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::writer::TableWriter;
    use base::{InternalKeyRef, SeqNo};
    use std::path::Path;
    use vfs::Fs;
    use vfs::sim::SimFs;

    fn add(writer: &mut TableWriter, number: u64) -> Result<(), Error> {
        let value = vec![7; if number % 100 == 99 { 100_000 } else { 200 }];
        writer.add(InternalKeyRef::seek_at(&number.to_be_bytes(), SeqNo::ZERO), &value)
    }

    fn writer(helpers: &Arc<CompressionHelpers>) -> TableWriter {
        let file = SimFs::new().create(Path::new("/table")).unwrap();
        let compression = Compression::Zstd { level: 1 };
        let options = TableOptions { compression, block_bytes: 256, ..TableOptions::default() };
        TableWriter::new(file, options).with_helpers(helpers)
    }

    #[test]
    fn a_panic_of_whoever_compresses_ends_the_table_with_an_error() {
        let helpers = Arc::new(CompressionHelpers::start(1).unwrap());
        for count in [3, 1000] {
            let mut writer = writer(&helpers);
            writer.flight.as_ref().unwrap().lane.break_one();
            let failed = (0..count).find_map(|number| add(&mut writer, number).err());
            let error = match failed {
                Some(error) => {
                    let again = add(&mut writer, count).unwrap_err();
                    assert!(matches!(again, Error::WriterFailed { .. }), "{again:?}");
                    error
                }
                None => writer.finish().unwrap_err(),
            };
            assert!(matches!(error, Error::Compress { .. }), "{error:?}");
        }
    }

    #[test]
    fn what_a_dropped_writer_had_in_flight_is_gone_with_it() {
        let helpers = Arc::new(CompressionHelpers::start(1).unwrap());
        for count in 0..60 {
            let mut writer = writer(&helpers);
            (0..count).for_each(|number| add(&mut writer, number).unwrap());
            let lane = Arc::clone(&writer.flight.as_ref().unwrap().lane);
            drop(writer);
            // A helper lets go of its lane a moment after it has put the result down.
            let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
            while Arc::strong_count(&lane) > 1 {
                assert!(std::time::Instant::now() < until, "somebody has a block of {count}");
                std::thread::yield_now();
            }
            assert_eq!(lane.uncollected(), 0, "somebody had a block of {count}");
        }
    }

    #[test]
    fn what_is_counted_is_what_is_there() {
        let helpers = Arc::new(CompressionHelpers::start(2).unwrap());
        let mut writer = writer(&helpers);
        for number in 0..500 {
            add(&mut writer, number).unwrap();
            let flight = writer.flight.as_ref().unwrap();
            assert!(flight.blocks.len() + flight.spare.len() <= helpers.blocks_max());
            let held: usize = flight.blocks.iter().map(|sent| sent.held_bytes).sum();
            let raw: usize = flight.blocks.iter().map(|sent| sent.raw_bytes).sum();
            assert_eq!((flight.held_bytes, flight.raw_bytes), (held, raw));
        }
        while writer.place_oldest().unwrap() {}
        let flight = writer.flight.as_ref().unwrap();
        assert_eq!((flight.held_bytes, flight.raw_bytes), (0, 0));
        assert!(flight.spare.len() > 3 && flight.spare.len() <= helpers.blocks_max());
        let largest = flight.spare.iter().map(|(buffers, _)| buffers.raw.capacity()).max();
        assert!(largest < Some(1000), "those of large blocks are not kept: {largest:?}");
    }
}
