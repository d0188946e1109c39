//! The open log: reserving a place, and what the other parts share.
//!
//! An append is three steps. *Reserve*, under one short lock: a place in the segment's tail and a ticket of the
//! completion ring, which together fix the record's place in the log's order. *Fill*, without a lock: encode, write to
//! the place, finish the ticket. *Sync*, if asked for. What may block (a new segment, a full ring) is outside, in
//! [`Wal::make_room`].
//!
//! Invariants
//! - The places of one segment are dense and in the order of their tickets.
//! - `durable <= ring.published() <= reserved` (the end of the last reservation); each only grows.
//! - Every reservation finishes its ticket, filled or aborted, or the log has failed.
//!
//! Concurrency. Lock order: `roller`, then `segments`, then `tail`; `syncing` and `failure` are leaves. No lock is held
//! over a file system call but `roller`, which only those wait for who need a new segment.

use std::fmt;
use std::path::{Path, PathBuf};

use base::SegmentNumber;
use base::record::framed_len;
use base::ring::CompletionRing;
use base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use base::sync::{Arc, Mutex};
use vfs::Fs;

use crate::error::{Error, Failure, ReserveError};
use crate::format::SEGMENT_HEADER_BYTES;
use crate::options::{LogStart, MAX_RECORD_BYTES, WalOptions};
use crate::position::LogPosition;
use crate::reservation::Reservation;
use crate::roll::{Roller, create_segment};
use crate::segments::{RetireReport, Segment, SegmentList, remove_files};
use crate::stats::{Counters, WalStats};
use crate::sync::GroupSync;

/// An open write-ahead log. All calls may be made from any thread at any time.
///
/// One `Wal` at a time writes to a directory; whoever opens it sees to that (see [`vfs::Fs::lock`]).
pub struct Wal {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) dir: PathBuf,
    pub(crate) options: WalOptions,
    pub(crate) roller: Mutex<Roller>,
    pub(crate) tail: Mutex<Tail>,
    pub(crate) segments: Mutex<SegmentList>,
    /// Its tickets are the records, its value the position up to which all are filled.
    pub(crate) ring: CompletionRing,
    /// The position up to which everything is on stable storage.
    pub(crate) durable: AtomicU64,
    pub(crate) syncing: GroupSync,
    pub(crate) counters: Counters,
    has_failed: AtomicBool,
    failure: Mutex<Option<Failure>>,
}

/// Where the next record goes.
#[derive(Debug)]
pub(crate) struct Tail {
    pub segment: Arc<Segment>,
    /// The next free offset in the segment.
    pub offset: u64,
    /// The position behind the last record that was reserved, in whichever segment.
    pub reserved: u64,
    pub next_ticket: u64,
    /// The segment's end was (or is being) written into a successor's header: nothing more goes into it, even if that
    /// successor could not be completed.
    pub frozen: bool,
    pub records: u64,
    pub payload_bytes: u64,
}

impl Tail {
    /// The position of the next free byte: behind the last record, or behind the header of a segment without one.
    pub fn end(&self) -> u64 {
        self.segment.base + self.offset
    }

    /// The offset behind a record of `payload_len` bytes, if it can be placed in this segment.
    fn end_with(&self, payload_len: usize) -> Option<u64> {
        let end = self.offset + framed_len(self.offset, payload_len);
        (!self.frozen && end <= self.segment.capacity).then_some(end)
    }

    pub fn fits(&self, payload_len: usize) -> bool {
        self.end_with(payload_len).is_some()
    }
}

