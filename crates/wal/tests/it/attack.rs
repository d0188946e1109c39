//! Found by an attack: disks that fail and go on, syncs that meet, logs that end with somebody waiting.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use base::sync::now;
use credit::Pool;
use vfs::sim::{Effect, Fault};
use vfs::{Fs, Operation};
use wal::{Error, LogBackend, ReadUpTo, RecoveryMode, Wal, WalOptions};

use crate::kit::*;

fn texts(records: &[Read]) -> Vec<String> {
    records.iter().map(|read| String::from_utf8_lossy(&read.payload).into_owned()).collect()
}

#[test]
fn a_log_opened_after_a_failed_sync_keeps_what_it_then_syncs() {
    // The failed sync leaves pages that read as written, are clean, and are not on the disk. Recovery reads them, and
    // its own sync of the file succeeds without writing them.
    let (fs, log) = fresh(small());
    log.append_synced(&[b"first"]).unwrap();
    let second = log.append(&[b"second"]).unwrap();
    fs.inject(Fault::new(Operation::SyncData, Effect::FailSync));
    log.sync(second).unwrap_err();
    drop(log);

    let (records, log) = reopen(&fs, small());
    let replayed = texts(&records);
    log.append_synced(&[b"third"]).unwrap();
    for seed in 0..20 {
        let outcome = recover_sim(&fs.crash_clone(seed), NOTHING, RecoveryMode::PointInTime);
        let (records, _) = outcome.expect("a sync that succeeded is kept");
        let mut expected = replayed.clone();
        expected.push("third".to_owned());
        assert_eq!(texts(&records), expected, "seed {seed}");
    }
}

#[test]
fn a_recovery_whose_sync_failed_can_be_tried_again() {
    let (fs, log) = fresh(small());
    log.append(&[b"killed"]).unwrap();
    drop(log);
    fs.inject(Fault::new(Operation::SyncData, Effect::FailSync));
    recover_sim(&fs, NOTHING, RecoveryMode::PointInTime).unwrap_err();

    let (records, log) = reopen(&fs, small());
    let mut expected = texts(&records);
    log.append_synced(&[b"after"]).unwrap();
    expected.push("after".to_owned());
    for seed in 0..20 {
        let outcome = recover_sim(&fs.crash_clone(seed), NOTHING, RecoveryMode::PointInTime);
        let (records, _) = outcome.expect("a sync that succeeded is kept");
        assert_eq!(texts(&records), expected, "seed {seed}");
    }
}

#[test]
fn a_sync_that_meets_the_failed_one_of_an_abort_does_not_succeed() {
    // The system reports a failed write-back once per open file: here to the sync of an abort. The leader of the round
    // that is under way hears nothing of it.
    let (fs, log) = fresh(small());
    let end = log.append(&[b"synced"]).unwrap();
    let (at_sync, is_at_sync) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let may_go_on = std::sync::Mutex::new(may_go_on);
    let syncs = AtomicU64::new(0);
    fs.set_hook(Some(Arc::new(move |operation, _| {
        if operation == Operation::SyncData && syncs.fetch_add(1, Ordering::Relaxed) == 0 {
            at_sync.send(()).unwrap();
            // Bounded, so that a log that lets one sync wait for the other passes too.
            let _either = may_go_on.lock().unwrap().recv_timeout(Duration::from_millis(500));
        }
    })));
    fs.inject(Fault::new(
        Operation::Write,
        Effect::ShortWrite { written: 30, failure: std::io::ErrorKind::StorageFull },
    ));
    fs.inject(Fault::new(Operation::SyncData, Effect::FailSync));
    let synced = std::thread::scope(|scope| {
        let leader = scope.spawn(|| log.sync(end));
        is_at_sync.recv().unwrap();
        log.append(&[&[9; 50]]).unwrap_err();
        go_on.send(()).unwrap();
        leader.join().unwrap()
    });
    let is_there = payloads(&synced_only(&fs)).contains(&b"synced".to_vec());
    assert!(synced.is_err() || is_there, "{synced:?}, and the record is lost");
}

