//! Where the limiter takes its time from.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A source of time that never goes back.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The time since a fixed moment.
    fn now(&self) -> Duration;

    /// How long a thread really sleeps to let `pause` of this clock's time go by.
    fn real_pause(&self, pause: Duration) -> Duration {
        pause
    }
}

/// The machine's monotonic clock.
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock { origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// A clock that stands still until it is moved; clones are the same clock.
///
/// Threads that wait on it look again every millisecond.
#[derive(Debug, Clone, Default)]
pub struct ManualClock {
    nanos: Arc<AtomicU64>,
}

impl ManualClock {
    /// Moves the clock on by `time`.
    pub fn advance(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::SeqCst))
    }

    fn real_pause(&self, _pause: Duration) -> Duration {
        Duration::from_millis(1)
    }
}
