//! Pools that draw from others.

use std::sync::{Arc, Mutex};

use credit::{AcquireError, ChildError, ChildOptions, Permit, Pool, TryAcquireError, WaitReason};

use crate::{ask, wait_for};

fn options(floor: u64, ceiling: Option<u64>, weight: u32) -> ChildOptions {
    ChildOptions { floor_bytes: floor, ceiling_bytes: ceiling, weight }
}

fn child(parent: &Pool, name: &str, floor: u64, ceiling: Option<u64>, weight: u32) -> Pool {
    parent.child(name, &options(floor, ceiling, weight)).expect("the floor fits")
}

/// A holder that gives back what it is asked for, out of single permits.
#[derive(Default)]
struct Cache {
    entries: Mutex<Vec<Permit>>,
    asked: Mutex<Vec<u64>>,
}

impl Cache {
    fn pool(self: &Arc<Cache>, parent: &Pool, floor: u64) -> Pool {
        let cache = Arc::downgrade(self);
        let reclaim = move |bytes| {
            let Some(cache) = cache.upgrade() else { return };
            cache.asked.lock().expect("no panic").push(bytes);
            let mut freed = 0;
            while freed < bytes {
                let Some(entry) = cache.entries.lock().expect("no panic").pop() else { break };
                freed += entry.bytes();
            }
        };
        parent
            .elastic_child("cache", &options(floor, None, 1), Arc::new(reclaim))
            .expect("the floor fits")
    }

    fn fill(&self, pool: &Pool, entries: usize) {
        for _ in 0..entries {
            let entry = pool.try_acquire(1).expect("free");
            self.entries.lock().expect("no panic").push(entry);
        }
    }
}

#[test]
fn a_child_draws_from_its_parent() {
    // C12
    let parent = Pool::new(Some(100));
    let own = parent.acquire(10).expect("free");
    let a = child(&parent, "a", 0, Some(60), 1);
    let b = child(&parent, "b", 0, None, 1);
    let mut from_a = a.acquire(60).expect("free");
    assert_eq!((parent.held_bytes(), a.held_bytes(), b.held_bytes()), (70, 60, 0));
    assert!(matches!(a.try_acquire(1), Err(TryAcquireError::WouldBlock)), "the ceiling");
    let from_b = b.acquire(30).expect("free");
    assert!(b.try_acquire(1).is_err(), "the parent is full");
    from_a.shrink(50);
    assert_eq!((parent.held_bytes(), parent.peak_bytes()), (90, 100));
    parent.check_conservation();
    drop((own, from_a, from_b));
    parent.assert_all_returned();
    drop((a, b));
    assert!(parent.children().is_empty());
    assert_eq!(parent.stats().acquisitions, 3);
    parent.check_conservation();
}

#[test]
fn a_pool_is_flat_again_when_its_children_are_gone() {
    let parent = Pool::new(Some(10));
    let nested = child(&parent, "a", 4, None, 1);
    let grandchild = child(&nested, "a/b", 0, None, 1);
    let permit = grandchild.acquire(3).expect("free");
    drop((nested, grandchild));
    assert_eq!(parent.held_bytes(), 3, "the permit keeps its pools");
    parent.check_conservation();
    drop(permit);
    assert!(parent.children().is_empty());
    assert_eq!(parent.try_acquire(10).expect("the floor is gone too").bytes(), 10);
    parent.check_conservation();
}

#[test]
fn a_floor_is_kept_free() {
    // C12
    let parent = Pool::new(Some(100));
    let a = child(&parent, "a", 40, None, 1);
    let b = child(&parent, "b", 0, None, 1);
    let of_b = b.acquire(60).expect("free");
    assert!(b.try_acquire(1).is_err() && parent.try_acquire(1).is_err());
    let of_a = a.try_acquire(40).expect("its floor");
    assert!(a.try_acquire(1).is_err());
    drop(of_b);
    let more = a.try_acquire(60).expect("borrowed");
    assert!(b.try_acquire(1).is_err());
    drop(of_a);
    assert_eq!(b.try_acquire(40).expect("a is above its floor without these").bytes(), 40);
    drop(more);
    let _one = a.acquire(1).expect("free");
    assert!(b.try_acquire(61).is_err());
    parent.check_conservation();
}

#[test]
fn floors_that_cannot_be_kept_are_refused() {
    let parent = Pool::new(Some(100));
    let a = child(&parent, "a", 40, None, 1);
    let held = parent.acquire(20).expect("free");
    let refused = parent.child("b", &options(41, None, 1));
    assert_eq!(
        refused.err(),
        Some(ChildError::FloorUnavailable { floor_bytes: 41, available_bytes: 40 })
    );
    drop(held);
    let b = child(&parent, "b", 60, None, 1);
    assert_eq!(
        b.child("c", &options(5, Some(4), 1)).err(),
        Some(ChildError::FloorAboveCeiling { floor_bytes: 5, ceiling_bytes: 4 })
    );
    // Within a floor there is room for the floors of children.
    let c = child(&b, "c", 60, None, 1);
    let _one = a.acquire(1).expect("its floor");
    assert!(parent.try_acquire(1).is_err());
    assert_eq!(c.try_acquire(60).expect("its floor").bytes(), 60);
    parent.check_conservation();
}

