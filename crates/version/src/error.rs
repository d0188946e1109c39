//! What can go wrong with a manifest, told by what the caller does next.

use std::path::PathBuf;

use crate::edit::DecodeError;
use crate::state::EditError;

/// Why a database cannot be created, or what is on disk cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file system call failed; the message names the operation and the file.
    #[error(transparent)]
    File(#[from] vfs::Error),
    /// There is no database in the directory: create one, or look for a misspelt path.
    #[error("there is no database in {dir}: it holds no file named CURRENT")]
    NoDatabase {
        /// The directory.
        dir: PathBuf,
    },
    /// There is a database in the directory already: open it.
    #[error("there is a database in {dir} already")]
    Exists {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory holds files of a database, but not the one that says how they belong together.
    #[error(
        "{dir} holds {found}, a file of a database, but CURRENT is missing: restore it from a backup, or move the \
         directory's files away to start anew"
    )]
    LostCurrent {
        /// The directory.
        dir: PathBuf,
        /// One of the files that were found.
        found: String,
    },
    /// `CURRENT` does not hold the name of a manifest.
    #[error(
        "{path} is damaged: expected a manifest's name and its checksum, found {found:?}; restore it from a backup"
    )]
    Current {
        /// The path of `CURRENT`.
        path: PathBuf,
        /// The first bytes of what it holds.
        found: String,
    },
    /// `CURRENT` names a manifest that is not there.
    #[error(
        "{path}, the manifest that CURRENT names, is missing: restore the whole directory from a backup"
    )]
    ManifestMissing {
        /// The path of the manifest.
        path: PathBuf,
    },
    /// The manifest was written by a newer program: open the database with that.
    #[error(
        "{path} has format version {found}, this program reads up to {supported}: open it with the program that \
         wrote it, or a later one"
    )]
    NewerFormat {
        /// The path of the manifest.
        path: PathBuf,
        /// The version that was found.
        found: u8,
        /// The newest version that can be read.
        supported: u8,
    },
    /// The manifest is damaged at a place that was written and synced: no edit behind it can be used, nor any state
    /// before it.
    #[error(
        "{path} is damaged at offset {offset}: expected {expected}, found: {found}; restore it from a backup"
    )]
    Damaged {
        /// The path of the manifest.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What should stand there.
        expected: &'static str,
        /// What was found.
        found: String,
    },
    /// A record of the manifest is whole but is not an edit that this program understands.
    #[error(
        "the record at offset {offset} of {path} is not a version edit that this program reads"
    )]
    Edit {
        /// The path of the manifest.
        path: PathBuf,
        /// Where the record starts.
        offset: u64,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// An edit of the manifest does not fit what stands before it.
    #[error(
        "the edit at offset {offset} of {path} does not fit those before it; restore it from a backup"
    )]
    Misfit {
        /// The path of the manifest.
        path: PathBuf,
        /// Where the edit's record starts.
        offset: u64,
        /// What does not fit.
        source: EditError,
    },
    /// A table that the manifest lists is not there.
    #[error("{path}, a table that {manifest} lists, is missing: restore it from a backup")]
    TableMissing {
        /// The path of the table.
        path: PathBuf,
        /// The name of the manifest.
        manifest: String,
    },
    /// A table has another length than the manifest says.
    #[error("{path} has {found} bytes, {manifest} says {expected}: restore it from a backup")]
    TableLength {
        /// The path of the table.
        path: PathBuf,
        /// The name of the manifest.
        manifest: String,
        /// The length that the manifest says, in bytes.
        expected: u64,
        /// The length that the file has, in bytes.
        found: u64,
    },
}

/// Why an edit was not applied. The current version is what it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The edit does not fit the current version. The disk was not touched; the files that the edit names may be
    /// dealt with as if it had never been.
    #[error("the edit does not fit the current version")]
    Refused(#[from] EditError),
    /// A manifest to write the edit to could not be made ready. This call wrote nothing of the edit; it may be tried
    /// again. What an earlier call left in doubt still is.
    #[error("the manifest could not be replaced, the edit was not written")]
    NotWritten(#[source] Error),
    /// The edit may or may not be on disk, and a crash now may bring it back: **remove none of the tables and log
    /// segments that it names**, neither the added nor the removed ones, until a later call of
    /// [`VersionSet::apply`](crate::VersionSet::apply) or [`VersionSet::secure`](crate::VersionSet::secure) has
    /// succeeded. The edit may be tried again.
    #[error("the edit could not be made durable; whether it is on disk is unknown")]
    InDoubt(#[source] vfs::Error),
}
