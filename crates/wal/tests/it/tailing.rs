//! Reading a log while it is written.

use std::time::{Duration, Instant};

use vfs::Fs;
use wal::{Error, LogBackend, ReadUpTo, Wal, WalOptions};

use crate::kit::*;

fn read_all(reader: &mut wal::LogReader) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some(record) = reader.next_record().unwrap() {
        found.push(record.payload.to_vec());
    }
    found
}

#[test]
fn a_reader_follows_over_segments_and_sees_what_it_may() {
    for backend in [LogBackend::Positional, LogBackend::Mapped] {
        let (_fs, log) = fresh(WalOptions { backend, ..small() });
        let mut durable = log.reader(ReadUpTo::Durable);
        let mut filled = log.reader(ReadUpTo::Filled);
        let mut expected = Vec::new();
        for i in 0..40u8 {
            log.maintain();
            let payload = vec![i; usize::from(i) * 30];
            log.make_room(3).unwrap();
            drop(log.reserve(3).unwrap());
            log.append(&[&payload]).unwrap();
            expected.push(payload);
            if i % 7 == 0 {
                assert_eq!(read_all(&mut filled), expected[expected.len().saturating_sub(7)..]);
                assert_eq!(filled.position(), log.filled());
            }
        }
        read_all(&mut filled);
        log.make_room(1).unwrap();
        let open = log.reserve(1).unwrap();
        log.append(&[b"behind"]).unwrap();
        assert!(filled.next_record().unwrap().is_none(), "nothing behind an open place is read");
        open.fill(&[b"x"]).unwrap();
        assert_eq!(read_all(&mut filled), [b"x".to_vec(), b"behind".to_vec()]);

        let before = read_all(&mut durable).len();
        log.sync(log.filled()).unwrap();
        let synced = read_all(&mut durable);
        assert_eq!(before + synced.len(), expected.len() + 2);
        assert_eq!(synced.last().unwrap(), b"behind");
    }
}

#[test]
fn a_reader_waits_and_is_woken() {
    let (_fs, log) = fresh(small());
    let soon = || Some(Instant::now() + Duration::from_millis(1));
    for upto in [ReadUpTo::Filled, ReadUpTo::Durable] {
        let mut reader = log.reader(upto);
        read_all(&mut reader);
        assert!(!reader.wait(soon()).unwrap());
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                assert!(reader.wait(None).unwrap());
                reader.next_record().unwrap().map(|record| record.payload.to_vec())
            });
            log.append_synced(&[b"woken"]).unwrap();
            assert_eq!(reader.join().unwrap().unwrap(), b"woken");
        });
    }
    let reader = log.reader(ReadUpTo::Durable);
    read_all(&mut log.reader(ReadUpTo::Durable));
    log.close().unwrap();
    let mut reader = reader;
    read_all(&mut reader);
    assert!(matches!(reader.wait(None), Err(Error::Failed(_))));
}

/// A segment that is read is not given to another one, also when it is retired.
#[test]
fn what_is_read_is_not_overwritten() {
    let (fs, log) = fresh(WalOptions { spare_segments_max: 2, ..small() });
    let mut reader = log.reader(ReadUpTo::Filled);
    let write = |log: &Wal, text: &[u8]| {
        log.append(&[text]).unwrap();
        log.roll().unwrap();
    };
    write(&log, b"one");
    write(&log, b"two");
    write(&log, b"three");
    // The reader is still in segment 1.
    let report = log.retire_before(number(3)).unwrap();
    assert_eq!((report.segments, report.kept), (2, 1));
    assert!(!fs.exists(&path(1)).unwrap());
    write(&log, b"four");
    write(&log, b"five");
    assert_eq!(log.stats().segments_recycled, 1);
    assert_eq!(reader.next_record().unwrap().unwrap().payload, b"one");
    assert!(matches!(reader.next_record(), Err(Error::Retired { .. })));
    let rest = read_all(&mut reader);
    assert_eq!(rest, [b"three".to_vec(), b"four".to_vec(), b"five".to_vec()]);
}
