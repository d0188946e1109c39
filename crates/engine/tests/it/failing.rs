//! Failures that last: who waits is told, nothing is lost meanwhile, and what can heal heals by itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use crate::crash::restart;
use crate::faults::{INJECTED, persist, tolerate};
use crate::sim::{Session, noted, value};
use crate::support::chain;
use engine::{Db, Error, ErrorKind, WriteBatch, WriteOptions};
use vfs::Operation;
use vfs::sim::{Effect, Fault, SimFs};

const PATIENCE: Duration = Duration::from_secs(20);

/// Holds threads at an operation until it is opened.
#[derive(Default)]
struct Barrier {
    is_open: Mutex<bool>,
    opened: Condvar,
    arrived: AtomicU64,
}

impl Barrier {
    fn pass(&self) {
        self.arrived.fetch_add(1, Ordering::SeqCst);
        let mut is_open = self.is_open.lock().unwrap();
        while !*is_open {
            is_open = self.opened.wait(is_open).unwrap();
        }
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn has_arrivals(&self) -> bool {
        self.arrived.load(Ordering::SeqCst) > 0
    }
}

/// Holds every operation of this kind on files whose names end like this.
fn hold(fs: &SimFs, held: [(Operation, &'static str); 2]) -> [Arc<Barrier>; 2] {
    let barriers = [Arc::new(Barrier::default()), Arc::new(Barrier::default())];
    let passed = barriers.clone();
    fs.set_hook(Some(Arc::new(move |operation, path| {
        for ((held, end), barrier) in held.iter().zip(&passed) {
            if operation == *held && path.to_string_lossy().ends_with(end) {
                barrier.pass();
            }
        }
    })));
    barriers
}

/// When a test fails: lets everybody go, so that it ends.
struct Rescue<'a> {
    db: &'a Db,
    barriers: &'a [Arc<Barrier>],
}

impl Drop for Rescue<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.barriers.iter().for_each(|barrier| barrier.open());
            drop(self.db.clone().close());
        }
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what} never came");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn join<T>(thread: ScopedJoinHandle<'_, T>, what: &str) -> T {
    wait_until(what, || thread.is_finished());
    thread.join().expect("no panic")
}

/// Writes until an error comes; answers it. What was written before is read, and what was refused is not.
fn write_until_refused(db: &Db, key: &str, is_synced: bool) -> Error {
    let options = WriteOptions { sync: is_synced, ..WriteOptions::default() };
    let mut last = None;
    for number in 0u64.. {
        let mut batch = WriteBatch::new();
        let value = value(number, 2000);
        batch.put(key, &value);
        if let Err(error) = noted(db.write(&batch, &options)) {
            if let (Some(last), ErrorKind::RetryLater) = (last, error.kind()) {
                let found = db.get(key).expect("reads go on").expect("it was written");
                assert!(found == last, "{}", chain(&error));
            }
            return error;
        }
        last = Some(value);
    }
    unreachable!("the numbers do not end")
}

/// Waits until no write gets any further.
fn wait_for_standstill(db: &Db) {
    wait_until("use of memory", || db.stats().in_flight_bytes > 64 << 10);
    let (mut batches, mut still) = (0, 0);
    while still < 5 {
        std::thread::sleep(Duration::from_millis(5));
        let now = db.stats().batches;
        still = if now == batches { still + 1 } else { 0 };
        batches = now;
    }
}

