//! How far compaction is behind, in figures that writers are slowed by.

use super::{CompactionOptions, OptionError, targets};
use crate::levels::FamilyLevels;

/// From where on writers are slowed and stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebtLimits {
    /// Writers are slowed when level 0 has this many tables; at least 1. Default 20.
    pub level0_slowdown_writes_trigger: u32,
    /// Writers are stopped when level 0 has this many tables; above the one before. Default 36.
    pub level0_stop_writes_trigger: u32,
    /// Writers are slowed when this many bytes wait to be compacted; at least 1. Default 64 GiB.
    pub soft_pending_compaction_bytes: u64,
    /// Writers are stopped when this many bytes wait to be compacted; above the one before. Default 256 GiB.
    pub hard_pending_compaction_bytes: u64,
}

impl Default for DebtLimits {
    fn default() -> Self {
        Self {
            level0_slowdown_writes_trigger: 20,
            level0_stop_writes_trigger: 36,
            soft_pending_compaction_bytes: 64 << 30,
            hard_pending_compaction_bytes: 256 << 30,
        }
    }
}

impl DebtLimits {
    /// Whether each limit is within its bounds.
    ///
    /// # Errors
    /// The first one that is not.
    pub fn validate(&self) -> Result<(), OptionError> {
        let refuse = |option, found, bounds| Err(OptionError { option, found, bounds });
        if self.level0_slowdown_writes_trigger == 0 {
            return refuse("level0_slowdown_writes_trigger", 0, "at least 1");
        }
        if self.level0_stop_writes_trigger <= self.level0_slowdown_writes_trigger {
            let found = self.level0_stop_writes_trigger.into();
            let bounds = "above level0_slowdown_writes_trigger";
            return refuse("level0_stop_writes_trigger", found, bounds);
        }
        if self.soft_pending_compaction_bytes == 0 {
            return refuse("soft_pending_compaction_bytes", 0, "at least 1");
        }
        if self.hard_pending_compaction_bytes <= self.soft_pending_compaction_bytes {
            let found = self.hard_pending_compaction_bytes;
            let bounds = "above soft_pending_compaction_bytes";
            return refuse("hard_pending_compaction_bytes", found, bounds);
        }
        Ok(())
    }
}

/// What running compactions have done already, though their inputs are still there.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Tables of level 0 that are worked off: for each running job that has some, their number times the part of the
    /// job's input that is done.
    pub level0_tables: f64,
    /// Input bytes that are worked off.
    pub bytes: u64,
}

/// The bytes that compaction has to read and write until no level is above its target, estimated by passing what is too
/// much in each level on to the next.
///
/// Level 0 counts in proportion to how near it is to being compacted, so that the figure grows with each table instead
/// of jumping when the last one before the trigger comes.
#[must_use]
pub fn pending_compaction_bytes<H>(levels: &FamilyLevels<H>, options: &CompactionOptions) -> u64 {
    let targets = targets(levels, options);
    let level0 = levels.bytes(0) as f64;
    let trigger = f64::from(options.level0_file_num_compaction_trigger.max(1));
    let by_tables = levels.level(0).len() as f64 / trigger;
    let by_bytes = level0 / options.level_base_bytes.max(1) as f64;
    let part = by_tables.max(by_bytes).min(1.0);
    let mut incoming = level0 * part;
    // Level 0 overlaps the whole base level; a deeper level's excess overlaps its share of the next one.
    let mut pending = if incoming > 0.0 {
        incoming + levels.bytes(targets.base_level) as f64 * part
    } else {
        0.0
    };
    for level in targets.base_level..targets.deepest() {
        let size = levels.bytes(level) as f64 + incoming;
        incoming = (size - targets.bytes[level] as f64).max(0.0);
        if incoming > 0.0 {
            pending += incoming * (1.0 + levels.bytes(level + 1) as f64 / size);
        }
    }
    pending as u64
}

/// The debt as one figure: 0 without debt, 1 where writers begin to be slowed, 2 where they stop, and in proportion
/// between; the larger one of what level 0 and the pending bytes give. Can exceed 2.
///
/// `progress` is taken off, so that the figure falls while a job runs and not only when it ends.
#[must_use]
pub fn debt_score<H>(
    levels: &FamilyLevels<H>,
    options: &CompactionOptions,
    limits: &DebtLimits,
    progress: Progress,
) -> f64 {
    let tables = (levels.level(0).len() as f64 - progress.level0_tables).max(0.0);
    let by_tables = between(
        tables,
        f64::from(limits.level0_slowdown_writes_trigger),
        f64::from(limits.level0_stop_writes_trigger),
    );
    let pending = pending_compaction_bytes(levels, options).saturating_sub(progress.bytes);
    let by_bytes = between(
        pending as f64,
        limits.soft_pending_compaction_bytes as f64,
        limits.hard_pending_compaction_bytes as f64,
    );
    by_tables.max(by_bytes)
}

/// 1 at `soft`, 2 at `hard`, linear from 0 to the one, and from there through the other.
fn between(figure: f64, soft: f64, hard: f64) -> f64 {
    if figure <= soft {
        figure / soft.max(1.0)
    } else {
        1.0 + (figure - soft) / (hard - soft).max(1.0)
    }
}
