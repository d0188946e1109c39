//! Slots for the tree's nodes: memory that is reserved before the inserts that may need it begin.
//!
//! Concurrency: one short lock, taken once for some forty inserts, by the one that splits a node.

use std::ptr::NonNull;

use base::sync::Mutex;

use crate::tree::node::SLOT_BYTES;

/// Slots that no node is in yet.
#[derive(Debug)]
pub(crate) struct Slots {
    spans: Mutex<Vec<Span>>,
}

/// Slots one behind the other.
#[derive(Debug)]
struct Span {
    start: NonNull<u8>,
    slots: usize,
}

// SAFETY: a span is the sole access to its memory, which is plain bytes that any thread may own.
unsafe impl Send for Span {}

/// The memory of one node: [`SLOT_BYTES`], aligned for it, and nobody else's.
#[derive(Debug)]
pub(crate) struct Slot(pub(super) NonNull<u8>);

impl Slot {
    /// Where it is.
    #[inline]
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.0
    }
}

impl Slots {
    /// None.
    pub(crate) fn new() -> Self {
        Self { spans: Mutex::new(Vec::new()) }
    }

    /// Adds so many, from `start` on.
    pub(super) fn add(&self, start: NonNull<u8>, slots: usize) {
        self.spans.lock().push(Span { start, slots });
    }

    /// Takes one. There is one for every node that a reserved insert can need: `tree::demand`.
    pub(crate) fn take(&self) -> Slot {
        let mut spans = self.spans.lock();
        loop {
            let span =
                spans.last_mut().expect("slots are reserved before the inserts that need them");
            if span.slots == 0 {
                spans.pop();
                continue;
            }
            span.slots -= 1;
            // `wrapping_add` never wraps here: the slot lies inside the span.
            let slot = span.start.as_ptr().wrapping_add(span.slots * SLOT_BYTES);
            return Slot(NonNull::new(slot).expect("a span is never at address 0"));
        }
    }
}
