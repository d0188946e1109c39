//! Which versions of a key a flush or compaction keeps: a pure decision from the full list of snapshots.
//!
//! A version written at *v* and overwritten at *w* is dropped if and only if no snapshot *s* has v ≤ s < w. What is
//! visible now counts as a snapshot. So the versions *between* two snapshots go too, not only those older than the
//! oldest. A tombstone goes when nothing older of its key can lie beneath and every snapshot sees it.

use base::{InternalKeyRef, SeqNo, ValueKind};

/// Walks the versions of a sorted run, newest first within a key, and says which to keep.
#[derive(Debug)]
pub(crate) struct Retention {
    /// Ascending.
    snapshots: Vec<SeqNo>,
    user_key: Vec<u8>,
    /// The version of the same key that was met before, if it hides what is older.
    hidden_from: Option<SeqNo>,
    has_key: bool,
}

impl Retention {
    /// For a job that must serve `snapshots`, what is visible now among them, in any order.
    pub(crate) fn new(mut snapshots: Vec<SeqNo>) -> Self {
        snapshots.sort_unstable();
        snapshots.dedup();
        Self { snapshots, user_key: Vec::new(), hidden_from: None, has_key: false }
    }

    /// Whether the version `key` is kept. Called for every version of the run, in order. `is_bottom` says whether
    /// nothing of this user key lies beneath what the job reads.
    pub(crate) fn keeps(
        &mut self,
        key: InternalKeyRef<'_>,
        is_bottom: impl FnOnce(&[u8]) -> bool,
    ) -> bool {
        if !self.has_key || self.user_key != key.user_key {
            self.user_key.clear();
            self.user_key.extend_from_slice(key.user_key);
            self.has_key = true;
            self.hidden_from = None;
        }
        let is_needed = match self.hidden_from {
            Some(newer) => self.any_snapshot_in(key.seq, newer),
            None => true,
        };
        match key.kind {
            ValueKind::Put | ValueKind::Delete => self.hidden_from = Some(key.seq),
            // An operand needs what lies beneath it; a range tombstone is not a version of its start key.
            ValueKind::Merge => self.hidden_from = None,
            ValueKind::RangeDelete => return true,
        }
        if key.kind == ValueKind::Delete && is_needed {
            let oldest = self.snapshots.first().copied().unwrap_or(SeqNo::MAX);
            return !(key.seq <= oldest && is_bottom(key.user_key));
        }
        is_needed
    }

    /// Whether a snapshot stands in [from, until).
    fn any_snapshot_in(&self, from: SeqNo, until: SeqNo) -> bool {
        let first = self.snapshots.partition_point(|&s| s < from);
        self.snapshots.get(first).is_some_and(|&s| s < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Versions = BTreeMap<u8, BTreeMap<u64, bool>>;

    /// What a reader at `at` sees of `key`: newest version of at most `at`, unless it is a tombstone.
    fn read(versions: &Versions, key: u8, at: u64) -> Option<u64> {
        let (seq, is_put) = versions.get(&key)?.range(..=at).next_back()?;
        is_put.then_some(*seq)
    }

    fn run(versions: &Versions, snapshots: &[u64], is_bottom: bool) -> Versions {
        let mut retention = Retention::new(snapshots.iter().map(|&s| SeqNo::new(s)).collect());
        let mut kept = Versions::new();
        for (key, list) in versions {
            for (&seq, &is_put) in list.iter().rev() {
                let kind = if is_put { ValueKind::Put } else { ValueKind::Delete };
                let user_key = [*key];
                if retention
                    .keeps(InternalKeyRef::new(&user_key, SeqNo::new(seq), kind), |_| is_bottom)
                {
                    kept.entry(*key).or_default().insert(seq, is_put);
                }
            }
        }
        kept
    }

    fn histories() -> impl Strategy<Value = (Versions, Vec<u64>)> {
        let writes = prop::collection::vec((0u8..3, any::<bool>()), 0..30);
        (writes, prop::collection::vec(0u64..31, 0..4)).prop_map(|(writes, mut snapshots)| {
            let mut versions = Versions::new();
            for (i, (key, is_put)) in writes.iter().enumerate() {
                versions.entry(*key).or_default().insert(i as u64 + 1, *is_put);
            }
            snapshots.push(writes.len() as u64); // what is visible now
            (versions, snapshots)
        })
    }

    proptest! {
        /// R2: every snapshot reads the same as before.
        #[test]
        fn no_snapshot_sees_a_difference((versions, snapshots) in histories(), is_bottom: bool) {
            let kept = run(&versions, &snapshots, is_bottom);
            for key in 0..3 {
                for &at in &snapshots {
                    prop_assert_eq!(read(&versions, key, at), read(&kept, key, at), "key {} at {}", key, at);
                }
            }
        }

        /// R2: and nothing is kept that no snapshot needs.
        #[test]
        fn nothing_is_kept_in_vain((versions, snapshots) in histories()) {
            let kept = run(&versions, &snapshots, false);
            for (key, list) in &versions {
                let seqs: Vec<u64> = list.keys().copied().collect();
                for (i, &v) in seqs.iter().enumerate() {
                    let needed = match seqs.get(i + 1) {
                        Some(&w) => snapshots.iter().any(|&s| v <= s && s < w),
                        None => true,
                    };
                    prop_assert_eq!(kept.get(key).is_some_and(|l| l.contains_key(&v)), needed);
                }
            }
        }
    }

    #[test]
    fn a_tombstone_goes_only_from_the_bottom_and_only_when_all_see_it() {
        let versions: Versions = [(0, [(1, true), (5, false)].into())].into();
        assert_eq!(run(&versions, &[9], true).len(), 0);
        assert_eq!(run(&versions, &[9], false)[&0], [(5, false)].into());
        assert_eq!(run(&versions, &[3, 9], true)[&0], [(1, true), (5, false)].into());
    }

    #[test]
    fn what_an_operand_needs_is_kept() {
        let mut retention = Retention::new(vec![SeqNo::new(9)]);
        let mut keeps =
            |seq, kind| retention.keeps(InternalKeyRef::new(b"k", SeqNo::new(seq), kind), |_| true);
        assert!(keeps(5, ValueKind::Merge));
        assert!(keeps(4, ValueKind::Put));
        assert!(!keeps(3, ValueKind::Put));
    }
}
