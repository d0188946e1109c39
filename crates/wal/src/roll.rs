//! New segments: taking one that is ready, or making one, and switching to it.
//!
//! Order, and why. The segment is made ready first (`prepare`), by a helper if it is in time, so that a full disk is
//! found while the old segment still takes records. Then the tail is frozen, which fixes the exact end of the old
//! segment; then the link that states that end is written; only then can a record be reserved in the new segment. No
//! sync stands in between: the link becomes durable with the first synced record of its segment, and until then nothing
//! in the segment counts as durable. Once a link with the old segment's end may be on disk, that segment stays frozen
//! even if the rest fails: a record appended behind the stated end would be lost.

use std::sync::Arc;

use base::SegmentNumber;
use base::record::framed_len;
use base::sync::now;
use vfs::ErrorKind;

use crate::error::Error;
use crate::format::{LINK_OFFSET, SEGMENT_HEADER_BYTES, SegmentLink, segment_file_name};
use crate::log::Log;
use crate::prepare::{PrepareFailed, Source, Spare, prepare};
use crate::segments::Segment;
use crate::tail::Tail;
use crate::window::Window;

/// The first segment of a log has at most this size, each further one twice the size of the one before, up to the
/// option's: a log that little is written to takes little space, and little time to open.
pub(crate) const FIRST_BYTES_MAX: u64 = 4 << 20;

/// Who makes new segments; its lock is held while that is done.
#[derive(Debug)]
pub(crate) struct Roller {
    last_number: SegmentNumber,
}

impl Roller {
    pub fn new(last_number: SegmentNumber) -> Self {
        Self { last_number }
    }
}

/// A segment that is ready for use.
#[derive(Debug)]
pub(crate) struct Ready {
    pub segment: Arc<Segment>,
    /// Its first windows, in order, if any are mapped.
    pub windows: Vec<Arc<Window>>,
}

/// Whether a segment of `capacity` bytes can begin with a record of `payload_len` bytes.
fn holds(capacity: u64, payload_len: usize) -> bool {
    SEGMENT_HEADER_BYTES + framed_len(SEGMENT_HEADER_BYTES, payload_len) <= capacity
}

