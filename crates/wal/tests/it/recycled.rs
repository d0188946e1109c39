//! Files that are used again, windows that are mapped, and the helpers that see to both.

use std::sync::Arc;
use std::time::{Duration, Instant};

use credit::Pool;
use vfs::sim::{Effect, Fault, SimFs};
use vfs::{Fs, MapSupport, Operation, RealFs};
use wal::{Error, LogBackend, LogStart, ReadUpTo, RecoveryMode, Tail, Wal, WalOptions};

use crate::kit::*;

const MODE: RecoveryMode = RecoveryMode::PointInTime;

fn recycling() -> WalOptions {
    WalOptions { spare_segments_max: 2, ..small() }
}

fn mapped() -> WalOptions {
    WalOptions { backend: LogBackend::Mapped, ..recycling() }
}

/// A log whose third segment is the file of the first: it was full of records like those that are written now.
fn with_a_recycled_segment(options: WalOptions) -> (SimFs, Wal) {
    let (fs, log) = fresh(options);
    log.maintain();
    while log.current_segment() == number(1) {
        log.append(&[b"old record"]).unwrap();
    }
    log.sync(log.filled()).unwrap();
    log.retire_before(number(2)).unwrap();
    log.append(&[b"two"]).unwrap();
    log.roll().unwrap();
    assert_eq!(log.stats().segments_recycled, 1);
    assert!(fs.exists(&path(3)).unwrap() && !fs.exists(&path(1)).unwrap());
    (fs, log)
}

fn found(fs: &SimFs) -> (Vec<Vec<u8>>, Tail) {
    let (records, recovered) = recover_sim(fs, number(2), MODE).unwrap();
    (records.into_iter().map(|read| read.payload).collect(), recovered.tail)
}

#[test]
fn records_of_an_earlier_use_never_come_back() {
    for options in [recycling(), mapped()] {
        let (fs, log) = with_a_recycled_segment(options.clone());
        let (before, tail) = found(&killed(&fs));
        assert_eq!(before.last().unwrap(), b"two");
        assert!(matches!(tail, Tail::Unsealed { .. }), "{tail:?}");
        // The new records end where an old one begins, and where none does.
        for text in [&b"new record"[..], b"another length"] {
            let end = log.append(&[text]).unwrap();
            log.sync(end).unwrap();
            let mut fs = killed(&fs);
            // Also when recovery is cut short, twice.
            for life in 0..3 {
                let (records, tail) = found(&fs);
                assert_eq!(records.last().unwrap(), text, "life {life}");
                let in_segment = |text: &[u8]| records.iter().filter(|read| *read == text).count();
                assert_eq!(in_segment(b"two"), 1);
                assert!(life > 0 || matches!(tail, Tail::Unsealed { .. }), "{tail:?}");
                let (_, recovered) = recover_sim(&fs, number(2), MODE).unwrap();
                fs.power_off_at(fs.operations() + 4 + life);
                drop(create(&fs, options.clone(), recovered.start));
                fs = fs.crash_clone(life);
            }
        }
    }
}

#[test]
fn a_hole_in_a_recycled_segment_ends_the_log_there() {
    for options in [recycling(), mapped()] {
        let (fs, log) = with_a_recycled_segment(options);
        log.maintain();
        log.append(&[b"first"]).unwrap();
        let hole = log.reserve(10).unwrap();
        log.append(&[b"behind"]).unwrap();
        std::mem::forget(hole);
        let (records, tail) = found(&killed(&fs));
        assert_eq!(records.last().unwrap(), b"first");
        assert!(matches!(tail, Tail::Torn { .. }), "{tail:?}");
    }
}

#[test]
fn a_closed_log_in_a_recycled_segment_ends_cleanly_and_an_unsealed_one_is_not_taken_for_it() {
    let mode = RecoveryMode::AbsoluteConsistency;
    let (fs, log) = with_a_recycled_segment(recycling());
    log.append(&[b"x"]).unwrap();
    let error = recover_sim(&killed(&fs), number(2), mode).unwrap_err();
    assert!(matches!(error, Error::TornTail { .. }), "{error}");
    log.close().unwrap();
    let (records, recovered) = recover_sim(&synced_only(&fs), number(2), mode).unwrap();
    assert_eq!(
        (records.last().unwrap().payload.as_slice(), recovered.tail),
        (&b"x"[..], Tail::Clean)
    );
}

