//! Charged, mapped and used bytes, exactly.

use std::sync::{Arc, PoisonError};

use base::{Cursor, InternalKeyRef, SeqNo, ValueKind};
use credit::Pool;
use memtable::{
    CHUNK_BYTES_MAX, Chunk, ChunkCache, MapError, Memtable, Space, mapped_bytes, page_bytes,
};

use crate::support::{Fixture, MAPPING, Numbers, reserve};

// C7
#[test]
fn charged_is_mapped_at_every_moment() {
    let _alone = MAPPING.write().unwrap_or_else(PoisonError::into_inner);
    let before = mapped_bytes();
    let first = Fixture::alone(None);
    let second = Memtable::new(1);
    let mut numbers = Numbers(11);
    for seq in 0..4_000u64 {
        let value = vec![1; numbers.below(if seq % 500 == 0 { 900_000 } else { 700 }) as usize];
        let table = if seq % 3 == 0 { &second } else { &*first.table };
        let key = numbers.next().to_be_bytes();
        let mut space = Space::new();
        space.add(key.len(), value.len());
        let mut reserved = reserve(&first.pool, table, &space);
        table.insert(
            &mut reserved,
            InternalKeyRef::new(&key, SeqNo::new(seq), ValueKind::Put),
            &value,
        );
        let charged = first.table.charged_bytes() + second.charged_bytes();
        assert_eq!(first.pool.held_bytes(), charged as u64);
        assert_eq!(mapped_bytes() - before, charged);
    }
    let left = first.table.charged_bytes();
    drop(second);
    assert_eq!((first.pool.held_bytes(), mapped_bytes() - before), (left as u64, left));
    let Fixture { pool, table, .. } = first;
    drop(table);
    assert_eq!((pool.held_bytes(), mapped_bytes()), (0, before));
    pool.check_conservation();
}

/// Fills a memtable with so many entries out of chunks of `cache`, and reads them back.
fn fill_from(cache: &Arc<ChunkCache>, pool: &Pool, entries: u64, salt: u64) -> Memtable {
    let table = Memtable::new(salt);
    let mut space = Space::new();
    space.add(8, 100);
    for seq in 0..entries {
        let mut reserved = loop {
            if let Some(reserved) = table.reserve(&space) {
                break reserved;
            }
            if let Some(bytes) = table.chunk_bytes_for(&space) {
                let kept = cache.take(&[bytes]).and_then(|mut chunks| chunks.pop());
                let mapped = || cache.map(pool.try_acquire(bytes as u64).unwrap()).unwrap();
                table.add_chunk(kept.unwrap_or_else(mapped));
            }
        };
        let key = Numbers(seq * 2 + salt * 2 + 1).next().to_be_bytes();
        let key = InternalKeyRef::new(&key, SeqNo::new(seq), ValueKind::Put);
        table.insert(&mut reserved, key, &[salt as u8; 100]);
    }
    let mut cursor = table.cursor();
    cursor.seek_to_first().unwrap();
    for _ in 0..entries {
        assert_eq!((cursor.key().user_key.len(), cursor.value()), (8, &[salt as u8; 100][..]));
        cursor.next().unwrap();
    }
    assert!(!cursor.is_valid());
    table
}

// C7
#[test]
fn chunks_go_from_one_memtable_to_the_next() {
    let _alone = MAPPING.write().unwrap_or_else(PoisonError::into_inner);
    let before = mapped_bytes();
    let (pool, cache) = (Pool::new(None), ChunkCache::new(4 << 20));
    for salt in 1..6 {
        let table = fill_from(&cache, &pool, 20_000, salt);
        let charged = table.charged_bytes();
        // What the memtable before left is used again, to the last chunk: nothing was mapped beside it.
        assert_eq!((cache.kept_bytes(), pool.held_bytes()), (0, charged as u64));
        assert_eq!(mapped_bytes() - before, charged);
        drop(table);
        assert_eq!((cache.kept_bytes(), pool.held_bytes()), (charged, charged as u64));
        assert_eq!(mapped_bytes() - before, charged);
    }
    drop(cache);
    assert_eq!((mapped_bytes(), pool.held_bytes()), (before, 0));
    pool.check_conservation();
}

