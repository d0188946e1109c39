//! Bytes per second: a token bucket with priorities for work in the background.
//!
//! Four parts:
//!
//! - [`RateLimiter`] is what threads use: it blocks those who are too fast.
//! - The bucket inside it is a pure state machine over given times: who is granted what at which
//!   refill. All rules about shares stand there.
//! - [`AutoTune`] sets the rate of background work from the clients' load and the debt; pure as well.
//! - [`Clock`] is the source of time, [`ManualClock`] the one that tests move.
//!
//! ```
//! use credit::limiter::{Direction, LimiterOptions, Priority, RateLimiter};
//!
//! let limiter = RateLimiter::new(LimiterOptions::new(100 << 20)); // 100 MiB/s
//! // The log is charged but never waits; a deep compaction asks for each block that it writes.
//! limiter.charge(Priority::Log, Direction::Write, 140);
//! limiter.acquire(Priority::Deep, Direction::Write, 4096)?;
//! assert_eq!(limiter.stats(Priority::Deep).bytes, 4096);
//! # Ok::<(), credit::limiter::LimiterClosed>(())
//! ```
//!
//! Sources: RocksDB's `GenericRateLimiter` (rates, priorities, fairness, auto-tuning as the baseline); SILK
//! (USENIX ATC 2019) for what background work may take: the rest, and more as its debt grows.

mod bucket;
mod clock;
mod limit;
mod tune;

pub use clock::{Clock, ManualClock, SystemClock};
pub use limit::{ClassStats, Direction, LimiterClosed, LimiterOptions, Mode, RateLimiter};
pub use tune::{AutoTune, TuneInputs};

/// What a request is for, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// The write-ahead log. Charged, never waits.
    Log,
    /// Flushing memtables. Charged, never waits.
    Flush,
    /// Reads for clients.
    ClientRead,
    /// Compaction out of level 0, which writers may come to wait for.
    LevelZero,
    /// Compaction further down.
    Deep,
}

impl Priority {
    /// All of them, the most urgent first.
    pub const ALL: [Priority; 5] =
        [Priority::Log, Priority::Flush, Priority::ClientRead, Priority::LevelZero, Priority::Deep];

    /// Whether requests of this class are charged but never made to wait.
    #[must_use]
    pub fn never_waits(self) -> bool {
        matches!(self, Priority::Log | Priority::Flush)
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}
