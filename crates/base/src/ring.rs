//! In-order completion of work that finishes out of order.
//!
//! Writers take tickets 0, 1, 2, … in the order in which they reserve something, work in parallel, and finish in any
//! order. The ring publishes each ticket's value as soon as that ticket *and all before it* are finished: whoever
//! finishes the first open ticket publishes it and all finished ones that follow. So the published value only grows,
//! and what it covers has no hole.
//!
//! Concurrency. A slot belongs to the tickets that are equal modulo the ring's size.
//! - `complete(t)` stores the slot's value, then its mark `t + 1` (Release). The advancer that claims the mark by
//!   compare-exchange (Acquire) so sees all that the finisher did before; it stores `published` (Release), which a
//!   waiter or reader loads (Acquire): what a finisher did before `complete` is visible to whoever sees its value, also
//!   through a chain of advancers, since each takes `head` (Acquire) from the one before it (Release).
//! - Nobody is left behind: a finisher stores its mark, passes a `SeqCst` fence and reads `head`; an advancer stores
//!   `head`, passes a `SeqCst` fence and reads the next mark. One of the two sees the other.
//! - Whoever finishes the ticket that `head` stands at needs no mark: `head` passes a ticket only when it is finished, so
//!   until this finisher moves it nobody else can, and what it publishes itself nobody can publish twice. It has seen
//!   `head` (Acquire) as the advancer before it stored it (Release), and goes on as an advancer.
//! - A waiter adds itself to its parking place, passes a `SeqCst` fence and looks at `published` again before it
//!   sleeps; an advancer stores `published`, passes a `SeqCst` fence and looks for waiters. One sees the other; the
//!   place's lock closes the gap between looking and sleeping.
//! - A slot is used again only for ticket `t + size`, whose taker has seen `head > t` ([`CompletionRing::has_room`]).

use crossbeam_utils::CachePadded;

use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use crate::sync::{Condvar, Mutex, hint};

/// How many times a waiter looks before it sleeps.
const SPINS: u32 = if cfg!(any(loom, shuttle)) { 0 } else { 200 };

/// Parking places, so that a wake touches few sleepers.
const PLACES: usize = if cfg!(any(loom, shuttle)) { 1 } else { 32 };

/// The ring was closed by [`CompletionRing::fail`]: what has not been published never will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an earlier write failed for good: nothing after it can be completed")]
pub struct RingFailed;

struct Slot {
    /// `ticket + 1` once that ticket is finished; 0 when claimed.
    mark: AtomicU64,
    value: AtomicU64,
}