#[test]
fn a_reader_of_a_dropped_log_is_told() {
    let (_fs, log) = fresh(small());
    let reader = log.reader(ReadUpTo::Filled);
    drop(log);
    let waited = reader.wait(Some(now() + Duration::from_millis(10)));
    assert!(
        matches!(waited, Err(Error::Failed(_))),
        "{waited:?}: without deadline it waits for ever"
    );
}

fn charged(options: WalOptions) -> (Pool, Wal) {
    let pool = Pool::new(Some(1 << 20));
    let fs: Arc<dyn Fs> = Arc::new(vfs::sim::SimFs::new());
    let start = wal::LogStart::fresh();
    let log =
        Wal::create_charged(fs, std::path::Path::new(DIR), options, start, pool.clone()).unwrap();
    (pool, log)
}

fn mapped() -> WalOptions {
    WalOptions { segment_bytes: 16 << 10, backend: LogBackend::Mapped, ..small() }
}

#[test]
fn a_closed_log_holds_no_charge() {
    let (pool, log) = charged(mapped());
    log.maintain();
    log.append(&[&[1; 5000]]).unwrap();
    assert!(pool.held_bytes() > 0);
    log.close().unwrap();
    assert_eq!(pool.held_bytes(), 0);
}

#[test]
fn a_log_of_which_a_reader_is_left_holds_no_charge() {
    let (pool, log) = charged(mapped());
    log.maintain();
    log.append(&[&[1; 5000]]).unwrap();
    let reader = log.reader(ReadUpTo::Filled);
    drop(log);
    assert_eq!(pool.held_bytes(), 0);
    drop(reader);
}

#[test]
fn a_recycled_file_that_cannot_be_opened_is_not_forgotten() {
    let options = WalOptions { spare_segments_max: 1, ..small() };
    let (fs, log) = fresh(options);
    log.append(&[&[1; 100]]).unwrap();
    log.roll().unwrap();
    log.append(&[&[2; 100]]).unwrap();
    assert_eq!(log.retire_before(log.current_segment()).unwrap().kept, 1);
    fs.inject(Fault::new(Operation::Open, Effect::IO));
    log.roll().unwrap_err();
    log.retire_before(number(2)).unwrap();
    let files = fs.list(std::path::Path::new(DIR)).unwrap();
    let bytes: u64 = files.iter().map(|file| file.len).sum();
    assert_eq!(log.file_bytes(), bytes, "{files:?}");
}

/// What a log should hold: ids and their segments, and how many of them are synced.
#[derive(Default)]
struct Expected {
    records: Vec<(u64, u32)>,
    synced: usize,
    next: u32,
    from: u64,
}

impl Expected {
    /// Takes over what a recovery gave, which must hold all that was synced, and nothing out of order.
    fn check(&mut self, found: &[Read], what: &str) {
        let ids: Vec<(u64, u32)> = found
            .iter()
            .map(|read| (read.segment, u32::from_le_bytes(read.payload[..4].try_into().unwrap())))
            .collect();
        assert!(ids.windows(2).all(|pair| pair[0].1 < pair[1].1), "{what}: order {ids:?}");
        let needed = |&&(segment, _): &&(u64, u32)| segment >= self.from;
        let synced = self.records[..self.synced].iter().filter(needed).count();
        let known: Vec<_> = self.records.iter().filter(needed).copied().collect();
        let common = known.len().min(ids.len());
        assert!(ids.len() >= synced, "{what}: {ids:?} of {known:?}, {synced} synced");
        assert_eq!(ids[..common], known[..common], "{what}");
        self.synced = ids.len();
        self.records = ids;
    }