/// W6: while the flush is held up and the memory used up, a log sync fails: all who wait are told, while the flush is
/// still held up, and so is everybody after them, with the same cause.
fn fail_a_log_sync(max_write_buffer_number: usize) {
    let mut session = Session::new(1);
    session.options.max_write_buffer_number = max_write_buffer_number;
    session.open().expect("an empty disk");
    session.db().put("before", "it").expect("there are no faults");
    let barriers = hold(&session.fs, [(Operation::Create, ".sst"), (Operation::SyncData, ".log")]);
    let [flush, sync] = &barriers;
    session.fs.inject(Fault::new(Operation::SyncData, Effect::FailSync).on_path(".log"));
    let db = session.db();
    let errors: Vec<Error> = std::thread::scope(|scope| {
        let _rescue = Rescue { db, barriers: &barriers };
        let mut waiting = vec![scope.spawn(|| write_until_refused(db, "synced", true))];
        wait_until("the sync", || sync.has_arrivals());
        for key in ["a", "b", "c"] {
            waiting.push(scope.spawn(move || write_until_refused(db, key, false)));
        }
        wait_until("the flush", || flush.has_arrivals());
        waiting.push(scope.spawn(|| db.flush().expect_err("the flush is held up")));
        wait_for_standstill(db);
        sync.open();
        waiting.into_iter().map(|thread| join(thread, "the release of those who wait")).collect()
    });
    for error in &errors {
        assert_eq!(error.kind(), ErrorKind::ReadOnly, "{}", chain(error));
        assert!(chain(error).contains(INJECTED), "{}", chain(error));
        assert_eq!(chain(error), chain(&errors[0]), "the first cause stays");
    }
    assert_eq!(db.get("before").expect("reads go on").expect("it is there"), "it");
    flush.open();
    let later = write_until_refused(db, "later", true);
    assert_eq!(chain(&later), chain(&errors[0]), "the first cause stays");
    session.fs.set_hook(None);
    // What was not synced is not promised, and the close does not pretend that it was.
    let closed = session.close().expect_err("the log could not be synced");
    assert_eq!(closed.kind(), ErrorKind::ReadOnly, "{}", chain(&closed));
}

#[test]
fn a_failed_log_sync_releases_those_who_wait_for_memtables_and_all_others() {
    fail_a_log_sync(3);
}

#[test]
fn a_failed_log_sync_releases_those_who_wait_for_credits_and_all_others() {
    fail_a_log_sync(100);
}

/// R2: while a flush is held up, what an iterator left behind before the memtable was sealed hides no later write.
#[test]
fn iterators_see_the_memtable_behind_a_flush_that_is_held_up() {
    let mut session = Session::new(1);
    session.open().expect("an empty disk");
    session.db().put("a", "before").expect("there are no faults");
    let barriers = hold(&session.fs, [(Operation::Create, ".sst"), (Operation::Create, ".none")]);
    let db = session.db();
    let first = || {
        let mut iter = db.iter().expect("it is open");
        let entry = iter.next_entry().expect("reads go on").expect("it is there");
        (entry.0.to_vec(), entry.1.to_vec())
    };
    assert_eq!(first(), (b"a".to_vec(), b"before".to_vec()));
    std::thread::scope(|scope| {
        let _rescue = Rescue { db, barriers: &barriers };
        let flush = scope.spawn(|| db.flush());
        wait_until("the flush", || barriers[0].has_arrivals());
        db.put("a", "after").expect("there is memory");
        assert_eq!(first(), (b"a".to_vec(), b"after".to_vec()));
        barriers[0].open();
        join(flush, "the flush").expect("there are no faults");
    });
    assert_eq!(first(), (b"a".to_vec(), b"after".to_vec()));
}

/// C9: a flush that fails keeps its memtables readable and charged, and is tried again; nothing overtakes it.
#[test]
fn a_failing_flush_keeps_its_memtables_until_it_succeeds() {
    let mut session = Session::new(2);
    session.open().expect("an empty disk");
    for _ in 0..10 {
        session.write_some(false).expect("there are no faults");
    }
    session.fs.inject(Fault::new(Operation::Create, Effect::IO).on_path(".sst").times(u64::MAX));
    for round in 0..3 {
        let held = session.db().stats().in_flight_bytes;
        let failed = session.flush().expect_err("no table can be made");
        assert!(matches!(failed, Error::FlushFailing { .. }), "{}", chain(&failed));
        assert!(chain(&failed).contains(INJECTED), "{}", chain(&failed));
        let stats = session.db().stats();
        assert_eq!(stats.in_flight_bytes, held, "round {round}: the memtables are not charged");
        assert!(stats.flush_failures > 0 && stats.flushes == 0, "{stats:?}");
        session.check().expect("the memtables are readable");
        session.write_some(false).expect("there is memory left");
        restart(session.fs.crash_clone(round), &session.history, 0, "while flushes fail");
    }
    session.fs.clear_faults();
    wait_until("the retried flush", || session.db().stats().flushes > 0);
    session.flush().expect("the fault is over");
    session.check().expect("there are no faults");
    session.settle();
}

