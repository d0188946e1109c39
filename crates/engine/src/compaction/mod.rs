//! Compaction: tables are merged into the next level, and versions that no snapshot sees are left behind.
//!
//! What to compact is decided by `version::pick`, purely, and which of it first in `choose.rs`; here it is done: merge
//! the inputs, write tables of the target size (all versions of a key in one table), sync them and the directory, install
//! the change with one manifest edit. If anything fails, or the engine closes, the new tables are removed, the inputs stay
//! what they are, and the job is picked again: at once if it is due or was asked for, else when the tables have changed
//! or reads have paid anew.

use std::sync::Arc;
use std::time::Duration;

use base::sync::now;
use base::{Cursor, FamilyId};
use credit::limiter::Priority;
use sstable::Compression;
use version::VersionEdit;
use version::pick::{Compaction, CompactionReason, targets};

use crate::budget::JobCharge;
use crate::error::Error;
use crate::flush::{Output, Unapplied};
use crate::read::level::{LevelCursor, SCAN_ONCE};
use crate::read::merge::{Child, MergeCursor};
use crate::retention::Retention;
use crate::shared::Shared;
use crate::stats::add;
use crate::tables::{TableHandle, Version};

mod choose;

pub(crate) use choose::{GivenUp, ManualCompactions};

const RETRY_MIN: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_secs(1);

struct Job {
    family: FamilyId,
    /// Pins the inputs.
    version: Arc<Version>,
    compaction: Compaction<TableHandle>,
}

/// The compaction thread: compacts what is due until the engine closes.
pub(crate) fn run(shared: &Shared) {
    let mut retry = RETRY_MIN;
    while shared.compaction_signal.wait() {
        while let Some(job) = shared.pick_job() {
            match shared.compact_job(job) {
                Ok(()) => {
                    retry = RETRY_MIN;
                    shared.health.compaction_succeeded();
                }
                Err(Error::Closed) => return,
                Err(error) => {
                    shared.compaction_failed(error);
                    if !shared.compaction_signal.pause_until(now() + retry) {
                        return;
                    }
                    retry = (retry * 2).min(RETRY_MAX);
                }
            }
            if shared.compaction_signal.is_stopped() {
                return;
            }
        }
    }
}

