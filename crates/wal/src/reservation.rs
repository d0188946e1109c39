//! A reserved place in the log: filling it, or closing it when it is given up.

use base::SegmentNumber;
use base::record;
use base::sync::Arc;
use base::sync::atomic::Ordering;

use crate::backend::Content;
use crate::error::{AppendError, Failure};
use crate::log::Log;
use crate::position::LogPosition;
use crate::segments::Segment;
use crate::tail::{Cut, Place};
use crate::window::Window;

/// A place in the log for one record, to be filled soon: what is reserved behind it is recovered, and synced, only when
/// it is filled.
///
/// Dropped without being filled (by a panic, say) it becomes an aborted place, which readers pass over; if that cannot
/// be written, the log fails.
#[derive(Debug)]
#[must_use = "a reservation that is dropped becomes an aborted place"]
pub struct Reservation<'a> {
    log: &'a Log,
    window: Arc<Window>,
    place: Place,
    payload_len: usize,
    ticket: u64,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Nothing was written to the place.
    Untouched,
    /// A write to the place was begun and did not succeed: part of the record, or all of it, may be there.
    Touched,
    /// The ticket is finished, or the log has failed.
    Done,
}

impl<'a> Reservation<'a> {
    pub(crate) fn new(log: &'a Log, cut: Cut, payload_len: usize) -> Self {
        let Cut { place, window, ticket, .. } = cut;
        Self { log, window, place, payload_len, ticket, state: State::Untouched }
    }

    /// The segment that holds the place.
    #[must_use]
    pub fn segment(&self) -> SegmentNumber {
        self.place.segment()
    }

    /// The position behind the record (exclusive): what [`Wal::sync`](crate::Wal::sync) waits for.
    #[must_use]
    pub fn end(&self) -> LogPosition {
        LogPosition(self.file().base() + self.place.range().end)
    }

    fn file(&self) -> &Segment {
        &self.window.segment
    }

    /// Puts the record made of `parts`, one after the other, to its place. Takes no lock; makes no system call for a
    /// small record whose place is mapped; else it allocates while the thread's buffer grows (to 16 KiB at most), or a list of a large record's parts. On
    /// success the record survives the process once all records reserved before it are filled too.
    ///
    /// # Errors
    /// [`AppendError::NotAppended`]: the record is not in the log, and will not come back; the log goes on.
    /// [`AppendError::Failed`]: the log has failed.
    ///
    /// # Panics
    /// When the parts do not add up to the length that was reserved; the place is aborted then.
    pub fn fill(self, parts: &[&[u8]]) -> Result<(), AppendError> {
        self.put(parts, false)
    }

    /// As [`fill`](Self::fill), for a record that is synced next: it is written in the way that suits a sync.
    ///
    /// # Errors
    /// As [`fill`](Self::fill).
    ///
    /// # Panics
    /// As [`fill`](Self::fill).
    pub fn fill_to_sync(self, parts: &[&[u8]]) -> Result<(), AppendError> {
        self.put(parts, true)
    }

    fn put(mut self, parts: &[&[u8]], is_synced: bool) -> Result<(), AppendError> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        assert_eq!(len, self.payload_len, "a record has the length that was reserved for it");
        self.state = State::Touched;
        let (salt, vouched) = (self.file().salt(), self.vouched());
        let content = Content { salt, vouched, parts, is_synced };
        let range = self.place.range();
        if content.is_written(range.end - range.start) && self.log.mapper.note_written() {
            self.log.helpers.notify_mapper();
        }
        match self.window.backend.put(&mut self.place, &content) {
            Ok(()) => {
                self.finish();
                Ok(())
            }
            Err(cause) => match self.abort() {
                Ok(()) => Err(AppendError::NotAppended(cause)),
                Err(failure) => Err(AppendError::Failed(failure)),
            },
        }
    }

    /// How many bytes of the segment are known to be durable now: never more than what stands before this place, since
    /// this place is not filled yet.
    fn vouched(&self) -> u32 {
        let vouched = self.file().vouched(self.log.durable.load(Ordering::Acquire));
        debug_assert!(vouched <= self.place.range().start, "an open place is not durable");
        u32::try_from(vouched).unwrap_or(0)
    }

    /// Turns the place into an aborted one; if that fails, the log has failed.
    fn abort(&mut self) -> Result<(), Failure> {
        let closed = self.write_aborted();
        if let Err(failure) = closed {
            self.log.poison(failure);
            self.state = State::Done;
            // Not this write's error, when the log had failed before: the first cause stays.
            return Err(self.log.failure().unwrap_or_else(|| Failure::new("the log has failed")));
        }
        self.log.counters.aborted.add(1);
        self.finish();
        Ok(())
    }

    fn write_aborted(&self) -> Result<(), Failure> {
        let file = &*self.file().file;
        let (salt, vouched) = (self.file().salt(), self.vouched());
        let start = self.place.range().start;
        for (at, header) in record::abort(start, self.payload_len, salt, vouched) {
            file.write_all_at(&header, at).map_err(Failure::new)?;
        }
        if self.state == State::Touched {
            // The failed record may be on its way to the disk as a whole; unless the abort is durable, a power cut
            // could bring back what its writer was told is not there.
            self.log.sync_file(file)?;
        }
        Ok(())
    }

    fn finish(&mut self) {
        self.state = State::Done;
        self.log.ring.complete(self.ticket, self.end().get());
        self.log.syncing.filled_some();
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if self.state != State::Done {
            // A failure is the log's from here on: everyone after this sees it.
            let _seen_by_all_later_calls = self.abort();
        }
    }
}
