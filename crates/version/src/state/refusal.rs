//! Why an edit does not fit a version.

use base::{FamilyId, FileNumber};

use crate::ids::VersionNumber;

/// An edit that does not fit the version it was to change. Nothing was changed, in memory or on disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The edit names a family that there is not.
    #[error("there is no family {family}")]
    NoFamily {
        /// The family that was named.
        family: FamilyId,
    },
    /// A family of that id or name is there already, or its id was not handed out.
    #[error("family {family} cannot be added under the name {name:?}: {fault}")]
    AddFamily {
        /// The id of the family that was to be added.
        family: FamilyId,
        /// The name that was given.
        name: String,
        /// Why not.
        fault: &'static str,
    },
    /// The default family cannot be dropped.
    #[error("the default family cannot be dropped")]
    DropDefaultFamily,
    /// A table of that number is there already.
    #[error("table {number} is there already")]
    TableExists {
        /// The table's number.
        number: FileNumber,
    },
    /// The table to be removed is not where the edit says.
    #[error("there is no table {number} in level {level} of family {family} to remove")]
    NoTable {
        /// The family that was named.
        family: FamilyId,
        /// The level that was named.
        level: u32,
        /// The table's number.
        number: FileNumber,
    },
    /// The table's number was never handed out.
    #[error("table {number} has a number that was not handed out; the next one is {next}")]
    NumberNotHandedOut {
        /// The table's number.
        number: FileNumber,
        /// The first unused number.
        next: FileNumber,
    },
    /// The levels have numbers from 0 to 15.
    #[error("table {number} cannot be in level {level}: the deepest is 15")]
    Level {
        /// The table's number.
        number: FileNumber,
        /// The level that was named.
        level: u32,
    },
    /// The figures given for a table cannot be those of a table.
    #[error("table {number} cannot be added: {fault}")]
    Figures {
        /// The table's number.
        number: FileNumber,
        /// What is wrong.
        fault: &'static str,
    },
    /// Two tables of one level below the first have a user key in common.
    #[error("tables {first} and {second} of level {level} overlap")]
    Overlap {
        /// The level.
        level: u32,
        /// The table with the smaller keys.
        first: FileNumber,
        /// The table with the larger keys.
        second: FileNumber,
    },
    /// A figure that only grows would go back.
    #[error("{what} cannot go back from {from} to {to}")]
    GoesBack {
        /// Which figure.
        what: &'static str,
        /// What it is.
        from: u64,
        /// What it was to become.
        to: u64,
    },
    /// As many handles are needed as there are tables that are new.
    #[error("the edit adds {expected} new tables, {found} handles were given")]
    Handles {
        /// The number of new tables, those that are moved left out.
        expected: usize,
        /// The number of handles.
        found: usize,
    },
    /// The edit does not follow the version that it is applied to.
    #[error("the edit makes version {found:?}, the next one is {expected}")]
    OutOfOrder {
        /// The version that comes next.
        expected: VersionNumber,
        /// The version that the edit says it makes.
        found: Option<VersionNumber>,
    },
    /// Version numbers are used up.
    #[error("there is no version number after {0}")]
    Exhausted(VersionNumber),
}
