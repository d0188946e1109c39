//! fjall.

use std::path::Path;

use fjall::config::{BloomConstructionPolicy, FilterPolicy, FilterPolicyEntry};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use kit::Result;
use kit::size::Size;

use super::{Config, Engine, FILTER_BITS};
use crate::keys::Key;

struct Fjall {
    db: Database,
    keyspace: Keyspace,
    sync: bool,
}

/// Opens the database in `path`.
pub(super) fn open(path: &Path, config: &Config) -> Result<Box<dyn Engine>> {
    let db = Database::builder(path).cache_size(config.cache_bytes).open()?;
    let filter = FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(FILTER_BITS as f32));
    let keyspace = db.keyspace("default", || {
        KeyspaceCreateOptions::default()
            .max_memtable_size(config.write_buffer_bytes)
            .filter_policy(FilterPolicy::all(filter))
    })?;
    Ok(Box::new(Fjall { db, keyspace, sync: config.sync }))
}

/// The configuration in words.
pub(super) fn configuration(config: &Config) -> String {
    format!(
        "memtables of {}, journal handed to the kernel before a call returns, no compression, block cache {}, \
         blocks of 4KiB, filter {FILTER_BITS} bits a key on every level, checksums verified; multi_get: \
         single gets; all else its defaults",
        Size(config.write_buffer_bytes),
        Size(config.cache_bytes),
    )
}

impl Engine for Fjall {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.keyspace.insert(key, value)?;
        if self.sync {
            self.db.persist(PersistMode::SyncData)?;
        }
        Ok(())
    }

    fn write_batch(&self, records: &[(Key, Option<&[u8]>)]) -> Result<()> {
        let mut batch = self.db.batch();
        for (key, value) in records {
            match value {
                Some(value) => batch.insert(&self.keyspace, *key, *value),
                None => batch.remove(&self.keyspace, *key),
            }
        }
        batch.commit()?;
        if self.sync {
            self.db.persist(PersistMode::SyncData)?;
        }
        Ok(())
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let value = self.keyspace.get(key)?;
        Ok(value.is_some_and(|value| {
            found(&value);
            true
        }))
    }

    fn scan(&self, from: &[u8], limit: u64, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<u64> {
        let mut records = 0;
        for record in self.keyspace.range(from..) {
            let (key, value) = record.into_inner()?;
            each(&key, &value);
            records += 1;
            if records == limit {
                break;
            }
        }
        Ok(records)
    }

    fn flush(&self) -> Result<()> {
        Ok(self.keyspace.rotate_memtable_and_wait()?)
    }

    fn compact(&self) -> Result<()> {
        self.flush()?;
        Ok(self.keyspace.major_compact()?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.db.persist(PersistMode::SyncData)?)
    }
}
