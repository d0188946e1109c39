//! Splits: a full leaf, and every full node above it, in one go.
//!
//! A node is split into halves as it takes in one item more; only at the right edge of the tree an item that goes
//! behind all others gets a node of its own and leaves the full one full, so that ascending inserts fill their nodes.
//! `demand` counts on both. What the halves' keys share is found anew from their fences, and their prefixes are taken
//! anew where that tells more of the keys apart.

use crate::atomic::Ordering::Relaxed;

use crate::entry::Probe;
use crate::tree::demand::{INNER_LEAST, LEAF_LEAST, LEVELS_MAX};
use crate::tree::latch::Latched;
use crate::tree::link::NodeRef;
use crate::tree::node::{INNER_WIDTH, Inner, LEAF_WIDTH, Leaf, Prefixed, Shape};
use crate::tree::search::{Side, common, prefix_at};
use crate::tree::{Step, Trail, Tree};

/// By how many bytes more has to be shared before prefixes are taken anew without another need: taking them costs a
/// look at every key, and a prefix of eight bytes can spare some.
const SHARED_MORE_LEAST: usize = 4;

/// The way from the root to a leaf.
struct Path<'a> {
    steps: [Option<Step<'a>>; LEVELS_MAX],
    len: usize,
}

impl<'a> Trail<'a> for Path<'a> {
    fn begin(&mut self) {
        self.len = 0;
    }

    fn pass(&mut self, step: Step<'a>) {
        self.steps[self.len] = Some(step);
        self.len += 1;
    }
}

/// A node above the leaf that a split goes through, latched.
struct Held<'a> {
    inner: &'a Inner,
    at: usize,
    latched: Latched<'a>,
}

/// One item of a node that is taken apart: a leaf's entry, or a child with the low fence that it is ordered by.
#[derive(Clone, Copy)]
struct Item<T> {
    prefix: u64,
    reference: u32,
    is: T,
}

impl Tree {
    /// Puts an entry into a leaf that is full, by splitting it, and says how many nodes that took; `None` when
    /// something has changed and the insert has to begin anew.
    #[cold]
    pub(super) fn split(&self, reference: u32, probe: &Probe<'_>) -> Option<usize> {
        let mut path = Path { steps: [None; LEVELS_MAX], len: 0 };
        let (leaf, version) = self.descend(|inner| self.way(inner, probe), &mut path)?;
        let shape = leaf.head.shape();
        let at = self.rank(leaf, shape, probe, Side::Below);
        if shape.count < LEAF_WIDTH {
            return None;
        }
        let latched = leaf.head.latch.acquire(version)?;
        let Some(held) = self.hold(&path) else {
            latched.cancel();
            return None;
        };
        self.check_new(leaf, shape, at, probe);
        let mut right = self.split_leaf(leaf, shape, at, reference, probe);
        let (mut nodes, mut is_taken_in) = (1, false);
        if right.head().high() == 0 {
            self.edge.store(right);
            self.is_ascending.store(at == LEAF_WIDTH, Relaxed);
        }
        for held in held.iter().flatten() {
            let shape = held.inner.head.shape();
            if shape.count + 1 < INNER_WIDTH {
                self.put_child(held.inner, shape, held.at + 1, right);
                is_taken_in = true;
            } else {
                right = self.split_inner(held.inner, shape, held.at + 1, right);
                nodes += 1;
            }
        }
        if !is_taken_in {
            self.grow(right);
            nodes += 1;
        }
        drop((held, latched));
        Some(nodes)
    }

