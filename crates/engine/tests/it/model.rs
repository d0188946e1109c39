//! Random histories against a plain map, through flushes, compactions and restarts.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::support::{Random, all, open, small};
use engine::{Compression, Db, Iter, Options, ReadOptions, Snapshot, WriteBatch, WriteOptions};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

fn key(random: &mut Random) -> Vec<u8> {
    // Few keys, many of them prefixes of others or equal in their first bytes.
    let stem: &[u8] = [&b""[..], b"k", b"key", b"keykeykeykey"][random.below(4) as usize];
    let mut key = stem.to_vec();
    key.extend((0..random.below(3)).map(|_| random.below(6) as u8));
    key
}

fn value(random: &mut Random) -> Vec<u8> {
    let len = match random.below(20) {
        0 => 0,
        1 => 9000,
        n => n * 12,
    };
    vec![random.next() as u8; len as usize]
}

type Entry = (Vec<u8>, Vec<u8>);

fn owned(entry: Option<(&[u8], &[u8])>) -> Option<Entry> {
    entry.map(|(k, v)| (k.to_vec(), v.to_vec()))
}

/// Walks an iterator from both ends at random, with handles and without.
fn walk(iter: &mut Iter, random: &mut Random) -> Vec<Entry> {
    let (mut front, mut back) = (Vec::new(), Vec::new());
    let handles = |entry: Option<Result<(engine::Bytes, engine::Bytes), engine::Error>>| {
        entry.map(|entry| entry.map(|(k, v)| (k.to_vec(), v.to_vec())).unwrap())
    };
    let mut way = random.below(4);
    loop {
        if random.below(10) == 0 {
            way = random.below(4);
        }
        let (entry, end) = match way {
            0 => (handles(iter.next()), &mut front),
            1 => (owned(iter.next_entry().unwrap()), &mut front),
            2 => (handles(iter.next_back()), &mut back),
            _ => (owned(iter.next_entry_back().unwrap()), &mut back),
        };
        match entry {
            Some(entry) => end.push(entry),
            None => break,
        }
    }
    front.extend(back.into_iter().rev());
    front
}

/// C13, R7: reads with any options agree with the map, however the database is laid out.
fn check_reads(db: &Db, snapshot: Option<&Snapshot>, map: &Map, random: &mut Random) {
    let bound = |random: &mut Random| match random.below(3) {
        0 => Bound::Unbounded,
        1 => Bound::Included(key(random)),
        _ => Bound::Excluded(key(random)),
    };
    let (lower, upper) = (bound(random), bound(random));
    let prefix = (random.below(3) == 0).then(|| key(random));
    let options = ReadOptions {
        snapshot,
        lower: lower.as_ref().map(Vec::as_slice),
        upper: upper.as_ref().map(Vec::as_slice),
        prefix: prefix.as_deref(),
        fill_cache: random.below(2) == 0,
        verify_checksums: random.below(4) > 0,
        readahead_bytes: [0, 4096, 256 << 10][random.below(3) as usize],
        ..ReadOptions::default()
    };
    let keys: Vec<_> = (0..random.below(40)).map(|_| key(random)).collect();
    let expected: Vec<_> = keys.iter().map(|key| map.get(key).cloned()).collect();
    let found = db.multi_get(&keys, &options).unwrap();
    let found: Vec<_> = found.into_iter().map(|value| value.map(|value| value.to_vec())).collect();
    assert!(found == expected, "multi_get of {keys:?}");
    for key in &keys {
        let found = db.get_map(key, &options, <[u8]>::to_vec).unwrap();
        assert_eq!(found.as_ref(), map.get(key));
    }
    let is_in = |key: &Vec<u8>| {
        prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix))
            && std::ops::RangeBounds::<Vec<u8>>::contains(&(lower.clone(), upper.clone()), key)
    };
    let expected: Vec<Entry> =
        map.iter().filter(|(k, _)| is_in(k)).map(|(k, v)| (k.clone(), v.clone())).collect();
    let found = walk(&mut db.iter_with(&options).unwrap(), random);
    assert!(found == expected, "{options:?}");
}

