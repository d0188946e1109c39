//! What reads pay for the tables that they look into in vain: the other half of `version::pick`'s `reads`.
//!
//! A seek looks into every run, a get into every one that is newer than the one which has its key. Had they been merged
//! before, one would do. So each such look is put down, in bytes, to the table that it was made in, the last one aside;
//! when a table's account has grown by a part of its size the compaction thread looks whether it is enough.
//!
//! The prices stand between two answers. By the processor's time alone, everything in the page cache, a seek into one
//! more run takes what compaction needs for 2 to 3.5 KiB; by a disk's, a block read at random costs what 20 KiB and more do
//! in sequence. A get mostly asks only the filter, and costs a tenth; the next batch of a scan searches nothing, compares
//! keys, and costs a quarter. (`docs/adr/0012` has the figures.)
//!
//! Concurrency: one read in [`SAMPLED`] is counted, for so many, by a number of its thread's own; so reads of several
//! threads seldom meet at an account, and no read pays more than a few instructions. Accounts are relaxed counters: they
//! decide when, never what is right. They are in memory only, and begin anew when the database is opened.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;

use base::FamilyId;
use base::sync::atomic::{AtomicU64, Ordering};

use crate::read::view::ReadView;
use crate::shared::Shared;
use crate::tables::{FamilyLevels, TableFile};

/// A seek into one run more.
const SEEK_BYTES: u64 = 4 << 10;
/// A later batch of a scan, of one run more.
const BATCH_BYTES: u64 = SEEK_BYTES / 4;
/// A get, asking one table more.
const GET_BYTES: u64 = SEEK_BYTES / 8;
/// One read in so many is counted: a power of two. All of them in a model, which has to run the same each time.
const SAMPLED: u64 = if cfg!(any(loom, shuttle)) { 1 } else { 16 };
/// The compaction thread looks each time that an account has grown by this part of its table's length, …
const LOOK_PART: u64 = 4;
/// … but for no less than this.
const LOOK_BYTES: u64 = 256 << 10;

/// What was put down to one table.
#[derive(Debug, Default)]
pub(crate) struct Account(AtomicU64);

impl Account {
    /// So many bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Begins anew.
    pub(crate) fn close(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Adds to it; whether it has come past a multiple of `step`.
    fn add(&self, bytes: u64, step: u64) -> bool {
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        before / step != before.wrapping_add(bytes) / step
    }
}

impl Shared {
    /// A get has asked so many of the tables that may hold `key`, and not found it in any but the last.
    #[inline]
    pub(crate) fn pay_for_get(&self, levels: &FamilyLevels, key: &[u8], asked: usize) {
        if asked > 1 && is_sampled() {
            self.put_down(levels.tables_for(key).take(asked - 1).map(|file| &**file), GET_BYTES);
        }
    }

    /// `count` keys were looked for in `file` in vain, and may be in a later one.
    #[inline]
    pub(crate) fn pay_for_gets(&self, file: &TableFile, count: usize) {
        if count > 0 && is_sampled() {
            self.put_down([file], GET_BYTES * count as u64);
        }
    }

    /// An iterator reads a batch that begins at `near`, where it has placed its cursors unless it `goes_on`. Tables ahead of
    /// that are not looked into.
    #[inline]
    pub(crate) fn pay_for_batch(
        &self,
        view: &ReadView,
        family: FamilyId,
        near: Bound<&[u8]>,
        goes_on: bool,
    ) {
        if !is_sampled() {
            return;
        }
        let (Bound::Included(key) | Bound::Excluded(key)) = near else { return };
        let Ok((_, levels)) = view.family(family) else { return };
        // All but the last: the oldest run is the one that would be left.
        let in_vain = levels.tables_for(key).count().saturating_sub(1);
        let bytes = if goes_on { BATCH_BYTES } else { SEEK_BYTES };
        self.put_down(levels.tables_for(key).take(in_vain).map(|file| &**file), bytes);
    }

    /// Puts `bytes` for each read that this one stands for down to each of `files`.
    #[cold]
    fn put_down<'a>(&self, files: impl IntoIterator<Item = &'a TableFile>, bytes: u64) {
        if !self.options.read_triggered_compaction {
            return;
        }
        let mut is_news = false;
        for file in files {
            let step = (file.meta.file_bytes / LOOK_PART).max(LOOK_BYTES);
            is_news |= file.handle.account.add(bytes * SAMPLED, step);
        }
        if is_news {
            self.compaction_signal.notify();
        }
    }
}

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// Whether this read is one of those that are counted. By chance, so that no pattern of reads escapes or is counted whole;
/// by a generator of the thread's own (a linear congruential one, of which the upper bits are good).
#[inline]
fn is_sampled() -> bool {
    STATE.with(|state| {
        let before = state.get();
        // Threads that live for a few reads do not all begin with the same.
        let before = if before == 0 { RandomState::new().hash_one(()) } else { before };
        let next = before.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.set(next);
        next.leading_zeros() >= SAMPLED.ilog2()
    })
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn one_read_in_sixteen_is_counted() {
        let counted = (0..160_000).filter(|_| is_sampled()).count();
        assert!((9_000..11_000).contains(&counted), "{counted} of 160000");
    }

    #[test]
    fn an_account_tells_when_it_comes_past_a_step() {
        let account = Account::default();
        let told = [400, 599, 1, 500, 2_000, 499, 1].map(|bytes| account.add(bytes, 1000));
        assert_eq!(told, [false, false, true, false, true, false, true]);
        assert_eq!(account.bytes(), 4_000);
    }
}
