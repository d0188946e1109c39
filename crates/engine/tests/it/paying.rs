//! Runs that are merged because reads have paid for it, and those that are not.

use crate::support::{all, open, small};
use engine::{Compression, Db, Options};
use std::sync::Arc;
use vfs::Operation;
use vfs::sim::{Effect, Fault, SimFs};

const KEYS: u32 = 20_000;
/// Several times as many as it takes.
const SEEKS_MAX: u32 = 10_000;
const GETS_MAX: u32 = 100_000;

/// Level 0 is never full by itself, nor is any other level.
fn roomy() -> Options {
    Options {
        write_buffer_size: 4 << 20,
        write_budget: Some(16 << 20),
        level0_file_num_compaction_trigger: 100,
        level0_slowdown_writes_trigger: 200,
        level0_stop_writes_trigger: 300,
        max_bytes_for_level_base: 64 << 20,
        compression: Compression::None,
        ..small()
    }
}

/// A table of level 0 with every `step`th key from `from` on, in each of which stands `byte`.
fn run_of(db: &Db, from: u32, step: usize, byte: u8) {
    for key in (from..KEYS).step_by(step) {
        db.put(key.to_be_bytes(), [byte; 100]).unwrap();
    }
    db.flush().unwrap();
}

/// Four runs over all keys: what a key holds is its remainder by 3, but for keys that end in 0, which hold 9.
fn fill_runs(db: &Db) {
    for part in 0..3 {
        run_of(db, part, 3, part as u8);
    }
    run_of(db, 0, 10, 9);
    assert_eq!(runs(db), 4);
}

fn four_runs(options: &Options) -> (tempfile::TempDir, Db) {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), options);
    fill_runs(&db);
    (dir, db)
}

fn holds(key: u32) -> u8 {
    if key.is_multiple_of(10) { 9 } else { (key % 3) as u8 }
}

/// The same in two runs, one in level 0 and one in the last level.
fn two_runs(options: &Options) -> (tempfile::TempDir, Db) {
    let (dir, db) = four_runs(options);
    db.compact().unwrap();
    run_of(&db, 0, 10, 9);
    let stats = db.stats();
    assert_eq!((runs(&db), stats.levels[0].tables, stats.read_compactions), (2, 1, 0));
    (dir, db)
}

/// How many sorted runs the tables make.
fn runs(db: &Db) -> usize {
    let levels = db.stats().levels;
    let deeper = levels.iter().skip(1).filter(|level| level.tables > 0).count();
    levels.first().map_or(0, |level| level.tables as usize) + deeper
}

/// Reads by `read`, over and over, until runs are merged; how many reads that took. Fails after `most`, a great many.
fn read_until_merged(db: &Db, most: u32, mut read: impl FnMut(u32)) -> u32 {
    for number in 0..most {
        read(number * 7919 % KEYS);
        db.wait_for_compaction().unwrap();
        if db.stats().read_compactions > 0 {
            return number + 1;
        }
    }
    panic!("nothing was merged: {:?}", db.stats());
}

fn seek(db: &Db, key: u32) {
    let (found, value) = db.range(key.to_be_bytes()..).unwrap().next().unwrap().unwrap();
    assert_eq!((&*found, value[0]), (&key.to_be_bytes()[..], holds(key)));
}

fn get(db: &Db, key: u32) {
    assert_eq!(db.get(key.to_be_bytes()).unwrap().unwrap()[0], holds(key));
}

#[test]
fn seeks_pay_for_a_merge_and_for_one_only() {
    let (_dir, db) = four_runs(&roomy());
    let before = db.stats();
    let reads = read_until_merged(&db, SEEKS_MAX, |key| seek(&db, key));
    assert_eq!(runs(&db), 1);
    let merged = db.stats();
    assert_eq!(merged.compactions - before.compactions, merged.read_compactions);
    // All that was read and written, reads had paid, 4 KiB for each seek into each of three runs more; by chance, since one
    // in 16 is counted, but less than a quarter of them never makes up for all.
    let spent = merged.compaction_read_bytes - before.compaction_read_bytes;
    let paid = u64::from(reads) * 3 * (4 << 10);
    assert!(merged.read_compaction_bytes > 0);
    assert!(
        spent + merged.read_compaction_bytes + (1 << 20) < paid * 4,
        "{reads} reads: {merged:?}"
    );
    for key in 0..KEYS {
        seek(&db, key);
        get(&db, key);
    }
    db.wait_for_compaction().unwrap();
    assert_eq!(db.stats().compactions, merged.compactions, "one run is merged with nothing");
    assert_eq!(db.verify(|fault| panic!("{fault}")).unwrap().entries, u64::from(KEYS));
}

/// What it is called, how often it reads at most, and one read.
type Reader<'a> = (&'a str, u32, &'a dyn Fn(&Db, u32));

