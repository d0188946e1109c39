//! How reads use the filter, the cache and the file.

use crate::common::*;
use crate::recorder::{Call, Recorder};
use base::{Cursor, FileNumber, InternalKeyRef, SeqNo, ValueKind};
use sstable::{
    BlockCacheHandle, BlockKind, Compression, FoundRef, ReadBlocks, ScanOptions, Table,
    TableOptions,
};
use std::path::Path;
use std::sync::Arc;
use vfs::sim::{Effect, Fault, SimFs};
use vfs::{Access, Fs, Operation, RealFs};

pub fn numbered(count: u64, value_bytes: usize) -> Vec<Entry> {
    (0..count).map(|n| put(format!("key{n:08}"), n + 1, vec![n as u8; value_bytes])).collect()
}

fn plain() -> TableOptions {
    TableOptions { compression: Compression::None, ..TableOptions::default() }
}

// K
#[test]
fn a_filter_keeps_most_missing_keys_from_data_blocks() {
    let (table, cache) = open_cached(&table_bytes(plain(), &numbered(20_000, 50))).unwrap();
    for n in 0..1000 {
        assert_eq!(table.get(format!("key{:08}x", n * 20).as_bytes(), SeqNo::MAX).unwrap(), None);
    }
    let blocks = cache.blocks.lock().unwrap();
    let data = blocks.values().filter(|block| block.kind() == BlockKind::Data).count();
    assert!(data < 40, "{data} data blocks were read for keys that are not there");
    assert!(blocks.values().any(|block| block.kind() == BlockKind::Filter));
}

// C13
#[test]
fn what_stays_in_memory_is_a_small_part_of_the_file() {
    for value_bytes in [8, 100] {
        let bytes = table_bytes(plain(), &numbered(100_000, value_bytes));
        let table = open(&bytes).unwrap();
        let part = bytes.len() / table.memory_bytes();
        assert!(part > 500, "values of {value_bytes}: a {part}th of {}", bytes.len());
        assert!(table.properties().partitions > 1);
    }
}

#[test]
fn a_second_read_is_answered_by_the_cache() {
    let (table, cache) = open_cached(&table_bytes(plain(), &numbered(2000, 50))).unwrap();
    for _ in 0..2 {
        let found = table.get(b"key00000500", SeqNo::MAX).unwrap().unwrap();
        assert_eq!(found.seq, SeqNo::new(501));
    }
    assert_eq!((*cache.misses.lock().unwrap(), *cache.hits.lock().unwrap()), (3, 3));
    // Blocks are cached decompressed, and charged as such.
    let bytes: usize =
        cache.blocks.lock().unwrap().values().map(sstable::Block::memory_bytes).sum();
    assert!(bytes > 16_000);
}

#[test]
fn a_value_is_a_slice_of_its_block() {
    let (table, cache) = open_cached(&table_bytes(plain(), &numbered(100, 50))).unwrap();
    let one = table.get(b"key00000007", SeqNo::MAX).unwrap().unwrap().value;
    let again = table.get(b"key00000007", SeqNo::MAX).unwrap().unwrap().value;
    assert_eq!(one.as_ptr(), again.as_ptr());
    let mut cursor = table.cursor();
    cursor.seek(InternalKeyRef::seek_at(b"key00000007", SeqNo::MAX)).unwrap();
    assert_eq!(cursor.value_bytes().as_ptr(), one.as_ptr());
    drop((cursor, table));
    cache.blocks.lock().unwrap().clear();
    assert_eq!(one, vec![7; 50]);
}

