//! Threads that make calls, and what is measured of them.
//!
//! A thread reads the clock once a call: the end of one call is the beginning of the next. So a
//! latency holds what the harness does between two calls as well (working out the next key and
//! checking the last value), the same for every engine. The loop is closed: calls that one long call
//! held back do not count as slow.

use std::sync::Barrier;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use kit::{Error, Result, latency};

/// What the threads of a measurement have done.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// Operations: records, where a call is about several.
    pub(crate) operations: u64,
    /// From the start of all threads to the end of the last.
    pub(crate) time: Duration,
    /// Nanoseconds of every call.
    pub(crate) calls: Histogram<u64>,
    /// Calls that each thread has made.
    pub(crate) made: Vec<u64>,
}

impl Measured {
    /// Operations per second.
    pub(crate) fn rate(&self) -> f64 {
        let seconds = self.time.as_secs_f64();
        if seconds > 0.0 { self.operations as f64 / seconds } else { 0.0 }
    }
}

/// One thread's measurement.
#[derive(Debug)]
pub(crate) struct Meter {
    operations: u64,
    made: u64,
    last: Instant,
    end: Instant,
    calls: Histogram<u64>,
}

impl Meter {
    fn new() -> Result<Self> {
        let now = Instant::now();
        Ok(Self { operations: 0, made: 0, last: now, end: now, calls: latency::histogram()? })
    }

    fn start(&mut self, limit: Duration) {
        self.last = Instant::now();
        self.end = self.last + limit;
    }

    /// A call about so many operations has just returned; whether there is time for another.
    pub(crate) fn done(&mut self, operations: u64) -> bool {
        let now = Instant::now();
        latency::record(&mut self.calls, now - self.last);
        self.operations += operations;
        self.made += 1;
        self.last = now;
        now < self.end
    }
}

/// Runs `work` in so many threads at once, for `limit` at most, which the meter tells them.
///
/// # Errors
/// The first error of a thread; the others then run to their end.
pub(crate) fn run(
    threads: u64,
    limit: Duration,
    work: impl Fn(u64, &mut Meter) -> Result<()> + Sync,
) -> Result<Measured> {
    let barrier = Barrier::new(usize::try_from(threads)?);
    let mut meters = (0..threads).map(|_| Meter::new()).collect::<Result<Vec<_>>>()?;
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let (barrier, work) = (&barrier, &work);
        let handles: Vec<_> = (0..threads)
            .zip(&mut meters)
            .map(|(thread, meter)| {
                scope.spawn(move || {
                    barrier.wait();
                    meter.start(limit);
                    let start = meter.last;
                    work(thread, meter).map(|()| (start, meter.last))
                })
            })
            .collect();
        handles.into_iter().map(ScopedJoinHandle::join).collect()
    });
    let mut spans = Vec::new();
    for outcome in outcomes {
        spans.push(outcome.map_err(|_| Error::from("a thread of the measurement panicked"))??);
    }
    let start = spans.iter().map(|(start, _)| *start).min().ok_or("no thread to measure")?;
    let end = spans.iter().map(|(_, end)| *end).max().ok_or("no thread to measure")?;
    let mut sum = Measured {
        operations: 0,
        time: end - start,
        calls: latency::histogram()?,
        made: Vec::new(),
    };
    for meter in meters {
        sum.operations += meter.operations;
        sum.made.push(meter.made);
        sum.calls.add(&meter.calls)?;
    }
    Ok(sum)
}

/// What falls to `thread` when `total` is shared out among `threads`.
pub(crate) fn share(total: u64, threads: u64, thread: u64) -> u64 {
    total / threads + u64::from(thread < total % threads)
}

/// What the clock costs here: nanoseconds of one reading and its entry into a histogram.
pub(crate) fn cost_of_a_call() -> Result<f64> {
    let calls = 200_000_u32;
    let measured = run(1, Duration::from_secs(10), |_, meter| {
        (0..calls).for_each(|_| {
            meter.done(1);
        });
        Ok(())
    })?;
    Ok(measured.time.as_nanos() as f64 / f64::from(calls))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_differ_by_one_at_most() {
        for (total, threads) in [(0, 3), (1, 3), (10, 3), (1_000_001, 8)] {
            let shares: Vec<_> = (0..threads).map(|thread| share(total, threads, thread)).collect();
            assert_eq!(shares.iter().sum::<u64>(), total);
            let (most, least) = (shares.iter().max(), shares.iter().min());
            assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1));
        }
    }

    #[test]
    fn every_call_of_every_thread_counts() {
        let measured = run(3, Duration::from_secs(60), |thread, meter| {
            (0..=thread).for_each(|_| {
                meter.done(10);
            });
            Ok(())
        });
        let measured = measured.expect("run");
        assert_eq!((measured.operations, measured.calls.len()), (60, 6));
        assert_eq!(measured.made, [1, 2, 3]);
    }

    #[test]
    fn the_meter_says_when_time_is_up() {
        let measured = run(1, Duration::ZERO, |_, meter| {
            assert!(!meter.done(1));
            Ok(())
        });
        assert_eq!(measured.expect("run").operations, 1);
    }

    #[test]
    fn an_error_of_a_thread_ends_the_measurement() {
        let outcome = run(2, Duration::from_secs(1), |thread, _| match thread {
            1 => Err("thread one".into()),
            _ => Ok(()),
        });
        assert_eq!(outcome.expect_err("an error").to_string(), "thread one");
    }
}
