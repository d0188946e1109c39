//! A reserved place in the log: filling it, or closing it when it is given up.

use std::cell::Cell;
use std::ops::Range;

use base::SegmentNumber;
use base::record;
use base::sync::Arc;
use base::sync::atomic::Ordering;

use crate::error::{AppendError, Failure};
use crate::log::Wal;
use crate::position::LogPosition;
use crate::segments::Segment;

/// The longest single write; a longer record is encoded and written in pieces of about this size, so that the buffer
/// that each thread keeps stays small.
const PIECE_BYTES: usize = 256 << 10;

thread_local! {
    /// Where this thread encodes. Taken out while in use, so that whatever runs inside a write finds an empty one.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A place in the log for one record, to be filled soon: what is reserved behind it is recovered, and synced, only when
/// it is filled.
///
/// Dropped without being filled (by a panic, say) it becomes an aborted place, which readers pass over; if that cannot
/// be written, the log fails.
#[derive(Debug)]
#[must_use = "a reservation that is dropped becomes an aborted place"]
pub struct Reservation<'a> {
    wal: &'a Wal,
    segment: Arc<Segment>,
    /// The place in the segment's file.
    place: Range<u64>,
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
    pub(crate) fn new(
        wal: &'a Wal,
        segment: Arc<Segment>,
        place: Range<u64>,
        payload_len: usize,
        ticket: u64,
    ) -> Self {
        Self { wal, segment, place, payload_len, ticket, state: State::Untouched }
    }

    /// The segment that holds the place.
    #[must_use]
    pub fn segment(&self) -> SegmentNumber {
        self.segment.number
    }

    /// The position behind the record (exclusive): what [`Wal::sync`] waits for.
    #[must_use]
    pub fn end(&self) -> LogPosition {
        LogPosition(self.segment.base + self.place.end)
    }

    /// Writes the record made of `parts`, one after the other, to its place. Takes no lock, and allocates only while
    /// the thread's buffer grows (to 256 KiB at most). On success the record survives the process once all records
    /// reserved before it are filled too.
    ///
    /// # Errors
    /// [`AppendError::NotAppended`]: the record is not in the log, and will not come back; the log goes on.
    /// [`AppendError::Failed`]: the log has failed.
    ///
    /// # Panics
    /// When the parts do not add up to the length that was reserved; the place is aborted then.
    pub fn fill(mut self, parts: &[&[u8]]) -> Result<(), AppendError> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        assert_eq!(len, self.payload_len, "a record has the length that was reserved for it");
        self.state = State::Touched;
        match self.write(parts) {
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

    fn write(&self, parts: &[&[u8]]) -> vfs::Result<()> {
        let backend = &*self.segment.backend;
        let mut buffer = BUFFER.take();
        buffer.clear();
        let mut at = self.place.start;
        let (salt, vouched) = (self.segment.salt(), self.vouched());
        let encoded = record::encode_with(at, salt, vouched, parts, |slice| {
            if buffer.len() + slice.len() > PIECE_BYTES {
                backend.write_at(&buffer, at)?;
                at += buffer.len() as u64;
                buffer.clear();
            }
            buffer.extend_from_slice(slice);
            Ok(())
        });
        let written = encoded.and_then(|()| backend.write_at(&buffer, at));
        BUFFER.set(buffer);
        written
    }

    /// How many bytes of the segment are known to be durable now: never more than what stands before this place, since
    /// this place is not filled yet.
    fn vouched(&self) -> u32 {
        let vouched = self.segment.vouched(self.wal.durable.load(Ordering::Acquire));
        debug_assert!(vouched <= self.place.start, "an open place is not durable");
        u32::try_from(vouched).unwrap_or(0)
    }

    /// Turns the place into an aborted one; if that fails, the log has failed.
    fn abort(&mut self) -> Result<(), Failure> {
        let closed = self.write_aborted();
        if let Err(cause) = closed {
            self.wal.poison(Failure::new(cause));
            self.state = State::Done;
            // Not this write's error, when the log had failed before: the first cause stays.
            return Err(self.wal.failure().unwrap_or_else(|| Failure::new("the log has failed")));
        }
        self.wal.counters.aborted.add(1);
        self.finish();
        Ok(())
    }

    fn write_aborted(&self) -> vfs::Result<()> {
        let backend = &*self.segment.backend;
        let (salt, vouched) = (self.segment.salt(), self.vouched());
        for (at, header) in record::abort(self.place.start, self.payload_len, salt, vouched) {
            backend.write_at(&header, at)?;
        }
        if self.state == State::Touched {
            // The failed record may be on its way to the disk as a whole; unless the abort is durable, a power cut
            // could bring back what its writer was told is not there.
            backend.sync()?;
        }
        Ok(())
    }

    fn finish(&mut self) {
        self.state = State::Done;
        self.wal.ring.complete(self.ticket, self.end().get());
        self.wal.syncing.filled_some();
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
