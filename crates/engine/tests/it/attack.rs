//! Interleavings and inputs that once broke a promise, each with the promise that it broke.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crate::support::{chain, open, small};
use engine::{Db, Error, Options, WriteBatch, WriteOptions};
use vfs::sim::{CrashOptions, Effect, Fault, SimFs, Survival};
use vfs::{Fs, Operation};

const PATIENCE: Duration = Duration::from_secs(10);

/// Runs `work` on a thread of its own; closes the database, so that the thread ends, and fails if it takes too long.
fn in_time<T: Send + 'static>(
    db: &Db,
    what: &str,
    work: impl FnOnce(&Db) -> T + Send + 'static,
) -> T {
    let (done, result) = mpsc::channel();
    let own = db.clone();
    let worker = std::thread::spawn(move || drop(done.send(work(&own))));
    let result = result.recv_timeout(PATIENCE);
    if result.is_err() {
        drop(db.clone().close());
    }
    drop(worker.join());
    result.unwrap_or_else(|_| panic!("{what}: still going on after {PATIENCE:?}: {:?}", db.stats()))
}

fn sim(fs: &SimFs) -> Arc<dyn Fs> {
    Arc::new(fs.clone())
}

/// A gate in a simulated disk: while it is shut, whatever `holds` names waits.
struct Gate(Arc<AtomicBool>);

impl Gate {
    fn shut(fs: &SimFs, holds: impl Fn(Operation, &Path) -> bool + Send + Sync + 'static) -> Self {
        let is_shut = Arc::new(AtomicBool::new(true));
        let gate = Arc::clone(&is_shut);
        fs.set_hook(Some(Arc::new(move |operation, path| {
            while holds(operation, path) && gate.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
        })));
        Self(is_shut)
    }

    fn open(&self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
    }
}

fn is_table(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "sst")
}

/// C5, C6: the batch has room in one family and lacks a chunk in the other; the flush that pays for the chunk takes the
/// room away.
#[test]
fn a_batch_for_two_families_gets_through_when_the_budget_holds_one_chunk() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &Options { write_budget: Some(16 << 10), ..small() });
    let other = db.create_family("other").unwrap();
    db.put("k", "v").unwrap();
    in_time(&db, "a batch for two families", move |db| {
        let mut batch = WriteBatch::new();
        batch.put("k", "w").put_in(&other, "k", "w");
        db.write(&batch, &WriteOptions::default())
    })
    .unwrap();
}

/// The same with a budget of 64 chunks and other families that use it up.
#[test]
fn batches_for_two_families_get_through_under_a_used_up_budget() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &Options { write_buffer_size: 64 << 20, ..small() });
    let other = db.create_family("other").unwrap();
    in_time(&db, "batches for two families", move |db| {
        for i in 0..3000u32 {
            let mut batch = WriteBatch::new();
            batch.put(i.to_be_bytes(), [7; 700]).put_in(&other, i.to_be_bytes(), [8; 30]);
            db.write(&batch, &WriteOptions::default()).unwrap();
        }
    });
}

/// C9, F5: families are flushed in another order than they were sealed in.
#[test]
fn families_may_be_flushed_in_another_order_than_they_were_sealed_in() {
    let fs = SimFs::new();
    let options = Options { write_buffer_size: 64 << 10, wal_segment_bytes: 1 << 20, ..small() };
    let db = Db::open_on(sim(&fs), "/db", options).unwrap();
    let (x, y) = (db.create_family("x").unwrap(), db.create_family("y").unwrap());
    let memtables = db.stats().memtables;
    let gate = Gate::shut(&fs, |operation, path| operation == Operation::Create && is_table(path));
    for (n, family) in [&y, &x, &db.family("default").unwrap()].into_iter().enumerate() {
        for i in 0u32.. {
            family.put(i.to_be_bytes(), [1; 1000]).unwrap();
            if db.stats().memtables > memtables + n as u64 {
                break; // sealed
            }
        }
    }
    gate.open();
    let written = in_time(&db, "writes to the default family", |db| {
        (0..4000u32).try_for_each(|i| db.put(i.to_be_bytes(), [1; 1000]))
    });
    let what = written.map_err(|e| chain(&e));
    let stats = db.stats();
    assert!(
        what.is_ok() && stats.flush_failures == 0,
        "{what:?}, {} failures",
        stats.flush_failures
    );
}

