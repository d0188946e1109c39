//! Tables that are mostly tombstones go down though no level is above its target.
//!
//! A reader steps over every tombstone and over what it hides, so a range of which nine in ten keys are deleted costs ten
//! times what it should, and a seek into a run of a million tombstones costs a walk over all of them, until a compaction
//! brings them to what they delete. So a table of which at least half is tombstones is compacted when nothing else is due,
//! if at least one in eight of all the entries that would be rewritten for it is a tombstone: what is written is then in
//! proportion to what goes.
//!
//! Invariant: such a table goes down a level, and none is picked from the last level that there can be; so after as many
//! picks as there are levels it is gone, or stays where a snapshot needs it.

use std::sync::Arc;

use crate::levels::SharedTable;
use crate::table::TableMeta;

use super::{Compaction, CompactionReason, Inputs, Picker};

/// Of so many entries one must be a tombstone, in the table itself.
const DENSE_PART: u64 = 2;
/// And so in all that would be rewritten.
const WORTH_PART: u64 = 8;

impl<H> Picker<'_, H> {
    /// The first compaction, from level 0 down, that tombstones are reason enough for.
    pub(super) fn pick_tombstones(&self) -> Option<Compaction<H>> {
        self.dense(0)
            .find_map(|table| {
                let closure = self.level0_closure(super::Range::of([&table.meta])?);
                self.worth(0, self.with_overlaps(closure, self.targets.base_level)?)
            })
            .or_else(|| {
                (self.targets.base_level..self.targets.deepest()).find_map(|level| {
                    self.dense(level).find_map(|table| {
                        let inputs = self.with_overlaps(vec![Arc::clone(table)], level + 1)?;
                        self.worth(level, inputs)
                    })
                })
            })
    }

    /// The free tables of a level that are mostly tombstones, the oldest of level 0 first.
    fn dense(&self, level: usize) -> impl Iterator<Item = &SharedTable<H>> {
        let tables = self.levels.level(level).iter().rev();
        tables.filter(|table| self.is_free(table) && is_dense(&table.meta))
    }

    fn worth(&self, level: usize, inputs: Inputs<H>) -> Option<Compaction<H>> {
        let sum = |of: fn(&TableMeta) -> u64, tables: &[SharedTable<H>]| {
            tables.iter().map(|table| of(&table.meta)).sum::<u64>()
        };
        let tombstones = sum(|meta| meta.tombstones, &inputs[0]);
        let entries: u64 = inputs.iter().map(|tables| sum(|meta| meta.entries, tables)).sum();
        if tombstones.saturating_mul(WORTH_PART) < entries {
            return None;
        }
        let output_level = if level == 0 { self.targets.base_level } else { level + 1 };
        let is_alone = inputs[0].len() == 1 && inputs[1].is_empty();
        let reason = CompactionReason::Tombstones;
        let mut picked = self.compaction(level, output_level, inputs, reason, 0.0, false);
        // With nothing beneath it, it is rewritten: then its tombstones go.
        picked.is_trivial_move = is_alone && !picked.is_bottommost;
        Some(picked)
    }
}

fn is_dense(meta: &TableMeta) -> bool {
    meta.tombstones.saturating_mul(DENSE_PART) >= meta.entries
}
