//! Damage: every byte flipped, every length cut, holes; what is detected, as what, and what never comes back.

use base::LogPlace;
use base::record::HEADER_BYTES;
use proptest::prelude::*;
use vfs::sim::SimFs;
use wal::{Error, LogPosition, RecoverFrom, RecoveryMode, SEGMENT_HEADER_BYTES, Tail, Wal};

use crate::kit::*;

const MODE: RecoveryMode = RecoveryMode::PointInTime;

/// A record of a test's log: where it stands.
struct Place {
    segment: u64,
    start: u64,
    end: u64,
    payload: Vec<u8>,
}

/// Appends records of several lengths, one segment after each `per_segment`; syncs each if asked.
fn write(log: &Wal, lengths: &[usize], per_segment: usize, sync: bool) -> Vec<Place> {
    let mut base = 0;
    let mut places = Vec::new();
    for (i, &len) in lengths.iter().enumerate() {
        if i > 0 && i % per_segment == 0 {
            log.roll().unwrap();
            base = places.last().map_or(0, |place: &Place| base + place.end);
        }
        let reservation = log.reserve(len).unwrap();
        let (segment, end) = (reservation.segment().get(), reservation.end());
        let payload = vec![i as u8 + 1; len];
        reservation.fill(&[&payload]).unwrap();
        let end_offset = end.get() - base;
        let start = end_offset - base::record::framed_len(0, len);
        places.push(Place { segment, start, end: end_offset, payload });
        if sync {
            log.sync(end).unwrap();
        }
    }
    places
}

/// Where a segment's link stands.
const LINK: u64 = 64;

const LENGTHS: [usize; 7] = [0, 1, 40, 9, 200, 3, 77];

#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// So many records, and a tail that was clean or torn.
    Records(usize, bool),
    Corrupt,
}

/// Recovers; what is read must be a prefix of what was written.
fn found(fs: &SimFs, places: &[Place], what: &str) -> Found {
    match recover_sim(fs, number(1), MODE) {
        Ok((records, recovered)) => {
            assert!(records.len() <= places.len(), "{what}");
            for (read, place) in records.iter().zip(places) {
                assert_eq!(
                    (read.segment, &read.payload),
                    (place.segment, &place.payload),
                    "{what}"
                );
                assert_eq!(read.offset, place.start, "{what}");
            }
            Found::Records(records.len(), recovered.tail == Tail::Clean)
        }
        Err(Error::Corrupt { path: at, .. }) => {
            assert!(what.contains(&*at.to_string_lossy()), "{what}: found in {}", at.display());
            Found::Corrupt
        }
        Err(other) => panic!("{what}: {other}"),
    }
}

/// Flips each byte of each segment up to the end of its records, and compares with what `expected` says for the byte
/// at an offset.
fn flip_all(fs: &SimFs, places: &[Place], expected: impl Fn(u64, u64) -> Found) {
    for segment in 1..=places.last().unwrap().segment {
        let end = places.iter().rfind(|place| place.segment == segment).unwrap().end;
        for at in 0..end {
            for mask in [0x01, 0x80, 0xFF] {
                let damaged = flipped(fs, &path(segment), at as usize, mask);
                let what = format!("{} at {at} by {mask:#x}", path(segment).display());
                assert_eq!(found(&damaged, places, &what), expected(segment, at), "{what}");
            }
        }
    }
}

#[test]
fn every_flip_in_a_synced_log_is_corruption_but_in_the_last_record() {
    let (fs, log) = fresh(small());
    let places = write(&log, &LENGTHS, 3, true);
    drop(log);
    let last = places.last().unwrap();
    flip_all(&fs, &places, |segment, at| {
        // The last segment's link became durable with its only record, which nothing later vouches for.
        if segment == last.segment && at >= LINK {
            Found::Records(places.len() - 1, false)
        } else {
            Found::Corrupt
        }
    });
}