// C7
#[test]
fn what_is_kept_is_bounded_and_goes_when_it_is_wanted() {
    let _mapping = MAPPING.read().unwrap_or_else(PoisonError::into_inner);
    let (pool, cache) = (Pool::new(None), ChunkCache::new(1 << 20));
    let table = fill_from(&cache, &pool, 20_000, 1);
    assert!(table.charged_bytes() > 2 << 20);
    drop(table);
    let kept = cache.kept_bytes();
    assert!(kept > 0 && kept <= 1 << 20, "{kept}");
    assert_eq!(pool.held_bytes(), kept as u64);
    assert!(cache.take(&[16 << 10, 1 << 30]).is_none());
    assert_eq!(cache.kept_bytes(), kept);

    let table = fill_from(&cache, &pool, 10, 2);
    let wanted = cache.want();
    assert_eq!(pool.held_bytes(), table.charged_bytes() as u64);
    drop(table);
    assert_eq!((cache.kept_bytes(), pool.held_bytes()), (0, 0));
    drop(wanted);
    drop(fill_from(&cache, &pool, 10, 3));
    assert!(cache.kept_bytes() > 0);
}

// C7
#[test]
fn a_chunk_is_made_ready_only_where_it_can_be_kept() {
    let _mapping = MAPPING.read().unwrap_or_else(PoisonError::into_inner);
    let bytes = CHUNK_BYTES_MAX;
    let pool = Pool::new(Some(bytes as u64 + 1));
    let too_small = ChunkCache::new(bytes - 1);
    assert!(!too_small.prepare(&pool).unwrap());
    let cache = ChunkCache::new(2 * bytes);
    let wanted = cache.want();
    assert!(!cache.prepare(&pool).unwrap());
    drop(wanted);
    assert!(cache.prepare(&pool).unwrap());
    assert_eq!((cache.kept_bytes(), pool.held_bytes()), (bytes, bytes as u64));
    assert!(!cache.prepare(&pool).unwrap(), "one is there");
    let taken = cache.take(&[bytes]).unwrap();
    assert!(!cache.prepare(&pool).unwrap(), "the pool has not so much");
    assert_eq!(pool.held_bytes(), bytes as u64);
    drop(taken);
    assert_eq!(cache.kept_bytes(), bytes);
}

// C7
#[test]
fn the_last_holder_returns_the_memory() {
    let fixture = Fixture::new(None);
    fixture.put(b"k", 1, ValueKind::Put, b"v");
    let mut cursor = fixture.table.owned_cursor();
    cursor.seek_to_first().unwrap();
    let Fixture { pool, table, mapping: _mapping } = fixture;
    let charged = table.charged_bytes() as u64;
    assert!(charged > 0);
    drop(table);
    assert_eq!(pool.held_bytes(), charged);
    assert_eq!((cursor.key().user_key, cursor.value()), (&b"k"[..], &b"v"[..]));
    drop(cursor);
    assert_eq!(pool.held_bytes(), 0);
}

#[test]
fn an_idle_memtable_costs_nothing_and_a_small_one_little() {
    let fixture = Fixture::new(None);
    assert_eq!((fixture.table.charged_bytes(), fixture.table.used_bytes()), (0, 0));
    assert!(fixture.table.is_empty() && !fixture.table.is_full(0));
    fixture.put(b"k", 1, ValueKind::Put, b"v");
    assert_eq!(fixture.table.charged_bytes(), (16 << 10).max(page_bytes()));
    assert!(!fixture.table.is_empty());
}

// C7
#[test]
fn a_chunk_that_cannot_be_mapped_returns_its_permit() {
    let pool = Pool::new(None);
    for bytes in [0, 1, page_bytes() as u64 + 1] {
        let refused = Chunk::map(pool.try_acquire(bytes).unwrap());
        assert!(matches!(refused, Err(MapError::NotWholePages { bytes: b, .. }) if b == bytes));
    }
    // Whole pages, and as much as there are addresses: more than a process can have.
    let too_much = Pool::BYTES_MAX / page_bytes() as u64 * page_bytes() as u64;
    let refused = Chunk::map(pool.try_acquire(too_much).unwrap()).unwrap_err();
    assert!(matches!(refused, MapError::Refused { .. }), "{refused:?}");
    assert!(std::error::Error::source(&refused).is_some());
    assert_eq!(pool.held_bytes(), 0);
}

