//! Writes without the log, and where the time of writes goes.

use std::time::Duration;

use engine::{Db, Error, MeasureWrites, WriteBatch, WriteOptions};

use crate::support::{copy, open, small};

const UNLOGGED: WriteOptions =
    WriteOptions { sync: false, disable_wal: true, deadline: None, no_wait: false };

fn put(db: &Db, key: u32, options: &WriteOptions) {
    let mut batch = WriteBatch::new();
    batch.put(key.to_be_bytes(), [7; 100]);
    db.write(&batch, options).unwrap();
}

fn keys(db: &Db) -> Vec<u32> {
    let keys = db.iter().unwrap().map(|entry| entry.unwrap().0);
    keys.map(|key| u32::from_be_bytes(key[..].try_into().unwrap())).collect()
}

/// F1: they leave gaps in the log's numbers that recovery takes as they are.
#[test]
fn a_crash_loses_what_was_not_logged_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    for key in 0..300 {
        let options = if key % 3 == 0 { WriteOptions::default() } else { UNLOGGED };
        put(&db, key, &options);
    }
    assert_eq!(keys(&db), (0..300).collect::<Vec<_>>());
    let before = db.stats().log_bytes;
    put(&db, 300, &UNLOGGED);
    assert_eq!(db.stats().log_bytes, before, "it went into the log");

    let crashed = copy(dir.path());
    let found = open(crashed.path(), &small());
    assert_eq!(keys(&found), (0..300).step_by(3).collect::<Vec<_>>());
    // Numbers are handed out anew, and newer writes win.
    put(&found, 3, &WriteOptions::default());
    found.close().unwrap();
    assert_eq!(keys(&open(crashed.path(), &small())).len(), 100);
}

#[test]
fn a_flush_keeps_what_was_not_logged() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    // More than the budget: flushed on the way, and by nothing that the log would ask for.
    for key in 0..20_000 {
        put(&db, key, &UNLOGGED);
    }
    assert!(db.stats().flushes > 0);
    db.flush().unwrap();
    put(&db, 20_000, &UNLOGGED);
    let crashed = copy(dir.path());
    assert_eq!(keys(&open(crashed.path(), &small())), (0..20_000).collect::<Vec<_>>());
}

#[test]
fn a_sync_of_what_is_not_logged_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    let options = WriteOptions { sync: true, ..UNLOGGED };
    let mut batch = WriteBatch::new();
    batch.put(b"a", b"1");
    let error = db.write(&batch, &options).unwrap_err();
    assert!(matches!(error, Error::InvalidOptions { .. }), "{error:?}");
    assert_eq!(db.get("a").unwrap(), None);
    // An empty batch syncs what the log holds, after unlogged writes too.
    put(&db, 1, &WriteOptions::default());
    put(&db, 2, &UNLOGGED);
    let syncs = db.stats().log_syncs;
    db.write(WriteBatch::new(), &WriteOptions { sync: true, ..WriteOptions::default() }).unwrap();
    assert_eq!(db.stats().log_syncs, syncs + 1);
}

#[test]
fn write_times_are_those_of_the_thread_that_asks_while_it_asks() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    let measuring = MeasureWrites::begin();
    std::thread::scope(|scope| {
        scope.spawn(|| put(&db, 0, &WriteOptions::default()));
    });
    assert_eq!(measuring.times(), engine::WriteTimes::default());
    for key in 0..8000 {
        put(&db, key, &WriteOptions { sync: key == 10, ..WriteOptions::default() });
    }
    let times = measuring.times();
    assert_eq!(times.writes, 8000);
    for part in [times.reserve, times.log, times.insert, times.publish, times.sync] {
        assert!(part > Duration::ZERO, "{times:?}");
    }
    // A megabyte of budget for more than that: it has waited, and that was a part of reserving.
    assert!(times.credits <= times.reserve && times.total() >= times.reserve, "{times:?}");
    drop(measuring);
    put(&db, 1, &WriteOptions::default());
    assert_eq!(MeasureWrites::begin().times().writes, 0);
}