/// W1, W4: what a replay flushes on its way must not outlive the log that it was read from.
#[test]
fn a_power_cut_during_a_replay_that_flushes_leaves_batches_whole() {
    let roomy = Options { write_budget: None, write_buffer_size: 64 << 20, ..small() };
    let tight = Options { write_budget: Some(16 << 10), ..small() };
    for extra in 0..1000 {
        let fs = SimFs::new();
        let db = Db::open_on(sim(&fs), "/db", roomy.clone()).unwrap();
        for i in 0..4u8 {
            let mut batch = WriteBatch::new();
            for part in 0..8u8 {
                batch.put([i, part], [i; 2500]);
            }
            db.write(&batch, &WriteOptions::default()).unwrap();
        }
        // Killed: all that was written stays with the system, unsynced.
        fs.inject(Fault::any(Effect::IO).times(u64::MAX));
        drop(db);
        fs.clear_faults();
        fs.power_off_at(fs.operations() + 1 + extra);
        let is_open = Db::open_on(sim(&fs), "/db", tight.clone()).is_ok();
        let fs =
            fs.crash_with(CrashOptions { survival: Survival::Nothing, ..CrashOptions::new(1) });
        let db = Db::open_on(sim(&fs), "/db", tight.clone()).unwrap();
        let keys: Vec<_> = db.iter().unwrap().map(|e| e.unwrap().0.to_vec()).collect();
        assert!(keys.len() % 8 == 0, "power cut {extra} operations into the replay: {keys:?}");
        if is_open {
            assert!(extra > 20, "the replay flushed nothing");
            return;
        }
    }
    panic!("it never opens");
}

/// A database that is only opened and read does not grow.
#[test]
fn opening_again_and_again_leaves_no_more_segments() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    db.put("k", "v").unwrap();
    db.flush().unwrap();
    db.close().unwrap();
    for _ in 0..10 {
        open(dir.path(), &small()).close().unwrap();
    }
    let logs = std::fs::read_dir(dir.path())
        .unwrap()
        .filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "log"));
    let logs = logs.count();
    assert!(logs <= 2, "{logs} segments");
}

/// C6, L4: writes that are refused take no part of the rate.
#[test]
fn refused_writes_do_not_slow_others_down() {
    let fs = SimFs::new();
    let options = Options {
        level0_file_num_compaction_trigger: 1,
        level0_slowdown_writes_trigger: 2,
        level0_stop_writes_trigger: 100,
        delayed_write_rate: 1 << 20,
        ..small()
    };
    let db = Db::open_on(sim(&fs), "/db", options).unwrap();
    let gate = Gate::shut(&fs, |operation, path| {
        operation == Operation::Create
            && is_table(path)
            && std::thread::current().name() == Some("polder-compact")
    });
    for _ in 0..3 {
        db.put("k", "v").unwrap();
        db.flush().unwrap();
    }
    let mut batch = WriteBatch::new();
    batch.put("k", vec![1; 100_000]);
    let no_wait = WriteOptions { no_wait: true, ..WriteOptions::default() };
    let refused = (0..1000).filter(|_| db.write(&batch, &no_wait).is_err()).count();
    let mut small = WriteBatch::new();
    small.put("k", "v");
    let patient = WriteOptions {
        deadline: Some(std::time::Instant::now() + Duration::from_secs(3)),
        ..WriteOptions::default()
    };
    let written = db.write(&small, &patient);
    gate.open();
    assert!(written.is_ok(), "{refused} refusals, then {written:?}");
}

