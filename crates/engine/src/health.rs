//! Whether the engine may go on: open, failed (writes refused, reads go on), or closed. The first failure stays.

use base::sync::Mutex;
use base::sync::atomic::{AtomicU8, Ordering};
use std::sync::Arc;

use crate::error::Error;

const OPEN: u8 = 0;
const FAILED: u8 = 1;
const CLOSED: u8 = 2;

/// Flushes or compactions that fail in a row before waiting writers are told.
const FAILURES_TOLD: u32 = 3;

/// A background job that fails, and is tried again.
#[derive(Debug, Default)]
struct Failing {
    last: Option<Arc<Error>>,
    in_a_row: u32,
}

impl Failing {
    fn failed(&mut self, cause: Arc<Error>) {
        self.last = Some(cause);
        self.in_a_row = self.in_a_row.saturating_add(1);
    }

    /// The cause, once it is sure enough to tell.
    fn told(&self) -> Option<Arc<Error>> {
        self.last.clone().filter(|_| self.in_a_row >= FAILURES_TOLD)
    }
}

#[derive(Debug, Default)]
struct Causes {
    /// The failure that ended writing.
    fatal: Option<Arc<Error>>,
    flush: Failing,
    compaction: Failing,
}

/// The state that every write looks at.
#[derive(Debug, Default)]
pub(crate) struct Health {
    state: AtomicU8,
    causes: Mutex<Causes>,
}

impl Health {
    /// Refuses when writes may not go on.
    #[inline]
    pub(crate) fn check_writable(&self) -> Result<(), Error> {
        match self.state.load(Ordering::Acquire) {
            OPEN => Ok(()),
            _ => Err(self.refusal()),
        }
    }

    /// Refuses when the database is closed.
    #[inline]
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.is_closed() { Err(Error::Closed) } else { Ok(()) }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) == CLOSED
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.causes.lock().fatal.is_some()
    }

    /// What a write that may not go on is told.
    #[cold]
    pub(crate) fn refusal(&self) -> Error {
        match &self.causes.lock().fatal {
            Some(cause) => Error::ReadOnly { source: Arc::clone(cause) },
            None => Error::Closed,
        }
    }

    /// Ends writing because of `cause`, if nothing has before; the cause that counts.
    pub(crate) fn fail(&self, cause: Error) -> Arc<Error> {
        let first = Arc::clone(self.causes.lock().fatal.get_or_insert_with(|| Arc::new(cause)));
        // Not after a close: then the state stays closed.
        let _already =
            self.state.compare_exchange(OPEN, FAILED, Ordering::AcqRel, Ordering::Acquire);
        first
    }

    /// Ends everything; `false` when it was closed before.
    pub(crate) fn close(&self) -> bool {
        self.state.swap(CLOSED, Ordering::AcqRel) != CLOSED
    }

    /// Notes that a flush failed; answers the cause once it is time to tell those who wait for memory.
    pub(crate) fn flush_failed(&self, cause: Arc<Error>) -> Option<Arc<Error>> {
        let mut causes = self.causes.lock();
        causes.flush.failed(cause);
        causes.flush.told()
    }

    /// Notes that a flush succeeded.
    pub(crate) fn flush_succeeded(&self) {
        self.causes.lock().flush = Failing::default();
    }

    /// Why the last flush failed, if it did.
    pub(crate) fn last_flush_failure(&self) -> Option<Arc<Error>> {
        self.causes.lock().flush.last.clone()
    }

    /// Why memory cannot be given back, once that is sure enough to refuse writes for it.
    pub(crate) fn flush_failing(&self) -> Option<Arc<Error>> {
        self.causes.lock().flush.told()
    }

    /// Notes that a compaction failed.
    pub(crate) fn compaction_failed(&self, cause: Arc<Error>) {
        self.causes.lock().compaction.failed(cause);
    }

    /// Notes that a compaction succeeded.
    pub(crate) fn compaction_succeeded(&self) {
        self.causes.lock().compaction = Failing::default();
    }

    /// Why the last compaction failed, if it did.
    pub(crate) fn last_compaction_failure(&self) -> Option<Arc<Error>> {
        self.causes.lock().compaction.last.clone()
    }

    /// Why compaction does not go on, once that is sure enough to refuse stopped writes for it.
    pub(crate) fn compaction_failing(&self) -> Option<Arc<Error>> {
        self.causes.lock().compaction.told()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(what: &'static str) -> Error {
        Error::TimedOut { what }
    }

    #[test]
    fn the_first_cause_stays() {
        // W6
        let health = Health::default();
        assert!(health.check_writable().is_ok());
        health.fail(cause("first"));
        health.fail(cause("second"));
        let Err(Error::ReadOnly { source }) = health.check_writable() else {
            panic!("writes go on")
        };
        assert!(matches!(*source, Error::TimedOut { what: "first" }));
        assert!(health.check_open().is_ok());
        assert!(health.close() && !health.close());
        assert!(matches!(health.check_open(), Err(Error::Closed)));
    }

    #[test]
    fn failing_flushes_are_told_only_when_they_go_on_failing() {
        let health = Health::default();
        let why = Arc::new(cause("disk"));
        assert!(health.flush_failed(Arc::clone(&why)).is_none());
        health.flush_succeeded();
        assert!(health.flush_failed(Arc::clone(&why)).is_none());
        assert!(health.flush_failed(Arc::clone(&why)).is_none());
        assert!(health.flush_failing().is_none());
        assert!(health.flush_failed(why).is_some());
        assert!(health.flush_failing().is_some());
    }
}
