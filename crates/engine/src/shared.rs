//! What all threads of an open database share.
//!
//! Lock order: `commit`, then the leaves (the pool's, the log's and the ring's own short locks, `progress`,
//! `flush_signal`, `snapshots`, `health`); no lock is taken under a leaf. `install` is held across an edit and the view
//! that follows from it, and comes before `commit`. No lock but `install` and the manifest's own is held during I/O.

use std::path::PathBuf;
use std::sync::Arc;

use base::FileNumber;
use base::ring::CompletionRing;
use base::sync::atomic::{AtomicBool, AtomicUsize};
use base::sync::{ArcCell, Mutex, Signal};
use credit::Pool;
use memtable::ChunkCache;
use sstable::CompressionHelpers;
use version::{PinReport, pick::CompactionOptions};
use vfs::FileLock;
use wal::Wal;

use crate::background::{OnPanic, Progress, Threads};
use crate::budget::Budget;
use crate::commit::state::CommitState;
use crate::compaction::{GivenUp, ManualCompactions};
use crate::error::Error;
use crate::health::Health;
use crate::options::Options;
use crate::read::view::ReadView;
use crate::read::walk::Walks;
use crate::snapshot::SnapshotList;
use crate::stall::Gate;
use crate::stats::{Counters, LevelStats, StallCause, Stats, read};
use crate::tables::{TableStore, VersionSet};

/// See the module's text.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) dir: PathBuf,
    pub(crate) health: Health,
    /// All memory.
    pub(crate) budget: Budget,
    /// The write budget: what the memtables' chunks are charged to.
    pub(crate) pool: Pool,
    /// Chunks of flushed memtables, charged to the budget, until the next memtable takes them or a writer waits.
    pub(crate) chunks: Arc<ChunkCache>,
    /// Whether the next chunk should be made ready: see `janitor`.
    pub(crate) is_chunk_due: AtomicBool,
    pub(crate) wal: Wal,
    /// Publishes sequence numbers in order: its value is the newest visible one.
    pub(crate) ring: CompletionRing,
    pub(crate) commit: Mutex<CommitState>,
    /// Some writer's attempt to get a chunk has ended. Moved on under `commit`.
    pub(crate) grown: Progress,
    /// Writers that wait for credits, or are about to: see `commit/room.rs`.
    pub(crate) seekers: AtomicUsize,
    pub(crate) view: ArcCell<ReadView>,
    pub(crate) versions: VersionSet,
    pub(crate) tables: Arc<TableStore>,
    /// What open iterators keep.
    pub(crate) walks: Walks,
    pub(crate) snapshots: SnapshotList,
    pub(crate) gate: Gate,
    pub(crate) counters: Counters,
    /// A flush, a compaction or a failure has changed something.
    pub(crate) progress: Progress,
    pub(crate) flush_signal: Signal,
    pub(crate) compaction_signal: Signal,
    pub(crate) janitor_signal: Arc<Signal>,
    pub(crate) manual: Mutex<ManualCompactions>,
    /// Compactions that failed and can wait.
    pub(crate) given_up: Mutex<GivenUp>,
    /// Serialises the steps of flushes and compactions that change the version and the view.
    pub(crate) install: Mutex<()>,
    /// Tables of edits of which it is unknown whether they are on the disk.
    pub(crate) doubtful: Mutex<Vec<FileNumber>>,
    pub(crate) threads: Threads,
    /// Threads that compress blocks for flushes and compactions.
    pub(crate) compression: Arc<CompressionHelpers>,
    /// The directory's lock, until the database is closed.
    pub(crate) lock: Mutex<Option<Box<dyn FileLock>>>,
}

/// Closes the database when the last handle, snapshot or iterator goes.
pub(crate) struct Owner(pub(crate) Arc<Shared>);

impl std::ops::Deref for Owner {
    type Target = Arc<Shared>;

    #[inline]
    fn deref(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the database was not closed cleanly"
            );
        }
    }
}

impl OnPanic for Shared {
    fn thread_panicked(&self, name: &str) {
        self.fail(Error::ThreadPanicked { name: name.to_owned() });
    }
}

impl Shared {
    /// Wakes all who wait for something that will not come any more, or may have come.
    pub(crate) fn wake_everybody(&self) {
        // Through the lock first: a writer that has looked before sees what is told from here on as news.
        drop(self.commit.lock());
        self.grown.notify();
        self.progress.notify();
        self.flush_signal.notify();
        self.compaction_signal.notify();
        self.janitor_signal.notify();
    }

