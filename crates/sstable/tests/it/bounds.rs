//! Cursors with bounds: the entries within are those of the list, and no block beyond is touched.

use crate::common::*;
use crate::model;
use crate::reading::numbered;
use crate::recorder::{Call, Recorder};
use base::{Cursor, InternalKeyRef, SeqNo};
use bytes::Bytes;
use proptest::prelude::*;
use sstable::{BlockKind, Compression, ScanOptions, Table, TableCursor, TableOptions};
use std::collections::BTreeSet;
use std::sync::Arc;

/// From where the cursor stands on, what lies below `upper`.
fn rest_forward(cursor: &mut TableCursor, upper: Option<&Bytes>) -> Vec<Entry> {
    let mut all = Vec::new();
    while let Some(entry) =
        current(cursor).filter(|(key, _)| upper.is_none_or(|upper| *key.user_key < **upper))
    {
        all.push(entry);
        cursor.next().unwrap();
    }
    all
}

/// From where the cursor stands back, what lies from `lower` on; in ascending order.
fn rest_backward(cursor: &mut TableCursor, lower: Option<&Bytes>) -> Vec<Entry> {
    let mut all = Vec::new();
    while let Some(entry) =
        current(cursor).filter(|(key, _)| lower.is_none_or(|lower| *key.user_key >= **lower))
    {
        all.push(entry);
        cursor.prev().unwrap();
    }
    all.reverse();
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn what_lies_within_bounds_is_that_of_the_list(
        entries in model::entries(),
        options in model::options(),
        searches in prop::collection::vec(
            (prop::option::of(model::user_key()), prop::option::of(model::user_key()), model::internal_key()),
            1..12,
        ),
    ) {
        let table = open(&table_bytes(options, &entries)).unwrap();
        let mut cursor = table.cursor();
        for (lower, upper, target) in searches {
            let (lower, upper) = (lower.map(Bytes::from), upper.map(Bytes::from));
            cursor.set_bounds(lower.clone(), upper.clone());
            prop_assert!(!cursor.is_valid());
            let within: Vec<Entry> = entries
                .iter()
                .filter(|(key, _)| lower.as_ref().is_none_or(|lower| *key.user_key >= **lower))
                .filter(|(key, _)| upper.as_ref().is_none_or(|upper| *key.user_key < **upper))
                .cloned()
                .collect();
            cursor.seek_to_first().unwrap();
            prop_assert!(rest_forward(&mut cursor, upper.as_ref()) == within);
            cursor.seek_to_last().unwrap();
            prop_assert!(rest_backward(&mut cursor, lower.as_ref()) == within);
            let place = within.partition_point(|(key, _)| *key < target);
            cursor.seek(target.as_ref()).unwrap();
            prop_assert_eq!(&rest_forward(&mut cursor, upper.as_ref())[..], &within[place..]);
            let place = within.partition_point(|(key, _)| *key <= target);
            cursor.seek_for_prev(target.as_ref()).unwrap();
            prop_assert_eq!(&rest_backward(&mut cursor, lower.as_ref())[..], &within[..place]);
        }
    }
}

/// Where a data block begins, and its entries.
type Placed = (u64, Vec<Entry>);

/// Several partitions of several blocks, of some entries each: the bytes, all entries, and all data blocks.
fn sample() -> (Vec<u8>, Vec<Entry>, Vec<Placed>) {
    let entries = numbered(300, 60);
    let options = TableOptions { compression: Compression::None, ..tiny_options() };
    let bytes = table_bytes(options, &entries);
    let (table, cache) = open_cached(&bytes).unwrap();
    let mut blocks: Vec<Placed> = Vec::new();
    for entry in &entries {
        cache.blocks.lock().unwrap().clear();
        table.get(&entry.0.user_key, SeqNo::MAX).unwrap().unwrap();
        let offset = *data_blocks(&cache).first().unwrap();
        match blocks.last_mut() {
            Some((last, inside)) if *last == offset => inside.push(entry.clone()),
            _ => blocks.push((offset, vec![entry.clone()])),
        }
    }
    assert!(table.properties().partitions > 5 && blocks.iter().all(|(_, inside)| inside.len() > 1));
    (bytes, entries, blocks)
}

/// The offsets of the data blocks that were read.
fn data_blocks(cache: &KeepAll) -> BTreeSet<u64> {
    let blocks = cache.blocks.lock().unwrap();
    let data = blocks.iter().filter(|(_, block)| block.kind() == BlockKind::Data);
    data.map(|((_, offset), _)| *offset).collect()
}

