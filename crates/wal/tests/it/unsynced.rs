//! What the log does not do while nobody asks for durability: syncs, zeros, windows for large records.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use vfs::Operation;
use vfs::sim::SimFs;
use wal::{LogBackend, RecoveryMode, Wal, WalOptions};

use crate::kit::*;

const MODE: RecoveryMode = RecoveryMode::PointInTime;

/// Segments of 64 KiB, the first one of them too.
fn options() -> WalOptions {
    WalOptions { segment_bytes: 64 << 10, ..small() }
}

/// The operations on one segment's file while `run` runs.
fn operations(fs: &SimFs, segment: u64, run: impl FnOnce()) -> Vec<Operation> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&seen);
    fs.set_hook(Some(Arc::new(move |operation, of: &Path| {
        if of == path(segment) {
            list.lock().unwrap().push(operation);
        }
    })));
    run();
    fs.set_hook(None);
    let seen = seen.lock().unwrap();
    seen.clone()
}

fn fill_segments(log: &Wal, count: u64) {
    let until = number(log.current_segment().get() + count);
    while log.current_segment() < until {
        log.append(&[&[7; 1000]]).unwrap();
        log.maintain();
    }
}

#[test]
fn a_segment_that_is_retired_in_time_is_never_synced() {
    for spare_segments_max in [0, 2] {
        let (fs, log) = fresh(WalOptions { spare_segments_max, ..options() });
        let first = operations(&fs, 1, || {
            fill_segments(&log, 3);
            log.retire_before(number(3)).unwrap();
        });
        assert!(first.contains(&Operation::Write), "{first:?}");
        for never in [Operation::SyncData, Operation::SyncAll, Operation::SyncRange] {
            assert!(!first.contains(&never), "{first:?}");
        }
        let stats = log.stats();
        assert_eq!((stats.syncs, stats.left_syncs, stats.segments_unsynced), (0, 0, 2));
        assert!(log.durable() < log.filled());

        // Files are used again as they are: what they held is written nowhere, and never comes back.
        fill_segments(&log, 4);
        assert_eq!(log.stats().segments_recycled > 0, spare_segments_max > 0);
        let (records, _) = recover_sim(&killed(&fs), number(3), MODE).unwrap();
        for seed in 0..50 {
            let (survivors, _) = recover_sim(&fs.crash_clone(seed), number(3), MODE).unwrap();
            assert!(records.starts_with(&survivors), "seed {seed}");
        }

        // A sync makes all that is left durable, and only then says so.
        log.sync(log.filled()).unwrap();
        let (survivors, _) = recover_sim(&synced_only(&fs), number(3), MODE).unwrap();
        assert_eq!(survivors.len(), records.len());
    }
}

#[test]
fn what_waits_unsynced_is_bounded() {
    const MAX: u64 = 150_000;
    let (fs, log) = fresh(WalOptions { unsynced_bytes_max: MAX, ..options() });
    let mut most = 0;
    while log.current_segment() < number(12) {
        fill_segments(&log, 1);
        let waiting = log.filled().get() - log.durable().get();
        assert!(
            waiting <= MAX + 2000,
            "{waiting} bytes wait behind segment {:?}",
            log.current_segment()
        );
        most = most.max(waiting);
        // What is durable is what the log says it is.
        let (survivors, _) = recover_sim(&synced_only(&fs), NOTHING, MODE).unwrap();
        let durable: usize = survivors.iter().map(|read| read.payload.len()).sum();
        assert!(durable as u64 * 11 / 10 + 1000 >= log.durable().get());
    }
    assert!(most > MAX / 2, "{most}");
    assert!(log.stats().left_syncs >= 8, "{:?}", log.stats());
    // What is retired waits no more: it is not synced, and nothing else is in its place.
    log.retire_before(log.current_segment()).unwrap();
    let syncs = log.stats().left_syncs;
    for _ in 0..10 {
        fill_segments(&log, 1);
        log.retire_before(log.current_segment()).unwrap();
    }
    assert_eq!(log.stats().left_syncs, syncs);
}

