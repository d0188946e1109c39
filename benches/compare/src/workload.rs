//! What is measured: the workloads and what each needs.

use std::fmt;
use std::str::FromStr;

/// A workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Workload {
    FillSeq,
    FillRandom,
    Overwrite,
    Batch100,
    Small,
    Large,
    Synced,
    ReadRandom,
    ReadMissing,
    ReadZipf,
    ReadSeq,
    SeekRandom,
    Scan100,
    MultiGet,
    ReadWhileWriting,
    ScanDeleted,
    ScanDeletedNow,
    ColdRandom,
    ColdScan100,
    ColdSeq,
    Metadata,
}

/// What a workload does to its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Writes a database of its own, without waiting for the disk.
    Write,
    /// The same, each call on stable storage before it returns.
    SyncedWrite,
    /// Reads one that was loaded before.
    Read(Database),
    /// Writes a database of its own and deletes most of it, and then reads it at once.
    Deletes,
    /// Reads it after the page cache has been told to forget it.
    ColdRead,
    /// Writes and reads one of its own under a small memory budget.
    Metadata,
}

/// A database that several workloads read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Database {
    /// Every key, written in random order.
    Full,
    /// The same, and then all keys but every tenth deleted in random order.
    Deleted,
}

impl Database {
    /// Its name in paths.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Deleted => "deleted",
        }
    }
}

/// Calls to a batch or to a `multi_get`.
pub(crate) const BATCH: u64 = 100;

/// Records of a short scan.
pub(crate) const SCAN: u64 = 100;

/// Of this many keys, one survives the deletes.
pub(crate) const SURVIVES: u64 = 10;

impl Workload {
    /// All of them, in the order of the report.
    pub(crate) const ALL: [Self; 21] = [
        Self::FillSeq,
        Self::FillRandom,
        Self::Overwrite,
        Self::Batch100,
        Self::Small,
        Self::Large,
        Self::Synced,
        Self::ReadRandom,
        Self::ReadMissing,
        Self::ReadZipf,
        Self::ReadSeq,
        Self::SeekRandom,
        Self::Scan100,
        Self::MultiGet,
        Self::ReadWhileWriting,
        Self::ScanDeleted,
        Self::ScanDeletedNow,
        Self::ColdRandom,
        Self::ColdScan100,
        Self::ColdSeq,
        Self::Metadata,
    ];

    /// Its name on the command line, and one line on what it does.
    pub(crate) fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::FillSeq => ("fillseq", "each key once, ascending; threads take turns"),
            Self::FillRandom => ("fillrandom", "any key; about 63 % are written, some often"),
            Self::Overwrite => {
                ("overwrite", "Zipf-distributed keys of a database that has them all")
            }
            Self::Batch100 => ("batch100", "fillrandom, 100 records a call"),
            Self::Small => ("small", "fillrandom with values of 8 B"),
            Self::Large => ("large", "fillrandom with values of 64 KiB, 1/200 of the operations"),
            Self::Synced => ("synced", "fillrandom, each call on stable storage, 1/20 of them"),
            Self::ReadRandom => ("readrandom", "any key that is there"),
            Self::ReadMissing => ("readmissing", "keys that are not there, between those that are"),
            Self::ReadZipf => ("readzipf", "Zipf-distributed keys that are there"),
            Self::ReadSeq => {
                ("readseq", "scans of everything, for a second or once; records per second")
            }
            Self::SeekRandom => ("seekrandom", "an iterator, a seek to any key, one record"),
            Self::Scan100 => {
                ("scan100", "an iterator, a seek to any key, 100 records; scans per second")
            }
            Self::MultiGet => ("multi_get", "100 random keys a call; keys per second"),
            Self::ReadWhileWriting => {
                ("readwhilewriting", "readrandom beside one writer of a fixed rate")
            }
            Self::ScanDeleted => ("scan100deleted", "scan100 where 90 % of the keys are deleted"),
            Self::ScanDeletedNow => {
                ("scan100deletednow", "the same right after the deletes, with no time to compact")
            }
            Self::ColdRandom => {
                ("coldrandom", "readrandom, page cache dropped first, 1/50 of them")
            }
            Self::ColdScan100 => ("coldscan100", "scan100, page cache dropped first"),
            Self::ColdSeq => ("coldseq", "readseq, page cache dropped first"),
            Self::Metadata => ("metadata", "many 8-byte values under a small memory budget"),
        }
    }

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        self.describe().0
    }

    /// What it does to its database.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::FillSeq
            | Self::FillRandom
            | Self::Overwrite
            | Self::Batch100
            | Self::Small
            | Self::Large => Kind::Write,
            Self::Synced => Kind::SyncedWrite,
            Self::ReadRandom
            | Self::ReadMissing
            | Self::ReadZipf
            | Self::ReadSeq
            | Self::SeekRandom
            | Self::Scan100
            | Self::MultiGet
            | Self::ReadWhileWriting => Kind::Read(Database::Full),
            Self::ScanDeleted => Kind::Read(Database::Deleted),
            Self::ScanDeletedNow => Kind::Deletes,
            Self::ColdRandom | Self::ColdScan100 | Self::ColdSeq => Kind::ColdRead,
            Self::Metadata => Kind::Metadata,
        }
    }

    /// The loaded database that it reads, if any.
    pub(crate) fn database(self) -> Option<Database> {
        match self.kind() {
            Kind::Read(database) => Some(database),
            Kind::ColdRead => Some(Database::Full),
            _ => None,
        }
    }

    /// Length of its values in bytes, where `usual` is the one of the command line.
    pub(crate) fn value_bytes(self, usual: u64) -> u64 {
        match self {
            Self::Small | Self::Metadata => 8,
            Self::Large => 64 << 10,
            _ => usual,
        }
    }

    /// Calls to make over all threads, for a database of so many keys.
    pub(crate) fn calls(self, keys: u64) -> u64 {
        let calls = match self {
            Self::Batch100 | Self::MultiGet => keys / BATCH,
            Self::Scan100 | Self::ScanDeleted | Self::ScanDeletedNow => keys / 20,
            Self::Large => keys / 200,
            Self::Synced => keys / 20,
            Self::ColdRandom => keys / 50,
            Self::ColdScan100 => keys / 500,
            _ => keys,
        };
        calls.max(1)
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|workload| workload.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("there is no workload `{name}`; there are: {names}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_differ() {
        for workload in Workload::ALL {
            assert_eq!(workload.name().parse(), Ok(workload));
        }
        let error = "fillsideways".parse::<Workload>().expect_err("unknown");
        assert!(error.contains("fillsideways") && error.contains("readzipf"), "{error}");
    }

    #[test]
    fn every_workload_makes_at_least_one_call() {
        assert!(Workload::ALL.iter().all(|workload| workload.calls(1) == 1));
        assert_eq!(Workload::MultiGet.calls(1_000_000), 10_000);
        assert_eq!(Workload::FillSeq.calls(1_000_000), 1_000_000);
    }

    #[test]
    fn only_reads_need_a_loaded_database() {
        let without = Workload::ALL.iter().filter(|workload| workload.database().is_none());
        assert_eq!(without.count(), 9);
        assert_eq!(Workload::ScanDeleted.database(), Some(Database::Deleted));
        assert_eq!(Workload::ColdSeq.database(), Some(Database::Full));
    }
}
