//! The atomics that live in the arena: loom's in its models, the machine's everywhere else.
//!
//! Under the seeded scheduler, too: its atomics are more than plain words, so that they cannot stand in raw memory, and
//! the tree's own protocol is loom's business. To it each call of the tree is one step.

#[cfg(loom)]
pub(crate) use base::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};
