//! What is written is read, on both file systems; segments roll and retire; wrong use is answered.

use std::path::Path;
use std::sync::Arc;

use base::record::{BLOCK_BYTES, HEADER_BYTES};
use vfs::sim::SimFs;
use vfs::{Fs, RealFs};
use wal::{
    Error, LogStart, MAX_RECORD_BYTES, Predecessor, RecoveryMode, ReserveError,
    SEGMENT_HEADER_BYTES, SegmentState, Tail, Wal, WalOptions,
};

use crate::kit::*;

/// Lengths around everything that can go wrong with a record's place.
const LENGTHS: [usize; 12] = [
    0,
    1,
    140,
    BLOCK_BYTES - 2 * HEADER_BYTES - 64,
    BLOCK_BYTES - HEADER_BYTES,
    BLOCK_BYTES,
    5,
    3 * BLOCK_BYTES + 7,
    BLOCK_BYTES - 3 * HEADER_BYTES,
    300 * 1024,
    2 * 1024 * 1024,
    17,
];

fn payload(i: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + i * 7) as u8).collect()
}

fn written_is_read(fs: &Arc<dyn Fs>, dir: &Path, segment_bytes: u64) {
    let options = WalOptions { segment_bytes, ..WalOptions::default() };
    let mut expected = Vec::new();
    for round in 0..3 {
        let (records, recovered) =
            recover_at(fs, dir, NOTHING, RecoveryMode::AbsoluteConsistency).unwrap();
        let found: Vec<_> = records.into_iter().map(|read| read.payload).collect();
        assert!(found == expected, "round {round}: {} of {}", found.len(), expected.len());
        assert_eq!(recovered.tail, Tail::Clean);
        let log = Wal::create(Arc::clone(fs), dir, options.clone(), recovered.start).unwrap();
        for (i, len) in LENGTHS.into_iter().enumerate() {
            let payload = payload(i + round, len);
            let (a, b) = payload.split_at(len / 3);
            let end = log.append(&[a, &[], b]).unwrap();
            if i % 3 == 0 {
                log.sync(end).unwrap();
                assert!(log.durable() >= end);
            }
            expected.push(payload);
        }
        log.close().unwrap();
    }
}

#[test]
fn what_is_written_is_read_simulated() {
    for segment_bytes in [4096, 100_000, 64 << 20] {
        let fs: Arc<dyn Fs> = Arc::new(SimFs::new());
        written_is_read(&fs, Path::new(DIR), segment_bytes);
    }
}

#[test]
fn what_is_written_is_read_for_real() {
    for segment_bytes in [4096, 64 << 20] {
        let dir = tempfile::tempdir().unwrap();
        let fs: Arc<dyn Fs> = Arc::new(RealFs::new());
        written_is_read(&fs, dir.path(), segment_bytes);
    }
}

#[test]
fn records_come_in_the_order_of_their_reservations() {
    // W4: also when they are filled in another one, with one given up between them.
    let (fs, log) = fresh(small());
    let start = log.filled();
    let first = log.reserve(3).unwrap();
    let given_up = log.reserve(700).unwrap();
    let third = log.reserve(3).unwrap();
    assert!(first.end() < given_up.end() && given_up.end() < third.end());
    let end = third.end();
    third.fill(&[b"333"]).unwrap();
    assert_eq!(log.filled(), start);
    drop(given_up);
    first.fill(&[b"1", b"11"]).unwrap();
    assert_eq!(log.filled(), end);
    assert_eq!(log.stats().aborted, 1);
    assert_eq!(payloads(&killed(&fs)), [b"111".to_vec(), b"333".to_vec()]);
    log.sync(end).unwrap();
    assert_eq!(payloads(&synced_only(&fs)), [b"111".to_vec(), b"333".to_vec()]);
}

#[test]
fn segments_roll_when_full_and_on_request_and_retire() {
    let (fs, log) = fresh(small());
    assert_eq!(log.current_segment(), number(1));
    log.roll().unwrap();
    assert_eq!(log.current_segment(), number(1), "an empty segment is not rolled");
    let live = log.live_bytes();
    for _ in 0..9 {
        log.append(&[&[7; 1000]]).unwrap();
    }
    assert_eq!(log.current_segment(), number(3));
    assert_eq!(log.live_bytes(), live + 2 * SEGMENT_HEADER_BYTES + 9 * 1012);
    assert_eq!(log.file_bytes(), 3 * 4096);
    assert_eq!(log.stats().segments_created, 3);

    let open = log.reserve(1).unwrap();
    log.roll().unwrap();
    assert_eq!((open.segment(), log.current_segment()), (number(3), number(4)));
    let report = log.retire_before(number(9)).unwrap();
    assert_eq!((report.segments, report.file_bytes), (2, 2 * 4096));
    assert!(fs.exists(&path(3)).unwrap(), "a segment with an open reservation stays");
    open.fill(&[b"x"]).unwrap();
    assert_eq!(log.retire_before(number(9)).unwrap().segments, 1);
    assert_eq!(log.retire_before(number(9)).unwrap().segments, 0, "R5: retired once");
    assert!(fs.exists(&path(4)).unwrap(), "R5: the current segment stays");
    assert_eq!(log.live_bytes(), SEGMENT_HEADER_BYTES);
    assert_eq!(log.stats().segments_removed, 3);

    let end = log.append(&[b"after"]).unwrap();
    log.sync(end).unwrap();
    let from = number(4);
    let (records, recovered) = recover_sim(&fs, from, RecoveryMode::PointInTime).unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(recovered.start.segment, number(5));
}

