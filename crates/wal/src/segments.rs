//! The segments of an open log: the one written to, those closed before it, and their removal.
//!
//! Invariants
//! - A segment is in the list only when its header and its directory entry are durable.
//! - Positions are dense: a segment's base is its predecessor's base plus that one's end.
//! - What is closed never opens again, and its end never changes: the next segment's header states it on disk.

use std::collections::VecDeque;
use std::path::Path;

use base::SegmentNumber;
use base::sync::Arc;
use base::sync::atomic::{AtomicU64, Ordering};
use vfs::{ErrorKind, Fs};

use crate::backend::Backend;
use crate::error::Error;
use crate::format::{SEGMENT_HEADER_BYTES, salt, segment_file_name};
use crate::options::{SegmentInfo, SegmentState};

/// An end that is not yet known.
const OPEN: u64 = u64::MAX;

/// A segment that this log created.
#[derive(Debug)]
pub(crate) struct Segment {
    pub number: SegmentNumber,
    /// The position of the file's first byte.
    pub base: u64,
    /// The size it was allocated with: no record ends behind it.
    pub capacity: u64,
    pub backend: Box<dyn Backend>,
    /// Offset of the exact end, once closed.
    end: AtomicU64,
}

impl Segment {
    pub fn new(number: SegmentNumber, base: u64, capacity: u64, backend: Box<dyn Backend>) -> Self {
        Self { number, base, capacity, backend, end: AtomicU64::new(OPEN) }
    }

    pub fn salt(&self) -> u32 {
        salt(self.number)
    }

    /// Fixes the end, under the tail's lock. Called again, it is with the same end.
    pub fn close(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    /// The offset of the end, when the segment is closed.
    pub fn end(&self) -> Option<u64> {
        Some(self.end.load(Ordering::Acquire)).filter(|&end| end != OPEN)
    }

    /// How many of the file's leading bytes are durable when the log is up to position `durable`.
    ///
    /// From the base on this is at least the header: that was synced before the segment could be used. So a number
    /// above 0 also says that everything before the segment is durable.
    pub fn vouched(&self, durable: u64) -> u64 {
        durable.checked_sub(self.base).map_or(0, |bytes| bytes.max(SEGMENT_HEADER_BYTES))
    }
}

/// What [`Wal::retire_before`](crate::Wal::retire_before) removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetireReport {
    /// Segment files removed.
    pub segments: u64,
    /// Their sizes as allocated, in bytes.
    pub file_bytes: u64,
}

/// A segment file on disk.
#[derive(Debug)]
pub(crate) enum Entry {
    /// Found by recovery.
    Found(SegmentInfo),
    /// Created by this log.
    Own(Arc<Segment>),
    /// Belongs to no log: removed at the first opportunity.
    Junk(SegmentNumber),
}

impl Entry {
    fn number(&self) -> SegmentNumber {
        match self {
            Self::Found(info) => info.number,
            Self::Own(segment) => segment.number,
            Self::Junk(number) => *number,
        }
    }

    fn file_bytes(&self) -> u64 {
        match self {
            Self::Found(info) => info.file_bytes,
            Self::Own(segment) => segment.capacity,
            Self::Junk(_) => 0,
        }
    }
}

/// All segment files of the log, oldest first; the last of its own is the one written to.
#[derive(Debug)]
pub(crate) struct SegmentList(VecDeque<Entry>);

impl SegmentList {
    /// The list of what recovery found.
    pub fn new(existing: Vec<SegmentInfo>) -> Self {
        let entry = |info: SegmentInfo| match info.state {
            SegmentState::Discarded => Entry::Junk(info.number),
            SegmentState::Live | SegmentState::Obsolete => Entry::Found(info),
        };
        Self(existing.into_iter().map(entry).collect())
    }

    /// Adds a segment whose header and directory entry are durable.
    pub fn push(&mut self, segment: Arc<Segment>) {
        self.0.push_back(Entry::Own(segment));
    }

    /// Remembers a file that has to go, since its creation failed.
    pub fn push_junk(&mut self, number: SegmentNumber) {
        self.0.push_back(Entry::Junk(number));
    }

    /// The segments that hold something between the positions `from` (exclusive) and `to` (inclusive), oldest first.
    ///
    /// Those that were removed are not among them: nothing in them is needed any more.
    pub fn between(&self, from: u64, to: u64) -> Vec<Arc<Segment>> {
        let own = self.0.iter().filter_map(|entry| match entry {
            Entry::Own(segment) => Some(segment),
            Entry::Found(_) | Entry::Junk(_) => None,
        });
        own.filter(|segment| segment.base < to)
            .filter(|segment| segment.end().is_none_or(|end| segment.base + end > from))
            .cloned()
            .collect()
    }

    /// Bytes of headers and records in all closed segments.
    pub fn closed_bytes(&self) -> u64 {
        let bytes = |entry: &Entry| match entry {
            Entry::Found(info) => info.bytes,
            Entry::Own(segment) => segment.end().unwrap_or(0),
            Entry::Junk(_) => 0,
        };
        self.0.iter().map(bytes).sum()
    }

    /// Bytes that the files take, unused room included.
    pub fn file_bytes(&self) -> u64 {
        self.0.iter().map(Entry::file_bytes).sum()
    }

    /// Takes out the junk, and every closed segment whose number is below `keep_from` and whose records are all filled
    /// (they end at or before the position `filled`).
    pub fn take_due(&mut self, keep_from: SegmentNumber, filled: u64) -> Vec<Entry> {
        let is_due = |entry: &Entry| match entry {
            Entry::Junk(_) => true,
            Entry::Found(info) => info.number < keep_from,
            Entry::Own(segment) => {
                let is_filled = segment.end().is_some_and(|end| segment.base + end <= filled);
                is_filled && segment.number < keep_from
            }
        };
        let (due, kept) = self.0.drain(..).partition(is_due);
        self.0 = kept;
        due.into()
    }

    /// Lists again what could not be removed.
    pub fn put_back(&mut self, entries: Vec<Entry>) {
        for entry in entries.into_iter().rev() {
            self.0.push_front(entry);
        }
    }
}

/// Removes the files of `entries`; those that could not be removed are left in it, and the first error is returned
/// after the rest was tried.
pub(crate) fn remove_files(
    fs: &dyn Fs,
    dir: &Path,
    entries: &mut Vec<Entry>,
) -> (RetireReport, Result<(), Error>) {
    let mut report = RetireReport::default();
    let mut outcome = Ok(());
    entries.retain(|entry| match fs.remove(&dir.join(segment_file_name(entry.number()))) {
        Ok(()) => {
            report.segments += 1;
            report.file_bytes += entry.file_bytes();
            false
        }
        // Removed by someone else, or by a call whose error came after the fact.
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => {
            if outcome.is_ok() {
                outcome = Err(Error::Fs(error));
            }
            true
        }
    });
    (report, outcome)
}
