//! Windows: which part of which segment is mapped, ahead of those who write.
//!
//! One mapper at a time maps the windows that follow the tail, in the open segment and then in the one that is ready,
//! makes them resident, and hands them over; and unmaps those that all have left. The sum of what is mapped stays below
//! a bound and, if there is a pool, is charged to it before it is mapped. Where mapping fails there is no window, and
//! records are written instead; nobody waits for one. While few records are such as go through windows (large ones and
//! those that are synced do not), none is mapped.
//!
//! Concurrency: `mapped` guards the list of what is mapped and is held while mapping; nobody on the way of an append
//! takes it. A window in the list that nobody else holds is left for good: the tail and the ready segment got their
//! reference when it was handed over, and only they pass it on.

use std::ops::Range;
use std::sync::Arc;

use base::sync::Mutex;
use base::sync::atomic::{AtomicU64, Ordering};
use credit::{Permit, Pool};
use vfs::{Access, ErrorKind};

use crate::backend::{Backend, Mapped, Positional};
use crate::log::Log;
use crate::segments::Segment;

/// Bytes at which mappings begin and end.
const PAGE_BYTES: u64 = 4096;

/// So many windows share what may be mapped.
const WINDOWS: u64 = 4;

/// To map so many bytes of the log costs about as much as to write one small record.
const BYTES_PER_RECORD: u64 = 8 << 10;

/// So many bytes, or records, are to be looked at before it is said anew whether mapping pays.
const LOOK_BYTES: u64 = 1 << 20;
const LOOK_RECORDS: u64 = 256;

/// A range of a segment's file, and the way to places in it.
#[derive(Debug)]
pub(crate) struct Window {
    pub segment: Arc<Segment>,
    /// Offsets in the file.
    pub range: Range<u64>,
    pub backend: Box<dyn Backend>,
    /// Pays for the mapped memory, and is given back after it: fields are dropped in order.
    _permit: Option<Permit>,
}

impl Window {
    /// The whole file, without mapped memory.
    pub fn plain(segment: &Arc<Segment>) -> Self {
        Self {
            range: 0..segment.capacity,
            backend: Box::new(Positional(Arc::clone(&segment.file))),
            segment: Arc::clone(segment),
            _permit: None,
        }
    }
}

/// What is mapped.
#[derive(Debug)]
pub(crate) struct Mapper {
    mapped: Mutex<State>,
    /// The most bytes that may be mapped; 0: none.
    bytes_max: u64,
    /// What they are charged to.
    pool: Option<Pool>,
    /// Records that are written whatever is mapped.
    written: AtomicU64,
}

#[derive(Debug)]
struct State {
    windows: Vec<Arc<Window>>,
    /// Mapping has failed, and is not tried again.
    is_off: bool,
    /// There are enough records for windows.
    pays: bool,
    /// How far the log was when that was last looked at.
    looked_at: Reached,
}

/// How far the log is.
#[derive(Clone, Copy, Debug, Default)]
struct Reached {
    /// The position of its end.
    end: u64,
    records: u64,
    /// So many of them were written whatever was mapped.
    written: u64,
}

impl State {
    /// Says anew whether mapping pays, once enough was written since the last time: `bytes_min`, or many records.
    fn look(&mut self, now: Reached, bytes_min: u64) {
        let before = self.looked_at;
        let bytes = now.end.saturating_sub(before.end);
        let records = now.records.saturating_sub(before.records);
        if bytes >= bytes_min || records >= LOOK_RECORDS {
            let small = records.saturating_sub(now.written.saturating_sub(before.written));
            self.pays = small.saturating_mul(BYTES_PER_RECORD) >= bytes;
            self.looked_at = now;
        }
    }

    fn unmap_left(&mut self) {
        self.windows.retain(|window| Arc::strong_count(window) > 1);
    }
}

impl Mapper {
    pub fn new(bytes_max: u64, pool: Option<Pool>) -> Self {
        let state =
            State { windows: Vec::new(), is_off: false, pays: true, looked_at: Reached::default() };
        Self { mapped: Mutex::new(state), bytes_max, pool, written: AtomicU64::new(0) }
    }