/// Each byte of a synced log of which a segment is recycled: never a wrong record, never one of the earlier use.
#[test]
fn every_flip_in_a_log_with_a_recycled_segment_is_seen() {
    for options in [recycling(), mapped()] {
        let (fs, log) = with_a_recycled_segment(options);
        log.maintain();
        for text in ["a", "bb", "", "dddd"] {
            log.append_synced(&[text.as_bytes()]).unwrap();
        }
        let end = log.stats().log_bytes;
        log.close().unwrap();
        let (good, tail) = found(&fs);
        assert_eq!(tail, Tail::Clean);
        let last = [12, 13, 14, 12, 16].iter().sum::<u64>() + 128;
        assert!(end > last);
        for at in 0..last {
            // Without its mark the log is as good.
            let is_mark = at >= last - 12;
            for mask in [1, 0x80, 0xFF] {
                let damaged = flipped(&fs, &path(3), at as usize, mask);
                match recover_sim(&damaged, number(2), MODE) {
                    Err(Error::Corrupt { .. }) => assert!(!is_mark, "{at}"),
                    Ok((records, _)) => {
                        let records: Vec<_> =
                            records.into_iter().map(|read| read.payload).collect();
                        assert!(is_mark && records == good, "{at} by {mask:#x}");
                    }
                    Err(other) => panic!("{at}: {other}"),
                }
            }
        }
    }
}

/// A power cut that takes the link of a segment and leaves what is behind it: the log ends before, nothing is an error.
#[test]
fn a_lost_link_ends_the_log_before_it_unless_it_was_durable() {
    let (fs, log) = fresh(small());
    log.append(&[b"one"]).unwrap();
    log.roll().unwrap();
    log.append(&[b"two"]).unwrap();
    log.roll().unwrap();
    log.append(&[b"three"]).unwrap();
    let lost = killed(&fs);
    write_file(&lost, &path(2), 64, &[0; 64]);
    let (records, recovered) = recover_sim(&lost, number(1), MODE).unwrap();
    assert_eq!(records.len(), 1);
    assert!(matches!(recovered.tail, Tail::Torn { .. }));
    let log_again = create(&lost, small(), recovered.start).unwrap();
    log_again.append_synced(&[b"new"]).unwrap();
    assert_eq!(payloads(&lost), [b"one".to_vec(), b"new".to_vec()]);

    log.sync(log.filled()).unwrap();
    log.append(&[b"a later mark"]).unwrap();
    let damaged = killed(&fs);
    write_file(&damaged, &path(2), 64, &[0; 64]);
    let error = recover_sim(&damaged, number(1), MODE).unwrap_err();
    assert!(matches!(error, Error::Corrupt { offset: 64, .. }), "{error}");
}

/// Where recovery is told to begin, the link is not needed, now or after further recoveries.
#[test]
fn a_lost_link_where_recovery_begins_is_no_loss() {
    let (fs, log) = fresh(small());
    log.append(&[b"one"]).unwrap();
    log.roll().unwrap();
    log.append(&[b"two"]).unwrap();
    let lost = killed(&fs);
    write_file(&lost, &path(2), 64, &[0; 64]);
    for round in 0..3 {
        let (records, recovered) = recover_sim(&lost, number(2), MODE).unwrap();
        assert_eq!(records.len(), 1 + round);
        let log = create(&lost, small(), recovered.start).unwrap();
        log.append_synced(&[b"more"]).unwrap();
    }
}

#[test]
fn a_prepared_segment_is_used_and_one_that_is_not_is_no_part_of_the_log() {
    let (fs, log) = fresh(recycling());
    log.append(&[&[1; 1500]]).unwrap();
    log.maintain();
    assert_eq!((log.stats().segments_prepared, log.spare_files()), (1, 1));
    assert!(fs.exists(&path(2)).unwrap());
    // A crash now: the log is as it was.
    let (records, recovered) = recover_sim(&fs.crash_clone(3), NOTHING, MODE).unwrap();
    assert!(records.len() <= 1);
    assert_eq!(recovered.start.segment, number(3));
    // A record that does not fit it: its number is passed over.
    log.append(&[&[2; 9000]]).unwrap();
    assert_eq!(log.current_segment(), number(3));
    log.append(&[&[3; 9000]]).unwrap();
    log.close().unwrap();
    assert_eq!(payloads(&fs).len(), 3);
    assert_eq!(log.spare_files(), 0, "closing leaves no files for further segments");
    assert!(!fs.exists(&path(2)).unwrap());
}

