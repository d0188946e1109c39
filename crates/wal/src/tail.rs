//! Where the next record goes: the open segment, the place behind the last one, and the way to it.
//!
//! Invariants
//! - The places of one segment are dense, in the order of their tickets, and never cut twice.
//! - Windows that wait in `ahead` are in ascending order, do not overlap, and lie behind the present one.
//!
//! Concurrency: behind one lock, held for arithmetic only. A window that is left here is not unmapped here: whoever
//! mapped it keeps it until nobody else does.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use base::SegmentNumber;
use base::record::framed_len;

use crate::format::SEGMENT_HEADER_BYTES;
use crate::options::Predecessor;
use crate::segments::Segment;
use crate::window::Window;

/// How many bytes are reserved between two looks of the disk's helper: so many that waking it stays out of the latency
/// of all but one in more than ten thousand small records.
const NOTICE_BYTES: u64 = 2 << 20;

/// Bytes of a segment's file that belong to one record, and to nobody else.
///
/// Contract: no two of them overlap in the same segment, and the file is not another segment's while one of its places is
/// not filled. [`Tail::cut`] makes them, one behind the other, and nobody else can; a place cannot be copied; a retired
/// segment's file is used again only when all its places are filled.
#[derive(Debug)]
pub(crate) struct Place {
    segment: SegmentNumber,
    range: Range<u64>,
}

impl Place {
    /// The segment whose file it is in.
    pub fn segment(&self) -> SegmentNumber {
        self.segment
    }

    /// Its offsets in the file.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }
}

/// The end of the log, behind its lock.
#[derive(Debug)]
pub(crate) struct Tail {
    pub segment: Arc<Segment>,
    /// The next free offset in the segment.
    pub offset: u64,
    /// The position behind the last record that was reserved, in whichever segment.
    pub reserved: u64,
    pub next_ticket: u64,
    /// The segment's end was (or is being) written into a successor's link: nothing more goes into it, even if that
    /// successor could not be completed.
    pub frozen: bool,
    /// The log is being closed: nothing more is placed but the mark.
    pub is_closing: bool,
    pub records: u64,
    pub payload_bytes: u64,
    /// Records for which no window was mapped.
    pub unmapped_records: u64,
    /// The way to the next place, if that lies in it.
    window: Arc<Window>,
    /// The way to every place of the segment, without mapped memory.
    plain: Arc<Window>,
    /// Mapped windows further on.
    ahead: VecDeque<Arc<Window>>,
    /// A place that ends behind this offset may need another window.
    turn_at: u64,
    /// A place that ends behind this offset is reason for the helpers to look.
    notice_at: u64,
}

/// A place that was reserved, and what comes with it.
#[derive(Debug)]
pub(crate) struct Cut {
    pub place: Place,
    pub window: Arc<Window>,
    pub ticket: u64,
    /// The disk's helper should look.
    pub notice: bool,
    /// The mapper should look: another window is used than before, or none.
    pub for_mapper: bool,
}

impl Tail {
    /// The tail of a log that begins with `segment`, which is in use.
    pub fn new(segment: Arc<Segment>) -> Self {
        let plain = Arc::new(Window::plain(&segment));
        Self {
            offset: SEGMENT_HEADER_BYTES,
            reserved: segment.base() + SEGMENT_HEADER_BYTES,
            next_ticket: 0,
            frozen: false,
            is_closing: false,
            records: 0,
            payload_bytes: 0,
            unmapped_records: 0,
            window: Arc::clone(&plain),
            plain,
            ahead: VecDeque::with_capacity(8),
            turn_at: u64::MAX,
            notice_at: notice_after(SEGMENT_HEADER_BYTES, segment.capacity),
            segment,
        }
    }

    /// The position of the next free byte: behind the last record, or behind the header of a segment without one.
    pub fn end(&self) -> u64 {
        self.segment.base() + self.offset
    }

    /// The offset behind a record of `payload_len` bytes, if it can be placed in this segment.
    pub fn end_with(&self, payload_len: usize) -> Option<u64> {
        let end = self.offset + framed_len(self.offset, payload_len);
        (!self.frozen && !self.is_closing && end <= self.segment.capacity).then_some(end)
    }

    pub fn fits(&self, payload_len: usize) -> bool {
        self.end_with(payload_len).is_some()
    }

