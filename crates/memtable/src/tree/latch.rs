//! The versioned latch of a node: readers take nothing and check afterwards, a writer holds it alone.
//!
//! Concurrency: the version is even while nobody writes, odd while somebody does, and grows by two with every change.
//! A reader loads it (Acquire), reads the node's atomics, and asks [`Latch::is_still`] before it uses what it read.
//! A writer comes in by a compare-and-swap (Acquire) from the version under which it has read, so that nothing can
//! have changed since, and leaves with a Release store.
//!
//! Why a torn read is found out: a value that a reader got from a writer's store was stored after that writer's
//! `fence(Release)`, and was loaded before the reader's `fence(Acquire)`. So the two fences synchronise, and the
//! reader's last load sees the writer's odd version or a later one, never the even one it began with.

use crate::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::atomic::{AtomicU64, fence};
use base::sync::{hint, thread};

/// How often a reader looks again before it gives its processor to somebody else: the writer may have lost its own.
const SPINS_MAX: u32 = 64;

/// What a writer adds on its way in, and again on its way out.
const WRITING: u64 = 1;

/// The latch of one node.
pub(crate) struct Latch(AtomicU64);

/// What a node's content is known by: the same version, the same content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version(u64);

impl Latch {
    /// A latch that nobody holds.
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The version to read under. Waits for a writer to leave, which takes the time of moving some numbers.
    #[inline]
    pub(crate) fn version(&self) -> Version {
        let version = self.0.load(Acquire);
        if version & WRITING == 0 { Version(version) } else { self.version_later() }
    }

    #[cold]
    fn version_later(&self) -> Version {
        let mut spins = 0;
        loop {
            let version = self.0.load(Acquire);
            if version & WRITING == 0 {
                return Version(version);
            }
            if spins < SPINS_MAX {
                spins += 1;
                hint::spin_loop();
            } else {
                thread::yield_now();
            }
        }
    }

    /// Whether all that was read since `version` was loaded belongs together.
    #[inline]
    pub(crate) fn is_still(&self, version: Version) -> bool {
        fence(Acquire);
        self.0.load(Relaxed) == version.0
    }

    /// Takes the latch if nothing has changed since `version`.
    #[inline]
    pub(crate) fn acquire(&self, version: Version) -> Option<Latched<'_>> {
        self.0.compare_exchange(version.0, version.0 + WRITING, Acquire, Relaxed).ok()?;
        fence(Release);
        Some(Latched { latch: self, leave_as: version.0 + 2 * WRITING })
    }
}

/// The right to change a node. When it is dropped the node has a new version.
#[must_use = "the latch is held only as long as this"]
pub(crate) struct Latched<'a> {
    latch: &'a Latch,
    leave_as: u64,
}

impl Latched<'_> {
    /// Gives the latch up after nothing was changed: the version stays what it was.
    pub(crate) fn cancel(mut self) {
        self.leave_as -= 2 * WRITING;
    }
}

impl Drop for Latched<'_> {
    #[inline]
    fn drop(&mut self) {
        self.latch.0.store(self.leave_as, Release);
    }
}
