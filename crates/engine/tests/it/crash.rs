//! Power cuts and killed processes at any operation, during recovery too, on a simulated disk.
//!
//! `POLDER_CRASH_ROUNDS` is the number of random histories, `POLDER_CRASH_SEED` replays one, as far as the threads'
//! schedule allows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sim::{DIR, History, Session, noted, tiny};
use crate::support::{Random, chain};
use engine::{Db, Error, ErrorKind, Options, WriteBatch, WriteOptions};
use vfs::sim::{CrashOptions, Effect, Fault, SimFs, Survival};
use vfs::{Fs, Operation};

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Everything once: a new database, batches, flushes, a compaction, a close, a recovery with something in the log.
fn short(session: &mut Session) -> Result<(), Error> {
    session.open()?;
    for _ in 0..70 {
        session.step()?;
    }
    session.flush()?;
    for _ in 0..30 {
        session.step()?;
    }
    session.close()?;
    session.open()?;
    for _ in 0..30 {
        session.step()?;
    }
    session.compact()?;
    for _ in 0..10 {
        session.step()?;
    }
    session.close()
}

fn has_power(fs: &SimFs) -> bool {
    fs.list("/".as_ref()).is_ok()
}

/// Opens what a crash has left, checks it against the history, and answers how much of that is there.
pub fn restart(fs: SimFs, history: &History, least: usize, what: &str) -> Session {
    let mut session = Session::on(fs, history.clone(), 77);
    if let Err(error) = session.open() {
        panic!("{what}: it does not open: {}", chain(&error));
    }
    let found = session.read().expect("there are no faults");
    let count = history.locate(&found, least, what);
    session.history.truncate(count);
    session
}

/// K, W1, W4, W7, R4. The trust section of the design: a power cut at every operation of a short history.
#[test]
fn a_power_cut_at_any_operation_leaves_a_prefix_with_all_that_was_promised() {
    let seed_of_all = number_from("POLDER_CRASH_SEED").unwrap_or(6);
    println!("replay with POLDER_CRASH_SEED={seed_of_all}");
    let mut whole = Session::new(seed_of_all);
    short(&mut whole).expect("without a power cut nothing fails");
    let operations = whole.fs.operations();
    assert!(operations > 150, "only {operations} operations: the history is too short");
    let names: Vec<_> = whole.fs.files().into_iter().map(|(path, _)| path).collect();
    // The two openings began one segment each.
    let rolled = names.iter().any(|name| name.ends_with("000003.log"));
    assert!(rolled, "no segment of the log was full: {names:?}");
    for number in 1..=operations {
        let mut session = Session::new(seed_of_all);
        session.fs.power_off_at(number);
        if let Err(error) = short(&mut session) {
            assert!(!has_power(&session.fs), "operation {number}: {}", chain(&error));
        }
        session.abandon();
        for seed in [2 * number, 2 * number + 1] {
            let what = format!("power cut at operation {number}, seed {seed}");
            let least = session.history.durable;
            let mut restarted =
                restart(session.fs.crash_clone(seed), &session.history, least, &what);
            if seed % 8 == 0 {
                restarted.settle();
            }
        }
    }
}

/// What the lives of a database have done, so that a test which does nothing is noticed.
#[derive(Debug, Default)]
struct Work {
    flushes: u64,
    compactions: u64,
    log_bytes: u64,
    credit_waits: u64,
    failures: u64,
}

/// How one life of a database ends.
#[derive(Debug)]
enum End {
    Close,
    /// The process goes, and what it wrote stays.
    Kill,
    PowerCut,
    /// The process goes, and while the next one opens the database, the power goes.
    KillAndPowerCut,
}

/// Lets the process end at an operation not far off: no further one has any effect.
fn kill_soon(session: &mut Session) {
    let nth = 1 + session.random.below(120);
    session.fs.inject(Fault::any(Effect::IO).nth(nth).times(u64::MAX));
}

fn cut_power_soon(session: &mut Session, within: u64) {
    let at = session.fs.operations() + 1 + session.random.below(within);
    session.fs.power_off_at(at);
}

fn steps(session: &mut Session, count: u64) -> Result<(), Error> {
    (0..count).try_for_each(|_| session.step())
}

