//! Reads all tables from the disk and reports what is wrong with them.

use std::fmt;
use std::path::PathBuf;

use sstable::{BlockKind, Table, Verified};
use vfs::Access;

use crate::error::Error;
use crate::shared::Shared;
use crate::tables::TableFile;

/// Something in a table file that is not as it was written.
#[derive(Debug)]
#[non_exhaustive]
pub struct Fault {
    /// The column family.
    pub family: String,
    /// The file.
    pub path: PathBuf,
    /// Where in the file the block begins, if the fault lies in one place.
    pub offset: Option<u64>,
    /// What the block holds, if the fault lies in a block.
    pub block: Option<BlockKind>,
    /// What was expected and found.
    pub error: Error,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column family {}: ", self.family)?;
        match &self.error {
            // Its own text says less than what it holds.
            Error::Table(error) => write!(f, "{error}"),
            error => write!(f, "{}: {error}", self.path.display()),
        }
    }
}

/// What [`Db::verify`](crate::Db::verify) looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Table files.
    pub tables: u64,
    /// Blocks that were read, good or bad.
    pub blocks: u64,
    /// Entries that were read.
    pub entries: u64,
    /// Faults that were reported.
    pub faults: u64,
}

impl Shared {
    /// Reads every block of every table, past the cache and past what is in memory of open tables.
    pub(crate) fn verify(&self, on_fault: &mut dyn FnMut(Fault)) -> Result<VerifyReport, Error> {
        self.health.check_open()?;
        // Held to the end: its files stay.
        let version = self.versions.current();
        let mut report = VerifyReport::default();
        for family in version.families() {
            for file in family.levels().tables() {
                report.tables += 1;
                let mut tell = |error: Error| {
                    report.faults += 1;
                    on_fault(self.fault(family.name(), file, error));
                };
                match self.verify_table(file, &mut tell) {
                    Ok(seen) => {
                        report.blocks += seen.blocks;
                        report.entries += seen.entries;
                    }
                    Err(error) => tell(error),
                }
                self.health.check_open()?;
            }
        }
        Ok(report)
    }

    fn verify_table(
        &self,
        file: &TableFile,
        tell: &mut dyn FnMut(Error),
    ) -> Result<Verified, Error> {
        let path = self.tables.path(file.meta.number);
        let on_disk = self.tables.fs().open(&path, Access::Read)?;
        let table = Table::open(on_disk, None)?;
        let seen = table.verify_all(&mut |error| tell(error.into()));
        let (meta, found) = (&file.meta, table.properties());
        let is_same = table.file_bytes() == meta.file_bytes
            && (found.entries, found.tombstones()) == (meta.entries, meta.tombstones)
            && (&found.smallest, &found.largest) == (&meta.smallest, &meta.largest);
        if !is_same && seen.faults == 0 {
            let found =
                format!("a table of {} entries that the manifest does not describe", found.entries);
            return Err(Error::TableFile { path, expected: meta.file_bytes, found });
        }
        Ok(seen)
    }

    fn fault(&self, family: &str, file: &TableFile, error: Error) -> Fault {
        let (offset, block) = match &error {
            Error::Table(sstable::Error::Corrupt(corruption)) => {
                (Some(corruption.offset), corruption.block)
            }
            _ => (None, None),
        };
        let path = self.tables.path(file.meta.number);
        Fault { family: family.to_owned(), path, offset, block, error }
    }
}
