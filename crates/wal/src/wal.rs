//! The handle of an open log: what its users call.

use std::path::Path;

use base::sync::{Arc, Mutex};
use base::{LogPlace, SegmentNumber};
use credit::Pool;
use vfs::Fs;

use crate::error::{Error, Failure, ReserveError};
use crate::helper::Threads;
use crate::log::Log;
use crate::options::{LogStart, WalOptions};
use crate::position::LogPosition;
use crate::reader::{LogReader, ReadUpTo};
use crate::reservation::Reservation;
use crate::segments::RetireReport;
use crate::stats::WalStats;

/// An open write-ahead log. All calls may be made from any thread at any time.
///
/// One `Wal` at a time writes to a directory; whoever opens it sees to that (see [`vfs::Fs::lock`]). Dropped without
/// [`Wal::close`], it ends its helper threads and loses nothing that was promised.
#[derive(Debug)]
pub struct Wal {
    log: Arc<Log>,
    threads: Mutex<Threads>,
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.threads.lock().stop(&self.log);
        // Readers may be left, and may be waiting.
        self.log.poison(Failure::new("the log was dropped"));
        self.log.unmap();
    }
}

impl Wal {
    /// Creates the segment `start.segment` in `dir` and with it the open log. On return the segment, and with it the
    /// cut behind its predecessor's end, is durable; discarded segments of earlier logs are then removed, and the helper
    /// threads run, if [`WalOptions::helper_threads`] says so.
    ///
    /// # Errors
    /// [`Error::InvalidOption`], [`Error::Fs`], [`Error::NoThread`]. Nothing of the log is lost by it: recover again,
    /// and create with what that says.
    pub fn create(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: WalOptions,
        start: LogStart,
    ) -> Result<Self, Error> {
        Self::start(Log::create(fs, dir, options, start, None)?)
    }

    /// As [`Wal::create`], with all mapped memory charged to `pool`: each window before it is mapped, until it is
    /// unmapped. A window that the pool refuses is not mapped, and nobody waits for it; records are written instead.
    ///
    /// # Errors
    /// As [`Wal::create`].
    pub fn create_charged(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: WalOptions,
        start: LogStart,
        pool: Pool,
    ) -> Result<Self, Error> {
        Self::start(Log::create(fs, dir, options, start, Some(pool))?)
    }

    fn start(log: Log) -> Result<Self, Error> {
        let log = Arc::new(log);
        let threads = Mutex::new(Threads::start(&log)?);
        Ok(Self { log, threads })
    }

