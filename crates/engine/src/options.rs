//! How a database is opened and how a write is made: plain values with defaults, checked when they are used.

use std::sync::Arc;
use std::time::{Duration, Instant};

use credit::limiter::RateLimiter;
use sstable::{Compression, TableOptions};
use version::pick::Targets;
use wal::{LogBackend, WalOptions};

use crate::error::Error;

const MIB: u64 = 1 << 20;
const SEGMENT_BYTES_MIN: u64 = 256 << 10;
const COMPRESSION_THREADS_MAX: usize = 64;
/// From this level of Zstandard on, blocks take as long as several threads that write take to fill them.
const SLOW_LEVEL: i32 = 6;
/// See [`Options::memory_part_bytes`].
const MEMORY_PARTS: u64 = 16;

/// How a database is opened. Sizes are in bytes.
///
/// ```
/// use engine::Options;
///
/// let options = Options { write_budget: Some(16 << 20), ..Options::default() };
/// assert!(options.validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Make the database if there is none. Default: true.
    pub create_if_missing: bool,
    /// Refuse to open a database that exists. Default: false.
    pub error_if_exists: bool,
    /// The most memory that all of it may hold: unflushed writes, the log's windows, the block cache, open tables, buffers
    /// of flush and compaction, what values and iterators keep; `None` or `Some(0)`: no limit, but counted. It must leave room beside `write_budget` and
    /// `wal_window_bytes`; the block cache takes what the others leave, and gives way to them. Default: 256 MiB.
    pub memory_budget: Option<u64>,
    /// The part of it that unflushed writes may hold at most, over all column families; `None` or `Some(0)`: they have no
    /// limit, and are counted apart. When it is reached, writers wait until a flush has given some back. Default: 64 MiB.
    pub write_budget: Option<u64>,
    /// A column family's memtable is flushed once it holds about this much. Default: 16 MiB.
    pub write_buffer_size: u64,
    /// The most memtables that a column family may have, the one that takes writes included; when they are all full,
    /// its writers wait for a flush. At least 2. Default: 8.
    pub max_write_buffer_number: usize,
    /// The largest batch that is accepted, encoded. A batch between `write_budget` and this waits until everything
    /// else has been flushed. Default: 256 MiB.
    pub max_batch_bytes: u64,
    /// Size of a log segment. Default: 64 MiB.
    pub wal_segment_bytes: u64,
    /// How records get to the log; what they survive is the same. Default: mapped memory where the file system is known
    /// to be good for it.
    pub wal_backend: LogBackend,
    /// The most memory that the log maps, where it does; taken when the database is opened. From 16 KiB to 4 GiB.
    /// Default: 16 MiB.
    pub wal_window_bytes: u64,
    /// Make the log durable in the background every so often, for writes without [`WriteOptions::sync`]: a power cut then
    /// takes at most about as long a stretch of them. Default: none.
    pub wal_sync_interval: Option<Duration>,
    /// The log may grow to about this much before the column families that hold its oldest segment are flushed, however
    /// little they hold; 0: four times the largest of `write_budget`, `write_buffer_size` and `wal_segment_bytes`.
    /// Default: 0.
    pub max_total_wal_size: u64,
    /// Tables in level 0 at which it is compacted. Default: 4.
    pub level0_file_num_compaction_trigger: usize,
    /// Tables in level 0 at which writes go on as fast as compaction; from half of it on they are slowed gently.
    /// Default: 20.
    pub level0_slowdown_writes_trigger: usize,
    /// Tables in level 0 at which writes wait. Default: 36.
    pub level0_stop_writes_trigger: usize,
    /// Bytes that wait for compaction at which writes go on as fast as compaction, as for level 0; 0: never.
    /// Default: 64 GiB.
    pub soft_pending_compaction_bytes: u64,
    /// Bytes that wait for compaction at which writes wait; 0: never. Default: 256 GiB.
    pub hard_pending_compaction_bytes: u64,
    /// How fast compaction is taken to be, in bytes per second, before it has been measured: slowed writes go on in
    /// proportion to it. 0: the rate of `rate_limiter` if there is one, else 32 MiB. Default: 0.
    pub delayed_write_rate: u64,
    /// Limits the bytes per second that background work writes; may be shared by several databases. The log and flushes
    /// are charged and never wait; compactions wait, those out of level 0 before deeper ones. What is read is not
    /// counted, whatever the limiter's mode. Default: none.
    pub rate_limiter: Option<Arc<RateLimiter>>,
    /// Size of the tables that compaction writes. Default: 32 MiB.
    pub target_file_size_base: u64,
    /// Size of level 1; each deeper level is ten times as large. Default: 128 MiB.
    pub max_bytes_for_level_base: u64,
    /// Merge tables that reads look into in vain again and again, though no level is above its target: when the reads
    /// since the database was opened have cost about what the merging will, and nothing else is to be compacted. What is
    /// only written is never rewritten for it. Default: true.
    pub read_triggered_compaction: bool,
    /// The most of the budget that the cache for blocks of tables may hold; `None`: what the others leave, and 64 MiB
    /// where there is no budget. 0: nothing is cached. Default: `None`.
    pub block_cache_bytes: Option<u64>,
    /// Whether a point read that finds its block neither in the cache nor room for it there keeps the record that it was
    /// after, a value of up to some two KiB, in place of the block: many more of the keys that are asked for often have
    /// room in the same memory. Not where tables are mapped. Default: true.
    pub cache_records: bool,
    /// Read tables that are not compressed through a mapping of their files into memory: their data blocks are neither
    /// copied nor put into the block cache, and a value that is kept keeps the mapping, and with it the room on the disk of a
    /// table that was compacted away. Their pages are the system's page cache, resident but reclaimed at need, and the
    /// memory budget is charged with no more than their readers and what values pin. **A page that the disk cannot deliver
    /// ends the process (SIGBUS)**, where a read would have an error that names the file; and so does it if somebody else
    /// cuts a table file of an open database short. A block is verified when it is read first, and by each compaction, but
    /// not again when the system has read its page anew. What cannot be mapped is read. Default: false.
    pub allow_mmap_reads: bool,
    /// The most table files that are open at a time, those aside that are just being read; beyond that the ones not used
    /// for longest are closed. At least 1. Default: 512.
    pub max_open_tables: usize,
    /// Size of a table's data blocks before compression. Default: 16 KiB.
    pub block_size: usize,
    /// How tables are compressed where neither of the next two says otherwise. Default: LZ4.
    pub compression: Compression,
    /// How the tables of each level are compressed: the first entry is for level 0, the second for the level that level 0
    /// is compacted to, and so on; the last one also for all deeper levels. Empty: `compression` for all. A table gets it
    /// when it is written: one that is in its level stays as it is until it is compacted, and one that could be moved to
    /// the next level as it is is written again if that is compressed otherwise. Default: empty.
    pub compression_per_level: Vec<Compression>,
    /// How the tables of the deepest level are compressed, most of the data in the end, whatever the other two say.
    /// `None`: as they say. Default: `None`.
    pub bottommost_compression: Option<Compression>,
    /// Threads that compress blocks for flushes and compactions beside their own, where blocks take long: those of
    /// Zstandard. Each of these threads and jobs adds buffers of half a megabyte or so, and what Zstandard needs at that
    /// level, to what jobs hold of the budget. 0: none. Default, `None`: as many as the machine has cores beyond two, at most
    /// 4, and at least one where Zstandard is to work at level 6 or above.
    pub compression_threads: Option<usize>,
    /// Bits that a table's filter spends on a key; 0: no filter. Default: 10.
    pub filter_bits_per_key: u32,
    /// Tables are handed to the disk in steps of this size while they are written; 0: only at their end. Default: 1 MiB.
    pub bytes_per_sync: u64,
    /// Wait for each such step. Default: false.
    pub strict_bytes_per_sync: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            create_if_missing: true,
            error_if_exists: false,
            memory_budget: Some(256 * MIB),
            write_budget: Some(64 * MIB),
            write_buffer_size: 16 * MIB,
            max_write_buffer_number: 8,
            max_batch_bytes: 256 * MIB,
            wal_segment_bytes: 64 * MIB,
            wal_backend: LogBackend::Auto,
            wal_window_bytes: 16 * MIB,
            wal_sync_interval: None,
            max_total_wal_size: 0,
            level0_file_num_compaction_trigger: 4,
            level0_slowdown_writes_trigger: 20,
            level0_stop_writes_trigger: 36,
            soft_pending_compaction_bytes: 64 << 30,
            hard_pending_compaction_bytes: 256 << 30,
            delayed_write_rate: 0,
            rate_limiter: None,
            target_file_size_base: 32 * MIB,
            max_bytes_for_level_base: 128 * MIB,
            read_triggered_compaction: true,
            block_cache_bytes: None,
            cache_records: true,
            allow_mmap_reads: false,
            max_open_tables: 512,
            block_size: 16 << 10,
            compression: Compression::Lz4,
            compression_per_level: Vec::new(),
            bottommost_compression: None,
            compression_threads: None,
            filter_bits_per_key: 10,
            bytes_per_sync: MIB,
            strict_bytes_per_sync: false,
        }
    }
}