/// Durability: "`sync`: there, with everything written before it".
#[test]
fn an_empty_batch_with_sync_makes_what_was_before_durable() {
    let fs = SimFs::new();
    let db = Db::open_on(sim(&fs), "/db", small()).unwrap();
    db.put("k", "v").unwrap();
    db.write(WriteBatch::new(), &WriteOptions { sync: true, ..WriteOptions::default() }).unwrap();
    let fs = fs.crash_with(CrashOptions { survival: Survival::Nothing, ..CrashOptions::new(1) });
    let db = Db::open_on(sim(&fs), "/db", small()).unwrap();
    assert!(db.get("k").unwrap().is_some());
}

/// R4: an attempt that fails gives back what it had allocated.
#[test]
fn flushes_that_fail_late_leave_no_tables() {
    let fs = SimFs::new();
    let db = Db::open_on(sim(&fs), "/db", small()).unwrap();
    db.put("k", "v").unwrap();
    fs.inject(Fault::new(Operation::SyncDir, Effect::IO).times(4));
    while db.flush().is_err() {}
    let tables =
        fs.list("/db".as_ref()).unwrap().iter().filter(|e| e.name.contains(".sst")).count();
    assert_eq!(tables, 1, "{:?}", db.stats());
}

/// `Snapshot::get_in`: `UnknownFamilyNumber` for a family of another database.
#[test]
fn a_family_of_another_database_is_refused() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (open(one.path(), &small()), open(two.path(), &small()));
    let strange = one.create_family("a").unwrap();
    two.create_family("b").unwrap().put("k", "v").unwrap();
    let got = two.snapshot().get_in(&strange, "k");
    assert!(matches!(got, Err(Error::UnknownFamilyNumber { .. })), "{got:?}");
}

/// `Db::open`: "`NotADatabase`: nothing was touched".
#[test]
fn a_strange_directory_gets_no_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.txt"), "x").unwrap();
    assert!(matches!(Db::open(dir.path(), small()), Err(Error::NotADatabase { .. })));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// Durability: "when `close` has returned `Ok`: everything is there" after a power cut.
#[test]
fn a_close_that_could_not_sync_says_so() {
    let fs = SimFs::new();
    let db = Db::open_on(sim(&fs), "/db", small()).unwrap();
    db.put("k", "v").unwrap();
    fs.inject(Fault::new(Operation::SyncData, Effect::FailSync).on_path(".log"));
    let mut batch = WriteBatch::new();
    batch.put("l", "v");
    db.write(&batch, &WriteOptions { sync: true, ..WriteOptions::default() }).unwrap_err();
    let closed = db.close();
    let fs = fs.crash_with(CrashOptions { survival: Survival::Nothing, ..CrashOptions::new(1) });
    let is_there = Db::open_on(sim(&fs), "/db", small()).unwrap().get("k").unwrap().is_some();
    assert!(closed.is_err() || is_there, "close said Ok, and what was acknowledged before is gone");
}

/// Durability: after a clean `close` damage in the last synced group is told from a torn tail.
#[test]
fn damage_in_the_last_record_after_a_clean_close_is_corruption() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    let mut batch = WriteBatch::new();
    batch.put("k", [9; 50]);
    db.write(&batch, &WriteOptions { sync: true, ..WriteOptions::default() }).unwrap();
    db.close().unwrap();
    let log = dir.path().join("000001.log");
    let mut bytes = std::fs::read(&log).unwrap();
    let at = bytes.windows(20).position(|w| w == [9; 20]).unwrap();
    bytes[at + 5] ^= 1;
    std::fs::write(&log, &bytes).unwrap();
    let opened = Db::open(dir.path(), small());
    assert!(opened.is_err(), "it opens, and k is {:?}", opened.unwrap().get("k").unwrap());
}

