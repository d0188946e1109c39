//! Telling the file what a scan that goes on in one direction will read next.
//!
//! A scan that has moved to the neighbouring block twice in a row is taken to go on. From then on the file is told which
//! stretch is read next, the first of [`FIRST_BYTES`], each twice as long as the one before, up to the scan's limit; the
//! next is announced when half of the last one has been read, so that the disk works while the scan does. The blocks
//! themselves are read one by one, each into memory of its own. (Reading a stretch into a buffer, and copying blocks out
//! of it, cost a third more when the file was in the page cache; and the buffer was more memory that nobody had charged.)

use crate::format::Handle;
use std::ops::Range;
use vfs::File;

const FIRST_BYTES: u64 = 64 << 10;
/// Moves in one direction after which stretches are announced.
const RUN: u32 = 2;

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Forward,
    Backward,
}

/// A cursor's readahead: how far the file has been told of.
pub(super) struct Readahead {
    bytes_max: u64,
    stretch_bytes: u64,
    direction: Direction,
    run: u32,
    /// The end of the last stretch, in the scan's direction; and where the next is to be announced.
    told: u64,
    trigger: u64,
}

impl Readahead {
    pub(super) fn new(bytes_max: usize) -> Self {
        let mut new = Self {
            bytes_max: bytes_max as u64,
            stretch_bytes: 0,
            direction: Direction::Forward,
            run: 0,
            told: 0,
            trigger: 0,
        };
        new.restart(0);
        new
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
        (self.told, self.trigger) = match self.direction {
            Direction::Forward => (0, 0),
            Direction::Backward => (u64::MAX, u64::MAX),
        };
    }

    /// Whether the scan is taken to go on, and anything may be announced.
    pub(super) fn is_going(&self) -> bool {
        self.run >= RUN && self.bytes_max > 0
    }

    /// The block at `handle` is read now, by a scan that is going: announces what comes after it, if it is time, in the part `span` of `file`.
    pub(super) fn reads(&mut self, handle: Handle, file: &dyn File, span: &Range<u64>) {
        let (start, end) = match self.direction {
            Direction::Forward if handle.offset >= self.trigger => {
                let start = self.told.max(handle.offset);
                (start, start.saturating_add(self.stretch_bytes).min(span.end))
            }
            Direction::Backward if handle.offset <= self.trigger => {
                let end = self.told.min(handle.end().unwrap_or(span.end)).min(span.end);
                (end.saturating_sub(self.stretch_bytes).max(span.start), end)
            }
            _ => return,
        };
        if start < end {
            file.will_read(start, end - start);
        }
        let half = self.stretch_bytes / 2;
        (self.told, self.trigger) = match self.direction {
            Direction::Forward => (end, end.saturating_sub(half)),
            Direction::Backward => (start, start.saturating_add(half)),
        };
        self.stretch_bytes = self.stretch_bytes.saturating_mul(2).min(self.bytes_max);
    }
}
