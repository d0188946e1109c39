//! Nodes: sorted slots behind a versioned latch, laid out in arena memory as numbers that change one by one.
//!
//! Layout, in memory: a head of one cache line, then for each item the eight bytes of its key that tell it from its
//! neighbours, then in a leaf references to entries, in an inner node pointers to children:
//!
//! ```text
//! head    version u64 | shape u64 | high fence u32 | low fence u32 | level u8          64 bytes
//! leaf    64 prefixes u64 | 64 entries u32                                            768 bytes
//! inner   47 prefixes u64 | 48 children                                               760 bytes
//! ```
//!
//! Invariants: items are in strictly ascending order. A node holds what is at its low fence or after it and before its
//! high fence; fences are whole entries (key and sequence number), 0 stands for an infinite one. The low fence of a
//! node never changes; of a leaf it is the first entry, but for the leftmost leaf. The separators of an inner node are
//! the low fences of its children, and are read there; `prefixes[i]` is of `children[i + 1]`. A slot below the count
//! holds a reference or a pointer to something whole, whatever moment it is read at.
//!
//! **Prefixes** are taken behind the first `skip` bytes of the key, which all keys of the node share: eight bytes as a
//! big-endian number, filled up with zeros. When two prefixes differ they order as their keys do; when they are equal
//! the keys decide. In a node with two finite fences, whatever is searched for in it lies between them, and so shares
//! what they share: `skip` is at most that. At the edges of the tree it comes from the contents, and what is searched
//! for may differ from them before `skip`: then the shape names one of the contents, the *sample*, to compare with
//! first, and what does not share its first bytes either is not in the node or changes `skip`, under the latch.
//!
//! Concurrency: all that changes is atomic. References and pointers, and the shape, which holds one, are stored with
//! Release and loaded with Acquire, since what they point to is plain bytes; the rest is ordered by the latch.

use std::mem::{align_of, size_of};

use crate::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::atomic::{AtomicU32, AtomicU64};

use crate::tree::latch::Latch;
use crate::tree::link::{Link, NodeRef};

/// The most entries of a leaf. Models have few entries, and every slot is work to explore.
pub(crate) const LEAF_WIDTH: usize = if cfg!(loom) { 3 } else { 64 };
/// The most children of an inner node: as many as fit the bytes of a leaf, so that there is one size of slot.
pub(crate) const INNER_WIDTH: usize = if cfg!(loom) { 3 } else { 48 };

/// The bytes of any node; slots are aligned to [`SLOT_ALIGN`], of which this is a multiple.
pub(crate) const SLOT_BYTES: usize =
    if size_of::<Leaf>() > size_of::<Inner>() { size_of::<Leaf>() } else { size_of::<Inner>() };
/// A cache line.
pub(crate) const SLOT_ALIGN: usize = align_of::<Leaf>();

const _: () = assert!(align_of::<Inner>() == SLOT_ALIGN && align_of::<Head>() <= SLOT_ALIGN);
const _: () = assert!(SLOT_BYTES.is_multiple_of(SLOT_ALIGN));
const _: () = assert!(cfg!(loom) || SLOT_BYTES == 832);

/// What every node begins with.
#[repr(C, align(64))]
pub(crate) struct Head {
    pub(crate) latch: Latch,
    shape: AtomicU64,
    high: AtomicU32,
    low: u32,
    level: u8,
    /// Lets loom see the plain bytes of a node: touched as they are, so that one that is reached before it is published
    /// shows.
    #[cfg(loom)]
    witness: loom::cell::UnsafeCell<()>,
}

/// How many items a node has, and how their prefixes are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Entries of a leaf, separators of an inner node (which has one child more).
    pub(crate) count: usize,
    /// The bytes that all keys of the node share, as far as they are left out of the prefixes.
    pub(crate) skip: usize,
    /// An entry of the contents that a key has to be compared with before `skip` may be relied upon; 0 where there is
    /// no need to.
    pub(crate) sample: u32,
}

impl Shape {
    fn packed(self) -> u64 {
        u64::from(self.sample) << 32 | (self.skip as u64) << 8 | self.count as u64
    }

    fn unpack(packed: u64) -> Self {
        Self {
            count: (packed & 0xff) as usize,
            skip: (packed >> 8 & 0xffff) as usize,
            sample: (packed >> 32) as u32,
        }
    }
}

/// A node at the bottom.
#[repr(C, align(64))]
pub(crate) struct Leaf {
    pub(crate) head: Head,
    prefixes: [AtomicU64; LEAF_WIDTH],
    entries: [AtomicU32; LEAF_WIDTH],
}

/// A node above others.
#[repr(C, align(64))]
pub(crate) struct Inner {
    pub(crate) head: Head,
    prefixes: [AtomicU64; INNER_WIDTH - 1],
    children: [Link; INNER_WIDTH],
}

