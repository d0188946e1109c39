//! What an iterator keeps between two batches, and for the next iterator, and how that is taken away.
//!
//! A [`Walk`] is a merged cursor that stands where the next batch begins, with the view that it reads from. Keeping it
//! spares the iterator a seek for each batch. When the iterator closes, its [`Parts`], the walk among them, rest until
//! another one takes them up: as long as the view is still the current one, that one opens no cursors but only places
//! them, and what it needs of memory is there.
//!
//! But a view keeps memtables, and so credits, and an iterator may be left open for as long as its owner likes, on the
//! very thread that waits for those credits (R7). So whoever has taken something out of the view, a flush or a
//! compaction, takes the walks of all iterators away, and those that rest ([`Walks::revoke`]); their owners seek again in
//! the view of the day.
//!
//! Invariants: what rests is bounded: [`RESTING_MAX`] parts, the walk of each charged to the budget with no more than a
//! small part of what readers may hold, and its buffers with no more than [`BUFFERS_BYTES_MAX`].
//!
//! Concurrency: while an iterator reads a batch it holds its walk itself, and its slot is empty. It puts the walk back
//! under the slot's lock, and only if nothing was revoked since the walk began: `epoch` moves before the slots are looked
//! at, so either the revoker finds the walk in the slot, or the iterator finds a newer epoch. Slots are listed as long as
//! their parts are in use or rest. Each slot's lock is held for a move, and is a leaf, like those of the two lists.
//! Walks are dropped without a lock.

use base::FamilyId;
use base::sync::atomic::{AtomicU64, Ordering};
use base::sync::{Arc, Mutex};
use credit::{Permit, Pool};
use sstable::ScanOptions;

use crate::read::batch::Batch;
use crate::read::bound::KeyBound;
use crate::read::habit::Habit;
use crate::read::merge::{Direction, MergeCursor};
use crate::read::view::ReadView;

/// As many parts rest at most, and no more than one for so many tables that may be open: cursors keep their tables open.
const RESTING_MAX: usize = 16;
const OPEN_TABLES_EACH: usize = 32;
/// Of what readers may hold in all, the part that the walk of one that rests may.
const RESTING_PART: u64 = 64;
/// Buffers beyond this do not rest.
const BUFFERS_BYTES_MAX: usize = 64 << 10;
/// A walk's charge is left alone as long as it is no more than this above what is needed: blocks are not all of one size.
const SLACK_BYTES: u64 = 64 << 10;
const CHARGE_STEP_BYTES: u64 = 16 << 10;

/// A merged cursor and what keeps it good.
pub(crate) struct Walk {
    pub(crate) cursor: MergeCursor,
    /// Keeps the files of the cursor's tables.
    pub(crate) view: Arc<ReadView>,
    pub(crate) options: ScanOptions,
    /// For the blocks that the cursor stands in; a walk without is not kept.
    pub(crate) pinned: Option<Permit>,
    /// The epoch that began before the view was loaded.
    pub(crate) epoch: u64,
}

impl Walk {
    /// Sees to it that the blocks which the cursor stands in are charged, a usual one for each child at least; without
    /// credits for that the walk has none.
    pub(crate) fn charge(&mut self, pool: &Pool, usual_bytes: usize) {
        let bytes = self.cursor.block_bytes(usual_bytes) as u64;
        let held = self.charged_bytes();
        if bytes + SLACK_BYTES < held {
            drop(self.pinned.as_mut().and_then(|permit| permit.split(held - bytes)));
        } else if bytes > held || self.pinned.is_none() {
            let more = bytes - held;
            let rounded = pool.try_acquire(more.next_multiple_of(CHARGE_STEP_BYTES));
            self.pinned = match (self.pinned.take(), rounded.or_else(|_| pool.try_acquire(more))) {
                (Some(mut permit), Ok(more)) => {
                    permit.merge(more);
                    Some(permit)
                }
                (None, Ok(permit)) => Some(permit),
                (_, Err(_)) => None,
            };
        }
    }

    fn charged_bytes(&self) -> u64 {
        self.pinned.as_ref().map_or(0, Permit::bytes)
    }
}

/// Where one iterator keeps its walk.
#[derive(Default)]
pub(crate) struct Slot {
    walk: Mutex<Option<Box<Walk>>>,
}

impl Slot {
    /// Takes the walk out.
    pub(crate) fn take(&self) -> Option<Box<Walk>> {
        self.walk.lock().take()
    }

    fn charged_bytes(&self) -> u64 {
        self.walk.lock().as_ref().map_or(0, |walk| walk.charged_bytes())
    }
}

