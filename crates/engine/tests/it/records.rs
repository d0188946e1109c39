//! Records in the cache, in place of their blocks: `Options::cache_records`.

use crate::support::{Random, open, small};
use engine::{Compression, Db, Options, ReadOptions};
use std::collections::HashMap;

const KEYS: u32 = 20_000;

fn key(number: u32) -> [u8; 16] {
    let mut key = *b"....of a record.";
    key[..4].copy_from_slice(&number.to_be_bytes());
    key
}

fn value(number: u32, round: u8) -> Vec<u8> {
    // One in a hundred is too large to be a record.
    vec![number as u8 ^ round; if number.is_multiple_of(100) { 3000 } else { 120 }]
}

/// A tenth of the data has room.
fn options() -> Options {
    Options { compression: Compression::None, block_cache_bytes: Some(300 << 10), ..small() }
}

fn fill(db: &Db, round: u8) {
    for number in 0..KEYS {
        db.put(key(number), value(number, round)).unwrap();
    }
    db.flush().unwrap();
}

/// Reads single keys, few of them often.
fn read(db: &Db, expected: impl Fn(u32) -> Option<Vec<u8>>, reads: u32) {
    let mut random = Random::new(5);
    for _ in 0..reads {
        let often = random.below(10) > 0;
        let number = random.below(if often { 800 } else { u64::from(KEYS) }) as u32;
        let number = if often { number * 25 } else { number };
        assert_eq!(db.get(key(number)).unwrap().map(|v| v.to_vec()), expected(number), "{number}");
    }
    let stats = db.stats();
    assert!(stats.block_cache_bytes <= stats.block_cache_charged_bytes, "{stats:?}");
    assert!(stats.block_cache_charged_bytes <= 300 << 10, "{stats:?}");
}

/// C13: keys that are asked for often and lie in different blocks are found without them, and within the same memory.
#[test]
fn keys_that_are_asked_for_often_are_kept_without_their_blocks() {
    let lookups = |cache_records| {
        let dir = tempfile::tempdir().unwrap();
        let db = open(dir.path(), &Options { cache_records, ..options() });
        fill(&db, 0);
        db.compact().unwrap();
        read(&db, |number| Some(value(number, 0)), 60_000);
        let stats = db.stats();
        (stats.cached_record_hits, stats.cached_record_bytes, stats.block_cache_misses)
    };
    let (hits, bytes, misses) = lookups(true);
    assert!(hits > 30_000 && bytes > 64 << 10, "{hits} hits, {bytes} bytes");
    let (no_hits, no_bytes, more_misses) = lookups(false);
    assert_eq!((no_hits, no_bytes), (0, 0));
    assert!(more_misses > 2 * misses, "{misses} misses, {more_misses} without records");
}

/// C2: a record is of the newest version of its table, and is shown to nobody who must see an older one.
#[test]
fn a_snapshot_sees_its_own_version_whoever_read_first() {
    let dir = tempfile::tempdir().unwrap();
    let db =
        open(dir.path(), &Options { write_buffer_size: 16 << 20, write_budget: None, ..options() });
    for number in 0..KEYS {
        db.put(key(number), value(number, 0)).unwrap();
    }
    let snapshot = db.snapshot();
    for number in 0..KEYS {
        match number % 3 {
            0 => db.delete(key(number)).unwrap(),
            _ => db.put(key(number), value(number, 1)).unwrap(),
        }
    }
    // One table holds both versions of each key.
    db.flush().unwrap();
    assert_eq!(db.stats().levels.iter().map(|level| level.tables).sum::<u64>(), 1);
    let now = |number: u32| (!number.is_multiple_of(3)).then(|| value(number, 1));
    let at = ReadOptions { snapshot: Some(&snapshot), ..ReadOptions::default() };
    let mut random = Random::new(9);
    for _ in 0..60_000 {
        let number = random.below(600) as u32 * 33;
        let then = db.get_with(key(number), &at).unwrap();
        assert_eq!(then.as_deref(), Some(&value(number, 0)[..]), "{number}, then");
        let number = random.below(600) as u32 * 33;
        let found = db.get(key(number)).unwrap();
        assert_eq!(found.map(|v| v.to_vec()), now(number), "{number}, now");
    }
    assert!(db.stats().cached_record_hits > 5_000, "{:?}", db.stats());
}

/// C2: what is overwritten, deleted and moved to other tables is not found in the cache any more.
#[test]
fn records_do_not_outlive_what_they_are_of() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &options());
    let mut model = HashMap::new();
    for round in 0..4 {
        for number in (0..KEYS).filter(|number| round == 0 || number % 4 == u32::from(round)) {
            db.put(key(number), value(number, round)).unwrap();
            model.insert(number, value(number, round));
        }
        for number in (0..KEYS).step_by(50 + usize::from(round)) {
            db.delete(key(number)).unwrap();
            model.remove(&number);
        }
        read(&db, |number| model.get(&number).cloned(), 20_000);
        db.flush().unwrap();
        read(&db, |number| model.get(&number).cloned(), 20_000);
        db.compact().unwrap();
        read(&db, |number| model.get(&number).cloned(), 20_000);
        let keys: Vec<_> = (0..KEYS).step_by(25).map(key).collect();
        for _ in 0..3 {
            let found = db.multi_get(&keys, &ReadOptions::default()).unwrap();
            let expected = (0..KEYS).step_by(25).map(|number| model.get(&number).cloned());
            assert!(found.into_iter().map(|v| v.map(|v| v.to_vec())).eq(expected));
        }
    }
    assert!(db.stats().cached_record_hits > 30_000, "{:?}", db.stats());
}

/// Many reads of keys that lie side by side are served by their block, which is read once or twice and not for each.
#[test]
fn neighbours_are_served_by_their_block() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &options());
    fill(&db, 0);
    db.compact().unwrap();
    read(&db, |number| Some(value(number, 0)), 20_000);
    let before = db.stats().block_cache_misses;
    for number in 0..KEYS {
        assert_eq!(db.get(key(number)).unwrap().as_deref(), Some(&value(number, 0)[..]));
    }
    let misses = db.stats().block_cache_misses - before;
    assert!(misses < 1500, "{misses} misses for some 200 blocks and as many large values");
}

/// Without filters a block is all that tells that a key is not there, and no record can: it is kept.
#[test]
fn what_is_not_there_is_told_by_its_block_where_there_is_no_filter() {
    let dir = tempfile::tempdir().unwrap();
    let db =
        open(dir.path(), &Options { filter_bits_per_key: 0, block_size: 1 << 10, ..options() });
    fill(&db, 0);
    db.compact().unwrap();
    // Scans fill the cache.
    (0..3).for_each(|_| assert_eq!(db.iter().unwrap().count() as u32, KEYS));
    let before = db.stats().block_cache_misses;
    let mut random = Random::new(3);
    for turn in 0..3000 {
        // Some a hundred and twenty blocks.
        let key = [&key(5000 + random.below(800) as u32)[..], b"!"].concat();
        if turn % 2 == 0 {
            assert_eq!(db.get(&key).unwrap(), None);
        } else {
            assert_eq!(db.multi_get(&[&key], &ReadOptions::default()).unwrap(), [None]);
        }
    }
    let misses = db.stats().block_cache_misses - before;
    assert!(misses < 300, "{misses} misses for some a hundred and twenty blocks");
}
