//! Compaction: tables are merged into the next level, and versions that no snapshot sees are left behind.
//!
//! What to compact is decided by `version::pick`, purely; here it is done: merge the inputs, write tables of the target
//! size (all versions of a key in one table), sync them and the directory, install the change with one manifest edit.
//! If anything fails, or the engine closes, the new tables are removed, the inputs stay what they are, and the job is
//! picked again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base::sync::now;
use base::{Cursor, FamilyId};
use version::pick::{Compaction, pick_compaction, pick_range};
use version::{TableMeta, VersionEdit};

use crate::error::Error;
use crate::flush::Output;
use crate::read::level::LevelCursor;
use crate::read::merge::{Child, MergeCursor};
use crate::retention::Retention;
use crate::shared::Shared;
use crate::stats::{add, read};
use crate::tables::{TableHandle, Version};

const RETRY_MIN: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Compactions that somebody asked for: whole families, each worked down level by level.
#[derive(Debug, Default)]
pub(crate) struct ManualCompactions {
    waiting: VecDeque<(u64, FamilyId)>,
    next: u64,
    /// Requests up to here (exclusive) are done.
    done: u64,
    /// Whether a failed attempt is waiting to be tried again, and why.
    failure: Option<Arc<Error>>,
}

struct Job {
    family: FamilyId,
    /// Pins the inputs.
    version: Arc<Version>,
    compaction: Compaction<TableHandle>,
}

/// The compaction thread: compacts what is due until the engine closes.
pub(crate) fn run(shared: &Shared) {
    let mut retry = RETRY_MIN;
    let mut deadline = None;
    while shared.compaction_signal.wait(deadline) {
        deadline = None;
        while let Some(job) = shared.pick_job() {
            match shared.compact_job(job) {
                Ok(()) => retry = RETRY_MIN,
                Err(Error::Closed) => return,
                Err(error) => {
                    shared.compaction_failed(error);
                    deadline = Some(now() + retry);
                    retry = (retry * 2).min(RETRY_MAX);
                    break;
                }
            }
            if shared.compaction_signal.is_stopped() {
                return;
            }
        }
    }
}

impl Shared {
    /// Compacts all of a family, one level after the other, and waits for it.
    pub(crate) fn compact_family(&self, family: FamilyId) -> Result<(), Error> {
        let request = {
            let mut manual = self.manual.lock();
            let request = manual.next;
            manual.next += 1;
            manual.waiting.push_back((request, family));
            manual.failure = None;
            request
        };
        self.compaction_signal.notify();
        loop {
            let epoch = self.progress.epoch();
            self.health.check_writable()?;
            {
                let manual = self.manual.lock();
                if manual.done > request {
                    return Ok(());
                }
                if let Some(cause) = &manual.failure {
                    return Err(Error::CompactionFailing { source: Arc::clone(cause) });
                }
            }
            self.progress.wait_past(epoch, None);
        }
    }

    /// Waits until nothing is due and nothing runs.
    pub(crate) fn wait_for_compaction(&self) -> Result<(), Error> {
        let options = self.options.compaction();
        let failures = read(&self.counters.compaction_failures);
        loop {
            let epoch = self.progress.epoch();
            self.health.check_writable()?;
            let version = self.versions.current();
            if version.families().all(|f| pick_compaction(f.levels(), &options, &[]).is_none()) {
                return Ok(());
            }
            drop(version);
            if read(&self.counters.compaction_failures) > failures
                && let Some(source) = self.manual.lock().failure.clone()
            {
                return Err(Error::CompactionFailing { source });
            }
            self.compaction_signal.notify();
            self.progress.wait_past(epoch, None);
        }
    }

