//! What to compact next: pure functions of the levels, the options and the jobs that are running.
//!
//! Algorithm: levels are scored by how far they are above their targets ([`targets`]), and tried from the highest score
//! of at least 1 down. From level 0 go the oldest free tables with all that overlap them, directly or by way of others,
//! to the base level; from a deeper level goes the one table that has the least to be merged with, in proportion to its
//! size. When no level is above its target, tables that are mostly tombstones go (`pick/tombstones.rs`), and then those
//! whose merging reads have paid for (`pick/reads.rs`).
//!
//! Invariants:
//! - newer data never sinks below older data of the same key: what leaves level 0 takes every table of level 0 with it
//!   that it overlaps, and no level between its own and the one it goes to holds a table;
//! - two running jobs have no table in common, and no two jobs write overlapping key ranges into one level;
//! - a table is moved without being rewritten only when it overlaps nothing in the level that it goes to.
//!
//! Source: Dong et al., "Optimizing Space Amplification in RocksDB", CIDR 2017 (dynamic level sizes).

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use base::FileNumber;

use crate::levels::{FamilyLevels, SharedTable};
use crate::table::TableMeta;

mod debt;
mod options;
mod reads;
mod targets;
#[cfg(test)]
mod tests;
mod tombstones;

pub use debt::{DebtLimits, Progress, debt_score, pending_compaction_bytes};
pub use options::{CompactionOptions, OptionError};
pub use reads::pick_reads;
pub use targets::{Targets, targets};
pub use tombstones::{Leftovers, pick_leftovers};

/// Why a compaction was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompactionReason {
    /// Level 0 has too many tables.
    Level0Tables,
    /// Level 0 has too many bytes.
    Level0Bytes,
    /// A deeper level is above its target.
    LevelBytes,
    /// A table is mostly tombstones.
    Tombstones,
    /// Reads have looked into its tables in vain as often as it is worth.
    Reads,
    /// It was asked for.
    Manual,
}

impl fmt::Display for CompactionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Level0Tables => "level 0 has too many tables",
            Self::Level0Bytes => "level 0 has too many bytes",
            Self::LevelBytes => "the level is above its target",
            Self::Tombstones => "a table is mostly tombstones",
            Self::Reads => "reads have paid for it",
            Self::Manual => "asked for",
        })
    }
}

/// A compaction to do: which tables to merge, and where the result goes.
pub struct Compaction<H> {
    /// The level that the tables to be moved down are in.
    pub level: usize,
    /// The level that the result goes to: a deeper one, or the same, where a table is rewritten in its place.
    pub output_level: usize,
    /// The tables of `level`, in the level's order, and those of `output_level` that they overlap, by key.
    pub inputs: [Vec<SharedTable<H>>; 2],
    /// Why it was picked.
    pub reason: CompactionReason,
    /// The level's score: its size by its target. Of one that reads have paid for, what they paid by what it costs.
    pub score: f64,
    /// Whether the one table can go to the output level as it is.
    pub is_trivial_move: bool,
    /// Whether no deeper level holds a key of the inputs' range: tombstones that no snapshot needs can go.
    pub is_bottommost: bool,
}

impl<H> Compaction<H> {
    /// All inputs, those of the upper level first.
    pub fn tables(&self) -> impl Iterator<Item = &SharedTable<H>> {
        self.inputs.iter().flatten()
    }

    /// The sum of the inputs' lengths, in bytes.
    #[must_use]
    pub fn input_bytes(&self) -> u64 {
        self.tables().map(|table| table.meta.file_bytes).sum()
    }

    /// What the compaction keeps others from, to be given to [`pick_compaction`] while it runs.
    #[must_use]
    pub fn claim(&self) -> Claim {
        let range = Range::of(self.tables().map(|table| &table.meta));
        let (first, last) = range.map_or((&[][..], &[][..]), |range| (range.first, range.last));
        Claim {
            tables: self.tables().map(|table| table.meta.number).collect(),
            output_level: self.output_level,
            first: first.into(),
            last: last.into(),
        }
    }
}

impl<H> fmt::Debug for Compaction<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = |tables: &[SharedTable<H>]| -> Vec<u64> {
            tables.iter().map(|table| table.meta.number.get()).collect()
        };
        f.debug_struct("Compaction")
            .field("level", &self.level)
            .field("output_level", &self.output_level)
            .field("inputs", &[numbers(&self.inputs[0]), numbers(&self.inputs[1])])
            .field("reason", &self.reason)
            .field("score", &self.score)
            .field("is_trivial_move", &self.is_trivial_move)
            .field("is_bottommost", &self.is_bottommost)
            .finish()
    }
}