#[test]
fn gets_pay_too_and_so_do_scans_both_ways_and_many_at_once() {
    let missing = |key: u32| [&key.to_be_bytes()[..], b"+"].concat();
    let readers: [Reader<'_>; 5] = [
        ("get", GETS_MAX, &get),
        ("get of nothing", GETS_MAX, &|db, key| assert!(db.get(missing(key)).unwrap().is_none())),
        ("multi_get", SEEKS_MAX, &|db, key| {
            let keys: Vec<_> = (0..100).map(|n| ((key + n * 31) % KEYS).to_be_bytes()).collect();
            let values = db.multi_get(&keys, &engine::ReadOptions::default()).unwrap();
            for (key, value) in keys.iter().zip(values) {
                assert_eq!(value.unwrap()[0], holds(u32::from_be_bytes(*key)));
            }
        }),
        ("scan", 100, &|db, _| assert_eq!(db.iter().unwrap().count(), KEYS as usize)),
        ("from the end", SEEKS_MAX, &|db, key| {
            let last = db.range(..=key.to_be_bytes()).unwrap().next_back().unwrap().unwrap();
            assert_eq!((&*last.0, last.1[0]), (&key.to_be_bytes()[..], holds(key)));
        }),
    ];
    for (name, most, read) in readers {
        let (_dir, db) = two_runs(&roomy());
        let reads = read_until_merged(&db, most, |key| read(&db, key));
        assert_eq!(runs(&db), 1, "{name}, {reads} reads");
        assert_eq!(all(&db).len(), KEYS as usize);
    }
}

#[test]
fn switched_off_nothing_is_merged_for_reads() {
    let (_dir, db) = four_runs(&Options { read_triggered_compaction: false, ..roomy() });
    let before = db.stats().compactions;
    for key in (0..2 * KEYS).map(|key| key % KEYS) {
        seek(&db, key);
        get(&db, key);
    }
    db.wait_for_compaction().unwrap();
    assert_eq!((runs(&db), db.stats().compactions), (4, before));
}

/// Writes alone are never rewritten for reads' sake, and one run that is read all the time is left alone.
#[test]
fn who_only_writes_or_has_one_run_pays_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    for round in 0..10u8 {
        for key in 0..KEYS {
            db.put((key * 7919 % KEYS).to_be_bytes(), [round; 100]).unwrap();
        }
    }
    db.flush().unwrap();
    db.wait_for_compaction().unwrap();
    let stats = db.stats();
    assert!(stats.compactions > 0 && stats.read_compactions == 0, "{stats:?}");
    db.compact().unwrap();
    assert_eq!(runs(&db), 1);
    for key in (0..2 * KEYS).map(|key| key % KEYS) {
        drop(db.range(key.to_be_bytes()..).unwrap().next());
        drop(db.get([&key.to_be_bytes()[..], b"+"].concat()).unwrap());
    }
    db.wait_for_compaction().unwrap();
    assert_eq!(db.stats().read_compactions, 0);
}

/// R2, R7: what is open while the runs are merged under it goes on as it was.
#[test]
fn snapshots_and_iterators_stay_right_while_runs_are_merged() {
    let (_dir, db) = four_runs(&roomy());
    let snapshot = db.snapshot();
    let mut iter = db.iter().unwrap();
    for key in 0..10u32 {
        assert_eq!(*iter.next().unwrap().unwrap().0, key.to_be_bytes());
    }
    run_of(&db, 5, 10, 7);
    for key in (2..KEYS).step_by(10) {
        db.delete(key.to_be_bytes()).unwrap();
    }
    db.flush().unwrap();
    read_until_merged(&db, SEEKS_MAX, |key| {
        assert_eq!(snapshot.get(key.to_be_bytes()).unwrap().unwrap()[0], holds(key));
        drop(db.range(key.to_be_bytes()..).unwrap().next());
    });
    assert_eq!(runs(&db), 1);
    for key in 0..KEYS {
        let now = db.get(key.to_be_bytes()).unwrap().map(|value| value[0]);
        let expected = match key % 10 {
            2 => None,
            5 => Some(7),
            _ => Some(holds(key)),
        };
        assert_eq!(now, expected, "{key}");
        assert_eq!(snapshot.get(key.to_be_bytes()).unwrap().unwrap()[0], holds(key));
        if key >= 10 {
            let (found, value) = iter.next().unwrap().unwrap();
            assert_eq!((&*found, value[0]), (&key.to_be_bytes()[..], holds(key)));
        }
    }
    assert!(iter.next().is_none());
}

/// A merge that fails is not tried again and again: reads have to pay anew.
#[test]
fn a_merge_that_fails_is_paid_for_anew() {
    let fs = SimFs::new();
    let db = Db::open_on(Arc::new(fs.clone()), "/db", roomy()).unwrap();
    fill_runs(&db);
    fs.inject(
        Fault::new(Operation::Create, Effect::Fail(std::io::ErrorKind::StorageFull))
            .on_path(".sst"),
    );
    // Here nobody but the reads wakes the compaction thread, and they go on while it works.
    let mut reads = 0;
    while db.stats().compaction_failures == 0 {
        seek(&db, reads % KEYS);
        reads += 1;
        assert!(reads < 200 * SEEKS_MAX, "nothing was tried: {:?}", db.stats());
    }
    db.wait_for_compaction().unwrap();
    let stats = db.stats();
    assert_eq!((stats.read_compactions, stats.compaction_failures, runs(&db)), (0, 1, 4));
    read_until_merged(&db, SEEKS_MAX, |key| seek(&db, key));
    assert_eq!(runs(&db), 1);
}

