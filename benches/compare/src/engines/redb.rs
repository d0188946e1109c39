//! redb: a copy-on-write B+-tree, each call a transaction.

use std::path::Path;

use kit::Result;
use kit::size::Size;
use redb::{Database, Durability, ReadableDatabase, TableDefinition};

use super::{Config, Engine};
use crate::keys::Key;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("default");

struct Redb {
    db: Database,
    durability: Durability,
}

/// Opens the database in `path`.
pub(super) fn open(path: &Path, config: &Config) -> Result<Box<dyn Engine>> {
    std::fs::create_dir_all(path)?;
    let db = Database::builder()
        .set_cache_size(usize::try_from(config.cache_bytes + config.write_buffer_bytes)?)
        .create(path.join("data.redb"))?;
    let transaction = db.begin_write()?;
    transaction.open_table(TABLE)?;
    transaction.commit()?;
    let durability = if config.sync { Durability::Immediate } else { Durability::None };
    Ok(Box::new(Redb { db, durability }))
}

/// The configuration in words.
pub(super) fn configuration(config: &Config) -> String {
    let durability = if config.sync { "immediate" } else { "none (a killed process loses it)" };
    format!(
        "B+-tree without a log, a transaction a call, durability {durability}, cache {}",
        Size(config.cache_bytes + config.write_buffer_bytes)
    )
}

impl Redb {
    fn write(&self, records: &[(&[u8], Option<&[u8]>)]) -> Result<()> {
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(self.durability)?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for (key, value) in records {
                match value {
                    Some(value) => drop(table.insert(*key, *value)?),
                    None => drop(table.remove(*key)?),
                }
            }
        }
        Ok(transaction.commit()?)
    }
}

impl Engine for Redb {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.write(&[(key, Some(value))])
    }

    fn write_batch(&self, records: &[(Key, Option<&[u8]>)]) -> Result<()> {
        let records: Vec<_> = records.iter().map(|(key, value)| (&key[..], *value)).collect();
        self.write(&records)
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let table = self.db.begin_read()?.open_table(TABLE)?;
        Ok(table.get(key)?.is_some_and(|value| {
            found(value.value());
            true
        }))
    }

    fn scan(&self, from: &[u8], limit: u64, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<u64> {
        let table = self.db.begin_read()?.open_table(TABLE)?;
        let mut records = 0;
        for record in table.range(from..)? {
            let (key, value) = record?;
            each(key.value(), value.value());
            records += 1;
            if records == limit {
                break;
            }
        }
        Ok(records)
    }

    fn flush(&self) -> Result<()> {
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        Ok(transaction.commit()?)
    }

    fn compact(&self) -> Result<()> {
        self.flush()
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.flush()
    }
}
