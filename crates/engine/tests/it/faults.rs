//! Failing devices, full disks and failed syncs, on a simulated disk: each call gets a typed error or succeeds, and
//! nothing that was acknowledged is lost.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::crash::restart;
use crate::sim::{Change, History, Session, key, noted, value};
use crate::support::chain;
use engine::{Error, ErrorKind, WriteOptions};
use vfs::Operation;
use vfs::sim::{Effect, Fault, SimFs};

const INJECTED: &str = "injected fault";
/// Attempts until a call must have succeeded once its fault is over.
const TRIES: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(20);

/// A cut through everything: tables, compactions, a new log segment, a second life.
fn exercise(session: &mut Session) -> Result<(), Error> {
    for _ in 0..2 {
        persist(session, Session::open)?;
        for _ in 0..45 {
            tolerate(session, Session::step)?;
        }
        // Past the end of a log segment.
        for number in 0..6 {
            let put = |session: &mut Session| {
                let change =
                    Change { family: 0, key: key(number), value: Some(value(number, 40_000)) };
                session.write(vec![change], false)
            };
            tolerate(session, put)?;
        }
        persist(session, Session::flush)?;
        persist(session, Session::compact)?;
        session.close()?;
    }
    Ok(())
}

/// A call that may fail, if that says that it was the fault's doing and that the database goes on; what it was about is
/// then not done. The error that ends writing is passed on.
fn tolerate(
    session: &mut Session,
    call: impl Fn(&mut Session) -> Result<(), Error>,
) -> Result<bool, Error> {
    let Err(error) = call(session) else { return Ok(true) };
    assert!(chain(&error).contains(INJECTED), "{}", chain(&error));
    match error.kind() {
        ErrorKind::ReadOnly => Err(error),
        // System: a read from a table failed, or an opening.
        ErrorKind::RetryLater | ErrorKind::System => Ok(false),
        kind => panic!("{kind:?}: {}", chain(&error)),
    }
}

/// A call that must succeed after a few attempts: the fault strikes once.
fn persist(
    session: &mut Session,
    call: fn(&mut Session) -> Result<(), Error>,
) -> Result<(), Error> {
    for _ in 0..TRIES {
        if tolerate(session, call)? {
            return Ok(());
        }
    }
    panic!("it goes on failing after the fault is over")
}

/// W6: the first cause stays, whoever asks; reads go on.
fn check_read_only(session: &mut Session, first: &Error) {
    for again in [session.flush(), session.compact(), session.write_some(true)] {
        let again = again.expect_err("writing has ended");
        assert_eq!(again.kind(), ErrorKind::ReadOnly);
        assert_eq!(chain(&again), chain(first), "the first cause stays");
    }
    let found = session.read().expect("reads go on");
    let history = &session.history;
    history.locate(&found, history.acknowledged, "reads after the end of writing");
}

/// Runs the exercise with this fault at its `nth` opportunity; `false` when there was none.
fn endure(fault: &Fault, nth: u64) -> bool {
    let what = format!("{fault:?}, number {nth}");
    let mut session = Session::new(5);
    session.fs.inject(fault.clone().nth(nth));
    let ended = exercise(&mut session);
    let is_hit = session.fs.faults_hit() > 0;
    match &ended {
        Ok(()) => {}
        Err(error) if session.is_open() => check_read_only(&mut session, error),
        Err(error) => assert!(is_hit, "{what}: {}", chain(error)),
    }
    session.fs.clear_faults();
    let image = session.fs.crash_clone(nth);
    session.abandon();
    let history = &session.history;
    let mut restarted = restart(session.fs.clone(), history, history.acknowledged, &what);
    restarted.settle();
    restart(image, history, history.durable, &what).settle();
    is_hit
}

