//! What a version consists of, and how an edit turns one into the next: checked as a whole, without a disk.
//!
//! Concurrency: none. A state is changed only while nobody else has it; versions share the families that an edit did
//! not touch.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use base::{FamilyId, FileNumber, LogPlace, SegmentNumber, SeqNo};

use crate::edit::{FAMILY_NAME_BYTES_MAX, LEVELS_MAX, VersionEdit};
use crate::ids::VersionNumber;
use crate::levels::{Family, SharedTable};
use crate::table::{TableFile, TableMeta};

mod index;
mod refusal;
#[cfg(test)]
mod tests;

use index::Place;
pub(crate) use index::{AddedTable, Changes, TableIndex};
pub use refusal::EditError;

/// The name of the family that exists in every database.
pub const DEFAULT_FAMILY_NAME: &str = "default";

/// All that a version says.
#[derive(Debug)]
pub(crate) struct State<H> {
    pub number: VersionNumber,
    pub families: BTreeMap<FamilyId, Arc<Family<H>>>,
    pub log_from: SegmentNumber,
    pub log_durable: LogPlace,
    pub last_seq: SeqNo,
    pub next_file: FileNumber,
    pub next_family: FamilyId,
}

impl<H> Clone for State<H> {
    fn clone(&self) -> Self {
        Self { families: self.families.clone(), ..*self }
    }
}

impl<H> State<H> {
    /// A state without anything, not even the default family: what a snapshot is applied to.
    pub fn nothing() -> Self {
        Self {
            number: VersionNumber::ZERO,
            families: BTreeMap::new(),
            log_from: SegmentNumber::new(0),
            log_durable: LogPlace::default(),
            last_seq: SeqNo::ZERO,
            next_file: FileNumber::new(0),
            next_family: FamilyId::new(0),
        }
    }

    /// The first state of a database: the default family, and nothing in it.
    pub fn first(next_file: FileNumber) -> Self {
        let default = Arc::new(Family::new(FamilyId::DEFAULT, DEFAULT_FAMILY_NAME));
        Self {
            number: VersionNumber::new(1),
            families: [(FamilyId::DEFAULT, default)].into(),
            next_file,
            next_family: FamilyId::new(1),
            ..Self::nothing()
        }
    }

    /// Changes this state into the one that the edit makes. `handles` are those of the new tables, in order; tables
    /// that only move bring their own. After an error this state is useless.
    pub fn apply(
        &mut self,
        edit: &VersionEdit,
        index: &TableIndex,
        handles: Vec<H>,
    ) -> Result<Changes, EditError> {
        let next = self.number.next().ok_or(EditError::Exhausted(self.number))?;
        if edit.version != Some(next) {
            return Err(EditError::OutOfOrder { expected: next, found: edit.version });
        }
        self.number = next;
        self.change(edit, index, handles)
    }

    /// As [`State::apply`], whatever version the edit makes: how a snapshot is read.
    pub fn change(
        &mut self,
        edit: &VersionEdit,
        index: &TableIndex,
        handles: Vec<H>,
    ) -> Result<Changes, EditError> {
        self.raise_counters(edit)?;
        let mut changes = Changes::default();
        self.change_families(edit, &mut changes)?;
        let removed = self.remove_tables(edit, index)?;
        self.add_tables(edit, index, handles, removed, &mut changes)?;
        for &(family, seq) in &edit.flushed_seq {
            let family = self.family_mut(family)?;
            raise("a family's flushed sequence number", &mut family.flushed_seq, seq, SeqNo::get)?;
        }
        Ok(changes)
    }

    fn raise_counters(&mut self, edit: &VersionEdit) -> Result<(), EditError> {
        if let Some(next) = edit.next_file {
            raise("the next file number", &mut self.next_file, next, FileNumber::get)?;
        }
        if let Some(next) = edit.next_family {
            raise("the next family id", &mut self.next_family, next, |id| u64::from(id.get()))?;
        }
        if let Some(seq) = edit.last_seq {
            raise("the last sequence number", &mut self.last_seq, seq, SeqNo::get)?;
        }
        if let Some(segment) = edit.log_from {
            raise("the first log segment", &mut self.log_from, segment, SegmentNumber::get)?;
        }
        if let Some(place) = edit.log_durable {
            raise("what is durable of the log", &mut self.log_durable, place, |at| at.offset)?;
        }
        Ok(())
    }

    fn change_families(
        &mut self,
        edit: &VersionEdit,
        changes: &mut Changes,
    ) -> Result<(), EditError> {
        for &family in &edit.dropped_families {
            if family == FamilyId::DEFAULT {
                return Err(EditError::DropDefaultFamily);
            }
            let dropped = self.families.remove(&family).ok_or(EditError::NoFamily { family })?;
            changes.dropped.extend(dropped.levels.tables().map(|table| table.meta.number));
        }
        for (family, name) in &edit.added_families {
            let fault = if name.is_empty() || name.len() > FAMILY_NAME_BYTES_MAX {
                Some("a name has 1 to 255 bytes")
            } else if self.families.values().any(|other| other.name() == name) {
                Some("another family has that name")
            } else if self.families.contains_key(family) {
                Some("another family has that id")
            } else if *family >= self.next_family {
                Some("its id was not handed out")
            } else {
                None
            };
            if let Some(fault) = fault {
                let name = name.clone();
                return Err(EditError::AddFamily { family: *family, name, fault });
            }
            self.families.insert(*family, Arc::new(Family::new(*family, name)));
        }
        Ok(())
    }

