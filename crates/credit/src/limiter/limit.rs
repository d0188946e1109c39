//! The limiter that threads use: the bucket behind a lock, and sleeping until one's part has come.
//!
//! Concurrency
//! - There is no thread of its own. Of those who wait one is the *keeper*: it sleeps until the next
//!   refill, lets it come, and wakes exactly those who are done; when it is done itself it hands the
//!   office to another. The others sleep until they are woken.
//! - What never waits is added to an atomic counter and comes off the bucket at the next look at it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::bucket::{Bucket, Ticket};
use super::{Clock, Priority, SystemClock};
use crate::stats::{WaitCounters, WaitTimes};
use crate::sync::{AtomicU8, AtomicU64, Mutex, Ordering, Parker};

/// The direction of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the device.
    Read,
    /// To the device.
    Write,
}

/// Which transfers a limiter limits; the others pass uncounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Reads only.
    Reads,
    /// Writes only, the default.
    #[default]
    Writes,
    /// Both, against one rate.
    All,
}

/// How a limiter is made; plain data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimiterOptions {
    /// Bytes per second, at least 1 (0 is taken as 1).
    pub bytes_per_second: u64,
    /// Time between refills, at least 100 µs. The burst is what passes in that time. Default 5 ms.
    pub refill_period: Duration,
    /// A class is first in at least one of so many contended refills, and those who wait get at least
    /// that part of each refill. At least 1. Default 10.
    pub fairness: u32,
    /// Which transfers are limited. Default writes.
    pub mode: Mode,
}

impl LimiterOptions {
    /// The defaults, with this rate.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> LimiterOptions {
        LimiterOptions {
            bytes_per_second,
            refill_period: Duration::from_millis(5),
            fairness: 10,
            mode: Mode::Writes,
        }
    }
}

/// The limiter was closed: stop the work that asked, its owner is shutting down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rate limiter is closed; its owner is shutting down, stop this work")]
pub struct LimiterClosed;

/// What one class has done.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ClassStats {
    /// Requests that passed.
    pub requests: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Requests that had to wait.
    pub waits: u64,
    /// Time spent waiting, summed over requests.
    pub wait_total: Duration,
    /// The longest wait.
    pub wait_max: Duration,
    /// How waits are distributed.
    pub wait_times: WaitTimes,
}

/// Limits bytes per second; see the [module's page](crate::limiter).
///
/// Shared by reference or in an `Arc`; all calls may come from any thread.
pub struct RateLimiter {
    state: Mutex<State>,
    counters: [Counters; Priority::ALL.len()],
    /// Bytes of those who never wait, not yet taken from the bucket.
    uncharged: AtomicU64,
    mode: Mode,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct State {
    bucket: Bucket,
    waiting: BTreeMap<Ticket, Arc<Sleeper>>,
    /// Who lets the next refill come.
    keeper: Option<Ticket>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    bytes: AtomicU64,
    waits: WaitCounters,
}

#[derive(Debug)]
struct Sleeper {
    news: AtomicU8,
    parker: Parker,
}

const WAITING: u8 = 0;
const DONE: u8 = 1;
const CLOSED: u8 = 2;

impl RateLimiter {
    /// A limiter on the machine's clock.
    #[must_use]
    pub fn new(options: LimiterOptions) -> RateLimiter {
        RateLimiter::with_clock(options, Arc::new(SystemClock::default()))
    }

    /// A limiter on `clock`.
    #[must_use]
    pub fn with_clock(options: LimiterOptions, clock: Arc<dyn Clock>) -> RateLimiter {
        let LimiterOptions { bytes_per_second, refill_period, fairness, mode } = options;
        let period = refill_period.max(Duration::from_micros(100));
        let bucket = Bucket::new(bytes_per_second.max(1), period, fairness.max(1), clock.now());
        let state = State { bucket, waiting: BTreeMap::new(), keeper: None, closed: false };
        RateLimiter {
            state: Mutex::new(state),
            counters: Default::default(),
            uncharged: AtomicU64::new(0),
            mode,
            clock,
        }
    }

    /// Waits until `bytes` may pass, which classes that never wait need not.
    ///
    /// More than a refill is served in parts. Ask for what is written next (a block, not a table), so
    /// that more urgent work can come in between.
    ///
    /// # Errors
    /// [`LimiterClosed`] when [`close`](RateLimiter::close) was called before or meanwhile.
    pub fn acquire(
        &self,
        class: Priority,
        direction: Direction,
        bytes: u64,
    ) -> Result<(), LimiterClosed> {
        if class.never_waits() || !self.limits(direction) {
            self.charge(class, direction, bytes);
            return Ok(());
        }
        let (ticket, sleeper, begun) = {
            let mut state = self.look();
            if state.closed {
                return Err(LimiterClosed);
            }
            if state.bucket.take(class, bytes) {
                self.count(class, bytes);
                return Ok(());
            }
            let ticket = state.bucket.enqueue(class, bytes);
            let sleeper = Arc::new(Sleeper { news: AtomicU8::new(WAITING), parker: Parker::new() });
            state.waiting.insert(ticket, Arc::clone(&sleeper));
            state.keeper.get_or_insert(ticket);
            (ticket, sleeper, self.clock.now())
        };
        let result = self.sleep(ticket, &sleeper);
        let waited = self.clock.now().saturating_sub(begun);
        self.counters[class.index()].waits.record(waited, result.is_ok());
        if result.is_ok() {
            self.count(class, bytes);
        }
        result
    }

