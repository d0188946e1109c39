//! How many entries an iterator reads at once: as many as those before it have used, as far as they agree.
//!
//! Algorithm: what the last two iterators with these parts have used is known. The first batch is as much as the lesser
//! of the two, so that a reader who wants one entry reads one; the second reaches as far as the greater; from there on
//! each batch is twice as large as all before it. So a scan of a length that was met before reads no more than it needs,
//! in one batch or two; a longer one at most thrice that; and a shorter one as much as the last two have, once.

use crate::read::batch::BatchLimit;

/// Entries that the first batch takes before anything is known.
const FIRST: usize = 8;
/// A batch of this many bytes stays in the processor's nearest caches until it is handed out.
const BATCH_BYTES: usize = 16 << 10;
/// So many entries at most are read at once.
const BATCH_ENTRIES: usize = 128;

/// See the module's text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habit {
    /// What the last iterators have used, the latest first.
    used: [usize; 2],
    /// What this one has read.
    read: usize,
}

impl Default for Habit {
    fn default() -> Self {
        Self { used: [FIRST; 2], read: 0 }
    }
}

impl Habit {
    /// How much the next batch takes.
    pub(crate) fn limit(&self) -> BatchLimit {
        let [a, b] = self.used;
        let (low, high) = (a.min(b), a.max(b));
        let entries = if self.read < low {
            low - self.read
        } else if self.read < high {
            high - self.read
        } else {
            self.read.saturating_mul(2)
        };
        BatchLimit { entries: entries.clamp(1, BATCH_ENTRIES), bytes: BATCH_BYTES }
    }

    /// A batch of so many entries was read.
    pub(crate) fn has_read(&mut self, entries: usize) {
        self.read = self.read.saturating_add(entries);
    }

    /// The iterator has closed with so many entries not used; `is_read`: it was at its end.
    pub(crate) fn close(&mut self, left: usize, is_read: bool) {
        // That nothing more is there is found by looking for one more.
        let used = (self.read - left.min(self.read)).saturating_add(usize::from(is_read)).max(1);
        *self = Self { used: [used, self.used[0]], read: 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The batches of an iterator of which `wanted` entries are used.
    fn batches(habit: &mut Habit, wanted: usize) -> Vec<usize> {
        let (mut batches, mut read) = (Vec::new(), 0);
        while read < wanted {
            let entries = habit.limit().entries;
            habit.has_read(entries);
            read += entries;
            batches.push(entries);
        }
        habit.close(read - wanted, false);
        batches
    }

    #[test]
    fn what_was_met_before_is_read_at_once() {
        let mut habit = Habit::default();
        assert_eq!(batches(&mut habit, 100), [8, 16, 48, 128]);
        assert_eq!(batches(&mut habit, 100), [8, 92]);
        assert_eq!(batches(&mut habit, 100), [100]);
        // A reader of one entry reads too much once, and then one.
        assert_eq!(batches(&mut habit, 1), [100]);
        assert_eq!(batches(&mut habit, 1), [1]);
        // Both in turn: none reads more than it uses.
        assert_eq!(batches(&mut habit, 100), [1, 2, 6, 18, 54, 128]);
        assert_eq!(batches(&mut habit, 1), [1]);
        assert_eq!(batches(&mut habit, 100), [1, 99]);
    }

    #[test]
    fn an_iterator_at_its_end_looks_for_one_more() {
        let mut habit = Habit::default();
        for _ in 0..2 {
            habit.has_read(5);
            habit.close(0, true);
        }
        assert_eq!(habit.limit().entries, 6);
        // One that was opened and not used.
        habit.close(0, false);
        assert_eq!(habit.limit().entries, 1);
    }

    #[test]
    fn batches_grow_up_to_what_the_caches_hold() {
        let mut habit = Habit::default();
        let all = batches(&mut habit, 1 << 20);
        assert!(all.iter().all(|&entries| entries <= BATCH_ENTRIES), "{all:?}");
        assert_eq!(*all.last().unwrap(), BATCH_ENTRIES);
        habit.has_read(usize::MAX);
        habit.has_read(usize::MAX);
        assert_eq!(habit.limit().entries, BATCH_ENTRIES);
    }
}
