//! Snapshots and iterators beside writes, flushes and compactions.

use crate::support::{all, open, small};
use engine::{Db, Options};
use std::sync::atomic::{AtomicBool, Ordering};

fn fill(db: &Db, from: u32, to: u32, byte: u8) {
    for i in from..to {
        db.put(i.to_be_bytes(), [byte; 200]).unwrap();
    }
}

#[test]
fn a_snapshot_stays_as_it_was_through_flush_and_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    fill(&db, 0, 1000, 1);
    let before = db.snapshot();
    fill(&db, 0, 500, 2);
    for i in 500..700u32 {
        db.delete(i.to_be_bytes()).unwrap();
    }
    let between = db.snapshot();
    fill(&db, 0, 2000, 3);
    for step in 0..3 {
        for i in (0..1000u32).step_by(37) {
            let key = i.to_be_bytes();
            assert_eq!(before.get(key).unwrap().unwrap()[0], 1, "step {step}, key {i}");
            let expected = if i < 500 {
                Some(2)
            } else if i < 700 {
                None
            } else {
                Some(1)
            };
            assert_eq!(between.get(key).unwrap().map(|v| v[0]), expected, "step {step}, key {i}");
        }
        assert_eq!(before.iter().unwrap().count(), 1000);
        assert_eq!(between.iter().unwrap().rev().count(), 800);
        assert_eq!(between.range(490u32.to_be_bytes()..710u32.to_be_bytes()).unwrap().count(), 20);
        match step {
            0 => db.flush().unwrap(),
            _ => db.compact().unwrap(),
        }
    }
    assert_eq!(db.iter().unwrap().count(), 2000);
    drop((before, between));
    assert_eq!(db.stats().snapshots, 0);
}

/// R2: an overwritten version between two snapshots goes, though an older reader is open.
#[test]
fn versions_that_no_snapshot_sees_do_not_reach_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let db =
        open(dir.path(), &Options { write_buffer_size: 4 << 20, write_budget: None, ..small() });
    db.put("k", [0; 1000]).unwrap();
    let _oldest = db.snapshot();
    for i in 0..2000u32 {
        db.put("k", [i as u8; 1000]).unwrap();
    }
    let _newer = db.snapshot();
    db.put("k", "last").unwrap();
    db.flush().unwrap();
    let bytes = db.stats().flush_bytes;
    assert!(bytes < 10_000, "{bytes} bytes for three versions of 1000 bytes that somebody sees");
}

/// R7: an iterator that is open holds up neither its own thread's writes nor any flush.
#[test]
fn an_open_iterator_never_blocks_the_writer_on_its_own_thread() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    fill(&db, 0, 2000, 1);
    let mut iter = db.iter().unwrap();
    let mut seen = 0;
    for round in 0..40u32 {
        seen += iter.by_ref().take(40).map(|entry| assert_eq!(entry.unwrap().1[0], 1)).count();
        fill(&db, 0, 2000, 2 + round as u8); // several times the budget
    }
    seen += iter.map(|entry| assert_eq!(entry.unwrap().1[0], 1)).count();
    assert_eq!(seen, 2000);
    let stats = db.stats();
    assert!(stats.flushes > 5 && stats.in_flight_peak_bytes <= 1 << 20, "{stats:?}");
}

#[test]
fn iterators_go_both_ways_and_meet() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    fill(&db, 0, 3000, 1);
    for take_front in [0usize, 1, 5, 100, 1499, 2999, 3000] {
        let mut iter = db.iter().unwrap();
        let front: Vec<_> = iter.by_ref().take(take_front).map(|e| e.unwrap().0).collect();
        let mut back: Vec<_> = iter.rev().map(|e| e.unwrap().0).collect();
        back.reverse();
        let keys: Vec<_> = front.into_iter().chain(back).collect();
        assert_eq!(keys.len(), 3000);
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
    }
    let mut iter = db.iter().unwrap();
    let (mut low, mut high) = (0u32, 2999u32);
    while low < high {
        assert_eq!(*iter.next().unwrap().unwrap().0, low.to_be_bytes());
        assert_eq!(*iter.next_back().unwrap().unwrap().0, high.to_be_bytes());
        (low, high) = (low + 1, high - 1);
    }
    assert!(iter.next().is_none() && iter.next_back().is_none());
}

