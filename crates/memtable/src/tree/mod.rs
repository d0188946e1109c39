//! The tree that keeps the entries in order: a B+-tree whose readers lock nothing.
//!
//! Invariants: those of [`node`]; every entry that [`Tree::insert`] has returned from is in exactly one leaf; nodes
//! split and never merge, and live as long as the tree.
//!
//! **Reading.** A descent takes a node's version, finds the child, takes the child's version, and only then asks
//! whether the node's version is still the same: so the child was the right one at a moment at which its version was
//! the one in hand. When the answer is no it begins anew. It waits for nobody but a writer that is moving numbers in
//! the very node it wants to read.
//!
//! **Writing.** An insert finds its leaf as a reader does, and takes the leaf's latch by a compare-and-swap from the
//! version it has read under. When the leaf is full it takes, from the leaf up, the latches of all nodes that have to
//! split and of the first that does not, each from the version of its own descent, or gives them all back and begins
//! anew: nobody waits for a latch while holding one. All of these splits are done before the first latch is given up.
//!
//! **Beside the leaf.** What follows the last entry of a leaf is the leaf's high fence itself: the first entry of
//! every leaf but the leftmost is its low fence, since nothing is ever removed.

pub(crate) mod demand;
mod insert;
mod latch;
mod link;
pub(crate) mod node;
mod search;
mod split;

use crate::atomic::AtomicBool;
use base::sync::{Mutex, hint};

use crate::arena::Arena;
use crate::entry::{EntryRef, Probe};
use base::prefetch::prefetch;
use latch::Version;
use link::{Kind, Link};
use node::{Inner, Leaf, Prefixed};
pub(crate) use search::Side;

/// The order of a memtable's entries, and the arena in which they and the nodes are.
pub(crate) struct Tree {
    arena: Arena,
    root: Link,
    /// The rightmost leaf, or one that was it.
    edge: Link,
    /// Whether the last insert that looked went behind all others.
    is_ascending: AtomicBool,
    /// Held by the insert that makes the first leaf.
    planting: Mutex<()>,
}

/// A place in a leaf, as it was under a version of it.
#[derive(Clone, Copy)]
pub(crate) struct Spot<'a> {
    leaf: &'a Leaf,
    version: Version,
    at: usize,
    count: usize,
    entry: EntryRef<'a>,
}

/// One step of a descent: the node, its version, and which child was taken.
#[derive(Clone, Copy)]
struct Step<'a> {
    inner: &'a Inner,
    version: Version,
    at: usize,
}

/// Who wants to know which way a descent went.
trait Trail<'a> {
    /// It begins, maybe anew.
    fn begin(&mut self);
    /// It went this way.
    fn pass(&mut self, step: Step<'a>);
}

impl Trail<'_> for () {
    #[inline]
    fn begin(&mut self) {}
    #[inline]
    fn pass(&mut self, _step: Step<'_>) {}
}

impl Tree {
    /// A tree of nothing, which holds no memory yet.
    pub(crate) fn new() -> Self {
        Self {
            arena: Arena::new(),
            root: Link::new(),
            edge: Link::new(),
            is_ascending: AtomicBool::new(false),
            planting: Mutex::new(()),
        }
    }

    /// Where its memory comes from.
    #[inline]
    pub(crate) fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Whether nothing was inserted.
    pub(crate) fn is_empty(&self) -> bool {
        self.root.load().is_none()
    }