/// What a snapshot kept can wait: a rewriting that fails is tried again when the tables have changed, not all the time,
/// and others have their turn.
#[test]
fn a_rewriting_that_fails_is_not_tried_again_and_again() {
    let fs = SimFs::new();
    let options = Options { target_file_size_base: 256 << 10, ..roomy() };
    let db = Db::open_on(Arc::new(fs.clone()), "/db", options).unwrap();
    run_of(&db, 0, 1, 1);
    let snapshot = db.snapshot();
    for key in (0..KEYS).filter(|key| key % 3 != 0) {
        db.delete(key.to_be_bytes()).unwrap();
    }
    db.compact().unwrap();
    fs.inject(
        Fault::new(Operation::Create, Effect::Fail(std::io::ErrorKind::StorageFull))
            .on_path(".sst")
            .times(u64::MAX),
    );
    let before = db.stats();
    let tables: u64 = before.levels.iter().map(|level| level.tables).sum();
    assert!(tables >= 4, "{before:?}");
    drop(snapshot);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while db.stats().compaction_failures < tables {
        assert!(std::time::Instant::now() < until, "not all were tried: {:?}", db.stats());
        std::thread::yield_now();
    }
    db.wait_for_compaction().unwrap();
    assert_eq!(db.stats().compaction_failures, tables, "each once: {:?}", db.stats());
    db.put("a", "later").unwrap();
    fs.clear_faults();
    db.flush().unwrap();
    db.wait_for_compaction().unwrap();
    let stats = db.stats();
    assert_eq!(stats.compaction_failures, tables, "{stats:?}");
    let entries = db.verify(|fault| panic!("{fault}")).unwrap().entries;
    assert_eq!(entries, u64::from(KEYS.div_ceil(3)) + 1, "{stats:?}");
}

const FEW: u32 = 1500;

/// Three runs of level 0 on a simulated disk, all of it durable. With what `key` holds then.
fn few_on(fs: &SimFs) -> Db {
    let db = Db::open_on(Arc::new(fs.clone()), "/db", roomy()).unwrap();
    for round in 0..3u8 {
        for key in 0..FEW {
            db.put(key.to_be_bytes(), [round; 100]).unwrap();
        }
        db.flush().unwrap();
    }
    db
}

/// Whether the disk, as a power cut leaves it, has these entries in sound files.
fn has_after_a_cut(fs: &SimFs, seed: u64, expected: &[(Vec<u8>, Vec<u8>)], what: &str) {
    let db = Db::open_on(Arc::new(fs.crash_clone(seed)), "/db", roomy()).unwrap();
    assert!(all(&db) == expected, "{what}");
    db.verify(|fault| panic!("{what}: {fault}")).unwrap();
    db.wait_for_compaction().unwrap();
    assert!(all(&db) == expected, "{what}, later");
}

/// Cuts the power at each operation of `work`, which changes nothing that a reader sees, after `prepare`.
fn cut_at_each<S>(prepare: fn(&Db) -> S, work: fn(&Db, S)) {
    let fs = SimFs::new();
    let db = few_on(&fs);
    let prepared = prepare(&db);
    let (before, expected) = (fs.operations(), all(&db));
    work(&db, prepared);
    let operations = fs.operations() - before;
    assert!(operations > 5, "{operations} operations: nothing was rewritten");
    drop(db);
    for number in 1..=operations {
        let fs = SimFs::new();
        let db = few_on(&fs);
        let prepared = prepare(&db);
        fs.power_off_at(fs.operations() + number);
        work(&db, prepared);
        drop(db);
        has_after_a_cut(&fs, number, &expected, &format!("power cut at operation {number}"));
    }
}

/// K, W7: a power cut while runs are merged that reads have paid for loses nothing.
#[test]
fn a_power_cut_in_a_merge_that_was_paid_for_loses_nothing() {
    cut_at_each(
        |_| (),
        |db, ()| {
            for key in 0..SEEKS_MAX {
                let done = db.stats();
                if done.read_compactions + done.compaction_failures > 0 {
                    break;
                }
                // Without power it cannot be read any more.
                let Ok(mut iter) = db.range(&(key % FEW).to_be_bytes()[..]..) else { break };
                if iter.next_entry().is_err() {
                    break;
                }
            }
            drop(db.wait_for_compaction());
        },
    );
}

/// K, W7: the same of what is rewritten where it is, in the last level, because a snapshot has gone.
#[test]
fn a_power_cut_in_a_rewriting_in_place_loses_nothing() {
    cut_at_each(
        |db| {
            let snapshot = db.snapshot();
            for key in (0..FEW).filter(|key| key % 3 != 0) {
                db.delete(key.to_be_bytes()).unwrap();
            }
            db.compact().unwrap();
            snapshot
        },
        |db, snapshot| {
            drop(snapshot);
            drop(db.wait_for_compaction());
        },
    );
}
