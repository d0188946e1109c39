//! Iterators and snapshots that pass from thread to thread while everything beneath them is written anew.

use crate::support::{Random, open, small};
use engine::{Compression, Db, Iter, Options, ReadOptions, Snapshot, WriteBatch, WriteOptions};
use std::ops::Bound;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

const KEYS: u32 = 300;

/// Whether key `key` is there in round `tag`.
fn is_there(key: u32, tag: u32) -> bool {
    !(key + tag).is_multiple_of(3)
}

fn value(key: u32, tag: u32) -> Vec<u8> {
    let len = if key.is_multiple_of(16) { 5000 } else { 40 };
    [&tag.to_be_bytes()[..], &vec![key as u8; len]].concat()
}

/// Writes round `tag`, all of it at once.
fn write(db: &Db, tag: u32) {
    let mut batch = WriteBatch::new();
    for key in 0..KEYS {
        match is_there(key, tag) {
            true => batch.put(key.to_be_bytes(), value(key, tag)),
            false => batch.delete(key.to_be_bytes()),
        };
    }
    db.write(&batch, &WriteOptions::default()).unwrap();
}

/// An iterator on its way, and what it has shown so far.
struct Passed {
    iter: Iter,
    keys: std::ops::Range<u32>,
    tag: Option<u32>,
}

impl Passed {
    fn new(db: &Db, random: &mut Random) -> Self {
        let from = random.below(KEYS.into()) as u32;
        let to = from + random.below(u64::from(KEYS - from) + 1) as u32;
        let (lower, upper) = (from.to_be_bytes(), to.to_be_bytes());
        let options = ReadOptions {
            lower: Bound::Included(&lower),
            upper: Bound::Excluded(&upper),
            fill_cache: random.below(2) == 0,
            verify_checksums: random.below(4) > 0,
            ..ReadOptions::default()
        };
        Self { iter: db.iter_with(&options).unwrap(), keys: from..to, tag: None }
    }

    /// Takes some entries from either end; whether any is left.
    fn go_on(&mut self, random: &mut Random) -> bool {
        for _ in 0..random.below(60) {
            let is_back = random.below(3) == 0;
            let entry = if is_back { self.iter.next_back() } else { self.iter.next() };
            let entry = entry.map(|entry| entry.unwrap());
            let Some((key, found)) = entry else {
                let mut rest = self.keys.clone();
                assert!(self.tag.is_none_or(|tag| rest.all(|key| !is_there(key, tag))));
                return false;
            };
            let key = u32::from_be_bytes(key[..].try_into().unwrap());
            let tag = u32::from_be_bytes(found[..4].try_into().unwrap());
            assert_eq!(*self.tag.get_or_insert(tag), tag, "key {key}");
            assert!(found == value(key, tag));
            let skipped = if is_back { key + 1..self.keys.end } else { self.keys.start..key };
            assert!(self.keys.contains(&key) && skipped.clone().all(|k| !is_there(k, tag)));
            self.keys = if is_back { self.keys.start..key } else { key + 1..self.keys.end };
        }
        true
    }
}

/// A snapshot shows one round, however it is asked.
fn check(db: &Db, snapshot: &Snapshot, tag: u32, random: &mut Random) {
    let keys: Vec<_> = (0..20).map(|_| random.below(KEYS.into()) as u32).collect();
    let options = ReadOptions { snapshot: Some(snapshot), ..ReadOptions::default() };
    let names: Vec<_> = keys.iter().map(|key| key.to_be_bytes()).collect();
    let found = db.multi_get(&names, &options).unwrap();
    for (&key, found) in keys.iter().zip(found) {
        let expected = is_there(key, tag).then(|| value(key, tag));
        assert!(found.as_deref() == expected.as_deref(), "key {key} in round {tag}");
        assert!(snapshot.get(key.to_be_bytes()).unwrap().as_deref() == expected.as_deref());
    }
}

fn pass(options: &Options, rounds: u32) {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), options);
    write(&db, 0);
    let is_over = AtomicBool::new(false);
    let passed: Mutex<Vec<Passed>> = Mutex::default();
    let snapshots: Mutex<Vec<(Snapshot, u32)>> = Mutex::default();
    std::thread::scope(|scope| {
        let (db, is_over, passed, snapshots) = (&db, &is_over, &passed, &snapshots);
        scope.spawn(move || {
            for tag in 1..rounds {
                write(db, tag);
                if tag % 16 == 0 {
                    let mut held = snapshots.lock().unwrap();
                    held.push((db.snapshot(), tag));
                    if held.len() > 4 {
                        held.swap_remove(tag as usize / 16 % 4);
                    }
                }
            }
            is_over.store(true, Ordering::Relaxed);
        });
        scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                db.flush().unwrap();
                db.compact().unwrap();
                assert_eq!(db.verify(|fault| panic!("{fault}")).unwrap().faults, 0);
            }
        });
        for seed in 0..3 {
            scope.spawn(move || {
                let mut random = Random::new(seed);
                while !is_over.load(Ordering::Relaxed) {
                    let next = passed.lock().unwrap().pop();
                    let mut next = next.unwrap_or_else(|| Passed::new(db, &mut random));
                    if next.go_on(&mut random) {
                        let mut passed = passed.lock().unwrap();
                        let at = random.below(passed.len() as u64 + 1) as usize;
                        passed.insert(at, next);
                        if passed.len() < 8 {
                            passed.push(Passed::new(db, &mut random));
                        }
                    }
                    let held = snapshots.lock().unwrap();
                    if let Some((snapshot, tag)) = held.get(random.below(5) as usize) {
                        check(db, snapshot, *tag, &mut random);
                    }
                }
            });
        }
    });
    passed.lock().unwrap().clear();
    snapshots.lock().unwrap().clear();
    let stats = db.stats();
    assert_eq!((stats.snapshots, stats.pinned_bytes), (0, 0), "{stats:?}");
    assert!(stats.block_cache_bytes <= stats.block_cache_charged_bytes, "{stats:?}");
    db.wait_for_compaction().unwrap();
}

/// R2, R7, C13: whoever goes on with an iterator, and whatever was flushed, compacted or closed since, it shows one round.
#[test]
fn iterators_pass_from_thread_to_thread() {
    let rounds = 400;
    let base = Options { wal_window_bytes: 16 << 10, ..small() };
    pass(&Options { max_open_tables: 2, ..base.clone() }, rounds);
    let mapped = Options { allow_mmap_reads: true, compression: Compression::None, ..base.clone() };
    pass(&mapped, rounds);
    let tight = Options {
        memory_budget: Some(20 << 10),
        write_budget: None,
        block_cache_bytes: None,
        ..base.clone()
    };
    pass(&tight, rounds);
    pass(&Options { memory_budget: None, block_cache_bytes: Some(0), ..base }, rounds);
}
