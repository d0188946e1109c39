//! A request that waits: its state, and how its thread or task is woken.
//!
//! Concurrency
//! - The state changes once, from waiting to granted or ended, under the tree's lock (Release), and is
//!   read without it (Acquire). A waiter that gives up takes the lock and removes itself from the queue;
//!   if it is no longer there, the state has changed and is obeyed. So each request ends exactly once.
//! - Exactly those who are granted or ended are woken, one by one, after the lock is let go.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::error::{AcquireError, Cause};
use crate::handle::{Handle, Stake};
use crate::ledger::Site;
use crate::queue::Ticket;
use crate::sync::{self, AtomicU8, AtomicU64, Deadline, Ordering, Parker};

const WAITING: u8 = 0;
const GRANTED: u8 = 1;
const ENDED: u8 = 2;

/// What a queued request and the one who waits for it share.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) bytes: u64,
    pub(crate) site: Site,
    pub(crate) since: Instant,
    state: AtomicU8,
    /// The ledger entry of a granted request, or 0.
    entry: AtomicU64,
    /// Why it was interrupted, if it was: set before it is ended.
    interruption: sync::Mutex<Option<Cause>>,
    sleeper: Sleeper,
}

#[derive(Debug)]
enum Sleeper {
    Thread(Parker),
    #[cfg(feature = "async")]
    Task(sync::Mutex<Option<std::task::Waker>>),
    /// It does not wait, it only looks whether its turn is now.
    Nobody,
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Waiting,
    /// With the ledger entry, or 0.
    Granted(u64),
    Ended,
}

impl Waiter {
    /// For the calling thread.
    pub(crate) fn thread(bytes: u64, site: &Site) -> Arc<Waiter> {
        Waiter::new(bytes, site, Sleeper::Thread(Parker::new()))
    }

    /// For a task that [`set_waker`](Waiter::set_waker) names.
    #[cfg(feature = "async")]
    pub(crate) fn task(bytes: u64, site: &Site) -> Arc<Waiter> {
        Waiter::new(bytes, site, Sleeper::Task(sync::Mutex::new(None)))
    }

    /// For a request that does not wait.
    pub(crate) fn trial(bytes: u64, site: &Site) -> Arc<Waiter> {
        Waiter::new(bytes, site, Sleeper::Nobody)
    }

    pub(crate) fn is_trial(&self) -> bool {
        matches!(self.sleeper, Sleeper::Nobody)
    }

    fn new(bytes: u64, site: &Site, sleeper: Sleeper) -> Arc<Waiter> {
        Arc::new(Waiter {
            bytes,
            site: site.clone(),
            since: sync::now(),
            state: AtomicU8::new(WAITING),
            entry: AtomicU64::new(0),
            interruption: sync::Mutex::new(None),
            sleeper,
        })
    }

    pub(crate) fn standing(&self) -> Standing {
        match self.state.load(Ordering::Acquire) {
            WAITING => Standing::Waiting,
            GRANTED => Standing::Granted(self.entry.load(Ordering::Relaxed)),
            _ => Standing::Ended,
        }
    }

    /// Marks the request granted; the caller holds the tree's lock and wakes it afterwards.
    pub(crate) fn grant(&self, entry: u64) {
        self.entry.store(entry, Ordering::Relaxed);
        self.state.store(GRANTED, Ordering::Release);
    }

    /// Says why the request is about to be ended though its pool goes on.
    pub(crate) fn interrupt(&self, cause: Cause) {
        *self.interruption.lock() = Some(cause);
    }

    /// Marks the request ended; the caller holds the tree's lock and wakes it afterwards.
    pub(crate) fn end(&self) {
        self.state.store(ENDED, Ordering::Release);
    }

    pub(crate) fn wake(&self) {
        match &self.sleeper {
            Sleeper::Thread(parker) => parker.unpark(),
            #[cfg(feature = "async")]
            Sleeper::Task(waker) => {
                let waker = waker.lock().take();
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Sleeper::Nobody => {}
        }
    }

    /// Names the task to wake. Look at the standing *afterwards*: a grant before this call woke nobody.
    #[cfg(feature = "async")]
    pub(crate) fn set_waker(&self, new: &std::task::Waker) {
        if let Sleeper::Task(waker) = &self.sleeper {
            let mut waker = waker.lock();
            if !waker.as_ref().is_some_and(|old| old.will_wake(new)) {
                *waker = Some(new.clone());
            }
        }
    }

    fn park(&self, deadline: Option<&Deadline>, at_most: Option<Duration>) {
        match &self.sleeper {
            Sleeper::Thread(parker) => parker.park(deadline, at_most),
            #[cfg(feature = "async")]
            Sleeper::Task(_) => {}
            Sleeper::Nobody => {}
        }
    }
}

/// How long a request may wait.
#[derive(Debug)]
pub(crate) enum Patience {
    Until(Deadline),
    Forever,
}

/// How often a waiter asks elastic holders again: what was pinned may have become free meanwhile.
const PLEAD_INTERVAL: Duration = Duration::from_millis(10);

/// Failed spins in a row after which a pool gives it up.
const SPIN_LUCK: u64 = 8;

/// A queued request. Dropped before it has ended it leaves no trace: it leaves the queue, or what was
/// granted in the last moment goes back.
#[derive(Debug)]
pub(crate) struct Pending<'a> {
    pool: &'a Handle,
    ticket: Ticket,
    waiter: Arc<Waiter>,
    /// It did not find its turn at once, and so counts as a wait.
    waited: bool,
    done: bool,
}