    fn step(&mut self, log: &Wal, step: u32) -> Result<(), Error> {
        match step % 7 {
            3 => log.roll(),
            5 => {
                log.maintain();
                Ok(())
            }
            6 if step.is_multiple_of(3) => {
                self.from = log.current_segment().get();
                log.retire_before(number(self.from)).map(drop)
            }
            kind => {
                let id = self.next;
                self.next += 1;
                let payload = vec![id as u8; 300 + (step as usize * 211) % 1500];
                let parts: [&[u8]; 2] = [&id.to_le_bytes(), &payload];
                if kind == 2 {
                    let end = log.append_synced(&parts)?;
                    let _ = end;
                    self.records.push((log.current_segment().get(), id));
                    self.synced = self.records.len();
                } else {
                    log.append(&parts)?;
                    self.records.push((log.current_segment().get(), id));
                }
                Ok(())
            }
        }
    }
}

fn endure(options: &WalOptions, fault: Fault, what: &str) -> bool {
    let (fs, mut log) = fresh(options.clone());
    fs.inject(fault);
    let mut expected = Expected { from: 1, ..Expected::default() };
    for step in 0..60 {
        match expected.step(&log, step) {
            Ok(()) | Err(Error::NotAppended(_)) => continue,
            Err(Error::Fs(_)) if log.failure().is_none() => continue,
            Err(Error::Failed(_)) => {}
            Err(error) => panic!("{what}: {error}"),
        }
        drop(log);
        let mode = RecoveryMode::PointInTime;
        let from = number(expected.from);
        let opened = (0..12).find_map(|_| {
            let (records, recovered) = recover_sim(&fs, from, mode).ok()?;
            let log = create(&fs, options.clone(), recovered.start).ok()?;
            Some((records, log))
        });
        let Some((records, opened)) = opened else {
            panic!("{what}: {:?}", recover_sim(&fs, from, mode).map(drop))
        };
        expected.check(&records, what);
        log = opened;
    }
    let was_hit = fs.faults_hit() > 0;
    for seed in 0..4 {
        let crashed = fs.crash_clone(seed);
        let outcome = recover_sim(&crashed, number(expected.from), RecoveryMode::PointInTime);
        let what = format!("{what}, seed {seed}");
        let (records, _) = outcome.unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut copy = Expected { records: expected.records.clone(), ..expected };
        copy.check(&records, &what);
    }
    was_hit
}

#[test]
fn a_log_that_goes_on_after_any_one_fault_keeps_what_it_syncs() {
    use std::io::ErrorKind::StorageFull;
    let effects = [
        Effect::IO,
        Effect::NO_SPACE,
        Effect::ShortWrite { written: 5, failure: StorageFull },
        Effect::ShortWrite { written: 70, failure: StorageFull },
        Effect::ShortWrite { written: 1 << 20, failure: StorageFull },
        Effect::FailSync,
    ];
    for backend in [LogBackend::Positional, LogBackend::Mapped] {
        let options = WalOptions { backend, spare_segments_max: 2, ..small() };
        for effect in effects {
            for times in [1, 2, 5] {
                let mut nth = 1;
                // From the log's making on.
                while endure(
                    &options,
                    Fault::any(effect).nth(nth).times(times),
                    &format!("{backend:?} {effect:?} at {nth}, {times} times"),
                ) {
                    nth += 1;
                }
            }
        }
    }
}

#[test]
fn the_current_segment_is_not_retired_after_a_roll_that_failed() {
    // It is closed then, since its successor's link may be on the disk, but there is no other one yet.
    let (fs, log) = fresh(small());
    log.append_synced(&[b"first"]).unwrap();
    // Its zeros, its header, its link.
    fs.inject(Fault::new(Operation::Write, Effect::IO).on_path("000002").nth(3));
    log.roll().unwrap_err();
    assert_eq!(log.current_segment(), number(1));
    log.retire_before(number(9)).unwrap();
    assert!(fs.exists(&path(1)).unwrap());
    assert!(log.reader(ReadUpTo::Durable).next_record().unwrap().is_some());
}