    /// Ends everything: no more writes, the log synced as far as it is filled, the threads gone.
    ///
    /// # Errors
    /// The log's last sync failed: what was not synced before may be lost by a power cut, though not by the end of the
    /// process.
    pub(crate) fn close(&self) -> Result<(), Error> {
        if !self.health.close() {
            return Ok(());
        }
        self.pool.close();
        self.walks.revoke();
        self.wake_everybody();
        for signal in [&self.flush_signal, &self.compaction_signal, &*self.janitor_signal] {
            signal.stop();
        }
        let all_well = self.threads.join();
        self.compression.stop();
        // Writers that had reserved before the state changed finish on their own; their records are awaited here.
        let last = self.commit.lock().last;
        let published = match last {
            Some(last) if !self.health.has_failed() => {
                self.ring.wait(last.ticket, last.seq.get()).is_ok()
            }
            _ => !self.health.has_failed(),
        };
        let closed = self.wal.close();
        let synced =
            if published { closed.map_err(Error::from) } else { Err(self.health.refusal()) };
        if !all_well {
            tracing::error!("a background thread had panicked");
        }
        // Whoever changes the manifest finishes first. Then nobody writes any more, whatever handles are left: the
        // directory is free.
        drop(self.install.lock());
        drop(self.lock.lock().take());
        synced
    }

    /// The figures of this moment.
    pub(crate) fn stats(&self) -> Stats {
        let counters = &self.counters;
        let stalls = counters.stalls();
        let credits = stalls.iter().find(|stall| stall.cause == StallCause::Credits);
        let (accepted, memtable_bytes) = {
            let state = self.commit.lock();
            (state.accepted, state.memtable_bytes())
        };
        let log = self.wal.stats();
        let tables = self.tables.memory();
        let view = self.view.load();
        let depth =
            view.version.families().map(|family| family.levels().depth()).max().unwrap_or(0);
        let mut levels = vec![LevelStats::default(); depth];
        for family in view.version.families() {
            for (level, tables) in levels.iter_mut().zip(family.levels().levels()) {
                level.tables += tables.len() as u64;
                level.bytes += tables.iter().map(|table| table.meta.file_bytes).sum::<u64>();
            }
        }
        Stats {
            write_budget: self.pool.capacity_bytes(),
            in_flight_bytes: self.pool.held_bytes().saturating_sub(self.chunks.kept_bytes() as u64),
            memtable_bytes,
            in_flight_peak_bytes: self.pool.peak_bytes(),
            credit_waits: credits.map_or(0, |stall| stall.count),
            credit_wait: credits.map_or_else(Default::default, |stall| stall.duration),
            user_bytes: accepted.user_bytes,
            batches: accepted.batches,
            log_bytes: log.log_bytes,
            log_syncs: log.syncs,
            log_live_bytes: self.wal.live_bytes(),
            log_spare_files: self.wal.spare_files(),
            log_mapped_bytes: log.mapped_bytes,
            flush_bytes: read(&counters.flush_bytes),
            flushes: read(&counters.flushes),
            flush_failures: read(&counters.flush_failures),
            compaction_read_bytes: read(&counters.compaction_read_bytes),
            compaction_bytes: read(&counters.compaction_bytes),
            compactions: read(&counters.compactions),
            read_compactions: read(&counters.read_compactions),
            read_compaction_bytes: read(&counters.read_compaction_bytes),
            compaction_failures: read(&counters.compaction_failures),
            levels,
            memtables: view.families.iter().map(|family| family.memtables.len() as u64).sum(),
            memory_budget: self.budget.all.capacity_bytes(),
            memory_bytes: self.budget.held_bytes(),
            block_cache_bytes: tables.cached_bytes,
            block_cache_charged_bytes: tables.granted_bytes,
            cached_record_bytes: tables.records.0,
            cached_record_hits: tables.records.1,
            block_cache_hits: tables.looked_up.0,
            block_cache_misses: tables.looked_up.1,
            open_tables: tables.open_tables,
            table_reader_bytes: tables.reader_bytes,
            job_bytes: self.budget.jobs.held_bytes(),
            pinned_bytes: self
                .budget
                .pinned
                .held_bytes()
                .saturating_sub(self.walks.resting_bytes()),
            snapshots: self.snapshots.summary().0 as u64,
            visible_seq: self.visible().get(),
            stalls,
        }
    }

    /// What readers of older versions keep on the disk.
    pub(crate) fn pins(&self) -> PinReport {
        self.versions.pins()
    }
}

impl Options {
    /// What the choice of compactions looks at.
    pub(crate) fn compaction(&self) -> CompactionOptions {
        CompactionOptions {
            level0_file_num_compaction_trigger: self.level0_file_num_compaction_trigger as u32,
            level_base_bytes: self.max_bytes_for_level_base,
            ..CompactionOptions::default()
        }
    }
}
