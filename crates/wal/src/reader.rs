//! Reading a log while it is written.
//!
//! A reader follows the writers: it reads the files, by positional reads, up to where everything is filled, or durable.
//! So it meets whole records and aborted places only; anything else there is damage.
//!
//! Concurrency: no lock but the list's, when it goes on into the next segment. While it is in a segment it counts as that
//! one's reader: the segment may be retired, and its file then keeps its bytes until the reader has left it.

use std::fmt;
use std::sync::Arc;

use base::SegmentNumber;
use base::record::{Reason, RecordReader};
use base::sync::Instant;

use crate::error::Error;
use crate::format::{SEGMENT_HEADER_BYTES, segment_file_name};
use crate::log::Log;
use crate::position::LogPosition;
use crate::segments::Segment;

/// Up to where a [`LogReader`] reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadUpTo {
    /// All that is on stable storage: nothing that is read can be taken back by a power cut.
    #[default]
    Durable,
    /// All that is filled: it survives the process, and a power cut may take it back.
    Filled,
}

/// A record that a [`LogReader`] has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRecord<'a> {
    /// The segment that holds it.
    pub segment: SegmentNumber,
    /// The position behind it.
    pub end: LogPosition,
    /// What was appended.
    pub payload: &'a [u8],
}

type Records = RecordReader<Box<dyn FnMut(u64, &mut [u8]) -> vfs::Result<usize> + Send>>;

/// Reads the records of an open log in order, from the oldest segment of this [`Wal`](crate::Wal) that is not retired,
/// while others append. It keeps what it reads from being used for other segments, not from being retired.
pub struct LogReader {
    log: Arc<Log>,
    segment: Arc<Segment>,
    upto: ReadUpTo,
    /// Offset in the segment behind what was read.
    at: u64,
    /// Reads up to the offset beside it.
    records: Option<(Records, u64)>,
    payload: Vec<u8>,
}

impl fmt::Debug for LogReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogReader")
            .field("segment", &self.segment.number)
            .field("at", &self.at)
            .field("upto", &self.upto)
            .finish_non_exhaustive()
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        self.segment.release();
    }
}

impl LogReader {
    pub(crate) fn new(log: Arc<Log>, upto: ReadUpTo) -> Option<Self> {
        let segment = log.segments.lock().reader_at(0)?;
        Some(Self {
            log,
            segment,
            upto,
            at: SEGMENT_HEADER_BYTES,
            records: None,
            payload: Vec::new(),
        })
    }

    /// The position behind what was read.
    #[must_use]
    pub fn position(&self) -> LogPosition {
        LogPosition(self.segment.base() + self.at)
    }

    /// The next record, or `None` when there is none yet.
    ///
    /// # Errors
    /// [`Error::Retired`]: records were retired before they were read; the reader goes on behind them.
    /// [`Error::Corrupt`], [`Error::Fs`]: the log cannot be read here.
    pub fn next_record(&mut self) -> Result<Option<LogRecord<'_>>, Error> {
        loop {
            if self.read()? {
                let (segment, end) = (self.segment.number, self.position());
                return Ok(Some(LogRecord { segment, end, payload: &self.payload }));
            }
            if !self.go_on()? {
                return Ok(None);
            }
        }
    }

    /// Waits until there may be another record, or until `deadline`: answers `false` then.
    ///
    /// # Errors
    /// [`Error::Failed`]: the log has failed, or was closed; what was appended before can still be read.
    pub fn wait(&self, deadline: Option<Instant>) -> Result<bool, Error> {
        self.log.wait_past(self.position(), self.upto, deadline)
    }

    /// Takes the next record of the segment into `payload`, if there is one.
    fn read(&mut self) -> Result<bool, Error> {
        loop {
            if self.records.is_none() {
                let readable =
                    self.log.reached(self.upto).get().saturating_sub(self.segment.base());
                let limit = readable.min(self.segment.end().unwrap_or(u64::MAX));
                if limit <= self.at {
                    return Ok(false);
                }
                self.records = Some((self.records_up_to(limit), limit));
            }
            let Some((records, limit)) = &mut self.records else { return Ok(false) };
            let stop = match records.next_record()? {
                Ok(record) => {
                    self.at = record.end;
                    self.payload.clear();
                    self.payload.extend_from_slice(record.payload);
                    return Ok(true);
                }
                Err(stop) => stop,
            };
            if stop.good_until != *limit {
                let name = segment_file_name(self.segment.number);
                return Err(Error::Corrupt {
                    path: self.log.dir.join(name),
                    offset: stop.offset,
                    expected: "a whole record, since it was filled".to_owned(),
                    found: match stop.reason {
                        Reason::End => Reason::Truncated.to_string(),
                        reason => reason.to_string(),
                    },
                });
            }
            self.at = *limit;
            self.records = None;
        }
    }

    fn records_up_to(&self, limit: u64) -> Records {
        let file = Arc::clone(&self.segment.file);
        let read_at = move |offset: u64, buf: &mut [u8]| {
            let wanted = limit.saturating_sub(offset).min(buf.len() as u64) as usize;
            file.read_at(&mut buf[..wanted], offset)
        };
        RecordReader::new(self.segment.salt(), self.at, Box::new(read_at))
    }

    /// Goes on into the next segment, if this one is read to its end; answers whether there was one.
    fn go_on(&mut self) -> Result<bool, Error> {
        if self.segment.end() != Some(self.at) {
            return Ok(false);
        }
        let end = self.position();
        let next = self.log.segments.lock().reader_at(end.get());
        let Some(next) = next else { return Ok(false) };
        let begin = LogPosition(next.base());
        let before = std::mem::replace(&mut self.segment, next);
        before.release();
        self.at = SEGMENT_HEADER_BYTES;
        if begin == end { Ok(true) } else { Err(Error::Retired { from: end, to: begin }) }
    }
}
