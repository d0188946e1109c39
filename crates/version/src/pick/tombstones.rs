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
//!
//! What a snapshot kept where nothing lies beneath is left over when the snapshot goes: tombstones, and what they hide. Such
//! a table is rewritten in its place, once no snapshot is older than any of its entries: then no tombstone is left in it,
//! and so it is not picked again.

use std::sync::Arc;

use base::SeqNo;

use crate::levels::{FamilyLevels, SharedTable};
use crate::table::TableMeta;

use super::{Claim, Compaction, CompactionOptions, CompactionReason, Inputs, Picker};

/// Of so many entries one must be a tombstone, in the table itself.
const DENSE_PART: u64 = 2;
/// And so in all that would be rewritten.
const WORTH_PART: u64 = 8;
/// And so in a table with nothing beneath it, where each hides another entry, mostly.
const LEFT_PART: u64 = 4;

/// What snapshots have left over.
#[derive(Debug)]
pub struct Leftovers<H> {
    /// A table to be rewritten in its place.
    pub compaction: Option<Compaction<H>>,
    /// The least sequence number such that, when no older snapshot is open any more, there will be another one.
    pub held_until: Option<SeqNo>,
}

/// What is left over of what snapshots kept, where `oldest` is the oldest one that is open, or at least what is visible.
/// Nothing while a level is above its target. Pure, as [`pick_compaction`](super::pick_compaction) is, and given the same
/// claims.
#[must_use]
pub fn pick_leftovers<H>(
    levels: &FamilyLevels<H>,
    options: &CompactionOptions,
    claims: &[Claim],
    oldest: SeqNo,
) -> Leftovers<H> {
    let mut left = Leftovers { compaction: None, held_until: None };
    let picker = Picker::new(levels, options, claims);
    if picker.is_due() {
        return left;
    }
    for level in 1..levels.depth() {
        for table in levels.level(level).iter().filter(|table| picker.is_left_over(level, table)) {
            let held_until = table.meta.max_seq;
            if oldest < held_until {
                left.held_until = Some(left.held_until.map_or(held_until, |at| at.min(held_until)));
            } else if left.compaction.is_none() {
                let inputs = [vec![Arc::clone(table)], Vec::new()];
                let reason = CompactionReason::Tombstones;
                left.compaction = Some(picker.compaction(level, level, inputs, reason, 0.0, false));
            }
        }
    }
    left
}

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

    /// Whether a free table of this level has many tombstones that are there for snapshots alone.
    fn is_left_over(&self, level: usize, table: &SharedTable<H>) -> bool {
        let meta = &table.meta;
        let (first, last) = (&meta.smallest.user_key, &meta.largest.user_key);
        meta.tombstones > 0
            && meta.tombstones.saturating_mul(LEFT_PART) >= meta.entries
            && self.is_free(table)
            && self.is_bottommost(level, first, last)
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