#[test]
fn a_full_disk_is_found_by_the_helper_and_by_whoever_needs_a_segment() {
    let (fs, log) = fresh(mapped());
    log.append(&[&[1; 1500]]).unwrap();
    fs.set_capacity(Some(4096));
    log.maintain();
    assert_eq!((log.stats().prepare_failures, log.stats().segments_prepared), (1, 0));
    // The segment that is there takes what fits, through mapped memory too: its space was taken before.
    while log.append(&[&[2; 100]]).is_ok() {}
    let error = log.append(&[&[2; 100]]).unwrap_err();
    assert!(matches!(&error, Error::Fs(e) if e.kind() == vfs::ErrorKind::NoSpace), "{error}");
    fs.set_capacity(None);
    log.append(&[&[2; 100]]).unwrap();
}

#[test]
fn what_is_mapped_is_charged_and_bounded_and_given_back() {
    let pool = Pool::new(Some(1 << 20));
    let fs = SimFs::new();
    let log = Wal::create_charged(
        Arc::new(fs.clone()),
        DIR.as_ref(),
        WalOptions { segment_bytes: 256 << 10, ..mapped() },
        LogStart::fresh(),
        pool.clone(),
    )
    .unwrap();
    for i in 0..2000u32 {
        log.maintain();
        let stats = log.stats();
        assert_eq!(pool.held_bytes(), stats.mapped_bytes);
        assert!(stats.mapped_bytes <= 16 << 10);
        log.append(&[&[i as u8; 700]]).unwrap();
    }
    let stats = log.stats();
    assert!(stats.windows_mapped > 300, "{stats:?}");
    // Those that cross the windows' edges.
    assert!(stats.unmapped_records < 600, "{stats:?}");
    log.close().unwrap();
    drop(log);
    pool.assert_all_returned();
    assert_eq!(payloads(&fs).len(), 2000);

    // A pool that grants nothing: everything is written.
    let none = Pool::new(Some(1));
    let hold = none.acquire(1).unwrap();
    let fs = SimFs::new();
    let log = Wal::create_charged(
        Arc::new(fs.clone()),
        DIR.as_ref(),
        mapped(),
        LogStart::fresh(),
        none.clone(),
    )
    .unwrap();
    log.maintain();
    log.append(&[b"x"]).unwrap();
    let stats = log.stats();
    assert!(stats.windows_refused > 0 && stats.mapped_bytes == 0 && stats.unmapped_records == 1);
    drop(hold);
}

#[test]
fn where_mapping_fails_or_is_not_known_to_be_good_records_are_written() {
    let auto = WalOptions { backend: LogBackend::Auto, ..mapped() };
    let fs = SimFs::new();
    fs.set_map_support(MapSupport::Unknown);
    let log = create(&fs, auto.clone(), LogStart::fresh()).unwrap();
    log.maintain();
    log.append(&[b"x"]).unwrap();
    assert_eq!((log.stats().windows_mapped, log.stats().unmapped_records), (0, 0));
    assert_eq!(payloads(&fs).len(), 1);

    for operation in [Operation::Map, Operation::Populate] {
        let fs = SimFs::new();
        fs.inject(Fault::new(operation, Effect::IO));
        let log = create(&fs, auto.clone(), LogStart::fresh()).unwrap();
        log.maintain();
        log.append(&[b"x"]).unwrap();
        let stats = log.stats();
        assert_eq!((stats.windows_failed, stats.windows_mapped, stats.unmapped_records), (1, 0, 1));
        assert_eq!(payloads(&fs).len(), 1);
    }
}

#[test]
fn a_store_that_fails_is_its_writers_alone_and_does_not_come_back() {
    for nth in 1..=3 {
        let (fs, log) = fresh(mapped());
        log.maintain();
        log.append(&[b"before"]).unwrap();
        fs.inject(Fault::new(Operation::MapWrite, Effect::IO).nth(nth));
        let error = log.append(&[&[9; 20], &[9; 30]]).unwrap_err();
        assert!(matches!(error, Error::NotAppended(_)), "{error}");
        let end = log.append(&[b"after"]).unwrap();
        log.sync(end).unwrap();
        for seed in 0..20 {
            let found = payloads(&fs.crash_clone(seed));
            assert_eq!(found, [b"before".to_vec(), b"after".to_vec()], "{nth} {seed}");
        }
    }
}