/// W4: a reader sees a batch whole or not at all, whatever goes on beside it.
#[test]
fn no_reader_ever_sees_a_batch_in_part() {
    const KEYS: u32 = 50;
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    let is_done = AtomicBool::new(false);
    let write = |tag: u32| {
        let mut batch = engine::WriteBatch::new();
        for key in 0..KEYS {
            batch.put(key.to_be_bytes(), [&tag.to_be_bytes()[..], &[0; 100]].concat());
        }
        db.write(&batch, &engine::WriteOptions::default()).unwrap();
    };
    write(0);
    std::thread::scope(|scope| {
        for writer in 0..2u32 {
            let write = &write;
            let is_done = &is_done;
            scope.spawn(move || {
                for i in 0..600 {
                    write(i * 2 + writer);
                }
                is_done.store(true, Ordering::Relaxed);
            });
        }
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                let tags: Vec<_> = all(&db).into_iter().map(|(_, v)| v[..4].to_vec()).collect();
                assert_eq!(tags.len(), KEYS as usize);
                assert!(
                    tags.iter().all(|tag| *tag == tags[0]),
                    "a batch was seen in part: {tags:?}"
                );
                let snapshot = db.snapshot();
                let first = snapshot.get(0u32.to_be_bytes()).unwrap().unwrap();
                let last = snapshot.get((KEYS - 1).to_be_bytes()).unwrap().unwrap();
                assert_eq!(first[..4], last[..4]);
            }
        });
    });
    assert!(db.stats().flushes > 2);
}

/// R2, W4: a read meets its version of a key that is overwritten and flushed all the time, and never an older one than
/// the read before. Made to fail by a view that is taken without looking again whether it was the number's.
#[test]
fn a_key_is_never_missing_while_its_versions_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    db.put("hot", 0u32.to_be_bytes()).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 1..=60_000u32 {
                db.put("hot", i.to_be_bytes()).unwrap();
            }
            is_over.store(true, Ordering::Relaxed);
        });
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                db.flush().unwrap();
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let value = db.get("hot").unwrap().expect("it was never deleted");
                    let seen = u32::from_be_bytes(value[..].try_into().unwrap());
                    assert!(seen >= last, "{seen} after {last}");
                    last = seen;
                }
            });
        }
    });
    assert!(db.stats().flushes > 5, "{:?}", db.stats());
}

/// Deadlines: a read whose time is up says so, and has not ended by anything else.
#[test]
fn a_read_gives_up_at_its_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    fill(&db, 0, 2000, 1);
    db.flush().unwrap();
    let late = engine::ReadOptions {
        deadline: Some(std::time::Instant::now()),
        ..engine::ReadOptions::default()
    };
    let is_late = |error: engine::Error| matches!(error, engine::Error::TimedOut { .. });
    assert!(is_late(db.get_with(5u32.to_be_bytes(), &late).unwrap_err()));
    assert!(is_late(db.multi_get(&[5u32.to_be_bytes()], &late).unwrap_err()));
    let mut entries = db.iter_with(&late).unwrap();
    assert!(is_late(entries.next().unwrap().unwrap_err()));
    assert!(entries.next().is_none());
    let hour = std::time::Instant::now() + std::time::Duration::from_secs(3600);
    let early = engine::ReadOptions { deadline: Some(hour), ..late };
    assert_eq!(db.iter_with(&early).unwrap().count(), 2000);
}

/// A snapshot of another database is refused.
#[test]
fn a_snapshot_of_another_database_is_refused() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, other] = dirs.each_ref().map(|dir| open(dir.path(), &small()));
    let snapshot = other.snapshot();
    let options =
        engine::ReadOptions { snapshot: Some(&snapshot), ..engine::ReadOptions::default() };
    for refused in [one.get_with("k", &options).map(drop), one.iter_with(&options).map(drop)] {
        assert!(matches!(refused, Err(engine::Error::UnknownFamilyNumber { .. })));
    }
}

/// C13: large values that are handed out are charged while they are held, up to a ceiling; then they are copies.
#[test]
fn what_values_pin_is_charged() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        memory_budget: Some(8 << 20),
        wal_window_bytes: 256 << 10,
        compression: engine::Compression::None,
        ..small()
    };
    let db = open(dir.path(), &options);
    for i in 0..100u32 {
        db.put(i.to_be_bytes(), [i as u8; 10_000]).unwrap();
    }
    db.compact().unwrap();
    let small = db.get(3u32.to_be_bytes()).unwrap().unwrap();
    let one = db.stats().pinned_bytes;
    assert!((10_000..40_000).contains(&one), "{one}");
    drop(small);
    assert_eq!(db.stats().pinned_bytes, 0);
    let values: Vec<_> = (0..100u32).map(|i| db.get(i.to_be_bytes()).unwrap().unwrap()).collect();
    let held = db.stats().pinned_bytes;
    assert!(held > 400_000 && held <= (8 << 20) / 16, "{held}");
    let walked: Vec<_> = db.iter().unwrap().map(|entry| entry.unwrap().1).collect();
    assert!(values == walked && values.iter().enumerate().all(|(i, v)| **v == [i as u8; 10_000]));
    assert!(db.stats().pinned_bytes <= (8 << 20) / 16);
    drop((values, walked));
    assert_eq!(db.stats().pinned_bytes, 0);
}