#[derive(Default)]
struct Place {
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Place {
    /// Sleeps until `done()` or a wake; the caller looks again.
    fn sleep_unless(&self, done: impl Fn() -> bool) {
        let guard = self.lock.lock();
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if done() {
            drop(guard);
        } else {
            drop(self.wake.wait(guard));
        }
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Wakes those that sleep here. Called after a `SeqCst` fence that follows what they wait for.
    fn wake(&self) {
        if self.sleepers.load(Ordering::Relaxed) > 0 {
            drop(self.lock.lock());
            self.wake.notify_all();
        }
    }
}

/// A ring of finished tickets; see the module's text.
///
/// ```
/// use base::ring::CompletionRing;
///
/// let ring = CompletionRing::new(8, 0);
/// ring.complete(1, 200); // finished early: nothing to publish yet
/// assert_eq!(ring.published(), 0);
/// ring.complete(0, 100);
/// assert_eq!(ring.published(), 200);
/// ```
pub struct CompletionRing {
    slots: Box<[Slot]>,
    /// The first ticket that is not published.
    head: CachePadded<AtomicU64>,
    published: CachePadded<AtomicU64>,
    failed: AtomicBool,
    places: Box<[CachePadded<Place>]>,
    room: CachePadded<Place>,
}

impl std::fmt::Debug for CompletionRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompletionRing")
            .field("head", &self.head.load(Ordering::Relaxed))
            .field("published", &self.published.load(Ordering::Relaxed))
            .field("failed", &self.failed.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

impl CompletionRing {
    /// A ring for `size` tickets at a time, whose published value is `initial` before the first.
    ///
    /// # Panics
    /// When `size` is not a power of two.
    #[must_use]
    pub fn new(size: usize, initial: u64) -> Self {
        assert!(size.is_power_of_two(), "the ring's size is a power of two");
        let slot = || Slot { mark: AtomicU64::new(0), value: AtomicU64::new(0) };
        Self {
            slots: (0..size).map(|_| slot()).collect(),
            head: CachePadded::new(AtomicU64::new(0)),
            published: CachePadded::new(AtomicU64::new(initial)),
            failed: AtomicBool::new(false),
            places: (0..PLACES).map(|_| CachePadded::default()).collect(),
            room: CachePadded::default(),
        }
    }

    /// Whether `ticket` may be taken now. Tickets are handed out by the caller, densely, under its own lock.
    #[inline]
    #[must_use]
    pub fn has_room(&self, ticket: u64) -> bool {
        ticket < self.head.load(Ordering::Acquire) + self.slots.len() as u64
    }

    /// Waits until `ticket` may be taken.
    ///
    /// # Errors
    /// [`RingFailed`] when that can no longer happen.
    pub fn wait_for_room(&self, ticket: u64) -> Result<(), RingFailed> {
        while !self.has_room(ticket) {
            self.check()?;
            self.room.sleep_unless(|| self.has_room(ticket) || self.has_failed());
        }
        Ok(())
    }

    /// The value up to which everything is finished. Sees all that was done before those tickets were completed.
    #[inline]
    #[must_use]
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// Marks `ticket` finished; `value` is published once all before it are too. Called once a ticket, with values
    /// that grow with the tickets.
    pub fn complete(&self, ticket: u64, value: u64) {
        if self.head.load(Ordering::Acquire) == ticket {
            self.publish(ticket, value);
            self.advance(ticket + 1);
            return;
        }
        let slot = self.slot(ticket);
        slot.value.store(value, Ordering::Relaxed);
        slot.mark.store(ticket + 1, Ordering::Release);
        fence(Ordering::SeqCst);
        self.advance(self.head.load(Ordering::Acquire));
    }

    /// Waits until `value`, which `ticket` completes with, is published: briefly awake, then asleep.
    ///
    /// # Errors
    /// [`RingFailed`] when it will never be.
    pub fn wait(&self, ticket: u64, value: u64) -> Result<(), RingFailed> {
        for _ in 0..SPINS {
            if self.published() >= value {
                return Ok(());
            }
            hint::spin_loop();
        }
        loop {
            if self.published() >= value {
                return Ok(());
            }
            self.check()?;
            self.place(ticket).sleep_unless(|| self.published() >= value || self.has_failed());
        }
    }

    /// Closes the ring because a ticket can never be completed: all that wait for it, or for one behind it, are
    /// released with [`RingFailed`]. What is published stays.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        for place in &self.places {
            place.wake();
        }
        self.room.wake();
    }

    /// Whether [`CompletionRing::fail`] was called.
    #[inline]
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    fn check(&self) -> Result<(), RingFailed> {
        if self.has_failed() { Err(RingFailed) } else { Ok(()) }
    }

    #[inline]
    fn slot(&self, ticket: u64) -> &Slot {
        &self.slots[(ticket & (self.slots.len() as u64 - 1)) as usize]
    }

    #[inline]
    fn place(&self, ticket: u64) -> &Place {
        &self.places[(ticket % PLACES as u64) as usize]
    }

    /// Publishes `head` if it is finished, and all finished ones behind it.
    #[inline]
    fn advance(&self, mut head: u64) {
        loop {
            let slot = self.slot(head);
            // Looked at first: nearly always the next one is not finished yet, and a look costs less than a claim.
            if slot.mark.load(Ordering::Relaxed) != head + 1 {
                return;
            }
            let claim =
                slot.mark.compare_exchange(head + 1, 0, Ordering::Acquire, Ordering::Relaxed);
            if claim.is_err() {
                // Claimed by another, who will look at the next one after moving the head.
                return;
            }
            self.publish(head, slot.value.load(Ordering::Relaxed));
            head += 1;
        }
    }

    /// Publishes `ticket`, which is finished and the first open one, with its value. Its finisher, or whoever has
    /// claimed its mark.
    #[inline]
    fn publish(&self, ticket: u64, value: u64) {
        self.published.store(value, Ordering::Release);
        self.head.store(ticket + 1, Ordering::Release);
        fence(Ordering::SeqCst);
        self.place(ticket).wake();
        self.room.wake();
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::sync::Arc;

    #[test]
    fn publishes_in_order_and_bounds_what_is_open() {
        // W4: nothing is published whose predecessor is not.
        let ring = CompletionRing::new(4, 7);
        assert!(ring.has_room(3) && !ring.has_room(4));
        ring.complete(2, 30);
        ring.complete(1, 20);
        assert_eq!(ring.published(), 7);
        ring.complete(0, 10);
        assert_eq!(ring.published(), 30);
        assert!(ring.has_room(6) && !ring.has_room(7));
    }

    #[test]
    fn failing_releases_waiters_of_every_kind() {
        // C6, W6: nobody is stranded.
        let ring = Arc::new(CompletionRing::new(2, 0));
        let waits: Vec<_> = (0..4)
            .map(|i| {
                let ring = Arc::clone(&ring);
                std::thread::spawn(
                    move || if i % 2 == 0 { ring.wait(1, 2) } else { ring.wait_for_room(2) },
                )
            })
            .collect();
        ring.complete(1, 2);
        ring.fail();
        for wait in waits {
            assert_eq!(wait.join().unwrap(), Err(RingFailed));
        }
    }

    #[test]
    fn many_threads_lose_no_ticket() {
        const THREADS: u64 = 8;
        const EACH: u64 = 20_000;
        let ring = Arc::new(CompletionRing::new(64, 0));
        let next = Arc::new(Mutex::new(0u64));
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (ring, next) = (Arc::clone(&ring), Arc::clone(&next));
                std::thread::spawn(move || {
                    for _ in 0..EACH {
                        let ticket = loop {
                            let mut next = next.lock();
                            if ring.has_room(*next) {
                                *next += 1;
                                break *next - 1;
                            }
                            let wanted = *next;
                            drop(next);
                            ring.wait_for_room(wanted).unwrap();
                        };
                        ring.complete(ticket, ticket + 1);
                        ring.wait(ticket, ticket + 1).unwrap();
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(ring.published(), THREADS * EACH);
    }
}