#[test]
fn a_synced_record_is_written_and_a_small_one_is_stored() {
    let (fs, log) = fresh(mapped());
    log.maintain();
    let writes = |fs: &SimFs, append: &dyn Fn()| {
        fs.inject(Fault::new(Operation::Write, Effect::IO).nth(1000));
        fs.inject(Fault::new(Operation::Write, Effect::IO));
        append();
        let hit = fs.faults_hit();
        fs.clear_faults();
        hit
    };
    assert_eq!(writes(&fs, &|| assert!(log.append(&[b"stored"]).is_ok())), 0);
    assert_eq!(writes(&fs, &|| assert!(log.append_synced(&[b"written"]).is_err())), 1);
}

#[test]
fn the_interval_makes_what_was_appended_durable() {
    let interval = Some(Duration::from_millis(1));
    let (fs, log) = fresh(WalOptions { sync_interval: interval, ..small() });
    log.maintain();
    let end = log.append(&[b"x"]).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while log.durable() < end {
        assert!(Instant::now() < until);
        log.maintain();
    }
    assert!(log.stats().interval_syncs > 0);
    assert_eq!(payloads(&synced_only(&fs)).len(), 1);
    // By the thread.
    let options = WalOptions { sync_interval: interval, helper_threads: true, ..small() };
    let (fs, log) = fresh(options);
    let mut reader = log.reader(ReadUpTo::Durable);
    log.append(&[b"x"]).unwrap();
    assert!(reader.wait(Some(until)).unwrap());
    assert!(reader.next_record().unwrap().is_some());
    assert_eq!(payloads(&synced_only(&fs)).len(), 1);
}

/// A background sync that fails ends the log, for those who come next too.
#[test]
fn a_helpers_failed_sync_ends_the_log() {
    for (operation, effect) in
        [(Operation::SyncData, Effect::FailSync), (Operation::SyncRange, Effect::FailSync)]
    {
        let options = WalOptions { segment_bytes: 4 << 20, unsynced_bytes_max: 0, ..mapped() };
        let (fs, log) = fresh(options);
        if operation == Operation::SyncRange {
            // Write-back is started where syncs are asked for.
            log.append_synced(&[b"x"]).unwrap();
        }
        fs.inject(Fault::new(operation, effect).on_path("000001"));
        log.append(&[&vec![1; 2 << 20]]).unwrap();
        log.roll().unwrap();
        log.maintain();
        assert!(matches!(log.append(&[b"x"]), Err(Error::Failed(_))), "{operation}");
    }
}

/// All of it at once, for real: threads append, helpers prepare, map, sync and recycle; what comes back is complete.
#[test]
fn with_helper_threads_on_the_real_file_system() {
    for backend in [LogBackend::Mapped, LogBackend::Positional] {
        let dir = tempfile::tempdir().unwrap();
        let fs: Arc<dyn Fs> = Arc::new(RealFs::new());
        let options = WalOptions {
            segment_bytes: 1 << 20,
            window_bytes: 256 << 10,
            backend,
            helper_threads: true,
            ..recycling()
        };
        let log = Wal::create(Arc::clone(&fs), dir.path(), options, LogStart::fresh()).unwrap();
        let mut keep_from = log.current_segment();
        for round in 0..12u8 {
            std::thread::scope(|scope| {
                for thread in 0..3u8 {
                    let log = &log;
                    scope.spawn(move || {
                        for i in 0..300u32 {
                            let record = vec![thread; 300 + (i as usize * 37) % 2000];
                            log.append(&[&[round], &record]).unwrap();
                        }
                        log.append_synced(&[&[round], &[thread]]).unwrap();
                    });
                }
            });
            if round == 10 {
                keep_from = log.current_segment();
                log.retire_before(keep_from).unwrap();
            } else if round < 10 {
                log.retire_before(log.current_segment()).unwrap();
            }
        }
        let stats = log.stats();
        assert!(stats.segments_recycled > 0, "{stats:?}");
        log.close().unwrap();
        let (records, recovered) = recover_at(&fs, dir.path(), keep_from, MODE).unwrap();
        let last = records.iter().filter(|read| read.payload[0] == 11).count();
        assert_eq!(last, 3 * 301);
        assert!(records.iter().all(|read| read.payload[2..].iter().all(|&b| b == read.payload[1])));
        assert_eq!(recovered.tail, Tail::Clean);
    }
}