/// What was durable is known elsewhere: then no flip in it is a torn tail.
#[test]
fn every_flip_before_a_place_that_the_caller_vouches_for_is_corruption() {
    let (fs, log) = fresh(small());
    let places = write(&log, &LENGTHS, 3, true);
    let durable = log.durable_place().unwrap();
    let last = places.last().unwrap();
    assert_eq!(durable, LogPlace { segment: number(last.segment), offset: last.end });
    let records = |fs: &SimFs, durable| {
        let fs: std::sync::Arc<dyn vfs::Fs> = std::sync::Arc::new(fs.clone());
        let from = RecoverFrom { segment: number(1), durable };
        recover_at(&fs, std::path::Path::new(DIR), from, MODE).map(|(records, _)| records.len())
    };
    for at in SEGMENT_HEADER_BYTES..last.end {
        let damaged = flipped(&fs, &path(last.segment), at as usize, 0x04);
        let refused = records(&damaged, durable);
        assert!(matches!(refused, Err(Error::Corrupt { .. })), "{at}: {refused:?}");
        // A place before the damage says nothing, nor does one before the beginning.
        let earlier = LogPlace { segment: number(1), offset: places[0].end };
        assert_eq!(records(&damaged, earlier).unwrap(), places.len() - 1, "{at}");
    }
    // What comes behind the place may be torn.
    log.append(&[b"not synced"]).unwrap();
    drop(log);
    assert_eq!(records(&fs, durable).unwrap(), places.len() + 1);
    let torn = flipped(&fs, &path(last.segment), last.end as usize, 0x04);
    assert_eq!(records(&torn, durable).unwrap(), places.len());
    // Retired, it is no place any more: whoever says so has no use for it.
    let (_, log) = fresh(small());
    write(&log, &LENGTHS[..3], 3, true);
    log.roll().unwrap();
    log.retire_before(number(2)).unwrap();
    assert_eq!(log.durable_place(), None);
}

#[test]
fn every_flip_in_a_closed_log_is_corruption() {
    let (fs, log) = fresh(small());
    let places = write(&log, &LENGTHS, 3, false);
    log.close().unwrap();
    flip_all(&fs, &places, |_, _| Found::Corrupt);
    // The mark itself is no record; without it the log only ends less well.
    let end = places.last().unwrap().end;
    for at in end..end + HEADER_BYTES as u64 {
        let damaged = flipped(&fs, &path(3), at as usize, 0x10);
        assert_eq!(found(&damaged, &places, "mark"), Found::Records(places.len(), false));
    }
}

#[test]
fn every_flip_in_an_unsynced_segment_is_a_torn_tail_at_its_record() {
    let (fs, log) = fresh(small());
    let places = write(&log, &LENGTHS, 100, false);
    drop(log);
    flip_all(&fs, &places, |_, at| {
        if at < SEGMENT_HEADER_BYTES {
            // A header is durable before the first record, so records prove that it was there.
            return Found::Corrupt;
        }
        Found::Records(places.iter().filter(|place| place.end <= at).count(), false)
    });
}

#[test]
fn a_flip_in_an_unsynced_segment_cuts_the_segments_behind_it_off() {
    let (fs, log) = fresh(small());
    let places = write(&log, &LENGTHS, 3, false);
    drop(log);
    let at = places[1].start as usize;
    let damaged = flipped(&fs, &path(1), at, 0x01);
    assert_eq!(found(&damaged, &places, "flip"), Found::Records(1, false));
    // And they do not come back with the next log, nor with the one after it.
    for round in 0..2 {
        let (records, log) = reopen(&damaged, small());
        assert_eq!(records.len(), 1 + round);
        log.append(&[b"new"]).unwrap();
    }
    assert_eq!(payloads(&damaged), [vec![], b"new".to_vec(), b"new".to_vec()]);
}

#[test]
fn a_header_vouches_for_what_was_durable_when_it_was_written() {
    let (fs, log) = fresh(small());
    let places = write(&log, &[20, 20], 100, false);
    log.sync(log.filled()).unwrap();
    log.roll().unwrap();
    drop(log);
    for place in places {
        let damaged = flipped(&fs, &path(1), place.start as usize, 1);
        let error = recover_sim(&damaged, NOTHING, MODE).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    }
}

#[test]
fn a_header_that_vouches_for_its_predecessor_vouches_for_all_before_that() {
    let (fs, log) = fresh(small());
    log.append(&[b"one"]).unwrap();
    log.roll().unwrap();
    let end = log.append(&[b"two"]).unwrap();
    log.sync(end).unwrap();
    log.roll().unwrap();
    drop(log);
    let damaged = flipped(&fs, &path(1), 64, 1);
    let error = recover_sim(&damaged, NOTHING, MODE).unwrap_err();
    assert!(matches!(&error, Error::Corrupt { path: at, .. } if *at == path(1)), "{error}");
}