    /// Latches the nodes of `path` from the bottom up to the first that has room, or to the root; `None`, and nothing
    /// held, when one of them has changed.
    fn hold<'a>(&self, path: &Path<'a>) -> Option<[Option<Held<'a>>; LEVELS_MAX]> {
        let mut held = [const { None }; LEVELS_MAX];
        for (slot, step) in held.iter_mut().zip(path.steps[..path.len].iter().rev().flatten()) {
            let Step { inner, version, at } = *step;
            let Some(latched) = inner.head.latch.acquire(version) else {
                held.into_iter().flatten().for_each(|held: Held<'_>| held.latched.cancel());
                return None;
            };
            *slot = Some(Held { inner, at, latched });
            if inner.head.shape().count + 1 < INNER_WIDTH {
                break;
            }
        }
        Some(held)
    }

    /// Splits a full leaf and puts an entry in; the new leaf on the right, which nobody knows yet. Under the latch.
    fn split_leaf(
        &self,
        leaf: &Leaf,
        shape: Shape,
        at: usize,
        reference: u32,
        probe: &Probe<'_>,
    ) -> NodeRef<'_> {
        let shape = self.admit(leaf, shape, probe.user_key);
        let new = Item { prefix: prefix_at(probe.user_key, shape.skip), reference, is: () };
        let items: [Item<()>; LEAF_WIDTH + 1] = with(at, new, |at| Item {
            prefix: leaf.prefixes()[at].load(Relaxed),
            reference: leaf.entry(at),
            is: (),
        });
        let high = leaf.head.high();
        let is_tail = high == 0 && at == LEAF_WIDTH;
        let keep = if is_tail { LEAF_WIDTH } else { LEAF_LEAST };
        let (left_items, right_items) = items.split_at(keep);
        let fence = right_items[0].reference;

        let right = Leaf::new(fence, high);
        let right_shape = self.shape_for(fence, high, right_items, shape.skip);
        self.fill_leaf(&right, right_shape, shape.skip, right_items);
        let right = NodeRef::leaf(&self.arena.slots().take(), right);
        let left_shape = self.shape_for(leaf.head.low(), fence, left_items, shape.skip);
        self.fill_leaf(leaf, left_shape, shape.skip, left_items);
        leaf.head.set_high(fence);
        right
    }

    fn fill_leaf(&self, leaf: &Leaf, shape: Shape, skip_now: usize, items: &[Item<()>]) {
        for (at, item) in items.iter().enumerate() {
            leaf.set(at, self.prefix_of(item, shape.skip, skip_now), item.reference);
        }
        leaf.head.set_shape(shape);
    }

    /// Splits a full inner node and puts `child` in at `at`; the new node on the right. Under the latch.
    fn split_inner<'a>(
        &'a self,
        inner: &'a Inner,
        shape: Shape,
        at: usize,
        child: NodeRef<'a>,
    ) -> NodeRef<'a> {
        let low_of = |child: NodeRef<'a>| child.head().low();
        let key = self.entry(low_of(child)).expect("a new node has a low fence").user_key();
        let shape = self.admit(inner, shape, key);
        let new = Item { prefix: prefix_at(key, shape.skip), reference: low_of(child), is: child };
        let items: [Item<NodeRef<'a>>; INNER_WIDTH + 1] = with(at, new, |at| {
            let child = inner.child(at).expect("a full node has all its children");
            // The first child has no prefix, and needs none.
            let prefix = at.checked_sub(1).map_or(0, |at| inner.prefixes()[at].load(Relaxed));
            Item { prefix, reference: low_of(child), is: child }
        });
        let high = inner.head.high();
        let is_tail = high == 0 && at == INNER_WIDTH;
        let keep = if is_tail { INNER_WIDTH } else { INNER_LEAST };
        let (left_items, right_items) = items.split_at(keep);
        let fence = right_items[0].reference;

        let right = Inner::new(inner.head.level(), fence, high);
        let right_shape = self.shape_for(fence, high, &right_items[1..], shape.skip);
        self.fill_inner(&right, right_shape, shape.skip, right_items);
        let right = NodeRef::inner(&self.arena.slots().take(), right);
        let left_shape = self.shape_for(inner.head.low(), fence, &left_items[1..], shape.skip);
        self.fill_inner(inner, left_shape, shape.skip, left_items);
        inner.head.set_high(fence);
        right
    }

    fn fill_inner(
        &self,
        inner: &Inner,
        shape: Shape,
        skip_now: usize,
        items: &[Item<NodeRef<'_>>],
    ) {
        inner.set(0, 0, items[0].is);
        for (at, item) in items.iter().enumerate().skip(1) {
            inner.set(at, self.prefix_of(item, shape.skip, skip_now), item.is);
        }
        inner.head.set_shape(shape);
    }

    /// Puts a child into a node that has room. Under the latch.
    fn put_child(&self, inner: &Inner, shape: Shape, at: usize, child: NodeRef<'_>) {
        let low = child.head().low();
        let key = self.entry(low).expect("a new node has a low fence").user_key();
        let shape = if shape.count == 0 {
            // The second child of a node at the right edge: the first keys to share something.
            let fence = self.entry(inner.head.low());
            let skip = fence.map_or(0, |fence| common(fence.user_key(), key));
            Shape { count: 0, skip, sample: if skip == 0 { 0 } else { low } }
        } else {
            self.admit(inner, shape, key)
        };
        inner.shift(at, shape.count);
        inner.set(at, prefix_at(key, shape.skip), child);
        inner.head.set_shape(Shape { count: shape.count + 1, ..shape });
    }

    /// Puts a new root above the old one, which was split, and `right`. Under the old root's latch.
    fn grow(&self, right: NodeRef<'_>) {
        let left = self.root.load().expect("what was split is there");
        let fence = right.head().low();
        let key = self.entry(fence).expect("a new node has a low fence").user_key();
        let sample = self.entry(left.head().shape().sample);
        let skip = sample.map_or(0, |sample| common(sample.user_key(), key));
        let root = Inner::new(left.head().level() + 1, 0, 0);
        root.set(0, 0, left);
        root.set(1, prefix_at(key, skip), right);
        root.head.set_shape(Shape { count: 1, skip, sample: if skip == 0 { 0 } else { fence } });
        self.root.store(NodeRef::inner(&self.arena.slots().take(), root));
    }

    /// The shape of a node between two fences with these items, whose prefixes leave out `skip_now` bytes so far.
    fn shape_for<T>(&self, low: u32, high: u32, items: &[Item<T>], skip_now: usize) -> Shape {
        let (Some(first), Some(last)) = (items.first(), items.last()) else {
            return Shape { count: 0, skip: 0, sample: 0 };
        };
        let is_edge = low == 0 || high == 0;
        let shared = match (is_edge, items.len()) {
            // A single key shares all with itself: rather what it shared with its neighbours, as the next may too.
            (true, 1) => skip_now,
            (true, _) => self.shared(first.reference, last.reference),
            (false, _) => self.shared(low, high),
        };
        let has_equals = || items.windows(2).any(|pair| pair[0].prefix == pair[1].prefix);
        let is_worth_it =
            shared >= skip_now + SHARED_MORE_LEAST || (shared > skip_now && has_equals());
        let skip = if is_worth_it { shared } else { shared.min(skip_now) };
        let sample = if is_edge && skip > 0 { first.reference } else { 0 };
        Shape { count: items.len(), skip, sample }
    }

    /// How many bytes two entries' keys share.
    fn shared(&self, a: u32, b: u32) -> usize {
        match (self.entry(a), self.entry(b)) {
            (Some(a), Some(b)) => common(a.user_key(), b.user_key()),
            _ => 0,
        }
    }

    /// The prefix of an item when it leaves out `skip` bytes.
    fn prefix_of<T>(&self, item: &Item<T>, skip: usize, skip_now: usize) -> u64 {
        if skip == skip_now {
            return item.prefix;
        }
        let entry = self.entry(item.reference).expect("a node's items are entries");
        prefix_at(entry.user_key(), skip)
    }
}

/// All items of a full node, with a new one at `at`.
fn with<T: Copy, const N: usize>(at: usize, new: T, old: impl Fn(usize) -> T) -> [T; N] {
    std::array::from_fn(|place| match place.cmp(&at) {
        std::cmp::Ordering::Less => old(place),
        std::cmp::Ordering::Equal => new,
        std::cmp::Ordering::Greater => old(place - 1),
    })
}
