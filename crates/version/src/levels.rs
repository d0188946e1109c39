//! The levels of one column family: which tables it consists of, and in which order they are looked at.
//!
//! Invariants:
//! - level 0 is ordered newest first, by greatest sequence number and then by number, both descending; its tables may
//!   overlap;
//! - the tables of every deeper level are ordered by key and have no *user* key in common: all versions of a user key
//!   in one level stand in one table.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use base::{FamilyId, FileNumber, SeqNo};

use crate::table::TableFile;

#[cfg(test)]
mod tests;

/// One table as versions share it.
pub type SharedTable<H> = Arc<TableFile<H>>;

/// A column family in a version: its name, how far it is flushed, and its levels.
pub struct Family<H> {
    id: FamilyId,
    name: Arc<str>,
    pub(crate) flushed_seq: SeqNo,
    pub(crate) levels: FamilyLevels<H>,
}

impl<H> Family<H> {
    pub(crate) fn new(id: FamilyId, name: &str) -> Self {
        let levels = FamilyLevels { levels: Vec::new() };
        Self { id, name: name.into(), flushed_seq: SeqNo::ZERO, levels }
    }

    /// The family's id.
    #[must_use]
    pub fn id(&self) -> FamilyId {
        self.id
    }

    /// The family's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Every entry of the family up to this sequence number (inclusive) is in its tables.
    #[must_use]
    pub fn flushed_seq(&self) -> SeqNo {
        self.flushed_seq
    }

    /// The family's tables.
    #[must_use]
    pub fn levels(&self) -> &FamilyLevels<H> {
        &self.levels
    }

    /// The same family with other handles.
    pub(crate) fn map<G, E>(
        &self,
        make: &mut impl FnMut(&TableFile<H>) -> Result<G, E>,
    ) -> Result<Family<G>, E> {
        let mut levels = Vec::with_capacity(self.levels.levels.len());
        for level in &self.levels.levels {
            let tables: Result<Vec<_>, E> = level
                .iter()
                .map(|table| {
                    Ok(Arc::new(TableFile { meta: table.meta.clone(), handle: make(table)? }))
                })
                .collect();
            levels.push(Arc::new(tables?));
        }
        Ok(Family {
            id: self.id,
            name: self.name.clone(),
            flushed_seq: self.flushed_seq,
            levels: FamilyLevels { levels },
        })
    }
}

impl<H> Clone for Family<H> {
    fn clone(&self) -> Self {
        Self {
            id: self.id,
            name: self.name.clone(),
            flushed_seq: self.flushed_seq,
            levels: self.levels.clone(),
        }
    }
}

/// The tables of one family, by level. Immutable once it is part of a version.
pub struct FamilyLevels<H> {
    /// Levels are shared between versions, so that an edit copies only those that it touches.
    levels: Vec<Arc<Vec<SharedTable<H>>>>,
}

/// Two tables of a level below the first that have a user key in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overlap {
    pub first: FileNumber,
    pub second: FileNumber,
}

impl<H> FamilyLevels<H> {
    /// The tables of level `level`, in the order that the level has; none for a level beyond the last.
    #[must_use]
    pub fn level(&self, level: usize) -> &[SharedTable<H>] {
        self.levels.get(level).map_or(&[], |tables| &tables[..])
    }

    /// The tables of level `level` as [`FamilyLevels::level`] gives them, to be kept: this keeps no file from being
    /// removed, which the version does.
    #[must_use]
    pub fn shared_level(&self, level: usize) -> Arc<Vec<SharedTable<H>>> {
        self.levels.get(level).map_or_else(|| Arc::new(Vec::new()), Arc::clone)
    }

    /// The levels from the first to the last one that holds a table.
    pub fn levels(&self) -> impl DoubleEndedIterator<Item = &[SharedTable<H>]> + ExactSizeIterator {
        self.levels.iter().map(|tables| &tables[..])
    }

    /// One more than the number of the last level that holds a table; 0 when there is none.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.levels.len()
    }

    /// All tables, the newest data first: by level, then in each level's order.
    pub fn tables(&self) -> impl Iterator<Item = &SharedTable<H>> {
        self.levels.iter().flat_map(|level| level.iter())
    }

    /// The sum of the file lengths of a level, in bytes.
    #[must_use]
    pub fn bytes(&self, level: usize) -> u64 {
        self.level(level).iter().map(|table| table.meta.file_bytes).sum()
    }

    /// The tables of level `level` that have a user key in `[first, last]`, both ends inclusive, in the level's order.
    /// Level 0 is searched table by table, deeper ones by bisection.
    pub fn overlapping<'a>(
        &'a self,
        level: usize,
        first: &'a [u8],
        last: &'a [u8],
    ) -> impl Iterator<Item = &'a SharedTable<H>> {
        let tables = self.level(level);
        let from = if level == 0 {
            0
        } else {
            tables.partition_point(|table| &*table.meta.largest.user_key < first)
        };
        tables[from..]
            .iter()
            .take_while(move |table| level == 0 || &*table.meta.smallest.user_key <= last)
            .filter(move |table| table.meta.overlaps(first, last))
    }

    /// The tables in which `user_key` can be, those with the newest versions first: any number of level 0, at most one
    /// of each deeper level. Allocates nothing.
    pub fn tables_for<'a>(
        &'a self,
        user_key: &'a [u8],
    ) -> impl Iterator<Item = &'a SharedTable<H>> {
        (0..self.levels.len()).flat_map(move |level| self.overlapping(level, user_key, user_key))
    }

    /// Takes the tables with these numbers out of a level, and gives them back.
    pub(crate) fn remove(
        &mut self,
        level: usize,
        numbers: &HashSet<FileNumber>,
    ) -> Vec<SharedTable<H>> {
        let Some(tables) = self.levels.get_mut(level) else {
            return Vec::new();
        };
        let tables = Arc::make_mut(tables);
        let (removed, kept) =
            std::mem::take(tables).into_iter().partition(|t| numbers.contains(&t.meta.number));
        *tables = kept;
        self.trim();
        removed
    }

    /// Adds tables to a level and restores its order.
    pub(crate) fn add(&mut self, level: usize, added: Vec<SharedTable<H>>) -> Result<(), Overlap> {
        while self.levels.len() <= level {
            self.levels.push(Arc::new(Vec::new()));
        }
        let tables = Arc::make_mut(&mut self.levels[level]);
        tables.extend(added);
        if level == 0 {
            tables.sort_by_key(|table| std::cmp::Reverse((table.meta.max_seq, table.meta.number)));
        } else {
            tables.sort_by(|a, b| a.meta.smallest.cmp(&b.meta.smallest));
            for pair in tables.windows(2) {
                let [first, second] = [&pair[0].meta, &pair[1].meta];
                if first.largest.user_key >= second.smallest.user_key {
                    return Err(Overlap { first: first.number, second: second.number });
                }
            }
        }
        self.trim();
        Ok(())
    }

    /// Forgets empty levels behind the last table.
    fn trim(&mut self) {
        while self.levels.last().is_some_and(|level| level.is_empty()) {
            self.levels.pop();
        }
    }
}

impl<H> Clone for FamilyLevels<H> {
    fn clone(&self) -> Self {
        Self { levels: self.levels.clone() }
    }
}

impl<H> fmt::Debug for FamilyLevels<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.levels.iter().map(|level| level.as_slice())).finish()
    }
}

impl<H> fmt::Debug for Family<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("flushed_seq", &self.flushed_seq)
            .field("levels", &self.levels)
            .finish()
    }
}
