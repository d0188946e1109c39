//! Pointers to nodes, and the slots that hold them.
//!
//! Invariant: a link is null or points to a node that [`NodeRef::leaf`] or [`NodeRef::inner`] wrote, in the arena of
//! the tree that the link belongs to. Nodes go with the arena and not before, so whatever a reader finds in a link, at
//! whatever moment, it may follow; whether it still belongs there, the latch tells.

use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use crate::atomic::AtomicPtr;
use crate::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::arena::Slot;
use crate::tree::node::{Head, Inner, Leaf, SLOT_ALIGN, SLOT_BYTES};
use base::prefetch::prefetch;

/// A place for a pointer to a node.
pub(crate) struct Link(AtomicPtr<Head>);

/// A node, valid for `'a`.
#[derive(Clone, Copy)]
pub(crate) struct NodeRef<'a> {
    /// Valid for the whole node, not only its head.
    head: NonNull<Head>,
    lives: PhantomData<&'a Head>,
}

// SAFETY: it is a shared reference to atomics and to numbers that are not written any more.
unsafe impl Send for NodeRef<'_> {}
// SAFETY: as above.
unsafe impl Sync for NodeRef<'_> {}

/// A node as what it is.
#[derive(Clone, Copy)]
pub(crate) enum Kind<'a> {
    Leaf(&'a Leaf),
    Inner(&'a Inner),
}

impl Link {
    /// A link to nothing.
    pub(crate) fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// The node behind it.
    #[inline]
    pub(crate) fn load(&self) -> Option<NodeRef<'_>> {
        let head = NonNull::new(self.0.load(Acquire))?;
        Some(NodeRef { head, lives: PhantomData })
    }

    /// Points to `node`, which is of the same tree.
    pub(crate) fn store(&self, node: NodeRef<'_>) {
        self.0.store(node.head.as_ptr(), Release);
    }

    /// Points to where `other` points. Nobody writes to either at the same time.
    pub(crate) fn copy(&self, other: &Self) {
        self.0.store(other.0.load(Relaxed), Release);
    }
}

impl<'a> NodeRef<'a> {
    /// Writes `leaf` into `slot`, which is of the arena that is borrowed for `'a`.
    pub(crate) fn leaf(slot: &Slot, leaf: Leaf) -> Self {
        Self::write(slot, leaf)
    }

    /// Writes `inner` into `slot`, which is of the arena that is borrowed for `'a`.
    pub(crate) fn inner(slot: &Slot, inner: Inner) -> Self {
        Self::write(slot, inner)
    }

    fn write<N>(slot: &Slot, node: N) -> Self {
        const { assert!(size_of::<N>() <= SLOT_BYTES && align_of::<N>() == SLOT_ALIGN) };
        let at = slot.start().cast::<N>();
        debug_assert!(at.is_aligned());
        // SAFETY: a slot is the sole access to `SLOT_BYTES` bytes of mapped memory that are aligned for a node.
        unsafe { at.write(node) };
        let node = Self { head: at.cast(), lives: PhantomData };
        #[cfg(loom)]
        node.head().written();
        node
    }

    /// Its head.
    #[inline]
    pub(crate) fn head(self) -> &'a Head {
        // SAFETY: by the invariant it points to a node, which begins with its head and lives as long as `'a`; all that
        // is written after a node's publication is atomic.
        unsafe { self.head.as_ref() }
    }

    /// The node as what it is.
    #[inline]
    pub(crate) fn kind(self) -> Kind<'a> {
        if self.head().level() == 0 {
            // SAFETY: as for the head; nodes of level 0 were written as leaves.
            Kind::Leaf(unsafe { self.head.cast().as_ref() })
        } else {
            // SAFETY: as for the head; nodes of other levels were written as inner nodes.
            Kind::Inner(unsafe { self.head.cast().as_ref() })
        }
    }

    /// Whether both are the same node.
    #[inline]
    pub(crate) fn is(self, other: Self) -> bool {
        self.head == other.head
    }

    /// Asks for the whole node to be fetched.
    #[inline]
    pub(crate) fn prefetch(self) {
        const LINE_BYTES: usize = 64;
        for line in 0..SLOT_BYTES / LINE_BYTES {
            prefetch(self.head.cast::<u8>().as_ptr().wrapping_add(line * LINE_BYTES));
        }
    }
}