/// All of an iterator that takes memory, made once and used by one after the other.
pub(crate) struct Parts {
    pub(crate) family: FamilyId,
    /// What has not been read yet lies between these.
    pub(crate) lower: KeyBound,
    pub(crate) upper: KeyBound,
    /// Read from the lower end, ascending.
    pub(crate) front: Batch,
    /// Read from the upper end, descending.
    pub(crate) back: Batch,
    /// Nothing is left between the bounds.
    pub(crate) is_read: bool,
    /// Where the cursors are between two batches.
    pub(crate) slot: Arc<Slot>,
    /// Which way the slot's walk was going; none when it stands anywhere.
    pub(crate) going: Option<Direction>,
    /// How much is read at once.
    pub(crate) habit: Habit,
}

/// What all iterators of a database keep.
#[derive(Default)]
pub(crate) struct Walks {
    epoch: AtomicU64,
    slots: Mutex<Vec<Arc<Slot>>>,
    /// Last in, first out, mostly: what was used just now is in the processor's caches.
    #[expect(clippy::vec_box, reason = "parts are moved in and out as a pointer")]
    resting: Mutex<Vec<Box<Parts>>>,
}

impl Walks {
    /// The parts of an iterator that begins: those of one that has closed, of the same family if there are such.
    pub(crate) fn open(&self, family: FamilyId) -> Box<Parts> {
        let mut resting = self.resting.lock();
        let own = resting.iter().rposition(|parts| parts.family == family);
        let parts = own.map(|at| resting.remove(at));
        drop(resting);
        parts.unwrap_or_else(|| self.make(family))
    }

    fn make(&self, family: FamilyId) -> Box<Parts> {
        let slot = Arc::new(Slot::default());
        self.slots.lock().push(Arc::clone(&slot));
        Box::new(Parts {
            family,
            lower: KeyBound::default(),
            upper: KeyBound::default(),
            front: Batch::default(),
            back: Batch::default(),
            is_read: false,
            slot,
            going: None,
            habit: Habit::default(),
        })
    }

    /// An iterator has closed: its parts rest, if they are small and there is room. `pool` is what its walk is charged to.
    pub(crate) fn close(&self, mut parts: Box<Parts>, pool: &Pool, open_tables_max: usize) {
        let room = RESTING_MAX.min(open_tables_max / OPEN_TABLES_EACH);
        let charge_max = pool.capacity_bytes().map_or(u64::MAX, |bytes| bytes / RESTING_PART);
        parts.habit.close(parts.front.left() + parts.back.left(), parts.is_read);
        parts.going = None;
        parts.front.clear();
        parts.back.clear();
        let bytes = parts.front.buffer_bytes() + parts.back.buffer_bytes();
        let bytes = bytes + parts.lower.buffer_bytes() + parts.upper.buffer_bytes();
        if room == 0 || bytes > BUFFERS_BYTES_MAX {
            self.dissolve(&parts);
            return;
        }
        if parts.slot.charged_bytes() > charge_max {
            drop(parts.slot.take());
        }
        let mut resting = self.resting.lock();
        // The one that has rested longest goes: its family may not be read any more.
        let gone = (resting.len() >= room).then(|| resting.remove(0));
        resting.push(parts);
        drop(resting);
        if let Some(gone) = gone {
            self.dissolve(&gone);
        }
    }

    /// Parts go, and their walk with them.
    fn dissolve(&self, parts: &Parts) {
        let mut slots = self.slots.lock();
        // Those that came last go first, mostly.
        if let Some(at) = slots.iter().rposition(|other| Arc::ptr_eq(other, &parts.slot)) {
            slots.swap_remove(at);
        }
        drop(slots);
        drop(parts.slot.take());
    }

    /// What the walks that rest are charged with.
    pub(crate) fn resting_bytes(&self) -> u64 {
        let slots: Vec<_> =
            self.resting.lock().iter().map(|parts| Arc::clone(&parts.slot)).collect();
        slots.iter().map(|slot| slot.charged_bytes()).sum()
    }

    /// What a walk that begins now is to be marked with, before it loads its view.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Takes the walks of all iterators away. Called when a view has been stored that lacks something of the one before.
    pub(crate) fn revoke(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        let slots: Vec<_> = self.slots.lock().clone();
        for slot in slots {
            drop(slot.take());
        }
    }

    /// Keeps `walk` in `slot`, unless it must go.
    pub(crate) fn keep(&self, slot: &Slot, walk: Box<Walk>) {
        let mut place = slot.walk.lock();
        let is_good = walk.pinned.is_some() && walk.epoch == self.epoch();
        let gone = if is_good { place.replace(walk) } else { Some(walk) };
        drop(place);
        drop(gone);
    }
}
