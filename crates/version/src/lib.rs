//! Levels, versions, edits and the manifest of an LSM tree: what a database consists of, durably, and what of it may be
//! reclaimed.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod edit;
mod error;
pub mod files;
mod ids;
mod levels;
mod manifest;
pub mod pick;
mod pointer;
pub mod reclaim;
mod set;
mod state;
mod table;
#[cfg(test)]
mod testing;
mod version;

pub use edit::{DecodeError, FAMILY_NAME_BYTES_MAX, FORMAT_VERSION, LEVELS_MAX, VersionEdit};
pub use error::{ApplyError, Error};
pub use files::{FileName, LiveFiles};
pub use ids::VersionNumber;
pub use levels::{Family, FamilyLevels, SharedTable};
pub use manifest::Tail;
pub use set::{ManifestOptions, ManifestStats, Recovery, VersionSet};
pub use state::{DEFAULT_FAMILY_NAME, EditError};
pub use table::{TableFile, TableMeta};
pub use version::{LiveVersion, PinReport, Version, Wake};
