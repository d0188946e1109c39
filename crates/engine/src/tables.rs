//! Table files as the engine holds them: opened on first use, read through the block cache.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::sync::OnceLock;

use base::FileNumber;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use sstable::{Block, BlockCache, BlockCacheHandle, Table, TableOptions};
use version::{FileName, TableMeta};
use vfs::{Access, File, Fs};

use crate::error::Error;
use crate::options::Options;

/// A table of a version: its reader once somebody has asked for it.
#[derive(Debug, Default)]
pub(crate) struct TableHandle {
    table: OnceLock<Arc<Table>>,
}

/// A table file in a version.
pub(crate) type TableFile = version::TableFile<TableHandle>;
/// The tables of one column family.
pub(crate) type FamilyLevels = version::FamilyLevels<TableHandle>;
/// All tables at one moment.
pub(crate) type Version = version::Version<TableHandle>;
/// The versions and their manifest.
pub(crate) type VersionSet = version::VersionSet<TableHandle>;

/// Bytes that the cache spends on a block beyond its contents.
const CACHE_ENTRY_BYTES: u64 = 96;

#[derive(Clone)]
struct BlockWeight;

impl Weighter<(FileNumber, u64), Block> for BlockWeight {
    fn weight(&self, _key: &(FileNumber, u64), block: &Block) -> u64 {
        block.memory_bytes() as u64 + CACHE_ENTRY_BYTES
    }
}

/// The block cache: bounded by the bytes that blocks hold.
struct Blocks(Cache<(FileNumber, u64), Block, BlockWeight>);

impl std::fmt::Debug for Blocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocks").field("bytes", &self.0.weight()).finish_non_exhaustive()
    }
}

impl BlockCache for Blocks {
    fn get(&self, table: FileNumber, offset: u64) -> Option<Block> {
        self.0.get(&(table, offset))
    }

    fn insert(&self, table: FileNumber, offset: u64, block: Block) {
        self.0.insert((table, offset), block);
    }
}

/// Opens, creates and removes table files.
#[derive(Debug)]
pub(crate) struct TableStore {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    blocks: Arc<Blocks>,
}

impl TableStore {
    pub(crate) fn new(fs: Arc<dyn Fs>, dir: &Path, options: &Options) -> Self {
        let capacity = options.block_cache_bytes;
        let items = (capacity / options.block_size as u64).max(16) as usize;
        Self {
            fs,
            dir: dir.to_owned(),
            blocks: Arc::new(Blocks(Cache::with_weighter(items, capacity, BlockWeight))),
        }
    }

    pub(crate) fn path(&self, number: FileNumber) -> PathBuf {
        FileName::Table(number).path_in(&self.dir)
    }

    /// The reader of `file`, opened if this is its first use.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Table`] when the file cannot be read or is damaged.
    #[inline]
    pub(crate) fn reader<'a>(&self, file: &'a TableFile) -> Result<&'a Arc<Table>, Error> {
        match file.handle.table.get() {
            Some(table) => Ok(table),
            None => {
                let table = self.open(&file.meta)?;
                // Two may have opened it at once: the first stays.
                Ok(file.handle.table.get_or_init(|| table))
            }
        }
    }

    #[cold]
    fn open(&self, meta: &TableMeta) -> Result<Arc<Table>, Error> {
        let path = self.path(meta.number);
        let file = self.fs.open(&path, Access::Read)?;
        let len = file.len()?;
        if len != meta.file_bytes {
            let found = format!("{len} bytes");
            return Err(Error::TableFile { path, expected: meta.file_bytes, found });
        }
        let cache = BlockCacheHandle {
            cache: Arc::clone(&self.blocks) as Arc<dyn BlockCache>,
            table: meta.number,
        };
        Ok(Arc::new(Table::open(file, Some(cache))?))
    }

    /// Opens the table that was just written as `meta`, which proves that it can be read.
    ///
    /// # Errors
    /// As [`TableStore::reader`].
    pub(crate) fn open_written(&self, meta: &TableMeta) -> Result<TableHandle, Error> {
        let handle = TableHandle::default();
        let table = self.open(meta)?;
        handle.table.get_or_init(|| table);
        Ok(handle)
    }

    /// Creates the file of a new table.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn create(&self, number: FileNumber) -> Result<Arc<dyn File>, Error> {
        Ok(self.fs.create(&self.path(number))?)
    }

    /// Makes the names of new tables durable.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn sync_dir(&self) -> Result<(), Error> {
        Ok(self.fs.sync_dir(&self.dir)?)
    }

    /// Removes a table's file; that it is not there is no error.
    fn remove(&self, number: FileNumber) -> Result<(), Error> {
        match self.fs.remove(&self.path(number)) {
            Err(error) if error.kind() != vfs::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Removes a table that is part of no version; if that fails, the next start does it.
    pub(crate) fn discard(&self, number: FileNumber) {
        if let Err(error) = self.remove(number) {
            tracing::warn!(error = &error as &dyn std::error::Error, %number, "a table stays until the next start");
        }
    }

    /// Bytes of blocks in the cache.
    pub(crate) fn cached_bytes(&self) -> u64 {
        self.blocks.0.weight()
    }
}

/// How tables are written under these options.
pub(crate) fn table_options(options: &Options) -> TableOptions {
    TableOptions {
        block_bytes: options.block_size,
        compression: options.compression,
        filter_bits_per_key: options.filter_bits_per_key,
        bytes_per_sync: options.bytes_per_sync,
        strict_bytes_per_sync: options.strict_bytes_per_sync,
        ..TableOptions::default()
    }
}
