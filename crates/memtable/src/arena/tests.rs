//! The arena's books: growth, rooms, and when a memtable is full.

use credit::Pool;

use super::*;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// A space of so many bytes in all: one entry, and the slots that it asks for on top.
fn space(bytes: usize) -> Space {
    let mut space = Space::new();
    space.add(0, bytes - entry::HEADER_BYTES);
    assert_eq!(space.bytes(), bytes);
    space
}

/// Cuts and settles, as if the entry were in and had taken no node.
fn cut(arena: &Arena, bytes: usize) -> Option<Region> {
    let region = arena.cut(&space(bytes))?;
    arena.settle(Settled { entries: 1, nodes: 0 });
    Some(region)
}

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
        let bytes = arena.chunk_bytes_for(&space(64)).unwrap();
        sizes.push(bytes / KIB);
        add(&arena, &pool, bytes);
        assert_eq!(arena.chunk_bytes_for(&space(64)), None);
        while cut(&arena, 64).is_some() {}
    }
    assert_eq!(sizes, [16, 32, 64, 128, 256, 512, 1024, 1024, 1024]);
    assert_eq!(arena.figures().charged_bytes, sizes.iter().sum::<usize>() * KIB);
    assert_eq!(arena.figures().used_bytes, arena.figures().charged_bytes);
}

#[test]
fn a_large_group_gets_a_chunk_of_its_size() {
    let arena = Arena::new();
    let page = page_bytes();
    // The entry, the slot of its leaf, and those that it may lack by the time the chunk is there.
    let slots = (1 + LEVELS_MAX) * SLOT_BYTES;
    let expected = |bytes: usize| Some((bytes + slots).next_multiple_of(page));
    for bytes in [100 * KIB + 8, 700 * KIB, 3 * MIB + 8] {
        // Of 700 KiB not a mebibyte, of which 300 KiB would be left over.
        assert_eq!(arena.chunk_bytes_for(&space(bytes)), expected(bytes));
    }
    assert_eq!(arena.chunk_bytes_for(&Space::new()), None);
    assert!(arena.cut(&Space::new()).is_some());
}

#[test]
fn a_large_group_does_not_end_the_chunk_that_small_ones_use() {
    let (arena, pool) = (Arena::new(), Pool::new(None));
    add(&arena, &pool, 16 * KIB);
    assert!(cut(&arena, KIB).is_some());
    assert!(cut(&arena, 20 * KIB).is_none());
    add(&arena, &pool, 24 * KIB);
    assert!(cut(&arena, 20 * KIB).is_some());
    // The first leaf's slot took a little of the first chunk; the second has 4 KiB left.
    for _ in 0..14 + 4 {
        assert!(cut(&arena, KIB).is_some());
    }
    assert!(arena.figures().room_bytes < KIB);
}

#[test]
fn a_chunk_added_without_need_is_used_later() {
    let (arena, pool) = (Arena::new(), Pool::new(None));
    for _ in 0..4 {
        add(&arena, &pool, 16 * KIB);
    }
    let mut cuts = 0;
    while cut(&arena, KIB).is_some() {
        cuts += 1;
    }
    assert!((60..64).contains(&cuts), "{cuts}");
    // One more than are kept in view: the one with the least left is given up, the new one serves.
    add(&arena, &pool, 16 * KIB);
    assert_eq!(arena.chunk_bytes_for(&space(15 * KIB)), None);
    assert_eq!(arena.figures().charged_bytes, 80 * KIB);
}

#[test]
fn what_is_cut_does_not_overlap_and_is_where_its_reference_says() {
    let (arena, pool) = (Arena::new(), Pool::new(None));
    let mut taken: Vec<(usize, usize)> = Vec::new();
    for step in 0..2_000usize {
        let space = space(16 + 8 * (step * 7919 % 300));
        if let Some(needed) = arena.chunk_bytes_for(&space) {
            add(&arena, &pool, needed);
        }
        let slots_before = arena.books.lock().slots;
        let mut region = arena.cut(&space).unwrap();
        let (first, reference) = region.cut(space.bytes()).unwrap();
        assert_eq!(arena.address(reference), Some(first));
        assert!(region.cut(8).is_none());
        taken.push((first.addr().get(), first.addr().get() + space.bytes()));
        // Whatever became a slot is taken by a node.
        let slots = arena.books.lock().slots - slots_before;
        for _ in 0..slots {
            let slot = arena.slots().take().start().addr().get();
            assert!(slot.is_multiple_of(crate::tree::node::SLOT_ALIGN));
            taken.push((slot, slot + SLOT_BYTES));
        }
        arena.settle(Settled { entries: 1, nodes: slots as u32 });
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

#[test]
fn what_a_reservation_takes_does_not_grow_until_the_next() {
    let (arena, pool) = (Arena::new(), Pool::new(None));
    for entries in 1..3_000u32 {
        let space = space(16);
        let bytes = arena.bytes_for(&space);
        // An insert that was under way turns out to have split a leaf.
        if entries % 40 == 0 {
            arena.settle(Settled { entries: 1, nodes: 1 });
        } else if entries % 3 == 0 {
            arena.settle(Settled { entries: 1, nodes: 0 });
        }
        let then = arena.bytes_for(&space);
        assert!(then <= bytes, "{then} after {bytes}");
        if let Some(needed) = arena.chunk_bytes_for(&space) {
            assert!(needed >= bytes);
            add(&arena, &pool, needed);
        }
        assert!(arena.cut(&space).is_some());
    }
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
        is_used_up: false,
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
    // No references left: full, whatever the limit.
    assert!(Figures { is_used_up: true, ..figures(MIB, MIB, MIB) }.is_full(usize::MAX));
}

// F4
#[test]
fn a_memtable_becomes_full_near_its_limit() {
    for limit in [64 * KIB, 256 * KIB, MIB, 5 * MIB, 16 * MIB] {
        let (arena, pool) = (Arena::new(), Pool::new(None));
        while !arena.figures().is_full(limit) {
            if let Some(needed) = arena.chunk_bytes_for(&space(160)) {
                add(&arena, &pool, needed);
            }
            assert!(cut(&arena, 160).is_some());
        }
        let figures = arena.figures();
        let next = figures.next_chunk_bytes;
        assert!(figures.charged_bytes <= limit + next * 3 / 5, "{limit}: {figures:?}");
        assert!(figures.charged_bytes + next >= limit + next * 3 / 5, "{limit}: {figures:?}");
    }
}