impl Shared {
    fn compaction_failed(&self, error: Error) {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "a compaction failed and will be tried again"
        );
        self.health.compaction_failed(Arc::new(error));
        add(&self.counters.compaction_failures, 1);
        self.progress.notify();
    }

    fn compact_job(&self, job: Job) -> Result<(), Error> {
        let done = self.compact(&job);
        if job.compaction.reason == CompactionReason::Reads {
            // Spent, for whatever came of it: what nobody needs at once is not tried again and again.
            for table in &job.compaction.inputs[0] {
                table.handle.account.close();
            }
        }
        if done.is_err() {
            self.give_up(&job);
        }
        drop(job);
        done?;
        self.progress.notify();
        Ok(())
    }

    fn compact(&self, Job { family, version, compaction }: &Job) -> Result<(), Error> {
        let since = now();
        tracing::debug!(%family, ?compaction, "a compaction begins");
        let (from, to) = (compaction.level as u32, compaction.output_level as u32);
        let mut edit = VersionEdit::default();
        let mut handles = Vec::new();
        let mut written = Unapplied::new(&self.tables);
        let mut written_bytes = 0;
        if self.moves(version, *family, compaction) {
            for table in compaction.tables() {
                edit.move_table(*family, from, to, &table.meta);
            }
        } else {
            self.merge(*family, version, compaction, &mut written)?;
            for (level, inputs) in [from, to].into_iter().zip(&compaction.inputs) {
                edit.removed_tables
                    .extend(inputs.iter().map(|table| (*family, level, table.meta.number)));
            }
            handles = written.open()?;
            edit.added_tables
                .extend(written.tables().iter().map(|meta| (*family, to, meta.clone())));
            written_bytes = written.tables().iter().map(|meta| meta.file_bytes).sum();
            add(&self.counters.compaction_read_bytes, compaction.input_bytes());
            add(&self.counters.compaction_bytes, written_bytes);
        }
        if compaction.level == 0 {
            let bytes = compaction.inputs[0].iter().map(|table| table.meta.file_bytes).sum();
            self.gate.drained(bytes, now().duration_since(since));
        }
        self.install_compaction(edit, handles, written)?;
        self.walks.revoke();
        add(&self.counters.compactions, 1);
        if compaction.reason == CompactionReason::Reads {
            add(&self.counters.read_compactions, 1);
            add(&self.counters.read_compaction_bytes, written_bytes);
        }
        Ok(())
    }

    /// Whether the one table goes to its new level as it is: not if that would compress it otherwise.
    fn moves(
        &self,
        version: &Version,
        family: FamilyId,
        compaction: &Compaction<TableHandle>,
    ) -> bool {
        let to = |level| self.compression_in(version, family, level);
        compaction.is_trivial_move && to(compaction.level) == to(compaction.output_level)
    }

    /// How this version's tables of a level are compressed when they are written.
    fn compression_in(&self, version: &Version, family: FamilyId, level: usize) -> Compression {
        let targets =
            version.levels(family).map(|levels| targets(levels, &self.options.compaction()));
        targets.map_or(self.options.compression, |targets| {
            self.options.level_compression(level, &targets)
        })
    }

    fn install_compaction(
        &self,
        edit: VersionEdit,
        handles: Vec<TableHandle>,
        written: Unapplied<'_>,
    ) -> Result<(), Error> {
        let _install = self.install.lock();
        let version = self.apply(edit, handles, written)?;
        self.store_view(&self.commit.lock());
        self.update_stall(&version);
        Ok(())
    }

    /// Writes the merged inputs to new tables, durably.
    fn merge(
        &self,
        family: FamilyId,
        version: &Version,
        compaction: &Compaction<TableHandle>,
        written: &mut Unapplied<'_>,
    ) -> Result<(), Error> {
        let mut cursor = self.inputs(compaction)?;
        let mut charge = JobCharge::new(&self.budget.jobs);
        let block_bytes = self.options.block_size;
        // Bytes that were passed since the charge was last looked at.
        let mut passed = block_bytes;
        let snapshots = self.snapshots.to_serve(|| self.visible());
        let mut retention = Retention::new(snapshots);
        let levels = version.levels(family).ok_or(Error::UnknownFamilyNumber { family })?;
        let is_bottom = |key: &[u8]| {
            compaction.is_bottommost
                || (compaction.output_level + 1..levels.depth())
                    .all(|level| levels.overlapping(level, key, key).next().is_none())
        };
        let class = if compaction.level == 0 { Priority::LevelZero } else { Priority::Deep };
        let outputs = self.outputs();
        let compression = self.compression_in(version, family, compaction.output_level);
        let mut output = Output::new(outputs, outputs.meter(class), compression);
        let mut last_key: Vec<u8> = Vec::new();
        cursor.seek_to_first()?;
        while cursor.is_valid() {
            if passed >= block_bytes {
                // The blocks that it stands in, and the stored bytes of the one that is being read.
                charge.cover((cursor.block_bytes(block_bytes) + block_bytes) as u64);
                passed = 0;
            }
            let key = cursor.key();
            passed += key.user_key.len() + cursor.value().len();
            if retention.keeps(key, is_bottom) {
                if output.file_bytes() >= self.options.target_file_size_base
                    && last_key != key.user_key
                {
                    written.extend(output.finish()?);
                    if self.health.is_closed() {
                        return Err(Error::Closed);
                    }
                }
                last_key.clear();
                last_key.extend_from_slice(key.user_key);
                output.add(key, cursor.value())?;
            }
            cursor.next()?;
        }
        written.extend(output.finish()?);
        if !written.tables().is_empty() {
            self.tables.sync_dir()?;
        }
        Ok(())
    }

    fn inputs(&self, compaction: &Compaction<TableHandle>) -> Result<MergeCursor, Error> {
        let mut children = Vec::new();
        for (level, inputs) in
            [compaction.level, compaction.output_level].into_iter().zip(&compaction.inputs)
        {
            if level > 0 {
                let inputs = Arc::new(inputs.clone());
                children.push(Child::Level(LevelCursor::new(&self.tables, inputs, SCAN_ONCE)));
                continue;
            }
            for table in inputs {
                children.push(Child::Table(self.tables.reader(table)?.cursor_with(SCAN_ONCE)));
            }
        }
        Ok(MergeCursor::new(children))
    }
}
