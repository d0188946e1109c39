//! The account of one pool: its word and the limits within which the word alone decides.
//!
//! Concurrency
//! - `fast_limit` and `fast_floor` are written under the tree's lock while `SLOW` is set, and read after
//!   a load (Acquire) of a word in which it is clear; the store that cleared it was a Release. A
//!   compare-and-swap that succeeds therefore used limits that were in force at that moment (see `word`).
//! - Who loses the race for the word stands back for a moment, twice as long each time up to a limit: the line stays with
//!   the core that has it for more than one change, which is what keeps many threads as fast as one.
//! - Releases are Release and grants are Acquire: what the last holder did with its bytes happens before
//!   what the next holder does with them.

use std::sync::Arc;

use crate::audit::Audit;
use crate::stats::WaitCounters;
use crate::sync::{self, AtomicU64, AtomicUsize, Count, Ordering};
use crate::tree::{NodeId, Tree};
use crate::word::{self, SLOW};

/// What one pool holds, shared by its handles, its permits and its node in the tree.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Account {
    word: AtomicU64,
    /// Held bytes up to which (inclusive) a grant needs no lock.
    fast_limit: AtomicU64,
    /// Held bytes down to which (inclusive) a release needs no lock.
    fast_floor: AtomicU64,
    peak: AtomicU64,
    /// At most this much may be held here; [`word::MAX_BYTES`] is unlimited. Written under the lock.
    capacity: AtomicU64,
    /// Times the count in the word has wrapped.
    wraps: AtomicU64,
    /// Steps of the count that were not grants.
    reopenings: AtomicU64,
    /// Requests that wait in this pool or in pools below it.
    waiting: AtomicUsize,
    /// Bytes held without a permit.
    raw: AtomicU64,
    /// How many more spins may fail before waiters spin no longer.
    pub(crate) spin_luck: Count,
    /// Waits of this pool's own requests.
    pub(crate) waits: WaitCounters,
    /// Handles: pools, and children that draw from this one.
    pub(crate) handles: AtomicUsize,
    pub(crate) audit: Audit,
    pub(crate) tree: Arc<Tree>,
    pub(crate) id: NodeId,
}

impl Account {
    /// An account with nothing held, one handle, and `SLOW` set.
    pub(crate) fn new(tree: Arc<Tree>, id: NodeId, capacity: u64) -> Account {
        Account {
            word: AtomicU64::new(SLOW),
            fast_limit: AtomicU64::new(0),
            fast_floor: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            capacity: AtomicU64::new(capacity),
            wraps: AtomicU64::new(0),
            reopenings: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            raw: AtomicU64::new(0),
            spin_luck: Count::new(0),
            waits: WaitCounters::default(),
            handles: AtomicUsize::new(1),
            audit: Audit::new(),
            tree,
            id,
        }
    }

    /// Grants `bytes` if that needs no lock; one atomic read-modify-write when it succeeds.
    #[inline]
    pub(crate) fn grant_fast(&self, bytes: u64) -> bool {
        let mut losses = 0;
        loop {
            let word = self.word.load(Ordering::Acquire);
            let held = word::held(word);
            let limit = self.fast_limit.load(Ordering::Relaxed);
            if word & SLOW != 0 || limit.checked_sub(held).is_none_or(|room| room < bytes) {
                return false;
            }
            let (next, wrapped) = word::granted(word, bytes);
            if self.exchange(word, next) {
                self.after_grant(held + bytes, wrapped);
                return true;
            }
            losses = sync::stand_back(losses);
        }
    }

    /// Returns `bytes` if that needs no lock; one atomic read-modify-write when it succeeds.
    ///
    /// After a success the account may be gone: the bytes were what kept it (see `handle`).
    #[inline]
    pub(crate) fn release_fast(&self, bytes: u64) -> bool {
        let mut losses = 0;
        loop {
            let word = self.word.load(Ordering::Acquire);
            let floor = self.fast_floor.load(Ordering::Relaxed);
            let left = word::held(word).checked_sub(bytes);
            if word & SLOW != 0 || left.is_none_or(|left| left < floor) {
                return false;
            }
            if self.exchange(word, word - bytes) {
                return true;
            }
            losses = sync::stand_back(losses);
        }
    }

