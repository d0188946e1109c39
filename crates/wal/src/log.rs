//! The open log: reserving a place, and what the other parts share.
//!
//! An append is three steps. *Reserve*, under one short lock: a place in the segment's tail and a ticket of the
//! completion ring, which together fix the record's place in the log's order. *Fill*, without a lock: encode, put it to
//! the place, finish the ticket. *Sync*, if asked for. What may block (a new segment, a full ring) is outside, in
//! [`Log::make_room`].
//!
//! Invariants
//! - The places of one segment are dense and in the order of their tickets.
//! - `durable <= ring.published() <= reserved` (the end of the last reservation); each only grows.
//! - Every reservation finishes its ticket, filled or aborted, or the log has failed.
//!
//! Concurrency. Lock order: `roller` and the mapper's, then that of the calls that sync (`sync`), then `segments`, then
//! `ready`, then `tail`; `spares`, `syncing`, `failure` and the helpers' are leaves. No lock is held over a file system
//! call but `roller`, which only those wait for who need a new segment, the mapper's, which nobody on the way of an
//! append takes, and that of the calls that sync, which only a write that failed takes beside the rounds.

use std::fmt;
use std::path::{Path, PathBuf};

use base::ring::CompletionRing;
use base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use base::sync::{Arc, Mutex};
use base::{LogPlace, SegmentNumber};
use credit::Pool;
use vfs::{Fs, MapSupport};

use crate::error::{Error, Failure, ReserveError};
use crate::format::{SEGMENT_HEADER_BYTES, SegmentLink};
use crate::helper::Helpers;
use crate::options::{LogBackend, LogStart, MAX_RECORD_BYTES, WalOptions};
use crate::position::LogPosition;
use crate::prepare::{Source, Spare, prepare};
use crate::reservation::Reservation;
use crate::roll::{FIRST_BYTES_MAX, Ready, Roller};
use crate::segments::{Entry, RetireReport, SegmentList, remove_files};
use crate::stats::{Counters, WalStats};
use crate::sync::GroupSync;
use crate::tail::Tail;
use crate::window::Mapper;