/// What a running compaction keeps others from: its tables, and its key range in the level that it writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The tables that it reads and will remove.
    pub tables: Vec<FileNumber>,
    /// The level that it writes to.
    pub output_level: usize,
    /// The first user key that it may write.
    pub first: Box<[u8]>,
    /// The last user key that it may write, inclusive.
    pub last: Box<[u8]>,
}

/// A range of user keys, both ends inclusive.
#[derive(Clone, Copy, PartialEq)]
struct Range<'a> {
    first: &'a [u8],
    last: &'a [u8],
}

impl<'a> Range<'a> {
    /// The least range that holds all of the tables; `None` without tables.
    fn of(tables: impl IntoIterator<Item = &'a TableMeta>) -> Option<Self> {
        tables.into_iter().fold(None, |range: Option<Self>, table| {
            let (first, last) = (&*table.smallest.user_key, &*table.largest.user_key);
            Some(match range {
                None => Self { first, last },
                Some(range) => Self { first: range.first.min(first), last: range.last.max(last) },
            })
        })
    }
}

/// The most urgent compaction that can run beside those that hold `claims`, or `None` when no level is above its
/// target or those that are have no free table, and no table is mostly tombstones.
///
/// Pure: the same arguments give the same answer. The caller adds the answer's [`Compaction::claim`] to `claims` until
/// the compaction's edit is applied or given up.
#[must_use]
pub fn pick_compaction<H>(
    levels: &FamilyLevels<H>,
    options: &CompactionOptions,
    claims: &[Claim],
) -> Option<Compaction<H>> {
    let picker = Picker::new(levels, options, claims);
    let mut scores = picker.scores();
    scores.retain(|&(_, score, _)| score >= 1.0);
    // Stable: of equal scores the upper level goes first.
    scores.sort_by(|a, b| b.1.total_cmp(&a.1));
    let due = scores.into_iter().find_map(|(level, score, reason)| {
        let picked = if level == 0 { picker.pick_level0() } else { picker.pick_level(level) };
        picked.map(|(inputs, output_level)| {
            let is_trivial_move = inputs[0].len() == 1 && inputs[1].is_empty();
            picker.compaction(level, output_level, inputs, reason, score, is_trivial_move)
        })
    });
    due.or_else(|| picker.pick_tombstones())
}

/// The compaction of all tables of `level` that have a user key in `[first, last]`, both ends inclusive, into the next
/// level (from level 0: the base level), however full the levels are. `None` when there are none, when there is no next
/// level, or when a running job has some of them: wait for that one and ask again.
#[must_use]
pub fn pick_range<H>(
    levels: &FamilyLevels<H>,
    options: &CompactionOptions,
    claims: &[Claim],
    level: usize,
    first: &[u8],
    last: &[u8],
) -> Option<Compaction<H>> {
    let picker = Picker::new(levels, options, claims);
    let output_level = if level == 0 { picker.targets.base_level } else { level + 1 };
    if output_level > picker.targets.deepest() {
        return None;
    }
    let chosen = levels.overlapping(level, first, last);
    let upper = if level == 0 {
        picker.level0_closure(Range::of(chosen.map(|table| &table.meta))?)
    } else {
        chosen.cloned().collect()
    };
    let inputs = picker.with_overlaps(upper, output_level)?;
    Some(picker.compaction(level, output_level, inputs, CompactionReason::Manual, 0.0, false))
}

/// What one pick looks at.
struct Picker<'a, H> {
    levels: &'a FamilyLevels<H>,
    options: &'a CompactionOptions,
    claims: &'a [Claim],
    busy: HashSet<FileNumber>,
    targets: Targets,
}

type Inputs<H> = [Vec<SharedTable<H>>; 2];

impl<'a, H> Picker<'a, H> {
    fn new(
        levels: &'a FamilyLevels<H>,
        options: &'a CompactionOptions,
        claims: &'a [Claim],
    ) -> Self {
        let busy = claims.iter().flat_map(|claim| claim.tables.iter().copied()).collect();
        Self { levels, options, claims, busy, targets: targets(levels, options) }
    }

    fn is_free(&self, table: &SharedTable<H>) -> bool {
        !self.busy.contains(&table.meta.number)
    }