#[test]
fn nothing_is_reserved_while_a_log_is_closed() {
    let (fs, log) = fresh(small());
    log.append(&[b"first"]).unwrap();
    let log: &'static Wal = Box::leak(Box::new(log));
    let slot: Arc<std::sync::Mutex<Option<wal::Reservation<'static>>>> = Arc::default();
    let syncs = AtomicU64::new(0);
    let into = Arc::clone(&slot);
    fs.set_hook(Some(Arc::new(move |operation, _| {
        if operation == Operation::SyncData && syncs.fetch_add(1, Ordering::Relaxed) == 1 {
            *into.lock().unwrap() = log.reserve(4).ok();
        }
    })));
    log.close().unwrap();
    // Nothing touches the files after that, whoever still holds the log.
    let before = fs.operations();
    let late = slot.lock().unwrap().take();
    let filled = late.map(|late| late.fill(&[b"late"]));
    assert_eq!(fs.operations(), before, "{filled:?}");
}

#[test]
fn what_is_secured_is_there_after_a_sync_that_failed_before() {
    let (fs, log) = fresh(small());
    let end = log.append(&[b"read while it was not on the disk"]).unwrap();
    fs.inject(Fault::new(Operation::SyncData, Effect::FailSync));
    log.sync(end).unwrap_err();
    let number = log.current_segment();
    drop(log);
    // Reads as written from here on, and a plain sync of it writes nothing.
    wal::secure(&fs, std::path::Path::new(DIR), [number]).unwrap();
    for seed in 0..20 {
        let outcome = recover_sim(&fs.crash_clone(seed), NOTHING, RecoveryMode::PointInTime);
        let (records, _) = outcome.expect("the log is whole");
        assert_eq!(texts(&records), ["read while it was not on the disk"], "seed {seed}");
    }
}

#[test]
fn what_is_read_wrongly_once_is_not_written() {
    let (fs, log) = fresh(small());
    log.append_synced(&[b"whole"]).unwrap();
    let number = log.current_segment();
    drop(log);
    for nth in 1..4 {
        fs.inject(Fault::new(Operation::Read, Effect::FlipBit(142 * 8)).nth(nth));
        wal::secure(&fs, std::path::Path::new(DIR), [number]).unwrap();
        fs.clear_faults();
        let outcome = recover_sim(&fs.crash_clone(nth), NOTHING, RecoveryMode::PointInTime);
        let (records, _) = outcome.expect("the log is whole");
        assert_eq!(texts(&records), ["whole"], "read {nth}");
    }
}

/// Appends when its thread ends, and says what came of it.
struct AtThreadEnd(Arc<Wal>, mpsc::Sender<Result<(), String>>);

impl Drop for AtThreadEnd {
    fn drop(&mut self) {
        let append = || self.0.append(&[b"last words"]).map(drop);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(append));
        let outcome = match outcome {
            Ok(appended) => appended.map_err(|error| error.to_string()),
            Err(_) => Err("a panic, which in a thread's last moments ends the process".to_owned()),
        };
        self.1.send(outcome).unwrap();
    }
}

#[test]
fn a_thread_that_ends_can_still_append() {
    // What a thread keeps of its own goes in the reverse order in which it was first used: the log's buffer, used after
    // the caller's, goes first.
    thread_local! {
        static KEPT: std::cell::RefCell<Option<AtThreadEnd>> =
            const { std::cell::RefCell::new(None) };
    }
    let (fs, log) = fresh(small());
    let log = Arc::new(log);
    let (said, heard) = mpsc::channel();
    let kept = AtThreadEnd(Arc::clone(&log), said);
    let thread = std::thread::spawn(move || {
        KEPT.with(|place| *place.borrow_mut() = Some(kept));
        KEPT.with(|place| place.borrow().as_ref().unwrap().0.append(&[b"first"]).map(drop))
    });
    thread.join().unwrap().unwrap();
    assert_eq!(heard.recv().unwrap(), Ok(()));
    assert_eq!(payloads(&killed(&fs)), [b"first".to_vec(), b"last words".to_vec()]);
}
