//! The names of a database's files, what a directory's listing says, and which files in it nothing needs.
//!
//! Everything here is a pure function of names.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use base::{FileNumber, SegmentNumber};

#[cfg(test)]
mod tests;

/// A file of a database, told by its name. A name that is not exactly what this type prints names no file of ours.
///
/// ```
/// use base::FileNumber;
/// use version::FileName;
///
/// let name = FileName::Table(FileNumber::new(7));
/// assert_eq!(name.to_string(), "000007.sst");
/// assert_eq!(FileName::parse("000007.sst"), Some(name));
/// assert_eq!(FileName::parse("7.sst"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileName {
    /// `CURRENT`: names the live manifest.
    Current,
    /// `CURRENT.tmp`: the next `CURRENT` before it is renamed.
    CurrentTemporary,
    /// `LOCK`: held by the process that has the database open.
    Lock,
    /// `MANIFEST-NNNNNN`: a log of version edits.
    Manifest(FileNumber),
    /// `NNNNNN.sst`: a table.
    Table(FileNumber),
    /// `NNNNNN.log`: a segment of the write-ahead log.
    Log(SegmentNumber),
}

impl FileName {
    /// The file that `name`, without a directory, names; `None` for a name that is not ours.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let parsed = match name {
            "CURRENT" => Self::Current,
            "CURRENT.tmp" => Self::CurrentTemporary,
            "LOCK" => Self::Lock,
            _ => {
                if let Some(number) = name.strip_prefix("MANIFEST-") {
                    Self::Manifest(FileNumber::new(number.parse().ok()?))
                } else if let Some(number) = name.strip_suffix(".sst") {
                    Self::Table(FileNumber::new(number.parse().ok()?))
                } else {
                    Self::Log(SegmentNumber::new(name.strip_suffix(".log")?.parse().ok()?))
                }
            }
        };
        // One spelling each: "7.sst" and "+00007.sst" are somebody else's.
        (parsed.to_string() == name).then_some(parsed)
    }

    /// The path of this file in the database at `dir`.
    #[must_use]
    pub fn path_in(&self, dir: &Path) -> PathBuf {
        dir.join(self.to_string())
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current => f.write_str("CURRENT"),
            Self::CurrentTemporary => f.write_str("CURRENT.tmp"),
            Self::Lock => f.write_str("LOCK"),
            Self::Manifest(number) => write!(f, "MANIFEST-{:06}", number.get()),
            Self::Table(number) => write!(f, "{:06}.sst", number.get()),
            Self::Log(number) => write!(f, "{:06}.log", number.get()),
        }
    }
}

/// What the names in a directory say about the database in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// There is none, and nothing of one: it may be created here.
    Absent,
    /// A creation was interrupted before anything could be stored: it may be created again.
    Unfinished,
    /// There is one.
    Database,
    /// There are files of one, this for instance, but `CURRENT`, which says how they belong together, is missing.
    Damaged(FileName),
}

/// Tells from the names in a directory whether a database is there.
///
/// A creation makes `CURRENT` last, and no table, no log segment and no second manifest before it. What a crash can
/// have left without `CURRENT` is therefore the first manifest and `CURRENT.tmp` at most; anything else without
/// `CURRENT` is a database that has lost it.
///
/// ```
/// use version::files::{Presence, presence};
///
/// assert_eq!(presence(["lost+found", "LOCK"]), Presence::Absent);
/// assert_eq!(presence(["CURRENT", "MANIFEST-000001"]), Presence::Database);
/// assert!(matches!(presence(["000004.sst"]), Presence::Damaged(_)));
/// ```
pub fn presence<'a>(names: impl IntoIterator<Item = &'a str>) -> Presence {
    let mut found = Presence::Absent;
    for file in names.into_iter().filter_map(FileName::parse) {
        match file {
            FileName::Current => return Presence::Database,
            FileName::Lock => {}
            FileName::CurrentTemporary | FileName::Manifest(FIRST_MANIFEST) => {
                if found == Presence::Absent {
                    found = Presence::Unfinished;
                }
            }
            FileName::Manifest(_) | FileName::Table(_) | FileName::Log(_) => {
                found = Presence::Damaged(file);
            }
        }
    }
    found
}

/// The number of the manifest that a creation writes.
pub(crate) const FIRST_MANIFEST: FileNumber = FileNumber::new(1);

/// The files that a recovered database needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveFiles {
    /// The manifest that `CURRENT` names, durably.
    pub manifest: FileNumber,
    /// Every table that some live version holds.
    pub tables: BTreeSet<FileNumber>,
    /// Log segments before this one are not needed.
    pub log_from: SegmentNumber,
    /// Tables and manifests from this number on were made since the database was opened: jobs may be writing them.
    pub first_new: FileNumber,
}

/// Which of the files named are this database's and needed by nothing: what an interrupted job left, what was dropped
/// and not yet removed, and manifests that were replaced.
///
/// Never among them: `CURRENT` and `CURRENT.tmp`, the live manifest, `LOCK`, files made since the database was opened, and names that
/// are not ours.
///
/// Call it once, after recovery, with what [`VersionSet::secure`](crate::VersionSet::secure) says, which answers only
/// when it is durable that these files are not needed.
pub fn orphans<'a>(names: impl IntoIterator<Item = &'a str>, live: &LiveFiles) -> Vec<FileName> {
    let is_old = |number: FileNumber| number < live.first_new;
    names
        .into_iter()
        .filter_map(FileName::parse)
        .filter(|file| match *file {
            // The next replacement of the manifest deals with a `CURRENT.tmp` that was left; one that is there now may
            // be about to be renamed.
            FileName::Current | FileName::CurrentTemporary | FileName::Lock => false,
            FileName::Manifest(number) => number != live.manifest && is_old(number),
            FileName::Table(number) => !live.tables.contains(&number) && is_old(number),
            FileName::Log(number) => number < live.log_from,
        })
        .collect()
}
