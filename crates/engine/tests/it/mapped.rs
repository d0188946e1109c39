//! Tables read through a mapping: `Options::allow_mmap_reads`.

use crate::support::{all, chain, open, small};
use engine::{Bytes, Compression, Db, Options, ReadOptions};
use std::path::{Path, PathBuf};

const KEYS: u32 = 400;

fn value(key: u32) -> Vec<u8> {
    vec![key as u8; if key.is_multiple_of(4) { 6000 } else { 300 }]
}

fn options(compression: Compression) -> Options {
    Options { allow_mmap_reads: true, compression, ..small() }
}

fn fill(db: &Db) {
    for key in 0..KEYS {
        db.put(key.to_be_bytes(), value(key)).unwrap();
    }
    db.compact().unwrap();
}

fn tables(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|e| e == "sst")).collect()
}

/// Whether the bytes lie in a mapping of a table below `dir`, and whether that table's name has gone.
#[cfg(target_os = "linux")]
fn lies_in_table(bytes: &[u8], dir: &Path) -> Option<bool> {
    let at = bytes.as_ptr() as usize;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let address = |text| usize::from_str_radix(text, 16).unwrap();
        (address(start)..address(end)).contains(&at)
    });
    let line = line.expect("every byte lies in some mapping");
    (line.contains(&*dir.to_string_lossy()) && line.contains(".sst"))
        .then(|| line.ends_with("(deleted)"))
}

/// Nothing but the index is cached, and a value that is kept outlives its table's name, the database and its lock.
#[test]
#[cfg(target_os = "linux")]
fn a_value_outlives_its_table_and_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    let db = open(&path, &options(Compression::None));
    fill(&db);
    let held: Vec<(u32, Bytes)> = (0..KEYS)
        .step_by(4)
        .map(|key| (key, db.get(key.to_be_bytes()).unwrap().unwrap()))
        .collect();
    let walked = db.iter().unwrap().map(|entry| entry.unwrap().1);
    let walked: Vec<_> = (0..KEYS).zip(walked).filter(|(key, _)| key % 4 == 0).collect();
    let mut iter = db.iter().unwrap();
    assert_eq!(iter.by_ref().take(20).count(), 20);
    let mapped = held.iter().chain(&walked).filter(|(_, v)| lies_in_table(v, &path) == Some(false));
    assert!(mapped.count() >= 20, "large values lie in their tables until the ceiling of pins");
    assert!(db.stats().block_cache_bytes < 32 << 10, "{:?}", db.stats());
    let before = tables(&path);
    // Every table is written anew.
    for key in 0..KEYS {
        db.put(key.to_be_bytes(), [1; 300]).unwrap();
    }
    db.compact().unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while before.iter().any(|path| path.exists()) {
        assert!(std::time::Instant::now() < until, "{before:?} are still there");
        std::thread::yield_now();
    }
    assert_eq!(iter.count(), KEYS as usize - 20);
    assert_eq!(db.get(8u32.to_be_bytes()).unwrap().as_deref(), Some(&[1; 300][..]));
    db.close().unwrap();
    let again = open(&path, &options(Compression::None));
    fill(&again);
    let gone = held.iter().chain(&walked).filter(|(_, v)| lies_in_table(v, &path) == Some(true));
    assert!(gone.count() >= 20);
    for (key, kept) in held.iter().chain(&walked) {
        assert!(*kept == value(*key), "{key}");
    }
}

/// All ways to read, and `verify`, of mapped tables and of compressed ones, which are read as ever.
#[test]
fn all_reads_are_the_same() {
    for compression in [Compression::None, Compression::Lz4] {
        let dir = tempfile::tempdir().unwrap();
        let db = open(dir.path(), &options(compression));
        fill(&db);
        let keys: Vec<_> = (0..KEYS + 10).map(u32::to_be_bytes).collect();
        for verify_checksums in [true, false, true] {
            let how = ReadOptions { verify_checksums, ..ReadOptions::default() };
            let found = db.multi_get(&keys, &how).unwrap();
            for (key, found) in (0..).zip(found) {
                let expected = (key < KEYS).then(|| value(key));
                assert!(found.as_deref() == expected.as_deref());
                let lent = db.get_map(key.to_be_bytes(), &how, <[u8]>::to_vec).unwrap();
                assert!(lent == expected);
            }
        }
        let expected = (0..KEYS).map(|key| (key.to_be_bytes().to_vec(), value(key)));
        assert!(all(&db).into_iter().eq(expected));
        assert_eq!(db.verify(|fault| panic!("{fault}")).unwrap().entries, u64::from(KEYS));
    }
}

/// What a block says after it was verified once does not get into another table unseen.
#[test]
fn a_compaction_verifies_what_was_verified_before() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &options(Compression::None));
    fill(&db);
    assert_eq!(all(&db).len(), KEYS as usize);
    // As a disk would that has changed its mind: in place, without a change of length.
    let path = tables(dir.path()).into_iter().min().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[5000] ^= 1;
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::io::Write::write_all(&mut &file, &bytes).unwrap();
    for key in 0..KEYS {
        db.put(key.to_be_bytes(), [1; 300]).unwrap();
    }
    let refused = db.compact().unwrap_err();
    assert!(chain(&refused).contains("damaged"), "{}", chain(&refused));
}