impl fmt::Debug for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal")
            .field("dir", &self.dir)
            .field("ring", &self.ring)
            .field("durable", &self.durable.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

impl Wal {
    /// Creates the segment `start.segment` in `dir` and with it the open log. On return the segment, and with it the
    /// cut behind its predecessor's end, is durable; discarded segments of earlier logs are then removed.
    ///
    /// # Errors
    /// [`Error::InvalidOption`], [`Error::Fs`]. Nothing of the log is lost by it: recover again, and create with what
    /// that says.
    pub fn create(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: WalOptions,
        start: LogStart,
    ) -> Result<Self, Error> {
        options.validate()?;
        let counters = Counters::default();
        let roller = Roller::new(start.segment);
        let vouched = start.predecessor.map_or(0, |predecessor| predecessor.end_offset);
        let file_bytes = options.segment_bytes;
        let created =
            create_segment(&*fs, dir, start.segment, file_bytes, || (start.predecessor, vouched));
        // A file that is left behind is one that recovery reports as discarded, and the next log removes.
        let backend = created.map_err(|failed| failed.error)?;
        counters.segments_created.add(1);
        let segment = Arc::new(Segment::new(start.segment, 0, file_bytes, backend));
        let mut segments = SegmentList::new(start.existing);
        // The new segment is durable, so what it does not continue is junk. What resists now is tried again, and
        // reported, at each retirement.
        let mut junk = segments.take_due(SegmentNumber::new(0), 0);
        let (report, _reported_by_retirement) = remove_files(&*fs, dir, &mut junk);
        segments.put_back(junk);
        counters.segments_removed.add(report.segments);
        segments.push(Arc::clone(&segment));
        let tail = Tail {
            segment,
            offset: SEGMENT_HEADER_BYTES,
            reserved: SEGMENT_HEADER_BYTES,
            next_ticket: 0,
            frozen: false,
            records: 0,
            payload_bytes: 0,
        };
        Ok(Self {
            fs,
            dir: dir.to_owned(),
            ring: CompletionRing::new(options.open_records_max, SEGMENT_HEADER_BYTES),
            options,
            roller: Mutex::new(roller),
            tail: Mutex::new(tail),
            segments: Mutex::new(segments),
            durable: AtomicU64::new(SEGMENT_HEADER_BYTES),
            syncing: GroupSync::default(),
            counters,
            has_failed: AtomicBool::new(false),
            failure: Mutex::new(None),
        })
    }

    /// Reserves the next place in the log for a record of `payload_len` bytes. Records are recovered in the order of
    /// their reservations. Takes one short lock, never waits for input or output, allocates nothing.
    ///
    /// # Errors
    /// [`ReserveError::NeedsRoom`]: call [`Wal::make_room`] outside all locks and reserve again. The others are final.
    pub fn reserve(&self, payload_len: usize) -> Result<Reservation<'_>, ReserveError> {
        if let Some(failure) = self.failure() {
            return Err(ReserveError::Failed(failure));
        }
        if payload_len > MAX_RECORD_BYTES {
            return Err(ReserveError::TooLarge { len: payload_len, max: MAX_RECORD_BYTES });
        }
        let mut tail = self.tail.lock();
        let ticket = tail.next_ticket;
        let (Some(end), true) = (tail.end_with(payload_len), self.ring.has_room(ticket)) else {
            return Err(ReserveError::NeedsRoom);
        };
        let offset = std::mem::replace(&mut tail.offset, end);
        tail.reserved = tail.end();
        tail.next_ticket += 1;
        tail.records += 1;
        tail.payload_bytes += payload_len as u64;
        let segment = Arc::clone(&tail.segment);
        drop(tail);
        Ok(Reservation::new(self, segment, offset..end, payload_len, ticket))
    }

    /// Waits until a record of `payload_len` bytes can be reserved, if nobody is faster: starts a new segment, or waits
    /// for open records to be filled. The caller holds no reservation that is not filled, and no lock that somebody
    /// needs who does.
    ///
    /// # Errors
    /// [`Error::Fs`]: no new segment could be made (no space, say); nothing is lost, try again. [`Error::TooLarge`],
    /// [`Error::NumbersExhausted`], [`Error::Failed`]: final.
    pub fn make_room(&self, payload_len: usize) -> Result<(), Error> {
        if payload_len > MAX_RECORD_BYTES {
            return Err(Error::TooLarge { len: payload_len, max: MAX_RECORD_BYTES });
        }
        loop {
            self.check()?;
            let (fits, ticket) = {
                let tail = self.tail.lock();
                (tail.fits(payload_len), tail.next_ticket)
            };
            if !fits {
                self.roll_when(payload_len, |tail| !tail.fits(payload_len))?;
            } else if !self.ring.has_room(ticket) {
                self.counters.ring_waits.add(1);
                // It fails only when the log does, which the next round sees.
                if self.ring.wait_for_room(ticket).is_err() {
                    self.check()?;
                }
            } else {
                return Ok(());
            }
        }
    }

    /// Appends one record made of `parts`, one after the other: reserve, make room as needed, fill. Answers the
    /// position behind it, for [`Wal::sync`].
    ///
    /// On return the record survives the process once all records reserved before it are filled too.
    ///
    /// # Errors
    /// Those of [`Wal::make_room`], and [`Error::NotAppended`]: this record is not in the log, which goes on.
    pub fn append(&self, parts: &[&[u8]]) -> Result<LogPosition, Error> {
        let payload_len = parts.iter().map(|part| part.len()).sum();
        loop {
            match self.reserve(payload_len) {
                Ok(reservation) => {
                    let end = reservation.end();
                    reservation.fill(parts)?;
                    return Ok(end);
                }
                Err(ReserveError::NeedsRoom) => self.make_room(payload_len)?,
                Err(ReserveError::TooLarge { len, max }) => {
                    return Err(Error::TooLarge { len, max });
                }
                Err(ReserveError::Failed(failure)) => return Err(Error::Failed(failure)),
            }
        }
    }

    /// The segment that the next record goes to, unless it has to be rolled for it.
    #[must_use]
    pub fn current_segment(&self) -> SegmentNumber {
        self.tail.lock().segment.number
    }

    /// The position up to which all records are filled, or aborted: they survive the process.
    #[must_use]
    pub fn filled(&self) -> LogPosition {
        LogPosition(self.ring.published())
    }

    /// The position up to which all records are on stable storage: they survive a power cut.
    #[must_use]
    pub fn durable(&self) -> LogPosition {
        LogPosition(self.durable.load(Ordering::Acquire))
    }

    /// Removes the files of every closed segment whose number is below `keep_from`. The caller has recorded, durably,
    /// that recovery will begin at `keep_from` or later. The current segment stays, and so does one with a reservation
    /// that is not filled.
    ///
    /// # Errors
    /// [`Error::Fs`]: some file could not be removed; the others were. It stays listed, and the next call tries again.
    pub fn retire_before(&self, keep_from: SegmentNumber) -> Result<RetireReport, Error> {
        let filled = self.ring.published();
        let mut due = self.segments.lock().take_due(keep_from, filled);
        let (report, outcome) = remove_files(&*self.fs, &self.dir, &mut due);
        self.segments.lock().put_back(due);
        self.counters.segments_removed.add(report.segments);
        outcome.map(|()| report)
    }

    /// Bytes of headers and records in all segments that are not retired: what a recovery has to read at most.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        let segments = self.segments.lock();
        let tail = self.tail.lock();
        let open = if tail.segment.end().is_none() { tail.offset } else { 0 };
        segments.closed_bytes() + open
    }

    /// Bytes that the segment files take in the file system, unused room included.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.segments.lock().file_bytes()
    }

    /// What was done since the log was created.
    #[must_use]
    pub fn stats(&self) -> WalStats {
        let counters = &self.counters;
        let tail = self.tail.lock();
        WalStats {
            records: tail.records,
            payload_bytes: tail.payload_bytes,
            log_bytes: tail.end(),
            aborted: counters.aborted.get(),
            syncs: counters.syncs.get(),
            sync_time: counters.sync_nanos.time(),
            segments_created: counters.segments_created.get(),
            roll_time: counters.roll_nanos.time(),
            segments_removed: counters.segments_removed.get(),
            ring_waits: counters.ring_waits.get(),
        }
    }

    /// Makes the log refuse everything from now on, and wakes all that wait: they get `cause`, unless the log has
    /// failed before, whose cause then stays.
    pub fn poison(&self, cause: Failure) {
        {
            let mut failure = self.failure.lock();
            if failure.is_none() {
                *failure = Some(cause);
            }
            self.has_failed.store(true, Ordering::Release);
        }
        self.ring.fail();
        self.syncing.wake_all();
    }

    /// Syncs everything that was appended, seals the log, and refuses everything from then on: when this has returned,
    /// nothing touches the log's files any more, whoever still holds it. A last mark vouches for all records, so that
    /// later damage to any of them is told apart from a torn tail.
    ///
    /// A log that is dropped without it loses nothing that was promised.
    ///
    /// # Errors
    /// As [`Wal::sync`]. The log is closed all the same.
    pub fn close(&self) -> Result<(), Error> {
        // Whoever is making a segment finishes it first, and nobody makes one afterwards.
        let _roller = self.roller.lock();
        let sealed = self.seal();
        self.poison(Failure::new("the log was closed"));
        sealed
    }

    fn seal(&self) -> Result<(), Error> {
        let has_records = self.tail.lock().next_ticket > 0;
        self.sync(self.reserved())?;
        if !has_records {
            return Ok(());
        }
        match self.reserve(0) {
            // An aborted place holds no record, but carries what is durable now.
            Ok(mark) => drop(mark),
            // No room for a mark is no reason to make a segment for it.
            Err(ReserveError::NeedsRoom | ReserveError::TooLarge { .. }) => return Ok(()),
            Err(ReserveError::Failed(failure)) => return Err(Error::Failed(failure)),
        }
        self.sync(self.reserved())
    }

    /// The end of the last record that was reserved.
    pub(crate) fn reserved(&self) -> LogPosition {
        LogPosition(self.tail.lock().reserved)
    }

    /// The cause for which the log has failed, if it has. One atomic load while it has not.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        if !self.has_failed.load(Ordering::Acquire) {
            return None;
        }
        self.failure.lock().clone()
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        self.failure().map_or(Ok(()), |failure| Err(Error::Failed(failure)))
    }
}
