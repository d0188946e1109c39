//! Tests of the block cache: what it holds, what it is charged with, what goes first.

use base::FileNumber;
use credit::{ChildOptions, Pool};
use proptest::prelude::*;
use std::sync::Arc;

use super::cache::Blocks;
use super::records::RecordKey;
use super::shard::{Key, Shard};

const MIB: u64 = 1 << 20;

fn cache(budget: &Pool, ceiling: u64) -> Arc<Blocks<u64>> {
    Blocks::new(budget, ceiling, true).unwrap()
}

fn key(number: u64) -> Key {
    Key { file: number % 7, offset: number * 4096 }
}

/// Offers the record of a key, and says whether it is found then.
fn keep_record(cache: &Blocks<u64>, number: u64) -> bool {
    let bytes = number.to_be_bytes();
    let hash = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let record = RecordKey::new(FileNumber::new(number % 7), &bytes, hash);
    let value = [number as u8; 150];
    let is_in = cache.insert_record(record, number, &value);
    let mut found = Vec::new();
    let trailer = cache.record(record, &mut found);
    assert!(trailer.is_none_or(|trailer| trailer == number && found == value));
    assert_eq!(is_in, trailer.is_some());
    is_in
}

fn get(cache: &Blocks<u64>, number: u64) -> Option<u64> {
    cache.get(FileNumber::new(number % 7), number * 4096)
}

/// C13: what the cache holds is charged, entries' overhead included, and is never above what it was granted.
#[test]
fn what_the_cache_holds_is_charged() {
    let budget = Pool::new(Some(8 * MIB));
    let cache = cache(&budget, 4 * MIB);
    let mut records = 0;
    for number in 0..10_000 {
        cache.insert(key(number), number, 1000 + number % 5000, number % 9 != 0);
        assert!(cache.used_bytes() <= cache.granted_bytes(), "after {number}");
        records += usize::from((0..5).all(|at| keep_record(&cache, 5 * number + at)));
        assert!(cache.used_bytes() <= cache.granted_bytes(), "after {number}");
        assert_eq!(cache.granted_bytes(), budget.held_bytes());
    }
    assert!(cache.granted_bytes() <= 4 * MIB);
    assert!(cache.used_bytes() > 3 * MIB, "{} of 4 MiB are used", cache.used_bytes());
    let there = (0..10_000).filter(|&number| get(&cache, number) == Some(number)).count();
    assert!(there > 50, "{there} blocks");
    assert!(records > 9000, "{records} records");
    assert!(cache.records().0 > MIB, "{:?}", cache.records());
    drop(cache);
    budget.assert_all_returned();
}

/// With a table go its blocks, and those of others stay; their room is free for others.
#[test]
fn blocks_go_with_their_table() {
    let budget = Pool::new(Some(8 * MIB));
    let cache = cache(&budget, 8 * MIB);
    (0..700).for_each(|number| cache.insert(key(number), number, 4000, number % 3 > 0));
    // Some are in use.
    (0..2).for_each(|_| (0..300).for_each(|number| assert_eq!(get(&cache, number), Some(number))));
    let before = cache.used_bytes();
    cache.forget(FileNumber::new(5));
    for number in 0..700 {
        assert_eq!(get(&cache, number), (number % 7 != 5).then_some(number));
    }
    assert_eq!(cache.used_bytes(), before / 7 * 6);
    (0..700).for_each(|number| cache.insert(key(number), number, 4000, true));
    assert_eq!(cache.used_bytes(), before);
    cache.reclaim(u64::MAX);
    assert_eq!(cache.used_bytes(), 0);
}

/// C12: who needs memory gets it from the cache, at once, down to the last byte.
#[test]
fn the_cache_gives_way() {
    let budget = Pool::new(Some(8 * MIB));
    let fixed =
        ChildOptions { floor_bytes: 6 * MIB, ceiling_bytes: Some(6 * MIB), ..Default::default() };
    let writes = budget.child("writes", &fixed).unwrap();
    let cache = cache(&budget, 8 * MIB);
    let fill = || {
        for number in 0..4000 {
            cache.insert(key(number), number, 4000, true);
            keep_record(&cache, number);
        }
    };
    fill();
    assert!(cache.granted_bytes() > 7 * MIB, "{}", cache.granted_bytes());
    let mut held = Vec::new();
    for _ in 0..24 {
        held.push(writes.try_acquire(MIB / 4).expect("the cache gives way"));
        assert!(cache.used_bytes() <= cache.granted_bytes());
        assert!(budget.held_bytes() <= 8 * MIB);
        fill();
    }
    assert!(cache.granted_bytes() <= 2 * MIB);
    // And takes again what comes back.
    held.clear();
    (0..4).for_each(|_| fill());
    assert!(cache.granted_bytes() > 7 * MIB, "{}", cache.granted_bytes());
    cache.reclaim(u64::MAX);
    assert_eq!((cache.used_bytes(), cache.granted_bytes(), budget.held_bytes()), (0, 0, 0));
    budget.check_conservation();
}