/// Bounds that are keys of the table, no block's first: the separators tell on which side of each its block is.
#[test]
fn a_block_that_lies_wholly_beyond_a_bound_is_not_read() {
    let (bytes, entries, blocks) = sample();
    let firsts: BTreeSet<_> = blocks.iter().map(|(_, inside)| &inside[0].0).collect();
    let bounds: Vec<_> = entries.iter().filter(|(key, _)| !firsts.contains(key)).collect();
    for (at, (lower, _)) in bounds.iter().enumerate().step_by(3) {
        for (upper, _) in bounds[at + 1..].iter().step_by(7) {
            let within =
                |(key, _): &Entry| lower.user_key <= key.user_key && key.user_key < upper.user_key;
            let expected: BTreeSet<u64> = blocks
                .iter()
                .filter(|(_, inside)| inside.iter().any(within))
                .map(|(offset, _)| *offset)
                .collect();
            for is_forward in [true, false] {
                let (table, cache) = open_cached(&bytes).unwrap();
                let mut cursor = table.cursor();
                let bound = |key: &base::InternalKey| Some(Bytes::copy_from_slice(&key.user_key));
                cursor.set_bounds(bound(lower), bound(upper));
                // To the end, or until a bound is in the way.
                let all =
                    if is_forward { forward(&mut cursor) } else { backward(&mut cursor) }.unwrap();
                assert_eq!(data_blocks(&cache), expected, "{lower:?} to {upper:?}, {is_forward}");
                let expected: Vec<_> = entries.iter().filter(|entry| within(entry)).collect();
                assert_eq!(all.iter().filter(|entry| within(entry)).collect::<Vec<_>>(), expected);
            }
        }
    }
}

#[test]
fn nothing_is_read_for_bounds_that_exclude_everything() {
    let (bytes, entries, _) = sample();
    let (table, cache) = open_cached(&bytes).unwrap();
    let mut cursor = table.cursor();
    let middle = Bytes::copy_from_slice(&entries[150].0.user_key);
    for (lower, upper) in [("l", "m"), ("a", "b"), ("key00000200", "key00000100")] {
        cursor.set_bounds(Some(Bytes::from(lower)), Some(Bytes::from(upper)));
        assert!(forward(&mut cursor).unwrap().is_empty());
        assert!(backward(&mut cursor).unwrap().is_empty());
        for target in [&entries[0].0, &entries[150].0, &entries[299].0] {
            cursor.seek(target.as_ref()).unwrap();
            assert!(!cursor.is_valid());
            cursor.seek_for_prev(target.as_ref()).unwrap();
            assert!(!cursor.is_valid());
        }
    }
    assert_eq!(data_blocks(&cache), BTreeSet::new());
    // What was sought is the bound itself: below the upper one is nothing of it, from the lower one on all.
    cursor.set_bounds(None, Some(middle.clone()));
    cursor.seek(InternalKeyRef::seek_at(&middle, SeqNo::MAX)).unwrap();
    assert!(!cursor.is_valid());
    assert!(data_blocks(&cache).len() <= 1, "{:?}", data_blocks(&cache));
    cursor.set_bounds(Some(middle.clone()), None);
    cursor.seek_to_first().unwrap();
    assert_eq!(current(&cursor), Some(entries[150].clone()));
}

/// A walk back from between two blocks needs the first of them alone.
#[test]
fn going_to_the_last_entry_before_a_gap_reads_one_block() {
    let (bytes, _, blocks) = sample();
    for (offset, inside) in &blocks {
        let (table, cache) = open_cached(&bytes).unwrap();
        let mut cursor = table.cursor();
        let (last, _) = inside.last().unwrap();
        cursor.seek_for_prev(InternalKeyRef::seek_at(&last.user_key, SeqNo::ZERO)).unwrap();
        assert_eq!(current(&cursor).as_ref(), inside.last());
        assert_eq!(data_blocks(&cache), BTreeSet::from([*offset]));
    }
}

#[test]
fn nothing_beyond_a_bound_is_announced() {
    let entries = numbered(20_000, 100);
    let options = TableOptions { compression: Compression::None, ..TableOptions::default() };
    let bytes = table_bytes(options, &entries);
    for is_forward in [true, false] {
        let file = Recorder::new(file_of(&bytes));
        let table = Arc::new(Table::open(Arc::clone(&file) as _, None).unwrap());
        let mut cursor = table.cursor_with(ScanOptions::DEFAULT);
        // Of about 120 bytes an entry.
        let bound = |n: u32| Some(Bytes::from(format!("key{n:08}")));
        cursor.set_bounds(bound(2000), bound(6000));
        let walked = if is_forward { forward(&mut cursor) } else { backward(&mut cursor) }.unwrap();
        assert!((4000..4300).contains(&walked.len()), "{}", walked.len());
        let mut told = 0;
        for call in file.take() {
            if let Call::WillRead { offset, len } = call {
                assert!(offset > 2000 * 110 - (16 << 10) && offset + len < 6000 * 125 + (16 << 10));
                told += len;
            }
        }
        assert!(told > 300 << 10, "{told}");
    }
}