/// C9: with tables failing at random, what is installed is always a prefix.
#[test]
fn no_flush_overtakes_one_that_failed() {
    for seed in 0..20 {
        let mut session = Session::new(seed);
        session.open().expect("an empty disk");
        for round in 0..6 {
            let nth = 1 + session.random.below(3);
            let fault = Fault::new(Operation::SyncAll, Effect::FailSync).on_path(".sst");
            session.fs.inject(fault.nth(nth).times(2));
            for _ in 0..12 {
                tolerate(&mut session, Session::step).expect("the log does not fail");
            }
            let what = format!("seed {seed}, round {round}");
            let image = session.fs.crash_clone(round);
            restart(image, &session.history, session.history.durable, &what);
        }
        session.fs.clear_faults();
        persist(&mut session, Session::flush).expect("the log does not fail");
        session.settle();
    }
}

/// Lets three writers write until they are refused, and then until they are not.
fn check_told_and_healed(session: &Session, is_told: fn(&Error) -> bool) {
    let db = session.db();
    let errors: Vec<Error> = std::thread::scope(|scope| {
        let _rescue = Rescue { db, barriers: &[] };
        let writers =
            ["a", "b", "c"].map(|key| scope.spawn(move || write_until_refused(db, key, false)));
        writers.into_iter().map(|thread| join(thread, "the release of those who wait")).collect()
    });
    for error in errors {
        assert!(is_told(&error), "{}", chain(&error));
        assert_eq!(error.kind(), ErrorKind::RetryLater);
        assert!(chain(&error).contains(INJECTED), "{}", chain(&error));
    }
    session.fs.clear_faults();
    wait_until("the end of the refusals", || db.put("healed", "yes").is_ok());
    let stats = db.stats();
    let budget = session.options.write_budget.unwrap_or(u64::MAX);
    assert!(stats.in_flight_peak_bytes <= budget, "{stats:?}");
}

/// C6: when every flush that could give back memory goes on failing, those who wait for it are told, and when it
/// succeeds again, writing goes on.
#[test]
fn writers_that_wait_for_credits_are_told_when_flushes_go_on_failing() {
    let mut session = Session::new(3);
    session.options.max_write_buffer_number = 100; // only credits make anybody wait
    session.open().expect("an empty disk");
    session.fs.inject(Fault::new(Operation::Write, Effect::IO).on_path(".sst").times(u64::MAX));
    check_told_and_healed(&session, |error| matches!(error, Error::FlushFailing { .. }));
}

/// C6, W3: and so are those who wait for a memtable.
#[test]
fn writers_that_wait_for_memtables_are_told_when_flushes_go_on_failing() {
    let mut session = Session::new(3);
    session.options.write_budget = None;
    session.options.max_write_buffer_number = 2;
    session.open().expect("an empty disk");
    session.fs.inject(Fault::new(Operation::Create, Effect::IO).on_path(".sst").times(u64::MAX));
    check_told_and_healed(&session, |error| matches!(error, Error::FlushFailing { .. }));
}

/// Compaction that goes on failing does not leave those waiting whom it has stopped.
#[test]
fn writers_that_are_stopped_are_told_when_compactions_go_on_failing() {
    let mut session = Session::new(3);
    session.options.level0_slowdown_writes_trigger = 3;
    session.options.level0_stop_writes_trigger = 4;
    session.open().expect("an empty disk");
    session.db().put("a", "in the first table").expect("there are no faults");
    session.flush().expect("there are no faults");
    let files = session.fs.files();
    let table = files.iter().find(|(path, _)| path.extension().is_some_and(|e| e == "sst"));
    // No compaction gets past the first table; flushes do not read it.
    let name = table.expect("it was flushed").0.to_string_lossy().into_owned();
    session.fs.inject(Fault::new(Operation::Read, Effect::IO).on_path(name).times(u64::MAX));
    check_told_and_healed(&session, |error| matches!(error, Error::CompactionFailing { .. }));
}

