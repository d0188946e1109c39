//! Caches with room for little, iterators that stay open and pass their parts on, and snapshots, against a plain map.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::support::{Random, open, small};
use engine::{Bytes, Compression, Db, Error, Iter, Options, ReadOptions, Snapshot};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;
type Entry = (Vec<u8>, Vec<u8>);

const KEYS: u64 = 3000;

fn key(number: u64) -> Vec<u8> {
    // Shared beginnings, keys that are beginnings of others, some long, one empty.
    match number {
        0 => Vec::new(),
        n if n % 97 == 0 => [&[b'l'; 300][..], &n.to_be_bytes()].concat(),
        n if n % 7 == 0 => {
            [b"key/key/", &n.to_be_bytes()[5..], &[0; 8][..(n % 9) as usize]].concat()
        }
        n => [b"key/key/", &n.to_be_bytes()[5..]].concat(),
    }
}

fn value(random: &mut Random) -> Vec<u8> {
    let len = match random.below(40) {
        0 => 0,
        1 => 2100,
        2 => 5000,
        3 => 1900,
        n => n * 7,
    };
    let byte = random.next() as u8;
    (0..len).map(|at| byte.wrapping_add(at as u8)).collect()
}

/// An open iterator and what is left for it.
struct Open<'a> {
    iter: Iter,
    left: std::collections::VecDeque<(&'a Vec<u8>, &'a Vec<u8>)>,
    what: String,
}

fn handles(entry: Option<Result<(Bytes, Bytes), Error>>) -> Option<Entry> {
    entry.map(|entry| entry.map(|(k, v)| (k.to_vec(), v.to_vec())).unwrap())
}

fn lent(entry: Option<(&[u8], &[u8])>) -> Option<Entry> {
    entry.map(|(k, v)| (k.to_vec(), v.to_vec()))
}

impl<'a> Open<'a> {
    fn new(db: &Db, snapshot: &Snapshot, map: &'a Map, random: &mut Random) -> Self {
        let number = |random: &mut Random| random.below(KEYS);
        let bound = |random: &mut Random| match random.below(3) {
            0 => Bound::Unbounded,
            1 => Bound::Included(key(number(random))),
            _ => Bound::Excluded(key(number(random))),
        };
        let lower = bound(random);
        let upper = match (random.below(3), &lower) {
            (0, Bound::Included(k) | Bound::Excluded(k)) => {
                let mut k = k.clone();
                if let Some(last) = k.last_mut() {
                    *last = last.saturating_add(9);
                }
                Bound::Excluded(k)
            }
            _ => bound(random),
        };
        let prefix = match random.below(4) {
            0 => Some(key(number(random))),
            1 => {
                let mut key = key(number(random));
                key.truncate(10);
                Some(key)
            }
            _ => None,
        };
        let options = ReadOptions {
            snapshot: Some(snapshot),
            lower: lower.as_ref().map(Vec::as_slice),
            upper: upper.as_ref().map(Vec::as_slice),
            prefix: prefix.as_deref(),
            fill_cache: random.below(3) > 0,
            verify_checksums: random.below(4) > 0,
            readahead_bytes: [0, 4096, 256 << 10][random.below(3) as usize],
            ..ReadOptions::default()
        };
        let is_in = |key: &Vec<u8>| {
            prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix))
                && std::ops::RangeBounds::<Vec<u8>>::contains(&(lower.clone(), upper.clone()), key)
        };
        let left = map.iter().filter(|(key, _)| is_in(key)).collect();
        let what = format!("{options:?}");
        Self { iter: db.iter_with(&options).unwrap(), left, what }
    }

    fn go_on(&mut self, random: &mut Random) -> bool {
        let mut way = random.below(4);
        for _ in 0..random.below(200) + 1 {
            if random.below(20) == 0 {
                way = random.below(4);
            }
            let (found, expected) = match way {
                0 => (handles(self.iter.next()), self.left.pop_front()),
                1 => (lent(self.iter.next_entry().unwrap()), self.left.pop_front()),
                2 => (handles(self.iter.next_back()), self.left.pop_back()),
                _ => (lent(self.iter.next_entry_back().unwrap()), self.left.pop_back()),
            };
            let expected = expected.map(|(k, v)| (k.clone(), v.clone()));
            assert!(
                found == expected,
                "{}: {:?} for {:?}",
                self.what,
                found.map(|e| e.0),
                expected.map(|e| e.0)
            );
            if found.is_none() {
                return false;
            }
        }
        true
    }
}

