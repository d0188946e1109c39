//! The sequence numbers that open readers stand at.
//!
//! Concurrency: a reader registers under the list's lock at what is visible then; a flush or compaction takes the list
//! and what is visible under the same lock. So a reader that registers after a job took its list stands at or after
//! what the job counted as visible, and every version that it may see is kept by the rule in `retention`.

use base::SeqNo;
use base::sync::Mutex;
use std::collections::VecDeque;

/// The open snapshots, each with how many hold it, ascending: one is mostly opened at the end, and closed near it or at
/// the beginning.
#[derive(Debug, Default)]
pub(crate) struct SnapshotList {
    open: Mutex<VecDeque<(SeqNo, usize)>>,
}

/// One more holder of `at`.
fn hold(open: &mut VecDeque<(SeqNo, usize)>, at: SeqNo) {
    match open.back_mut() {
        Some((last, holders)) if *last == at => *holders += 1,
        Some((last, _)) if *last > at => match open.binary_search_by_key(&at, |(at, _)| *at) {
            Ok(place) => open[place].1 += 1,
            Err(place) => open.insert(place, (at, 1)),
        },
        _ => open.push_back((at, 1)),
    }
}

impl SnapshotList {
    /// Registers a reader at what `visible` says.
    pub(crate) fn register(&self, visible: impl FnOnce() -> SeqNo) -> SeqNo {
        let mut open = self.open.lock();
        let at = visible();
        hold(&mut open, at);
        at
    }

    /// Registers one more reader at `at`, where one is registered already.
    pub(crate) fn register_again(&self, at: SeqNo) {
        hold(&mut self.open.lock(), at);
    }

    /// A reader at `at` is gone.
    pub(crate) fn release(&self, at: SeqNo) {
        let mut open = self.open.lock();
        if let Ok(place) = open.binary_search_by_key(&at, |(at, _)| *at) {
            open[place].1 -= 1;
            if open[place].1 == 0 {
                open.remove(place);
            }
        }
    }

    /// All that a job has to serve: the open snapshots and what is visible now.
    pub(crate) fn to_serve(&self, visible: impl FnOnce() -> SeqNo) -> Vec<SeqNo> {
        let open = self.open.lock();
        let now = visible();
        open.iter().map(|(at, _)| *at).chain([now]).collect()
    }

    /// How many different snapshots are open, and the oldest.
    pub(crate) fn summary(&self) -> (usize, Option<SeqNo>) {
        let open = self.open.lock();
        (open.len(), open.front().map(|(at, _)| *at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_stays_until_its_last_holder_is_gone() {
        let list = SnapshotList::default();
        let at = list.register(|| SeqNo::new(5));
        list.register_again(at);
        assert_eq!(list.to_serve(|| SeqNo::new(9)), [SeqNo::new(5), SeqNo::new(9)]);
        list.release(at);
        assert_eq!(list.summary(), (1, Some(at)));
        list.release(at);
        assert_eq!(list.to_serve(|| SeqNo::new(9)), [SeqNo::new(9)]);
    }

    #[test]
    fn any_order_of_opening_and_closing_is_counted() {
        let list = SnapshotList::default();
        for at in [5, 7, 9] {
            list.register(|| SeqNo::new(at));
        }
        for at in [7, 5, 7, 6] {
            list.register_again(SeqNo::new(at));
        }
        let open = |list: &SnapshotList| -> Vec<u64> {
            list.to_serve(|| SeqNo::new(10)).iter().map(|at| at.get()).collect()
        };
        assert_eq!(open(&list), [5, 6, 7, 9, 10]);
        for at in [7, 6, 9, 7, 5] {
            list.release(SeqNo::new(at));
        }
        assert_eq!(open(&list), [5, 7, 10]);
        assert_eq!(list.summary(), (2, Some(SeqNo::new(5))));
    }
}