    /// A record is written that no window would be used for; answers whether it is time for the mapper to look.
    pub fn note_written(&self) -> bool {
        self.is_on()
            && (self.written.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(LOOK_RECORDS)
    }

    /// The size of a window.
    fn window_bytes(&self) -> u64 {
        (self.bytes_max / WINDOWS / PAGE_BYTES).max(1) * PAGE_BYTES
    }

    /// Whether records may go through mapped memory.
    pub fn is_on(&self) -> bool {
        self.bytes_max > 0
    }

    /// Bytes that are mapped now.
    pub fn mapped_bytes(&self) -> u64 {
        mapped_bytes(&self.mapped.lock().windows)
    }

    /// Unmaps what all have left: so that a sync of it does not have to protect its pages first.
    pub fn unmap_left(&self) {
        self.mapped.lock().unmap_left();
    }

    /// The same while windows do not pay, for one who must not wait: a record may have held the last of them when the
    /// mapper let go of it, and the mapper may not look again for long.
    pub fn unmap_unpaid(&self) {
        if self.is_on()
            && let Some(mut state) = self.mapped.try_lock()
            && !state.pays
        {
            state.unmap_left();
        }
    }

    /// Maps nothing more, and lets go of what is mapped.
    fn close(&self) {
        let mut state = self.mapped.lock();
        state.is_off = true;
        state.windows.clear();
    }

    /// The window that begins at or behind `from`, or at 0 if that is in the first page: up to the next multiple of the windows' size, or the one behind that
    /// when little is left.
    fn window_from(&self, from: u64, capacity: u64) -> Option<Range<u64>> {
        let size = self.window_bytes();
        let start = from.next_multiple_of(PAGE_BYTES);
        let start = if from < PAGE_BYTES { 0 } else { start };
        let end = (start + size / 4).next_multiple_of(size).min(capacity);
        (start < end).then_some(start..end)
    }
}

fn mapped_bytes(windows: &[Arc<Window>]) -> u64 {
    windows.iter().map(|window| window.backend.mapped_bytes()).sum()
}

impl Log {
    /// Unmaps everything that no reservation holds, for good.
    pub(crate) fn unmap(&self) {
        // The mapper first: it hands nothing over from then on.
        self.mapper.close();
        self.let_go();
    }

    /// Leaves all windows: whoever holds a reservation in one still has that.
    fn let_go(&self) {
        if let Some(ready) = &mut *self.ready.lock() {
            ready.windows.clear();
        }
        self.tail.lock().let_go();
    }

    /// Maps what is due, and unmaps what is left.
    pub(crate) fn map_ahead(&self) {
        if !self.mapper.is_on() {
            return;
        }
        let mut state = self.mapper.mapped.lock();
        state.unmap_left();
        // Loaded first: a record counts as reserved before it counts as written.
        let written = self.mapper.written.load(Ordering::Relaxed);
        let reached = {
            let tail = self.tail.lock();
            Reached { end: tail.end(), records: tail.records, written }
        };
        state.look(reached, LOOK_BYTES.min(self.mapper.window_bytes()));
        if !state.pays {
            // To sync a page that is mapped costs more: the system takes it from every processor first.
            self.let_go();
            state.unmap_left();
        }
        while state.pays
            && !state.is_off
            && self.failure().is_none()
            && let Some((segment, range)) = self.next_window()
        {
            let bytes = range.end - range.start;
            if mapped_bytes(&state.windows) + bytes > self.mapper.bytes_max {
                return;
            }
            let permit = match &self.mapper.pool {
                None => None,
                Some(pool) => match pool.try_acquire(bytes) {
                    Ok(permit) => Some(permit),
                    Err(_) => {
                        self.counters.windows_refused.add(1);
                        return;
                    }
                },
            };
            match map(&segment, range, permit) {
                Ok(window) => {
                    self.counters.windows_mapped.add(1);
                    self.hand_over(&window);
                    state.windows.push(window);
                }
                Err(_) => {
                    // Not an error of the log's: the records are written instead, which is counted.
                    self.counters.windows_failed.add(1);
                    state.is_off = true;
                }
            }
        }
    }

    /// What to map next: in the open segment, then in the ready one.
    fn next_window(&self) -> Option<(Arc<Segment>, Range<u64>)> {
        let (segment, from) = {
            let tail = self.tail.lock();
            (Arc::clone(&tail.segment), tail.mapped_until())
        };
        if let Some(range) = self.mapper.window_from(from, segment.capacity) {
            return Some((segment, range));
        }
        let ready = self.ready.lock();
        let ready = ready.as_ref()?;
        let from = ready.windows.last().map_or(0, |window| window.range.end);
        let range = self.mapper.window_from(from, ready.segment.capacity)?;
        Some((Arc::clone(&ready.segment), range))
    }

    /// Gives a window to whoever has its segment now.
    fn hand_over(&self, window: &Arc<Window>) {
        // The ready segment first: it may be taken into use in between, and is then the tail's.
        if let Some(ready) = &mut *self.ready.lock()
            && Arc::ptr_eq(&ready.segment, &window.segment)
        {
            ready.windows.push(Arc::clone(window));
            return;
        }
        self.tail.lock().add_window(window);
    }
}

/// Maps a window and makes it resident, for writing.
fn map(
    segment: &Arc<Segment>,
    range: Range<u64>,
    permit: Option<Permit>,
) -> vfs::Result<Arc<Window>> {
    let len = (range.end - range.start) as usize;
    let region = segment.file.map(range.start, len, Access::ReadWrite)?;
    match region.populate(0, len) {
        // What would be a SIGBUS at a store is an error here.
        Err(error) if error.kind() != ErrorKind::Unsupported => return Err(error),
        _ => {}
    }
    let backend = Box::new(Mapped::new(region, Positional(Arc::clone(&segment.file))));
    Ok(Arc::new(Window { segment: Arc::clone(segment), range, backend, _permit: permit }))
}
