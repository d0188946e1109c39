//! Inserts: into the leaf where the entry belongs, or behind all others without a descent.

use crate::atomic::Ordering::Relaxed;
use base::sync::hint;

use crate::entry::{EntryRef, Probe};
use crate::tree::Tree;
use crate::tree::link::{Kind, NodeRef};
use crate::tree::node::{LEAF_WIDTH, Leaf, Prefixed, Shape};
use crate::tree::search::{Side, common, prefix_at};

impl Tree {
    /// Puts an entry in its place, and says how many nodes that took, at most one a level. No other entry has its key.
    ///
    /// # Safety
    /// `reference` was given by [`Region::cut`](crate::arena::Region::cut) of this tree's arena, `entry` was written
    /// there, and both are passed to no other call of this.
    #[inline]
    pub(crate) unsafe fn insert(&self, reference: u32, entry: EntryRef<'_>) -> usize {
        let probe = entry.probe();
        if self.is_ascending.load(Relaxed) {
            if self.append(reference, &probe) {
                return 0;
            }
            self.is_ascending.store(false, Relaxed);
        }
        loop {
            let Some((leaf, version)) = self.descend(|inner| self.way(inner, &probe), &mut ())
            else {
                if self.plant(reference, &probe) {
                    return 1;
                }
                continue;
            };
            let shape = leaf.head.shape();
            let at = self.rank(leaf, shape, &probe, Side::Below);
            if shape.count < LEAF_WIDTH {
                if let Some(latched) = leaf.head.latch.acquire(version) {
                    self.put(leaf, shape, at, reference, &probe);
                    if at == shape.count && leaf.head.high() == 0 {
                        self.is_ascending.store(true, Relaxed);
                    }
                    drop(latched);
                    return 0;
                }
            } else if let Some(nodes) = self.split(reference, &probe) {
                return nodes;
            }
            hint::spin_loop();
        }
    }

    /// Puts an entry behind all others, if that is its place and the rightmost leaf has room.
    fn append(&self, reference: u32, probe: &Probe<'_>) -> bool {
        let Some(Kind::Leaf(leaf)) = self.edge.load().map(NodeRef::kind) else { return false };
        let version = leaf.head.latch.version();
        let shape = leaf.head.shape();
        if leaf.head.high() != 0 || shape.count == 0 || shape.count >= LEAF_WIDTH {
            return false;
        }
        let last = self.entry(leaf.entry(shape.count - 1));
        if !last.is_some_and(|last| last.compare(probe).is_lt()) {
            return false;
        }
        let Some(_latched) = leaf.head.latch.acquire(version) else { return false };
        self.put(leaf, shape, shape.count, reference, probe);
        true
    }

    /// Makes the first leaf, if there is none yet.
    #[cold]
    fn plant(&self, reference: u32, probe: &Probe<'_>) -> bool {
        let _alone = self.planting.lock();
        if !self.is_empty() {
            return false;
        }
        let leaf = Leaf::new(0, 0);
        let skip = probe.user_key.len();
        leaf.set(0, 0, reference);
        leaf.head.set_shape(Shape { count: 1, skip, sample: reference });
        let leaf = NodeRef::leaf(&self.arena.slots().take(), leaf);
        self.edge.store(leaf);
        self.root.store(leaf);
        true
    }

    /// Puts an entry into a leaf that has room. Under the latch.
    #[inline]
    fn put(&self, leaf: &Leaf, shape: Shape, at: usize, reference: u32, probe: &Probe<'_>) {
        self.check_new(leaf, shape, at, probe);
        let shape = self.admit(leaf, shape, probe.user_key);
        leaf.shift(at, shape.count);
        leaf.set(at, prefix_at(probe.user_key, shape.skip), reference);
        leaf.head.set_shape(Shape { count: shape.count + 1, ..shape });
    }

    /// In debug builds: that the entry whose rank is `at` is not there already.
    #[inline]
    pub(super) fn check_new(&self, leaf: &Leaf, shape: Shape, at: usize, probe: &Probe<'_>) {
        debug_assert!(
            at >= shape.count
                || self.entry(leaf.entry(at)).is_none_or(|entry| entry.compare(probe).is_ne()),
            "an internal key is inserted once"
        );
    }

    /// The shape under which `key` can be an item of `node`: at the edges of the tree what all keys share may get
    /// shorter by it, and the prefixes with it. Under the latch.
    #[inline]
    pub(super) fn admit(&self, node: &impl Prefixed, shape: Shape, key: &[u8]) -> Shape {
        let Some(sample) = self.entry(shape.sample) else { return shape };
        let shared = &sample.user_key()[..shape.skip];
        if key.starts_with(shared) {
            return shape;
        }
        let skip = common(shared, key);
        for at in 0..shape.count {
            let key = self.entry(node.reference(at)).expect("a node's items are entries");
            node.prefixes()[at].store(prefix_at(key.user_key(), skip), Relaxed);
        }
        let shape = Shape { skip, sample: if skip == 0 { 0 } else { shape.sample }, ..shape };
        node.head().set_shape(shape);
        shape
    }
}
