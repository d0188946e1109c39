//! Any sorted entries, any options, any moves: a table answers as the sorted list does.

use crate::common::*;
use base::{Cursor, FileNumber, InternalKey, InternalKeyRef, MAX_KEY_BYTES, SeqNo, ValueKind};
use proptest::prelude::*;
use sstable::{
    BlockCacheHandle, Compression, Found, FoundRef, ReadBlocks, ScanOptions, TableOptions,
    TableWriter,
};
use std::path::Path;
use std::sync::Arc;
use vfs::Fs;
use vfs::sim::SimFs;

/// Keys with long common beginnings, zeros, empty ones and neighbours.
pub fn user_key() -> impl Strategy<Value = Vec<u8>> {
    let letter = prop_oneof![Just(0u8), Just(b'a'), Just(b'b'), Just(255)];
    prop_oneof![
        4 => prop::collection::vec(letter, 0..6),
        4 => (0u32..2000).prop_map(|n| format!("user/{n:08}").into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (0usize..40, any::<u8>()).prop_map(|(len, last)| {
            let mut key = vec![b'x'; 200 + len];
            key.push(last);
            key
        }),
    ]
}

pub fn internal_key() -> impl Strategy<Value = InternalKey> {
    let seq = prop_oneof![4 => 0u64..6, 1 => any::<u64>().prop_map(|n| n >> 8)];
    (user_key(), seq, 0u8..4)
        .prop_map(|(user_key, seq, kind)| key(&user_key, seq, ValueKind::try_from(kind).unwrap()))
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 0..30),
        1 => (any::<u8>(), 0usize..3000).prop_map(|(byte, len)| vec![byte; len]),
        1 => prop::collection::vec(any::<u8>(), 0..700),
    ]
}

pub fn entries() -> impl Strategy<Value = Vec<Entry>> {
    prop::collection::btree_map(internal_key(), value(), 1..250)
        .prop_map(|entries| entries.into_iter().collect())
}

pub fn options() -> impl Strategy<Value = TableOptions> {
    let compression = prop_oneof![
        Just(Compression::None),
        Just(Compression::Lz4),
        (-2i32..6).prop_map(|level| Compression::Zstd { level }),
    ];
    (256usize..5000, 64usize..3000, 1usize..20, compression, 0u32..20, any::<u64>()).prop_map(
        |(
            block_bytes,
            partition_bytes,
            restart_interval,
            compression,
            filter_bits_per_key,
            salt,
        )| {
            TableOptions {
                block_bytes,
                partition_bytes,
                restart_interval,
                compression,
                filter_bits_per_key,
                bytes_per_sync: salt % 5000,
                strict_bytes_per_sync: salt % 2 == 0,
                checksum_salt: salt,
            }
        },
    )
}

#[derive(Clone, Debug)]
enum Move {
    First,
    Last,
    Seek(InternalKey),
    SeekForPrev(InternalKey),
    SeekEntry(prop::sample::Index),
    SeekForPrevEntry(prop::sample::Index),
    Next(usize),
    Prev(usize),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        1 => Just(Move::First),
        1 => Just(Move::Last),
        3 => internal_key().prop_map(Move::Seek),
        3 => internal_key().prop_map(Move::SeekForPrev),
        2 => any::<prop::sample::Index>().prop_map(Move::SeekEntry),
        2 => any::<prop::sample::Index>().prop_map(Move::SeekForPrevEntry),
        4 => (1usize..40).prop_map(Move::Next),
        4 => (1usize..40).prop_map(Move::Prev),
    ];
    prop::collection::vec(one, 1..40)
}

/// The same move in the sorted list; `None` is "not valid".
fn moved(entries: &[Entry], at: Option<usize>, step: &Move) -> Option<usize> {
    let below = |key: InternalKeyRef<'_>| entries.partition_point(|(k, _)| k.as_ref() < key);
    let up_to = |key: InternalKeyRef<'_>| entries.partition_point(|(k, _)| k.as_ref() <= key);
    let place = match step {
        Move::First => Some(0),
        Move::Last => entries.len().checked_sub(1),
        Move::Seek(key) => Some(below(key.as_ref())),
        Move::SeekForPrev(key) => up_to(key.as_ref()).checked_sub(1),
        Move::SeekEntry(index) | Move::SeekForPrevEntry(index) => Some(index.index(entries.len())),
        Move::Next(count) => at.map(|at| at + count),
        Move::Prev(count) => at.and_then(|at| at.checked_sub(*count)),
    };
    place.filter(|&place| place < entries.len())
}

/// Writes the table again and looks at what the writer holds.
fn check_buffers(
    options: TableOptions,
    entries: &[Entry],
    partitions: u64,
) -> Result<(), TestCaseError> {
    let longest = entries.iter().map(|(key, value)| key.user_key.len() + value.len()).max();
    let most = options.buffered_bytes_max(longest.unwrap_or(0), partitions as usize);
    let library = if matches!(options.compression, Compression::Zstd { .. }) { 4 << 20 } else { 0 };
    let file = SimFs::new().create(Path::new("/table")).unwrap();
    let mut writer = TableWriter::new(file, options);
    for (key, value) in entries {
        writer.add(key.as_ref(), value).unwrap();
        let held = writer.buffered_bytes();
        prop_assert!(held <= most + library, "{} of {} bytes", held, most);
    }
    Ok(())
}

