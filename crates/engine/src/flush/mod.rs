//! The flush: sealed memtables become one table of level 0, and give back their memory and their log.
//!
//! 1. *Pick* the sealed memtables of one family, oldest first, all that wait.
//! 2. *Wait* until everything up to the last reservation before the seal is visible: then nobody writes to them.
//! 3. *Write* them, merged, without the versions that no snapshot sees; sync the file and the directory.
//! 4. Where there are several families, *sync the log* as far as the memtables reach: a batch must not lose its other
//!    half in a family that is not flushed.
//! 5. *Install* the table, the family's flushed sequence number and the log's new beginning with one manifest edit;
//!    then take the memtables out of the view, so that their credits return with the last reader, and let go of the
//!    log's old segments.
//!
//! If anything fails, the memtables are as before: readable, charged, waiting; the flush is tried again (C9). Memtables
//! of one family are installed in order, since one flush of a family runs at a time and takes the oldest.

use std::sync::Arc;
use std::time::Duration;

use base::sync::now;
use base::{FamilyId, SegmentNumber, SeqNo};
use memtable::Memtable;
use version::{ApplyError, VersionEdit};

use crate::commit::state::{CommitState, FlushReason, LastReservation};
use crate::error::Error;
use crate::shared::Shared;
use crate::stats::{add, read};
use crate::tables::{TableHandle, Version};

mod output;
pub(crate) use output::{Output, Outputs, Unapplied};

const RETRY_MIN: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// The memtables that one flush takes.
struct Job {
    family: FamilyId,
    memtables: Vec<Arc<Memtable>>,
    last: Option<LastReservation>,
    max_seq: SeqNo,
}

/// The flush thread: flushes what is sealed until the engine closes.
pub(crate) fn run(shared: &Shared) {
    let mut retry = RETRY_MIN;
    while shared.flush_signal.wait() {
        while let Some(job) = shared.pick_flush() {
            if shared.flush_signal.is_stopped() {
                shared.give_up_flush(&job);
                return;
            }
            match shared.flush_job(&job) {
                Ok(()) => {
                    retry = RETRY_MIN;
                    drop(job); // its memory comes back before anybody looks whether it is enough
                    shared.flush_succeeded();
                }
                Err(error) => {
                    shared.give_up_flush(&job);
                    shared.flush_failed(error);
                    if !shared.flush_signal.pause_until(now() + retry) {
                        return;
                    }
                    retry = (retry * 2).min(RETRY_MAX);
                }
            }
        }
    }
}

impl Shared {
    /// Seals every memtable that holds anything and waits until those, and no later ones, are flushed.
    pub(crate) fn flush_all(&self, reason: FlushReason) -> Result<(), Error> {
        let waited: Vec<u64> = {
            let mut state = self.commit.lock();
            self.health.check_writable()?;
            for at in 0..state.families.len() {
                self.seal(&mut state, at, reason);
            }
            state
                .families
                .iter()
                .flat_map(|f| &f.sealed)
                .map(|sealed| sealed.memtable.id())
                .collect()
        };
        let failures = read(&self.counters.flush_failures);
        self.flush_signal.notify();
        loop {
            let epoch = self.progress.epoch();
            let is_done = {
                let state = self.commit.lock();
                let mut sealed = state.families.iter().flat_map(|f| &f.sealed);
                !sealed.any(|sealed| waited.contains(&sealed.memtable.id()))
            };
            if is_done {
                return Ok(());
            }
            self.health.check_writable()?;
            if read(&self.counters.flush_failures) > failures
                && let Some(source) = self.health.last_flush_failure()
            {
                return Err(Error::FlushFailing { source });
            }
            self.progress.wait_past(epoch, None);
        }
    }

    /// Takes the sealed memtables of the family whose oldest one holds the oldest log segment.
    fn pick_flush(&self) -> Option<Job> {
        if self.health.has_failed() {
            return None; // after a failure the disk is left as it is
        }
        let mut state = self.commit.lock();
        let family = state
            .families
            .iter_mut()
            .filter(|family| family.sealed.first().is_some_and(|sealed| !sealed.is_flushing))
            .min_by_key(|family| family.sealed[0].first_segment)?;
        for sealed in &mut family.sealed {
            sealed.is_flushing = true;
        }
        let newest = family.sealed.last()?;
        tracing::debug!(family = %family.id, reason = ?newest.reason, memtables = family.sealed.len(), "a flush begins");
        Some(Job {
            family: family.id,
            memtables: family.sealed.iter().map(|sealed| Arc::clone(&sealed.memtable)).collect(),
            last: newest.last,
            max_seq: newest.max_seq,
        })
    }