impl Options {
    /// `max_total_wal_size`, or what stands in for it.
    pub(crate) fn log_bytes_max(&self) -> u64 {
        let largest =
            self.write_budget.unwrap_or(0).max(self.write_buffer_size).max(self.wal_segment_bytes);
        match self.max_total_wal_size {
            0 => largest.saturating_mul(4),
            bytes => bytes,
        }
    }

    /// What open tables may hold of the memory budget, and again jobs, and again values and iterators: a sixteenth each.
    pub(crate) fn memory_part_bytes(&self) -> Option<u64> {
        self.memory_budget.filter(|&bytes| bytes > 0).map(|bytes| bytes / MEMORY_PARTS)
    }

    /// The most that the block cache may hold.
    pub(crate) fn cache_bytes_max(&self) -> u64 {
        let budget = self.memory_budget.filter(|&bytes| bytes > 0);
        self.block_cache_bytes.or(budget).unwrap_or(64 * MIB)
    }

    /// Whether writes, log, open tables, jobs and what readers keep have room beside each other in the memory budget.
    fn fits_memory_budget(&self) -> bool {
        let Some(budget) = self.memory_budget.filter(|&bytes| bytes > 0) else { return true };
        let parts = 3 * (budget / MEMORY_PARTS);
        let writes = self.write_budget.unwrap_or(0);
        writes.saturating_add(self.wal_window_bytes).saturating_add(parts) <= budget
    }