fn points(db: &Db, snapshot: Option<&Snapshot>, map: &Map, random: &mut Random) {
    let options = ReadOptions {
        snapshot,
        fill_cache: random.below(8) > 0,
        verify_checksums: random.below(8) > 0,
        ..ReadOptions::default()
    };
    let spread = [KEYS, 60, 10][random.below(3) as usize];
    let base = random.below(KEYS);
    let mut keys: Vec<_> =
        (0..random.below(60)).map(|_| key((base + random.below(spread)) % KEYS)).collect();
    keys.push([&keys.first().cloned().unwrap_or_default()[..], b"!"].concat());
    if random.below(2) == 0 {
        let found = db.multi_get(&keys, &options).unwrap();
        for (key, found) in keys.iter().zip(found) {
            assert!(found.as_deref() == map.get(key).map(Vec::as_slice), "{key:?} {options:?}");
        }
    }
    for key in &keys {
        let found = db.get_with(key, &options).unwrap();
        assert!(found.as_deref() == map.get(key).map(Vec::as_slice), "{key:?} {options:?}");
    }
}

fn play(seed: u64, steps: u32) {
    let mut random = Random::new(seed);
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        write_buffer_size: 64 << 10,
        write_budget: Some(256 << 10),
        block_size: [512, 1024, 4096][random.below(3) as usize],
        block_cache_bytes: Some(
            [0, 30 << 10, 70 << 10, 200 << 10, 600 << 10][random.below(5) as usize],
        ),
        filter_bits_per_key: [0, 10, 10][random.below(3) as usize],
        compression: [Compression::None, Compression::Lz4][random.below(2) as usize],
        allow_mmap_reads: random.below(5) == 0,
        max_open_tables: [16, 100, 1000][random.below(3) as usize],
        level0_file_num_compaction_trigger: [2, 8][random.below(2) as usize],
        target_file_size_base: 64 << 10,
        ..small()
    };
    let ceiling = options.block_cache_bytes.unwrap();
    let db = open(dir.path(), &options);
    let mut map = Map::new();
    let mut snapshots: Vec<(Snapshot, Map)> = Vec::new();
    for round in 0..steps {
        // Now and then many keys side by side, which snapshots do not see.
        let (from, keys) = match random.below(3) {
            0 => (random.below(KEYS - 200), 200),
            _ => (0, KEYS),
        };
        for _ in 0..300 + random.below(900) {
            let key = key(from + random.below(keys));
            if random.below(5) == 0 {
                db.delete(&key).unwrap();
                map.remove(&key);
            } else {
                let value = value(&mut random);
                db.put(&key, &value).unwrap();
                map.insert(key, value);
            }
        }
        if snapshots.len() > 4 {
            snapshots.remove(random.below(4) as usize);
        }
        snapshots.push((db.snapshot(), map.clone()));
        let mut open: Vec<Open> = Vec::new();
        for _ in 0..120 {
            match random.below(100) {
                0 => db.flush().unwrap(),
                1 if round % 3 == 0 => db.compact().unwrap(),
                2..30 => points(&db, None, &map, &mut random),
                30..55 => {
                    let (snapshot, map) = &snapshots[random.below(snapshots.len() as u64) as usize];
                    points(&db, Some(snapshot), map, &mut random);
                }
                55..70 => {
                    let (snapshot, map) = &snapshots[random.below(snapshots.len() as u64) as usize];
                    open.push(Open::new(&db, snapshot, map, &mut random));
                }
                70..75 if !open.is_empty() => {
                    open.swap_remove(random.below(open.len() as u64) as usize);
                }
                _ if !open.is_empty() => {
                    let at = random.below(open.len() as u64) as usize;
                    if !open[at].go_on(&mut random) && random.below(2) == 0 {
                        open.swap_remove(at);
                    }
                }
                _ => {}
            }
        }
        let stats = db.stats();
        assert!(stats.block_cache_bytes <= stats.block_cache_charged_bytes, "{stats:?}");
        assert!(stats.block_cache_charged_bytes <= ceiling, "{stats:?}");
    }
    assert_eq!(db.verify(|fault| panic!("{fault}")).unwrap().faults, 0);
}

/// C13, R7. `POLDER_KEEPING_SEED` replays one history.
#[test]
fn whatever_is_kept_agrees_with_a_map() {
    if let Ok(seed) = std::env::var("POLDER_KEEPING_SEED") {
        return play(seed.parse().expect("a number"), 12);
    }
    for seed in 0..5 {
        println!("replay with POLDER_KEEPING_SEED={seed}");
        play(seed, 12);
    }
}