    /// Reserves the next place in the log for a record of `payload_len` bytes. Records are recovered in the order of
    /// their reservations. Takes one short lock, never waits for input or output, allocates nothing.
    ///
    /// # Errors
    /// [`ReserveError::NeedsRoom`]: call [`Wal::make_room`] outside all locks and reserve again. The others are final.
    pub fn reserve(&self, payload_len: usize) -> Result<Reservation<'_>, ReserveError> {
        self.log.reserve(payload_len)
    }

    /// Waits until a record of `payload_len` bytes can be reserved, if nobody is faster: starts a new segment, or waits
    /// for open records to be filled. The caller holds no reservation that is not filled, and no lock that somebody
    /// needs who does.
    ///
    /// # Errors
    /// [`Error::Fs`]: no new segment could be made (no space, say); nothing is lost, try again. [`Error::TooLarge`],
    /// [`Error::NumbersExhausted`], [`Error::Failed`]: final.
    pub fn make_room(&self, payload_len: usize) -> Result<(), Error> {
        self.log.make_room(payload_len)
    }

    /// Appends one record made of `parts`, one after the other: reserve, make room as needed, fill. Answers the
    /// position behind it, for [`Wal::sync`].
    ///
    /// On return the record survives the process once all records reserved before it are filled too.
    ///
    /// # Errors
    /// Those of [`Wal::make_room`], and [`Error::NotAppended`]: this record is not in the log, which goes on.
    pub fn append(&self, parts: &[&[u8]]) -> Result<LogPosition, Error> {
        self.log.append(parts, false)
    }

    /// [`Wal::append`], and then [`Wal::sync`] of it: on return the record survives a power cut, and so does every record
    /// before it.
    ///
    /// # Errors
    /// Those of both.
    pub fn append_synced(&self, parts: &[&[u8]]) -> Result<LogPosition, Error> {
        let end = self.log.append(parts, true)?;
        self.log.sync(end)?;
        Ok(end)
    }

    /// Waits until everything up to position `upto` (the end of a record, inclusive of it) is on stable storage. The
    /// records before it must be filled by their owners meanwhile.
    ///
    /// # Errors
    /// [`Error::Failed`]: the sync, or an earlier one, failed; which of the records since the last durable position
    /// are on disk is unknown. [`Error::UnknownPosition`]: not a position of this log.
    pub fn sync(&self, upto: LogPosition) -> Result<(), Error> {
        self.log.sync(upto)
    }

    /// Starts a new segment, so that [`Wal::retire_before`] can retire the current one later. When the current one holds
    /// no record, it stays.
    ///
    /// # Errors
    /// As [`Wal::make_room`].
    pub fn roll(&self) -> Result<(), Error> {
        self.log.roll()
    }

    /// A reader that follows what is appended: see [`LogReader`].
    ///
    /// # Panics
    /// Never: the segment that is written to is always there to be read.
    #[must_use]
    pub fn reader(&self, upto: ReadUpTo) -> LogReader {
        LogReader::new(Arc::clone(&self.log), upto).expect("the current segment is listed")
    }

    /// The segment that the next record goes to, unless it has to be rolled for it.
    #[must_use]
    pub fn current_segment(&self) -> SegmentNumber {
        self.log.current_segment()
    }

    /// The position up to which all records are filled, or aborted: they survive the process.
    #[must_use]
    pub fn filled(&self) -> LogPosition {
        self.log.filled()
    }

    /// The position up to which all records are on stable storage: they survive a power cut.
    #[must_use]
    pub fn durable(&self) -> LogPosition {
        self.log.durable()
    }

    /// Where [`Wal::durable`] is, for whoever keeps it elsewhere: [`recover`](crate::recover) then takes what is missing
    /// before it for damage and not for a torn tail. `None` when that segment has been retired.
    #[must_use]
    pub fn durable_place(&self) -> Option<LogPlace> {
        self.log.durable_place()
    }

    /// Retires every closed segment whose number is below `keep_from`. The caller has recorded, durably, that recovery
    /// will begin at `keep_from`, or at a later segment. The current segment stays, and so does one with a reservation that is not
    /// filled. Some of the files are kept to become further segments ([`WalOptions::spare_segments_max`]), the others are
    /// removed.
    ///
    /// # Errors
    /// [`Error::Fs`]: some file could not be removed; the others were. It stays listed, and the next call tries again.
    pub fn retire_before(&self, keep_from: SegmentNumber) -> Result<RetireReport, Error> {
        self.log.retire_before(keep_from)
    }

    /// Bytes of headers and records in all segments that are not retired: what a recovery has to read at most.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.log.live_bytes()
    }

    /// Bytes that the segment files take in the file system, unused room included.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.log.file_bytes()
    }

    /// What was done since the log was created.
    #[must_use]
    pub fn stats(&self) -> WalStats {
        self.log.stats()
    }

    /// Makes the log refuse everything from now on, and wakes all that wait: they get `cause`, unless the log has
    /// failed before, whose cause then stays.
    pub fn poison(&self, cause: Failure) {
        self.log.poison(cause);
    }

    /// Does now, on this thread, what the helper threads do: maps what is due, has the next segment ready, starts
    /// write-back, syncs segments that were left, and syncs if [`WalOptions::sync_interval`] has passed. For programs that
    /// run none of those threads. What fails is seen by those who use the log next.
    pub fn maintain(&self) {
        self.log.map_ahead();
        self.log.keep_up();
        self.log.map_ahead();
    }

    /// Files that are there for further segments: prepared, or kept from retired ones.
    #[must_use]
    pub fn spare_files(&self) -> u64 {
        self.log.spare_files()
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
        self.threads.lock().stop(&self.log);
        self.log.close()
    }

    /// Whether the log has failed: one atomic load.
    #[inline]
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.log.has_failed()
    }

    /// The cause for which the log has failed, if it has. One atomic load while it has not.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.log.failure()
    }
}
