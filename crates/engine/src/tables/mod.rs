//! Table files as the engine holds them: created, opened, removed, and read through the block cache.

mod cache;
mod mapped;
mod part;
mod readers;
mod records;
mod shard;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::FileNumber;
use sstable::{BlockCache, BlockCacheHandle, Compression, Table, TableOptions};
use version::{FileName, TableMeta};
use vfs::{Access, File, Fs};

use crate::budget::Budget;
use crate::error::Error;
use crate::options::Options;
use crate::read::paid::Account;
use crate::tables::cache::Blocks;
use crate::tables::readers::{Place, Readers, TableCache};

pub(crate) use crate::tables::readers::Reader;

/// A table of a version: the place of its reader, and what reads have paid for it.
#[derive(Debug, Default)]
pub(crate) struct TableHandle {
    place: Arc<Place>,
    pub(crate) account: Account,
}

/// A table file in a version.
pub(crate) type TableFile = version::TableFile<TableHandle>;
/// The tables of one column family.
pub(crate) type FamilyLevels = version::FamilyLevels<TableHandle>;
/// All tables at one moment.
pub(crate) type Version = version::Version<TableHandle>;
/// The versions and their manifest.
pub(crate) type VersionSet = version::VersionSet<TableHandle>;

/// Opens, creates and removes table files.
#[derive(Debug)]
pub(crate) struct TableStore {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    blocks: Arc<Blocks>,
    readers: Arc<Readers>,
    /// [`Options::allow_mmap_reads`].
    maps: bool,
}

/// How the table files' memory stands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TableMemory {
    /// What blocks and records in the cache take.
    pub(crate) cached_bytes: u64,
    /// What the records of these take, and look-ups that found one.
    pub(crate) records: (u64, u64),
    /// What the budget has the cache down for.
    pub(crate) granted_bytes: u64,
    /// Look-ups in the cache that found their block, and those that did not.
    pub(crate) looked_up: (u64, u64),
    /// Table files that are open.
    pub(crate) open_tables: u64,
    /// What their readers take.
    pub(crate) reader_bytes: u64,
}

impl TableStore {
    pub(crate) fn new(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: &Options,
        budget: &Budget,
    ) -> Result<Self, credit::ChildError> {
        let blocks = Blocks::new(&budget.all, options.cache_bytes_max(), options.cache_records)?;
        let readers =
            Readers::new(options.max_open_tables, budget.tables.clone(), Arc::clone(&blocks));
        Ok(Self {
            fs,
            dir: dir.to_owned(),
            blocks,
            readers: Arc::new(readers),
            maps: options.allow_mmap_reads,
        })
    }

    pub(crate) fn fs(&self) -> &dyn Fs {
        &*self.fs
    }

    pub(crate) fn path(&self, number: FileNumber) -> PathBuf {
        FileName::Table(number).path_in(&self.dir)
    }

    /// The reader of `file`, opened if it is not.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Table`] when the file cannot be read or is damaged.
    #[inline]
    pub(crate) fn reader(&self, file: &TableFile) -> Result<Reader, Error> {
        match file.handle.place.reader() {
            Some(reader) => Ok(reader),
            None => Ok(Reader::Own(self.open(&file.meta, &file.handle.place)?)),
        }
    }

    /// Opens a table, and keeps its reader in `place` if there is room for it.
    #[cold]
    fn open(&self, meta: &TableMeta, place: &Arc<Place>) -> Result<Arc<Table>, Error> {
        let cache = self.readers.admit();
        let path = self.path(meta.number);
        let file = self.fs.open(&path, Access::Read)?;
        let len = file.len()?;
        if len != meta.file_bytes {
            let found = format!("{len} bytes");
            return Err(Error::TableFile { path, expected: meta.file_bytes, found });
        }
        let handle = BlockCacheHandle {
            cache: Arc::<TableCache>::clone(&cache) as Arc<dyn BlockCache>,
            table: meta.number,
        };
        let table = Table::open(file, Some(handle))?;
        let table = Arc::new(if self.maps { mapped::if_plain(table) } else { table });
        self.readers.keep(place, &table, &cache);
        Ok(table)
    }

    /// Opens the table that was just written as `meta`, which proves that it can be read.
    ///
    /// # Errors
    /// As [`TableStore::reader`].
    pub(crate) fn open_written(&self, meta: &TableMeta) -> Result<TableHandle, Error> {
        let handle = TableHandle::default();
        self.open(meta, &handle.place)?;
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
        self.blocks.forget(number);
        if let Err(error) = self.remove(number) {
            tracing::warn!(error = &error as &dyn std::error::Error, %number, "a table stays until the next start");
        }
    }

    /// How their memory stands.
    pub(crate) fn memory(&self) -> TableMemory {
        TableMemory {
            cached_bytes: self.blocks.used_bytes(),
            records: self.blocks.records(),
            granted_bytes: self.blocks.granted_bytes(),
            looked_up: self.blocks.looked_up(),
            open_tables: self.readers.open_count() as u64,
            reader_bytes: self.readers.held_bytes(),
        }
    }
}

/// How tables are written under these options, compressed in this way.
pub(crate) fn table_options(options: &Options, compression: Compression) -> TableOptions {
    TableOptions {
        block_bytes: options.block_size,
        compression,
        filter_bits_per_key: options.filter_bits_per_key,
        bytes_per_sync: options.bytes_per_sync,
        strict_bytes_per_sync: options.strict_bytes_per_sync,
        ..TableOptions::default()
    }
}
