//! The sequence numbers that open readers stand at.
//!
//! Concurrency: a reader registers under the list's lock at what is visible then; a flush or compaction takes the list
//! and what is visible under the same lock. So a reader that registers after a job took its list stands at or after
//! what the job counted as visible, and every version that it may see is kept by the rule in `retention`.

use base::SeqNo;
use base::sync::Mutex;
use std::collections::VecDeque;

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct SnapshotList {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// The open snapshots, each with how many hold it, ascending: one is mostly opened at the end, and closed near it or
    /// at the beginning.
    held: VecDeque<(SeqNo, usize)>,
    /// Somebody wants to know when no older snapshot is open any more.
    awaited: Option<SeqNo>,
}

impl Open {
    fn oldest(&self) -> SeqNo {
        self.held.front().map_or(SeqNo::MAX, |(at, _)| *at)
    }
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
        hold(&mut open.held, at);
        at
    }

    /// Registers one more reader at `at`, where one is registered already.
    pub(crate) fn register_again(&self, at: SeqNo) {
        hold(&mut self.open.lock().held, at);
    }

    /// A reader at `at` is gone; whether [`SnapshotList::is_past`] was asked for this.
    pub(crate) fn release(&self, at: SeqNo) -> bool {
        let mut open = self.open.lock();
        let Ok(place) = open.held.binary_search_by_key(&at, |(at, _)| *at) else { return false };
        open.held[place].1 -= 1;
        if open.held[place].1 > 0 {
            return false;
        }
        open.held.remove(place);
        let oldest = open.oldest();
        open.awaited.take_if(|awaited| *awaited <= oldest).is_some()
    }

    /// The oldest open snapshot; [`SeqNo::MAX`] without one.
    pub(crate) fn oldest(&self) -> SeqNo {
        self.open.lock().oldest()
    }

    /// Whether no snapshot older than `at` is open. If one is, the release of the last one will say so, once; or that of the
    /// last one older than a lesser number that was asked for: ask again.
    pub(crate) fn is_past(&self, at: SeqNo) -> bool {
        let mut open = self.open.lock();
        let is_past = at <= open.oldest();
        if !is_past {
            open.awaited = Some(open.awaited.map_or(at, |awaited| awaited.min(at)));
        }
        is_past
    }

    /// All that a job has to serve: the open snapshots and what is visible now.
    pub(crate) fn to_serve(&self, visible: impl FnOnce() -> SeqNo) -> Vec<SeqNo> {
        let open = self.open.lock();
        let now = visible();
        open.held.iter().map(|(at, _)| *at).chain([now]).collect()
    }

    /// How many different snapshots are open, and the oldest.
    pub(crate) fn summary(&self) -> (usize, Option<SeqNo>) {
        let open = self.open.lock();
        (open.held.len(), open.held.front().map(|(at, _)| *at))
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

    #[test]
    fn the_release_of_the_last_older_one_tells_who_asked() {
        let list = SnapshotList::default();
        assert!(list.is_past(SeqNo::new(7)));
        let [five, six, seven] = [5, 6, 7].map(|at| list.register(|| SeqNo::new(at)));
        assert!(list.is_past(five) && !list.is_past(seven));
        list.register_again(six);
        assert_eq!([five, six, six, seven].map(|at| list.release(at)), [false, false, true, false]);
        assert_eq!(list.oldest(), SeqNo::MAX);
    }
}