#[test]
fn requests_larger_than_what_floors_leave_are_admitted_alone() {
    // C3
    let parent = Pool::new(Some(100));
    let a = child(&parent, "a", 50, None, 1);
    let b = child(&parent, "b", 0, None, 1);
    let one = a.acquire(1).expect("free");
    let oversized = ask(&b, 60);
    let within_floor = a.try_acquire(49).expect("a floor is kept even then");
    drop(within_floor);
    drop(one);
    let oversized = oversized.end().expect("nothing else is held");
    assert_eq!(parent.held_bytes(), 60);
    parent.check_conservation();
    drop(oversized);
    let one = b.acquire(1).expect("free");
    let oversized = ask(&a, 1000);
    drop(one);
    assert_eq!(oversized.end().expect("nothing else is held").bytes(), 1000);
}

#[test]
fn what_comes_back_goes_to_who_has_least_for_its_weight() {
    // C12
    let parent = Pool::new(Some(60));
    let heavy = child(&parent, "heavy", 0, None, 2);
    let light = child(&parent, "light", 0, None, 1);
    let mut all = light.acquire(60).expect("free");
    let light_waits: Vec<_> = (0..30).map(|_| ask(&light, 1)).collect();
    let heavy_waits: Vec<_> = (0..60).map(|_| ask(&heavy, 1)).collect();
    // The light one asked first, but holds everything.
    all.shrink(30);
    wait_for(|| heavy.held_bytes() == 30);
    assert_eq!(light.held_bytes(), 30);
    all.shrink(0);
    // With everything contended the shares are as the weights.
    wait_for(|| parent.held_bytes() == 60 && heavy.held_bytes() == 40);
    assert_eq!(light.held_bytes(), 20);
    parent.check_conservation();
    parent.close();
    let granted = light_waits.into_iter().chain(heavy_waits).filter_map(|asked| asked.end().ok());
    assert_eq!(granted.count(), 60);
    parent.assert_all_returned();
}

#[test]
fn a_request_beyond_its_fair_share_is_not_passed_for_ever() {
    // C12
    let parent = Pool::new(Some(10));
    let greedy = child(&parent, "greedy", 0, None, 1);
    let modest = child(&parent, "modest", 0, None, 1);
    let mut greedy_holds = greedy.acquire(6).expect("free");
    let mut modest_holds: Vec<Permit> = (0..4).map(|_| modest.acquire(1).expect("free")).collect();
    let large = ask(&greedy, 2);
    // The other one always has less for its weight, and always wants the byte that it returns.
    let mut small: Vec<_> = (0..20).map(|_| ask(&modest, 1)).collect();
    let mut passed = 0;
    loop {
        modest_holds.pop();
        if modest.held_bytes() == 4 {
            passed += 1;
            assert!(!small.is_empty(), "the large one was passed for ever");
            modest_holds.push(small.remove(0).end().expect("granted"));
        } else {
            // Its turn has come: the next byte stays free too, and then it fits.
            modest_holds.pop();
            break;
        }
    }
    greedy_holds.merge(large.end().expect("granted"));
    assert_eq!((greedy_holds.bytes(), passed), (8, 11), "one more than the capacity has passed it");
    parent.check_conservation();
    parent.close();
}

#[test]
fn a_full_child_does_not_hold_up_its_siblings() {
    let parent = Pool::new(Some(100));
    let small = child(&parent, "small", 0, Some(10), 1);
    let other = child(&parent, "other", 0, None, 1);
    let full = small.acquire(10).expect("free");
    let waits = ask(&small, 5);
    assert_eq!(parent.waiting()[0].reason, WaitReason::Full { pool: Arc::from("small") });
    let of_other = other.acquire(90).expect("nobody waits for this");
    assert!(waits.is_waiting());
    drop(full);
    drop(waits.end().expect("below its ceiling"));
    drop(of_other);
    parent.check_conservation();
}

#[test]
fn elastic_holders_give_back_before_anybody_waits() {
    // C12
    let parent = Pool::new(Some(100));
    let write = child(&parent, "write", 40, Some(40), 1);
    let cache = Arc::new(Cache::default());
    let pool = cache.pool(&parent, 10);
    // The cache may use the other's floor while that is unused.
    cache.fill(&pool, 100);
    assert!(pool.try_acquire(1).is_err());
    assert_eq!(*cache.asked.lock().expect("no panic"), [0u64; 0], "it does not press itself");
    assert_eq!(write.try_acquire(25).expect("the cache gives back").bytes(), 25);
    let of_write = write.acquire(40).expect("the cache gives back");
    assert_eq!((pool.held_bytes(), parent.held_bytes()), (60, 100));
    assert_eq!(*cache.asked.lock().expect("no panic"), [25, 15]);
    // No deeper than its floor.
    assert!(matches!(parent.try_acquire(51), Err(TryAcquireError::WouldBlock)));
    assert_eq!(parent.try_acquire(50).expect("the cache gives back").bytes(), 50);
    assert_eq!(pool.held_bytes(), 10);
    assert_eq!(write.stats().waits, 0);
    drop(of_write);
    parent.check_conservation();
}