/// A range that was deleted is not walked over again and again: its tombstones, and what they hide, go by themselves.
#[test]
fn tombstones_go_without_being_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    fill(&db, 0, 20_000, 1);
    db.flush().unwrap();
    db.wait_for_compaction().unwrap();
    for i in (0..20_000u32).filter(|i| i % 10 != 0) {
        db.delete(i.to_be_bytes()).unwrap();
    }
    db.flush().unwrap();
    db.wait_for_compaction().unwrap();
    let entries = db.verify(|fault| panic!("{fault}")).unwrap().entries;
    assert!(entries < 3000, "{entries} entries for 2000 keys");
    assert_eq!(db.iter().unwrap().count(), 2000);
}

/// What a snapshot kept in the last level goes with it, without being asked to and though nothing else is to be compacted.
#[test]
fn what_a_snapshot_kept_goes_with_it() {
    const KEYS: u32 = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    fill(&db, 0, KEYS, 1);
    db.flush().unwrap();
    db.wait_for_compaction().unwrap();
    let (older, newer) = (db.snapshot(), db.snapshot());
    for i in (0..KEYS).filter(|i| i % 10 != 0) {
        db.delete(i.to_be_bytes()).unwrap();
    }
    db.compact().unwrap();
    let entries = || db.verify(|fault| panic!("{fault}")).unwrap().entries;
    assert!(entries() > u64::from(KEYS + KEYS / 2), "{}", entries());
    drop(older);
    db.wait_for_compaction().unwrap();
    assert_eq!(newer.iter().unwrap().count(), KEYS as usize);
    let compactions = db.stats().compactions;
    drop(newer);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while db.stats().compactions == compactions {
        assert!(std::time::Instant::now() < until, "nothing is compacted: {:?}", db.stats());
        std::thread::yield_now();
    }
    db.wait_for_compaction().unwrap();
    assert_eq!((entries(), db.iter().unwrap().count()), (u64::from(KEYS / 10), KEYS as usize / 10));
    let done = db.stats().compactions;
    drop(db.snapshot());
    db.wait_for_compaction().unwrap();
    assert_eq!(db.stats().compactions, done);
}

/// R7, C7: an iterator that is left open keeps its place, and no memtable: a flush gives back all of the memory, without a
/// compaction's help.
#[test]
fn an_idle_iterator_keeps_no_memtable() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        level0_file_num_compaction_trigger: 1000,
        level0_slowdown_writes_trigger: 2000,
        level0_stop_writes_trigger: 3000,
        ..small()
    };
    let db = open(dir.path(), &options);
    fill(&db, 0, 400, 1);
    let mut iter = db.iter().unwrap();
    assert_eq!(iter.by_ref().take(10).count(), 10);
    assert!(db.stats().pinned_bytes > 0, "its cursors are kept, and charged");
    db.flush().unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while db.stats().in_flight_bytes + db.stats().pinned_bytes > 0 {
        assert!(std::time::Instant::now() < until, "memory is still held: {:?}", db.stats());
        std::thread::yield_now();
    }
    assert_eq!(iter.count(), 390);
}

/// R7, C7, C13: what closed iterators leave for the next ones is little, is charged, and keeps no memtable.
#[test]
fn closed_iterators_keep_little_and_no_memtable() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        memory_budget: Some(64 << 20),
        level0_file_num_compaction_trigger: 1000,
        level0_slowdown_writes_trigger: 2000,
        level0_stop_writes_trigger: 3000,
        ..small()
    };
    let db = open(dir.path(), &options);
    fill(&db, 0, 400, 1);
    db.flush().unwrap();
    fill(&db, 400, 800, 1);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let before = loop {
        let now = db.stats();
        if (now.memtables, now.job_bytes) == (1, 0) {
            break now;
        }
        assert!(std::time::Instant::now() < until, "a flush goes on: {now:?}");
        std::thread::yield_now();
    };
    let mut open: Vec<_> = (0..100).map(|_| db.iter().unwrap()).collect();
    for iter in &mut open {
        assert!(iter.next_entry().unwrap().is_some());
    }
    assert!(db.stats().pinned_bytes > 100 * 4096, "each is charged: {:?}", db.stats());
    drop(open);
    let after = db.stats();
    assert_eq!((after.pinned_bytes, after.snapshots), (0, 0), "{after:?}");
    let kept = |now: &engine::Stats| {
        (now.memory_bytes - now.block_cache_charged_bytes)
            - (before.memory_bytes - before.block_cache_charged_bytes)
    };
    assert!((1..=1 << 20).contains(&kept(&after)), "{} are kept", kept(&after));
    db.flush().unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while db.stats().in_flight_bytes > 0 {
        assert!(std::time::Instant::now() < until, "memory is still held: {:?}", db.stats());
        std::thread::yield_now();
    }
    assert_eq!(db.iter().unwrap().count(), 800);
}