/// Mapped, a block that is not compressed is not copied and not cached, and its value outlives table and name.
#[test]
fn a_value_of_a_mapped_file_lies_in_it() {
    for (compression, is_copied) in [(Compression::None, false), (Compression::Lz4, true)] {
        let options = TableOptions { compression, ..plain() };
        let cache = Arc::new(KeepAll::default());
        let handle = BlockCacheHandle { cache: Arc::clone(&cache) as _, table: FileNumber::new(7) };
        let bytes = table_bytes(options, &numbered(100, 50));
        let (dir, table) = open_mapped(&bytes, Some(handle));
        let table = table.unwrap();
        let value = table.get(b"key00000007", SeqNo::MAX).unwrap().unwrap().value;
        let again = table.get(b"key00000007", SeqNo::MAX).unwrap().unwrap().value;
        assert_eq!(value.as_ptr(), again.as_ptr());
        let is_data = |block: &sstable::Block| block.kind() == BlockKind::Data;
        assert_eq!(cache.blocks.lock().unwrap().values().any(is_data), is_copied);
        drop((dir, table));
        assert_eq!(value, vec![7; 50]);
    }
    // Simulated files cannot be: they are read.
    let file = file_of(&table_bytes(plain(), &numbered(100, 50)));
    // SAFETY: nobody else has the file.
    let table = unsafe { Table::open_mapped(file, None) }.unwrap();
    assert!(!table.is_mapped() && table.get(b"key00000007", SeqNo::MAX).unwrap().is_some());
}

/// A block that may be on the disk is asked for in one piece before its pages are touched; later it is just there.
#[test]
fn a_point_read_of_a_mapped_file_announces_its_block_once() {
    let dir = tempfile::tempdir().unwrap();
    let (fs, path) = (RealFs::new(), dir.path().join("table"));
    fs.create(&path).unwrap().write_all_at(&table_bytes(plain(), &numbered(1000, 50)), 0).unwrap();
    let file = Recorder::new(fs.open(&path, Access::Read).unwrap());
    // SAFETY: nobody else knows of the file.
    let table = Arc::new(unsafe { Table::open_mapped(Arc::clone(&file) as _, None) }.unwrap());
    let told = || {
        table.get(b"key00000007", SeqNo::MAX).unwrap().unwrap();
        let is_told = |call: &Call| matches!(call, Call::WillRead { offset: 0, len: 10_000.. });
        file.take().iter().filter(|call| is_told(call)).count()
    };
    assert_eq!((told(), told()), (1, 0));
}

#[test]
fn a_scan_fills_the_cache_only_if_it_should() {
    for (fill_cache, readahead_bytes) in [(true, 0), (false, 0), (true, 1 << 18), (false, 1 << 18)]
    {
        let entries = numbered(5000, 100);
        let (table, cache) = open_cached(&table_bytes(plain(), &entries)).unwrap();
        let scan = ScanOptions { fill_cache, readahead_bytes, ..ScanOptions::DEFAULT };
        assert_eq!(forward(&mut table.cursor_with(scan)).unwrap(), entries);
        let blocks = cache.blocks.lock().unwrap();
        let data = blocks.values().filter(|block| block.kind() == BlockKind::Data).count() as u64;
        assert_eq!(data, if fill_cache { table.properties().data_blocks } else { 0 });
    }
}

/// Of a long scan nearly all is announced, each byte once, in stretches of up to the limit; of a short one nothing.
#[test]
fn a_scan_in_either_direction_says_what_it_will_read() {
    let entries = numbered(20_000, 100);
    let bytes = table_bytes(plain(), &entries);
    for (is_forward, readahead_bytes) in
        [(true, 0), (false, 0), (true, 256 << 10), (false, 256 << 10)]
    {
        let file = Recorder::new(file_of(&bytes));
        let table = Arc::new(Table::open(Arc::clone(&file) as _, None).unwrap());
        let scan = ScanOptions { readahead_bytes, ..ScanOptions::default() };
        let cursor = &mut table.cursor_with(scan);
        cursor.seek(InternalKeyRef::seek_at(b"key00005000", SeqNo::MAX)).unwrap();
        (0..100).for_each(|_| cursor.next().unwrap());
        (0..100).for_each(|_| cursor.prev().unwrap());
        let is_told = |call: &Call| matches!(call, Call::WillRead { .. });
        assert!(!file.take().iter().any(is_told), "a short walk announces");
        let all = if is_forward { forward(cursor) } else { backward(cursor) };
        assert!(all.unwrap() == entries);
        let mut told: Vec<_> = file
            .take()
            .into_iter()
            .filter_map(|call| match call {
                Call::WillRead { offset, len } => Some((offset, len)),
                _ => None,
            })
            .collect();
        if readahead_bytes == 0 {
            assert_eq!(told, []);
            continue;
        }
        assert_eq!(
            told[..2].iter().map(|&(_, len)| len).collect::<Vec<_>>(),
            [64 << 10, 128 << 10]
        );
        told.sort_unstable();
        assert!(told.iter().all(|&(_, len)| len <= 256 << 10), "{told:?}");
        assert!(told.windows(2).all(|pair| pair[0].0 + pair[0].1 == pair[1].0), "{told:?}");
        let sum: u64 = told.iter().map(|&(_, len)| len).sum();
        assert!(sum + (64 << 10) > bytes.len() as u64, "{sum} of {}", bytes.len());
    }
}

