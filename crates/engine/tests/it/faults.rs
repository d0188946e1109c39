//! One failing operation, of any kind on any file, on a simulated disk: each call gets a typed error or succeeds, and
//! nothing that was acknowledged is lost. Failures that last are in `failing`.

use std::io;

use crate::crash::restart;
use crate::sim::{Change, History, Session, key, noted, value};
use crate::support::{backend, chain};
use engine::{Error, ErrorKind, LogBackend};
use vfs::Operation;
use vfs::sim::{Effect, Fault, SimFs};

pub const INJECTED: &str = "injected fault";
/// Attempts until a call must have succeeded once its fault is over.
const TRIES: u32 = 5;

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
pub fn tolerate(
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
pub fn persist(
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
    use Operation::{
        Allocate, Create, CreateDir, List, Lock, Map, MapWrite, Populate, Remove, Rename, SyncDir,
        Write,
    };
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
    if backend() != LogBackend::Positional {
        let mapped = [(Map, ".log"), (Populate, ".log"), (MapWrite, ".log")];
        endure_all(&mapped, &[Effect::IO, Effect::NO_SPACE]);
    }
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