    /// Each level's score and what it counts, by what is not being compacted already.
    fn scores(&self) -> Vec<(usize, f64, CompactionReason)> {
        let free =
            |level: usize| self.levels.level(level).iter().filter(|table| self.is_free(table));
        let free_bytes = |level| free(level).map(|table| table.meta.file_bytes).sum::<u64>() as f64;
        let trigger = f64::from(self.options.level0_file_num_compaction_trigger);
        let by_tables = free(0).count() as f64 / trigger;
        let by_bytes = free_bytes(0) / self.options.level_base_bytes as f64;
        let mut scores = vec![if by_tables >= by_bytes {
            (0, by_tables, CompactionReason::Level0Tables)
        } else {
            (0, by_bytes, CompactionReason::Level0Bytes)
        }];
        for level in self.targets.base_level..self.targets.deepest() {
            let score = free_bytes(level) / self.targets.bytes[level] as f64;
            scores.push((level, score, CompactionReason::LevelBytes));
        }
        scores
    }

    /// Whether a level is above its target.
    fn is_due(&self) -> bool {
        self.scores().iter().any(|&(_, score, _)| score >= 1.0)
    }

    /// The oldest tables of level 0 that are free together with all they overlap, and their output level.
    fn pick_level0(&self) -> Option<(Inputs<H>, usize)> {
        let output_level = self.targets.base_level;
        let oldest_first = self.levels.level(0).iter().rev();
        oldest_first
            .filter(|seed| self.is_free(seed))
            .find_map(|seed| {
                let closure = self.level0_closure(Range::of([&seed.meta])?);
                self.with_overlaps(closure, output_level)
            })
            .map(|inputs| (inputs, output_level))
    }

    /// The tables of level 0 that overlap `range`, those that overlap one of these, and so on.
    fn level0_closure<'r>(&'r self, mut range: Range<'r>) -> Vec<SharedTable<H>> {
        loop {
            let inside: Vec<_> = self.levels.overlapping(0, range.first, range.last).collect();
            match Range::of(inside.iter().map(|table| &table.meta)) {
                Some(wider) if wider != range => range = wider,
                _ => return inside.into_iter().cloned().collect(),
            }
        }
    }

    /// The free table of a level that has the least to be merged with in the next one, by its own size.
    fn pick_level(&self, level: usize) -> Option<(Inputs<H>, usize)> {
        let output_level = level + 1;
        let mut best: Option<(f64, Inputs<H>)> = None;
        for table in self.levels.level(level).iter().filter(|table| self.is_free(table)) {
            let meta = &table.meta;
            let (first, last) = (&meta.smallest.user_key, &meta.largest.user_key);
            let overlap = self.levels.overlapping(output_level, first, last);
            let bytes: u64 = overlap.map(|other| other.meta.file_bytes).sum();
            let ratio = bytes as f64 / meta.file_bytes.max(1) as f64;
            if best.as_ref().is_some_and(|(least, _)| ratio >= *least) {
                continue;
            }
            if let Some(inputs) = self.with_overlaps(vec![Arc::clone(table)], output_level) {
                best = Some((ratio, inputs));
            }
        }
        best.map(|(_, inputs)| (inputs, output_level))
    }

    /// The tables with what they overlap in the output level; `None` without tables or when a running job is in the
    /// way.
    fn with_overlaps(&self, upper: Vec<SharedTable<H>>, output_level: usize) -> Option<Inputs<H>> {
        let range = Range::of(upper.iter().map(|table| &table.meta))?;
        let lower: Vec<_> =
            self.levels.overlapping(output_level, range.first, range.last).cloned().collect();
        let all = || upper.iter().chain(&lower);
        if !all().all(|table| self.is_free(table)) {
            return None;
        }
        let range = Range::of(all().map(|table| &table.meta))?;
        let is_in_the_way = |claim: &Claim| {
            claim.output_level == output_level
                && &*claim.first <= range.last
                && range.first <= &*claim.last
        };
        if self.claims.iter().any(is_in_the_way) {
            return None;
        }
        Some([upper, lower])
    }

    /// Whether no level below `level` has a key of this range, both ends inclusive.
    fn is_bottommost(&self, level: usize, first: &[u8], last: &[u8]) -> bool {
        (level + 1..self.levels.depth())
            .all(|deeper| self.levels.overlapping(deeper, first, last).next().is_none())
    }

    fn compaction(
        &self,
        level: usize,
        output_level: usize,
        inputs: Inputs<H>,
        reason: CompactionReason,
        score: f64,
        is_trivial_move: bool,
    ) -> Compaction<H> {
        let range = Range::of(inputs.iter().flatten().map(|table| &table.meta));
        let is_bottommost =
            range.is_none_or(|range| self.is_bottommost(output_level, range.first, range.last));
        Compaction { level, output_level, inputs, reason, score, is_trivial_move, is_bottommost }
    }
}