fn endure_all(operations: &[(Operation, &str)], effects: &[Effect]) {
    for &(operation, part) in operations {
        for &effect in effects {
            let fault = Fault::new(operation, effect).on_path(part);
            let hits =
                [1, 2, 3, 5, 8, 13, 21, 34].into_iter().take_while(|&nth| endure(&fault, nth));
            assert!(
                hits.count() > 0,
                "{operation:?} of {part} never happens: the test shows nothing"
            );
        }
    }
}

/// R4, C9: whatever fails once is done again, or is a typed error.
#[test]
fn a_failing_operation_on_any_file_loses_nothing() {
    use Operation::{Allocate, Create, CreateDir, List, Lock, Remove, Rename, SyncDir, Write};
    let operations = [
        (Create, ".log"),
        (Allocate, ".log"),
        (Write, ".log"),
        (Remove, ".log"),
        (Create, ".sst"),
        (Write, ".sst"),
        (Remove, ".sst"),
        (Create, "MANIFEST"),
        (Write, "MANIFEST"),
        (Remove, "MANIFEST"),
        (Create, "CURRENT"),
        (Write, "CURRENT"),
        (Rename, "CURRENT"),
        (SyncDir, "db"),
        (List, "db"),
        (CreateDir, "db"),
        (Lock, "LOCK"),
    ];
    endure_all(&operations, &[Effect::IO, Effect::NO_SPACE]);
}

#[test]
fn a_short_write_to_any_file_loses_nothing() {
    let operations = [".log", ".sst", "MANIFEST", "CURRENT"].map(|part| (Operation::Write, part));
    let short = |written| Effect::ShortWrite { written, failure: io::ErrorKind::StorageFull };
    endure_all(&operations, &[short(1), short(40), short(700)]);
}

/// What a failed sync leaves on the disk is unknown; the pages count as clean, and a second sync would be a lie.
#[test]
fn a_failed_sync_of_any_file_loses_nothing() {
    use Operation::{SyncAll, SyncData, SyncRange};
    let operations = [
        (SyncData, ".log"),
        (SyncAll, ".log"),
        (SyncAll, ".sst"),
        (SyncRange, ".sst"),
        (SyncAll, "MANIFEST"),
        (SyncData, "MANIFEST"),
        (SyncAll, "CURRENT"),
    ];
    endure_all(&operations, &[Effect::IO, Effect::FailSync]);
}

#[test]
fn a_failing_read_of_any_file_loses_nothing() {
    use Operation::{Len, Open, Read};
    let operations = [
        (Open, ".log"),
        (Read, ".log"),
        (Open, ".sst"),
        (Read, ".sst"),
        (Len, ".sst"),
        (Open, "MANIFEST"),
        (Read, "MANIFEST"),
        (Open, "CURRENT"),
        (Read, "CURRENT"),
    ];
    endure_all(&operations, &[Effect::IO]);
}

/// A disk with something in tables and in the log, and what must be found there.
fn image(seed: u64) -> (SimFs, History) {
    let mut session = Session::new(seed);
    session.open().expect("an empty disk");
    for _ in 0..50 {
        session.step().expect("there are no faults");
    }
    session.write_some(true).expect("there are no faults");
    let image = session.fs.crash_clone(seed);
    session.abandon();
    let mut history = session.history.clone();
    let mut found = restart(image.crash_clone(0), &history, history.durable, "the image");
    found.abandon();
    history.truncate(found.history.len());
    (image, history)
}

/// Opening, with a fault at any of its changes, reports it or goes on, and changes nothing of what is there.
#[test]
fn a_recovery_that_meets_a_fault_at_any_operation_reports_it_and_loses_nothing() {
    let (image, history) = image(4);
    for effect in [Effect::IO, Effect::NO_SPACE, Effect::FailSync] {
        for nth in 1.. {
            let what = format!("{effect:?} at operation {nth} of the recovery");
            let mut session = Session::on(image.crash_clone(0), history.clone(), nth);
            session.fs.inject(Fault::any(effect).nth(nth));
            match session.open() {
                Ok(()) => session.check().expect("reads need no writes"),
                Err(error) => {
                    assert!(chain(&error).contains(INJECTED), "{what}: {}", chain(&error));
                }
            }
            let is_hit = session.fs.faults_hit() > 0;
            let crashed = session.fs.crash_clone(nth);
            session.abandon();
            session.fs.clear_faults();
            for disk in [session.fs.clone(), crashed] {
                restart(disk, &history, history.len(), &what).settle();
            }
            if !is_hit {
                assert!(nth > 5, "{what}: there was none");
                break;
            }
        }
    }
}

