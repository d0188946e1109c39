//! Runs are merged once reads have paid for it, though no level is above its target.
//!
//! A seek looks into every run that may hold its key, and a get into all that are newer than the one which has it. What
//! they find out in vain they pay for: an amount in bytes is put down to each table that was asked before the last one.
//! A compaction costs what it reads and writes. So a table, with what has to go along, goes down a level when its reads
//! have paid that much.
//!
//! Invariant: a payment goes with the table that it was put down to when that is rewritten, so all that such compactions
//! read and write is never more than what was paid.
//!
//! Source: LevelDB's seek compactions, by the file and by a fixed number of seeks.

use crate::levels::{FamilyLevels, SharedTable};
use crate::table::TableFile;

use super::{Claim, Compaction, CompactionOptions, CompactionReason, Inputs, Picker, Range};

/// What any compaction costs beside the bytes of its tables: two syncs, a manifest edit, readers that open. Also keeps
/// small databases from compacting after every other read.
const FIXED_BYTES: u64 = 1 << 20;

/// The compaction that reads have paid for, or `None` when there is none, or when a level is above its target: then
/// [`pick_compaction`](super::pick_compaction) has the word. `paid` says what was put down to a table, in bytes.
///
/// Level 0 goes first, its oldest tables with all that overlap them; then the table of a deeper level that has been paid
/// for best. Pure, as [`pick_compaction`](super::pick_compaction) is, and given the same claims.
#[must_use]
pub fn pick_reads<H>(
    levels: &FamilyLevels<H>,
    options: &CompactionOptions,
    claims: &[Claim],
    paid: impl Fn(&TableFile<H>) -> u64,
) -> Option<Compaction<H>> {
    let runs =
        levels.level(0).len() + levels.levels().skip(1).filter(|tables| !tables.is_empty()).count();
    if runs < 2 {
        return None;
    }
    let picker = Picker::new(levels, options, claims);
    if picker.is_due() {
        return None;
    }
    picker.paid_level0(&paid).or_else(|| picker.paid_deeper(&paid))
}

impl<H> Picker<'_, H> {
    fn paid_level0(&self, paid: &impl Fn(&TableFile<H>) -> u64) -> Option<Compaction<H>> {
        let oldest_first = self.levels.level(0).iter().rev();
        oldest_first.filter(|seed| self.is_free(seed)).find_map(|seed| {
            let closure = self.level0_closure(Range::of([&seed.meta])?);
            let inputs = self.with_overlaps(closure, self.targets.base_level)?;
            self.afforded(0, inputs, paid)
        })
    }

    fn paid_deeper(&self, paid: &impl Fn(&TableFile<H>) -> u64) -> Option<Compaction<H>> {
        // A level that has nothing beneath it is nobody's needless run.
        let last = self.levels.depth().saturating_sub(1);
        let tables = (self.targets.base_level..last)
            .flat_map(|level| self.levels.level(level).iter().map(move |table| (level, table)));
        tables
            .filter(|(_, table)| self.is_free(table) && paid(table) >= FIXED_BYTES)
            .filter_map(|(level, table)| {
                let inputs = self.with_overlaps(vec![SharedTable::clone(table)], level + 1)?;
                self.afforded(level, inputs, paid)
            })
            .max_by(|a, b| a.score.total_cmp(&b.score))
    }

    /// The compaction, if what was put down to the tables that go down is what it costs.
    fn afforded(
        &self,
        level: usize,
        inputs: Inputs<H>,
        paid: &impl Fn(&TableFile<H>) -> u64,
    ) -> Option<Compaction<H>> {
        let output_level = if level == 0 { self.targets.base_level } else { level + 1 };
        let is_trivial_move = inputs[0].len() == 1 && inputs[1].is_empty();
        let paid: u64 = inputs[0].iter().map(|table| paid(table)).fold(0, u64::saturating_add);
        let bytes: u64 = inputs.iter().flatten().map(|table| table.meta.file_bytes).sum();
        let cost = FIXED_BYTES + if is_trivial_move { 0 } else { bytes.saturating_mul(2) };
        if paid < cost {
            return None;
        }
        let score = paid as f64 / cost as f64;
        let reason = CompactionReason::Reads;
        Some(self.compaction(level, output_level, inputs, reason, score, is_trivial_move))
    }
}