#[test]
fn a_waiter_asks_again_for_what_was_pinned() {
    let parent = Pool::new(Some(10));
    let cache = Arc::new(Cache::default());
    let pool = cache.pool(&parent, 0);
    // Held by nobody that can be reclaimed, as a pinned cache entry is.
    let pinned = pool.try_acquire(10).expect("free");
    let waits = ask(&parent, 4);
    wait_for(|| cache.asked.lock().expect("no panic").len() >= 2);
    assert_eq!(pool.wanted_bytes(), 4);
    cache.entries.lock().expect("no panic").push(pinned);
    assert_eq!(waits.end().expect("unpinned and given back").bytes(), 4);
    assert_eq!(pool.wanted_bytes(), 0);
}

#[test]
fn elastic_requests_come_last() {
    let parent = Pool::new(Some(10));
    let cache =
        parent.elastic_child("cache", &options(0, None, 100), Arc::new(|_| {})).expect("no floor");
    let other = child(&parent, "other", 0, None, 1);
    let held = other.acquire(10).expect("free");
    let of_cache = ask(&cache, 1);
    let of_other = ask(&other, 10);
    drop(held);
    let held = of_other.end().expect("first, although it came later");
    assert!(of_cache.is_waiting());
    drop(held);
    drop(of_cache.end().expect("free"));
}

#[test]
fn closing_a_pool_ends_those_below_and_no_others() {
    // C6
    let parent = Pool::new(Some(10));
    let a = child(&parent, "a", 0, None, 1);
    let below = child(&a, "a/b", 0, None, 1);
    let b = child(&parent, "b", 0, None, 1);
    let held = b.acquire(10).expect("free");
    let waits = ask(&below, 1);
    a.close();
    assert!(matches!(waits.end(), Err(AcquireError::Closed)));
    assert!(matches!(below.try_acquire(1), Err(TryAcquireError::Closed)));
    let waits = ask(&b, 1);
    drop(held);
    drop(waits.end().expect("open"));
    parent.poison(Arc::new(std::io::Error::other("gone")));
    assert!(matches!(b.try_acquire(1), Err(TryAcquireError::Poisoned { .. })));
    assert!(matches!(below.try_acquire(1), Err(TryAcquireError::Closed)), "the nearest end");
    parent.check_conservation();
}

#[test]
fn ceilings_can_be_moved_in_use() {
    let parent = Pool::new(Some(10));
    let a = child(&parent, "a", 2, Some(4), 1);
    let held = a.acquire(4).expect("free");
    let waits = ask(&a, 3);
    a.resize(Some(7));
    drop(waits.end().expect("below the new ceiling"));
    a.resize(Some(1));
    assert!(a.try_acquire(1).is_err());
    drop(held);
    assert_eq!(a.children().len(), 0);
    assert_eq!(parent.children()[0].ceiling_bytes, Some(1));
    parent.check_conservation();
}

#[test]
fn trying_is_not_waiting() {
    // Somebody waits, so that each try has to find out whether its turn is now.
    let parent = Pool::new(Some(10));
    let full = child(&parent, "full", 0, Some(1), 1);
    let other = child(&parent, "other", 0, None, 1);
    let cache = Arc::new(Cache::default());
    let _cache = cache.pool(&parent, 0);
    let told = Arc::new(Mutex::new(Vec::new()));
    let held = full.acquire(1).expect("free");
    let waits = ask(&full, 1);
    let tell = Arc::clone(&told);
    other.on_pressure(&[2.0], move |pressure| tell.lock().expect("no panic").push(pressure.level));
    let _rest = other.acquire(9).expect("free");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let tries = scope.spawn(|| {
            let refused = (0..2000).filter(|_| other.try_acquire(1).is_err()).count();
            done.store(true, std::sync::atomic::Ordering::SeqCst);
            refused
        });
        while !done.load(std::sync::atomic::Ordering::SeqCst) {
            assert_eq!((parent.waiters(), other.waiters()), (1, 0), "a try was counted as waiting");
        }
        assert_eq!(tries.join().expect("no panic"), 2000);
    });
    assert_eq!(other.stats().waits, 0);
    assert!(told.lock().expect("no panic").is_empty(), "a try was told as waiting");
    drop(held);
    drop(waits.end().expect("below its ceiling"));
    parent.check_conservation();
}