#[test]
fn a_failed_read_is_an_error_and_the_next_one_may_succeed() {
    let entries = numbered(3000, 100);
    let fs = SimFs::new();
    let path = Path::new("/table");
    fs.create(path).unwrap().write_all_at(&table_bytes(plain(), &entries), 0).unwrap();
    let table = Arc::new(Table::open(fs.open(path, Access::Read).unwrap(), None).unwrap());
    let mut cursor = table.cursor();
    let mut failed = 0;
    for nth in 1.. {
        fs.inject(Fault::new(Operation::Read, Effect::IO).nth(nth));
        let all = forward(&mut cursor);
        let was_hit = fs.faults_hit() > failed;
        failed = fs.faults_hit();
        assert_eq!(all.is_err(), was_hit);
        let Err(error) = all else { break };
        assert!(matches!(error, sstable::Error::Io { .. }) && !error.is_corruption(), "{error:?}");
        assert!(!cursor.is_valid());
        assert!(forward(&mut cursor).unwrap() == entries);
        assert_eq!(table.get(b"key00000000", SeqNo::MAX).unwrap().unwrap().seq, SeqNo::new(1));
    }
    assert!(failed > 4, "every read of the scan failed once");
}

#[test]
fn a_cursor_that_is_not_valid_stays_so_until_a_seek() {
    let table = open(&table_bytes(tiny_options(), &numbered(50, 20))).unwrap();
    let mut cursor = table.cursor();
    cursor.next().unwrap();
    cursor.prev().unwrap();
    assert!(!cursor.is_valid() && cursor.value_bytes().is_empty());
    cursor.seek(InternalKeyRef::seek_at(b"z", SeqNo::MAX)).unwrap();
    assert!(!cursor.is_valid());
    cursor.seek_for_prev(InternalKeyRef::seek_at(b"a", SeqNo::MAX)).unwrap();
    assert!(!cursor.is_valid());
    cursor.seek_to_last().unwrap();
    cursor.next().unwrap();
    assert!(!cursor.is_valid());
    cursor.prev().unwrap();
    assert!(!cursor.is_valid());
    cursor.seek_to_first().unwrap();
    assert_eq!(cursor.key().kind, ValueKind::Put);
}

/// What a cache lets a table keep is found there afterwards, and what it does not is in the cache.
#[test]
fn partitions_are_kept_as_far_as_the_cache_allows() {
    let entries = numbered(2000, 50);
    let bytes = table_bytes(tiny_options(), &entries);
    for room in [0, 3000, usize::MAX] {
        let (table, cache) = open_cached(&bytes).unwrap();
        *cache.room.lock().unwrap() = room;
        for _ in 0..2 {
            assert!(forward(&mut table.cursor()).unwrap() == entries);
            for (key, value) in &entries {
                assert_eq!(table.get(&key.user_key, SeqNo::MAX).unwrap().unwrap().value, value);
            }
        }
        // A cursor answers for the partition that its table does not keep.
        let mut cursor = table.cursor();
        assert_eq!(cursor.kept_bytes(), 0);
        cursor.seek_to_first().unwrap();
        let own = cursor.kept_bytes() - cursor.block_bytes();
        match room {
            0 => assert!((100..1000).contains(&own), "{own}"),
            3000 => {}
            _ => assert_eq!(own, 0),
        }
        let is_partition = |kind| matches!(kind, BlockKind::Index | BlockKind::Filter);
        let cached = cache.blocks.lock().unwrap();
        let cached = cached.values().filter(|block| is_partition(block.kind())).count() as u64;
        let all = 2 * table.properties().partitions;
        let kept = *cache.kept.lock().unwrap();
        match room {
            0 => assert_eq!((cached, kept), (all, 0)),
            3000 => assert!(0 < cached && cached < all && kept > 0 && kept + cached == all),
            _ => assert_eq!((cached, kept), (0, all)),
        }
    }
}

