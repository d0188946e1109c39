//! Wrong use and damaged files: a typed error that names what is wrong, and nothing lost.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{all, chain, copy, open, small};
use engine::{Db, Error, ErrorKind, Options, WriteBatch, WriteOptions};

fn filled(dir: &Path) {
    let db = open(dir, &small());
    for i in 0..3000u32 {
        db.put(i.to_be_bytes(), [5; 200]).unwrap();
    }
    db.compact().unwrap();
    db.put("in the log", "only").unwrap();
    db.close().unwrap();
}

fn files(dir: &Path, part: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().contains(part))
        .collect();
    files.sort();
    files
}

fn refused(dir: &Path, options: Options) -> Error {
    Db::open(dir, options).expect_err("it should not open")
}

#[test]
fn a_second_opening_is_told_that_the_database_is_locked() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    let error = refused(dir.path(), small());
    assert!(
        matches!(error, Error::Locked { .. }) && error.kind() == ErrorKind::RetryLater,
        "{error:?}"
    );
    assert!(error.to_string().contains("LOCK"), "{error}");
    db.put("k", "v").unwrap();
    drop(db);
    open(dir.path(), &small());
}

#[test]
fn options_say_what_may_be_opened_and_made() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let no_create = Options { create_if_missing: false, ..small() };
    assert!(matches!(refused(&missing, no_create.clone()), Error::NoDatabase { .. }));
    assert!(!missing.exists());
    fs::create_dir(&missing).unwrap();
    assert!(matches!(refused(&missing, no_create.clone()), Error::NoDatabase { .. }));
    open(&missing, &small());
    open(&missing, &no_create);
    let error = refused(&missing, Options { error_if_exists: true, ..small() });
    assert!(matches!(error, Error::Exists { .. }), "{error:?}");
    let error = refused(&missing, Options { max_write_buffer_number: 0, ..small() });
    assert!(error.to_string().contains("max_write_buffer_number"), "{error}");
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.txt"), "years of work").unwrap();
    let error = refused(dir.path(), small());
    assert!(
        matches!(error, Error::NotADatabase { .. }) && error.to_string().contains("thesis.txt"),
        "{error}"
    );
    assert_eq!(fs::read(dir.path().join("thesis.txt")).unwrap(), b"years of work");
    let file = dir.path().join("thesis.txt");
    let error = refused(&file, small());
    assert!(chain(&error).contains("thesis.txt"), "{}", chain(&error));
}

#[test]
fn what_is_too_large_is_refused_before_anything_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &Options { max_batch_bytes: 10_000, ..small() });
    let long = db.put(vec![0; engine::MAX_KEY_BYTES + 1], "v");
    assert!(matches!(long, Err(Error::Batch(_))), "{long:?}");
    let mut batch = WriteBatch::new();
    batch.put("k", vec![0; 10_000]);
    let large = db.write(&batch, &WriteOptions::default());
    assert!(matches!(large, Err(Error::BatchTooLarge { limit: 10_000, .. })), "{large:?}");
    assert_eq!(large.unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!((all(&db).len(), db.stats().visible_seq), (0, 0));
}

#[test]
fn a_lost_current_or_manifest_is_named_and_never_an_empty_database() {
    for part in ["CURRENT", "MANIFEST"] {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path());
        let file = files(dir.path(), part).pop().unwrap();
        let bytes = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        let error = refused(dir.path(), small());
        assert!(chain(&error).contains(part), "{}", chain(&error));
        fs::write(&file, &bytes[..0]).unwrap();
        let error = refused(dir.path(), small());
        assert!(chain(&error).contains(part), "{}", chain(&error));
        // Nothing was touched: with the file back all is there.
        fs::write(&file, &bytes).unwrap();
        assert_eq!(all(&open(dir.path(), &small())).len(), 3001);
    }
}