/// Options that are tight in one way or another.
fn some_options(random: &mut Random) -> Options {
    Options {
        write_budget: [None, Some(64 << 10), Some(256 << 10)][random.below(3) as usize],
        max_write_buffer_number: 2 + random.below(3) as usize,
        bytes_per_sync: random.below(2) * (4 << 10),
        level0_file_num_compaction_trigger: 1 + random.below(3) as usize,
        ..tiny()
    }
}

/// Some steps, while tables, the manifest or the directory fail now and then: refused at worst, and tried again.
fn steps_with_faults(session: &mut Session, count: u64) {
    let faults = [
        Fault::new(Operation::SyncAll, Effect::FailSync).on_path(".sst"),
        Fault::new(Operation::Write, Effect::NO_SPACE).on_path(".sst"),
        Fault::new(Operation::SyncData, Effect::FailSync).on_path("MANIFEST"),
        Fault::new(Operation::SyncDir, Effect::IO),
        Fault::new(Operation::Rename, Effect::IO),
    ];
    for fault in faults {
        if session.random.below(3) == 0 {
            let nth = 1 + session.random.below(4);
            session.fs.inject(fault.nth(nth));
        }
    }
    for _ in 0..count {
        if let Err(error) = session.step() {
            // The manifest's errors are those of a creation of a family.
            let is_mild = matches!(error.kind(), ErrorKind::RetryLater | ErrorKind::System);
            assert!(is_mild && session.fs.faults_hit() > 0, "{}", chain(&error));
        }
    }
    session.fs.clear_faults();
}

/// One life, from an open database to the next open one.
fn live(mut session: Session, round: &str, work: &mut Work) -> Session {
    let count = 20 + session.random.below(80);
    let end = match session.random.below(7) {
        0 => End::Close,
        1 => End::Kill,
        2 | 3 => End::KillAndPowerCut,
        _ => End::PowerCut,
    };
    if session.random.below(3) == 0 {
        steps_with_faults(&mut session, count);
    } else {
        steps(&mut session, count).expect("there are no faults yet");
    }
    let stats = session.db().stats();
    work.flushes += stats.flushes;
    work.compactions += stats.compactions;
    work.log_bytes = work.log_bytes.max(stats.log_bytes);
    work.credit_waits += stats.credit_waits;
    work.failures += stats.flush_failures + stats.compaction_failures;
    let seed = session.random.next();
    let what = format!("{round}, {end:?}");
    let (least, fs) = match end {
        End::Close => {
            session.close().expect("there are no faults");
            (session.history.acknowledged, session.fs.clone())
        }
        End::Kill | End::KillAndPowerCut => {
            kill_soon(&mut session);
            let ended = steps(&mut session, 1000);
            assert!(ended.is_err(), "{what}: nothing was written in a thousand steps");
            session.abandon();
            session.fs.clear_faults();
            let mut least = session.history.acknowledged;
            if matches!(end, End::KillAndPowerCut) {
                cut_power_soon(&mut session, 40);
                match session.open().and_then(|()| session.flush()) {
                    // What an opened database shows is durable.
                    Ok(()) => {}
                    Err(_) => least = session.history.durable,
                }
                session.abandon();
                (least, session.fs.crash_clone(seed))
            } else {
                (least, session.fs.clone())
            }
        }
        End::PowerCut => {
            cut_power_soon(&mut session, 120);
            let ended = steps(&mut session, 1000);
            assert!(ended.is_err(), "{what}: nothing was written in a thousand steps");
            session.abandon();
            (session.history.durable, session.fs.crash_clone(seed))
        }
    };
    let mut next = restart(fs, &session.history, least, &what);
    next.random = Random::new(seed);
    next
}

fn play(seed: u64, work: &mut Work) {
    let mut session = Session::new(seed);
    session.options = some_options(&mut Random::new(seed));
    session.makes_other_late = seed % 2 == 1;
    session.open().expect("an empty disk");
    for life in 0..5 {
        session = live(session, &format!("seed {seed}, life {life}"), work);
    }
    session.settle();
}