#[test]
fn without_its_checksum_a_damaged_block_is_read_but_not_cached() {
    let entries = numbered(200, 50);
    let mut bytes = table_bytes(plain(), &entries);
    let value = bytes.windows(50).position(|window| window == [9; 50]).unwrap();
    bytes[value] ^= 1;
    let (table, cache) = open_cached(&bytes).unwrap();
    let key = b"key00000009";
    assert!(table.get(key, SeqNo::MAX).unwrap_err().is_corruption());
    let how = ReadBlocks { verify_checksums: false, ..ReadBlocks::DEFAULT };
    let found = table.get_with(key, SeqNo::MAX, &how).unwrap().unwrap();
    assert_eq!(found.value[..], [[9 ^ 1].as_slice(), &[9; 49]].concat());
    for readahead_bytes in [0, 1 << 18] {
        let scan = ScanOptions { verify_checksums: false, readahead_bytes, ..ScanOptions::DEFAULT };
        assert_eq!(forward(&mut table.cursor_with(scan)).unwrap().len(), 200);
    }
    let is_data = |block: &sstable::Block| block.kind() == BlockKind::Data;
    assert!(!cache.blocks.lock().unwrap().values().any(is_data), "what was not checked is shared");
    assert!(table.get(key, SeqNo::MAX).unwrap_err().is_corruption());
}

#[test]
fn keys_that_share_a_block_share_its_reading() {
    let entries = numbered(1000, 50);
    let file = Recorder::new(file_of(&table_bytes(plain(), &entries)));
    let table = Arc::new(Table::open(Arc::clone(&file) as _, None).unwrap());
    let keys: Vec<_> = entries.iter().map(|(key, _)| &key.user_key[..]).collect();
    file.take();
    let mut found = Vec::new();
    let each = |place, entry: FoundRef<'_>| {
        assert_eq!(entry.pin(), entry.value);
        found.push((place, entry.seq, entry.value.to_vec()));
    };
    table.multi_get(&keys, SeqNo::MAX, &ReadBlocks::DEFAULT, each).unwrap();
    let expected: Vec<_> =
        entries.iter().enumerate().map(|(i, (key, value))| (i, key.seq, value.clone())).collect();
    assert!(found == expected);
    let properties = table.properties();
    assert_eq!(file.take().len() as u64, properties.data_blocks + 2 * properties.partitions);
}

/// The versions of one user key fill many blocks and partitions: every read finds the right one.
#[test]
fn many_versions_of_one_key_across_blocks() {
    let mut entries = vec![put(b"j", 1, b"before")];
    entries.extend((0..500u64).rev().map(|seq| put(b"k", seq * 2 + 2, seq.to_string())));
    entries.push(put(b"l", 1, b"after"));
    let table = open(&table_bytes(tiny_options(), &entries)).unwrap();
    assert!(table.properties().partitions > 3);
    table.verify().unwrap();
    for at in (0..1010).map(SeqNo::new) {
        let found = table.get(b"k", at).unwrap().map(|found| found.value.to_vec());
        assert_eq!(found, newest(&entries, b"k", at).map(|(_, value)| value.clone()), "at {at}");
    }
}

#[test]
fn tables_can_be_shared_and_cursors_sent_between_threads() {
    let entries = numbered(2000, 50);
    let (table, _) = open_cached(&table_bytes(plain(), &entries)).unwrap();
    let mut sent = table.cursor();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert!(forward(&mut table.cursor()).unwrap() == entries));
        }
        scope.spawn(|| assert!(backward(&mut sent).unwrap() == entries));
    });
}
