//! What a log has done since it was created.

use std::time::Duration;

use base::sync::atomic::{AtomicU64, Ordering};

/// Figures of a [`Wal`](crate::Wal) since it was created, as of about one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalStats {
    /// Records reserved.
    pub records: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Bytes of the log: payloads, chunk headers, padding, segment headers.
    pub log_bytes: u64,
    /// Reservations that became aborted places: not filled, or not written.
    pub aborted: u64,
    /// Rounds of group sync.
    pub syncs: u64,
    /// Time spent in them.
    pub sync_time: Duration,
    /// Segments created, the first one included.
    pub segments_created: u64,
    /// Time spent creating them, during which writers that need room wait.
    pub roll_time: Duration,
    /// Segment files removed.
    pub segments_removed: u64,
    /// Times that a writer found the ring of open records full and waited.
    pub ring_waits: u64,
}

/// Counters that are not kept under a lock anyway.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub aborted: Counter,
    pub syncs: Counter,
    pub sync_nanos: Counter,
    pub segments_created: Counter,
    pub roll_nanos: Counter,
    pub segments_removed: Counter,
    pub ring_waits: Counter,
}

/// A number that only grows; nothing is ordered by it.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn add_time(&self, time: Duration) {
        self.add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn time(&self) -> Duration {
        Duration::from_nanos(self.get())
    }
}
