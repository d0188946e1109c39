//! How many node slots a memtable has to hold, so that no insert ever finds none: pure arithmetic.
//!
//! **What is needed in all.** A node is split only when it is full, into two with at least half each
//! ([`LEAF_LEAST`], [`INNER_LEAST`]), but for the rightmost of a level, which may be left as it is beside a new one
//! with a single item. Nothing is ever removed. So of the nodes of a level all but the rightmost have at least that
//! many items, and it has at least one, or will have it when the insert that made it is through:
//!
//! > leaves(n) ≤ 1 + (n − 1) / LEAF_LEAST, nodes of a level ≤ 1 + (nodes of the level below − 1) / INNER_LEAST,
//!
//! for n entries that are in or are being inserted, and there is a level above only over more than one node. The sum
//! over the levels bounds the nodes that there can ever be.
//!
//! **What is needed soon.** That bound is 26 bytes an entry, where random inserts use 19 and ascending ones 13. But a
//! slot has to be *there* only for entries that are reserved and not yet inserted. An insert makes at most one node a
//! level: it splits each node on its way at most once, in one go from the leaf up, or puts a new root on top of what
//! it split. So p pending inserts make, at a level that can have at most c nodes in all, at most min(p, c) more; the
//! sum over the levels bounds what they need.
//!
//! [`Demand::slots`] is the lesser of the two.
//!
//! **What is pending.** Inserts tell what they have used up after they are through, in a counter that is read later
//! ([`Settled`]). Reading too little of it is safe: it only counts inserts as pending that are not any more, together
//! with the slots that they took as if they had not.

use crate::tree::node::{INNER_WIDTH, LEAF_WIDTH};

/// What each half of a leaf has at least after it was split to take in one entry more.
pub(crate) const LEAF_LEAST: usize = LEAF_WIDTH.div_ceil(2);
/// The same for the children of an inner node.
pub(crate) const INNER_LEAST: usize = INNER_WIDTH.div_ceil(2);

/// The most levels that a tree can have: of more entries than references can tell apart.
pub(crate) const LEVELS_MAX: usize = if cfg!(loom) { 8 } else { levels(1 << 32) };

const _: () = assert!(LEAF_LEAST >= 2 && INNER_LEAST >= 2);

/// The most leaves that so many entries can be in.
const fn leaves(entries: usize) -> usize {
    if entries == 0 { 0 } else { 1 + (entries - 1) / LEAF_LEAST }
}

/// The most nodes that there can be above so many.
const fn above(nodes: usize) -> usize {
    1 + (nodes - 1) / INNER_LEAST
}

/// The most levels over so many entries.
const fn levels(entries: usize) -> usize {
    let mut nodes = leaves(entries);
    let mut levels = 1;
    while nodes > 1 {
        nodes = above(nodes);
        levels += 1;
    }
    levels
}

/// What inserts have used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) entries: u32,
    pub(crate) nodes: u32,
}

impl Settled {
    /// Both in one number, to be added up in one atomic operation.
    pub(crate) fn packed(self) -> u64 {
        u64::from(self.nodes) << 32 | u64::from(self.entries)
    }

    pub(crate) fn unpack(packed: u64) -> Self {
        Self { entries: packed as u32, nodes: (packed >> 32) as u32 }
    }
}

/// A memtable's entries as far as they ask for nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    /// Entries that room was reserved for, ever.
    pub(crate) entries: usize,
    /// Of those, what is through.
    pub(crate) settled: Settled,
}

impl Demand {
    /// How many slots there have to be that no settled insert has used.
    #[inline]
    pub(crate) fn slots(&self) -> usize {
        let pending = self.entries - self.settled.entries as usize;
        let (mut soon, mut in_all, mut nodes) = (0, 0, leaves(self.entries));
        loop {
            soon += nodes.min(pending);
            in_all += nodes;
            if nodes <= 1 {
                break;
            }
            nodes = above(nodes);
        }
        soon.min(in_all - self.settled.nodes as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(entries: usize, settled: u32, nodes: u32) -> usize {
        Demand { entries, settled: Settled { entries: settled, nodes } }.slots()
    }

    #[test]
    fn small_trees_need_few_nodes() {
        assert_eq!(slots(0, 0, 0), 0);
        assert_eq!(slots(1, 0, 0), 1);
        assert_eq!(slots(LEAF_LEAST, 0, 0), 1);
        // Two leaves and a root, of which one leaf is there.
        assert_eq!(slots(LEAF_LEAST + 1, LEAF_LEAST as u32, 1), 2);
        assert_eq!(levels(LEAF_LEAST), 1);
        assert_eq!(levels(LEAF_LEAST + 1), 2);
        assert_eq!(levels(1 << 32), LEVELS_MAX);
    }

    #[test]
    fn one_pending_insert_needs_a_node_a_level() {
        for entries in [1_000usize, 100_000, 10_000_000] {
            assert_eq!(slots(entries, entries as u32 - 1, 0), levels(entries));
            assert!(slots(entries, entries as u32 - 2, 0) <= 2 * levels(entries));
            assert_eq!(slots(entries, entries as u32, 0), 0);
        }
    }

    #[test]
    fn a_large_group_needs_no_more_than_all_nodes_there_can_be() {
        let entries = 1_000_000;
        let in_all = slots(entries, 0, 0);
        assert!(in_all < entries * 11 / 10 / LEAF_LEAST, "{in_all}");
        assert_eq!(slots(entries, 10, 10_000), in_all - 10_000);
    }
}
