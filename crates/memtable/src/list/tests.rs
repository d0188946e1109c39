//! How far a search goes.

use std::cmp::Ordering;

use base::{InternalKeyRef, SeqNo, ValueKind};
use credit::Pool;

use crate::node::Probe;
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