#[test]
fn a_manifest_cut_short_is_corruption_and_never_a_smaller_database() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let file = files(dir.path(), "MANIFEST").pop().unwrap();
    let bytes = fs::read(&file).unwrap();
    let name = file.file_name().unwrap();
    let mut refusals = 0;
    for cut in (0..bytes.len()).step_by(bytes.len() / 40 + 1) {
        let copied = copy(dir.path());
        fs::write(copied.path().join(name), &bytes[..cut]).unwrap();
        match Db::open(copied.path(), small()) {
            Err(error) => {
                refusals += 1;
                assert_eq!(error.kind(), ErrorKind::Corruption, "cut at {cut}: {}", chain(&error));
            }
            // Cut where an edit ends, it is an older manifest: where nothing that it names is gone, it is all there.
            Ok(db) => assert_eq!(all(&db).len(), 3001, "cut at {cut}: a smaller database"),
        }
    }
    assert!(refusals > 10);
}

#[test]
fn a_table_that_is_missing_or_cut_is_named_when_the_database_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let table = files(dir.path(), ".sst").pop().unwrap();
    let name = table.file_name().unwrap().to_str().unwrap().to_owned();
    let bytes = fs::read(&table).unwrap();
    fs::remove_file(&table).unwrap();
    let error = refused(dir.path(), small());
    assert!(
        error.kind() == ErrorKind::Corruption && chain(&error).contains(&name),
        "{}",
        chain(&error)
    );
    fs::write(&table, &bytes[..bytes.len() - 1]).unwrap();
    let error = refused(dir.path(), small());
    assert!(
        error.kind() == ErrorKind::Corruption && chain(&error).contains(&name),
        "{}",
        chain(&error)
    );
    fs::write(&table, &bytes).unwrap();
    assert_eq!(all(&open(dir.path(), &small())).len(), 3001);
}

#[test]
fn a_table_with_a_flipped_bit_gives_an_error_and_never_a_wrong_value() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let table = files(dir.path(), ".sst").pop().unwrap();
    let bytes = fs::read(&table).unwrap();
    let name = table.file_name().unwrap().to_str().unwrap().to_owned();
    for at in (0..bytes.len()).step_by(bytes.len() / 60 + 1) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 4;
        fs::write(&table, &damaged).unwrap();
        let db = open(dir.path(), &small());
        let mut entries = 0;
        for entry in db.iter().unwrap() {
            match entry {
                Ok((key, value)) => {
                    let is_right =
                        if key.len() == 4 { *value == [5; 200] } else { value == "only" };
                    assert!(is_right, "byte {at}: a wrong value for {key:?}");
                    entries += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corruption, "byte {at}: {}", chain(&error));
                    assert!(chain(&error).contains(&name), "byte {at}: {}", chain(&error));
                    entries = -1;
                    break;
                }
            }
        }
        // Some bytes (the filter's, the properties') are not read by a scan.
        assert!(entries == -1 || entries == 3001, "byte {at}: {entries} entries");
    }
}

/// A closure that panics takes nothing with it: what was lent goes back, and the database goes on.
#[test]
fn a_look_that_panics_takes_nothing_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    db.put("in a table", [1; 5000]).unwrap();
    db.flush().unwrap();
    db.put("in memory", [2; 5000]).unwrap();
    let how = engine::ReadOptions::default();
    let keys = ["in memory", "in a table"];
    for key in keys {
        let look = || db.get_map(key, &how, |_| -> u8 { panic!("on purpose") });
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(look)).is_err());
    }
    let look = || db.multi_get_map(&keys, &how, |place, _| assert_eq!(place, 0, "on purpose"));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(look)).is_err());
    assert_eq!(db.get_map("in a table", &how, <[u8]>::len).unwrap(), Some(5000));
    db.flush().unwrap();
    db.compact().unwrap();
    let stats = db.stats();
    assert_eq!((stats.pinned_bytes, stats.snapshots), (0, 0), "{stats:?}");
    db.close().unwrap();
}