fn check_moves(
    table: &Arc<sstable::Table>,
    scan: ScanOptions,
    entries: &[Entry],
    moves: &[Move],
) -> Result<(), TestCaseError> {
    let mut cursor = table.cursor_with(scan);
    let mut at = None;
    prop_assert!(!cursor.is_valid());
    for step in moves {
        match step {
            Move::First => cursor.seek_to_first().unwrap(),
            Move::Last => cursor.seek_to_last().unwrap(),
            Move::Seek(key) => cursor.seek(key.as_ref()).unwrap(),
            Move::SeekForPrev(key) => cursor.seek_for_prev(key.as_ref()).unwrap(),
            Move::SeekEntry(index) => cursor.seek(index.get(entries).0.as_ref()).unwrap(),
            Move::SeekForPrevEntry(index) => {
                cursor.seek_for_prev(index.get(entries).0.as_ref()).unwrap();
            }
            Move::Next(count) => {
                for _ in 0..*count {
                    if cursor.is_valid() {
                        cursor.next().unwrap();
                    }
                }
            }
            Move::Prev(count) => {
                for _ in 0..*count {
                    if cursor.is_valid() {
                        cursor.prev().unwrap();
                    }
                }
            }
        }
        at = moved(entries, at, step);
        prop_assert_eq!(current(&cursor), at.map(|at| entries[at].clone()), "after {:?}", step);
    }
    Ok(())
}

/// Keys that are there and others, some twice, looked up together.
fn check_multi_get(
    table: &sstable::Table,
    how: &ReadBlocks,
    entries: &[Entry],
    others: &[(Vec<u8>, u64)],
) -> Result<(), TestCaseError> {
    let mut keys: Vec<&[u8]> = entries.iter().map(|(key, _)| &*key.user_key).collect();
    keys.extend(others.iter().map(|(key, _)| &key[..]));
    keys.sort_unstable();
    for at in [SeqNo::MAX, SeqNo::new(3)] {
        let mut found = Vec::new();
        let each =
            |place, entry: FoundRef<'_>| found.push((place, entry.seq, entry.value.to_vec()));
        table.multi_get(&keys, at, how, each).unwrap();
        let expected: Vec<_> = keys
            .iter()
            .enumerate()
            .filter_map(|(place, key)| {
                let (key, value) = newest(entries, key, at)?;
                Some((place, key.seq, value.clone()))
            })
            .collect();
        prop_assert_eq!(found, expected, "at {}", at);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    // K
    #[test]
    fn a_table_answers_as_the_sorted_list_does(
        entries in entries(),
        options in options(),
        moves in moves(),
        others in prop::collection::vec((user_key(), 0u64..8), 30),
        readahead_bytes in 0usize..8000,
        fill_cache in any::<bool>(),
        verify_checksums in any::<bool>(),
        verify_again in any::<bool>(),
        room in 0usize..4000,
    ) {
        let bytes = table_bytes(options.clone(), &entries);
        let (cached, cache) = open_cached(&bytes).unwrap();
        *cache.room.lock().unwrap() = room;
        check_buffers(options, &entries, cached.properties().partitions)?;
        let scan = ScanOptions { fill_cache, verify_checksums, verify_again, readahead_bytes };
        let how = ReadBlocks { fill_cache, verify_checksums };
        let cache = BlockCacheHandle { cache: cache as _, table: FileNumber::new(8) };
        let (_dir, mapped) = open_mapped(&bytes, fill_cache.then_some(cache));
        let mapped = mapped.unwrap();
        prop_assert!(mapped.is_mapped());
        for table in [open(&bytes).unwrap(), cached, mapped] {
            table.verify().unwrap();
            prop_assert_eq!(&forward(&mut table.cursor_with(scan)).unwrap(), &entries);
            prop_assert_eq!(&backward(&mut table.cursor_with(scan)).unwrap(), &entries);
            check_moves(&table, scan, &entries, &moves)?;
            check_multi_get(&table, &how, &entries, &others)?;
            let asked = entries.iter().map(|(key, _)| (key.user_key.to_vec(), key.seq));
            let others = others.iter().map(|(key, seq)| (key.clone(), SeqNo::new(*seq)));
            for (user_key, at) in asked.chain(others) {
                for at in [at, SeqNo::MAX, SeqNo::new(at.get().saturating_sub(1))] {
                    let found = table.get_with(&user_key, at, &how).unwrap();
                    let lent = table.get_map(&user_key, at, &how, |entry| {
                        (entry.seq, entry.kind, entry.value.to_vec(), entry.pin())
                    });
                    prop_assert_eq!(&found, &lent.unwrap().map(|(seq, kind, copied, value)| {
                        assert_eq!(copied, value);
                        Found { seq, kind, value }
                    }));
                    let expected = newest(&entries, &user_key, at).map(|(key, value)| Found {
                        seq: key.seq,
                        kind: key.kind,
                        value: value.clone().into(),
                    });
                    prop_assert_eq!(found, expected, "{:?} at {}", user_key, at);
                }
            }
        }
    }
}

#[test]
fn the_longest_keys_and_values_above_a_block_come_back() {
    let long = |last: u8| [vec![b'k'; MAX_KEY_BYTES - 1], vec![last]].concat();
    let entries = vec![
        put(b"", 3, b""),
        put(b"a", 2, vec![1; 3 << 20]),
        put(long(1), 9, b"one"),
        put(long(2), 8, vec![2; 70_000]),
        put(long(3), 7, b""),
    ];
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd { level: 1 }] {
        let bytes = table_bytes(TableOptions { compression, ..tiny_options() }, &entries);
        let table = open(&bytes).unwrap();
        table.verify().unwrap();
        assert!(forward(&mut table.cursor()).unwrap() == entries);
        assert!(backward(&mut table.cursor()).unwrap() == entries);
        for (key, value) in &entries {
            assert_eq!(table.get(&key.user_key, SeqNo::MAX).unwrap().unwrap().value, value);
        }
    }
}