/// K, W1, W4, W7, R4: several lives of one database, each ended in some way.
#[test]
fn random_histories_of_crashes_keep_what_was_promised() {
    let mut work = Work::default();
    if let Some(seed) = number_from("POLDER_CRASH_SEED") {
        return play(seed, &mut work);
    }
    for seed in 0..number_from("POLDER_CRASH_ROUNDS").unwrap_or(40) {
        println!("replay with POLDER_CRASH_SEED={seed}");
        play(seed, &mut work);
    }
    println!("{work:?}");
    let is_much = work.flushes > 100 && work.compactions > 50 && work.credit_waits > 10;
    assert!(is_much && work.failures > 5 && work.log_bytes > 256 << 10, "too little: {work:?}");
}

/// Design: crashing again during recovery changes nothing.
#[test]
fn a_power_cut_at_any_operation_of_the_recovery_changes_nothing() {
    let first_seed = number_from("POLDER_CRASH_SEED").unwrap_or(0);
    for seed in first_seed..first_seed + 3 {
        println!("replay with POLDER_CRASH_SEED={seed}");
        let mut session = Session::new(seed);
        session.open().expect("an empty disk");
        steps(&mut session, 60).expect("there are no faults");
        let image = session.fs.crash_clone(seed);
        session.abandon();
        let history = &session.history;
        let mut first = restart(image.crash_clone(0), history, history.durable, "the image");
        let count = first.history.len();
        first.flush().expect("there are no faults");
        first.abandon();
        for number in 1..=first.fs.operations() {
            let disk = image.crash_clone(0);
            disk.power_off_at(number);
            let mut second = Session::on(disk, first.history.clone(), seed);
            if let Err(error) = second.open().and_then(|()| second.flush()) {
                assert!(!has_power(&second.fs), "operation {number}: {}", chain(&error));
            }
            second.abandon();
            let what = format!("seed {seed}, power cut at operation {number} of the recovery");
            let mut third = restart(second.fs.crash_clone(number), &second.history, count, &what);
            if number % 8 == 0 {
                third.settle();
            }
        }
    }
}

/// A log that does not fit the memory is flushed while it is replayed, in the middle of a batch where need be. If it was
/// only in the system's memory until then, a power cut must not leave half of the batch.
#[test]
fn a_replay_that_flushes_makes_the_log_durable_first() {
    let mut cut_in_the_middle = 0;
    for seed in 0..40 {
        let mut session = Session::new(seed);
        session.options.write_budget = None;
        session.options.write_buffer_size = 16 << 20;
        session.open().expect("an empty disk");
        let mut made = 0;
        while session.history.len() < 12 {
            // Each larger than a memtable of the next process.
            let changes = (0..20).map(|i| crate::sim::Change {
                family: i % 2,
                key: crate::sim::key(i as u64),
                value: Some(crate::sim::value(made, 6000)),
            });
            session.write(changes.collect(), false).expect("there are no faults");
            made += 1;
        }
        session.fs.inject(Fault::any(Effect::IO).times(u64::MAX));
        session.abandon();
        session.fs.clear_faults();

        session.options = tiny();
        let at = session.fs.operations() + 8 + session.random.below(60);
        session.fs.power_off_at(at);
        cut_in_the_middle += u64::from(session.open().is_err());
        session.abandon();
        for survival in [Survival::Nothing, Survival::Random] {
            let options = CrashOptions { survival, ..CrashOptions::new(seed) };
            let what = format!("seed {seed}, {survival:?}");
            restart(session.fs.crash_with(options), &session.history, 0, &what);
        }
    }
    assert!(cut_in_the_middle > 10, "the power went too late: {cut_in_the_middle}");
}

/// What one of several writers knows of its own batch.
struct Sent {
    began: u64,
    /// `None`: it was not acknowledged.
    ended: Option<u64>,
    is_synced: bool,
}

