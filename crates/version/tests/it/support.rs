//! What the tests share: tables, sets, and what is seen of them.

use std::path::Path;
use std::sync::Arc;

use base::{FamilyId, FileNumber, InternalKey, SegmentNumber, SeqNo, ValueKind};
use version::{
    Error, FileName, ManifestOptions, TableMeta, Version, VersionEdit, VersionNumber, VersionSet,
    Wake, files,
};
use vfs::Fs;
use vfs::sim::SimFs;

pub const DIR: &str = "/db";
pub const DEFAULT: FamilyId = FamilyId::DEFAULT;

/// A set whose handles are the numbers of their tables.
pub type Set = VersionSet<u64>;

pub fn dir() -> &'static Path {
    Path::new(DIR)
}

pub fn no_wake() -> Wake {
    Box::new(|| {})
}

/// A manifest this short is replaced every few edits.
pub fn short() -> ManifestOptions {
    ManifestOptions { max_bytes: 700 }
}

pub fn create(fs: &SimFs, options: ManifestOptions) -> Result<Set, Error> {
    VersionSet::create(Arc::new(fs.clone()), dir(), options, no_wake())
}

pub fn recover(fs: &SimFs, options: ManifestOptions) -> Result<Set, Error> {
    VersionSet::recover(Arc::new(fs.clone()), dir(), options, no_wake(), |table| {
        Ok(table.number.get())
    })
}

/// A table with one key; `id` is that key and is kept in the figures too.
pub fn meta(number: FileNumber, id: u64) -> TableMeta {
    let key = InternalKey {
        user_key: format!("{id:06}").as_bytes().into(),
        seq: SeqNo::new(id),
        kind: ValueKind::Put,
    };
    TableMeta {
        number,
        file_bytes: id,
        entries: id,
        tombstones: 0,
        smallest: key.clone(),
        largest: key,
        min_seq: SeqNo::new(id),
        max_seq: SeqNo::new(id),
        created: VersionNumber::ZERO,
    }
}

/// Writes a table's file, durably.
pub fn write_table(fs: &dyn Fs, table: &TableMeta) -> vfs::Result<()> {
    let file = fs.create(&FileName::Table(table.number).path_in(dir()))?;
    file.write_all_at(&vec![7; table.file_bytes as usize], 0)?;
    file.sync_all()?;
    fs.sync_dir(dir())
}

/// A new table of `set`, its file written.
pub fn new_table(fs: &SimFs, set: &Set, id: u64) -> TableMeta {
    let table = meta(set.new_file_number(), id);
    write_table(fs, &table).unwrap();
    table
}

pub fn add(level: u32, table: &TableMeta) -> VersionEdit {
    VersionEdit { added_tables: vec![(DEFAULT, level, table.clone())], ..VersionEdit::default() }
}

pub fn remove(level: u32, table: &TableMeta) -> VersionEdit {
    VersionEdit { removed_tables: vec![(DEFAULT, level, table.number)], ..VersionEdit::default() }
}

/// Writes a table's file and applies an edit that adds it to level 0; answers the table.
pub fn flush(fs: &SimFs, set: &Set, id: u64) -> TableMeta {
    let table = new_table(fs, set, id);
    set.apply(add(0, &table), vec![table.number.get()]).unwrap();
    table
}

/// All that a version says but the numbers of files, which depend on what failed before.
pub fn fingerprint(version: &Version<u64>) -> String {
    use std::fmt::Write;
    let mut text = format!(
        "version {} log {} seq {}\n",
        version.number(),
        version.log_from(),
        version.last_seq()
    );
    for family in version.families() {
        let (id, name, flushed) = (family.id(), family.name(), family.flushed_seq());
        writeln!(text, "{id} {name} flushed {flushed}").unwrap();
        for (level, tables) in family.levels().levels().enumerate() {
            for table in tables {
                let meta = &table.meta;
                writeln!(text, "  L{level} {} created {}", meta.entries, meta.created).unwrap();
                assert_eq!(table.handle, meta.number.get(), "the handle belongs to the table");
            }
        }
    }
    text
}

/// The names in the database's directory.
pub fn listing(fs: &SimFs) -> Vec<String> {
    fs.list(dir()).unwrap().into_iter().map(|entry| entry.name).collect()
}

/// Removes the orphans, as an engine does when it has opened a database.
pub fn remove_orphans(fs: &SimFs, set: &Set) -> Result<(), Error> {
    let live = set.secure()?;
    let names = fs.list(dir())?;
    for file in files::orphans(names.iter().map(|entry| entry.name.as_str()), &live) {
        fs.remove(&file.path_in(dir()))?;
    }
    Ok(())
}

/// Removes what the set hands out; what fails stays for the next start.
pub fn remove_reclaimable(fs: &SimFs, set: &Set) {
    for number in set.take_reclaimable() {
        drop(fs.remove(&FileName::Table(number).path_in(dir())));
    }
}

/// What there should be in the directory: the tables of the current version, `CURRENT`, and one manifest.
pub fn assert_no_leak(fs: &SimFs, set: &Set) {
    let mut expected: Vec<String> =
        set.current().tables().map(|t| FileName::Table(t.meta.number).to_string()).collect();
    expected.push("CURRENT".to_owned());
    expected.push(FileName::Manifest(set.secure().unwrap().manifest).to_string());
    expected.sort();
    assert_eq!(listing(fs), expected);
}

pub fn log(segment: u64) -> Option<SegmentNumber> {
    Some(SegmentNumber::new(segment))
}