    /// Takes out what the edit removes, by number.
    fn remove_tables(
        &mut self,
        edit: &VersionEdit,
        index: &TableIndex,
    ) -> Result<HashMap<FileNumber, (FamilyId, SharedTable<H>)>, EditError> {
        let mut by_place: BTreeMap<Place, HashSet<FileNumber>> = BTreeMap::new();
        for &(family, level, number) in &edit.removed_tables {
            let is_there = index.places.get(&number) == Some(&(family, level));
            let is_first = by_place.entry((family, level)).or_default().insert(number);
            if !is_there || !is_first {
                return Err(EditError::NoTable { family, level, number });
            }
        }
        let mut removed = HashMap::new();
        for ((family, level), numbers) in by_place {
            let tables = self.family_mut(family)?.levels.remove(level as usize, &numbers);
            removed.extend(tables.into_iter().map(|table| (table.meta.number, (family, table))));
        }
        Ok(removed)
    }

    /// Puts in what the edit adds. What is left of `removed` is dropped.
    fn add_tables(
        &mut self,
        edit: &VersionEdit,
        index: &TableIndex,
        handles: Vec<H>,
        mut removed: HashMap<FileNumber, (FamilyId, SharedTable<H>)>,
        changes: &mut Changes,
    ) -> Result<(), EditError> {
        let expected =
            edit.added_tables.iter().filter(|(.., t)| !removed.contains_key(&t.number)).count();
        if expected != handles.len() {
            return Err(EditError::Handles { expected, found: handles.len() });
        }
        let mut handles = handles.into_iter();
        let mut seen = HashSet::new();
        let mut by_place: BTreeMap<Place, Vec<SharedTable<H>>> = BTreeMap::new();
        for &(family, level, ref meta) in &edit.added_tables {
            let number = meta.number;
            self.check_added(level, meta)?;
            if !seen.insert(number) {
                return Err(EditError::TableExists { number });
            }
            let table = match removed.remove(&number) {
                Some((from, table)) => {
                    if from != family || table.meta != *meta {
                        let fault = "a table that moves keeps its family and its figures";
                        return Err(EditError::Figures { number, fault });
                    }
                    changes.moved.push((number, (family, level)));
                    table
                }
                None => {
                    let handle = handles.next().filter(|_| !index.contains(number));
                    let handle = handle.ok_or(EditError::TableExists { number })?;
                    let (created, bytes) = (meta.created, meta.file_bytes);
                    let place = (family, level);
                    changes.added.push(AddedTable { number, place, created, bytes });
                    Arc::new(TableFile { meta: meta.clone(), handle })
                }
            };
            by_place.entry((family, level)).or_default().push(table);
        }
        for ((family, level), tables) in by_place {
            let levels = &mut self.family_mut(family)?.levels;
            levels.add(level as usize, tables).map_err(|overlap| EditError::Overlap {
                level,
                first: overlap.first,
                second: overlap.second,
            })?;
        }
        changes.dropped.extend(removed.into_keys());
        Ok(())
    }

    fn check_added(&self, level: u32, meta: &TableMeta) -> Result<(), EditError> {
        let number = meta.number;
        if level >= LEVELS_MAX {
            return Err(EditError::Level { number, level });
        }
        if number >= self.next_file {
            return Err(EditError::NumberNotHandedOut { number, next: self.next_file });
        }
        if let Some(fault) = meta.fault() {
            return Err(EditError::Figures { number, fault });
        }
        if meta.created > self.number || meta.created == VersionNumber::ZERO {
            let fault = "its creation version is not one of this database's";
            return Err(EditError::Figures { number, fault });
        }
        Ok(())
    }

    fn family_mut(&mut self, family: FamilyId) -> Result<&mut Family<H>, EditError> {
        let found = self.families.get_mut(&family).ok_or(EditError::NoFamily { family })?;
        Ok(Arc::make_mut(found))
    }

    /// The same state with other handles.
    pub fn map<G, E>(
        &self,
        mut make: impl FnMut(&TableFile<H>) -> Result<G, E>,
    ) -> Result<State<G>, E> {
        let mut families = BTreeMap::new();
        for (id, family) in &self.families {
            families.insert(*id, Arc::new(family.map(&mut make)?));
        }
        let Self { number, log_from, log_durable, last_seq, next_file, next_family, .. } = *self;
        Ok(State { number, families, log_from, log_durable, last_seq, next_file, next_family })
    }

    /// The tables of all families.
    pub fn tables(&self) -> impl Iterator<Item = &SharedTable<H>> {
        self.families.values().flat_map(|family| family.levels.tables())
    }
}

/// Raises `current` to `to`, or says that it would go back.
fn raise<T: Ord + Copy>(
    what: &'static str,
    current: &mut T,
    to: T,
    number: impl Fn(T) -> u64,
) -> Result<(), EditError> {
    if to < *current {
        return Err(EditError::GoesBack { what, from: number(*current), to: number(to) });
    }
    *current = to;
    Ok(())
}
