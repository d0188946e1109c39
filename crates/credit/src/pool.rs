//! The pool: bytes that may be held, granted in order of arrival.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::error::{AcquireError, Cause, TryAcquireError};

/// A pool of byte credits; clones share one account.
#[derive(Clone, Debug)]
pub struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    waiters: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    capacity: Option<u64>,
    held: u64,
    end: Option<End>,
    next_ticket: u64,
    queue: BTreeMap<u64, (u64, Arc<Condvar>)>,
    stats: PoolStats,
}

#[derive(Debug, Clone)]
enum End {
    Closed,
    Poisoned(Cause),
}

/// What a pool has done since it was made.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PoolStats {
    /// Requests granted.
    pub acquisitions: u64,
    /// Requests that had to wait, whether granted in the end or not.
    pub waits: u64,
    /// Time spent waiting, over all requests.
    pub wait_total: Duration,
    /// The longest single wait.
    pub wait_max: Duration,
    /// Most bytes ever held at once.
    pub peak_bytes: u64,
}

impl State {
    fn fits(&self, bytes: u64) -> bool {
        let Some(held_after) = self.held.checked_add(bytes) else { return false };
        match self.capacity {
            None => true,
            Some(capacity) => held_after <= capacity || (bytes > capacity && self.held == 0),
        }
    }

    fn grant(&mut self, bytes: u64) {
        self.held += bytes;
        self.stats.acquisitions += 1;
        self.stats.peak_bytes = self.stats.peak_bytes.max(self.held);
    }

    /// Grants from the head of the queue as long as the head fits; returns whom to wake.
    fn serve(&mut self) {
        while let Some(entry) = self.queue.first_entry() {
            let bytes = entry.get().0;
            if !self.fits(bytes) {
                break;
            }
            if let Some((_, (bytes, wake))) = self.queue.pop_first() {
                self.grant(bytes);
                wake.notify_one();
            }
        }
    }

    fn ended(&self) -> Option<AcquireError> {
        self.end.as_ref().map(|end| match end {
            End::Closed => AcquireError::Closed,
            End::Poisoned(cause) => AcquireError::Poisoned { cause: cause.clone() },
        })
    }
}

impl Pool {
    /// Makes a pool of `capacity_bytes`; `None` or `Some(0)` is unlimited, but counted.
    #[must_use]
    pub fn new(capacity_bytes: Option<u64>) -> Pool {
        let state = State { capacity: capacity_bytes.filter(|&c| c > 0), ..State::default() };
        Pool { inner: Arc::new(Inner { state: Mutex::new(state), waiters: AtomicUsize::new(0) }) }
    }

    /// Waits until `bytes` are granted.
    ///
    /// # Errors
    /// [`AcquireError::Closed`] or [`AcquireError::Poisoned`] when the pool has ended.
    pub fn acquire(&self, bytes: u64) -> Result<Permit, AcquireError> {
        self.acquire_until(bytes, None)
    }

    /// Takes `bytes` if they are free and nobody waits.
    ///
    /// # Errors
    /// [`TryAcquireError::WouldBlock`] if it would have to wait, or the pool has ended.
    pub fn try_acquire(&self, bytes: u64) -> Result<Permit, TryAcquireError> {
        let mut state = self.inner.state.lock();
        match &state.end {
            Some(End::Closed) => return Err(TryAcquireError::Closed),
            Some(End::Poisoned(cause)) => {
                return Err(TryAcquireError::Poisoned { cause: cause.clone() });
            }
            None => {}
        }
        if bytes > 0 {
            if !state.queue.is_empty() || !state.fits(bytes) {
                return Err(TryAcquireError::WouldBlock);
            }
            state.grant(bytes);
        }
        Ok(Permit { pool: self.clone(), bytes })
    }

    /// Waits until `bytes` are granted, at most for `timeout`.
    ///
    /// # Errors
    /// As [`acquire`](Pool::acquire), and [`AcquireError::TimedOut`].
    pub fn acquire_timeout(&self, bytes: u64, timeout: Duration) -> Result<Permit, AcquireError> {
        self.acquire_until(bytes, Instant::now().checked_add(timeout))
    }

    /// Waits until `bytes` are granted, at most until `deadline`.
    ///
    /// # Errors
    /// As [`acquire`](Pool::acquire), and [`AcquireError::TimedOut`].
    pub fn acquire_deadline(&self, bytes: u64, deadline: Instant) -> Result<Permit, AcquireError> {
        self.acquire_until(bytes, Some(deadline))
    }

