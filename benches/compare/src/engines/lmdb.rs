//! LMDB, through heed: a copy-on-write B+-tree in a memory map, each call a transaction.

use std::path::Path;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions};
use kit::Result;

use super::{Config, Engine};
use crate::keys::Key;

/// Addresses that the map may take up; the file is as long as what is in it.
const MAP_BYTES: usize = 256 << 30;

struct Lmdb {
    env: Env,
    table: Database<'static, Bytes, Bytes>,
}

/// Opens the database in `path`.
pub(super) fn open(path: &Path, config: &Config) -> Result<Box<dyn Engine>> {
    std::fs::create_dir_all(path)?;
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES);
    if !config.sync {
        // SAFETY: without a sync a power cut may leave a broken file, which heed's contract asks the
        // caller to accept; a benchmark's database is made anew.
        unsafe { options.flags(EnvFlags::NO_SYNC) };
    }
    // SAFETY: the file is this process's alone, and nobody else changes it while it is mapped.
    let env = unsafe { options.open(path)? };
    let table = env.create_databases_and_commit(env.write_txn()?, |opener, transaction| {
        opener.create_database(transaction, None).map(CommitOrAbort::<_, ()>::Commit)
    })?;
    let table = table.unwrap_commit();
    Ok(Box::new(Lmdb { env, table }))
}

/// The configuration in words.
pub(super) fn configuration(config: &Config) -> String {
    let sync = if config.sync { "each synced" } else { "never synced (a power cut may break it)" };
    format!("B+-tree without a log, a transaction a call, {sync}, cached by the kernel alone")
}

impl Engine for Lmdb {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let mut transaction = self.env.write_txn()?;
        self.table.put(&mut transaction, key, value)?;
        Ok(transaction.commit()?)
    }

    fn write_batch(&self, records: &[(Key, Option<&[u8]>)]) -> Result<()> {
        let mut transaction = self.env.write_txn()?;
        for (key, value) in records {
            match value {
                Some(value) => self.table.put(&mut transaction, key, value)?,
                None => drop(self.table.delete(&mut transaction, key)?),
            }
        }
        Ok(transaction.commit()?)
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let transaction = self.env.read_txn()?;
        Ok(self.table.get(&transaction, key)?.is_some_and(|value| {
            found(value);
            true
        }))
    }

    fn multi_get(&self, keys: &[Key], found: &mut dyn FnMut(usize, &[u8])) -> Result<()> {
        let transaction = self.env.read_txn()?;
        for (position, key) in keys.iter().enumerate() {
            if let Some(value) = self.table.get(&transaction, key)? {
                found(position, value);
            }
        }
        Ok(())
    }

    fn scan(&self, from: &[u8], limit: u64, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<u64> {
        use std::ops::Bound;
        let transaction = self.env.read_txn()?;
        let mut records = 0;
        let bounds = (Bound::Included(from), Bound::Unbounded);
        for record in self.table.range(&transaction, &bounds)? {
            let (key, value) = record?;
            each(key, value);
            records += 1;
            if records == limit {
                break;
            }
        }
        Ok(records)
    }

    fn flush(&self) -> Result<()> {
        Ok(self.env.force_sync()?)
    }

    fn compact(&self) -> Result<()> {
        self.flush()
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.flush()
    }
}