    /// How many bytes of flushed memtables' chunks are kept for the next ones: a memtable's worth, and at most a
    /// quarter of the budget. They go before anybody waits for memory.
    pub(crate) fn spare_chunk_bytes(&self) -> u64 {
        let quarter = self.write_budget.map_or(u64::MAX, |budget| budget / 4);
        self.write_buffer_size.min(quarter)
    }

    /// What compaction is taken to do before it has been measured, in bytes per second.
    pub(crate) fn drain_rate(&self) -> u64 {
        match (self.delayed_write_rate, &self.rate_limiter) {
            (0, Some(limiter)) => limiter.bytes_per_second(),
            (0, None) => 32 * MIB,
            (rate, _) => rate,
        }
    }

    /// How a table of level 0 is compressed.
    pub(crate) fn flush_compression(&self) -> Compression {
        self.compression_per_level.first().copied().unwrap_or(self.compression)
    }

    /// How a table of `level` is compressed, where the levels' targets are these. The levels between 0 and the base
    /// level hold nothing and are not counted.
    pub(crate) fn level_compression(&self, level: usize, targets: &Targets) -> Compression {
        if level == 0 {
            return self.flush_compression();
        }
        let by_level = &self.compression_per_level;
        let at = (level + 1).saturating_sub(targets.base_level).min(by_level.len().max(1) - 1);
        let of_level = by_level.get(at).copied().unwrap_or(self.compression);
        self.bottommost_compression.filter(|_| level >= targets.deepest()).unwrap_or(of_level)
    }

    /// All compressions that tables may get.
    fn compressions(&self) -> impl Iterator<Item = Compression> {
        let by_level = self.compression_per_level.iter().chain(&self.bottommost_compression);
        by_level.copied().chain([self.compression])
    }

    /// How many threads compress beside the jobs' own, on a machine that runs so many at a time.
    pub(crate) fn compression_helpers(&self, cores: usize) -> usize {
        if !self.compressions().any(Compression::is_slow) {
            return 0;
        }
        // Flush and compaction have one each. Where none is left, a helper takes its time from those who write: that pays
        // only if they would wait for the flush.
        let by_cores = cores.saturating_sub(2).min(4);
        let holds_up = |c| matches!(c, Compression::Zstd { level } if level >= SLOW_LEVEL);
        let least = usize::from(self.compressions().any(holds_up));
        self.compression_threads.unwrap_or(by_cores.max(least))
    }

    /// Whether Zstandard has every level that is asked of it.
    fn compresses_within_limits(&self) -> bool {
        self.compressions().all(|compression| {
            TableOptions { compression, ..TableOptions::default() }.validate().is_ok()
        })
    }

    /// The size of a log segment: a log that is to stay smaller than one has smaller ones.
    pub(crate) fn segment_bytes(&self) -> u64 {
        match self.max_total_wal_size {
            0 => self.wal_segment_bytes,
            bytes => self.wal_segment_bytes.min(bytes.max(SEGMENT_BYTES_MIN)),
        }
    }

