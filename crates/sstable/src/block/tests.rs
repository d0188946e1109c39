//! One block, against the sorted list it was built from.

use super::build::BlockBuilder;
use super::iter::BlockIter;
use super::*;
use base::{InternalKey, SeqNo, ValueKind};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn key() -> impl Strategy<Value = InternalKey> {
    let user_key = prop_oneof![
        prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(255)], 0..12),
        (0u32..300).prop_map(|n| format!("a common beginning {n:05} and end").into_bytes()),
    ];
    // Mostly versions of few numbers; some of every length.
    let seq =
        prop_oneof![4 => 0u64..4, 1 => (any::<u64>(), 8u32..64).prop_map(|(n, bits)| n >> bits)];
    (user_key, seq, 0u8..4).prop_map(|(user_key, seq, kind)| {
        let kind = ValueKind::try_from(kind).unwrap();
        InternalKeyRef::new(&user_key, SeqNo::new(seq), kind).to_owned()
    })
}

/// Mostly short, some with a length of two bytes, or three.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..9),
        1 => (120usize..300, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
        1 => (16_380usize..16_390, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ]
}

fn build(entries: &BTreeMap<InternalKey, Vec<u8>>, interval: usize) -> Block {
    let mut builder = BlockBuilder::new(interval);
    let mut bound = 0;
    for (key, value) in entries {
        bound = builder.size_with(key.as_ref(), value);
        builder.add(key.as_ref(), value);
        assert!(builder.size() <= bound);
    }
    let size = builder.size();
    let payload = builder.finish();
    assert!(payload.len() == size && size <= bound);
    Block::parse(BlockKind::Data, Bytes::copy_from_slice(payload)).unwrap()
}

fn current(iter: &BlockIter) -> Option<(InternalKey, Vec<u8>)> {
    iter.is_valid().then(|| (iter.key().to_owned(), iter.value().to_vec()))
}

proptest! {
    #[test]
    fn searches_and_moves_are_those_of_the_list(
        entries in prop::collection::btree_map(key(), value(), 1..80),
        interval in 1usize..20,
        targets in prop::collection::vec(key(), 20),
    ) {
        let block = build(&entries, interval);
        block.check_prefixes().unwrap();
        let list: Vec<_> = entries.clone().into_iter().collect();
        let mut iter = BlockIter::new();
        iter.set_block(block.clone());
        for target in targets.iter().chain(entries.keys()) {
            let place = list.partition_point(|(key, _)| key < target);
            iter.seek(target.as_ref()).unwrap();
            prop_assert_eq!(current(&iter), list.get(place).cloned());
            let landing = block.first_at_or_after(target.as_ref()).unwrap();
            let same = list.get(place).is_some_and(|(key, _)| key.user_key == target.user_key);
            prop_assert_eq!(landing.is_some_and(|landing| landing.same_user_key), same);
            if place > 0 && place < list.len() {
                iter.prev().unwrap();
                prop_assert_eq!(current(&iter), Some(list[place - 1].clone()));
                iter.next().unwrap();
                prop_assert_eq!(current(&iter), list.get(place).cloned());
            }
        }
        iter.seek_to_last().unwrap();
        for entry in list.iter().rev() {
            prop_assert_eq!(current(&iter), Some(entry.clone()));
            iter.prev().unwrap();
        }
        prop_assert!(!iter.is_valid());
    }

    /// Bytes that no builder made: errors, not panics, and no endless walk.
    #[test]
    fn noise_never_panics(
        entries in prop::collection::btree_map(key(), prop::collection::vec(any::<u8>(), 0..9), 1..20),
        interval in 1usize..5,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        target in key(),
    ) {
        let mut bytes = build(&entries, interval).data().to_vec();
        for (index, byte) in &changes {
            let at = index.index(bytes.len());
            bytes[at] = *byte;
        }
        let entries_max = bytes.len() / 3;
        if let Ok(block) = Block::parse(BlockKind::Data, Bytes::from(bytes)) {
            drop(block.first_at_or_after(target.as_ref()));
            drop((block.check_prefixes(), block.check_index()));
            let mut iter = BlockIter::new();
            iter.set_block(block);
            drop(iter.seek(target.as_ref()));
            let mut steps = 0;
            let mut moved = iter.seek_to_first();
            while moved.is_ok() && iter.is_valid() {
                moved = iter.next();
                steps += 1;
            }
            prop_assert!(steps <= entries_max);
            moved = iter.seek_to_last();
            while moved.is_ok() && iter.is_valid() {
                moved = iter.prev();
                steps += 1;
                prop_assert!(steps <= 2 * entries_max);
            }
        }
    }
}

#[test]
fn an_index_is_reached_by_number() {
    let entries: BTreeMap<_, _> = (0..50u64)
        .map(|n| {
            let user_key = format!("{:04}", 2 * n).into_bytes();
            (
                InternalKeyRef::new(&user_key, SeqNo::new(n), ValueKind::Put).to_owned(),
                vec![n as u8],
            )
        })
        .collect();
    let index = build(&entries, 1);
    index.check_index().unwrap();
    assert_eq!(index.restarts(), 50);
    for (number, (key, value)) in entries.iter().enumerate() {
        assert_eq!(index.indexed(number).unwrap(), (key.as_ref(), &value[..]));
        assert_eq!(index.lower_bound(key.as_ref()).unwrap(), number);
    }
    assert!(index.indexed(50).is_err());
    assert!(build(&entries, 2).check_index().is_err());
}