/// C13: several threads, one of which takes the memory away again and again.
#[test]
fn the_cache_gives_way_under_load() {
    let budget = Pool::new(Some(2 * MIB));
    let cache = cache(&budget, 2 * MIB);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let cache = &cache;
            scope.spawn(move || {
                for number in 0..20_000u64 {
                    let number = (number * 31 + thread) % 3000;
                    if let Some(found) = get(cache, number) {
                        assert_eq!(found, number);
                    } else {
                        cache.insert(key(number), number, 900, true);
                    }
                }
            });
        }
        scope.spawn(|| (0..200).for_each(|_| drop(budget.try_acquire(MIB).unwrap())));
    });
    assert!(cache.used_bytes() <= cache.granted_bytes());
    assert_eq!(cache.granted_bytes(), budget.held_bytes());
    budget.check_conservation();
}

/// C13: with the entries goes the room that they had in map and queues, which they were charged with.
#[test]
fn a_shard_gives_its_own_memory_back() {
    let mut shard = Shard::default();
    for number in 0..20_000 {
        shard.insert(key(number), number, 1, number % 3 != 0);
        shard.get(key(number));
        shard.evict_to(8000, &mut Vec::new());
    }
    assert!(shard.room() >= 8000);
    for left in [5000, 1000, 300, 0] {
        shard.evict_to(left, &mut Vec::new());
        shard.trim();
        let room = shard.room();
        assert!(room <= 4 * left as usize + 100, "room for {room} with {left} entries");
        let numbers = 0..20_000;
        assert_eq!(resident(&mut shard, numbers), left as usize);
    }
}

fn resident(shard: &mut Shard<u64>, numbers: std::ops::Range<u64>) -> usize {
    numbers.filter(|&number| shard.get(key(number)).is_some()).count()
}

#[test]
fn a_scan_leaves_what_is_asked_for_again() {
    let mut shard = Shard::default();
    for _ in 0..3 {
        for number in 0..50 {
            if shard.get(key(number)).is_none() {
                shard.insert(key(number), number, 1, true);
            }
        }
    }
    for number in 1000..10_000 {
        shard.insert(key(number), number, 1, true);
        shard.evict_to(100, &mut Vec::new());
    }
    assert_eq!(resident(&mut shard, 0..50), 50);
}

#[test]
fn partitions_stay_longer_than_data() {
    let mut shard = Shard::default();
    (0..20).for_each(|number| shard.insert(key(number), number, 1, false));
    for number in 1000..1060 {
        shard.insert(key(number), number, 1, true);
        shard.get(key(number));
        shard.get(key(number)); // enough to get into the main queue
        shard.evict_to(40, &mut Vec::new());
    }
    assert!(resident(&mut shard, 0..20) > 0, "no partition is left");
    let mut shard = Shard::default();
    (0..20).for_each(|number| shard.insert(key(number), number, 1, true));
    for number in 1000..1060 {
        shard.insert(key(number), number, 1, true);
        shard.get(key(number));
        shard.get(key(number));
        shard.evict_to(40, &mut Vec::new());
    }
    assert_eq!(resident(&mut shard, 0..20), 0, "data that nobody asked for stays");
}

proptest! {
    #[test]
    fn a_shard_returns_what_was_put_in_and_keeps_within_its_room(
        calls in prop::collection::vec((0u64..60, 1u64..20, any::<bool>(), any::<bool>()), 1..400),
    ) {
        let mut shard = Shard::default();
        let mut out = Vec::new();
        let (mut inserted, mut there) = (0, 0);
        for (number, weight, is_data, is_insert) in calls {
            let found = shard.get(key(number));
            prop_assert!(found.is_none_or(|found| found == number));
            if is_insert && found.is_none() {
                shard.insert(key(number), number, weight, is_data);
                inserted += 1;
                shard.evict_to(100, &mut out);
                prop_assert!(shard.bytes() <= 100);
            }
            there = (0..60).filter(|&number| shard.get(key(number)).is_some()).count();
        }
        prop_assert_eq!(out.len() + there, inserted);
        shard.evict_to(0, &mut out);
        prop_assert_eq!((shard.bytes(), out.len()), (0, inserted));
    }
}
