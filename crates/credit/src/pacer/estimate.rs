//! A smoothed rate of draining, taken over the time in which there was something to drain.

use std::time::Duration;

/// Bytes per busy second, smoothed exponentially over busy time.
///
/// Idle time says nothing about how fast a device is, and does not enter. Until the first MiB was
/// recorded the rate is the initial one that it was made with.
#[derive(Debug, Clone)]
pub struct DrainEstimate {
    bytes_per_second: f64,
    /// Recorded so far; from [`TRUSTED_FROM`] on the initial rate is out of the sum.
    bytes: f64,
    busy_seconds: f64,
    smoothing: Duration,
}

/// Bytes after which the estimate is believed.
const TRUSTED_FROM: f64 = (1 << 20) as f64;

impl DrainEstimate {
    /// A good guess for an unknown device: 64 MiB/s.
    pub const INITIAL_BYTES_PER_SECOND: f64 = (64 << 20) as f64;

    /// The busy time after which a new rate has replaced 63 % of an old one.
    ///
    /// Long enough to even out single slow writes, short enough that a device which became ten times
    /// slower is known before what was free is used up.
    pub const SMOOTHING: Duration = Duration::from_millis(250);

    /// An estimate that begins with `initial_bytes_per_second`.
    #[must_use]
    pub fn new(initial_bytes_per_second: f64) -> DrainEstimate {
        DrainEstimate {
            bytes_per_second: initial_bytes_per_second,
            bytes: 0.0,
            busy_seconds: 0.0,
            smoothing: DrainEstimate::SMOOTHING,
        }
    }

    /// Records that `bytes` were drained in `busy` time; best called often while a job runs, also
    /// when nothing was drained meanwhile.
    pub fn record(&mut self, bytes: u64, busy: Duration) {
        let seconds = busy.as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let bytes = bytes as f64;
        if self.bytes < TRUSTED_FROM {
            self.bytes += bytes;
            self.busy_seconds += seconds;
            if self.bytes >= TRUSTED_FROM {
                self.bytes_per_second = self.bytes / self.busy_seconds;
            }
            return;
        }
        let weight = 1.0 - (-seconds / self.smoothing.as_secs_f64()).exp();
        self.bytes_per_second += weight * (bytes / seconds - self.bytes_per_second);
    }

    /// The smoothed rate.
    #[must_use]
    pub fn bytes_per_second(&self) -> f64 {
        self.bytes_per_second
    }
}

impl Default for DrainEstimate {
    fn default() -> DrainEstimate {
        DrainEstimate::new(DrainEstimate::INITIAL_BYTES_PER_SECOND)
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn the_initial_rate_stands_until_a_mebibyte_was_seen() {
        let mut estimate = DrainEstimate::new(5.0);
        for _ in 0..1023 {
            estimate.record(1024, MILLI);
        }
        assert_eq!(estimate.bytes_per_second(), 5.0);
        estimate.record(1024, MILLI);
        assert!((estimate.bytes_per_second() - 1024e3).abs() < 1.0);
    }

    #[test]
    fn a_new_rate_replaces_the_old_within_its_time_however_often_it_is_recorded() {
        for steps in [1, 250] {
            let mut estimate = DrainEstimate::default();
            estimate.record(100 << 20, Duration::from_secs(1));
            for _ in 0..steps {
                estimate.record(0, DrainEstimate::SMOOTHING / steps);
            }
            let left = estimate.bytes_per_second() / f64::from(100 << 20);
            assert!((left - (-1.0f64).exp()).abs() < 1e-6, "{steps} steps leave {left}");
        }
    }

    #[test]
    fn no_time_is_no_information() {
        let mut estimate = DrainEstimate::default();
        estimate.record(1 << 30, Duration::ZERO);
        assert_eq!(estimate.bytes_per_second(), DrainEstimate::INITIAL_BYTES_PER_SECOND);
    }
}