    fn compaction_failed(&self, error: Error) {
        add(&self.counters.compaction_failures, 1);
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "a compaction failed and will be tried again"
        );
        self.manual.lock().failure = Some(Arc::new(error));
        self.progress.notify();
    }

    /// What to do next: what is due by itself first, then what somebody asked for.
    fn pick_job(&self) -> Option<Job> {
        if self.health.has_failed() {
            return None;
        }
        let options = self.options.compaction();
        let version = self.versions.current();
        let due = version.families().filter_map(|family| {
            let compaction = pick_compaction(family.levels(), &options, &[])?;
            Some((family.id(), compaction))
        });
        // The family that is furthest behind.
        let due = due.max_by(|(_, a), (_, b)| a.score.total_cmp(&b.score));
        if let Some((family, compaction)) = due {
            return Some(Job { family, version, compaction });
        }
        self.pick_manual(version)
    }

    /// The next step of the oldest request; requests with nothing left to do are done.
    fn pick_manual(&self, version: Arc<Version>) -> Option<Job> {
        let options = self.options.compaction();
        let mut manual = self.manual.lock();
        while let Some(&(request, family)) = manual.waiting.front() {
            let step = version.levels(family).and_then(|levels| {
                // Every level that has a table, but the last.
                let upper =
                    (0..levels.depth().saturating_sub(1)).chain((levels.depth() == 1).then_some(0));
                let level = upper.into_iter().find(|&level| !levels.level(level).is_empty())?;
                let tables = levels.level(level);
                let first = tables.iter().map(|table| &table.meta.smallest.user_key).min()?;
                let last = tables.iter().map(|table| &table.meta.largest.user_key).max()?;
                pick_range(levels, &options, &[], level, first, last)
            });
            if let Some(compaction) = step {
                drop(manual);
                return Some(Job { family, version, compaction });
            }
            manual.waiting.pop_front();
            manual.done = request + 1;
            self.progress.notify();
        }
        None
    }

    fn compact_job(&self, job: Job) -> Result<(), Error> {
        let Job { family, version, compaction } = &job;
        let since = now();
        tracing::debug!(%family, ?compaction, "a compaction begins");
        let (from, to) = (compaction.level as u32, compaction.output_level as u32);
        let mut edit = VersionEdit::default();
        let mut handles = Vec::new();
        if compaction.is_trivial_move {
            for table in compaction.tables() {
                edit.move_table(*family, from, to, &table.meta);
            }
        } else {
            let tables = self.merge(*family, version, compaction)?;
            for (level, inputs) in [from, to].into_iter().zip(&compaction.inputs) {
                edit.removed_tables
                    .extend(inputs.iter().map(|table| (*family, level, table.meta.number)));
            }
            for meta in tables {
                handles.push(self.tables.open_written(&meta)?);
                edit.added_tables.push((*family, to, meta));
            }
            add(&self.counters.compaction_read_bytes, compaction.input_bytes());
        }
        if compaction.level == 0 {
            let bytes = compaction.inputs[0].iter().map(|table| table.meta.file_bytes).sum();
            self.gate.drained(bytes, now().duration_since(since));
        }
        self.install_compaction(edit, handles)?;
        add(&self.counters.compactions, 1);
        drop(job);
        self.progress.notify();
        Ok(())
    }

    fn install_compaction(
        &self,
        edit: VersionEdit,
        handles: Vec<TableHandle>,
    ) -> Result<(), Error> {
        let _install = self.install.lock();
        let version = self.apply(edit, handles)?;
        self.store_view(&self.commit.lock());
        self.update_stall(&version);
        Ok(())
    }

    /// Writes the merged inputs to new tables, durably. On a failure they are removed.
    fn merge(
        &self,
        family: FamilyId,
        version: &Version,
        compaction: &Compaction<TableHandle>,
    ) -> Result<Vec<TableMeta>, Error> {
        let mut written = Written { shared: self, tables: Vec::new() };
        self.merge_into(family, version, compaction, &mut written.tables)?;
        if !written.tables.is_empty() {
            self.tables.sync_dir()?;
        }
        add(
            &self.counters.compaction_bytes,
            written.tables.iter().map(|table| table.file_bytes).sum(),
        );
        Ok(std::mem::take(&mut written.tables))
    }

    fn merge_into(
        &self,
        family: FamilyId,
        version: &Version,
        compaction: &Compaction<TableHandle>,
        tables: &mut Vec<TableMeta>,
    ) -> Result<(), Error> {
        let mut cursor = self.inputs(compaction)?;
        let snapshots = self.snapshots.to_serve(|| self.visible());
        let mut retention = Retention::new(snapshots);
        let levels = version.levels(family).ok_or(Error::UnknownFamilyNumber { family })?;
        let is_bottom = |key: &[u8]| {
            compaction.is_bottommost
                || (compaction.output_level + 1..levels.depth())
                    .all(|level| levels.overlapping(level, key, key).next().is_none())
        };
        let mut output = Output::new(self.outputs());
        let mut last_key: Vec<u8> = Vec::new();
        cursor.seek_to_first()?;
        while cursor.is_valid() {
            let key = cursor.key();
            if retention.keeps(key, is_bottom) {
                if output.file_bytes() >= self.options.target_file_size_base
                    && last_key != key.user_key
                {
                    tables.extend(output.finish()?);
                    if self.health.is_closed() {
                        return Err(Error::Closed);
                    }
                }
                last_key.clear();
                last_key.extend_from_slice(key.user_key);
                output.writer()?.add(key, cursor.value())?;
            }
            cursor.next()?;
        }
        tables.extend(output.finish()?);
        Ok(())
    }

    fn inputs<'a>(
        &'a self,
        compaction: &'a Compaction<TableHandle>,
    ) -> Result<MergeCursor<'a>, Error> {
        let mut children = Vec::new();
        for (level, inputs) in
            [compaction.level, compaction.output_level].into_iter().zip(&compaction.inputs)
        {
            if level > 0 {
                children.push(Child::Level(LevelCursor::new(&self.tables, inputs)));
                continue;
            }
            for table in inputs {
                children.push(Child::Table(self.tables.reader(table)?.cursor()));
            }
        }
        Ok(MergeCursor::new(children))
    }
}

/// Tables that were written and are not installed; removed on drop.
struct Written<'a> {
    shared: &'a Shared,
    tables: Vec<TableMeta>,
}

impl Drop for Written<'_> {
    fn drop(&mut self) {
        for table in &self.tables {
            self.shared.tables.discard(table.number);
        }
    }
}
