//! How far a search goes.

use std::cmp::Ordering;
use std::sync::Barrier;
use std::thread;

use base::{InternalKeyRef, SeqNo, ValueKind};
use credit::Pool;

use crate::node::{NodeRef, Probe};
use crate::{Chunk, Memtable, Space};

fn filled(entries: impl Iterator<Item = (Vec<u8>, u64)>) -> Memtable {
    let (pool, table) = (Pool::new(None), Memtable::new(0));
    for (seed, (key, seq)) in (1u64..).zip(entries) {
        let mut space = Space::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        space.add(key.len(), 0);
        if let Some(bytes) = table.chunk_bytes_for(&space) {
            table.add_chunk(Chunk::map(pool.try_acquire(bytes as u64).unwrap()).unwrap());
        }
        let mut reserved = table.reserve(&space).unwrap();
        table.insert(
            &mut reserved,
            InternalKeyRef::new(&key, SeqNo::new(seq), ValueKind::Put),
            b"",
        );
    }
    table
}

/// How many nodes a search looks at.
fn comparisons(table: &Memtable, key: &[u8], at: u64) -> usize {
    let probe = Probe::new(InternalKeyRef::seek_at(key, SeqNo::new(at)));
    let mut looked_at = 0;
    table.list().descend(
        |node| {
            looked_at += 1;
            node.compare(&probe) == Ordering::Less
        },
        |_, _| (),
    );
    looked_at
}

fn mean(counts: impl Iterator<Item = usize>) -> usize {
    let (sum, n) = counts.fold((0, 0), |(sum, n), count| (sum + count, n + 1));
    sum / n
}

// C8
#[test]
fn many_versions_of_one_key_are_no_longer_walk_than_many_keys() {
    let n = 20_000u64;
    let keys = filled((0..n).map(|i| (i.to_be_bytes().to_vec(), i)));
    let versions = filled((0..n).map(|i| (b"one".to_vec(), i)));
    let over_keys = mean((0..n).step_by(97).map(|i| comparisons(&keys, &i.to_be_bytes(), n)));
    let over_versions = mean((0..n).step_by(97).map(|i| comparisons(&versions, b"one", i)));
    // About 4/2 a level over log4(20,000) = 7 levels, and the way back down: some 20; a walk would take 10,000.
    assert!(over_keys < 40, "{over_keys}");
    assert!(over_versions < 40, "{over_versions}");
    // The newest is at the front.
    assert!(comparisons(&versions, b"one", n) <= super::HEIGHT_MAX);
}

/// The nodes of each level, by walking it.
fn levels(table: &Memtable) -> Vec<Vec<NodeRef<'_>>> {
    let list = table.list();
    let walk = |level| {
        std::iter::successors(list.after(None, level), move |&node| list.after(Some(node), level))
    };
    (0..super::HEIGHT_MAX).map(|level| walk(level).collect()).collect()
}

/// Four threads insert four high towers each into an empty table, at once.
fn race(round: u64) -> Memtable {
    let (pool, table) = (Pool::new(None), Memtable::new(0));
    table.add_chunk(Chunk::map(pool.try_acquire(1 << 16).unwrap()).unwrap());
    let start = Barrier::new(4);
    let insert_four = &|writer: u64| {
        start.wait();
        for turn in 0..4 {
            let mut space = high_tower(round * 16 + writer * 4 + turn);
            space.add(8, 0);
            let mut reserved = table.reserve(&space).unwrap();
            let key = (turn * 4 + writer).to_be_bytes();
            let key = InternalKeyRef::new(&key, SeqNo::ZERO, ValueKind::Put);
            table.insert(&mut reserved, key, b"");
        }
    };
    thread::scope(|scope| {
        let writers = [0, 1, 2, 3].map(|writer| scope.spawn(move || insert_four(writer)));
        for writer in writers {
            writer.join().unwrap();
        }
    });
    table
}

/// A space whose first tower has four levels or more.
fn high_tower(from: u64) -> Space {
    let seeds = (0..).map(|n: u64| (from * 4_096 + n).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    seeds
        .map(Space::with_seed)
        .find(|space| space.heights().draw() >= 4)
        .expect("one in 64 is so high")
}

#[test]
fn every_tower_is_linked_at_each_of_its_levels() {
    for round in 0..400 {
        let table = race(round);
        let levels = levels(&table);
        assert_eq!(levels[0].len(), 16);
        for (level, nodes) in levels.iter().enumerate() {
            let keys: Vec<_> = nodes.iter().map(|node| node.key()).collect();
            let expected: Vec<_> = levels[0]
                .iter()
                .filter(|node| node.height() > level)
                .map(|node| node.key())
                .collect();
            assert_eq!(keys, expected, "level {level}");
        }
    }
}