impl Log {
    /// As [`Wal::roll`](crate::Wal::roll).
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
        let ready = self.ready.lock().take();
        let ready = match ready {
            Some(ready) if holds(ready.segment.capacity, payload_len) => ready,
            ready => {
                // Its number is passed over; its file is as good as another.
                if let Some(Ready { segment, .. }) = ready {
                    self.dispose(&segment);
                }
                self.counters.segments_unprepared.add(1);
                // Zeros would keep the writer waiting for longer than they save those who sync.
                let for_syncs = !self.options.helper_threads && self.expects_syncs();
                let segment = self.make_ready(&mut roller, payload_len, for_syncs)?;
                Ready { segment: Arc::new(segment), windows: Vec::new() }
            }
        };
        let rolled = self.switch_to(ready);
        self.counters.roll_nanos.add_time(now().saturating_duration_since(started));
        rolled
    }

    /// Makes a segment ready for use, with room for a record of `payload_len` bytes; `for_syncs` as [`prepare`] has it.
    fn make_ready(
        &self,
        roller: &mut Roller,
        payload_len: usize,
        for_syncs: bool,
    ) -> Result<Segment, Error> {
        let number = roller.last_number.next().ok_or_else(|| Error::NumbersExhausted {
            dir: self.dir.clone(),
            last: roller.last_number,
        })?;
        // Numbers are not used twice: a file whose creation failed may still be there after a crash.
        roller.last_number = number;
        let source = self.source(payload_len);
        match prepare(&*self.fs, &self.dir, number, source, None, for_syncs) {
            Ok(segment) => {
                let count = match source {
                    Source::New { .. } => &self.counters.segments_created,
                    Source::Spare(_) => &self.counters.segments_recycled,
                };
                count.add(1);
                Ok(segment)
            }
            Err(PrepareFailed { error, left_behind }) => {
                if left_behind {
                    self.segments.lock().push_junk(number);
                }
                if let Source::Spare(spare) = source {
                    // The renaming may have been what failed.
                    self.segments.lock().push_junk(spare.number);
                }
                Err(error)
            }
        }
    }

    /// What the next segment is made of.
    fn source(&self, payload_len: usize) -> Source {
        let usual = self.options.segment_bytes;
        if holds(usual, payload_len)
            && let Some(spare) = self.spares.lock().pop()
        {
            return Source::Spare(spare);
        }
        let grown = self.tail.lock().segment.capacity.saturating_mul(2).min(usual);
        let file_bytes = if holds(grown, payload_len) {
            grown
        } else if holds(usual, payload_len) {
            usual
        } else {
            // A record larger than a segment gets one with room for others beside it: a small one that comes first must
            // not spoil it.
            let end = SEGMENT_HEADER_BYTES + framed_len(SEGMENT_HEADER_BYTES, payload_len);
            (end + usual).min(u64::from(u32::MAX).max(end))
        };
        Source::New { file_bytes }
    }

    /// Goes on in a segment that is ready. The caller is the only one that rolls.
    fn switch_to(&self, ready: Ready) -> Result<(), Error> {
        let Ready { segment, windows } = ready;
        let plain = Arc::new(Window::plain(&segment));
        let (base, link) = self.freeze();
        let written = segment.file.write_all_at(&link.encode(segment.number), LINK_OFFSET);
        if let Err(error) = written {
            drop((plain, windows));
            let path = self.dir.join(segment_file_name(segment.number));
            if self.fs.remove(&path).is_err_and(|error| error.kind() != ErrorKind::NotFound) {
                self.segments.lock().push_junk(segment.number);
            }
            return Err(error.into());
        }
        segment.begin(base);
        // Listed before anything can be reserved in it, so that a sync finds it.
        self.segments.lock().push(Arc::clone(&segment));
        self.tail.lock().go_on(segment, plain, &windows);
        self.helpers.notify();
        Ok(())
    }

    /// Ends the current segment where it is; the position of that end, and the link that states it.
    fn freeze(&self) -> (u64, SegmentLink) {
        let mut tail = self.tail.lock();
        let predecessor = tail.freeze();
        let vouched = tail.segment.vouched(self.durable().get());
        let predecessor_vouched = vouched.min(predecessor.end_offset);
        (tail.end(), SegmentLink { predecessor: Some(predecessor), predecessor_vouched })
    }

    /// Has the next segment ready, if enough of this one is used and nobody else is at it. Answers whether it made one.
    pub(crate) fn prepare_ahead(&self) -> Result<bool, Error> {
        let is_due = {
            let tail = self.tail.lock();
            tail.offset >= tail.segment.capacity / 4
        };
        if !is_due {
            return Ok(false);
        }
        let Some(mut roller) = self.roller.try_lock() else { return Ok(false) };
        if self.failure().is_some() || self.ready.lock().is_some() {
            return Ok(false);
        }
        let segment = self.make_ready(&mut roller, 0, self.expects_syncs())?;
        *self.ready.lock() = Some(Ready { segment: Arc::new(segment), windows: Vec::new() });
        self.counters.segments_prepared.add(1);
        Ok(true)
    }

    /// Keeps the file of a segment that was ready and is not used, or removes it.
    fn dispose(&self, segment: &Segment) {
        if !self.keep(Spare::of(segment)) {
            self.segments.lock().push_junk(segment.number);
        }
    }

    /// Keeps a file for another segment, if it fits and not enough are kept.
    pub(crate) fn keep(&self, spare: Spare) -> bool {
        let mut spares = self.spares.lock();
        let is_kept = spare.file_bytes == self.options.segment_bytes
            && spares.len() < self.options.spare_segments_max;
        if is_kept {
            spares.push(spare);
        }
        is_kept
    }

    /// Removes the files that were kept for further segments: the log is closed.
    pub(crate) fn remove_spares(&self) {
        let ready = self.ready.lock().take().map(|ready| ready.segment.number);
        let spares = std::mem::take(&mut *self.spares.lock());
        for number in spares.into_iter().map(|spare| spare.number).chain(ready) {
            // What stays is found by the next opening, as a file that belongs to no log.
            let _stays_until_then = self.fs.remove(&self.dir.join(segment_file_name(number)));
        }
    }
}
