//! Failing file systems: holes, poison, full disks. Nothing that was promised is lost, nobody waits for ever.

use std::error::Error as _;
use std::io::ErrorKind::StorageFull;

use vfs::sim::{Effect, Fault, SimFs};
use vfs::{ErrorKind, Fs, Operation};
use wal::{AppendError, Error, Failure, ReserveError, Wal};

use crate::kit::*;

fn is_failed<T: std::fmt::Debug>(result: Result<T, Error>, cause: &str) {
    match result {
        Err(Error::Failed(failure)) => {
            assert!(failure.to_string().contains(cause), "{failure}");
        }
        other => panic!("expected a failed log, found {other:?}"),
    }
}

#[test]
fn a_failed_append_is_its_writers_alone_and_never_comes_back() {
    // W6
    let partly = Effect::ShortWrite { written: 30, failure: StorageFull };
    let wholly = Effect::ShortWrite { written: 10_000, failure: StorageFull };
    for effect in [Effect::IO, Effect::NO_SPACE, partly, wholly] {
        let (fs, log) = fresh(small());
        log.append(&[b"before"]).unwrap();
        fs.inject(Fault::new(Operation::Write, effect));
        let error = log.append(&[&[9; 50]]).unwrap_err();
        assert!(matches!(error, Error::NotAppended(_)), "{error}");
        assert!(error.source().is_some());
        let end = log.append(&[b"after"]).unwrap();
        for fs in [killed(&fs), synced_only(&fs)] {
            assert!(!payloads(&fs).contains(&vec![9; 50]), "{effect:?}");
        }
        log.sync(end).unwrap();
        for seed in 0..20 {
            let found = payloads(&fs.crash_clone(seed));
            assert_eq!(found, [b"before".to_vec(), b"after".to_vec()], "{effect:?} {seed}");
        }
        assert_eq!(log.stats().aborted, 1);
    }
}

#[test]
fn a_failed_append_does_not_come_back_after_a_power_cut_before_the_next_sync() {
    // The whole record reaches the system, the write fails all the same, the abort overwrites it: unless the abort is
    // durable when the writer is told, a power cut can bring the record back.
    let wholly = Effect::ShortWrite { written: 10_000, failure: StorageFull };
    let (fs, log) = fresh(small());
    fs.inject(Fault::new(Operation::Write, wholly));
    log.append(&[&[9; 50]]).unwrap_err();
    for seed in 0..200 {
        assert_eq!(payloads(&fs.crash_clone(seed)), [] as [Vec<u8>; 0], "seed {seed}");
    }
}

#[test]
fn a_hole_that_cannot_be_closed_ends_the_log() {
    // W6: the second write is the abort mark.
    let (fs, log) = fresh(small());
    let durable = log.append(&[b"durable"]).unwrap();
    log.sync(durable).unwrap();
    let earlier = log.reserve(1).unwrap();
    fs.inject(Fault::new(Operation::Write, Effect::IO).times(2));
    let reservation = log.reserve(50).unwrap();
    let error = reservation.fill(&[&[9; 50]]).unwrap_err();
    assert!(matches!(error, AppendError::Failed(_)), "{error}");

    assert!(matches!(log.reserve(1), Err(ReserveError::Failed(_))));
    is_failed(log.append(&[b"x"]), "cannot write");
    is_failed(log.make_room(1), "cannot write");
    is_failed(log.roll(), "cannot write");
    is_failed(log.sync(earlier.end()), "cannot write");
    log.sync(durable).expect("what is durable stays so");
    earlier.fill(&[b"1"]).expect("a reservation from before can still be filled");
    assert_eq!(payloads(&killed(&fs)), [b"durable".to_vec(), b"1".to_vec()]);
    is_failed(log.close(), "cannot write");
}

#[test]
fn a_reservation_given_up_whose_abort_fails_ends_the_log() {
    let (fs, log) = fresh(small());
    fs.inject(Fault::new(Operation::Write, Effect::IO));
    drop(log.reserve(10).unwrap());
    is_failed(log.append(&[b"x"]), "cannot write");
}

#[test]
fn a_panic_between_reserve_and_fill_leaves_no_hole() {
    let (fs, log) = fresh(small());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let reservation = log.reserve(10).unwrap();
        reservation.fill(&[b"too short"]).unwrap();
    }));
    assert!(panicked.is_err());
    let end = log.append(&[b"after"]).unwrap();
    log.sync(end).unwrap();
    assert_eq!(payloads(&fs), [b"after".to_vec()]);
}

#[test]
fn a_failed_sync_ends_the_log_and_is_not_tried_again() {
    // W6
    let (fs, log) = fresh(small());
    let first = log.append(&[b"first"]).unwrap();
    log.sync(first).unwrap();
    let second = log.append(&[b"second"]).unwrap();
    fs.inject(Fault::new(Operation::SyncData, Effect::FailSync));
    is_failed(log.sync(second), "cannot sync");
    let before = fs.operations();
    is_failed(log.sync(second), "cannot sync");
    is_failed(log.append(&[b"x"]), "cannot sync");
    assert_eq!(fs.operations(), before, "nothing more is asked of the disk");
    log.poison(Failure::new("a later cause"));
    is_failed(log.sync(second), "cannot sync");
    is_failed(log.close(), "cannot sync");
    assert_eq!(payloads(&synced_only(&fs)), [b"first".to_vec()]);
}

#[test]
fn poison_from_outside_carries_its_cause() {
    let (_fs, log) = fresh(small());
    let end = log.append(&[b"x"]).unwrap();
    log.poison(Failure::new("the manifest cannot be written"));
    is_failed(log.sync(end), "the manifest");
    is_failed(log.close(), "the manifest");
}

