//! The database under test: the only file of this package that calls the engine.

use std::path::Path;

use crate::Result;
use crate::source::Action;

pub(crate) use engine::{Compression, Options, Stats, WriteBatch};
use engine::{Db, WriteOptions};

/// An open database.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    db: Db,
}

impl Target {
    /// Opens the database in `path`.
    pub(crate) fn open(path: &Path, options: Options) -> Result<Self> {
        Ok(Self { db: Db::open(path, options)? })
    }

    /// One operation by the plain calls, not synced.
    pub(crate) fn apply(&self, action: Action, key: &[u8], value: &[u8]) -> Result<()> {
        match action {
            Action::Put => self.db.put(key, value)?,
            Action::Delete => self.db.delete(key)?,
        }
        Ok(())
    }

    /// A batch of operations.
    pub(crate) fn write(&self, batch: &WriteBatch, sync: bool) -> Result<()> {
        Ok(self.db.write(batch, &WriteOptions { sync, ..WriteOptions::default() })?)
    }

    /// Writes everything that is in memory into tables.
    pub(crate) fn flush(&self) -> Result<()> {
        Ok(self.db.flush()?)
    }

    /// Compacts everything.
    pub(crate) fn compact(&self) -> Result<()> {
        Ok(self.db.compact()?)
    }

    /// What the engine has counted since it was opened.
    pub(crate) fn stats(&self) -> Stats {
        self.db.stats()
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<impl AsRef<[u8]> + use<>>> {
        Ok(self.db.get(key)?)
    }

    /// All records in key order.
    pub(crate) fn scan(
        &self,
    ) -> Result<impl Iterator<Item = Result<(impl AsRef<[u8]>, impl AsRef<[u8]>)>>> {
        Ok(self.db.iter()?.map(|record| Ok(record?)))
    }

    /// Closes the database; what was not synced is.
    pub(crate) fn close(self) -> Result<()> {
        Ok(self.db.close()?)
    }
}