/// No panic on anything that comes from disk: a record with a key beyond the limit.
#[test]
fn a_log_record_with_a_key_beyond_the_limit_is_an_error() {
    let fs = SimFs::new();
    let db = Db::open_on(sim(&fs), "/db", small()).unwrap();
    db.close().unwrap();
    let mut batch = WriteBatch::new();
    batch.put(vec![1; 70_000], "v");
    let mut record =
        |_: base::SegmentNumber, _: u64, _: &[u8]| Ok::<(), std::convert::Infallible>(());
    let from = base::SegmentNumber::new(1);
    let disk = sim(&fs);
    let recovered =
        wal::recover(&disk, "/db".as_ref(), from, wal::RecoveryMode::PointInTime, &mut record)
            .unwrap();
    let log = wal::Wal::create(disk, "/db".as_ref(), wal::WalOptions::default(), recovered.start)
        .unwrap();
    log.append(&[&batch.header(base::SeqNo::new(1)), batch.entry_bytes()]).unwrap();
    log.close().unwrap();
    let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        Db::open_on(sim(&fs), "/db", small())
    }));
    assert!(opened.is_ok(), "it panicked");
}

/// Options: "`None` or `Some(0)`: no limit"; the largest number is no less valid.
#[test]
fn the_largest_budget_is_no_overflow() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { memory_budget: None, write_budget: Some(u64::MAX), ..small() };
    let db = open(dir.path(), &options);
    for i in 0..2000u32 {
        db.put(i.to_be_bytes(), [1; 1000]).unwrap();
    }
}

/// C6: a writer that got its memory and then no room in the log leaves nobody behind who waits for that memory.
#[test]
fn a_write_that_the_log_refuses_gives_its_memory_back() {
    let fs = SimFs::new();
    let options = Options { write_buffer_size: 64 << 20, wal_segment_bytes: 1 << 20, ..small() };
    let db = Db::open_on(sim(&fs), "/db", options).unwrap();
    let other = db.create_family("other").unwrap();
    // From now on, so that no segment is made ahead.
    fs.inject(Fault::new(Operation::Create, Effect::NO_SPACE).on_path(".log").times(u64::MAX));
    let gate = Gate::shut(&fs, |operation, path| operation == Operation::Create && is_table(path));
    for i in 0..600u32 {
        db.put(i.to_be_bytes(), [1; 1000]).unwrap();
    }
    // It waits for the flush of all that; its record will need a new segment.
    let large = std::thread::spawn(move || other.put("large", vec![1; 900 << 10]));
    std::thread::sleep(Duration::from_millis(200));
    let opener = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        gate.open();
    });
    // It waits behind the large one, for what that one holds.
    let written = in_time(&db, "a write that fits the log", |db| db.put("k", vec![1; 200 << 10]));
    opener.join().unwrap();
    assert!(large.join().unwrap().is_err());
    written.unwrap();
}

/// Once the directory is free for the next opening, nothing of this one writes to it any more.
#[test]
fn a_close_waits_for_a_family_that_is_being_made() {
    let fs = SimFs::new();
    let db = Db::open_on(sim(&fs), "/db", small()).unwrap();
    let gate = Gate::shut(&fs, |operation, path| {
        operation == Operation::Write
            && path.to_string_lossy().contains("MANIFEST")
            && std::thread::current().name() == Some("creator")
    });
    let creator = {
        let db = db.clone();
        std::thread::Builder::new()
            .name("creator".into())
            .spawn(move || db.create_family("late").map(drop))
            .unwrap()
    };
    std::thread::sleep(Duration::from_millis(200));
    let closer = std::thread::spawn(move || db.close().unwrap());
    std::thread::sleep(Duration::from_millis(200));
    let second = Db::open_on(sim(&fs), "/db", small());
    gate.open();
    let created = creator.join().unwrap();
    closer.join().unwrap();
    drop(second);
    let names = Db::open_on(sim(&fs), "/db", small()).unwrap().families();
    assert!(
        created.is_err() || names.contains(&"late".to_owned()),
        "{created:?}, and the families are {names:?}"
    );
}