    #[inline]
    fn exchange(&self, word: u64, next: u64) -> bool {
        self.word.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    #[inline]
    fn after_grant(&self, held: u64, wrapped: bool) {
        if wrapped || held > self.peak.load(Ordering::Relaxed) {
            self.after_rare_grant(held, wrapped);
        }
    }

    #[cold]
    fn after_rare_grant(&self, held: u64, wrapped: bool) {
        self.peak.fetch_max(held, Ordering::Relaxed);
        if wrapped {
            self.wraps.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Bytes held now.
    #[inline]
    pub(crate) fn held(&self) -> u64 {
        word::held(self.word.load(Ordering::Acquire))
    }

    /// The most that may be held; [`word::MAX_BYTES`] is unlimited.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed)
    }

    /// Most bytes ever held.
    pub(crate) fn peak(&self) -> u64 {
        // A grant is in the word a moment before it is in the peak.
        self.held().max(self.peak.load(Ordering::Relaxed))
    }

    /// Grants made so far, wrapping at 2^64.
    pub(crate) fn grants(&self) -> u64 {
        let count = word::count(self.word.load(Ordering::Acquire));
        let wraps = self.wraps.load(Ordering::Relaxed);
        let reopenings = self.reopenings.load(Ordering::Relaxed);
        wraps.wrapping_mul(word::COUNT_SPAN).wrapping_add(count).wrapping_sub(reopenings)
    }

    /// Requests that wait in this pool or below.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Bytes held without a permit.
    pub(crate) fn raw(&self) -> u64 {
        self.raw.load(Ordering::Acquire)
    }

    /// Moves `bytes` from a permit's care to the caller's.
    pub(crate) fn add_raw(&self, bytes: u64) {
        self.raw.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Takes `bytes` back from the caller's care, or says how many there are.
    pub(crate) fn take_raw(&self, bytes: u64) -> Result<(), u64> {
        self.raw
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |raw| raw.checked_sub(bytes))
            .map(drop)
    }
}

/// What only the holder of the tree's lock does.
impl Account {
    /// Sends everybody to the lock.
    pub(crate) fn stop_fast_path(&self) {
        if self.word.load(Ordering::Relaxed) & SLOW == 0 {
            self.word.fetch_or(SLOW, Ordering::AcqRel);
        }
    }

    /// Lets grants up to `limit` and releases down to `floor` (both inclusive) pass without the lock.
    pub(crate) fn start_fast_path(&self, limit: u64, floor: u64) {
        self.fast_limit.store(limit, Ordering::Relaxed);
        self.fast_floor.store(floor, Ordering::Relaxed);
        let (word, wrapped) = word::reopened(self.word.load(Ordering::Relaxed));
        // Written under the lock only: no read-modify-write needed.
        let reopenings = self.reopenings.load(Ordering::Relaxed);
        self.reopenings.store(reopenings.wrapping_add(1), Ordering::Relaxed);
        if wrapped {
            self.wraps.fetch_add(1, Ordering::Relaxed);
        }
        self.word.store(word, Ordering::Release);
    }

    pub(crate) fn set_capacity(&self, capacity: u64) {
        self.capacity.store(capacity, Ordering::Relaxed);
    }

    /// Adds a grant of `bytes`; the caller has checked that it fits.
    pub(crate) fn grant_locked(&self, bytes: u64) {
        let (word, wrapped) = word::granted(self.word.load(Ordering::Relaxed), bytes);
        self.word.store(word, Ordering::Release);
        self.after_grant(word::held(word), wrapped);
    }

    /// Takes off `bytes`.
    ///
    /// # Panics
    /// If fewer are held.
    pub(crate) fn release_locked(&self, bytes: u64) {
        let word = self.word.load(Ordering::Relaxed);
        let held = word::held(word);
        assert!(bytes <= held, "{bytes} bytes released, but only {held} are held");
        self.word.store(word - bytes, Ordering::Release);
    }

    /// Counts one more or one less request that waits.
    pub(crate) fn add_waiting(&self, more: bool) {
        let waiting = self.waiting.load(Ordering::Relaxed);
        let waiting = if more { waiting + 1 } else { waiting - 1 };
        self.waiting.store(waiting, Ordering::Relaxed);
    }
}
