//! An edit: what changes from one version to the next.

use std::collections::HashSet;

use base::{FamilyId, FileNumber, LogPlace, SegmentNumber, SeqNo};

use crate::ids::VersionNumber;
use crate::table::TableMeta;

mod codec;
#[cfg(test)]
mod tests;

pub use codec::{DecodeError, FORMAT_VERSION};

/// The number of levels that the format has room for: levels 0 to 15.
pub const LEVELS_MAX: u32 = 16;

/// The longest name of a family, in bytes of UTF-8. The empty name is none.
pub const FAMILY_NAME_BYTES_MAX: usize = 255;

/// What changes from one version to the next.
///
/// An edit is applied as a whole or not at all, in this order: families are dropped and added, then tables removed and
/// added. A table that is removed from one level and added, with the same figures, to another one of the same family
/// in one edit is *moved*: its file stays, and no handle is asked for.
///
/// Format: `docs/format/manifest.md`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionEdit {
    /// New families, with their names. Ids are taken from
    /// [`VersionSet::new_family_id`](crate::VersionSet::new_family_id) and never used twice.
    pub added_families: Vec<(FamilyId, String)>,
    /// Families that end; their tables are dropped with them.
    pub dropped_families: Vec<FamilyId>,
    /// New tables: family, level (0 to 15) and figures.
    pub added_tables: Vec<(FamilyId, u32, TableMeta)>,
    /// Tables that are no longer part of the version: family, level and number.
    pub removed_tables: Vec<(FamilyId, u32, FileNumber)>,
    /// Log segments before this one are no longer needed. Never goes back.
    pub log_from: Option<SegmentNumber>,
    /// The log was on stable storage up to here (exclusive) when the edit was made. Never goes back.
    pub log_durable: Option<LogPlace>,
    /// Per family, the sequence number up to which (inclusive) all its entries are in tables. Never goes back.
    pub flushed_seq: Vec<(FamilyId, SeqNo)>,
    /// File numbers from this one on are unused. Filled in when the edit is applied.
    pub next_file: Option<FileNumber>,
    /// The greatest sequence number known to be in use. Never goes back.
    pub last_seq: Option<SeqNo>,
    /// Family ids from this one on are unused. Filled in when the edit is applied.
    pub next_family: Option<FamilyId>,
    /// The version that the edit makes. Filled in when the edit is applied.
    pub version: Option<VersionNumber>,
}

impl VersionEdit {
    /// Moves a table of `family`, as it is described by `table`, from one level to another.
    pub fn move_table(&mut self, family: FamilyId, from: u32, to: u32, table: &TableMeta) {
        self.removed_tables.push((family, from, table.number));
        self.added_tables.push((family, to, table.clone()));
    }

    /// The tables that the edit both removes and adds, and so moves.
    pub(crate) fn moved(&self) -> HashSet<FileNumber> {
        let removed: HashSet<_> = self.removed_tables.iter().map(|&(.., table)| table).collect();
        let added = self.added_tables.iter().map(|(.., table)| table.number);
        added.filter(|table| removed.contains(table)).collect()
    }

    /// How many of the tables that the edit adds are new, and need handles.
    pub(crate) fn new_tables(&self) -> usize {
        let moved = self.moved();
        self.added_tables.iter().filter(|(.., table)| !moved.contains(&table.number)).count()
    }
}
