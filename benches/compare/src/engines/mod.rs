//! The engines: what is asked of each, and how each is set up.
//!
//! One file for each engine. Every one is given the same [`Config`] and says in words what it made
//! of it, since no two have the same knobs.

mod baseline;
mod polder;

#[cfg(feature = "fjall")]
mod fjall;
#[cfg(feature = "leveldb")]
mod leveldb;
#[cfg(feature = "lmdb")]
mod lmdb;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use kit::Result;

use crate::keys::Key;
use crate::workload::{Kind, Workload};

/// How a database is opened; the same for every engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    /// Size at which a memtable is flushed, in bytes.
    pub(crate) write_buffer_bytes: u64,
    /// Memory for what was read, in bytes.
    pub(crate) cache_bytes: u64,
    /// Whether each write call returns only when it is on stable storage.
    pub(crate) sync: bool,
    /// The most memory that all of it may hold, for engines that can promise that.
    pub(crate) memory_budget: Option<u64>,
    /// Whether tables are read through a mapping, by engines for which that is an option.
    pub(crate) mmap_reads: bool,
}

/// How tables are read, in words.
fn reads(config: &Config) -> &'static str {
    if config.mmap_reads { "mapped" } else { "read by pread" }
}

/// Bits that a filter spends on a key.
const FILTER_BITS: u32 = 10;

/// An open database. Calls may come from several threads at once.
pub(crate) trait Engine: Sync {
    /// Writes one record.
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()>;

    /// Writes records, or deletes those keys that have no value, at once.
    fn write_batch(&self, records: &[(Key, Option<&[u8]>)]) -> Result<()>;

    /// Hands the value of `key` to `found`; false if there is none.
    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool>;

    /// Hands the value of each key that has one to `found`, with the position of the key.
    fn multi_get(&self, keys: &[Key], found: &mut dyn FnMut(usize, &[u8])) -> Result<()> {
        for (position, key) in keys.iter().enumerate() {
            self.get(key, &mut |value| found(position, value))?;
        }
        Ok(())
    }

    /// Hands up to `limit` records from `from` on to `each`, ascending; how many there were.
    fn scan(&self, from: &[u8], limit: u64, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<u64>;

    /// Hands the first record at or behind `from` to `each`; false if there is none.
    fn seek(&self, from: &[u8], each: &mut dyn FnMut(&[u8], &[u8])) -> Result<bool> {
        Ok(self.scan(from, 1, each)? == 1)
    }

    /// Writes what is in memory to tables, and waits for what compaction has to do, where the engine
    /// lets one ask for that.
    fn flush(&self) -> Result<()>;

    /// Compacts everything, where the engine lets one ask for that.
    fn compact(&self) -> Result<()>;

    /// Closes the database.
    fn close(self: Box<Self>) -> Result<()>;
}

/// An engine by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineName {
    Polder,
    Rocksdb,
    Fjall,
    Leveldb,
    Redb,
    Lmdb,
    PlainWrite,
    GroupCommit,
}

impl EngineName {
    /// All of them, in the order of the report.
    pub(crate) const ALL: [Self; 8] = [
        Self::Polder,
        Self::Rocksdb,
        Self::Fjall,
        Self::Leveldb,
        Self::Redb,
        Self::Lmdb,
        Self::PlainWrite,
        Self::GroupCommit,
    ];

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Polder => "polder",
            Self::Rocksdb => "rocksdb",
            Self::Fjall => "fjall",
            Self::Leveldb => "leveldb",
            Self::Redb => "redb",
            Self::Lmdb => "lmdb",
            Self::PlainWrite => "plain-write",
            Self::GroupCommit => "group-commit",
        }
    }

    /// Whether this build has it.
    pub(crate) fn is_built(self) -> bool {
        match self {
            Self::Polder | Self::PlainWrite | Self::GroupCommit => true,
            Self::Rocksdb => cfg!(feature = "rocksdb"),
            Self::Fjall => cfg!(feature = "fjall"),
            Self::Leveldb => cfg!(feature = "leveldb"),
            Self::Redb => cfg!(feature = "redb"),
            Self::Lmdb => cfg!(feature = "lmdb"),
        }
    }

    /// Whether it can run this workload: the baselines keep no index.
    pub(crate) fn runs(self, workload: Workload) -> bool {
        match self {
            Self::PlainWrite => workload.kind() == Kind::Write && workload != Workload::Overwrite,
            Self::GroupCommit => workload.kind() == Kind::SyncedWrite,
            _ => true,
        }
    }

    /// Opens the database in `path`, and makes it if there is none.
    pub(crate) fn open(self, path: &Path, config: &Config) -> Result<Box<dyn Engine>> {
        match self {
            Self::Polder => polder::open(path, config),
            Self::PlainWrite => baseline::open_plain_write(path),
            Self::GroupCommit => baseline::open_group_commit(path),
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => rocksdb::open(path, config),
            #[cfg(feature = "fjall")]
            Self::Fjall => fjall::open(path, config),
            #[cfg(feature = "leveldb")]
            Self::Leveldb => leveldb::open(path, config),
            #[cfg(feature = "redb")]
            Self::Redb => redb::open(path, config),
            #[cfg(feature = "lmdb")]
            Self::Lmdb => lmdb::open(path, config),
            #[allow(unreachable_patterns, reason = "reached unless every feature is on")]
            _ => Err(self.not_built().into()),
        }
    }

    /// What it makes of the configuration, in words.
    pub(crate) fn configuration(self, config: &Config) -> String {
        match self {
            Self::Polder => polder::configuration(config),
            Self::PlainWrite => baseline::PLAIN_WRITE.to_owned(),
            Self::GroupCommit => baseline::GROUP_COMMIT.to_owned(),
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => rocksdb::configuration(config),
            #[cfg(feature = "fjall")]
            Self::Fjall => fjall::configuration(config),
            #[cfg(feature = "leveldb")]
            Self::Leveldb => leveldb::configuration(config),
            #[cfg(feature = "redb")]
            Self::Redb => redb::configuration(config),
            #[cfg(feature = "lmdb")]
            Self::Lmdb => lmdb::configuration(config),
            #[allow(unreachable_patterns, reason = "reached unless every feature is on")]
            _ => self.not_built(),
        }
    }

    /// What to do to have it.
    pub(crate) fn not_built(self) -> String {
        format!(
            "{self} is not in this build: run `cargo xtask bench --compare --engines …,{self}`, or build \
             with `--features {self}`"
        )
    }
}

impl fmt::Display for EngineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for EngineName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|engine| engine.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("there is no engine `{name}`; there are: {names}")
        })
    }
}

#[cfg(test)]
mod tests;