/// Iterators that take up what others left behind see what they ask for, and not what those did.
#[test]
fn what_a_closed_iterator_leaves_fits_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    let other = db.create_family("other").unwrap();
    for round in 0..3u32 {
        fill(&db, 0, 300, round as u8);
        other.put(round.to_be_bytes(), "x").unwrap();
        let past = db.snapshot();
        db.delete(150u32.to_be_bytes()).unwrap();
        for step in 0..4u32 {
            let key = (40 * step).to_be_bytes();
            let mut iter = db.range(&key[..]..).unwrap();
            assert_eq!(iter.next_entry().unwrap().unwrap().0, key);
            drop(iter);
            assert_eq!(db.iter().unwrap().rev().count(), 299);
            assert_eq!(past.iter().unwrap().count(), 300);
            assert_eq!(db.range(..&key[..]).unwrap().count() as u32, 40 * step);
            assert_eq!(other.iter().unwrap().count() as u32, round + 1);
            let mut one = db.range(&key[..]..=&key[..]).unwrap();
            assert_eq!(one.next_entry_back().unwrap().unwrap().0, key);
            if step == 1 {
                db.flush().unwrap();
            }
        }
        db.compact().unwrap();
    }
}

/// A block beyond the bounds of an iterator is not read, whichever way it goes and whoever used its cursors before; nor is
/// a table.
#[test]
fn what_lies_beyond_the_bounds_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        compression: engine::Compression::None,
        block_size: 8 << 10,
        target_file_size_base: 64 << 10,
        write_buffer_size: 1 << 20,
        ..small()
    };
    let db = open(dir.path(), &options);
    for i in 0..40u32 {
        db.put((i * 1000).to_be_bytes(), [i as u8; 9000]).unwrap();
    }
    db.compact().unwrap();
    assert!(db.stats().levels.iter().any(|level| level.tables > 3), "{:?}", db.stats().levels);
    let read = || {
        let stats = db.stats();
        stats.block_cache_hits + stats.block_cache_misses
    };
    // From here on the tables keep their partitions, and a look into the cache is one for a data block.
    let all = db.iter().unwrap().count();
    let mut most = 0;
    for i in 1..39u32 {
        // What leads to a block does not say its first key, but something between that and the last one before it.
        let (this, next) = ((i * 1000).to_be_bytes(), (i * 1000 + 1).to_be_bytes());
        for is_back in [false, true] {
            let before = read();
            let mut one = db.range(&this[..]..&next[..]).unwrap();
            let step = if is_back { engine::Iter::next_back } else { engine::Iter::next };
            assert_eq!(step(&mut one).unwrap().unwrap().1, [i as u8; 9000][..]);
            assert!(step(&mut one).is_none());
            most = most.max(read() - before);
        }
        assert_eq!(db.range(&this[..]..).unwrap().count(), all - i as usize);
        assert_eq!(db.range(..&this[..]).unwrap().rev().count(), i as usize);
    }
    assert_eq!(most, 1, "blocks for one entry in a block of its own");
}

/// An iterator between whose bounds no table has anything meets writes beyond them that it does not see, so many that it
/// seeks past them: that leads to no table before its bounds.
#[test]
fn a_seek_past_what_lies_beyond_the_bounds_leads_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let compression = engine::Compression::None;
    let options = Options { target_file_size_base: 64 << 10, compression, ..small() };
    let db = open(dir.path(), &options);
    for n in 0..40u32 {
        db.put((n * 10).to_be_bytes(), vec![n as u8; 30_000]).unwrap();
        // However the tables go down, merged or moved, they hold few entries each.
        if n % 2 == 1 {
            db.flush().unwrap();
        }
    }
    db.compact().unwrap();
    assert!(db.stats().levels.iter().any(|level| level.tables > 5), "{:?}", db.stats().levels);
    let past = db.snapshot();
    for n in 0..400u32 {
        db.put(n.to_be_bytes(), "new").unwrap();
    }
    let number = |entry: Result<(engine::Bytes, engine::Bytes), engine::Error>| {
        u32::from_be_bytes(entry.unwrap().0[..].try_into().unwrap())
    };
    for n in 1..39u32 {
        for (from, to) in [(n * 10 + 1, n * 10 + 5), (n * 10, n * 10 + 5), (1, n * 10)] {
            let expected: Vec<u32> = (from..to).filter(|key| key % 10 == 0).collect();
            let range = || past.range(&from.to_be_bytes()[..]..&to.to_be_bytes()[..]).unwrap();
            let found: Vec<u32> = range().map(number).collect();
            assert_eq!(found, expected, "{from} to {to}");
            let mut found: Vec<u32> = range().rev().map(number).collect();
            found.reverse();
            assert_eq!(found, expected, "{from} to {to}, backwards");
        }
    }
}
