//! The arena's books: growth, rooms, and when a memtable is full.

use credit::Pool;

use super::*;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

fn add(arena: &Arena, pool: &Pool, bytes: usize) {
    let permit = pool.try_acquire(bytes as u64).unwrap();
    arena.add_chunk(Chunk::map(permit).unwrap());
}

#[test]
fn chunks_start_small_and_double_to_a_mebibyte() {
    let (arena, pool) = (Arena::new(), Pool::new(None));
    assert_eq!(arena.figures().charged_bytes, 0);
    let mut sizes = Vec::new();
    for _ in 0..9 {
        let bytes = arena.chunk_bytes_for(64).unwrap();
        sizes.push(bytes / KIB);
        add(&arena, &pool, bytes);
        assert_eq!(arena.chunk_bytes_for(64), None);
        while arena.cut(64, 1).is_some() {}
    }
    assert_eq!(sizes, [16, 32, 64, 128, 256, 512, 1024, 1024, 1024]);
    assert_eq!(arena.figures().charged_bytes, sizes.iter().sum::<usize>() * KIB);
    assert_eq!(arena.figures().used_bytes, arena.figures().charged_bytes);
}

#[test]
fn a_large_group_gets_a_chunk_of_its_size() {
    let arena = Arena::new();
    assert_eq!(arena.chunk_bytes_for(100 * KIB + 8), Some(104 * KIB));
    // Not a mebibyte, of which 300 KiB would be left over.
    assert_eq!(arena.chunk_bytes_for(700 * KIB), Some(700 * KIB));
    assert_eq!(arena.chunk_bytes_for(3 * MIB + 8), Some(3 * MIB + page_bytes()));
    assert_eq!(arena.chunk_bytes_for(0), None);
    assert!(arena.cut(0, 0).is_some());
}

#[test]
fn a_large_group_does_not_end_the_chunk_that_small_ones_use() {
    let (arena, pool) = (Arena::new(), Pool::new(None));
    add(&arena, &pool, 16 * KIB);
    assert!(arena.cut(KIB, 1).is_some());
    assert!(arena.cut(20 * KIB, 1).is_none());
    add(&arena, &pool, 20 * KIB);
    assert!(arena.cut(20 * KIB, 1).is_some());
    for _ in 0..15 {
        assert!(arena.cut(KIB, 1).is_some());
    }
    assert!(arena.cut(8, 1).is_none());
}

#[test]
fn a_chunk_added_without_need_is_used_later() {
    let (arena, pool) = (Arena::new(), Pool::new(None));
    for _ in 0..4 {
        add(&arena, &pool, 16 * KIB);
    }
    let mut cut = 0;
    while arena.cut(KIB, 1).is_some() {
        cut += 1;
    }
    assert_eq!(cut, 64);
    // One more than are kept in view: the one with the least left is given up, the new one serves.
    add(&arena, &pool, 16 * KIB);
    assert_eq!(arena.chunk_bytes_for(16 * KIB), None);
    assert_eq!(arena.figures().charged_bytes, 80 * KIB);
}

#[test]
fn regions_do_not_overlap_and_stay_in_their_bounds() {
    let (arena, pool) = (Arena::new(), Pool::new(None));
    let mut taken: Vec<(usize, usize)> = Vec::new();
    for step in 0..2_000usize {
        let bytes = 8 * (1 + step * 7919 % 300);
        if let Some(needed) = arena.chunk_bytes_for(bytes) {
            add(&arena, &pool, needed);
        }
        let mut region = arena.cut(bytes, 1).unwrap();
        let first = region.cut(bytes).unwrap().addr().get();
        assert!(region.cut(8).is_none());
        taken.push((first, first + bytes));
    }
    let books = arena.books.lock();
    let chunks: Vec<_> = books.chunks.iter().map(|c| (c.start().addr().get(), c.bytes())).collect();
    taken.sort_unstable();
    assert!(taken.windows(2).all(|pair| pair[0].1 <= pair[1].0));
    assert!(
        taken
            .iter()
            .all(|&(from, to)| chunks.iter().any(|&(at, len)| at <= from && to <= at + len))
    );
}

// F4
#[test]
fn full_looks_at_what_is_held_and_what_can_still_be_held() {
    let figures = |charged_bytes, next_chunk_bytes, room_bytes| Figures {
        charged_bytes,
        used_bytes: 0,
        entries: 0,
        next_chunk_bytes,
        room_bytes,
    };
    let w = 16 * MIB;
    // A + B < W + 0.6 B: not full, however little room is left.
    assert!(!figures(15 * MIB, MIB, 0).is_full(w));
    assert!(!figures(16 * MIB - 512 * KIB, MIB, 0).is_full(w));
    // In between: by the room that is left, B / 4 being the limit.
    assert!(!figures(16 * MIB, MIB, 256 * KIB).is_full(w));
    assert!(figures(16 * MIB, MIB, 256 * KIB - 1).is_full(w));
    assert!(!figures(16 * MIB + 600 * KIB, MIB, MIB).is_full(w));
    // A > W + 0.6 B: full, however much room is left.
    assert!(figures(16 * MIB + 620 * KIB, MIB, MIB).is_full(w));
    // Nothing held is not full, whatever the limit; nothing overflows.
    assert!(!figures(0, 16 * KIB, 0).is_full(0));
    assert!(figures(16 * KIB, 32 * KIB, 16 * KIB - 1).is_full(0) == (16 * KIB > 32 * KIB * 3 / 5));
    assert!(!figures(usize::MAX / 2, MIB, 0).is_full(usize::MAX));
}

// F4
#[test]
fn a_memtable_becomes_full_near_its_limit() {
    for limit in [64 * KIB, 256 * KIB, MIB, 5 * MIB, 16 * MIB] {
        let (arena, pool) = (Arena::new(), Pool::new(None));
        while !arena.figures().is_full(limit) {
            if let Some(needed) = arena.chunk_bytes_for(160) {
                add(&arena, &pool, needed);
            }
            assert!(arena.cut(160, 1).is_some());
        }
        let figures = arena.figures();
        let next = figures.next_chunk_bytes;
        assert!(figures.charged_bytes <= limit + next * 3 / 5, "{limit}: {figures:?}");
        assert!(figures.charged_bytes + next >= limit + next * 3 / 5, "{limit}: {figures:?}");
    }
}
