//! What a restart finds, without a kill: torn logs, damaged logs, smaller budgets.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{all, chain, copy, open, small};
use engine::{Db, ErrorKind, Options, WriteOptions};

fn logs(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "log"))
        .collect();
    files.sort();
    files
}

fn last_record_end(log: &[u8]) -> usize {
    log.iter().rposition(|&byte| byte != 0).unwrap() + 1
}

#[test]
fn a_log_that_ends_in_the_middle_of_a_record_loses_that_record_only() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    for i in 0..100u32 {
        db.put(i.to_be_bytes(), [9; 50]).unwrap();
    }
    let crashed = copy(dir.path());
    let log = logs(crashed.path()).pop().unwrap();
    let mut bytes = fs::read(&log).unwrap();
    let end = last_record_end(&bytes);
    bytes[end - 20..end].fill(0);
    fs::write(&log, &bytes).unwrap();
    for _ in 0..3 {
        // Opening again and again changes nothing.
        let db = open(crashed.path(), &small());
        assert_eq!(all(&db).len(), 99);
    }
    let db = open(crashed.path(), &small());
    db.put("new", "one").unwrap();
    drop(db);
    assert_eq!(all(&open(crashed.path(), &small())).len(), 100);
}

#[test]
fn damage_below_what_was_synced_is_corruption_and_names_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    let sync = WriteOptions { sync: true, ..WriteOptions::default() };
    for i in 0..100u32 {
        let mut batch = engine::WriteBatch::new();
        batch.put(i.to_be_bytes(), [9; 50]);
        db.write(&batch, &sync).unwrap();
    }
    let crashed = copy(dir.path());
    let log = logs(crashed.path()).pop().unwrap();
    let mut bytes = fs::read(&log).unwrap();
    let end = last_record_end(&bytes);
    bytes[end / 2] ^= 1;
    fs::write(&log, &bytes).unwrap();
    let error =
        Db::open(crashed.path(), small()).expect_err("damage in the middle of a synced log");
    assert_eq!(error.kind(), ErrorKind::Corruption, "{}", chain(&error));
    let name = log.file_name().unwrap().to_str().unwrap();
    assert!(chain(&error).contains(name) && chain(&error).contains("offset"), "{}", chain(&error));
    bytes[end / 2] ^= 1;
    fs::write(&log, &bytes).unwrap();
    assert_eq!(all(&open(crashed.path(), &small())).len(), 100);
}

/// Design: a log that no longer fits a lowered budget still replays.
#[test]
fn a_log_larger_than_a_lowered_budget_replays() {
    let dir = tempfile::tempdir().unwrap();
    let large = Options { write_budget: None, write_buffer_size: 64 << 20, ..small() };
    let db = open(dir.path(), &large);
    let other = db.create_family("other").unwrap();
    for i in 0..4000u32 {
        let mut batch = engine::WriteBatch::new();
        batch.put(i.to_be_bytes(), [1; 500]).put_in(&other, i.to_be_bytes(), [2; 500]);
        db.write(&batch, &WriteOptions::default()).unwrap();
    }
    assert_eq!(db.stats().flushes, 0);
    let crashed = copy(dir.path());
    let lowered = Options { write_budget: Some(300 << 10), ..small() };
    let db = open(crashed.path(), &lowered);
    let stats = db.stats();
    assert!(stats.in_flight_peak_bytes <= 300 << 10, "{stats:?}");
    assert_eq!(all(&db).len(), 4000);
    assert_eq!(db.family("other").unwrap().iter().unwrap().count(), 4000);
}

#[test]
fn old_log_segments_go_once_they_are_flushed() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    for i in 0..8000u32 {
        db.put(i.to_be_bytes(), [1; 500]).unwrap();
    }
    db.flush().unwrap();
    // Two may be in use; two are kept for later segments, and one is ready.
    let left = logs(dir.path()).len();
    assert!(left <= 5, "{left} segments are left of {} bytes of log", db.stats().log_bytes);
}

#[test]
fn orphans_of_interrupted_jobs_are_removed_and_strangers_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    db.put("k", "v").unwrap();
    db.flush().unwrap();
    db.close().unwrap();
    let orphan = dir.path().join("000002.sst");
    let is_live = orphan.exists();
    let orphan = if is_live { dir.path().join("000001.sst") } else { orphan };
    fs::write(&orphan, "half a table").unwrap();
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    let db = open(dir.path(), &small());
    assert!(!orphan.exists());
    assert!(dir.path().join("notes.txt").exists());
    assert_eq!(all(&db).len(), 1);
}

/// A family that was flushed further than another must not take the other's entries with it when the replay has to
/// flush on its way.
#[test]
fn a_replay_that_flushes_on_the_way_skips_nothing_of_a_family_that_was_behind() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    let behind = db.create_family("behind").unwrap();
    let mut written = 0u32;
    // The default family fills its memtables; the other one is not flushed.
    while db.stats().flushes < 3 {
        let mut batch = engine::WriteBatch::new();
        batch.put(written.to_be_bytes(), [7; 300]).put_in(&behind, written.to_be_bytes(), [8; 20]);
        db.write(&batch, &WriteOptions::default()).unwrap();
        written += 1;
    }
    let crashed = copy(dir.path());
    for _ in 0..2 {
        let db = open(crashed.path(), &Options { write_buffer_size: 64 << 10, ..small() });
        assert_eq!(db.iter().unwrap().count(), written as usize);
        assert_eq!(db.family("behind").unwrap().iter().unwrap().count(), written as usize);
    }
}
