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

/// A block of one restart, whose first key has so many bytes, and of `entries` more that share all but the last of it.
fn of_long_keys(key_bytes: usize, entries: usize) -> Vec<u8> {
    let mut data = Vec::new();
    varint::put_u64(&mut data, 0);
    varint::put_u64(&mut data, key_bytes as u64 + 1);
    data.push(0);
    data.resize(data.len() + key_bytes, b'k');
    data.push(ValueKind::Put as u8);
    for n in 0..entries {
        varint::put_u64(&mut data, key_bytes as u64 - 2);
        data.extend_from_slice(&[3, 0, b'l', 0, ValueKind::Put as u8]);
        let last = data.len() - 2;
        (data[last - 1], data[last]) = (b'l' + (n >> 8) as u8, n as u8);
    }
    data.extend_from_slice(&[0; RESTART_BYTES]);
    data.push(0);
    data.extend_from_slice(&1u32.to_le_bytes());
    data
}

fn walked(data: Vec<u8>) -> (usize, Result<(), Malformed>, BlockIter) {
    let mut iter = BlockIter::new();
    iter.set_block(Block::parse(BlockKind::Data, Bytes::from(data)).unwrap());
    let mut steps = 0;
    let mut moved = iter.seek_to_first();
    while moved.is_ok() && iter.is_valid() {
        assert!(iter.key().user_key.len() <= base::MAX_KEY_BYTES, "longer than any key");
        moved = iter.next();
        steps += 1;
    }
    (steps, moved, iter)
}

/// K: no key is longer than keys can be, whatever an entry says.
#[test]
fn a_key_that_is_too_long_is_refused() {
    let most = base::MAX_KEY_BYTES;
    let (steps, moved, _) = walked(of_long_keys(most, 3));
    assert!(steps == 4 && moved.is_ok());
    for key_bytes in [most + 1, most + 7, most + 8, 2 * most] {
        let (steps, moved, _) = walked(of_long_keys(key_bytes, 3));
        assert!(steps == 0 && moved.is_err(), "{key_bytes}: {steps} steps");
    }
}

/// K: a step back keeps the entries before it, in no more memory than the block is worth.
#[test]
fn going_back_over_long_keys_takes_little_memory() {
    let data = of_long_keys(60_000, 4000);
    let len = data.len();
    let (steps, moved, mut iter) = walked(data);
    assert!(steps == 4001 && moved.is_ok());
    iter.seek_to_last().unwrap();
    let kept = iter.kept_bytes();
    assert!(kept < 16 * len, "{kept} bytes are kept of a block of {len}");
    let mut back = Vec::new();
    while iter.is_valid() {
        back.push(iter.key().user_key[59_990..].to_vec());
        iter.prev().unwrap();
    }
    assert!(back.len() == 4001 && back.is_sorted_by(|a, b| a > b));
}
