//! Which files are the log: crashes while a segment is created, missing segments, other versions.

use std::path::Path;

use vfs::sim::{Effect, Fault, SimFs};
use vfs::{ErrorKind, Fs, Operation};
use wal::{Error, LogStart, RecoveryMode, SegmentState, Tail};

use crate::kit::*;

const MODE: RecoveryMode = RecoveryMode::PointInTime;

/// A log of three segments with one record each, synced.
fn three() -> SimFs {
    let (fs, log) = fresh(small());
    for text in ["one", "two", "three"] {
        let end = log.append(&[text.as_bytes()]).unwrap();
        log.sync(end).unwrap();
        if text != "three" {
            log.roll().unwrap();
        }
    }
    fs
}

fn texts(records: &[Read]) -> Vec<&str> {
    records.iter().map(|read| std::str::from_utf8(&read.payload).unwrap()).collect()
}

#[test]
fn an_empty_directory_is_a_log_in_which_nothing_was_written_only_if_nothing_is_recorded() {
    let fs = SimFs::new();
    let (records, recovered) = recover_sim(&fs, NOTHING, MODE).unwrap();
    assert_eq!((records.len(), recovered.start), (0, LogStart::fresh()));
    let error = recover_sim(&fs, number(1), MODE).unwrap_err();
    assert!(matches!(error, Error::MissingSegment { number: n, .. } if n == number(1)), "{error}");
    let missing = Path::new("/missing");
    let fs: std::sync::Arc<dyn Fs> = std::sync::Arc::new(fs);
    let error = recover_at(&fs, missing, NOTHING, MODE).unwrap_err();
    assert!(matches!(&error, Error::Fs(e) if e.kind() == ErrorKind::NotFound), "{error}");
}

#[test]
fn a_segment_whose_creation_was_cut_short_is_no_error_and_is_removed_by_the_next_log() {
    // The file alone; allocated; half a header; a header of noise.
    let contents: [&[u8]; 4] = [&[], &[0; 4096], &[b'P'; 30], &[0xA5; 64]];
    for (i, content) in contents.into_iter().enumerate() {
        let fs = three();
        fs.create(&path(4)).unwrap().write_all_at(content, 0).unwrap();
        let (records, recovered) = recover_sim(&fs, number(1), MODE).unwrap();
        assert_eq!(texts(&records), ["one", "two", "three"], "content {i}");
        assert_eq!(recovered.start.segment, number(5));
        assert_eq!(recovered.start.predecessor.unwrap().segment, number(3));
        assert_eq!(recovered.start.existing[3].state, SegmentState::Discarded);
        let log = create(&fs, small(), recovered.start).unwrap();
        assert!(!fs.exists(&path(4)).unwrap());
        log.append(&[b"four"]).unwrap();
        let (records, _) = recover_sim(&fs, number(1), MODE).unwrap();
        assert_eq!(texts(&records), ["one", "two", "three", "four"]);
    }
}

#[test]
fn a_first_segment_whose_creation_was_cut_short_is_an_empty_log_only_if_nothing_is_recorded() {
    let fs = SimFs::new();
    fs.create(&path(1)).unwrap().write_all_at(&[0; 40], 0).unwrap();
    let (records, recovered) = recover_sim(&fs, NOTHING, MODE).unwrap();
    assert_eq!((records.len(), recovered.start.segment), (0, number(2)));
    assert_eq!(recovered.start.predecessor, None);
    let error = recover_sim(&fs, number(1), MODE).unwrap_err();
    assert!(matches!(error, Error::Corrupt { offset: 0, .. }), "{error}");
}

#[test]
fn a_missing_segment_is_an_error_that_says_who_needs_it() {
    for (gone, from, needs) in [(1, 1, "segment 2"), (2, 1, "segment 3"), (1, 0, "segment 2")] {
        let fs = three();
        fs.remove(&path(gone)).unwrap();
        let error = recover_sim(&fs, number(from), MODE).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, Error::MissingSegment { number: n, .. } if n == number(gone)));
        assert!(message.contains(needs), "{message}");
    }
    let message = recover_sim(&three(), number(9), MODE).unwrap_err().to_string();
    assert!(message.contains("segment 9") && message.contains("whoever recovers"), "{message}");
    // What is before the segment to begin at is not needed.
    let fs = three();
    fs.remove(&path(1)).unwrap();
    assert_eq!(texts(&recover_sim(&fs, number(2), MODE).unwrap().0), ["two", "three"]);
}

#[test]
fn a_segment_of_a_chain_that_does_not_reach_the_first_one_asked_for_is_an_error() {
    let fs = three();
    let (_, recovered) = recover_sim(&fs, number(1), MODE).unwrap();
    // A log begun anew, as after a salvage, whose caller then asks for what was before.
    let start = LogStart { predecessor: None, ..recovered.start };
    create(&fs, small(), start).unwrap();
    let error = recover_sim(&fs, number(1), MODE).unwrap_err();
    assert!(matches!(error, Error::MissingSegment { .. }), "{error}");
    assert_eq!(recover_sim(&fs, number(4), MODE).unwrap().0, []);
}

#[test]
fn a_number_that_no_segment_got_is_a_beginning_too() {
    // The creation of segment 2 failed; 3 follows 1.
    let (fs, log) = fresh(small());
    log.append(&[b"one"]).unwrap();
    fs.inject(Fault::new(Operation::SyncAll, Effect::IO));
    log.roll().unwrap_err();
    log.roll().unwrap();
    log.append(&[b"three"]).unwrap();
    drop(log);
    assert_eq!(texts(&recover_sim(&fs, number(2), MODE).unwrap().0), ["three"]);
}

#[test]
fn another_format_version_is_refused_in_every_mode() {
    use RecoveryMode::*;
    for mode in [PointInTime, AbsoluteConsistency, SkipDamaged] {
        let fs = three();
        let mut header = read_file(&fs, &path(3))[..64].to_vec();
        header[8] = 9;
        let crc = crc32fast::hash(&header[..60]);
        header[60..].copy_from_slice(&crc.to_le_bytes());
        write_file(&fs, &path(3), 0, &header);
        let error = recover_sim(&fs, number(1), mode).unwrap_err();
        assert!(matches!(error, Error::UnsupportedVersion { found: 9, .. }), "{error}");
        assert!(error.to_string().contains("000003.log"), "{error}");
    }
}

#[test]
fn files_that_are_not_segments_are_left_alone() {
    let fs = three();
    for name in ["CURRENT", "000004.sst", "4.log", "000000.log", "x000004.log"] {
        fs.create(&Path::new(DIR).join(name)).unwrap();
    }
    let (_, recovered) = recover_sim(&fs, number(1), MODE).unwrap();
    assert_eq!((recovered.start.segment, recovered.tail), (number(4), Tail::Clean));
    let log = create(&fs, small(), recovered.start).unwrap();
    log.retire_before(number(4)).unwrap();
    assert_eq!(fs.list(Path::new(DIR)).unwrap().len(), 6);
}
