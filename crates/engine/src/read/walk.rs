//! What an iterator keeps between two batches, and how that is taken away from it.
//!
//! A [`Walk`] is a merged cursor that stands where the next batch begins, with the view that it reads from. Keeping it
//! spares the iterator a seek for each batch. But a view keeps memtables, and so credits, and an iterator may be left
//! open for as long as its owner likes, on the very thread that waits for those credits (R7). So whoever has taken
//! something out of the view, a flush or a compaction, takes the walks of all iterators away ([`Walks::revoke`]); their
//! owners seek again in the view of the day.
//!
//! Concurrency: while an iterator reads a batch it holds its walk itself, and its slot is empty. It puts the walk back
//! under the slot's lock, and only if nothing was revoked since the walk began: `epoch` moves before the slots are looked
//! at, so either the revoker finds the walk in the slot, or the iterator finds a newer epoch. Each slot's lock is held for
//! a move, and is a leaf, like that of the list. Walks are dropped without a lock.

use base::sync::atomic::{AtomicU64, Ordering};
use base::sync::{Arc, Mutex};
use credit::{Permit, Pool};

use crate::read::merge::{Direction, MergeCursor};
use crate::read::view::ReadView;

/// A merged cursor and what keeps it good.
pub(crate) struct Walk {
    pub(crate) cursor: MergeCursor,
    pub(crate) direction: Direction,
    /// Keeps the files of the cursor's tables.
    pub(crate) _view: Arc<ReadView>,
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
        let held = self.pinned.as_ref().map_or(0, Permit::bytes);
        if bytes < held {
            drop(self.pinned.as_mut().and_then(|permit| permit.split(held - bytes)));
        } else if bytes > held {
            self.pinned = match (self.pinned.take(), pool.try_acquire(bytes - held)) {
                (Some(mut permit), Ok(more)) => {
                    permit.merge(more);
                    Some(permit)
                }
                (None, Ok(permit)) => Some(permit),
                (_, Err(_)) => None,
            };
        }
    }
}

/// Where one iterator keeps its walk.
#[derive(Default)]
pub(crate) struct Slot {
    walk: Mutex<Option<Walk>>,
}

/// The slots of all iterators.
#[derive(Default)]
pub(crate) struct Walks {
    epoch: AtomicU64,
    slots: Mutex<Vec<Arc<Slot>>>,
}

impl Walks {
    /// Adds an iterator.
    pub(crate) fn register(&self) -> Arc<Slot> {
        let slot = Arc::new(Slot::default());
        self.slots.lock().push(Arc::clone(&slot));
        slot
    }

    /// An iterator goes, and its walk with it.
    pub(crate) fn release(&self, slot: &Arc<Slot>) {
        let mut slots = self.slots.lock();
        // Those that came last go first, mostly.
        if let Some(at) = slots.iter().rposition(|other| Arc::ptr_eq(other, slot)) {
            slots.swap_remove(at);
        }
        drop(slots);
        drop(slot.take());
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
    pub(crate) fn keep(&self, slot: &Slot, walk: Walk) {
        let mut place = slot.walk.lock();
        let is_good = walk.pinned.is_some() && walk.epoch == self.epoch();
        let gone = if is_good { place.replace(walk) } else { Some(walk) };
        drop(place);
        drop(gone);
    }
}

impl Slot {
    /// Takes the walk out.
    pub(crate) fn take(&self) -> Option<Walk> {
        self.walk.lock().take()
    }
}
