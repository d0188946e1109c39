//! What a pool counts: grants, waits and how long they took.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::sync::Count;

/// What a pool has done since it was made, and how it stands.
///
/// A wait is counted when who waited runs again.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PoolStats {
    /// Requests granted, those of pools below included.
    pub acquisitions: u64,
    /// Requests of this pool that had to wait and have stopped waiting, granted or not.
    pub waits: u64,
    /// Those of `waits` that ended without a grant: closed, poisoned, timed out or dropped.
    pub waits_refused: u64,
    /// Time spent in `waits`, summed over requests.
    pub wait_total: Duration,
    /// The longest of `waits`.
    pub wait_max: Duration,
    /// How `waits` are distributed.
    pub wait_times: WaitTimes,
    /// Most bytes ever held at once.
    pub peak_bytes: u64,
    /// Bytes held now, by permits, raw amounts, and pools below.
    pub held_bytes: u64,
    /// Those of `held_bytes` that [`Permit::forget`](crate::Permit::forget) took out of a permit.
    pub raw_bytes: u64,
    /// The capacity; `None` is unlimited.
    pub capacity_bytes: Option<u64>,
    /// Requests that wait now, here or in pools below.
    pub waiters: usize,
}

/// The distribution of waiting times, in powers of two of a microsecond.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WaitTimes {
    /// Bucket 0 counts waits below 1 µs, bucket i those in [2^(i-1), 2^i) µs, the last all above too.
    buckets: [u64; WaitTimes::BUCKETS],
}

impl WaitTimes {
    /// Number of buckets; the last begins at 2^30 µs, some 18 minutes.
    pub const BUCKETS: usize = 32;

    /// Waits per bucket: 0 holds those below 1 µs, i those from 2^(i-1) (inclusive) to 2^i µs (exclusive).
    #[must_use]
    pub fn buckets(&self) -> &[u64; WaitTimes::BUCKETS] {
        &self.buckets
    }

    /// An upper bound, less than twice too high, of the time within which a `fraction` (0 to 1) of the
    /// waits ended; `None` without waits.
    #[must_use]
    pub fn quantile(&self, fraction: f64) -> Option<Duration> {
        let total: u64 = self.buckets.iter().sum();
        let rank = ((total as f64 * fraction).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0;
        self.buckets.iter().enumerate().find_map(|(bucket, &count)| {
            seen += count;
            (count > 0 && seen >= rank).then(|| Duration::from_micros(1 << bucket))
        })
    }

    fn bucket(time: Duration) -> usize {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        ((u64::BITS - micros.leading_zeros()) as usize).min(WaitTimes::BUCKETS - 1)
    }
}

/// Waits as they are counted: by those who waited, once they run again, without a lock.
///
/// Atomics of the standard library also under loom: nothing is decided by them, so modelling them would
/// only multiply what loom has to explore.
#[derive(Debug, Default)]
pub(crate) struct WaitCounters {
    refused: Count,
    total_nanos: Count,
    max_nanos: Count,
    times: [Count; WaitTimes::BUCKETS],
}

/// What [`WaitCounters`] have counted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waits {
    pub(crate) waits: u64,
    pub(crate) refused: u64,
    pub(crate) total: Duration,
    pub(crate) max: Duration,
    pub(crate) times: WaitTimes,
}

impl WaitCounters {
    /// Counts a wait that ended, with a grant or not.
    pub(crate) fn record(&self, time: Duration, granted: bool) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if !granted {
            self.refused.fetch_add(1, Relaxed);
        }
        self.total_nanos.fetch_add(nanos, Relaxed);
        if nanos > self.max_nanos.load(Relaxed) {
            self.max_nanos.fetch_max(nanos, Relaxed);
        }
        self.times[WaitTimes::bucket(time)].fetch_add(1, Relaxed);
    }

    pub(crate) fn read(&self) -> Waits {
        let times = WaitTimes { buckets: self.times.each_ref().map(|count| count.load(Relaxed)) };
        Waits {
            waits: times.buckets.iter().sum(),
            refused: self.refused.load(Relaxed),
            total: Duration::from_nanos(self.total_nanos.load(Relaxed)),
            max: Duration::from_nanos(self.max_nanos.load(Relaxed)),
            times,
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn waits_fall_into_their_bucket_and_quantiles_bound_them() {
        let counters = WaitCounters::default();
        assert_eq!(counters.read().times.quantile(0.5), None);
        for micros in [0, 1, 3, 3, 1000, u64::MAX / 1000] {
            counters.record(Duration::from_micros(micros), micros != 1);
        }
        let Waits { waits, refused, max, times, .. } = counters.read();
        assert_eq!((waits, refused, max), (6, 1, Duration::from_micros(u64::MAX / 1000)));
        assert_eq!(times.buckets()[..4], [1, 1, 2, 0]);
        assert_eq!((times.buckets()[10], times.buckets()[WaitTimes::BUCKETS - 1]), (1, 1));
        assert_eq!(times.quantile(0.0), Some(Duration::from_micros(1)));
        assert_eq!(times.quantile(0.5), Some(Duration::from_micros(4)));
        assert_eq!(times.quantile(0.8), Some(Duration::from_micros(1024)));
    }
}
