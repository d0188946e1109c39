//! `Db::verify`: every block of every table of every family.

use crate::support::{chain, open, small};
use engine::{Compression, Db, Options};
use std::path::{Path, PathBuf};

/// Several levels in two families, with a few tables each.
fn filled(dir: &Path) -> Db {
    let db = open(dir, &Options { compression: Compression::None, ..small() });
    let other = db.create_family("other").unwrap();
    for number in 0..1500u32 {
        db.put(number.to_be_bytes(), [7; 300]).unwrap();
        other.put(number.to_be_bytes(), [8; 100]).unwrap();
    }
    db.flush().unwrap();
    db.wait_for_compaction().unwrap();
    db
}

fn tables(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut tables: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|e| e == "sst")).collect();
    tables.sort();
    tables
}

/// K: nothing is wrong with what nobody has touched, and all of it is read.
#[test]
fn a_sound_database_has_no_faults() {
    let dir = tempfile::tempdir().unwrap();
    let db = filled(dir.path());
    let report = db.verify(|fault| panic!("{fault}")).unwrap();
    assert_eq!((report.entries, report.faults), (3000, 0));
    // What compactions have read may still be there for a moment.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while tables(dir.path()).len() as u64 != report.tables {
        assert!(std::time::Instant::now() < until, "{report:?}");
        std::thread::yield_now();
    }
    assert!(report.tables >= 2 && report.blocks > 3 * report.tables, "{report:?}");
}

/// K: a flipped bit anywhere in any file is found while the database is open, and said to be where it is.
#[test]
fn a_flipped_bit_in_each_file_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let db = filled(dir.path());
    for key in 0..1500u32 {
        db.get(key.to_be_bytes()).unwrap(); // all blocks are in the cache, and all tables open
    }
    for path in tables(dir.path()) {
        let bytes = std::fs::read(&path).unwrap();
        // The format's version, in the last bytes, is an error of another kind.
        let end = bytes.len() - 16;
        for at in (0..end).step_by(end / 12).chain([end - 16]) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 16;
            std::fs::write(&path, &damaged).unwrap();
            let mut faults = Vec::new();
            let report = db.verify(|fault| faults.push(fault)).unwrap();
            assert_eq!(report.faults, faults.len() as u64);
            let fault = faults.first().unwrap_or_else(|| panic!("byte {at} of {}", path.display()));
            assert!(faults.iter().all(|fault| fault.path == path), "byte {at}: {faults:?}");
            assert!(chain(&fault.error).contains("damaged"), "byte {at}: {}", chain(&fault.error));
            assert!(["default", "other"].contains(&&*fault.family));
            let offset = fault.offset.expect("the fault lies in one place") as usize;
            assert!(offset <= at, "byte {at}: said to be at {offset}");
            if let Some(block) = fault.block {
                assert!(format!("{fault}").contains(&block.to_string()), "{fault}");
            }
        }
        std::fs::write(&path, &bytes).unwrap();
    }
    assert_eq!(db.verify(|fault| panic!("{fault}")).unwrap().faults, 0);
}

/// K: a file that is cut, or gone, is a fault like any other, and the rest is looked at.
#[test]
fn a_file_that_is_cut_or_gone_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let db = filled(dir.path());
    let paths = tables(dir.path());
    let bytes = std::fs::read(&paths[0]).unwrap();
    std::fs::write(&paths[0], &bytes[..bytes.len() - 1]).unwrap();
    std::fs::remove_file(&paths[1]).unwrap();
    let mut faulty = std::collections::BTreeSet::new();
    let report = db.verify(|fault| faulty.extend([fault.path])).unwrap();
    assert!(faulty.iter().eq(&paths[..2]), "{faulty:?}");
    assert_eq!(report.tables, paths.len() as u64);
}
