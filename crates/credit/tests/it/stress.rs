//! Real threads, more of them than cores, doing everything at once.
//!
//! Also for ThreadSanitizer, by the command in the README. Threads are joined by their handles, which
//! it understands, and not by the end of a scope.

use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use credit::{AcquireError, ChildOptions, Permit, Pool};

/// A generator that needs no crate and gives each thread its own sequence.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn threads() -> u64 {
    4 * std::thread::available_parallelism().map_or(2, |cores| cores.get() as u64)
}

const CAPACITY: u64 = 1000;

fn one_thread(pool: &Pool, seed: u64, steps: u64, granted: &AtomicU64) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1);
    let mut held: Vec<Permit> = Vec::new();
    for _ in 0..steps {
        if random.below(4) == 0 {
            // With what it holds, so that others come to wait also where threads outnumber cores.
            std::thread::yield_now();
        }
        match random.below(10) {
            // Nobody waits with something in hand: that is the pool's rule against deadlock.
            0..4 => {
                held.clear();
                let bytes = if random.below(50) == 0 { CAPACITY + 1 } else { random.below(400) };
                let permit = pool.acquire(bytes).expect("open");
                assert!(pool.held_bytes() >= permit.bytes());
                granted.fetch_add(bytes, Ordering::Relaxed);
                held.push(permit);
            }
            4 => {
                held.clear();
                let timeout = Duration::from_micros(random.below(300));
                match pool.acquire_timeout(random.below(600), timeout) {
                    Ok(permit) => held.push(permit),
                    Err(AcquireError::TimedOut) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            5 => held.extend(pool.try_acquire(random.below(300)).ok()),
            6 => {
                if let Some(permit) = held.last_mut()
                    && let Some(part) = permit.split(random.below(100))
                {
                    held.push(part);
                }
            }
            7 => {
                if let (Some(mut a), Some(b)) = (held.pop(), held.pop()) {
                    a.merge(b);
                    a.shrink(random.below(300));
                    held.push(a);
                }
            }
            8 => {
                if let Some(permit) = held.pop() {
                    let bytes = permit.forget();
                    pool.release_raw(bytes / 2);
                    pool.release_raw(bytes - bytes / 2);
                }
            }
            _ => drop(held.pop()),
        }
    }
}

fn stress(pools: &[Pool], root: &Pool, steps: u64) {
    let granted = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads())
            .map(|seed| {
                let pool = &pools[seed as usize % pools.len()];
                let granted = &granted;
                scope.spawn(move || one_thread(pool, seed, steps, granted))
            })
            .collect();
        let watcher = scope.spawn(|| {
            let mut random = Random(7);
            while !stop.load(Ordering::Relaxed) {
                root.check_conservation();
                root.resize(Some(CAPACITY - random.below(300)));
                drop((root.waiting(), root.stats(), root.holders()));
                root.set_ledger(random.below(4) == 0);
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        let ends: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        stop.store(true, Ordering::Relaxed);
        for end in ends {
            end.expect("no panic");
        }
        watcher.join().expect("no panic");
    });
    assert!(granted.load(Ordering::Relaxed) > 0);
    assert_eq!(root.waiters(), 0);
    root.check_conservation();
    root.assert_all_returned();
}

#[test]
fn a_flat_pool_under_stress() {
    // C4, C6, C12
    let pool = Pool::new(Some(CAPACITY));
    stress(std::slice::from_ref(&pool), &pool, 3000);
    assert!(pool.stats().waits > 0, "the stress was none");
}

#[test]
fn a_tree_under_stress() {
    // C4, C6, C12
    let root = Pool::new(Some(CAPACITY));
    let told = Arc::new(AtomicU64::new(0));
    let tell = Arc::clone(&told);
    root.on_pressure(&[0.5, 0.9], move |_| {
        tell.fetch_add(1, Ordering::Relaxed);
    });
    let options =
        |floor_bytes, ceiling_bytes, weight| ChildOptions { floor_bytes, ceiling_bytes, weight };
    let a = root.child("a", &options(200, Some(700), 3)).expect("fits");
    let b = root.child("b", &options(0, None, 1)).expect("fits");
    let below = a.child("a/below", &options(100, None, 1)).expect("fits");
    let cache = root.elastic_child("cache", &options(0, None, 1), Arc::new(|_| {})).expect("fits");
    stress(&[a, b, below, cache, root.clone()], &root, 1500);
    assert!(root.children().is_empty());
    assert!(told.load(Ordering::Relaxed) > 0);
}

#[test]
fn pools_come_and_go_while_permits_live_on() {
    let kept = Arc::new(());
    for round in 0..200 {
        let pool = Pool::new(Some(CAPACITY));
        let witness = Arc::clone(&kept);
        pool.on_pressure(&[2.0], move |_| drop(Arc::clone(&witness)));
        let permits: Vec<Permit> = (0..4).map(|_| pool.acquire(10).expect("free")).collect();
        let nested = round % 2 == 0;
        let child = nested.then(|| pool.child("child", &ChildOptions::default()).expect("fits"));
        let mut threads: Vec<_> =
            permits.into_iter().map(|permit| std::thread::spawn(move || drop(permit))).collect();
        threads.push(std::thread::spawn(move || drop(pool)));
        threads.push(std::thread::spawn(move || drop(child)));
        for thread in threads {
            thread.join().expect("no panic");
        }
    }
    assert_eq!(Arc::strong_count(&kept), 1, "accounts have leaked");
}

/// Plain data that only who holds the one credit touches.
struct Guarded(UnsafeCell<u64>);

// SAFETY: `UnsafeCell<u64>` may be shared as long as accesses exclude each other and are ordered, which
// the pool of one credit promises; ThreadSanitizer checks that it keeps the promise.
unsafe impl Sync for Guarded {}

/// ThreadSanitizer reports it when grants and releases are relaxed.
#[test]
fn stress_a_release_happens_before_the_next_grant() {
    let pool = Pool::new(Some(1));
    let guarded = Arc::new(Guarded(UnsafeCell::new(0)));
    let threads: Vec<_> = (0..threads())
        .map(|_| {
            let (pool, guarded) = (pool.clone(), Arc::clone(&guarded));
            std::thread::spawn(move || {
                let mut times = 0;
                for round in 0..2000 {
                    // By the fast path and by waiting.
                    let permit = if round % 8 == 0 {
                        pool.acquire(1).ok()
                    } else {
                        pool.try_acquire(1).ok()
                    };
                    if permit.is_some() {
                        // SAFETY: the permit is the only one; see `Guarded`.
                        unsafe { *guarded.0.get() += 1 };
                        times += 1;
                    }
                    drop(permit);
                    std::thread::yield_now();
                }
                times
            })
        })
        .collect();
    let times: u64 = threads.into_iter().map(|thread| thread.join().expect("no panic")).sum();
    // SAFETY: all threads have ended.
    assert_eq!(unsafe { *guarded.0.get() }, times);
}