/// An open log, shared by its handle and its helpers.
pub(crate) struct Log {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) dir: PathBuf,
    pub(crate) options: WalOptions,
    pub(crate) roller: Mutex<Roller>,
    pub(crate) tail: Mutex<Tail>,
    pub(crate) segments: Mutex<SegmentList>,
    /// The next segment, if it is ready.
    pub(crate) ready: Mutex<Option<Ready>>,
    /// Files of retired segments, kept for further ones.
    pub(crate) spares: Mutex<Vec<Spare>>,
    pub(crate) mapper: Mapper,
    pub(crate) helpers: Helpers,
    /// Its tickets are the records, its value the position up to which all are filled.
    pub(crate) ring: CompletionRing,
    /// The position up to which everything is on stable storage.
    pub(crate) durable: AtomicU64,
    pub(crate) syncing: GroupSync,
    pub(crate) counters: Counters,
    has_failed: AtomicBool,
    failure: Mutex<Option<Failure>>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("dir", &self.dir)
            .field("ring", &self.ring)
            .field("durable", &self.durable.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

/// How much of the log may be mapped at a time, by the options and the file system.
fn bytes_to_map(fs: &dyn Fs, dir: &Path, options: &WalOptions) -> Result<u64, Error> {
    let is_mapped = match options.backend {
        LogBackend::Mapped => true,
        LogBackend::Positional => false,
        LogBackend::Auto => fs.map_support(dir)? == MapSupport::Known,
    };
    Ok(if is_mapped { options.window_bytes } else { 0 })
}

impl Log {
    pub fn create(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: WalOptions,
        start: LogStart,
        pool: Option<Pool>,
    ) -> Result<Self, Error> {
        options.validate()?;
        let mapper = Mapper::new(bytes_to_map(&*fs, dir, &options)?, pool);
        let counters = Counters::default();
        let link = SegmentLink {
            predecessor: start.predecessor,
            predecessor_vouched: start.predecessor.map_or(0, |predecessor| predecessor.end_offset),
        };
        let file_bytes = options.segment_bytes.min(FIRST_BYTES_MAX);
        let source = Source::New { file_bytes };
        let prepared = prepare(&*fs, dir, start.segment, source, Some(link), true);
        // A file that is left behind is one that recovery reports as discarded, and the next log removes.
        let segment = Arc::new(prepared.map_err(|failed| failed.error)?);
        counters.segments_created.add(1);
        let mut segments = SegmentList::new(start.existing);
        // The new segment is durable, so what it does not continue is junk. What resists now is tried again, and
        // reported, at each retirement.
        let mut junk = segments.take_due(SegmentNumber::new(0), 0);
        let (report, _reported_by_retirement) = remove_files(&*fs, dir, &mut junk);
        segments.put_back(junk);
        counters.segments_removed.add(report.segments);
        segments.push(Arc::clone(&segment));
        Ok(Self {
            fs,
            dir: dir.to_owned(),
            ring: CompletionRing::new(options.open_records_max, SEGMENT_HEADER_BYTES),
            options,
            roller: Mutex::new(Roller::new(start.segment)),
            tail: Mutex::new(Tail::new(segment)),
            segments: Mutex::new(segments),
            ready: Mutex::new(None),
            spares: Mutex::new(Vec::new()),
            mapper,
            helpers: Helpers::default(),
            durable: AtomicU64::new(SEGMENT_HEADER_BYTES),
            syncing: GroupSync::default(),
            counters,
            has_failed: AtomicBool::new(false),
            failure: Mutex::new(None),
        })
    }

    /// As [`Wal::reserve`](crate::Wal::reserve).
    pub fn reserve(&self, payload_len: usize) -> Result<Reservation<'_>, ReserveError> {
        if let Some(failure) = self.failure() {
            return Err(ReserveError::Failed(failure));
        }
        if payload_len > MAX_RECORD_BYTES {
            return Err(ReserveError::TooLarge { len: payload_len, max: MAX_RECORD_BYTES });
        }
        let mut tail = self.tail.lock();
        let (Some(end), true) = (tail.end_with(payload_len), self.ring.has_room(tail.next_ticket))
        else {
            return Err(ReserveError::NeedsRoom);
        };
        let cut = tail.cut(end, payload_len);
        drop(tail);
        if cut.notice {
            self.helpers.notify_disk();
        }
        if cut.for_mapper {
            self.helpers.notify_mapper();
        }
        Ok(Reservation::new(self, cut, payload_len))
    }

    /// As [`Wal::make_room`](crate::Wal::make_room).
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

    /// As [`Wal::append`](crate::Wal::append).
    pub fn append(&self, parts: &[&[u8]], is_synced: bool) -> Result<LogPosition, Error> {
        let payload_len = parts.iter().map(|part| part.len()).sum();
        loop {
            match self.reserve(payload_len) {
                Ok(reservation) => {
                    let end = reservation.end();
                    if is_synced {
                        reservation.fill_to_sync(parts)?;
                    } else {
                        reservation.fill(parts)?;
                    }
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

    /// As [`Wal::current_segment`](crate::Wal::current_segment).
    pub fn current_segment(&self) -> SegmentNumber {
        self.tail.lock().segment.number
    }

    /// As [`Wal::filled`](crate::Wal::filled).
    pub fn filled(&self) -> LogPosition {
        LogPosition(self.ring.published())
    }

    /// As [`Wal::durable`](crate::Wal::durable).
    pub fn durable(&self) -> LogPosition {
        LogPosition(self.durable.load(Ordering::Acquire))
    }

    /// As [`Wal::durable_place`](crate::Wal::durable_place).
    pub fn durable_place(&self) -> Option<LogPlace> {
        // The position first: a segment that is retired in between has nothing to be vouched for any more.
        let durable = self.durable().get();
        self.segments.lock().place(durable)
    }

    /// As [`Wal::retire_before`](crate::Wal::retire_before).
    pub fn retire_before(&self, keep_from: SegmentNumber) -> Result<RetireReport, Error> {
        let filled = self.ring.published();
        // The current one may be closed already, by a roll that failed.
        let keep_from = keep_from.min(self.current_segment());
        let mut due = self.segments.lock().take_due(keep_from, filled);
        let durable = self.durable.load(Ordering::Acquire);
        let is_unsynced = |entry: &&Entry| matches!(entry, Entry::Own(segment) if segment.end().is_some_and(|end| segment.base() + end > durable));
        self.counters.segments_unsynced.add(due.iter().filter(is_unsynced).count() as u64);
        let mut kept = 0;
        // Nobody can begin to read a segment that is not listed any more.
        due.retain(|entry| match entry {
            Entry::Own(segment) if !segment.is_read() => {
                let is_kept = self.keep(Spare::of(segment));
                kept += u64::from(is_kept);
                !is_kept
            }
            _ => true,
        });
        let (mut report, outcome) = remove_files(&*self.fs, &self.dir, &mut due);
        self.segments.lock().put_back(due);
        self.counters.segments_removed.add(report.segments);
        report.segments += kept;
        report.kept = kept;
        outcome.map(|()| report)
    }

    /// As [`Wal::live_bytes`](crate::Wal::live_bytes).
    pub fn live_bytes(&self) -> u64 {
        let segments = self.segments.lock();
        let tail = self.tail.lock();
        let open = if tail.segment.end().is_none() { tail.offset } else { 0 };
        segments.closed_bytes() + open
    }

    /// As [`Wal::file_bytes`](crate::Wal::file_bytes).
    pub fn file_bytes(&self) -> u64 {
        let listed = self.segments.lock().file_bytes();
        let ready = self.ready.lock().as_ref().map_or(0, |ready| ready.segment.capacity);
        let spares: u64 = self.spares.lock().iter().map(|spare| spare.file_bytes).sum();
        listed + ready + spares
    }

    /// As [`Wal::spare_files`](crate::Wal::spare_files).
    pub fn spare_files(&self) -> u64 {
        let ready = u64::from(self.ready.lock().is_some());
        ready + self.spares.lock().len() as u64
    }

    /// As [`Wal::stats`](crate::Wal::stats).
    pub fn stats(&self) -> WalStats {
        let mut stats = self.counters.stats();
        stats.mapped_bytes = self.mapper.mapped_bytes();
        let tail = self.tail.lock();
        stats.records = tail.records;
        stats.payload_bytes = tail.payload_bytes;
        stats.log_bytes = tail.end();
        if self.mapper.is_on() {
            stats.unmapped_records = tail.unmapped_records;
        }
        stats
    }

    /// As [`Wal::poison`](crate::Wal::poison).
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

    /// As [`Wal::close`](crate::Wal::close).
    pub fn close(&self) -> Result<(), Error> {
        // Whoever is making a segment finishes it first, and nobody makes one afterwards.
        let _roller = self.roller.lock();
        let was_open = self.failure().is_none();
        let sealed = self.seal();
        self.poison(Failure::new("the log was closed"));
        self.unmap();
        if was_open {
            self.remove_spares();
        }
        sealed
    }

    fn seal(&self) -> Result<(), Error> {
        let has_records = {
            let mut tail = self.tail.lock();
            // From here on whoever wants to reserve waits for the roller's lock, and is told that the log was closed.
            tail.is_closing = true;
            tail.next_ticket > 0
        };
        self.sync(self.reserved())?;
        if !has_records {
            return Ok(());
        }
        // Everything is filled, so the ring has room. That the segment has none for a mark is no reason to make another.
        let Some(mark) = self.tail.lock().cut_mark() else { return Ok(()) };
        // An aborted place holds no record, but carries what is durable now.
        drop(Reservation::new(self, mark, 0));
        self.sync(self.reserved())
    }

    /// The end of the last record that was reserved.
    pub(crate) fn reserved(&self) -> LogPosition {
        LogPosition(self.tail.lock().reserved)
    }

    /// As [`Wal::has_failed`](crate::Wal::has_failed).
    #[inline]
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// As [`Wal::failure`](crate::Wal::failure).
    pub fn failure(&self) -> Option<Failure> {
        if !self.has_failed() {
            return None;
        }
        self.failure.lock().clone()
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        self.failure().map_or(Ok(()), |failure| Err(Error::Failed(failure)))
    }
}