    /// Puts the job's memtables back among those that wait.
    fn give_up_flush(&self, job: &Job) {
        if let Some(family) = self.commit.lock().family_mut(job.family) {
            for sealed in family.sealed.iter_mut().take(job.memtables.len()) {
                sealed.is_flushing = false;
            }
        }
    }

    fn flush_succeeded(&self) {
        self.health.flush_succeeded();
        self.progress.notify();
        // Memory has come back; if it is not enough for those who wait, the next memtable goes.
        if self.are_credits_sought() {
            self.relieve();
        }
    }

    fn flush_failed(&self, error: Error) {
        if self.health.is_closed() {
            return;
        }
        add(&self.counters.flush_failures, 1);
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "a flush failed and will be tried again"
        );
        if let Some(cause) = self.health.flush_failed(Arc::new(error)) {
            self.pool.interrupt(cause);
        }
        self.progress.notify();
    }

    fn flush_job(&self, job: &Job) -> Result<(), Error> {
        if let Some(last) = job.last {
            self.ring.wait(last.ticket, last.seq.get()).map_err(|_| self.health.refusal())?;
        }
        let snapshots = self.snapshots.to_serve(|| self.visible());
        let written = self.outputs().write_memtables(&job.memtables, snapshots)?;
        add(
            &self.counters.flush_bytes,
            written.tables().iter().map(|table| table.file_bytes).sum(),
        );
        let is_shared = self.commit.lock().families.len() > 1;
        if let (true, Some(log_end)) = (is_shared, job.last.and_then(|last| last.log_end)) {
            self.sync_log(log_end)?;
        }
        self.install_flush(job, written)?;
        self.walks.revoke();
        add(&self.counters.flushes, 1);
        self.compaction_signal.notify();
        Ok(())
    }

    fn install_flush(&self, job: &Job, written: Unapplied<'_>) -> Result<(), Error> {
        let handles = written.open()?;
        let _install = self.install.lock();
        let log_from = self.log_from_without(job);
        let edit = VersionEdit {
            added_tables: written
                .tables()
                .iter()
                .map(|meta| (job.family, 0, meta.clone()))
                .collect(),
            flushed_seq: vec![(job.family, job.max_seq)],
            // Another family's memtable may have been sealed later and flushed before.
            last_seq: Some(job.max_seq.max(self.versions.last_seq())),
            log_from: Some(log_from),
            log_durable: self.wal.durable_place(),
            ..VersionEdit::default()
        };
        let version = self.apply(edit, handles, written)?;
        {
            let mut state = self.commit.lock();
            if let Some(family) = state.family_mut(job.family) {
                family.sealed.drain(..job.memtables.len());
            }
            self.store_view(&state);
        }
        self.update_stall(&version);
        self.retire_log(log_from);
        Ok(())
    }

    /// The first log segment that is needed once `job` is done.
    fn log_from_without(&self, job: &Job) -> SegmentNumber {
        let state = self.commit.lock();
        let oldest = |state: &CommitState| {
            let needed = state.families.iter().filter_map(|family| {
                let done = if family.id == job.family { job.memtables.len() } else { 0 };
                let sealed = family.sealed[done..].iter().map(|sealed| sealed.first_segment);
                sealed.chain(family.first_segment).min()
            });
            needed.min()
        };
        // With nothing unflushed, the next record goes to the current segment or a later one.
        oldest(&state).unwrap_or_else(|| self.wal.current_segment())
    }

    /// Removes log segments that no restart will read; what cannot be removed now is removed at the next start.
    fn retire_log(&self, keep_from: SegmentNumber) {
        if let Err(error) = self.wal.retire_before(keep_from) {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "old log segments stay until the next start");
        }
    }

    /// Applies an edit that adds the tables of `written`. If it was certainly not applied, they are removed; if that is
    /// unknown, they stay until a later edit is applied, with which the unknown ends. The caller holds `install`.
    pub(crate) fn apply(
        &self,
        edit: VersionEdit,
        handles: Vec<TableHandle>,
        written: Unapplied<'_>,
    ) -> Result<Arc<Version>, Error> {
        match self.versions.apply(edit, handles) {
            Ok(version) => {
                written.keep();
                let doubtful = std::mem::take(&mut *self.doubtful.lock());
                doubtful.into_iter().for_each(|number| self.tables.discard(number));
                Ok(version)
            }
            Err(error) => {
                if matches!(error, ApplyError::InDoubt(_)) {
                    self.doubtful.lock().extend(written.tables().iter().map(|meta| meta.number));
                    written.keep();
                }
                Err(error.into())
            }
        }
    }

    /// What writing a table needs.
    pub(crate) fn outputs(&self) -> Outputs<'_> {
        Outputs {
            versions: &self.versions,
            tables: &self.tables,
            options: &self.options,
            jobs: &self.budget.jobs,
            helpers: &self.compression,
            health: &self.health,
        }
    }
}