/// Writes numbered batches to both families until one fails.
fn send(db: &Db, writer: u64, clock: &AtomicU64) -> Vec<Sent> {
    let other = db.family("other").expect("it was made");
    let mut sent = Vec::new();
    let mut random = Random::new(writer);
    for number in 0u64.. {
        let mut batch = WriteBatch::new();
        let (counter, name) =
            ([writer as u8], [&[writer as u8][..], &number.to_be_bytes()].concat());
        let filler = crate::sim::value(number, random.below(1500) as usize);
        batch.put(counter, number.to_be_bytes()).put_in(&other, counter, number.to_be_bytes());
        match number % 2 {
            0 => batch.put(&name, filler),
            _ => batch.put_in(&other, &name, filler),
        };
        let options = WriteOptions { sync: random.below(4) == 0, ..WriteOptions::default() };
        let began = clock.fetch_add(1, Ordering::SeqCst);
        let written = noted(db.write(&batch, &options));
        let ended = written.is_ok().then(|| clock.fetch_add(1, Ordering::SeqCst));
        sent.push(Sent { began, ended, is_synced: options.sync });
        if written.is_err() {
            break;
        }
    }
    sent
}

/// How many batches of a writer are there; checks that they are whole and without a gap.
fn received(maps: &[BTreeMap<Vec<u8>, Vec<u8>>; 2], writer: u64, what: &str) -> usize {
    let counter = maps[0].get(&[writer as u8][..]);
    assert_eq!(counter, maps[1].get(&[writer as u8][..]), "{what}: a batch is there in part");
    let count = counter.map_or(0, |n| u64::from_be_bytes(n[..].try_into().unwrap()) + 1);
    let mut found: Vec<u64> = maps
        .iter()
        .flat_map(BTreeMap::keys)
        .filter(|key| key.len() == 9 && key[0] == writer as u8)
        .map(|key| u64::from_be_bytes(key[1..].try_into().unwrap()))
        .collect();
    found.sort_unstable();
    assert!(
        found.into_iter().eq(0..count),
        "{what}: writer {writer} has {count} batches with gaps"
    );
    count as usize
}

/// W1, W2, W4, with several writers: nobody's batch is there without all that were acknowledged before it began.
#[test]
fn a_power_cut_under_several_writers_leaves_a_prefix_of_what_they_agreed_on() {
    const WRITERS: u64 = 4;
    for seed in 0..number_from("POLDER_CRASH_ROUNDS").unwrap_or(12) {
        let fs = SimFs::new();
        let open = |fs: &SimFs| {
            let fs: Arc<dyn Fs> = Arc::new(fs.clone());
            Db::open_on(fs, DIR, tiny()).expect("there are no faults")
        };
        let db = open(&fs);
        db.create_family("other").expect("there are no faults");
        let is_killed = seed % 3 == 0;
        let end = 20 + Random::new(seed).below(600);
        if is_killed {
            fs.inject(Fault::any(Effect::IO).nth(end).times(u64::MAX));
        } else {
            fs.power_off_at(fs.operations() + end);
        }
        let clock = AtomicU64::new(0);
        let sent: Vec<Vec<Sent>> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let (db, clock) = (&db, &clock);
                    scope.spawn(move || send(db, writer, clock))
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().expect("no panic")).collect()
        });
        drop(db);
        fs.clear_faults();
        for crash in 0..3 {
            let what = format!("seed {seed}, crash {crash}");
            let disk = if is_killed { fs.clone() } else { fs.crash_clone(seed * 100 + crash) };
            let db = open(&disk);
            let other = db.family("other").expect("its creation was acknowledged");
            let maps = [db.iter(), other.iter()].map(|entries| {
                let entries = entries.expect("there are no faults");
                entries.map(|e| e.map(|(k, v)| (k.to_vec(), v.to_vec())).unwrap()).collect()
            });
            let counts: Vec<usize> =
                (0..WRITERS).map(|writer| received(&maps, writer, &what)).collect();
            // The latest beginning of a batch that is there.
            let last =
                sent.iter().zip(&counts).filter_map(|(sent, &n)| Some(sent[..n].last()?.began));
            let last = last.max().unwrap_or(0);
            for (writer, (sent, &count)) in sent.iter().zip(&counts).enumerate() {
                let lost = &sent[count..];
                let is_promised = |s: &Sent| (s.is_synced || is_killed) && s.ended.is_some();
                assert!(
                    !lost.iter().any(is_promised),
                    "{what}: writer {writer} lost what it was promised, {count} batches are there"
                );
                let skipped = lost.iter().any(|s| s.ended.is_some_and(|ended| ended < last));
                assert!(!skipped, "{what}: a batch is there whose predecessor is not");
            }
        }
    }
}
