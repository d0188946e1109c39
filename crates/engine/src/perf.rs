//! Where the time of a thread's writes goes, for threads that ask.
//!
//! Off, a write pays one look at a thread-local flag; on, one look at the clock for each of its steps. Nothing is shared
//! between threads, so measuring one thread does not slow another.

use std::cell::Cell;
use std::marker::PhantomData;

use base::sync::{Duration, Instant, now};

/// The time that writes of one thread have taken, by the steps of a write, summed over writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteTimes {
    /// Writes that were measured, failed ones included.
    pub writes: u64,
    /// Slept, or waited, because compaction was behind.
    pub pace: Duration,
    /// Finding room in memory and log, numbers and a place in the order; `credits` is a part of it.
    pub reserve: Duration,
    /// Waited for credits.
    pub credits: Duration,
    /// Copying the record into the log.
    pub log: Duration,
    /// Inserting into the memtables.
    pub insert: Duration,
    /// Waiting until the write, and with it all before it, was visible.
    pub publish: Duration,
    /// Waiting until the log was durable.
    pub sync: Duration,
}

impl WriteTimes {
    /// All steps together.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.pace + self.reserve + self.log + self.insert + self.publish + self.sync
    }

    fn step_mut(&mut self, step: Step) -> &mut Duration {
        match step {
            Step::Pace => &mut self.pace,
            Step::Reserve => &mut self.reserve,
            Step::Credits => &mut self.credits,
            Step::Log => &mut self.log,
            Step::Insert => &mut self.insert,
            Step::Publish => &mut self.publish,
            Step::Sync => &mut self.sync,
        }
    }
}

thread_local! {
    static IS_ON: Cell<bool> = const { Cell::new(false) };
    static TIMES: Cell<WriteTimes> = Cell::new(WriteTimes::default());
}

/// Measures the writes of the calling thread, of all its databases, until it is dropped.
///
/// ```
/// let dir = tempfile::tempdir()?;
/// let db = engine::Db::open(dir.path(), engine::Options::default())?;
/// let measuring = engine::MeasureWrites::begin();
/// db.put("a", "1")?;
/// let times = measuring.times();
/// assert_eq!(times.writes, 1);
/// assert!(times.insert <= times.total());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "it measures until it is dropped"]
pub struct MeasureWrites {
    /// The flag and the times are this thread's.
    _stays_here: PhantomData<*const ()>,
}

impl MeasureWrites {
    /// Begins, from nothing. One at a time in a thread: a second one begins anew, and the first to go ends both.
    pub fn begin() -> Self {
        TIMES.set(WriteTimes::default());
        IS_ON.set(true);
        Self { _stays_here: PhantomData }
    }

    /// What was measured since it began.
    #[must_use]
    pub fn times(&self) -> WriteTimes {
        TIMES.get()
    }
}

impl Drop for MeasureWrites {
    fn drop(&mut self) {
        IS_ON.set(false);
    }
}

/// The steps that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Pace,
    Reserve,
    Credits,
    Log,
    Insert,
    Publish,
    Sync,
}

/// Times the steps of one write, if its thread is measured.
pub(crate) struct Stopwatch(Option<Instant>);

impl Stopwatch {
    #[inline]
    pub(crate) fn start() -> Self {
        Self(IS_ON.get().then(now))
    }

    /// One that measures nothing.
    #[cfg(feature = "async")]
    pub(crate) fn off() -> Self {
        Self(None)
    }

    /// Counts one more write.
    #[inline]
    pub(crate) fn count(&self) {
        if self.0.is_some() {
            TIMES.set(WriteTimes { writes: TIMES.get().writes + 1, ..TIMES.get() });
        }
    }

    /// What has passed since the last lap was spent on `step`.
    #[inline]
    pub(crate) fn lap(&mut self, step: Step) {
        if let Some(since) = &mut self.0 {
            Self::add(since, step);
        }
    }

    #[cold]
    fn add(since: &mut Instant, step: Step) {
        let now = now();
        let mut times = TIMES.get();
        *times.step_mut(step) += now.duration_since(*since);
        TIMES.set(times);
        *since = now;
    }
}