impl Head {
    fn new(level: u8, low: u32, high: u32) -> Self {
        Self {
            latch: Latch::new(),
            shape: AtomicU64::new(Shape { count: 0, skip: 0, sample: 0 }.packed()),
            high: AtomicU32::new(high),
            low,
            level,
            #[cfg(loom)]
            witness: loom::cell::UnsafeCell::new(()),
        }
    }

    /// Levels below this node: 0 for a leaf.
    #[inline]
    pub(crate) fn level(&self) -> u8 {
        #[cfg(loom)]
        self.witness.with(|_| ());
        self.level
    }

    /// Tells loom that the node's plain bytes were written here.
    #[cfg(loom)]
    pub(crate) fn written(&self) {
        self.witness.with_mut(|_| ());
    }

    #[inline]
    pub(crate) fn shape(&self) -> Shape {
        Shape::unpack(self.shape.load(Acquire))
    }

    pub(crate) fn set_shape(&self, shape: Shape) {
        self.shape.store(shape.packed(), Release);
    }

    /// The entry that the node begins with or after; 0 when it has everything that is small.
    #[inline]
    pub(crate) fn low(&self) -> u32 {
        self.low
    }

    /// The entry that the node ends before; 0 when it has everything that is great.
    #[inline]
    pub(crate) fn high(&self) -> u32 {
        self.high.load(Acquire)
    }

    pub(crate) fn set_high(&self, high: u32) {
        self.high.store(high, Release);
    }
}

/// The sorted prefixes of a node: what a search looks at first.
pub(crate) trait Prefixed {
    /// The node's head.
    fn head(&self) -> &Head;

    /// The prefixes; those below the count of the shape mean something.
    fn prefixes(&self) -> &[AtomicU64];

    /// The entry that the item at `at` is ordered by; 0 when the slot was not filled yet at the moment it was read.
    fn reference(&self, at: usize) -> u32;
}

impl Leaf {
    /// An empty leaf between two fences.
    pub(crate) fn new(low: u32, high: u32) -> Self {
        Self {
            head: Head::new(0, low, high),
            prefixes: std::array::from_fn(|_| AtomicU64::new(0)),
            entries: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    /// The entry at `at`; 0 when the slot was not filled yet.
    #[inline]
    pub(crate) fn entry(&self, at: usize) -> u32 {
        self.entries[at].load(Acquire)
    }

    /// Writes the item at `at`. Under the latch, or before anybody else knows the leaf.
    #[inline]
    pub(crate) fn set(&self, at: usize, prefix: u64, entry: u32) {
        self.prefixes[at].store(prefix, Relaxed);
        self.entries[at].store(entry, Release);
    }

    /// Moves the items from `at` to `count` up by one. Under the latch.
    #[inline]
    pub(crate) fn shift(&self, at: usize, count: usize) {
        for from in (at..count).rev() {
            self.prefixes[from + 1].store(self.prefixes[from].load(Relaxed), Relaxed);
        }
        for from in (at..count).rev() {
            self.entries[from + 1].store(self.entries[from].load(Relaxed), Release);
        }
    }
}

impl Prefixed for Leaf {
    #[inline]
    fn head(&self) -> &Head {
        &self.head
    }

    #[inline]
    fn prefixes(&self) -> &[AtomicU64] {
        &self.prefixes
    }

    #[inline]
    fn reference(&self, at: usize) -> u32 {
        self.entry(at)
    }
}

impl Inner {
    /// An empty node between two fences, so many levels above the leaves.
    pub(crate) fn new(level: u8, low: u32, high: u32) -> Self {
        Self {
            head: Head::new(level, low, high),
            prefixes: std::array::from_fn(|_| AtomicU64::new(0)),
            children: std::array::from_fn(|_| Link::new()),
        }
    }

    /// The child at `at`; `None` when the slot was not filled yet at the moment it was read.
    #[inline]
    pub(crate) fn child(&self, at: usize) -> Option<NodeRef<'_>> {
        self.children[at].load()
    }

    /// Writes the child at `at`, and before it, but for the first, the prefix of its low fence. Under the latch, or
    /// before anybody else knows the node.
    pub(crate) fn set(&self, at: usize, prefix: u64, child: NodeRef<'_>) {
        if at > 0 {
            self.prefixes[at - 1].store(prefix, Relaxed);
        }
        self.children[at].store(child);
    }

    /// Moves the children from `at`, which is not 0, up by one, with their prefixes; there are `count` separators.
    /// Under the latch.
    pub(crate) fn shift(&self, at: usize, count: usize) {
        for from in (at..=count).rev() {
            self.prefixes[from].store(self.prefixes[from - 1].load(Relaxed), Relaxed);
            self.children[from + 1].copy(&self.children[from]);
        }
    }
}

impl Prefixed for Inner {
    #[inline]
    fn head(&self) -> &Head {
        &self.head
    }

    #[inline]
    fn prefixes(&self) -> &[AtomicU64] {
        &self.prefixes
    }

    #[inline]
    fn reference(&self, at: usize) -> u32 {
        self.child(at + 1).map_or(0, |child| child.head().low())
    }
}
