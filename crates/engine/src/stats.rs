//! What the engine has done, counted where it happens, handed out as plain numbers.

use std::time::Duration;

use base::sync::atomic::{AtomicU64, Ordering};

/// Why a write had to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StallCause {
    /// The write budget was used up.
    Credits,
    /// A column family had `max_write_buffer_number` memtables.
    Memtables,
    /// Level 0 had reached `level0_stop_writes_trigger` tables.
    Level0Stop,
    /// `hard_pending_compaction_bytes` waited for compaction.
    PendingCompactionStop,
    /// Level 0 or the pending compaction had passed where writes are slowed down.
    Slowdown,
    /// The next log segment was not ready, or too many writes were under way at once.
    Log,
}

impl StallCause {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Credits,
        Self::Memtables,
        Self::Level0Stop,
        Self::PendingCompactionStop,
        Self::Slowdown,
        Self::Log,
    ];

    /// What the cause is called in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Credits => "credits",
            Self::Memtables => "memtables",
            Self::Level0Stop => "level-0 stop",
            Self::PendingCompactionStop => "pending-compaction stop",
            Self::Slowdown => "slowdown",
            Self::Log => "log",
        }
    }
}

/// How often and how long writes waited for one cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StallStats {
    /// The cause.
    pub cause: StallCause,
    /// How many writes waited.
    pub count: u64,
    /// How long, added up over all writers.
    pub duration: Duration,
    /// The batches' encoded bytes.
    pub bytes: u64,
}

/// What lies in one level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelStats {
    /// Tables.
    pub tables: u64,
    /// Bytes of their files.
    pub bytes: u64,
}

/// What the database has done since it was opened, and what it holds now. Sizes are in bytes.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// The limit on what unflushed writes hold; `None`: no limit.
    pub write_budget: Option<u64>,
    /// What they hold now.
    pub in_flight_bytes: u64,
    /// What the memtables have in memory now: at rest the same. What was flushed and is still read from is in the one
    /// above alone.
    pub memtable_bytes: u64,
    /// The most that they have held at any moment: the pool's own high-water mark, not a sample.
    pub in_flight_peak_bytes: u64,
    /// Writes that waited for credits.
    pub credit_waits: u64,
    /// How long they waited, added up.
    pub credit_wait: Duration,
    /// Every cause for which writes waited.
    pub stalls: Vec<StallStats>,
    /// Keys and values that were accepted.
    pub user_bytes: u64,
    /// Batches that were accepted.
    pub batches: u64,
    /// Bytes written to the log, framing included.
    pub log_bytes: u64,
    /// Syncs of the log.
    pub log_syncs: u64,
    /// Bytes that the log's files take now.
    pub log_live_bytes: u64,
    /// Files that the log keeps for its next segments.
    pub log_spare_files: u64,
    /// Bytes of the log that are mapped into memory now.
    pub log_mapped_bytes: u64,
    /// Bytes of tables written by flushes.
    pub flush_bytes: u64,
    /// Flushes installed.
    pub flushes: u64,
    /// Flushes that failed and were tried again.
    pub flush_failures: u64,
    /// Bytes of tables read by compactions.
    pub compaction_read_bytes: u64,
    /// Bytes of tables written by compactions.
    pub compaction_bytes: u64,
    /// Compactions installed.
    pub compactions: u64,
    /// Of those, the ones that reads have paid for (`Options::read_triggered_compaction`).
    pub read_compactions: u64,
    /// Bytes of tables written by those.
    pub read_compaction_bytes: u64,
    /// Compactions that failed and were tried again.
    pub compaction_failures: u64,
    /// The levels of all column families, added up.
    pub levels: Vec<LevelStats>,
    /// Memtables now, of all column families.
    pub memtables: u64,
    /// The limit on all memory; `None`: no limit.
    pub memory_budget: Option<u64>,
    /// What is charged to it now.
    pub memory_bytes: u64,
    /// What blocks and records in the block cache take, overhead included.
    pub block_cache_bytes: u64,
    /// What the records of these take.
    pub cached_record_bytes: u64,
    /// Point reads that found their record in the cache, without its block.
    pub cached_record_hits: u64,
    /// What the block cache is charged with: that, and what it was granted and has not used yet.
    pub block_cache_charged_bytes: u64,
    /// Look-ups in the block cache that found their block.
    pub block_cache_hits: u64,
    /// Look-ups that did not.
    pub block_cache_misses: u64,
    /// Table files that are open.
    pub open_tables: u64,
    /// What their readers are charged with.
    pub table_reader_bytes: u64,
    /// What the buffers of flush and compaction are charged with.
    pub job_bytes: u64,
    /// What values and iterators are charged with for what they keep in memory.
    pub pinned_bytes: u64,
    /// Open snapshots with different sequence numbers, iterators included.
    pub snapshots: u64,
    /// The newest sequence number that readers see.
    pub visible_seq: u64,
}

impl Stats {
    /// Bytes written to log and tables for each byte that was accepted; 0 before the first.
    #[must_use]
    pub fn write_amplification(&self) -> f64 {
        if self.user_bytes == 0 {
            return 0.0;
        }
        (self.log_bytes + self.flush_bytes + self.compaction_bytes) as f64 / self.user_bytes as f64
    }
}

#[derive(Debug, Default)]
struct StallCounter {
    count: AtomicU64,
    nanos: AtomicU64,
    bytes: AtomicU64,
}

/// The counters, each added to where the thing happens.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) flush_bytes: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) flush_failures: AtomicU64,
    pub(crate) compaction_read_bytes: AtomicU64,
    pub(crate) compaction_bytes: AtomicU64,
    pub(crate) compactions: AtomicU64,
    pub(crate) read_compactions: AtomicU64,
    pub(crate) read_compaction_bytes: AtomicU64,
    pub(crate) compaction_failures: AtomicU64,
    stalls: [StallCounter; StallCause::ALL.len()],
}

/// Adds to a counter.
#[inline]
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// Reads a counter.
pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Counters {
    /// A write of `bytes` waited for `cause`.
    pub(crate) fn stalled(&self, cause: StallCause, duration: Duration, bytes: u64) {
        let counter = &self.stalls[cause as usize];
        add(&counter.count, 1);
        add(&counter.nanos, duration.as_nanos() as u64);
        add(&counter.bytes, bytes);
        tracing::debug!(
            cause = cause.name(),
            micros = duration.as_micros() as u64,
            bytes,
            "a write waited"
        );
    }

    /// All causes.
    pub(crate) fn stalls(&self) -> Vec<StallStats> {
        StallCause::ALL
            .into_iter()
            .map(|cause| {
                let counter = &self.stalls[cause as usize];
                StallStats {
                    cause,
                    count: read(&counter.count),
                    duration: Duration::from_nanos(read(&counter.nanos)),
                    bytes: read(&counter.bytes),
                }
            })
            .collect()
    }
}