#[test]
fn poison_releases_those_who_wait() {
    // C6, W6: for an earlier record, and for room.
    let options = wal::WalOptions { open_records_max: 2, ..small() };
    let (_fs, log) = fresh(options);
    let unfilled = log.reserve(1).unwrap();
    let end = log.append(&[b"2"]).unwrap();
    std::thread::scope(|scope| {
        let sync = scope.spawn(|| log.sync(end));
        let room = scope.spawn(|| log.make_room(1));
        log.poison(Failure::new("closing"));
        is_failed(sync.join().unwrap(), "closing");
        is_failed(room.join().unwrap(), "closing");
    });
    drop(unfilled);
}

/// Injects a fault of each operation of making a segment and hands the log to `check`, which may append 900 bytes.
fn failing_roll(effect: Effect, check: impl Fn(&SimFs, &Wal, Operation)) {
    use Operation::{Allocate, Create, SyncAll, SyncDir, Write};
    for operation in [Create, Allocate, Write, SyncAll, SyncDir] {
        let (fs, log) = fresh(small());
        for i in 0..4 {
            log.append(&[&[i; 900]]).unwrap();
        }
        fs.inject(Fault::new(operation, effect).on_path("000002").times(1));
        if operation == SyncDir {
            fs.clear_faults();
            fs.inject(Fault::new(SyncDir, effect));
        }
        check(&fs, &log, operation);
    }
}

#[test]
fn a_roll_that_fails_loses_nothing_and_can_be_tried_again() {
    failing_roll(Effect::IO, |fs, log, operation| {
        let error = log.append(&[&[4; 900]]).unwrap_err();
        assert!(matches!(error, Error::Fs(_)), "{operation}: {error}");
        assert!(!fs.exists(&path(2)).unwrap(), "{operation}: its space is given back");
        let end = log.append(&[&[4; 900]]).unwrap();
        assert_eq!(log.current_segment(), number(3), "a number is not used twice");
        log.sync(end).unwrap();
        let expected: Vec<Vec<u8>> = (0..5).map(|i| vec![i; 900]).collect();
        for seed in 0..50 {
            assert_eq!(payloads(&fs.crash_clone(seed)), expected, "{operation}, seed {seed}");
        }
    });
}

#[test]
fn after_a_roll_that_failed_nothing_is_lost_behind_the_end_that_its_header_states() {
    // The header of segment 2 may be on disk, with an end of segment 1 that must then never be passed.
    failing_roll(Effect::IO, |fs, log, operation| {
        log.roll().unwrap_err();
        // Small enough for segment 1.
        let end = log.append(&[b"small"]).unwrap();
        log.sync(end).unwrap();
        for seed in 0..50 {
            let found = payloads(&fs.crash_clone(seed));
            assert_eq!(found.last().unwrap(), b"small", "{operation}, seed {seed}");
        }
    });
}

#[test]
fn a_segment_that_failed_and_cannot_be_removed_goes_later() {
    let (fs, log) = fresh(small());
    log.append(&[b"x"]).unwrap();
    fs.inject(Fault::new(Operation::SyncAll, Effect::IO));
    fs.inject(Fault::new(Operation::Remove, Effect::IO));
    log.roll().unwrap_err();
    assert!(fs.exists(&path(2)).unwrap());
    assert_eq!(log.retire_before(NOTHING).unwrap().segments, 1);
    assert!(!fs.exists(&path(2)).unwrap());
}

#[test]
fn a_segment_that_cannot_be_removed_stays_listed() {
    let (fs, log) = fresh(small());
    for _ in 0..3 {
        log.append(&[b"x"]).unwrap();
        log.roll().unwrap();
    }
    let live = log.live_bytes();
    fs.inject(Fault::new(Operation::Remove, Effect::IO).on_path("000002"));
    let error = log.retire_before(number(4)).unwrap_err();
    assert!(matches!(&error, Error::Fs(e) if e.kind() == ErrorKind::Io), "{error}");
    assert!(fs.exists(&path(2)).unwrap() && !fs.exists(&path(3)).unwrap());
    assert_eq!(log.live_bytes(), live - 2 * (128 + 13));
    assert_eq!(log.retire_before(number(4)).unwrap().segments, 1);
}

#[test]
fn a_full_disk_is_found_when_a_segment_is_made_and_heals() {
    let (fs, log) = fresh(small());
    fs.set_capacity(Some(6000));
    for i in 0..4 {
        log.append(&[&[i; 900]]).unwrap();
    }
    for _ in 0..3 {
        let error = log.append(&[&[4; 900]]).unwrap_err();
        assert!(matches!(&error, Error::Fs(e) if e.kind() == ErrorKind::NoSpace), "{error}");
        assert_eq!(fs.used_bytes(), 4096, "what failed gave its space back");
    }
    log.append(&[b"small"]).expect("the segment still takes what fits");
    fs.set_capacity(None);
    log.append(&[&[4; 900]]).unwrap();
    assert_eq!(payloads(&fs).len(), 6);
}

#[test]
fn recovery_syncs_what_it_read() {
    let (fs, log) = fresh(small());
    log.append(&[b"unsynced"]).unwrap();
    drop(log);
    assert_eq!(payloads(&synced_only(&fs)).len(), 0);
    payloads(&fs);
    assert_eq!(payloads(&synced_only(&fs)).len(), 1);

    fs.inject(Fault::new(Operation::SyncData, Effect::IO));
    let error = recover_sim(&fs, NOTHING, wal::RecoveryMode::PointInTime).unwrap_err();
    assert!(matches!(error, Error::Fs(_)), "{error}");
}