impl<'a> Pending<'a> {
    pub(crate) fn new(pool: &'a Handle, ticket: Ticket, waiter: Arc<Waiter>) -> Pending<'a> {
        let waited = waiter.standing() == Standing::Waiting;
        Pending { pool, ticket, waiter, waited, done: false }
    }

    /// Blocks until the request ends, or patience does.
    pub(crate) fn wait(mut self, patience: &Patience) -> Result<Stake, AcquireError> {
        let deadline = match patience {
            Patience::Until(deadline) => Some(deadline),
            Patience::Forever => None,
        };
        let mut at_most = self.plead().then_some(PLEAD_INTERVAL);
        self.spin();
        loop {
            if let Some(end) = self.take_end() {
                return end;
            }
            if deadline.is_some_and(Deadline::passed) {
                if self.cancel() {
                    return Err(AcquireError::TimedOut);
                }
                // Granted or ended in the last moment: the standing says which.
                continue;
            }
            self.waiter.park(deadline, at_most);
            at_most = self.plead().then_some(PLEAD_INTERVAL);
        }
    }

    /// Looks a few times before it parks, where that has been of use lately.
    ///
    /// It can be only to who is next in line while the holder is running on another core. So it is tried
    /// by who waits alone, and after a number of failures by one in sixteen only.
    fn spin(&self) {
        let luck = self.pool.spin_luck.load(Relaxed);
        if self.pool.waiting() != 1 || (luck == 0 && !self.ticket.is_multiple_of(16)) {
            return;
        }
        let won = sync::spin_until(|| self.waiter.standing() != Standing::Waiting);
        // A lost update is a lost hint and no more.
        self.pool.spin_luck.store(if won { SPIN_LUCK } else { luck.saturating_sub(1) }, Relaxed);
    }

    /// How the request ended, if it has; to be asked once.
    pub(crate) fn take_end(&mut self) -> Option<Result<Stake, AcquireError>> {
        let end = match self.waiter.standing() {
            Standing::Waiting => return None,
            Standing::Granted(entry) => Ok(self.pool.stake(self.waiter.bytes, entry)),
            Standing::Ended => Err(self.why_ended()),
        };
        self.finish(end.is_ok());
        Some(end)
    }

    /// Asks elastic holders to give back what this request lacks; whether there is anybody to ask.
    pub(crate) fn plead(&self) -> bool {
        let waits = || self.waiter.standing() == Standing::Waiting;
        waits() && plead(self.pool, self.waiter.bytes, true, waits)
    }

    #[cfg(feature = "async")]
    pub(crate) fn set_waker(&self, waker: &std::task::Waker) {
        self.waiter.set_waker(waker);
    }

    /// Leaves the queue; `false` if the request has ended already.
    fn cancel(&mut self) -> bool {
        let (id, ticket) = (self.pool.id, self.ticket);
        let cancelled = self.pool.tree.enter(|book| book.cancel(id, ticket));
        if cancelled {
            self.finish(false);
        }
        cancelled
    }

    fn finish(&mut self, granted: bool) {
        self.done = true;
        if self.waited {
            self.pool.waits.record(self.waiter.since.elapsed(), granted);
        }
    }

    fn why_ended(&self) -> AcquireError {
        if let Some(cause) = self.waiter.interruption.lock().take() {
            return AcquireError::Interrupted { cause };
        }
        let id = self.pool.id;
        let end = self.pool.tree.inspect(|book| book.end_of(id).map(AcquireError::from));
        end.unwrap_or(AcquireError::Closed)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.done && !self.cancel() {
            drop(self.take_end());
        }
    }
}

/// Asks elastic holders to give back what a request for `bytes` lacks, while `still` it lacks it; whether
/// there is anybody to ask.
pub(crate) fn plead(pool: &Handle, bytes: u64, is_queued: bool, still: impl Fn() -> bool) -> bool {
    if !pool.tree.has_elastic() {
        return false;
    }
    let pleas = pool.tree.inspect(|book| book.pleas(pool.id, bytes, is_queued));
    for (holder, part) in &pleas {
        if !still() {
            break;
        }
        holder.reclaim(*part);
    }
    !pleas.is_empty()
}
