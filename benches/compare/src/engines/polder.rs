//! Polder.

use std::path::Path;

use engine::{Compression, Db, Options, ReadOptions, WriteBatch, WriteOptions};
use kit::Result;
use kit::size::Size;

use super::{Config, Engine, FILTER_BITS};
use crate::keys::Key;

/// Memtables, the one that takes writes included: as many as RocksDB has by default.
const MEMTABLES: u64 = 2;

struct Polder {
    db: Db,
    sync: bool,
}

fn options(config: &Config) -> Options {
    let write_budget = config.write_buffer_bytes * MEMTABLES;
    let wal_window_bytes = Options::default().wal_window_bytes;
    // What an engine with a cache of its own may hold in all, and the log's windows; small ones need a little more.
    let all = write_budget + wal_window_bytes + config.cache_bytes;
    let least = (write_budget + wal_window_bytes) / 13 * 16 + 64;
    Options {
        memory_budget: config.memory_budget.or(Some(all.max(least))),
        allow_mmap_reads: config.mmap_reads,
        // Without a budget for all that is read and written, each has its own, as in the other engines.
        block_cache_bytes: config.memory_budget.is_none().then_some(config.cache_bytes),
        write_budget: Some(write_budget),
        write_buffer_size: config.write_buffer_bytes,
        max_write_buffer_number: MEMTABLES as usize,
        compression: Compression::None,
        filter_bits_per_key: FILTER_BITS,
        ..Options::default()
    }
}

/// Opens the database in `path`.
pub(super) fn open(path: &Path, config: &Config) -> Result<Box<dyn Engine>> {
    Ok(Box::new(Polder { db: Db::open(path, options(config))?, sync: config.sync }))
}

/// The configuration in words.
pub(super) fn configuration(config: &Config) -> String {
    let options = options(config);
    let memory = Size(options.memory_budget.unwrap_or(0));
    let memory = match options.block_cache_bytes {
        Some(cache) => format!("block cache {} (S3-FIFO), memory budget {memory}", Size(cache)),
        None => format!(
            "a memory budget of {memory} of which the block cache has what memtables and log do not hold"
        ),
    };
    format!(
        "{MEMTABLES} memtables of {}, write budget {}, log handed to the kernel before a call returns, no \
         compression, {memory}, blocks of {}, filter {FILTER_BITS} bits a key, checksums \
         verified, tables {}",
        Size(options.write_buffer_size),
        options.write_budget.map_or_else(|| "off".to_owned(), |bytes| Size(bytes).to_string()),
        Size(options.block_size as u64),
        super::reads(config),
    )
}

impl Engine for Polder {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        if !self.sync {
            return Ok(self.db.put(key, value)?);
        }
        let mut batch = WriteBatch::new();
        batch.put(key, value);
        Ok(self.db.write(&batch, &WriteOptions { sync: true, ..WriteOptions::default() })?)
    }

    fn write_batch(&self, records: &[(Key, Option<&[u8]>)]) -> Result<()> {
        let mut batch = WriteBatch::new();
        for (key, value) in records {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            };
        }
        Ok(self.db.write(&batch, &WriteOptions { sync: self.sync, ..WriteOptions::default() })?)
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(self.db.get_map(key, &ReadOptions::default(), found)?.is_some())
    }

    fn multi_get(&self, keys: &[Key], found: &mut dyn FnMut(usize, &[u8])) -> Result<()> {
        Ok(self.db.multi_get_map(keys, &ReadOptions::default(), found)?)
    }

    fn scan(&self, from: &[u8], limit: u64, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<u64> {
        let mut records = 0;
        let mut entries = self.db.range(from..)?;
        while let Some((key, value)) = entries.next_entry()? {
            each(key, value);
            records += 1;
            if records == limit {
                break;
            }
        }
        Ok(records)
    }

    fn flush(&self) -> Result<()> {
        self.db.flush()?;
        Ok(self.db.wait_for_compaction()?)
    }

    fn compact(&self) -> Result<()> {
        Ok(self.db.compact()?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.db.close()?)
    }
}
