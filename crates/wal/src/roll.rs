//! New segments: creating a file, durably, and switching to it.
//!
//! Order, and why. The file is created and allocated first, so that a full disk is found while the old segment still
//! takes small records. Then the tail is frozen, which fixes the exact end of the old segment; the header that states
//! that end is written and synced, then the directory; only then can a record be reserved in the new segment. Once a
//! header with the old segment's end may be on disk, that segment stays frozen even if the rest fails: a record
//! appended behind the stated end would be lost.

use std::path::Path;

use base::SegmentNumber;
use base::record::framed_len;
use base::sync::atomic::Ordering;
use base::sync::{Arc, now};
use vfs::{ErrorKind, Fs};

use crate::backend::{Backend, Positional};
use crate::error::Error;
use crate::format::{SEGMENT_HEADER_BYTES, SegmentHeader, segment_file_name};
use crate::log::{Tail, Wal};
use crate::options::Predecessor;
use crate::segments::Segment;

/// Who starts new segments; its lock is held while that is done.
#[derive(Debug)]
pub(crate) struct Roller {
    last_number: SegmentNumber,
}

impl Roller {
    pub fn new(last_number: SegmentNumber) -> Self {
        Self { last_number }
    }
}

/// A segment that could not be created.
pub(crate) struct CreateFailed {
    pub error: Error,
    /// Its file is there and could not be removed.
    pub left_behind: bool,
}

/// Creates the file of segment `number` with `file_bytes` bytes, asks `freeze` for its predecessor and how much of that
/// is durable, and makes header and directory entry durable. A file that exists is left alone; one that could not be
/// completed is removed again, to give its space back.
pub(crate) fn create_segment(
    fs: &dyn Fs,
    dir: &Path,
    number: SegmentNumber,
    file_bytes: u64,
    freeze: impl FnOnce() -> (Option<Predecessor>, u64),
) -> Result<Box<dyn Backend>, CreateFailed> {
    let path = dir.join(segment_file_name(number));
    let file = fs
        .create(&path)
        .map_err(|error| CreateFailed { error: error.into(), left_behind: false })?;
    let prepare = || {
        file.allocate(0, file_bytes)?;
        let (predecessor, predecessor_vouched) = freeze();
        let header = SegmentHeader { number, predecessor, predecessor_vouched };
        file.write_all_at(&header.encode(), 0)?;
        file.sync_all()?;
        fs.sync_dir(dir)
    };
    match prepare() {
        Ok(()) => Ok(Box::new(Positional(file))),
        Err(error) => {
            drop(file);
            let left_behind =
                fs.remove(&path).is_err_and(|error| error.kind() != ErrorKind::NotFound);
            Err(CreateFailed { error: error.into(), left_behind })
        }
    }
}

impl Wal {
    /// Starts a new segment, so that [`Wal::retire_before`] can remove the current one later. When the current one
    /// holds no record, it stays.
    ///
    /// # Errors
    /// As [`Wal::make_room`].
    pub fn roll(&self) -> Result<(), Error> {
        self.roll_when(0, |tail| tail.offset > SEGMENT_HEADER_BYTES)
    }

    /// Starts a new segment with room for a record of `payload_len` bytes if, once nobody else is at it, `needed` says
    /// so.
    pub(crate) fn roll_when(
        &self,
        payload_len: usize,
        needed: impl Fn(&Tail) -> bool,
    ) -> Result<(), Error> {
        let mut roller = self.roller.lock();
        self.check()?;
        if !needed(&self.tail.lock()) {
            return Ok(());
        }
        let started = now();
        let number = roller.last_number.next().ok_or_else(|| Error::NumbersExhausted {
            dir: self.dir.clone(),
            last: roller.last_number,
        })?;
        // Numbers are not used twice: a file whose creation failed may still be there after a crash.
        roller.last_number = number;
        let record_end = SEGMENT_HEADER_BYTES + framed_len(SEGMENT_HEADER_BYTES, payload_len);
        // A record larger than a segment gets one with room for others beside it: a small one that comes first must not
        // spoil it.
        let file_bytes = if record_end > self.options.segment_bytes {
            (record_end + self.options.segment_bytes).min(u64::from(u32::MAX).max(record_end))
        } else {
            self.options.segment_bytes
        };
        let mut base = 0;
        let created = create_segment(&*self.fs, &self.dir, number, file_bytes, || {
            let predecessor = self.freeze(&mut base);
            (Some(predecessor.0), predecessor.1)
        });
        match created {
            Ok(backend) => {
                self.install(Arc::new(Segment::new(number, base, file_bytes, backend)));
                self.counters.segments_created.add(1);
                self.counters.roll_nanos.add_time(now().saturating_duration_since(started));
                Ok(())
            }
            Err(CreateFailed { error, left_behind }) => {
                if left_behind {
                    self.segments.lock().push_junk(number);
                }
                Err(error)
            }
        }
    }

    /// Ends the current segment where it is: its number and end, and how many of its bytes are durable. `next_base` is
    /// set to the position of that end.
    fn freeze(&self, next_base: &mut u64) -> (Predecessor, u64) {
        let mut tail = self.tail.lock();
        tail.frozen = true;
        tail.segment.close(tail.offset);
        *next_base = tail.end();
        let vouched = tail.segment.vouched(self.durable.load(Ordering::Acquire));
        let end_offset = tail.offset;
        (Predecessor { segment: tail.segment.number, end_offset }, vouched.min(end_offset))
    }

    /// Lets records into a segment whose header and directory entry are durable.
    fn install(&self, segment: Arc<Segment>) {
        // Listed before anything can be reserved in it, so that a sync finds it.
        self.segments.lock().push(Arc::clone(&segment));
        let mut tail = self.tail.lock();
        tail.segment = segment;
        tail.offset = SEGMENT_HEADER_BYTES;
        tail.frozen = false;
    }
}
