//! The writing: every writer thread makes its operations, and each write call is timed.
//!
//! What is timed: from before the call of the engine until it has returned. Making keys and values
//! (or reading the source) lies between the calls and counts towards the total time only. The loop
//! is closed: a thread makes its next call when the last has returned, so a long stall delays the
//! calls behind it without counting for them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::latency::{self, histogram};
use crate::progress::Phase;
use crate::source::{Action, Operations};
use crate::target::{Target, WriteBatch};
use crate::{Error, Result};

/// How operations become calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calls {
    /// Operations in one call; at least 1.
    pub(crate) batch: u64,
    /// Whether each call is synced.
    pub(crate) sync: bool,
}

/// What was written, and how long it took.
#[derive(Clone, Debug)]
pub(crate) struct Ingested {
    /// Operations made.
    pub(crate) operations: u64,
    /// Bytes of their keys and values.
    pub(crate) user_bytes: u64,
    /// From the start of the first thread to the return of the last call.
    pub(crate) time: Duration,
    /// Nanoseconds of every write call.
    pub(crate) latency: Histogram<u64>,
}

/// How far one thread is; alone on its cache line, so that telling costs nothing.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Done(AtomicU64);

/// Makes all operations of `writers` on `database`, each writer in a thread of its own.
pub(crate) fn ingest(
    database: &Target,
    writers: Vec<Box<dyn Operations>>,
    calls: Calls,
    phase: &Phase,
) -> Result<Ingested> {
    let done: Vec<Done> = writers.iter().map(|_| Done::default()).collect();
    let failed = AtomicBool::new(false);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (operations, done) in writers.into_iter().zip(&done) {
            let mut writer = Writer::new(database, operations, calls)?;
            let failed = &failed;
            threads.push(scope.spawn(move || {
                let result = writer.run(done, failed);
                if result.is_err() {
                    failed.store(true, Ordering::Relaxed);
                }
                result.map(|()| writer.total)
            }));
        }
        while !threads.iter().all(ScopedJoinHandle::is_finished) {
            std::thread::park_timeout(Duration::from_millis(50));
            phase.done(done.iter().map(|done| done.0.load(Ordering::Relaxed)).sum());
        }
        collect(threads, start)
    })
}

fn collect(threads: Vec<ScopedJoinHandle<'_, Result<Total>>>, start: Instant) -> Result<Ingested> {
    let mut sum =
        Ingested { operations: 0, user_bytes: 0, time: Duration::ZERO, latency: histogram()? };
    let mut error: Option<Error> = None;
    for thread in threads {
        match thread.join() {
            Ok(Ok(total)) => {
                sum.operations += total.operations;
                sum.user_bytes += total.user_bytes;
                sum.latency.add(&total.latency)?;
                // The threads' own end: this one looks only now and then.
                sum.time = sum.time.max(total.end.saturating_duration_since(start));
            }
            Ok(Err(first)) => error = error.or(Some(first)),
            Err(_) => error = error.or(Some("a writer thread panicked".into())),
        }
    }
    error.map_or(Ok(sum), Err)
}

/// What one thread has done.
struct Total {
    operations: u64,
    user_bytes: u64,
    end: Instant,
    latency: Histogram<u64>,
}

struct Writer<'a> {
    database: &'a Target,
    operations: Box<dyn Operations>,
    calls: Calls,
    batch: WriteBatch,
    key: Vec<u8>,
    value: Vec<u8>,
    total: Total,
}

impl<'a> Writer<'a> {
    fn new(database: &'a Target, operations: Box<dyn Operations>, calls: Calls) -> Result<Self> {
        let total =
            Total { operations: 0, user_bytes: 0, end: Instant::now(), latency: histogram()? };
        let (batch, key, value) = (WriteBatch::new(), Vec::new(), Vec::new());
        Ok(Self { database, operations, calls, batch, key, value, total })
    }

    fn run(&mut self, done: &Done, failed: &AtomicBool) -> Result<()> {
        while !failed.load(Ordering::Relaxed) && self.call()? {
            done.0.store(self.total.operations, Ordering::Relaxed);
        }
        self.total.end = Instant::now();
        Ok(())
    }

    /// One timed call; false if there are no more operations.
    fn call(&mut self) -> Result<bool> {
        if self.calls.batch == 1 && !self.calls.sync {
            let Some(action) = self.next()? else { return Ok(false) };
            let start = Instant::now();
            let result = self.database.apply(action, &self.key, &self.value);
            self.record(start);
            result.map_err(|error| self.explain(error))?;
            return Ok(true);
        }
        self.batch.clear();
        for _ in 0..self.calls.batch {
            match self.next()? {
                Some(Action::Put) => self.batch.put(&self.key, &self.value),
                Some(Action::Delete) => self.batch.delete(&self.key),
                None => break,
            };
        }
        if self.batch.is_empty() {
            return Ok(false);
        }
        let start = Instant::now();
        let result = self.database.write(&self.batch, self.calls.sync);
        self.record(start);
        result.map_err(|error| self.explain(error))?;
        Ok(true)
    }

    fn next(&mut self) -> Result<Option<Action>> {
        let action = self.operations.next(&mut self.key, &mut self.value)?;
        if action.is_some() {
            self.total.operations += 1;
            self.total.user_bytes += (self.key.len() + self.value.len()) as u64;
        }
        Ok(action)
    }

    fn record(&mut self, start: Instant) {
        latency::record(&mut self.total.latency, start.elapsed());
    }

    fn explain(&self, error: Error) -> Error {
        let key = String::from_utf8_lossy(&self.key);
        let bytes = self.value.len();
        Error::from(Explained {
            what: format!("writing key {key:?} with a value of {bytes} bytes"),
            source: error,
        })
    }
}

/// An error and what was being done.
#[derive(Debug)]
struct Explained {
    what: String,
    source: Error,
}

impl std::fmt::Display for Explained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Explained {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}
