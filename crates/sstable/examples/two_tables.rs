//! Writes two sorted files, looks up in them, and merges them into a third.
//!
//! `cargo run -p polder-sstable --example two_tables`

use base::{Cursor, InternalKeyRef, SeqNo, ValueKind};
use sstable::{Compression, FoundRef, ReadBlocks, Table, TableOptions, TableSummary, TableWriter};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use vfs::{Access, Fs, RealFs};

/// Entries of each file: the even numbers in one, those that three divides in the other.
const COUNT: u64 = 50_000;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let fs = RealFs::new();
    let [evens, threes, merged] = ["evens", "threes", "merged"].map(|name| dir.path().join(name));
    write(&fs, &evens, 2, "even")?;
    write(&fs, &threes, 3, "by three")?;
    let (evens, threes) = (open(&fs, &evens)?, open(&fs, &threes)?);

    for number in [12, 13, 14, 15] {
        println!("{number}: {} {}", look_up(&evens, number)?, look_up(&threes, number)?);
    }

    let summary = merge(&evens, &threes, &fs, &merged)?;
    let (bytes, entries) = (summary.file_bytes, summary.entries);
    println!("merged: {entries} entries in {bytes} bytes");
    let merged = open(&fs, &merged)?;
    merged.verify()?;

    // Of a number that both had there are two versions, the newer first; keys that ascend are looked up together.
    let keys: Vec<[u8; 8]> = (0..10u64).map(u64::to_be_bytes).collect();
    let show = |place: usize, found: FoundRef<'_>| {
        println!("{place}: {} at {}", found.value.escape_ascii(), found.seq);
    };
    merged.multi_get(&keys, SeqNo::MAX, &ReadBlocks::DEFAULT, show)?;
    Ok(())
}

/// Writes the multiples of `factor`, all as of the sequence number `factor`.
fn write(fs: &dyn Fs, path: &Path, factor: u64, value: &str) -> Result<(), Box<dyn Error>> {
    let options = TableOptions { compression: Compression::None, ..TableOptions::default() };
    let mut writer = TableWriter::new(fs.create(path)?, options);
    for number in 0..COUNT {
        let user_key = (number * factor).to_be_bytes();
        let key = InternalKeyRef::new(&user_key, SeqNo::new(factor), ValueKind::Put);
        writer.add(key, value.as_bytes())?;
    }
    writer.finish()?;
    Ok(())
}

fn open(fs: &dyn Fs, path: &Path) -> Result<Arc<Table>, Box<dyn Error>> {
    Ok(Arc::new(Table::open(fs.open(path, Access::Read)?, None)?))
}

fn look_up(table: &Table, number: u64) -> Result<String, sstable::Error> {
    let found = table.get(&number.to_be_bytes(), SeqNo::MAX)?;
    Ok(found.map_or("-".to_owned(), |found| found.value.escape_ascii().to_string()))
}

/// Writes the entries of both into a new file, in order.
fn merge(
    a: &Arc<Table>,
    b: &Arc<Table>,
    fs: &dyn Fs,
    path: &Path,
) -> Result<TableSummary, Box<dyn Error>> {
    let (mut a, mut b) = (a.cursor(), b.cursor());
    a.seek_to_first()?;
    b.seek_to_first()?;
    let mut writer = TableWriter::new(fs.create(path)?, TableOptions::default());
    while a.is_valid() && b.is_valid() {
        let lesser = if a.key() < b.key() { &mut a } else { &mut b };
        writer.add(lesser.key(), lesser.value())?;
        lesser.next()?;
    }
    for rest in [&mut a, &mut b] {
        writer.write_all(rest)?;
    }
    Ok(writer.finish()?)
}