#[test]
fn what_is_reserved_and_not_used_is_counted_and_harmless() {
    let fixture = Fixture::new(None);
    let mut space = Space::new();
    space.add(3, 100);
    space.add(3, 100);
    let needed = fixture.table.bytes_for(&space);
    let mut reserved = fixture.reserve(&space);
    let key = InternalKeyRef::new(b"abc", SeqNo::new(1), ValueKind::Put);
    fixture.table.insert(&mut reserved, key, &[1; 100]);
    drop(reserved);
    assert!(needed > space.bytes());
    assert_eq!(fixture.table.used_bytes(), needed);
    assert_eq!(fixture.table.entries(), 2);
    let mut cursor = fixture.table.cursor();
    cursor.seek_to_last().unwrap();
    assert_eq!(cursor.key(), key);
    cursor.prev().unwrap();
    assert!(!cursor.is_valid());
}

// C5
#[test]
fn a_space_counts_its_inserts_exactly_in_any_order() {
    let mut numbers = Numbers(5);
    for _ in 0..200 {
        let fixture = Fixture::new(None);
        let mut space = Space::new();
        let mut lens: Vec<(usize, usize)> = Vec::new();
        for _ in 0..1 + numbers.below(30) {
            let (key, value) = (numbers.below(50) as usize, numbers.below(3_000) as usize);
            space.add(key, value);
            lens.insert(numbers.below(lens.len() as u64 + 1) as usize, (key, value));
        }
        let needed = fixture.table.bytes_for(&space);
        let mut reserved = fixture.reserve(&space);
        for (seq, (key, value)) in lens.iter().enumerate() {
            let key = vec![9; *key];
            let key = InternalKeyRef::new(&key, SeqNo::new(seq as u64), ValueKind::Put);
            fixture.table.insert(&mut reserved, key, &vec![8; *value]);
        }
        assert_eq!(fixture.table.used_bytes(), needed);
        // Not a byte more: the smallest entry there is does not fit any more.
        let one_more = std::panic::AssertUnwindSafe(|| {
            let key = InternalKeyRef::new(b"", SeqNo::MAX, ValueKind::Delete);
            fixture.table.insert(&mut reserved, key, b"");
        });
        assert!(std::panic::catch_unwind(one_more).is_err());
        assert!(fixture.table.get(b"", SeqNo::MAX).is_none_or(|(key, _)| key.seq != SeqNo::MAX));
    }
}

#[test]
#[should_panic(expected = "another memtable")]
fn room_of_another_memtable_is_refused() {
    let fixture = Fixture::new(None);
    let mut space = Space::new();
    space.add(1, 1);
    let mut reserved = fixture.reserve(&space);
    let other = Memtable::new(0);
    other.insert(&mut reserved, InternalKeyRef::new(b"k", SeqNo::ZERO, ValueKind::Put), b"v");
}

// C8
#[test]
fn a_million_overwrites_of_one_key_under_16_mib() {
    let mut fixture = Fixture::new(Some(16 << 20));
    let mut switches = 0;
    for seq in 1..=1_000_000u64 {
        if fixture.table.is_full(7 << 20) {
            // The flush: the old versions stayed charged up to here, and go with their memtable.
            fixture.table = Arc::new(Memtable::new(seq));
            switches += 1;
        }
        fixture.put(b"the one key", seq, ValueKind::Put, &seq.to_le_bytes());
        if seq % 65_536 == 0 {
            let (key, value) = fixture.table.get(b"the one key", SeqNo::MAX).unwrap();
            assert_eq!((key.seq.get(), value), (seq, &seq.to_le_bytes()[..]));
            fixture.check_account();
        }
    }
    assert!(switches >= 5, "{switches}");
    assert!(fixture.pool.peak_bytes() <= 16 << 20);
}

/// What an entry costs beyond its key and value, in used and in charged bytes, in a memtable of 16 MiB.
fn overhead(value_len: usize) -> (f64, f64) {
    let fixture = Fixture::new(None);
    let mut numbers = Numbers(3);
    let value = vec![0; value_len];
    let mut entries = 0u32;
    while !fixture.table.is_full(16 << 20) {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&numbers.next().to_be_bytes());
        fixture.put(&key, u64::from(entries), ValueKind::Put, &value);
        entries += 1;
    }
    let payload = f64::from(entries) * (16 + value_len) as f64;
    let per_entry = |bytes: usize| (bytes as f64 - payload) / f64::from(entries);
    (per_entry(fixture.table.used_bytes()), per_entry(fixture.table.charged_bytes()))
}

#[test]
fn what_an_entry_costs_beyond_its_bytes() {
    for (value_len, limit) in [(8, 40.0), (100, 46.0)] {
        let (used, charged) = overhead(value_len);
        println!(
            "key 16 B, value {value_len} B: {used:.1} B an entry used, {charged:.1} B charged"
        );
        assert!(used < charged && charged < limit, "{used} {charged}");
    }
}
