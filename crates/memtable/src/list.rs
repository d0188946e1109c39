//! The skip list that keeps the nodes in order: lock-free inserts, reads that never wait.
//!
//! Invariants: at each level, following the links from the head visits nodes in strictly ascending order; the nodes of
//! a level are a subset of those of the level below, but for nodes that are being inserted, which appear from the
//! bottom up. Nodes are never unlinked.
//!
//! Concurrency: an insert links its node level by level, from the bottom, each with one compare-and-swap (Release); a
//! failed one means that another node was linked there first, and the search goes on from the same predecessor, which
//! cannot have gone. Every link is loaded with Acquire.

use std::cmp::Ordering;
use std::ptr;

use base::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::node::{HEIGHT_MAX, Link, NodeRef, Probe};

/// The order of a memtable's nodes. It holds links to nodes, not their memory.
pub(crate) struct List {
    head: [Link; HEIGHT_MAX],
}

/// Between which two nodes of a level a probe belongs; `None` is the head on the left, and the end on the right.
#[derive(Clone, Copy)]
struct Gap<'a> {
    left: Option<NodeRef<'a>>,
    right: Option<NodeRef<'a>>,
}

impl List {
    /// A list of nothing.
    pub(crate) fn new() -> Self {
        Self { head: std::array::from_fn(|_| Link::new(ptr::null_mut())) }
    }

    /// Whether no node is linked.
    pub(crate) fn is_empty(&self) -> bool {
        self.after(None, 0).is_none()
    }

    /// Puts `node`, whose key is `probe`'s and is not in the list yet, in its place.
    ///
    /// # Safety
    /// `node` was written by [`NodeRef::write`], is passed to no other call of this, and its memory stays valid for as
    /// long as this list is used.
    #[inline]
    pub(crate) unsafe fn insert(&self, node: NodeRef<'_>, probe: &Probe<'_>) {
        let mut gaps = [Gap { left: None, right: None }; HEIGHT_MAX];
        self.descend(
            |other| other.compare(probe) == Ordering::Less,
            |level, gap| gaps[level] = gap,
        );
        for (level, gap) in gaps.iter_mut().enumerate().take(node.height()) {
            loop {
                let right = gap.right.map_or(ptr::null_mut(), NodeRef::as_ptr);
                node.link(level).store(right, Relaxed);
                let link = self.link(gap.left, level);
                if link.compare_exchange(right, node.as_ptr(), Release, Relaxed).is_ok() {
                    break;
                }
                *gap = self.advance(gap.left, level, None, &mut |other| {
                    other.compare(probe) == Ordering::Less
                });
            }
            debug_assert!(
                gap.right.is_none_or(|right| right.compare(probe) == Ordering::Greater),
                "an internal key is inserted once"
            );
        }
    }

    /// The first node.
    #[inline]
    pub(crate) fn first(&self) -> Option<NodeRef<'_>> {
        self.after(None, 0)
    }

    /// The last node.
    #[inline]
    pub(crate) fn last(&self) -> Option<NodeRef<'_>> {
        self.descend(|_| true, |_, _| ()).left
    }

    /// The first node at `probe` or after it.
    #[inline]
    pub(crate) fn at_or_after(&self, probe: &Probe<'_>) -> Option<NodeRef<'_>> {
        self.descend(|node| node.compare(probe) == Ordering::Less, |_, _| ()).right
    }

    /// The last node before `probe`.
    #[inline]
    pub(crate) fn before(&self, probe: &Probe<'_>) -> Option<NodeRef<'_>> {
        self.descend(|node| node.compare(probe) == Ordering::Less, |_, _| ()).left
    }

    /// The last node at `probe` or before it.
    #[inline]
    pub(crate) fn at_or_before(&self, probe: &Probe<'_>) -> Option<NodeRef<'_>> {
        self.descend(|node| node.compare(probe) != Ordering::Greater, |_, _| ()).left
    }

    /// The node that follows `node`.
    #[inline]
    pub(crate) fn following(&self, node: NodeRef<'_>) -> Option<NodeRef<'_>> {
        self.after(Some(node), 0)
    }

    /// Finds, level by level, the gap between the nodes for which `goes_before` holds and the others, and gives the
    /// one at the bottom.
    #[inline]
    fn descend<'a>(
        &'a self,
        mut goes_before: impl FnMut(NodeRef<'a>) -> bool,
        mut visit: impl FnMut(usize, Gap<'a>),
    ) -> Gap<'a> {
        let mut gap = Gap { left: None, right: None };
        for level in (0..HEIGHT_MAX).rev() {
            gap = self.advance(gap.left, level, gap.right, &mut goes_before);
            visit(level, gap);
        }
        gap
    }

    /// Goes right at `level`, from `left`, as long as `goes_before` holds. `stop`, where it is given, is a node that
    /// is already known not to go before.
    #[inline]
    fn advance<'a>(
        &'a self,
        mut left: Option<NodeRef<'a>>,
        level: usize,
        stop: Option<NodeRef<'a>>,
        goes_before: &mut impl FnMut(NodeRef<'a>) -> bool,
    ) -> Gap<'a> {
        let stop = stop.map_or(ptr::null_mut(), NodeRef::as_ptr);
        loop {
            let right = self.after(left, level);
            match right {
                Some(node) if node.as_ptr() != stop && goes_before(node) => left = right,
                _ => return Gap { left, right },
            }
        }
    }

    /// The node to which `left` points at `level`.
    #[inline]
    fn after(&self, left: Option<NodeRef<'_>>, level: usize) -> Option<NodeRef<'_>> {
        let right = self.link(left, level).load(Acquire);
        // SAFETY: whatever is in a link of a listed node, or of the head, was stored there by `insert` with Release,
        // and by its contract stays valid for as long as this list is used.
        unsafe { NodeRef::from_link(right) }
    }

    #[inline]
    fn link<'a>(&'a self, left: Option<NodeRef<'a>>, level: usize) -> &'a Link {
        match left {
            None => &self.head[level],
            Some(node) => node.link(level),
        }
    }
}

#[cfg(test)]
mod tests;
