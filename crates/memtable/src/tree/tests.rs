//! The tree's shape: what its invariants say, after any order of inserts, and what `demand` promises.

use base::{InternalKeyRef, SeqNo, ValueKind};
use credit::Pool;

use super::demand::{INNER_LEAST, LEAF_LEAST};
use super::node::{INNER_WIDTH, LEAF_WIDTH};
use super::search::prefix_at;
use super::*;
use crate::{Chunk, Memtable, Space};

/// Inserts each key with its number, in groups of so many.
fn filled(keys: &[Vec<u8>], group: usize) -> Memtable {
    let (pool, table) = (Pool::new(None), Memtable::new(0));
    let mut seq = 0;
    for keys in keys.chunks(group) {
        let mut space = Space::new();
        keys.iter().for_each(|key| space.add(key.len(), 0));
        let mut reserved = loop {
            if let Some(reserved) = table.reserve(&space) {
                break reserved;
            }
            let bytes = table.chunk_bytes_for(&space).unwrap();
            table.add_chunk(Chunk::map(pool.try_acquire(bytes as u64).unwrap()).unwrap());
        };
        for key in keys {
            seq += 1;
            let key = InternalKeyRef::new(key, SeqNo::new(seq), ValueKind::Put);
            table.insert(&mut reserved, key, b"");
        }
    }
    table
}

/// What a walk over all nodes has found.
#[derive(Default)]
struct Found {
    entries: usize,
    /// Nodes by level.
    nodes: Vec<usize>,
}

/// Goes over a node and all below it, and checks what `node` promises.
fn check(tree: &Tree, node: link::NodeRef<'_>, low: u32, high: u32, found: &mut Found) {
    let head = node.head();
    let level = usize::from(head.level());
    found.nodes.resize(found.nodes.len().max(level + 1), 0);
    found.nodes[level] += 1;
    assert_eq!((head.low(), head.high()), (low, high), "fences are those that the parent says");
    match node.kind() {
        Kind::Leaf(leaf) => {
            let count = check_items(tree, leaf, low, high);
            assert!(low == 0 || leaf.entry(0) == low, "a leaf begins with its fence");
            assert!(high == 0 || (LEAF_LEAST..=LEAF_WIDTH).contains(&count), "{count}");
            found.entries += count;
        }
        Kind::Inner(inner) => {
            let count = check_items(tree, inner, low, high);
            assert!(high == 0 || (INNER_LEAST..=INNER_WIDTH).contains(&(count + 1)), "{count}");
            for at in 0..=count {
                let from = if at == 0 { low } else { inner.reference(at - 1) };
                let to = if at == count { high } else { inner.reference(at) };
                check(tree, inner.child(at).unwrap(), from, to, found);
            }
        }
    }
}

/// The items are in order, between the fences, and their prefixes are what the shape says.
fn check_items(tree: &Tree, node: &impl Prefixed, low: u32, high: u32) -> usize {
    let shape = node.head().shape();
    let items: Vec<_> =
        (0..shape.count).map(|at| tree.entry(node.reference(at)).unwrap()).collect();
    for pair in items.windows(2) {
        assert!(pair[0].compare(&pair[1].probe()).is_lt(), "items are in order");
    }
    let is_within = |entry: &EntryRef<'_>| {
        tree.entry(low).is_none_or(|low| low.compare(&entry.probe()).is_le())
            && tree.entry(high).is_none_or(|high| high.compare(&entry.probe()).is_gt())
    };
    assert!(items.iter().all(is_within), "items lie between the fences");
    for (at, item) in items.iter().enumerate() {
        let prefix = node.prefixes()[at].load(base::sync::atomic::Ordering::Relaxed);
        assert_eq!(prefix, prefix_at(item.user_key(), shape.skip));
    }
    let shared = match (tree.entry(shape.sample), tree.entry(low), tree.entry(high)) {
        (Some(sample), ..) => {
            assert!(low == 0 || high == 0, "a sample is for the edges");
            sample.user_key()
        }
        (None, Some(low), Some(high)) => {
            assert!(low.user_key()[..shape.skip] == high.user_key()[..shape.skip]);
            low.user_key()
        }
        _ => b"",
    };
    assert!(items.iter().all(|item| item.user_key().starts_with(&shared[..shape.skip])));
    shape.count
}

fn check_tree(table: &Memtable) -> Found {
    let (tree, mut found) = (table.tree(), Found::default());
    check(tree, tree.root.load().unwrap(), 0, 0, &mut found);
    assert_eq!(found.entries as u64, table.entries());
    found
}

/// Numbers without a pattern.
fn scrambled(n: u64) -> impl Iterator<Item = u64> {
    (1..=n).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (i << 29))
}

fn families(n: u64) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let big = |i: u64| i.to_be_bytes().to_vec();
    let behind = |prefix: &str, i: u64| format!("{prefix}{i:010}").into_bytes();
    vec![
        ("random", scrambled(n).map(big).collect()),
        ("ascending", (0..n).map(big).collect()),
        ("descending", (0..n).rev().map(big).collect()),
        ("from both ends", (0..n).map(|i| big(if i % 2 == 0 { i } else { 2 * n - i })).collect()),
        ("one key", (0..n).map(|_| b"one".to_vec()).collect()),
        ("shared 4", scrambled(n).map(|i| behind("user", i % n)).collect()),
        ("shared 40", scrambled(n).map(|i| behind(&"p".repeat(40), i % n)).collect()),
        ("prefixes of each other", (0..n).map(|i| vec![b'a'; (i * 7919 % 300) as usize]).collect()),
        // Each in front of the full node that the last one left behind.
        ("sawtooth", (0..n).map(|i| big((i / 65) << 32 | (65 - i % 65))).collect()),
    ]
}

#[test]
fn nodes_keep_their_promises_in_any_order_of_inserts() {
    for (name, keys) in families(20_000) {
        for group in [1, 1_000] {
            let found = check_tree(&filled(&keys, group));
            assert_eq!(found.entries, keys.len(), "{name}");
            assert_eq!(found.nodes.last(), Some(&1), "{name}: one root");
        }
    }
}

#[test]
fn ascending_inserts_fill_their_leaves() {
    let keys: Vec<_> = (0..64_000u64).map(|i| i.to_be_bytes().to_vec()).collect();
    let found = check_tree(&filled(&keys, 1));
    assert_eq!(found.nodes[0], 1_000);
}

#[test]
fn what_keys_share_is_left_out_of_their_prefixes() {
    let keys: Vec<_> =
        scrambled(20_000).map(|i| format!("{}{:016}", "t".repeat(40), i % 1_000_000)).collect();
    let keys: Vec<_> = keys.into_iter().map(String::into_bytes).collect();
    let table = filled(&keys, 1);
    let tree = table.tree();
    let (mut leaf, _) = tree.descend(|_| 0, &mut ()).unwrap();
    let (mut leaves, mut poor) = (0, 0);
    while let Some(fence) = tree.entry(leaf.head.high()) {
        let shape = leaf.head.shape();
        let prefix = |at: usize| leaf.prefixes()[at].load(base::sync::atomic::Ordering::Relaxed);
        let equals = (1..shape.count).filter(|&at| prefix(at - 1) == prefix(at)).count();
        leaves += 1;
        poor += usize::from(equals > shape.count / 4);
        (leaf, _) = tree.descend(|inner| tree.way(inner, &fence.probe()), &mut ()).unwrap();
    }
    assert!(
        leaves > 300 && poor * 20 < leaves,
        "{poor} of {leaves} leaves cannot tell their keys apart"
    );
}