    /// Cuts the place up to offset `end`, which [`Tail::end_with`] gave for `payload_len`.
    #[inline]
    pub fn cut(&mut self, end: u64, payload_len: usize) -> Cut {
        let start = std::mem::replace(&mut self.offset, end);
        self.reserved = self.segment.base() + end;
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.records += 1;
        self.payload_bytes += payload_len as u64;
        let turned = end > self.turn_at;
        let window = if turned { self.turn(start, end) } else { Arc::clone(&self.window) };
        let is_unmapped = Arc::ptr_eq(&window, &self.plain);
        self.unmapped_records += u64::from(is_unmapped);
        let notice = end > self.notice_at;
        if notice {
            self.notice_at = notice_after(end, self.segment.capacity);
        }
        let place = Place { segment: self.segment.number, range: start..end };
        Cut { place, window, ticket, notice, for_mapper: turned || (notice && is_unmapped) }
    }

    /// The way to a place that the present window does not reach.
    #[cold]
    fn turn(&mut self, start: u64, end: u64) -> Arc<Window> {
        let is_in = |window: &Window| window.range.start <= start && end <= window.range.end;
        while self.ahead.front().is_some_and(|window| window.range.end <= start) {
            self.ahead.pop_front();
        }
        if self.ahead.front().is_some_and(|window| is_in(window))
            && let Some(next) = self.ahead.pop_front()
        {
            self.window = next;
        } else if !is_in(&self.window) {
            self.window = Arc::clone(&self.plain);
        }
        self.turn_at = if Arc::ptr_eq(&self.window, &self.plain) {
            self.ahead.front().map_or(u64::MAX, |window| window.range.start)
        } else {
            self.window.range.end
        };
        Arc::clone(&self.window)
    }

    /// The first offset of the segment for which no window is mapped, or waits.
    pub fn mapped_until(&self) -> u64 {
        let is_mapped = !Arc::ptr_eq(&self.window, &self.plain);
        let last = self.ahead.back().or(is_mapped.then_some(&self.window));
        last.map_or(self.offset, |window| window.range.end.max(self.offset))
    }

    /// The position before which nobody is given a mapped window any more.
    pub fn unmapped_before(&self) -> u64 {
        let is_mapped = !Arc::ptr_eq(&self.window, &self.plain);
        let first = is_mapped.then_some(&self.window).or(self.ahead.front());
        let offset = first.map_or(self.offset, |window| window.range.start.min(self.offset));
        self.segment.base() + offset
    }

    /// Adds a mapped window behind all others, if it belongs to this segment and is not passed yet.
    pub fn add_window(&mut self, window: &Arc<Window>) -> bool {
        let is_ours = window.segment.number == self.segment.number;
        if !is_ours || window.range.end <= self.offset {
            return false;
        }
        if Arc::ptr_eq(&self.window, &self.plain) {
            self.turn_at = self.turn_at.min(window.range.start);
        }
        self.ahead.push_back(Arc::clone(window));
        true
    }

    /// Cuts the place of the mark that ends a log that is being closed, if there is room for it.
    pub fn cut_mark(&mut self) -> Option<Cut> {
        self.is_closing = false;
        let end = self.end_with(0);
        self.is_closing = true;
        end.map(|end| self.cut(end, 0))
    }

    /// Lets go of all mapped windows.
    pub fn let_go(&mut self) {
        self.window = Arc::clone(&self.plain);
        self.ahead.clear();
        self.turn_at = u64::MAX;
    }

    /// Ends the segment where it is, for good: answers its number and end.
    pub fn freeze(&mut self) -> Predecessor {
        self.frozen = true;
        self.segment.close(self.offset);
        Predecessor { segment: self.segment.number, end_offset: self.offset }
    }

    /// Goes on in `segment`, whose link states where the frozen one ends.
    pub fn go_on(&mut self, segment: Arc<Segment>, plain: Arc<Window>, windows: &[Arc<Window>]) {
        self.window = Arc::clone(&plain);
        self.plain = plain;
        self.ahead.clear();
        self.ahead.extend(windows.iter().cloned());
        self.turn_at = windows.first().map_or(u64::MAX, |window| window.range.start);
        self.offset = SEGMENT_HEADER_BYTES;
        self.notice_at = notice_after(SEGMENT_HEADER_BYTES, segment.capacity);
        self.frozen = false;
        self.segment = segment;
    }
}

/// Where the helpers look next: they prepare the next segment when a quarter of this one is used.
fn notice_after(offset: u64, capacity: u64) -> u64 {
    offset + NOTICE_BYTES.min(capacity / 4)
}