    fn acquire_until(&self, bytes: u64, deadline: Option<Instant>) -> Result<Permit, AcquireError> {
        let mut state = self.inner.state.lock();
        if let Some(error) = state.ended() {
            return Err(error);
        }
        if bytes == 0 {
            return Ok(Permit { pool: self.clone(), bytes });
        }
        if state.queue.is_empty() && state.fits(bytes) {
            state.grant(bytes);
            return Ok(Permit { pool: self.clone(), bytes });
        }
        let begun = Instant::now();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let wake = Arc::new(Condvar::new());
        state.queue.insert(ticket, (bytes, Arc::clone(&wake)));
        self.inner.waiters.fetch_add(1, Ordering::Relaxed);
        let result = loop {
            if !state.queue.contains_key(&ticket) {
                break Ok(Permit { pool: self.clone(), bytes });
            }
            let error = state.ended().or_else(|| {
                deadline.filter(|&d| Instant::now() >= d).map(|_| AcquireError::TimedOut)
            });
            if let Some(error) = error {
                state.queue.remove(&ticket);
                state.serve();
                break Err(error);
            }
            match deadline {
                Some(deadline) => {
                    wake.wait_until(&mut state, deadline);
                }
                None => wake.wait(&mut state),
            }
        };
        self.inner.waiters.fetch_sub(1, Ordering::Relaxed);
        let waited = begun.elapsed();
        state.stats.waits += 1;
        state.stats.wait_total += waited;
        state.stats.wait_max = state.stats.wait_max.max(waited);
        result
    }

    /// Bytes held now, by permits and by amounts that were forgotten.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.inner.state.lock().held
    }

    /// The capacity; `None` is unlimited.
    #[must_use]
    pub fn capacity_bytes(&self) -> Option<u64> {
        self.inner.state.lock().capacity
    }

    /// Bytes not held; `None` if the pool is unlimited, 0 when more is held than the capacity.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        let state = self.inner.state.lock();
        state.capacity.map(|c| c.saturating_sub(state.held))
    }

    /// Most bytes ever held at once.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        self.inner.state.lock().stats.peak_bytes
    }

    /// Requests waiting now.
    #[must_use]
    pub fn waiters(&self) -> usize {
        self.inner.waiters.load(Ordering::Relaxed)
    }

    /// Changes the capacity, also below what is held; `None` or `Some(0)` is unlimited.
    pub fn resize(&self, capacity_bytes: Option<u64>) {
        let mut state = self.inner.state.lock();
        state.capacity = capacity_bytes.filter(|&c| c > 0);
        state.serve();
    }

    /// Ends the pool: every waiter and every later request gets [`AcquireError::Closed`].
    pub fn close(&self) {
        self.end(End::Closed);
    }

    /// Ends the pool with a cause; the first cause (or close) stays.
    pub fn poison(&self, cause: Cause) {
        self.end(End::Poisoned(cause));
    }

    fn end(&self, end: End) {
        let mut state = self.inner.state.lock();
        state.end.get_or_insert(end);
        for (_, wake) in state.queue.values() {
            wake.notify_one();
        }
    }

    /// What the pool has done so far.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.inner.state.lock().stats.clone()
    }

    /// Checks that what was issued equals what is held and free.
    pub fn check_conservation(&self) {
        let state = self.inner.state.lock();
        assert!(state.held <= state.stats.peak_bytes, "more held than ever granted");
    }

    /// Returns an amount that [`Permit::forget`] took out of a permit's care.
    ///
    /// # Panics
    /// If more is returned than is held: the caller's account is wrong.
    pub fn release_raw(&self, bytes: u64) {
        let mut state = self.inner.state.lock();
        state.held = match state.held.checked_sub(bytes) {
            Some(held) => held,
            None => panic!("{bytes} bytes released, but only {} are held", state.held),
        };
        state.serve();
    }
}

/// Bytes held in a [`Pool`]; they go back when the permit is dropped.
#[derive(Debug)]
pub struct Permit {
    pool: Pool,
    bytes: u64,
}

impl Permit {
    /// Bytes this permit holds.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes `bytes` out into a permit of their own; `None` if fewer are held.
    pub fn split(&mut self, bytes: u64) -> Option<Permit> {
        self.bytes = self.bytes.checked_sub(bytes)?;
        Some(Permit { pool: self.pool.clone(), bytes })
    }

    /// Takes the bytes of `other` into this permit.
    ///
    /// # Panics
    /// If the permits are of different pools.
    pub fn merge(&mut self, mut other: Permit) {
        assert!(
            Arc::ptr_eq(&self.pool.inner, &other.pool.inner),
            "permits of different pools cannot be merged"
        );
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Gives back all but `to_bytes`; no effect if no more than that is held.
    pub fn shrink(&mut self, to_bytes: u64) {
        let surplus = self.bytes.saturating_sub(to_bytes);
        drop(self.split(surplus));
    }

    /// Keeps the bytes held without a permit; return them by [`Pool::release_raw`].
    #[must_use = "the amount is what has to be released later"]
    pub fn forget(mut self) -> u64 {
        std::mem::take(&mut self.bytes)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.pool.release_raw(self.bytes);
        }
    }
}
