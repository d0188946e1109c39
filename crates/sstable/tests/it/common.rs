//! What the tests share: entries, files in memory, a cache, and reading a whole table.

use base::{Cursor, FileNumber, InternalKey, InternalKeyRef, SeqNo, ValueKind};
use sstable::{
    Block, BlockCache, BlockCacheHandle, Error, Table, TableCursor, TableOptions, TableSummary,
    TableWriter,
};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use vfs::sim::SimFs;
use vfs::{Access, File, Fs, RealFs};

pub type Entry = (InternalKey, Vec<u8>);

pub fn key(user_key: &[u8], seq: u64, kind: ValueKind) -> InternalKey {
    InternalKeyRef::new(user_key, SeqNo::new(seq), kind).to_owned()
}

pub fn put(user_key: impl AsRef<[u8]>, seq: u64, value: impl AsRef<[u8]>) -> Entry {
    (key(user_key.as_ref(), seq, ValueKind::Put), value.as_ref().to_vec())
}

/// Every option as small as it goes, so that few entries make many blocks.
pub fn tiny_options() -> TableOptions {
    TableOptions {
        block_bytes: 256,
        partition_bytes: 200,
        restart_interval: 3,
        ..TableOptions::default()
    }
}

pub fn write(
    file: Arc<dyn File>,
    options: TableOptions,
    entries: &[Entry],
) -> Result<TableSummary, Error> {
    let mut writer = TableWriter::new(file, options);
    for (key, value) in entries {
        writer.add(key.as_ref(), value)?;
    }
    writer.finish()
}

/// The bytes of a table with these entries.
pub fn table_bytes(options: TableOptions, entries: &[Entry]) -> Vec<u8> {
    let fs = SimFs::new();
    let path = Path::new("/table");
    let file = fs.create(path).unwrap();
    write(Arc::clone(&file), options, entries).unwrap();
    read_all(&*file)
}

pub fn read_all(file: &dyn File) -> Vec<u8> {
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// A file with these contents.
pub fn file_of(bytes: &[u8]) -> Arc<dyn File> {
    let fs = SimFs::new();
    let path = Path::new("/table");
    let file = fs.create(path).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    fs.open(path, Access::Read).unwrap()
}

pub fn open(bytes: &[u8]) -> Result<Arc<Table>, Error> {
    Ok(Arc::new(Table::open(file_of(bytes), None)?))
}

pub fn open_cached(bytes: &[u8]) -> Result<(Arc<Table>, Arc<KeepAll>), Error> {
    let cache = Arc::new(KeepAll::default());
    let handle = BlockCacheHandle { cache: Arc::clone(&cache) as _, table: FileNumber::new(7) };
    Ok((Arc::new(Table::open(file_of(bytes), Some(handle))?), cache))
}

/// A table in a real file, mapped into memory; the file's folder goes with what holds it.
pub fn open_mapped(
    bytes: &[u8],
    cache: Option<BlockCacheHandle>,
) -> (tempfile::TempDir, Result<Arc<Table>, Error>) {
    let dir = tempfile::tempdir().unwrap();
    let (fs, path) = (RealFs::new(), dir.path().join("table"));
    fs.create(&path).unwrap().write_all_at(bytes, 0).unwrap();
    let file = fs.open(&path, Access::Read).unwrap();
    // SAFETY: nobody else knows of the file.
    let table = unsafe { Table::open_mapped(file, cache) };
    (dir, table.map(Arc::new))
}

/// A cache that keeps everything and counts.
#[derive(Default)]
pub struct KeepAll {
    pub blocks: Mutex<HashMap<(FileNumber, u64), Block>>,
    pub hits: Mutex<u64>,
    pub misses: Mutex<u64>,
    /// Bytes that tables may still keep, and how many blocks they do.
    pub room: Mutex<usize>,
    pub kept: Mutex<u64>,
}

impl BlockCache for KeepAll {
    fn get(&self, table: FileNumber, offset: u64) -> Option<Block> {
        let block = self.blocks.lock().unwrap().get(&(table, offset)).cloned();
        *if block.is_some() { &self.hits } else { &self.misses }.lock().unwrap() += 1;
        block
    }

    fn insert(&self, table: FileNumber, offset: u64, block: Block) {
        self.blocks.lock().unwrap().insert((table, offset), block);
    }

    fn keep(&self, bytes: usize) -> bool {
        let mut room = self.room.lock().unwrap();
        let left = room.checked_sub(bytes);
        *room = left.unwrap_or(*room);
        *self.kept.lock().unwrap() += u64::from(left.is_some());
        left.is_some()
    }
}

pub fn current(cursor: &TableCursor) -> Option<Entry> {
    cursor.is_valid().then(|| {
        assert_eq!(cursor.value_bytes(), cursor.value());
        (cursor.key().to_owned(), cursor.value().to_vec())
    })
}

pub fn forward(cursor: &mut TableCursor) -> Result<Vec<Entry>, Error> {
    let mut all = Vec::new();
    cursor.seek_to_first()?;
    while let Some(entry) = current(cursor) {
        all.push(entry);
        cursor.next()?;
    }
    Ok(all)
}

pub fn backward(cursor: &mut TableCursor) -> Result<Vec<Entry>, Error> {
    let mut all = Vec::new();
    cursor.seek_to_last()?;
    while let Some(entry) = current(cursor) {
        all.push(entry);
        cursor.prev()?;
    }
    all.reverse();
    Ok(all)
}

/// What a point read must find.
pub fn newest<'a>(entries: &'a [Entry], user_key: &[u8], at: SeqNo) -> Option<&'a Entry> {
    let first =
        entries.partition_point(|(key, _)| key.as_ref() < InternalKeyRef::seek_at(user_key, at));
    entries.get(first).filter(|(key, _)| *key.user_key == *user_key)
}