/// Design: a full disk is a typed refusal, reads go on, and writes heal by themselves once there is room.
#[test]
fn a_full_disk_refuses_loses_nothing_and_heals() {
    for (seed, room) in [(1, 60), (2, 120), (3, 20), (4, 100), (5, 40)] {
        let mut session = Session::new(seed);
        session.open().expect("an empty disk");
        for _ in 0..20 {
            session.step().expect("there is room");
        }
        let capacity = session.fs.used_bytes() + (room << 10);
        session.fs.set_capacity(Some(capacity));
        let mut refusals = 0;
        for _ in 0..400 {
            if let Err(error) = session.step() {
                assert_eq!(error.kind(), ErrorKind::RetryLater, "{}", chain(&error));
                assert!(chain(&error).contains("no space is left"), "{}", chain(&error));
                refusals += 1;
                session.check().expect("reads go on");
            }
            if refusals == 12 {
                break;
            }
        }
        assert!(refusals == 12, "seed {seed}: the disk never became full");

        // A restart on the full disk says so, or succeeds; nothing is lost.
        let image = session.fs.crash_clone(seed);
        image.set_capacity(Some(image.used_bytes()));
        let mut full = Session::on(image, session.history.clone(), seed);
        if let Err(error) = full.open() {
            assert!(chain(&error).contains("no space is left"), "{}", chain(&error));
        }
        full.abandon();
        full.fs.set_capacity(None);
        restart(full.fs.clone(), &full.history, full.history.durable, "after a full disk").settle();

        session.fs.set_capacity(None);
        let until = Instant::now() + PATIENCE;
        while let Err(error) = session.write_some(true) {
            assert!(Instant::now() < until, "it does not heal: {}", chain(&error));
            std::thread::sleep(Duration::from_millis(1));
        }
        session.check().expect("there is room again");
        let until = Instant::now() + PATIENCE;
        while let Err(error) = session.compact() {
            assert!(Instant::now() < until, "it does not heal: {}", chain(&error));
        }
        session.settle();
    }
}

/// R4: jobs that fail again and again give back what they had written.
#[test]
fn failing_jobs_leave_no_files_behind() {
    let faults = [
        Fault::new(Operation::SyncDir, Effect::IO).on_path("db"),
        Fault::new(Operation::Open, Effect::IO).on_path(".sst"),
        Fault::new(Operation::Read, Effect::IO).on_path(".sst"),
        Fault::new(Operation::SyncAll, Effect::IO).on_path(".sst"),
        Fault::new(Operation::Write, Effect::NO_SPACE).on_path(".sst"),
        Fault::new(Operation::SyncData, Effect::IO).on_path("MANIFEST"),
    ];
    for fault in faults {
        let mut session = Session::new(9);
        session.open().expect("an empty disk");
        for _ in 0..3 {
            session.write_some(false).expect("there are no faults");
            session.flush().expect("there are no faults");
        }
        session.fs.inject(fault.clone().times(6));
        for _ in 0..10 {
            session.write_some(false).expect("the log does not fail");
            for job in [Session::flush, Session::compact] {
                tolerate(&mut session, job).expect("the log does not fail");
            }
        }
        session.fs.clear_faults();
        session.write_some(false).expect("there are no faults");
        persist(&mut session, Session::compact).expect("there are no faults");
        session.check_leaks();
        assert!(session.fs.faults_hit() > 2, "{fault:?} did not happen");
    }
}

/// A write that was refused is not there after a power cut, even if all of its bytes had reached the log.
#[test]
fn a_write_that_was_refused_does_not_come_back() {
    let whole = Effect::ShortWrite { written: usize::MAX, failure: std::io::ErrorKind::Other };
    for seed in 0..10 {
        let mut session = Session::new(seed);
        session.open().expect("an empty disk");
        for _ in 0..5 {
            session.write_some(seed % 2 == 0).expect("there are no faults");
        }
        session.fs.inject(Fault::new(Operation::Write, whole).on_path(".log"));
        let refused = session.write_some(true).expect_err("the log fails");
        assert_eq!(refused.kind(), ErrorKind::RetryLater, "{}", chain(&refused));
        session.check().expect("reads go on");
        for crash in 0..10 {
            let history = &session.history;
            restart(session.fs.crash_clone(crash), history, history.durable, "a refused write");
        }
        session.write_some(true).expect("the fault is over");
        session.check().expect("there are no faults");
    }
}
