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
    /// Segments made of a new file, the first one included.
    pub segments_created: u64,
    /// Segments made of a retired one's file.
    pub segments_recycled: u64,
    /// So many of both were made ahead, by a helper.
    pub segments_prepared: u64,
    /// So many were made by a writer that needed one at once: the helper was behind, or there is none.
    pub segments_unprepared: u64,
    /// Segments that a helper could not make.
    pub prepare_failures: u64,
    /// Time that writers spent starting a new segment, those that waited for one not counted.
    pub roll_time: Duration,
    /// Segments that were retired before all of them was durable: nobody had asked for it.
    pub segments_unsynced: u64,
    /// Segment files removed.
    pub segments_removed: u64,
    /// Times that a writer found the ring of open records full and waited.
    pub ring_waits: u64,
    /// Syncs of segments that nothing is added to any more, by a helper.
    pub left_syncs: u64,
    /// Syncs because the interval had passed, by a helper.
    pub interval_syncs: u64,
    /// Windows that were mapped.
    pub windows_mapped: u64,
    /// Windows that the pool did not pay for.
    pub windows_refused: u64,
    /// Windows that could not be mapped, after which none is any more.
    pub windows_failed: u64,
    /// Bytes that are mapped now.
    pub mapped_bytes: u64,
    /// Records that were written because their place was not mapped; 0 when none is to be.
    pub unmapped_records: u64,
}

macro_rules! counters {
    ($($name:ident),*; $($time:ident => $nanos:ident),*) => {
        /// Counters that are not kept under a lock anyway.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub $name: Counter,)*
            $(pub $nanos: Counter,)*
        }

        impl Counters {
            /// Their values, and nothing else.
            pub fn stats(&self) -> WalStats {
                WalStats {
                    $($name: self.$name.get(),)*
                    $($time: self.$nanos.time(),)*
                    ..WalStats::default()
                }
            }
        }
    };
}

counters!(
    aborted, syncs, segments_created, segments_recycled, segments_prepared, segments_unprepared,
    prepare_failures, segments_unsynced, segments_removed, ring_waits, left_syncs, interval_syncs, windows_mapped,
    windows_refused, windows_failed;
    sync_time => sync_nanos, roll_time => roll_nanos
);

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