    /// Lets `bytes` pass if they may at once, without waiting.
    ///
    /// # Errors
    /// [`LimiterClosed`] after [`close`](RateLimiter::close).
    pub fn try_acquire(
        &self,
        class: Priority,
        direction: Direction,
        bytes: u64,
    ) -> Result<bool, LimiterClosed> {
        if class.never_waits() || !self.limits(direction) {
            self.charge(class, direction, bytes);
            return Ok(true);
        }
        let mut state = self.look();
        if state.closed {
            return Err(LimiterClosed);
        }
        let passes = state.bucket.take(class, bytes);
        if passes {
            self.count(class, bytes);
        }
        Ok(passes)
    }

    /// Counts `bytes` that pass in any case, whatever their class: what others get is the less.
    /// Atomic additions only.
    pub fn charge(&self, class: Priority, direction: Direction, bytes: u64) {
        if self.limits(direction) {
            self.uncharged.fetch_add(bytes, Ordering::Relaxed);
            self.count(class, bytes);
        }
    }

    /// Changes the rate, from the next refill on; 0 is taken as 1.
    pub fn set_bytes_per_second(&self, bytes_per_second: u64) {
        self.look().bucket.set_rate(bytes_per_second.max(1));
    }

    /// The present rate.
    #[must_use]
    pub fn bytes_per_second(&self) -> u64 {
        self.state.lock().bucket.bytes_per_second()
    }

    /// The most that passes at once after idle time: one refill.
    #[must_use]
    pub fn burst_bytes(&self) -> u64 {
        self.state.lock().bucket.refill_bytes().unsigned_abs()
    }

    /// Ends waiting for good: those who wait and those who come get [`LimiterClosed`].
    pub fn close(&self) {
        let waiting = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        for sleeper in waiting.into_values() {
            sleeper.tell(CLOSED);
        }
    }

    /// What `class` has done so far.
    #[must_use]
    pub fn stats(&self, class: Priority) -> ClassStats {
        let counters = &self.counters[class.index()];
        let waits = counters.waits.read();
        ClassStats {
            requests: counters.requests.load(Ordering::Relaxed),
            bytes: counters.bytes.load(Ordering::Relaxed),
            waits: waits.waits,
            wait_total: waits.total,
            wait_max: waits.max,
            wait_times: waits.times,
        }
    }

    fn limits(&self, direction: Direction) -> bool {
        match self.mode {
            Mode::All => true,
            Mode::Reads => direction == Direction::Read,
            Mode::Writes => direction == Direction::Write,
        }
    }

    fn count(&self, class: Priority, bytes: u64) {
        let counters = &self.counters[class.index()];
        counters.requests.fetch_add(1, Ordering::Relaxed);
        counters.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Locks the state, takes off what passed uncharged, and lets due refills come.
    fn look(&self) -> impl std::ops::DerefMut<Target = State> + '_ {
        let mut state = self.state.lock();
        state.bucket.charge(self.uncharged.swap(0, Ordering::Relaxed));
        for ticket in state.bucket.advance(self.clock.now()) {
            if let Some(sleeper) = state.waiting.remove(&ticket) {
                sleeper.tell(DONE);
            }
        }
        state
    }

    /// Sleeps until told, and keeps the refills coming while that is this one's office.
    fn sleep(&self, ticket: Ticket, sleeper: &Sleeper) -> Result<(), LimiterClosed> {
        loop {
            let pause = {
                let mut state = self.look();
                match sleeper.news.load(Ordering::Acquire) {
                    WAITING if state.keeper == Some(ticket) => {
                        let due = state.bucket.next_refill();
                        Some(self.clock.real_pause(due.saturating_sub(self.clock.now())))
                    }
                    WAITING => None,
                    news => {
                        state.hand_over(ticket);
                        return if news == DONE { Ok(()) } else { Err(LimiterClosed) };
                    }
                }
            };
            sleeper.parker.park(None, pause);
        }
    }
}

impl State {
    /// Who is done hands the office, if it has it, to the next who waits.
    fn hand_over(&mut self, ticket: Ticket) {
        if self.keeper == Some(ticket) {
            let next = self.waiting.first_key_value();
            self.keeper = next.map(|(&ticket, sleeper)| {
                sleeper.parker.unpark();
                ticket
            });
        }
    }
}

impl Sleeper {
    fn tell(&self, news: u8) {
        self.news.store(news, Ordering::Release);
        self.parker.unpark();
    }
}

impl PartialEq for RateLimiter {
    /// Whether both are the same limiter.
    fn eq(&self, other: &RateLimiter) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for RateLimiter {}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("bytes_per_second", &self.bytes_per_second())
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}
