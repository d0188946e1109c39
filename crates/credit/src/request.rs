//! A request for credits: how it is made, tried, queued and waited for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::book::{Asked, Book};
use crate::error::{AcquireError, TryAcquireError};
use crate::ledger::Site;
use crate::permit::Permit;
use crate::pool::Pool;
use crate::sync::Deadline;
use crate::wait::{self, Patience, Pending, Waiter};

/// A request that has not been made yet; see [`Pool::request`].
#[derive(Debug)]
#[must_use = "a request does nothing until it is acquired"]
pub struct Request<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) bytes: u64,
    pub(crate) site: Site,
}

impl<'a> Request<'a> {
    /// Names the purpose, for [`Pool::holders`] and [`Pool::waiting`].
    pub fn label(mut self, label: &'static str) -> Self {
        self.site.label = Some(label);
        self
    }

    /// As [`Pool::acquire`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn acquire(self) -> Result<Permit, AcquireError> {
        self.run(|| Patience::Forever)
    }

    /// As [`Pool::try_acquire`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn try_acquire(self) -> Result<Permit, TryAcquireError> {
        match self.grant_fast() {
            Some(permit) => Ok(permit),
            None => Ok(self.run_trial_and_plead()?),
        }
    }

    /// As [`Pool::acquire_timeout`].
    ///
    /// # Errors
    /// As there.
    #[cfg(not(any(loom, shuttle)))]
    pub fn acquire_timeout(self, timeout: Duration) -> Result<Permit, AcquireError> {
        // A time too long to be reckoned with is for ever.
        self.run(|| {
            let deadline = crate::sync::now().checked_add(timeout);
            deadline.map_or(Patience::Forever, |deadline| Patience::Until(Deadline(deadline)))
        })
    }

    /// As [`Pool::acquire_deadline`].
    ///
    /// # Errors
    /// As there.
    #[cfg(not(any(loom, shuttle)))]
    pub fn acquire_deadline(self, deadline: Instant) -> Result<Permit, AcquireError> {
        self.run(|| Patience::Until(Deadline(deadline)))
    }

    /// Models have no time: waits for ever.
    #[cfg(any(loom, shuttle))]
    pub fn acquire_timeout(self, _timeout: Duration) -> Result<Permit, AcquireError> {
        self.acquire()
    }

    /// Models have no time: waits for ever.
    #[cfg(any(loom, shuttle))]
    pub fn acquire_deadline(self, _deadline: Instant) -> Result<Permit, AcquireError> {
        self.acquire()
    }

    /// Waits until another thread lets `deadline` pass.
    #[cfg(any(loom, shuttle))]
    pub fn acquire_until(self, deadline: &Deadline) -> Result<Permit, AcquireError> {
        self.run(|| Patience::Until(deadline.clone()))
    }

    #[inline]
    fn run(self, patience: impl FnOnce() -> Patience) -> Result<Permit, AcquireError> {
        match self.grant_fast() {
            Some(permit) => Ok(permit),
            None => self.run_slow(&patience()),
        }
    }

    /// Grants without the lock, if that is possible.
    #[inline]
    pub(crate) fn grant_fast(&self) -> Option<Permit> {
        self.pool.grant_fast(self.bytes)
    }

    #[cold]
    pub(crate) fn run_slow(self, patience: &Patience) -> Result<Permit, AcquireError> {
        // Elastic holders are asked before anybody waits.
        if self.has_elastic_neighbours() {
            match self.run_trial_and_plead() {
                Err(AcquireError::TimedOut) => {}
                end => return end,
            }
        }
        let waiter = || Waiter::thread(self.bytes, &self.site);
        // Where others wait this one will: what it needs is better made before the lock is taken.
        let made = (self.pool.handle.waiting() > 0).then(waiter);
        match self.ask(|_| Some(made.unwrap_or_else(waiter)))? {
            Asking::Granted(permit) => Ok(permit),
            Asking::Pending(pending) => pending.wait(patience).map(Permit::new),
        }
    }

    pub(crate) fn has_elastic_neighbours(&self) -> bool {
        self.pool.handle.tree.has_elastic()
    }

    /// Asks without waiting, and once more if elastic holders could be asked to give back.
    #[cold]
    pub(crate) fn run_trial_and_plead(&self) -> Result<Permit, AcquireError> {
        match self.run_trial() {
            Err(AcquireError::TimedOut)
                if wait::plead(&self.pool.handle, self.bytes, false, || true) =>
            {
                self.run_trial()
            }
            result => result,
        }
    }

    /// Asks once, without waiting.
    fn run_trial(&self) -> Result<Permit, AcquireError> {
        // In a tree others may wait for something else: whether this one's turn is now, the queue knows.
        let trial = || Waiter::trial(self.bytes, &self.site);
        match self.ask(|book| (book.waiting > 0 && !book.is_flat()).then(trial))? {
            Asking::Granted(permit) => Ok(permit),
            // Trials are settled at once; were it otherwise, dropping this would leave no trace.
            Asking::Pending(_) => Err(AcquireError::TimedOut),
        }
    }

    /// Asks under the lock, and queues with the waiter that `waiter` makes, if any.
    pub(crate) fn ask(
        &self,
        waiter: impl FnOnce(&Book) -> Option<Arc<Waiter>>,
    ) -> Result<Asking<'a>, AcquireError> {
        let Request { bytes, ref site, pool: Pool { handle } } = *self;
        let mut queued = None;
        let asked = handle.tree.enter(|book| {
            book.ask(handle.id, bytes, site, |book| {
                queued = waiter(book);
                queued.clone()
            })
        });
        match (asked, queued) {
            (Asked::Granted(entry), _) => {
                Ok(Asking::Granted(Permit::new(handle.stake(bytes, entry))))
            }
            (Asked::Waits(ticket), Some(waiter)) => {
                Ok(Asking::Pending(Pending::new(handle, ticket, waiter)))
            }
            (Asked::Refused(error), _) => Err(error),
            (Asked::Waits(_), None) => unreachable!("only a request with a waiter is queued"),
        }
    }
}

/// A request that was not refused at once.
pub(crate) enum Asking<'a> {
    Granted(Permit),
    Pending(Pending<'a>),
}