/// No bit that is read wrongly leads to wrong data, nor to a panic.
#[test]
fn a_flipped_bit_in_what_is_read_is_found() {
    let (image, history) = image(7);
    let mut found_out = 0;
    for part in [".sst", "MANIFEST", "CURRENT", ".log"] {
        for at in 3..75 {
            let (nth, bit) = (at / 3, at * 7919);
            let disk = image.crash_clone(0);
            disk.inject(Fault::new(Operation::Read, Effect::FlipBit(bit)).on_path(part).nth(nth));
            let mut session = Session::on(disk, history.clone(), nth);
            let outcome = session.open().and_then(|()| {
                let found = noted(session.read())?;
                let what = format!("bit {bit} of read {nth} of {part}");
                // Damage in the last synced group of the log cannot be told from a torn tail.
                let least = if part == ".log" { 0 } else { history.len() };
                history.locate(&found, least, &what);
                Ok(())
            });
            if let Err(error) = outcome {
                let text = chain(&error);
                assert_eq!(error.kind(), ErrorKind::Corruption, "{text}");
                assert!(text.contains(part), "the file is not named: {text}");
                found_out += 1;
            }
        }
    }
    assert!(found_out > 40, "only {found_out} flipped bits were found");
}

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

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what} never came");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Writes until an error comes; answers it. Only the error is then in doubt: all before it can be read.
fn write_until_refused(db: &engine::Db, key: &str, is_synced: bool) -> Error {
    let options = WriteOptions { sync: is_synced, ..WriteOptions::default() };
    let mut last = None;
    for number in 0u64.. {
        let mut batch = engine::WriteBatch::new();
        let value = value(number, 2000);
        batch.put(key, &value);
        if let Err(error) = noted(db.write(&batch, &options)) {
            let found = db.get(key).expect("reads go on").map(|value| value.to_vec());
            assert!(found == last || error.kind() == ErrorKind::ReadOnly, "{}", chain(&error));
            return error;
        }
        last = Some(value);
    }
    unreachable!("the numbers do not end")
}