    /// How the log is opened.
    pub(crate) fn log(&self) -> WalOptions {
        WalOptions {
            segment_bytes: self.segment_bytes(),
            backend: self.wal_backend,
            window_bytes: self.wal_window_bytes,
            sync_interval: self.wal_sync_interval,
            ..WalOptions::default()
        }
    }

    /// Checks that each value makes sense and that no two contradict each other.
    ///
    /// # Errors
    /// [`Error::InvalidOptions`] names the values and what to change.
    pub fn validate(&self) -> Result<(), Error> {
        let checks: [(bool, &str); 18] = [
            (
                self.max_batch_bytes > wal::MAX_RECORD_BYTES as u64,
                "max_batch_bytes is above 2 GiB, the most that a log record holds: lower it",
            ),
            (
                !self.create_if_missing && self.error_if_exists,
                "create_if_missing = false and error_if_exists = true leave nothing to open: change one of them",
            ),
            (
                !self.fits_memory_budget(),
                "memory_budget has no room for write_budget, wal_window_bytes and three sixteenths for tables, jobs and readers: \
                 raise it, or lower those",
            ),
            (self.max_open_tables == 0, "max_open_tables is 0: no table could be read"),
            (self.write_buffer_size < 64 << 10, "write_buffer_size is below 64 KiB: raise it"),
            (self.write_buffer_size > 4 << 30, "write_buffer_size is above 4 GiB: lower it"),
            (
                self.max_write_buffer_number < 2,
                "max_write_buffer_number is below 2: one memtable takes writes while another is flushed",
            ),
            (
                self.level0_file_num_compaction_trigger == 0,
                "level0_file_num_compaction_trigger is 0: level 0 would be compacted without end",
            ),
            (
                self.level0_slowdown_writes_trigger < self.level0_file_num_compaction_trigger,
                "level0_slowdown_writes_trigger is below level0_file_num_compaction_trigger: writes would be slowed \
                 down with nothing to compact",
            ),
            (
                self.level0_stop_writes_trigger <= self.level0_slowdown_writes_trigger,
                "level0_stop_writes_trigger is not above level0_slowdown_writes_trigger: raise it",
            ),
            (
                self.hard_pending_compaction_bytes != 0
                    && self.hard_pending_compaction_bytes <= self.soft_pending_compaction_bytes,
                "hard_pending_compaction_bytes is not above soft_pending_compaction_bytes: raise it",
            ),
            (
                self.target_file_size_base < 64 << 10
                    || self.max_bytes_for_level_base < self.target_file_size_base,
                "target_file_size_base must be at least 64 KiB and at most max_bytes_for_level_base",
            ),
            (
                self.wal_segment_bytes < SEGMENT_BYTES_MIN || self.wal_segment_bytes > 2 << 30,
                "wal_segment_bytes must lie between 256 KiB and 2 GiB",
            ),
            (
                self.wal_window_bytes < 16 << 10 || self.wal_window_bytes > 4 << 30,
                "wal_window_bytes must lie between 16 KiB and 4 GiB",
            ),
            (
                self.wal_sync_interval.is_some_and(|interval| interval.is_zero()),
                "wal_sync_interval is 0: leave it out, or write with sync",
            ),
            (
                self.block_size < 256 || self.block_size > 1 << 20,
                "block_size must lie between 256 bytes and 1 MiB",
            ),
            (
                self.compression_threads.is_some_and(|threads| threads > COMPRESSION_THREADS_MAX),
                "compression_threads is above 64: lower it",
            ),
            (
                !self.compresses_within_limits(),
                "a level of Zstandard must lie between -7 and 22: change compression, compression_per_level or \
                 bottommost_compression",
            ),
        ];
        match checks.iter().find(|(is_wrong, _)| *is_wrong) {
            Some((_, what)) => Err(Error::InvalidOptions { what: (*what).to_owned() }),
            None => Ok(()),
        }
    }
}

/// How one write is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Return only when the write is on stable storage. Without it, a write outlives a killed process from the moment
    /// that the call returns, and a power cut once a later sync, flush or close has covered it. Default: false.
    pub sync: bool,
    /// Leave the log out: the write is lost when the process ends before its memtable is flushed, and of a batch across
    /// column families a flush may then have kept one part. Later writes that were logged are kept all the same. Not
    /// together with `sync`. Default: false.
    pub disable_wal: bool,
    /// Give up waiting for memory or for the compaction at this moment. Default: wait as long as it takes.
    pub deadline: Option<Instant>,
    /// Fail with [`Error::WouldBlock`] where the write would have to wait for memory or for the compaction.
    pub no_wait: bool,
}

