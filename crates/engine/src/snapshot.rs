//! The sequence numbers that open readers stand at.
//!
//! Concurrency: a reader registers under the list's lock at what is visible then; a flush or compaction takes the list
//! and what is visible under the same lock. So a reader that registers after a job took its list stands at or after
//! what the job counted as visible, and every version that it may see is kept by the rule in `retention`.

use base::SeqNo;
use base::sync::Mutex;
use std::collections::BTreeMap;

/// The open snapshots, each with how many hold it.
#[derive(Debug, Default)]
pub(crate) struct SnapshotList {
    open: Mutex<BTreeMap<SeqNo, usize>>,
}

impl SnapshotList {
    /// Registers a reader at what `visible` says.
    pub(crate) fn register(&self, visible: impl FnOnce() -> SeqNo) -> SeqNo {
        let mut open = self.open.lock();
        let at = visible();
        *open.entry(at).or_insert(0) += 1;
        at
    }

    /// Registers one more reader at `at`, where one is registered already.
    pub(crate) fn register_again(&self, at: SeqNo) {
        *self.open.lock().entry(at).or_insert(0) += 1;
    }

    /// A reader at `at` is gone.
    pub(crate) fn release(&self, at: SeqNo) {
        let mut open = self.open.lock();
        if let Some(holders) = open.get_mut(&at) {
            *holders -= 1;
            if *holders == 0 {
                open.remove(&at);
            }
        }
    }

    /// All that a job has to serve: the open snapshots and what is visible now.
    pub(crate) fn to_serve(&self, visible: impl FnOnce() -> SeqNo) -> Vec<SeqNo> {
        let open = self.open.lock();
        let now = visible();
        open.keys().copied().chain([now]).collect()
    }

    /// How many different snapshots are open, and the oldest.
    pub(crate) fn summary(&self) -> (usize, Option<SeqNo>) {
        let open = self.open.lock();
        (open.len(), open.keys().next().copied())
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
}
