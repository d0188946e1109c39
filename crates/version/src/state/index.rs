//! Where each live table is, and how that changes.

use std::collections::HashMap;

use base::{FamilyId, FileNumber};

use super::State;
use crate::ids::VersionNumber;

/// Where each live table is. Kept beside the newest state, since a state can only be searched by key.
#[derive(Debug, Default)]
pub(crate) struct TableIndex {
    pub(super) places: HashMap<FileNumber, Place>,
}

/// Family and level.
pub(super) type Place = (FamilyId, u32);

impl TableIndex {
    /// Where the tables of `state` are.
    pub fn of<H>(state: &State<H>) -> Self {
        let mut places = HashMap::new();
        for (id, family) in &state.families {
            for (level, tables) in family.levels.levels().enumerate() {
                places.extend(tables.iter().map(|t| (t.meta.number, (*id, level as u32))));
            }
        }
        Self { places }
    }

    /// Whether a table of this number is part of the newest state.
    pub fn contains(&self, number: FileNumber) -> bool {
        self.places.contains_key(&number)
    }

    /// Follows an edit that was applied.
    pub fn commit(&mut self, changes: &Changes) {
        for number in &changes.dropped {
            self.places.remove(number);
        }
        for table in &changes.added {
            self.places.insert(table.number, table.place);
        }
        self.places.extend(changes.moved.iter().copied());
    }
}

/// What an edit did to the set of tables.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub added: Vec<AddedTable>,
    pub moved: Vec<(FileNumber, Place)>,
    pub dropped: Vec<FileNumber>,
}

#[derive(Debug)]
pub(crate) struct AddedTable {
    pub number: FileNumber,
    pub place: Place,
    pub created: VersionNumber,
    pub bytes: u64,
}