    /// The entry that a node's reference names; `None` for 0.
    #[inline]
    fn entry(&self, reference: u32) -> Option<EntryRef<'_>> {
        // SAFETY: what nodes hold was given to `insert`, whose contract says that an entry was written there, or is 0;
        // nodes store references with Release, alone or within a shape, and load them with Acquire.
        unsafe { self.arena.entry(reference) }
    }

    /// The first entry at `probe` or after it.
    #[inline]
    pub(crate) fn at_or_after(&self, probe: &Probe<'_>) -> Option<EntryRef<'_>> {
        loop {
            let (leaf, version) = self.descend(|inner| self.way(inner, probe), &mut ())?;
            let shape = leaf.head.shape();
            let at = self.rank(leaf, shape, probe, Side::Below);
            let is_behind = at >= shape.count;
            let reference = if is_behind { leaf.head.high() } else { leaf.entry(at) };
            if leaf.head.latch.is_still(version) {
                return self.entry(reference);
            }
            hint::spin_loop();
        }
    }

    /// The place of the first entry that is not on this side of `probe`.
    pub(crate) fn spot_after(&self, probe: &Probe<'_>, side: Side) -> Option<Spot<'_>> {
        loop {
            let (leaf, version) = self.descend(|inner| self.way(inner, probe), &mut ())?;
            let shape = leaf.head.shape();
            let at = self.rank(leaf, shape, probe, side);
            if at < shape.count {
                if let Some(spot) = self.spot(leaf, version, at, shape.count) {
                    return Some(spot);
                }
            } else {
                let high = leaf.head.high();
                if leaf.head.latch.is_still(version) {
                    // Behind the leaf's last entry comes the fence, which begins the next leaf.
                    let fence = self.entry(high)?;
                    return self.spot_after(&fence.probe(), Side::Below);
                }
            }
            hint::spin_loop();
        }
    }

    /// The place of the last entry that is on this side of `probe`.
    pub(crate) fn spot_before(&self, probe: &Probe<'_>, side: Side) -> Option<Spot<'_>> {
        loop {
            let way = |inner: &Inner| self.rank(inner, inner.head().shape(), probe, side);
            let (leaf, version) = self.descend(way, &mut ())?;
            let shape = leaf.head.shape();
            let rank = self.rank(leaf, shape, probe, side);
            if rank > 0 {
                if let Some(spot) = self.spot(leaf, version, rank - 1, shape.count) {
                    return Some(spot);
                }
            } else if leaf.head.latch.is_still(version) {
                // Only the leftmost leaf does not begin with its low fence, which is on this side.
                return None;
            }
            hint::spin_loop();
        }
    }

    /// The place of the last entry.
    pub(crate) fn last_spot(&self) -> Option<Spot<'_>> {
        loop {
            let (leaf, version) = self.descend(|inner| inner.head.shape().count, &mut ())?;
            let count = leaf.head.shape().count;
            if count > 0
                && let Some(spot) = self.spot(leaf, version, count - 1, count)
            {
                return Some(spot);
            }
            hint::spin_loop();
        }
    }

    /// The place of the entry that follows.
    #[inline]
    pub(crate) fn following<'a>(&'a self, spot: &Spot<'a>) -> Option<Spot<'a>> {
        let Spot { leaf, version, at, count, .. } = *spot;
        if at + 1 < count
            && let Some(next) = self.spot(leaf, version, at + 1, count)
        {
            self.prefetch_entry(leaf, at + AHEAD, count);
            return Some(next);
        }
        // The end of the leaf, or it has changed.
        let next = self.spot_after(&spot.entry.probe(), Side::UpTo)?;
        for ahead in 1..AHEAD {
            self.prefetch_entry(next.leaf, next.at + ahead, next.count);
        }
        Some(next)
    }

    /// The place of the entry before.
    #[inline]
    pub(crate) fn preceding<'a>(&'a self, spot: &Spot<'a>) -> Option<Spot<'a>> {
        let Spot { leaf, version, at, count, .. } = *spot;
        if at > 0
            && let Some(before) = self.spot(leaf, version, at - 1, count)
        {
            self.prefetch_entry(leaf, at.wrapping_sub(AHEAD), count);
            return Some(before);
        }
        let before = self.spot_before(&spot.entry.probe(), Side::Below)?;
        for ahead in 1..AHEAD {
            self.prefetch_entry(before.leaf, before.at.wrapping_sub(ahead), before.count);
        }
        Some(before)
    }

    /// The place at `at`, which is below `count`, if the leaf is still as it was under `version`.
    #[inline]
    fn spot<'a>(
        &'a self,
        leaf: &'a Leaf,
        version: Version,
        at: usize,
        count: usize,
    ) -> Option<Spot<'a>> {
        let reference = leaf.entry(at);
        let entry = if leaf.head.latch.is_still(version) { self.entry(reference) } else { None };
        entry.map(|entry| Spot { leaf, version, at, count, entry })
    }

    /// Asks for the entry at `at` to be fetched, if there is one.
    #[inline]
    fn prefetch_entry(&self, leaf: &Leaf, at: usize, count: usize) {
        if at < count
            && let Some(address) = self.arena.address(leaf.entry(at))
        {
            prefetch(address.as_ptr());
        }
    }

    /// Which child of `inner` has the place of `probe`.
    #[inline]
    fn way(&self, inner: &Inner, probe: &Probe<'_>) -> usize {
        self.rank(inner, inner.head.shape(), probe, Side::UpTo)
    }

    /// Goes down to a leaf, in each inner node to the child that `way` says; `None` when nothing was inserted yet.
    #[inline]
    fn descend<'a>(
        &'a self,
        mut way: impl FnMut(&'a Inner) -> usize,
        trail: &mut impl Trail<'a>,
    ) -> Option<(&'a Leaf, Version)> {
        'anew: loop {
            trail.begin();
            let mut node = self.root.load()?;
            let mut version = node.head().latch.version();
            // A root that was split before its version was taken is the root no more.
            if !self.root.load().is_some_and(|root| root.is(node)) {
                continue;
            }
            loop {
                let inner = match node.kind() {
                    Kind::Leaf(leaf) => return Some((leaf, version)),
                    Kind::Inner(inner) => inner,
                };
                let at = way(inner);
                let Some(child) = inner.child(at) else {
                    hint::spin_loop();
                    continue 'anew;
                };
                child.prefetch();
                let child_version = child.head().latch.version();
                if !inner.head.latch.is_still(version) {
                    hint::spin_loop();
                    continue 'anew;
                }
                trail.pass(Step { inner, version, at });
                (node, version) = (child, child_version);
            }
        }
    }
}

/// How many entries ahead a walk fetches.
const AHEAD: usize = 6;

impl<'a> Spot<'a> {
    /// The entry there.
    #[inline]
    pub(crate) fn entry(&self) -> EntryRef<'a> {
        self.entry
    }

    /// The same place, said to be valid for `'b`.
    ///
    /// # Safety
    /// The tree, and with it the memory of its nodes and entries, stays valid for `'b`.
    #[inline]
    pub(crate) unsafe fn extend<'b>(self) -> Spot<'b> {
        let Self { leaf, version, at, count, entry } = self;
        let leaf: *const Leaf = leaf;
        // SAFETY: the caller says that the leaf's and the entry's memory stay valid.
        let (leaf, entry) = unsafe { (&*leaf, entry.extend()) };
        Spot { leaf, version, at, count, entry }
    }
}

#[cfg(test)]
mod tests;
