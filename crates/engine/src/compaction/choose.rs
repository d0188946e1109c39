//! What is compacted next: what is due, then what somebody asked for, then what snapshots have left over, then what reads
//! have paid for.

use std::collections::VecDeque;

use base::{FamilyId, SeqNo};
use version::VersionNumber;
use version::pick::{Claim, Compaction, pick_compaction, pick_leftovers, pick_range, pick_reads};

use crate::compaction::Job;
use crate::error::Error;
use crate::shared::Shared;
use crate::stats::read;
use crate::tables::{FamilyLevels, TableHandle, Version};

/// Compactions that somebody asked for: whole families, each worked down level by level.
#[derive(Debug, Default)]
pub(crate) struct ManualCompactions {
    waiting: VecDeque<(u64, FamilyId)>,
    next: u64,
    /// Requests up to here (exclusive) are done.
    done: u64,
}

/// Rewritings in place that failed. Nobody needs them at once, so none is tried again before the tables have changed.
#[derive(Debug, Default)]
pub(crate) struct GivenUp {
    /// As of this version.
    version: Option<VersionNumber>,
    claims: Vec<Claim>,
}

impl GivenUp {
    fn add(&mut self, version: VersionNumber, claim: Claim) {
        if self.version != Some(version) {
            *self = Self { version: Some(version), claims: Vec::new() };
        }
        self.claims.push(claim);
    }

    fn as_of(&self, version: VersionNumber) -> Vec<Claim> {
        if self.version == Some(version) { self.claims.clone() } else { Vec::new() }
    }
}

/// A compaction, and the family that it is of.
type Picked = (FamilyId, Compaction<TableHandle>);

impl Shared {
    /// Compacts all of a family, one level after the other, and waits for it.
    pub(crate) fn compact_family(&self, family: FamilyId) -> Result<(), Error> {
        let request = {
            let mut manual = self.manual.lock();
            let request = manual.next;
            manual.next += 1;
            manual.waiting.push_back((request, family));
            request
        };
        let failures = read(&self.counters.compaction_failures);
        self.compaction_signal.notify();
        loop {
            let epoch = self.progress.epoch();
            self.health.check_writable()?;
            {
                let manual = self.manual.lock();
                if manual.done > request {
                    return Ok(());
                }
            }
            self.check_compaction(failures)?;
            self.progress.wait_past(epoch, None);
        }
    }

    /// Waits until nothing is due and nothing runs.
    pub(crate) fn wait_for_compaction(&self) -> Result<(), Error> {
        let failures = read(&self.counters.compaction_failures);
        loop {
            let epoch = self.progress.epoch();
            self.health.check_writable()?;
            let version = self.versions.current();
            if self.unasked(&version).is_none() {
                return Ok(());
            }
            drop(version);
            self.check_compaction(failures)?;
            self.compaction_signal.notify();
            self.progress.wait_past(epoch, None);
        }
    }

    /// Refuses when a compaction has failed since there were `failures` of them.
    fn check_compaction(&self, failures: u64) -> Result<(), Error> {
        if read(&self.counters.compaction_failures) > failures
            && let Some(source) = self.health.last_compaction_failure()
        {
            return Err(Error::CompactionFailing { source });
        }
        Ok(())
    }

    /// What to do next.
    pub(super) fn pick_job(&self) -> Option<Job> {
        if self.health.has_failed() {
            return None;
        }
        let version = self.versions.current();
        let (family, compaction) = self
            .due(&version)
            .or_else(|| self.pick_manual(&version))
            .or_else(|| self.left_over(&version))
            .or_else(|| self.paid_for(&version))?;
        Some(Job { family, version, compaction })
    }

    /// What is to be done though nobody has asked for it.
    fn unasked(&self, version: &Version) -> Option<Picked> {
        self.due(version).or_else(|| self.left_over(version)).or_else(|| self.paid_for(version))
    }

    /// What the levels ask for; of several families the one that is furthest behind.
    fn due(&self, version: &Version) -> Option<Picked> {
        let options = self.options.compaction();
        of_families(version, |levels| pick_compaction(levels, &options, &[]))
    }

    /// Sees to it that a compaction that has failed, and can wait, is not tried again and again.
    pub(super) fn give_up(&self, job: &Job) {
        let compaction = &job.compaction;
        if compaction.level == compaction.output_level {
            self.given_up.lock().add(job.version.number(), compaction.claim());
        }
    }

    /// What snapshots kept and nobody needs any more. Where one is still open, its release wakes the compaction thread.
    fn left_over(&self, version: &Version) -> Option<Picked> {
        let options = self.options.compaction();
        let given_up = self.given_up.lock().as_of(version.number());
        loop {
            let oldest = self.snapshots.oldest();
            let mut held_until: Option<SeqNo> = None;
            let picked = of_families(version, |levels| {
                let left = pick_leftovers(levels, &options, &given_up, oldest);
                held_until = held_until.into_iter().chain(left.held_until).min();
                left.compaction
            });
            // The one that held it may have gone while this was looked at.
            let is_past = || held_until.is_some_and(|at| self.snapshots.is_past(at));
            if picked.is_some() || !is_past() {
                return picked;
            }
        }
    }

    /// What reads have paid for, while nobody waits for compaction.
    fn paid_for(&self, version: &Version) -> Option<Picked> {
        if !self.gate.is_open() {
            return None;
        }
        let options = self.options.compaction();
        of_families(version, |levels| {
            pick_reads(levels, &options, &[], |table| table.handle.account.bytes())
        })
    }

    /// The next step of the oldest request; requests with nothing left to do are done.
    fn pick_manual(&self, version: &Version) -> Option<Picked> {
        let options = self.options.compaction();
        let mut is_news = false;
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
                if is_news {
                    self.progress.notify();
                }
                return Some((family, compaction));
            }
            manual.waiting.pop_front();
            manual.done = request + 1;
            is_news = true;
        }
        drop(manual);
        if is_news {
            self.progress.notify();
        }
        None
    }
}

/// The compaction of the highest score that `pick` finds in any family.
fn of_families(
    version: &Version,
    mut pick: impl FnMut(&FamilyLevels) -> Option<Compaction<TableHandle>>,
) -> Option<Picked> {
    let picked =
        version.families().filter_map(|family| Some((family.id(), pick(family.levels())?)));
    picked.max_by(|(_, a), (_, b)| a.score.total_cmp(&b.score))
}
