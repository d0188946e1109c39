//! Reading several blocks at once for a scan that goes on in one direction.
//!
//! A scan that has moved to the neighbouring block twice in a row is taken to go on. From then on the file is read in
//! stretches of adjacent blocks, the first of [`FIRST_BYTES`], each twice as long as the one before, up to the
//! scan's limit: a short scan reads little that it does not need.
//!
//! Measured on Linux, ext4, a table of 56 MB that was not in the page cache: backwards 0.19 s block by block, 0.12 s in
//! stretches of up to 64 KiB, 0.10 s of 256 KiB, 0.09 to 0.13 s of 1 MiB. Forwards 0.03 s whatever the stretch: there
//! the kernel reads ahead by itself, which not every file system does.

use super::fetch::Fetcher;
use crate::error::Error;
use crate::format::Handle;

const FIRST_BYTES: usize = 64 << 10;
/// Moves in one direction after which stretches are read.
const RUN: u32 = 2;

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Forward,
    Backward,
}

/// A cursor's readahead: what was read beyond the block that was asked for.
pub(super) struct Readahead {
    bytes_max: usize,
    stretch_bytes: usize,
    direction: Direction,
    run: u32,
    start: u64,
    buffer: Vec<u8>,
}

impl Readahead {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            stretch_bytes: FIRST_BYTES.min(bytes_max),
            direction: Direction::Forward,
            run: 0,
            start: 0,
            buffer: Vec::new(),
        }
    }

    /// The scan has moved to a neighbouring block (`Some`) or has gone elsewhere.
    pub(super) fn moved(&mut self, direction: Option<Direction>) {
        match direction {
            Some(direction) if direction == self.direction => self.run = self.run.saturating_add(1),
            Some(direction) => {
                self.direction = direction;
                self.restart(1);
            }
            None => self.restart(0),
        }
    }

    fn restart(&mut self, run: u32) {
        self.run = run;
        self.stretch_bytes = FIRST_BYTES.min(self.bytes_max);
    }

    /// Whether the next block that is not at hand should be read together with those that follow, and how many bytes
    /// at most.
    pub(super) fn wanted(&self) -> Option<(Direction, usize)> {
        (self.run >= RUN && self.bytes_max > 0).then_some((self.direction, self.stretch_bytes))
    }

    /// The stored bytes of the block at `handle`, if they were read before.
    pub(super) fn stored(&self, handle: Handle) -> Option<&[u8]> {
        let start = usize::try_from(handle.offset.checked_sub(self.start)?).ok()?;
        self.buffer.get(start..start.checked_add(handle.stored_bytes())?)
    }

    /// Reads the file from `start` to `end`, both within its blocks.
    pub(super) fn fill(&mut self, fetcher: &Fetcher, start: u64, end: u64) -> Result<(), Error> {
        let len = (end - start) as usize;
        if self.buffer.len() < len {
            self.buffer.resize(len, 0);
        } else {
            self.buffer.truncate(len);
        }
        self.start = start;
        let read = fetcher.read(&mut self.buffer, start);
        if read.is_err() {
            self.buffer.clear();
        }
        self.stretch_bytes = self.stretch_bytes.saturating_mul(2).min(self.bytes_max);
        read
    }
}
