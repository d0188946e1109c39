//! The segments of an open log: the one written to, those closed before it, and their removal.
//!
//! Invariants
//! - A segment is in the list only when its header and its directory entry are durable.
//! - Positions are dense: a segment's base is its predecessor's base plus that one's end.
//! - What is closed never opens again, and its end never changes: the next segment's header states it on disk.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use base::sync::atomic::{AtomicU64, Ordering};
use base::{LogPlace, SegmentNumber};
use vfs::{ErrorKind, File, Fs};

use crate::error::Error;
use crate::format::{SEGMENT_HEADER_BYTES, salt, segment_file_name};
use crate::options::{SegmentInfo, SegmentState};

/// An end that is not yet known.
const OPEN: u64 = u64::MAX;

/// A segment that this log created: ready for use, in use, or closed.
#[derive(Debug)]
pub(crate) struct Segment {
    pub number: SegmentNumber,
    /// The size it was allocated with: no record ends behind it.
    pub capacity: u64,
    /// Every byte of the file was written once: to write one again changes no metadata.
    pub is_filled: bool,
    pub file: Arc<dyn File>,
    /// The position of the file's first byte, once the segment is in use.
    base: AtomicU64,
    /// Offset of the exact end, once closed.
    end: AtomicU64,
    /// How many read it while it is written: its file must not become another segment's.
    readers: AtomicU64,
}

impl Segment {
    pub fn new(number: SegmentNumber, capacity: u64, is_filled: bool, file: Arc<dyn File>) -> Self {
        Self {
            number,
            capacity,
            is_filled,
            file,
            base: AtomicU64::new(0),
            end: AtomicU64::new(OPEN),
            readers: AtomicU64::new(0),
        }
    }

    pub fn salt(&self) -> u32 {
        salt(self.number)
    }

    /// The position of the file's first byte.
    pub fn base(&self) -> u64 {
        self.base.load(Ordering::Acquire)
    }

    /// Takes the segment into use, once, before anybody can reserve in it.
    pub fn begin(&self, base: u64) {
        self.base.store(base, Ordering::Release);
    }

    /// Fixes the end, under the tail's lock. Called again, it is with the same end.
    pub fn close(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    /// The offset of the end, when the segment is closed.
    pub fn end(&self) -> Option<u64> {
        Some(self.end.load(Ordering::Acquire)).filter(|&end| end != OPEN)
    }

    /// How many of the file's leading bytes are durable when the log is up to position `durable`; 0 while it is not
    /// known that header and link are. So a number above 0 also says that everything before the segment is durable.
    pub fn vouched(&self, durable: u64) -> u64 {
        durable.checked_sub(self.base()).filter(|&bytes| bytes >= SEGMENT_HEADER_BYTES).unwrap_or(0)
    }

    /// One more reader; only while the segment is listed.
    pub fn retain(&self) {
        self.readers.fetch_add(1, Ordering::AcqRel);
    }

    /// One reader less.
    pub fn release(&self) {
        self.readers.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether somebody reads it.
    pub fn is_read(&self) -> bool {
        self.readers.load(Ordering::Acquire) > 0
    }
}

/// What [`Wal::retire_before`](crate::Wal::retire_before) did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetireReport {
    /// Segments that are no part of the log any more.
    pub segments: u64,
    /// So many of their files were kept, to become other segments; the rest was removed.
    pub kept: u64,
    /// The sizes as allocated, in bytes, of the files that were removed.
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
    pub fn number(&self) -> SegmentNumber {
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
        own.filter(|segment| segment.base() < to)
            .filter(|segment| segment.end().is_none_or(|end| segment.base() + end > from))
            .cloned()
            .collect()
    }

    /// The place of the position `upto`, if its segment is still listed. Where one segment ends and the next begins, it is
    /// the end of the first.
    pub fn place(&self, upto: u64) -> Option<LogPlace> {
        self.0.iter().rev().find_map(|entry| {
            let Entry::Own(segment) = entry else { return None };
            let offset = upto.checked_sub(segment.base()).filter(|&offset| offset > 0)?;
            let is_in = segment.end().is_none_or(|end| offset <= end);
            is_in.then_some(LogPlace { segment: segment.number, offset })
        })
    }

    /// Up to where the segments before the position `to` have to be synced so that no more than `bytes_max` of them wait,
    /// when the log is durable up to `durable`; `None` when no more wait.
    pub fn overdue(&self, durable: u64, to: u64, bytes_max: u64) -> Option<u64> {
        let mut waiting = 0;
        self.0.iter().rev().find_map(|entry| {
            let Entry::Own(segment) = entry else { return None };
            let end = (segment.base() + segment.end()?).min(to);
            waiting += end.saturating_sub(durable.max(segment.base()));
            (end > durable && waiting > bytes_max).then_some(end)
        })
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

    /// The first own segment whose records are not all before the position `from`, with one reader more.
    pub fn reader_at(&self, from: u64) -> Option<Arc<Segment>> {
        let holds = |segment: &&Arc<Segment>| {
            segment.base() >= from || segment.end().is_none_or(|end| segment.base() + end > from)
        };
        let mut own = self.0.iter().filter_map(|entry| match entry {
            Entry::Own(segment) => Some(segment),
            Entry::Found(_) | Entry::Junk(_) => None,
        });
        let segment = own.find(holds)?;
        segment.retain();
        Some(Arc::clone(segment))
    }

    /// Takes out the junk, and every closed segment whose number is below `keep_from` and whose records are all filled
    /// (they end at or before the position `filled`).
    pub fn take_due(&mut self, keep_from: SegmentNumber, filled: u64) -> Vec<Entry> {
        let is_due = |entry: &Entry| match entry {
            Entry::Junk(_) => true,
            Entry::Found(info) => info.number < keep_from,
            Entry::Own(segment) => {
                let is_filled = segment.end().is_some_and(|end| segment.base() + end <= filled);
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
