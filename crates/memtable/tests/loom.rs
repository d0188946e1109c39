//! Models of the memtable's concurrency, over its production code: every interleaving, and every value that the memory
//! model lets a load return, without a bound on preemptions.
//!
//! Run by `RUSTFLAGS="--cfg loom" cargo test -p polder-memtable --release --test loom`.
//!
//! Under loom the links are loom's atomics, laid out in the arena's mapped memory as in production, and each node has
//! a witness cell that is written with its plain bytes and read when the node is reached, so that loom sees a node
//! that is used before it is published. What loom does not see: the plain bytes themselves, and the mapping.
//!
//! The readers are in spawned threads and the writer in the one that loom runs first. Loom 0.7 remembers only the last
//! access to an atomic, and a writer's own load hides a reader's earlier one from its compare-and-swap: the other way
//! round it explores a single interleaving.
//!
//! Shown able to fail, by these changes to `List`: the compare-and-swap `Relaxed` instead of `Release`, or the load
//! `Relaxed` instead of `Acquire` (every model fails); a plain store in place of the compare-and-swap, going on after a
//! failed one as if it had succeeded, or trying again without a new search (every model with two writers); linking a
//! tower from its top down (all but the reader going forward).
#![cfg(loom)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base::{Cursor, InternalKeyRef, SeqNo, ValueKind};
use credit::Pool;
use loom::thread;
use memtable::{Chunk, Memtable, Reserved, Space};

fn model(run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 20_000;
    let explored = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&explored);
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        run();
    });
    let explored = explored.load(Ordering::Relaxed);
    println!("{explored} interleavings");
    assert!(explored > 1, "the model explores nothing");
}

/// A seed whose first tower has `height` levels: seen by the bytes that its space asks for.
fn seed_of_height(height: usize) -> u64 {
    let bytes = |seed| {
        let mut space = Space::with_seed(seed);
        space.add(0, 0);
        space.bytes()
    };
    let mut sizes: Vec<usize> = (0..200).map(bytes).collect();
    sizes.sort_unstable();
    sizes.dedup();
    (0..200)
        .find(|&seed| bytes(seed) == sizes[height - 1])
        .expect("each height is drawn in 200 seeds")
}

fn room(table: &Memtable, pool: &Pool, height: usize) -> Reserved {
    let mut space = Space::with_seed(seed_of_height(height));
    space.add(1, 1);
    if let Some(bytes) = table.chunk_bytes_for(&space) {
        table.add_chunk(Chunk::map(pool.try_acquire(bytes as u64).unwrap()).unwrap());
    }
    table.reserve(&space).unwrap()
}

fn put(table: &Memtable, mut reserved: Reserved, user_key: &[u8], seq: u64) {
    let key = InternalKeyRef::new(user_key, SeqNo::new(seq), ValueKind::Put);
    table.insert(&mut reserved, key, user_key);
}

/// What a walk meets, forward or back, in the order of the table.
fn walk(table: &Memtable, back: bool) -> Vec<(Vec<u8>, u64)> {
    let mut cursor = table.cursor();
    let mut met = Vec::new();
    if back { cursor.seek_to_last() } else { cursor.seek_to_first() }.unwrap();
    while cursor.is_valid() {
        assert_eq!(cursor.key().user_key, cursor.value());
        met.push((cursor.key().user_key.to_vec(), cursor.key().seq.get()));
        if back { cursor.prev() } else { cursor.next() }.unwrap();
    }
    if back {
        met.reverse();
    }
    met
}

fn keys(of: &[(&str, u64)]) -> Vec<(Vec<u8>, u64)> {
    of.iter().map(|(key, seq)| (key.as_bytes().to_vec(), *seq)).collect()
}

fn two_writers(left: usize, right: usize) {
    model(move || {
        let (table, pool) = (Arc::new(Memtable::new(0)), Pool::new(None));
        let (a, b) = (room(&table, &pool, left), room(&table, &pool, right));
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || put(&table, a, b"a", 1))
        };
        put(&table, b, b"b", 2);
        // Its own write is there, whatever the other does.
        assert!(table.get(b"b", SeqNo::new(2)).is_some());
        other.join().unwrap();
        for back in [false, true] {
            assert_eq!(walk(&table, back), keys(&[("a", 1), ("b", 2)]));
        }
        // By the upper levels as well.
        for key in [&b"a"[..], b"b"] {
            assert!(table.get(key, SeqNo::MAX).is_some());
        }
        drop(table);
        assert_eq!(pool.held_bytes(), 0);
    });
}

#[test]
fn two_writers_in_one_gap() {
    two_writers(1, 1);
    two_writers(2, 2);
}

#[test]
fn two_writers_with_towers_of_different_height() {
    two_writers(3, 1);
    two_writers(1, 3);
}

#[test]
fn two_writers_of_versions_of_one_key() {
    model(|| {
        let (table, pool) = (Arc::new(Memtable::new(0)), Pool::new(None));
        let rooms = [room(&table, &pool, 2), room(&table, &pool, 1), room(&table, &pool, 2)];
        let [oldest, older, newer] = rooms;
        put(&table, oldest, b"k", 1);
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || put(&table, newer, b"k", 3))
        };
        put(&table, older, b"k", 2);
        let (found, _) = table.get(b"k", SeqNo::new(2)).unwrap();
        assert_eq!(found.seq.get(), 2);
        other.join().unwrap();
        assert_eq!(walk(&table, false), keys(&[("k", 3), ("k", 2), ("k", 1)]));
    });
}

fn reader_beside_writer(back: bool) {
    model(move || {
        let (table, pool) = (Arc::new(Memtable::new(0)), Pool::new(None));
        let rooms = [room(&table, &pool, 1), room(&table, &pool, 3), room(&table, &pool, 2)];
        let [first, second, third] = rooms;
        put(&table, first, b"b", 1);
        let reader = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let met = walk(&table, back);
                assert!(met.windows(2).all(|pair| pair[0].0 < pair[1].0), "{met:?}");
                assert!(met.contains(&(b"b".to_vec(), 1)));
                // What was written before something that was seen is there too.
                if met.contains(&(b"c".to_vec(), 3)) {
                    assert!(table.get(b"a", SeqNo::MAX).is_some());
                    assert_eq!(walk(&table, back).len(), 3);
                }
            })
        };
        put(&table, second, b"a", 2);
        put(&table, third, b"c", 3);
        reader.join().unwrap();
        assert_eq!(walk(&table, back), keys(&[("a", 2), ("b", 1), ("c", 3)]));
    });
}

#[test]
fn a_reader_going_forward_beside_a_writer() {
    reader_beside_writer(false);
}

#[test]
fn a_reader_going_back_beside_a_writer() {
    reader_beside_writer(true);
}

#[test]
fn two_writers_and_a_reader() {
    model(|| {
        let (table, pool) = (Arc::new(Memtable::new(0)), Pool::new(None));
        let (a, b) = (room(&table, &pool, 2), room(&table, &pool, 2));
        let writer = {
            let table = Arc::clone(&table);
            thread::spawn(move || put(&table, a, b"a", 1))
        };
        let reader = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let seen = table.get(b"b", SeqNo::MAX).is_some();
                let met = walk(&table, false);
                assert!(met.windows(2).all(|pair| pair[0].0 < pair[1].0), "{met:?}");
                // What was seen once stays.
                assert!(!seen || met.contains(&(b"b".to_vec(), 1)));
            })
        };
        put(&table, b, b"b", 1);
        writer.join().unwrap();
        reader.join().unwrap();
        assert_eq!(walk(&table, true), keys(&[("a", 1), ("b", 1)]));
    });
}