#[test]
fn where_syncs_are_asked_for_segments_are_synced_when_they_are_left() {
    let (fs, log) = fresh(options());
    log.append_synced(&[b"x"]).unwrap();
    fill_segments(&log, 1);
    assert_eq!(log.stats().left_syncs, 1);
    assert_eq!(
        recover_sim(&synced_only(&fs), NOTHING, MODE).unwrap().0.len() as u64 + 1,
        log.stats().records
    );
    // Long after the last one they are not.
    fill_segments(&log, 5);
    let syncs = log.stats().left_syncs;
    assert!(syncs < 5);
    fill_segments(&log, 2);
    assert_eq!(log.stats().left_syncs, syncs);
}

/// Every byte of a segment is written ahead where its records are going to be synced, and only there; a file that was
/// used without is filled then.
#[test]
fn files_are_filled_for_those_who_sync() {
    let writes = |fs: &SimFs, segment, run: &dyn Fn()| {
        let seen = operations(fs, segment, run);
        seen.into_iter().filter(|&operation| operation == Operation::Write).count()
    };
    let (fs, log) = fresh(WalOptions { spare_segments_max: 2, ..options() });
    let prepares = |segment: u64| {
        writes(&fs, segment, &|| {
            while log.current_segment().get() + 1 < segment {
                log.append(&[&[7; 1000]]).unwrap();
            }
            while log.spare_files() == 0
                || !fs.files().iter().any(|(file, _)| *file == path(segment))
            {
                log.append(&[&[7; 1000]]).unwrap();
                log.maintain();
            }
        })
    };
    assert_eq!(prepares(2), 1, "the header");
    fill_segments(&log, 1);
    log.append_synced(&[b"x"]).unwrap();
    assert_eq!(prepares(3), 5, "zeros, in four pieces, and the header");
    fill_segments(&log, 1);
    log.retire_before(number(3)).unwrap();
    let before = log.stats().segments_recycled;
    log.append_synced(&[b"x"]).unwrap();
    assert_eq!(prepares(4), 5, "the file of the second segment, which was not filled");
    fill_segments(&log, 1);
    log.append_synced(&[b"x"]).unwrap();
    assert_eq!(prepares(5), 1, "the file of the first one, which was");
    assert_eq!(log.stats().segments_recycled, before + 2);
}

#[test]
fn windows_are_mapped_while_small_records_use_them() {
    let options = WalOptions { backend: LogBackend::Mapped, ..options() };
    let (_, log) = fresh(options);
    let mapped = |bytes: usize, count: usize, is_synced: bool| {
        let before = log.stats().windows_mapped;
        for _ in 0..count {
            let record = vec![1; bytes];
            let record: &[&[u8]] = &[&record];
            let append = if is_synced { log.append_synced(record) } else { log.append(record) };
            append.unwrap();
            log.maintain();
        }
        log.stats().windows_mapped - before
    };
    assert!(mapped(100, 1000, false) > 10);
    mapped(20_000, 5, false);
    assert_eq!(mapped(20_000, 20, false), 0, "large records are written");
    assert!(mapped(100, 1000, false) > 10, "small ones come again");
    mapped(100, 300, true);
    assert_eq!(log.stats().mapped_bytes, 0, "what a sync would have to protect is unmapped");
    assert_eq!(mapped(100, 1000, true), 0, "synced records are written");
    assert!(mapped(100, 1000, false) > 10);
}

/// The helper looks also when hardly anything was written.
#[test]
fn nothing_stays_mapped_beside_synced_records() {
    let options = WalOptions { backend: LogBackend::Mapped, helper_threads: true, ..options() };
    let (_, log) = fresh(WalOptions { segment_bytes: 4 << 20, ..options });
    let until = Instant::now() + Duration::from_secs(20);
    let wait = |done: &dyn Fn() -> bool| {
        while !done() {
            assert!(Instant::now() < until, "{:?}", log.stats());
            std::thread::yield_now();
        }
    };
    wait(&|| log.stats().windows_mapped > 0);
    for _ in 0..300 {
        log.append_synced(&[b"x"]).unwrap();
    }
    wait(&|| log.stats().mapped_bytes == 0);
}