#[test]
fn flips_in_a_log_of_several_blocks_are_seen() {
    let (fs, log) = fresh(wal::WalOptions { segment_bytes: 128 * 1024, ..small() });
    let lengths = [30_000, 2_660, 50_000, 12];
    let mut payloads = Vec::new();
    for (i, len) in lengths.into_iter().enumerate() {
        let payload = vec![i as u8 + 1; len];
        let end = log.append(&[&payload]).unwrap();
        log.sync(end).unwrap();
        payloads.push(payload);
    }
    let end = log.filled().get();
    let last_start = end - 24;
    drop(log);
    let near_a_boundary = |at: &u64| (at + 20) % 32_768 < 45;
    for at in (64..end).filter(|at| at % 491 == 0 || near_a_boundary(at)) {
        let damaged = flipped(&fs, &path(1), at as usize, 0x04);
        match recover_sim(&damaged, number(1), MODE) {
            Err(Error::Corrupt { .. }) => assert!(at < last_start, "{at}"),
            Ok((records, recovered)) => {
                let found: Vec<_> = records.into_iter().map(|read| read.payload).collect();
                // Else it is padding, which means nothing.
                let is_padding = found == payloads && recovered.tail == Tail::Clean;
                let padding = (32_768 - 12..32_768).contains(&(at % 32_768));
                assert!(
                    is_padding && padding || found == payloads[..3] && at >= last_start,
                    "{at}"
                );
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn every_cut_gives_a_prefix_or_corruption() {
    for (per_segment, sync) in [(100, false), (100, true), (3, false), (3, true)] {
        let (fs, log) = fresh(small());
        let places = write(&log, &LENGTHS, per_segment, sync);
        drop(log);
        for segment in 1..=places.last().unwrap().segment {
            let ours = || places.iter().filter(|place| place.segment == segment);
            let before = places.iter().filter(|place| place.segment < segment).count();
            let is_last = segment == places.last().unwrap().segment;
            for len in 0..=ours().next_back().unwrap().end {
                let cut = killed(&fs);
                truncate(&cut, &path(segment), len);
                let whole = ours().filter(|place| place.end <= len).count();
                let is_whole = whole == ours().count();
                let at_an_end = len == SEGMENT_HEADER_BYTES || ours().any(|p| p.end == len);
                let lost_header = len < SEGMENT_HEADER_BYTES && (segment == 1 || !is_last);
                let lost_synced = !is_last && sync && !is_whole;
                let expected = if lost_header || lost_synced {
                    Found::Corrupt
                } else if !is_last && is_whole {
                    Found::Records(places.len(), true)
                } else {
                    // A last segment without its header was never completed: the log ends before it.
                    let clean = is_last && (at_an_end || len < SEGMENT_HEADER_BYTES);
                    Found::Records(before + whole, clean)
                };
                let what = format!("{} cut at {len}, {sync}", path(segment).display());
                assert_eq!(found(&cut, &places, &what), expected, "{what}");
            }
        }
    }
}

/// A log in which the second of three records was never written: not even aborted.
fn with_hole(len: usize) -> (SimFs, LogPosition) {
    let (fs, log) = fresh(small());
    log.append(&[b"first"]).unwrap();
    let hole = log.reserve(len).unwrap();
    let last = log.append(&[b"behind the hole"]).unwrap();
    std::mem::forget(hole);
    drop(log);
    (fs, last)
}

#[test]
fn valid_records_beyond_a_hole_never_come_back() {
    for len in [0, 10, 1000] {
        let (fs, _) = with_hole(len);
        let fs = killed(&fs);
        let (records, recovered) = recover_sim(&fs, NOTHING, MODE).unwrap();
        assert_eq!(records.len(), 1);
        let Tail::Torn { offset, reason, .. } = recovered.tail else { panic!("{len}: clean") };
        assert_eq!(offset, SEGMENT_HEADER_BYTES + 12 + 5);
        assert!(reason.contains("zeros"), "{reason}");
        // The new record fits exactly into the hole's place, had the segment been appended to.
        let (_, log) = reopen(&fs, small());
        let end = log.append(&[&vec![1; len]]).unwrap();
        log.sync(end).unwrap();
        assert_eq!(payloads(&synced_only(&fs)), [b"first".to_vec(), vec![1; len]]);
    }
}

#[test]
fn a_synced_place_that_reads_as_zeros_is_corruption() {
    let (fs, log) = fresh(small());
    let places = write(&log, &[20, 20, 20], 100, true);
    drop(log);
    let gone = &places[1];
    write_file(&fs, &path(1), gone.start, &vec![0; (gone.end - gone.start) as usize]);
    assert_eq!(found(&fs, &places, "/000001.log"), Found::Corrupt);
}

#[test]
fn absolute_consistency_takes_no_torn_tail() {
    let mode = RecoveryMode::AbsoluteConsistency;
    let (fs, log) = fresh(small());
    let places = write(&log, &[20, 20], 100, false);
    drop(log);
    assert_eq!(recover_sim(&fs, NOTHING, mode).unwrap().0.len(), 2);
    let damaged = flipped(&fs, &path(1), places[1].start as usize, 1);
    let error = recover_sim(&damaged, NOTHING, mode).unwrap_err();
    assert!(
        matches!(error, Error::TornTail { offset, .. } if offset == places[1].start),
        "{error}"
    );
    assert!(error.to_string().contains("000001.log"), "{error}");
}

#[test]
fn salvage_reads_what_is_left_on_both_sides_of_damage() {
    let mode = RecoveryMode::SkipDamaged;
    let (fs, log) = fresh(small());
    let places = write(&log, &LENGTHS, 3, true);
    drop(log);
    let records = |fs: &SimFs| {
        let (records, recovered) = recover_sim(fs, number(1), mode).unwrap();
        let found: Vec<_> = records.into_iter().map(|read| read.payload[..].to_vec()).collect();
        assert_eq!(recovered.start.predecessor, None, "a salvaged log is not continued");
        assert_eq!(recovered.damaged_places, u64::from(recovered.first_damage.is_some()));
        (found, recovered.first_damage)
    };
    let without = |gone: &[usize]| -> Vec<Vec<u8>> {
        let kept = places.iter().enumerate().filter(|(i, _)| !gone.contains(i));
        kept.map(|(_, place)| place.payload.clone()).collect()
    };
    assert_eq!(records(&fs), (without(&[]), None));

    let (kept, damage) = records(&flipped(&fs, &path(1), places[1].start as usize + 4, 0x40));
    assert_eq!((kept, damage.unwrap().offset), (without(&[1]), places[1].start));

    let (kept, damage) = records(&flipped(&fs, &path(2), 3, 0x40));
    assert_eq!((kept, damage.unwrap().path), (without(&[]), path(2)));

    let (kept, damage) = records(&flipped(&fs, &path(3), 3, 0x40));
    assert_eq!((kept, damage.unwrap().path), (without(&[]), path(3)));

    let gone = killed(&fs);
    vfs::Fs::remove(&gone, &path(2)).unwrap();
    let (kept, damage) = records(&gone);
    assert_eq!((kept, damage.unwrap().path), (without(&[3, 4, 5]), path(2)));

    let cut = killed(&fs);
    truncate(&cut, &path(1), places[2].start);
    let (kept, damage) = records(&cut);
    assert_eq!((kept, damage.unwrap().path), (without(&[2]), path(1)));
}

#[test]
fn a_payload_that_holds_a_log_is_not_taken_for_one() {
    let (inner, log) = fresh(small());
    write(&log, &LENGTHS, 100, true);
    drop(log);
    let copy = read_file(&inner, &path(1));
    let (fs, log) = fresh(wal::WalOptions { segment_bytes: 16 * 1024, ..small() });
    let end = log.append(&[&copy]).unwrap();
    log.sync(end).unwrap();
    drop(log);
    let damaged = flipped(&fs, &path(1), SEGMENT_HEADER_BYTES as usize + 5, 1);
    let (records, recovered) = recover_sim(&damaged, NOTHING, MODE).unwrap();
    assert_eq!(records, []);
    assert!(matches!(recovered.tail, Tail::Torn { .. }));
    assert_eq!(recover_sim(&damaged, NOTHING, RecoveryMode::SkipDamaged).unwrap().0, []);
}

/// Bytes that replace others at a place in one of the segments.
fn splices() -> impl Strategy<Value = Vec<(u64, usize, Vec<u8>)>> {
    let bytes =
        prop_oneof![
            prop::collection::vec(any::<u8>(), 1..40),
            prop::collection::vec(Just(0u8), 1..200),
            // What a chunk's header may look like.
            (any::<[u8; 4]>(), 0u8..80, 1u8..6, any::<u8>()).prop_map(
                |(crc, len, kind, vouched)| [&crc[..], &[len, 0, kind, 0, vouched, 0]].concat()
            ),
        ];
    prop::collection::vec((1u64..4, 0usize..400, bytes), 1..5)
}

proptest! {
    #[test]
    fn any_damage_gives_a_prefix_or_an_error(splices in splices()) {
        let (fs, log) = fresh(small());
        let places = write(&log, &LENGTHS, 3, false);
        drop(log);
        for (segment, at, bytes) in splices {
            write_file(&fs, &path(segment), at as u64, &bytes);
        }
        match recover_sim(&fs, number(1), MODE) {
            Ok((records, _)) => {
                let written: Vec<_> = places.iter().map(|place| &place.payload).collect();
                let found: Vec<_> = records.iter().map(|read| &read.payload).collect();
                prop_assert!(written.starts_with(&found));
            }
            Err(Error::Corrupt { .. }) => {}
            Err(other) => panic!("{other}"),
        }
        let (records, _) = recover_sim(&fs, number(1), RecoveryMode::SkipDamaged).unwrap();
        prop_assert!(records.iter().all(|read| places.iter().any(|p| p.payload == read.payload)));
    }
}
