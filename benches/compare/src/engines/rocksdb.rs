//! RocksDB, built from the sources that its crate brings along.

use std::path::Path;

use kit::Result;
use kit::size::Size;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, Options,
    WaitForCompactOptions, WriteBatch, WriteBufferManager, WriteOptions,
};

use super::{Config, Engine, FILTER_BITS};
use crate::keys::Key;

/// The one column family; opened by name, since only then can it be named in `multi_get`.
const FAMILY: &str = "default";

struct Rocksdb {
    db: DB,
    write: WriteOptions,
}

/// Opens the database in `path`.
pub(super) fn open(path: &Path, config: &Config) -> Result<Box<dyn Engine>> {
    Ok(Box::new(open_with(path, config)?))
}

fn open_with(path: &Path, config: &Config) -> Result<Rocksdb> {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_write_buffer_size(usize::try_from(config.write_buffer_bytes)?);
    options.set_compression_type(DBCompressionType::None);
    options.set_allow_mmap_reads(config.mmap_reads);
    let mut tables = BlockBasedOptions::default();
    tables.set_bloom_filter(f64::from(FILTER_BITS), false);
    if let Some(budget) = config.memory_budget {
        let cache = Cache::new_lru_cache(usize::try_from(budget)?);
        let buffers = usize::try_from(2 * config.write_buffer_bytes)?;
        options.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager_with_cache(
            buffers,
            true,
            cache.clone(),
        ));
        tables.set_block_cache(&cache);
        tables.set_cache_index_and_filter_blocks(true);
    } else {
        tables.set_block_cache(&Cache::new_lru_cache(usize::try_from(config.cache_bytes)?));
    }
    options.set_block_based_table_factory(&tables);
    // A family that is opened by its name alone would have RocksDB's defaults.
    let family = ColumnFamilyDescriptor::new(FAMILY, options.clone());
    let mut write = WriteOptions::default();
    write.set_sync(config.sync);
    Ok(Rocksdb { db: DB::open_cf_descriptors(&options, path, [family])?, write })
}

/// The configuration in words.
pub(super) fn configuration(config: &Config) -> String {
    let (buffer, cache) = (Size(config.write_buffer_bytes), Size(config.cache_bytes));
    let memory = match config.memory_budget {
        Some(budget) => format!(
            "memtables, index, filters and blocks charged to one cache of {}, memtables at most {}",
            Size(budget),
            Size(2 * config.write_buffer_bytes)
        ),
        None => format!("block cache {cache} (LRU)"),
    };
    format!(
        "2 memtables of {buffer}, log on, no compression, {memory}, blocks of 4KiB, filter \
         {FILTER_BITS} bits a key, checksums verified, tables {}, 2 background jobs; all else its defaults",
        super::reads(config)
    )
}

impl Engine for Rocksdb {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.db.put_opt(key, value, &self.write)?)
    }

    fn write_batch(&self, records: &[(Key, Option<&[u8]>)]) -> Result<()> {
        let mut batch = WriteBatch::default();
        for (key, value) in records {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        Ok(self.db.write_opt(batch, &self.write)?)
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let value = self.db.get_pinned(key)?;
        Ok(value.is_some_and(|value| {
            found(&value);
            true
        }))
    }

    fn multi_get(&self, keys: &[Key], found: &mut dyn FnMut(usize, &[u8])) -> Result<()> {
        let family = self.db.cf_handle(FAMILY).ok_or("rocksdb has not opened its column family")?;
        let values = self.db.batched_multi_get_cf(family, keys, false);
        for (position, value) in values.into_iter().enumerate() {
            if let Some(value) = value? {
                found(position, &value);
            }
        }
        Ok(())
    }

    fn scan(&self, from: &[u8], limit: u64, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<u64> {
        let mut cursor = self.db.raw_iterator();
        cursor.seek(from);
        let mut records = 0;
        while let Some((key, value)) = cursor.item() {
            each(key, value);
            records += 1;
            if records == limit {
                break;
            }
            cursor.next();
        }
        cursor.status()?;
        Ok(records)
    }

    fn flush(&self) -> Result<()> {
        self.db.flush()?;
        Ok(self.db.wait_for_compact(&WaitForCompactOptions::default())?)
    }

    fn compact(&self) -> Result<()> {
        self.db.compact_range(None::<&[u8]>, None::<&[u8]>);
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.db.cancel_all_background_work(true);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{key, missing_key};

    #[test]
    fn the_column_family_has_the_options_that_are_printed() {
        let scratch = kit::scratch::Scratch::new(None).expect("folder");
        let cache_bytes = 3 << 20;
        let config = Config {
            write_buffer_bytes: 1 << 20,
            cache_bytes,
            sync: false,
            memory_budget: None,
            mmap_reads: false,
        };
        let database = open_with(&scratch.path().join("db"), &config).expect("open");
        let property = |name: &str| database.db.property_int_value(name).expect("a property");
        assert_eq!(property("rocksdb.block-cache-capacity"), Some(cache_bytes));
        // With a filter, keys that are not there need no block.
        (0..1000).for_each(|number| database.put(&key(number), b"value").expect("put"));
        database.flush().expect("flush");
        let before = property("rocksdb.block-cache-usage");
        for number in 0..100 {
            assert!(!database.get(&missing_key(number), &mut |_| ()).expect("get"));
        }
        let fetched =
            property("rocksdb.block-cache-usage").zip(before).map(|(now, then)| now - then);
        assert!(fetched.is_some_and(|bytes| bytes < 40 << 10), "{fetched:?}");
    }
}