impl WriteOptions {
    /// Checks that the values do not contradict each other.
    ///
    /// # Errors
    /// [`Error::InvalidOptions`] says which do.
    #[inline]
    pub fn validate(&self) -> Result<(), Error> {
        if self.sync && self.disable_wal {
            let what =
                "sync = true and disable_wal = true: what is not in the log cannot be synced";
            return Err(Error::InvalidOptions { what: what.to_owned() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use credit::limiter::LimiterOptions;

    #[test]
    fn the_defaults_are_valid_and_contradictions_are_named() {
        assert!(Options::default().validate().is_ok());
        let wrong = [
            Options { create_if_missing: false, error_if_exists: true, ..Options::default() },
            Options { max_write_buffer_number: 1, ..Options::default() },
            Options { level0_stop_writes_trigger: 5, ..Options::default() },
            Options { hard_pending_compaction_bytes: 1, ..Options::default() },
            Options { write_buffer_size: 1, ..Options::default() },
            Options { compression: Compression::Zstd { level: 23 }, ..Options::default() },
            Options {
                compression_per_level: vec![Compression::None, Compression::Zstd { level: -8 }],
                ..Options::default()
            },
            Options {
                bottommost_compression: Some(Compression::Zstd { level: 99 }),
                ..Options::default()
            },
            Options { compression_threads: Some(65), ..Options::default() },
        ];
        for options in wrong {
            assert!(matches!(options.validate(), Err(Error::InvalidOptions { .. })), "{options:?}");
        }
    }

    #[test]
    fn threads_are_there_only_for_what_takes_long() {
        let helpers =
            |options: &Options| [1, 2, 3, 64].map(|cores| options.compression_helpers(cores));
        let told = Options { compression_threads: Some(3), ..Options::default() };
        assert_eq!(helpers(&told), [0; 4], "LZ4 takes no time");
        let zstd = |level| Compression::Zstd { level };
        let slow = [
            Options { compression: zstd(1), ..told.clone() },
            Options { compression_per_level: vec![Compression::None, zstd(9)], ..told.clone() },
            Options { bottommost_compression: Some(zstd(1)), ..told },
        ];
        assert_eq!(slow.each_ref().map(helpers), [[3; 4]; 3]);
        let by_cores = slow.map(|options| Options { compression_threads: None, ..options });
        assert_eq!(by_cores.each_ref().map(helpers), [[0, 0, 1, 4], [1, 1, 1, 4], [0, 0, 1, 4]]);
    }

    #[test]
    fn each_level_has_its_compression() {
        let zstd = |level| Compression::Zstd { level };
        let of = |options: &Options, base_level| {
            let targets = Targets { base_level, bytes: vec![0; 7] };
            [0, 4, 5, 6].map(|level| options.level_compression(level, &targets))
        };
        let plain = Options { compression: zstd(1), ..Options::default() };
        assert_eq!(of(&plain, 4), [zstd(1); 4]);
        let listed = Options {
            compression_per_level: vec![Compression::None, Compression::Lz4, zstd(3)],
            ..plain.clone()
        };
        assert_eq!(of(&listed, 4), [Compression::None, Compression::Lz4, zstd(3), zstd(3)]);
        // Level 4 is above the base level: what it still held would be of no later kind than that.
        assert_eq!(of(&listed, 5)[2..], [Compression::Lz4, zstd(3)]);
        assert_eq!(
            of(&listed, 6),
            [Compression::None, Compression::None, Compression::None, Compression::Lz4]
        );
        let bottom = Options { bottommost_compression: Some(zstd(9)), ..listed };
        assert_eq!(of(&bottom, 4), [Compression::None, Compression::Lz4, zstd(3), zstd(9)]);
        let bottom = Options { bottommost_compression: Some(zstd(9)), ..plain };
        assert_eq!(of(&bottom, 6), [zstd(1), zstd(1), zstd(1), zstd(9)]);
    }

    #[test]
    fn the_drain_rate_is_the_limiters_when_nothing_is_said() {
        // L4
        let limiter = Arc::new(RateLimiter::new(LimiterOptions::new(7 << 20)));
        let limited = Options { rate_limiter: Some(limiter), ..Options::default() };
        let told = Options { delayed_write_rate: 5, ..limited.clone() };
        let rates = [Options::default(), limited, told].map(|options| options.drain_rate());
        assert_eq!(rates, [32 << 20, 7 << 20, 5]);
    }

    #[test]
    fn the_budget_is_64_mib_when_nothing_is_said() {
        assert_eq!(Options::default().write_budget, Some(64 << 20)); // C10
    }
}