fn check_snapshot(snapshot: &Snapshot, map: &Map, random: &mut Random) {
    let probe = key(random);
    assert_eq!(snapshot.get(&probe).unwrap().map(|v| v.to_vec()), map.get(&probe).cloned());
    let bound = |random: &mut Random| match random.below(3) {
        0 => Bound::Unbounded,
        1 => Bound::Included(key(random)),
        _ => Bound::Excluded(key(random)),
    };
    let (lower, upper) = (bound(random), bound(random));
    let expected: Vec<_> = map
        .iter()
        .filter(|(k, _)| {
            std::ops::RangeBounds::<Vec<u8>>::contains(&(lower.clone(), upper.clone()), *k)
        })
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let owned = |entry: Result<(engine::Bytes, engine::Bytes), engine::Error>| {
        let (k, v) = entry.unwrap();
        (k.to_vec(), v.to_vec())
    };
    let range = (lower, upper);
    let forward: Vec<_> = snapshot.range(range.clone()).unwrap().map(owned).collect();
    assert!(forward == expected, "forward over {range:?}");
    let mut backward: Vec<_> = snapshot.range(range.clone()).unwrap().rev().map(owned).collect();
    backward.reverse();
    assert!(backward == expected, "backward over {range:?}");
}

fn play(seed: u64, steps: u32) {
    let mut random = Random::new(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut options =
        Options { write_buffer_size: 64 << 10, write_budget: Some(256 << 10), ..small() };
    if seed % 2 == 1 {
        options = Options { allow_mmap_reads: true, compression: Compression::None, ..options };
    }
    let mut db = open(dir.path(), &options);
    let mut map = Map::new();
    let mut snapshots: Vec<(Snapshot, Map)> = Vec::new();
    for step in 0..steps {
        match random.below(100) {
            0 => db.flush().unwrap(),
            1 => db.compact().unwrap(),
            2 => {
                snapshots.clear();
                drop(db);
                db = open(dir.path(), &options);
                assert!(all(&db).into_iter().eq(map.clone()), "step {step}: after a restart");
            }
            3..6 => snapshots.push((db.snapshot(), map.clone())),
            6..8 if !snapshots.is_empty() => {
                let at = random.below(snapshots.len() as u64) as usize;
                snapshots.swap_remove(at);
            }
            8..20 => {
                if snapshots.is_empty() {
                    snapshots.push((db.snapshot(), map.clone()));
                }
                let at = random.below(snapshots.len() as u64) as usize;
                let (snapshot, map) = &snapshots[at];
                check_snapshot(snapshot, map, &mut random);
                check_reads(&db, Some(snapshot), map, &mut random);
            }
            20..25 => check_reads(&db, None, &map, &mut random),
            _ => {
                let mut batch = WriteBatch::new();
                for _ in 0..1 + random.below(8) {
                    let key = key(&mut random);
                    if random.below(4) == 0 {
                        batch.delete(&key);
                        map.remove(&key);
                    } else {
                        let value = value(&mut random);
                        batch.put(&key, &value);
                        map.insert(key, value);
                    }
                }
                let options =
                    WriteOptions { sync: random.below(50) == 0, ..WriteOptions::default() };
                db.write(&batch, &options).unwrap();
            }
        }
    }
    assert!(all(&db).into_iter().eq(map), "at the end");
    assert_eq!(db.verify(|fault| panic!("{fault}")).unwrap().faults, 0);
}

/// K, R2, W1, W4. `POLDER_MODEL_SEED` replays one history.
#[test]
fn random_histories_agree_with_a_map() {
    if let Ok(seed) = std::env::var("POLDER_MODEL_SEED") {
        return play(seed.parse().expect("a number"), 3000);
    }
    for seed in 0..8 {
        println!("replay with POLDER_MODEL_SEED={seed}");
        play(seed, 3000);
    }
}