/// W6: while the flush is held up and the budget used up, a log sync fails: all who wait are told, and so is everybody
/// after them, with the same cause.
#[test]
fn a_failed_log_sync_releases_everybody_with_the_first_cause() {
    let mut session = Session::new(1);
    session.open().expect("an empty disk");
    session.write_some(true).expect("there are no faults");
    let (flush, sync) = (Arc::new(Barrier::default()), Arc::new(Barrier::default()));
    let (at_flush, at_sync) = (Arc::clone(&flush), Arc::clone(&sync));
    session.fs.set_hook(Some(Arc::new(move |operation, path| {
        let is_table = path.extension().is_some_and(|extension| extension == "sst");
        match operation {
            Operation::Create if is_table => at_flush.pass(),
            Operation::SyncData if path.extension().is_some_and(|e| e == "log") => at_sync.pass(),
            _ => {}
        }
    })));
    session.fs.inject(Fault::new(Operation::SyncData, Effect::FailSync).on_path(".log"));
    let acknowledged = session.db().get("before").expect("reads go on");
    let db = session.db();
    let is_released = AtomicBool::new(false);
    let errors: Vec<Error> = std::thread::scope(|scope| {
        let synced = scope.spawn(|| write_until_refused(db, "synced", true));
        wait_until("the sync", || sync.has_arrivals());
        let mut waiting: Vec<_> = ["a", "b", "c"]
            .map(|key| scope.spawn(move || write_until_refused(db, key, false)))
            .into();
        wait_until("the flush", || flush.has_arrivals());
        waiting.push(scope.spawn(|| db.flush().expect_err("the flush is held up")));
        // Until the writers stand still: no more batches, for want of memory.
        let mut before = (db.stats().batches, 0);
        wait_until("the end of the memory", || {
            std::thread::sleep(Duration::from_millis(20));
            db.stats().in_flight_bytes > 64 << 10
        });
        while before.1 < 5 {
            std::thread::sleep(Duration::from_millis(5));
            let batches = db.stats().batches;
            before = if before.0 == batches { (batches, before.1 + 1) } else { (batches, 0) };
        }
        sync.open();
        let mut errors = vec![synced.join().expect("no panic")];
        errors.extend(waiting.into_iter().map(|thread| thread.join().expect("no panic")));
        is_released.store(true, Ordering::SeqCst);
        errors
    });
    assert!(is_released.load(Ordering::SeqCst), "the flush was never let go");
    for error in &errors {
        assert_eq!(error.kind(), ErrorKind::ReadOnly, "{}", chain(error));
        assert!(chain(error).contains(INJECTED), "{}", chain(error));
        assert_eq!(chain(error), chain(&errors[0]), "the first cause stays");
    }
    assert_eq!(session.db().get("before").expect("reads go on"), acknowledged);
    flush.open();
    sync.open();
    let later = write_until_refused(session.db(), "later", true);
    assert_eq!(chain(&later), chain(&errors[0]), "the first cause stays");
    session.fs.set_hook(None);
    // What was not synced is not promised, and the close does not pretend it was.
    let closed = session.close().expect_err("the log could not be synced");
    assert_eq!(closed.kind(), ErrorKind::ReadOnly, "{}", chain(&closed));
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

/// C9: with tables of one family failing at random, what is installed is always a prefix.
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

/// C6: when every flush that could give back memory goes on failing, those who wait for it are told, and when it
/// succeeds again, writing goes on.
#[test]
fn writers_that_wait_for_credits_are_told_when_flushes_go_on_failing() {
    let mut session = Session::new(3);
    session.options.max_write_buffer_number = 100; // only credits make anybody wait
    session.open().expect("an empty disk");
    session.write_some(true).expect("there are no faults");
    session.fs.inject(Fault::new(Operation::Write, Effect::IO).on_path(".sst").times(u64::MAX));
    let db = session.db();
    let errors: Vec<Error> = std::thread::scope(|scope| {
        let writers =
            ["a", "b", "c"].map(|key| scope.spawn(move || write_until_refused(db, key, false)));
        writers.into_iter().map(|writer| writer.join().expect("no panic")).collect()
    });
    for error in errors {
        assert!(matches!(error, Error::FlushFailing { .. }), "{}", chain(&error));
        assert_eq!(error.kind(), ErrorKind::RetryLater);
        assert!(chain(&error).contains(INJECTED), "{}", chain(&error));
    }
    let stats = db.stats();
    assert!(stats.in_flight_peak_bytes <= 256 << 10 && stats.flushes == 0, "{stats:?}");
    session.fs.clear_faults();
    wait_until("the end of the refusals", || db.put("healed", "yes").is_ok());
    assert_eq!(db.stats().in_flight_peak_bytes, stats.in_flight_peak_bytes);
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
    let refused = write_until_refused(session.db(), "a", false);
    assert!(matches!(refused, Error::CompactionFailing { .. }), "{}", chain(&refused));
    assert!(chain(&refused).contains(INJECTED), "{}", chain(&refused));
    session.fs.clear_faults();
    let db = session.db();
    wait_until("the end of the refusals", || db.put("healed", "yes").is_ok());
}

/// Design: a full disk is a typed refusal, reads go on, and writes heal by themselves once there is room.
#[test]
fn a_full_disk_refuses_loses_nothing_and_heals() {
    for (seed, room) in [(1, 300), (2, 200), (3, 250), (4, 100), (5, 40)] {
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