#[test]
fn what_recovery_found_is_accounted_and_retired_too() {
    let (fs, log) = fresh(small());
    for _ in 0..9 {
        log.append(&[&[7; 1000]]).unwrap();
    }
    log.close().unwrap();
    let (_, recovered) = recover_sim(&fs, number(2), RecoveryMode::PointInTime).unwrap();
    let states: Vec<_> = recovered.start.existing.iter().map(|info| info.state).collect();
    assert_eq!(states, [SegmentState::Obsolete, SegmentState::Live, SegmentState::Live]);
    let (live, files) = (recovered.start.existing.clone(), 4 * 4096);
    let log = create(&fs, small(), recovered.start).unwrap();
    assert_eq!(log.current_segment(), number(4));
    let bytes: u64 = live.iter().map(|info| info.bytes).sum();
    assert_eq!(bytes, 2 * SEGMENT_HEADER_BYTES + 6 * 1012 + HEADER_BYTES as u64);
    assert_eq!(log.live_bytes(), SEGMENT_HEADER_BYTES + bytes);
    assert_eq!(log.file_bytes(), files);
    assert_eq!(log.retire_before(number(4)).unwrap().segments, 3);
    assert_eq!(log.live_bytes(), SEGMENT_HEADER_BYTES);
}

#[test]
fn a_full_ring_is_waited_for() {
    let options = WalOptions { open_records_max: 2, ..small() };
    let (_fs, log) = fresh(options);
    let first = log.reserve(1).unwrap();
    let second = log.reserve(1).unwrap();
    assert!(matches!(log.reserve(1), Err(ReserveError::NeedsRoom)));
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| log.make_room(1));
        second.fill(&[b"2"]).unwrap();
        first.fill(&[b"1"]).unwrap();
        waits.join().unwrap().unwrap();
    });
    log.append(&[b"3"]).unwrap();
}

#[test]
fn a_log_is_closed_right_after_it_was_rolled() {
    let (fs, log) = fresh(small());
    log.append(&[b"x"]).unwrap();
    log.roll().unwrap();
    log.close().unwrap();
    let mode = RecoveryMode::AbsoluteConsistency;
    assert_eq!(recover_sim(&synced_only(&fs), NOTHING, mode).unwrap().0.len(), 1);
}

#[test]
fn limits_are_typed_errors() {
    let (_fs, log) = fresh(small());
    let len = MAX_RECORD_BYTES + 1;
    assert!(matches!(log.reserve(len), Err(ReserveError::TooLarge { .. })));
    assert!(matches!(log.make_room(len), Err(Error::TooLarge { .. })));
    let other = fresh(small()).1.append(&[&[0; 100]]).unwrap();
    assert!(matches!(log.sync(other), Err(Error::UnknownPosition { .. })));
    for bad in [
        WalOptions { segment_bytes: 100, ..small() },
        WalOptions { segment_bytes: 3 << 30, ..small() },
        WalOptions { open_records_max: 3, ..small() },
        WalOptions { open_records_max: 1, ..small() },
    ] {
        let error = create(&SimFs::new(), bad, LogStart::fresh()).unwrap_err();
        assert!(matches!(error, Error::InvalidOption { .. }), "{error}");
    }
    let start = LogStart { segment: number(u64::MAX), ..LogStart::fresh() };
    let log = create(&SimFs::new(), small(), start).unwrap();
    log.append(&[b"x"]).unwrap();
    assert!(matches!(log.roll(), Err(Error::NumbersExhausted { .. })));
    log.append(&[b"the segment still takes records"]).unwrap();
}

#[test]
fn a_segment_that_exists_is_not_touched() {
    let (fs, log) = fresh(small());
    log.append(&[b"mine"]).unwrap();
    let error = create(&fs, small(), LogStart::fresh()).unwrap_err();
    assert!(matches!(&error, Error::Fs(e) if e.kind() == vfs::ErrorKind::AlreadyExists), "{error}");
    drop(log);
    assert_eq!(payloads(&fs), [b"mine".to_vec()]);
}

#[test]
fn a_visitors_error_ends_recovery() {
    let (fs, log) = fresh(small());
    log.append(&[b"1"]).unwrap();
    log.append(&[b"2"]).unwrap();
    drop(log);
    let fs: Arc<dyn Fs> = Arc::new(fs);
    let mut calls = 0;
    let mut visit = |_, _, _: &[u8]| {
        calls += 1;
        Err("no")
    };
    let mode = RecoveryMode::PointInTime;
    let error = wal::recover(&fs, Path::new(DIR), NOTHING, mode, &mut visit).unwrap_err();
    assert!(matches!(error, wal::RecoverError::Visitor("no")));
    assert_eq!(calls, 1);
}

#[test]
fn a_start_with_a_predecessor_cuts_it_there() {
    let (fs, log) = fresh(small());
    let end = log.append(&[b"stays"]).unwrap();
    log.append(&[b"is cut off"]).unwrap();
    log.sync(log.filled()).unwrap();
    drop(log);
    let predecessor = Some(Predecessor { segment: number(1), end_offset: end.get() });
    let start = LogStart { segment: number(2), predecessor, existing: Vec::new() };
    let log = create(&fs, small(), start).unwrap();
    log.append(&[b"new"]).unwrap();
    assert_eq!(payloads(&killed(&fs)), [b"stays".to_vec(), b"new".to_vec()]);
}
