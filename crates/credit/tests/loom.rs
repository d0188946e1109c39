//! Models of the pool's concurrency, over the production code, explored by loom.
//!
//! Run them all with
//! `RUSTFLAGS="--cfg loom" cargo test -p polder-credit --release --features async --test loom`.
//! Each model names a deliberate bug that it was seen to catch. loom has no time: a deadline is
//! something that another thread lets pass. Freed accounts stay in memory, marked, so that a late use
//! is a failed assertion. Plain `Arc`s of the standard library are trusted, not modelled.
#![cfg(loom)]

use credit::{AcquireError, ChildOptions, Deadline, Permit, Pool};
use loom::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use loom::sync::{Arc, Mutex};
use loom::thread;

/// Runs `body` in every order with at most three preemptions.
fn model(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(body);
}

fn settled(pool: &Pool, held: u64) {
    assert_eq!((pool.held_bytes(), pool.waiters()), (held, 0));
    pool.check_conservation();
}

/// Bug: a release that finds `SLOW` set returns its bytes without the lock (`release_fast` ignores the
/// flag): the waiter is never woken, and loom reports the deadlock.
#[test]
fn a_release_wakes_who_waits() {
    // C1, C6
    model(|| {
        let pool = Pool::new(Some(1));
        let held = pool.acquire(1).unwrap();
        let asker = pool.clone();
        let thread = thread::spawn(move || drop(asker.acquire(1).unwrap()));
        drop(held);
        thread.join().unwrap();
        settled(&pool, 0);
        assert_eq!((pool.peak_bytes(), pool.stats().acquisitions), (1, 2));
    });
}

/// Bug: `grant_fast` does not look at the limit again after a failed exchange: two hold 1 byte of 1.
#[test]
fn two_do_not_hold_what_is_enough_for_one() {
    // C1
    model(|| {
        let pool = Pool::new(Some(1));
        let inside = Arc::new(AtomicUsize::new(0));
        let work = move |pool: &Pool, inside: &AtomicUsize| {
            let permit = pool.acquire(1).unwrap();
            assert_eq!(inside.fetch_add(1, SeqCst), 0, "both are in");
            inside.fetch_sub(1, SeqCst);
            drop(permit);
        };
        let (other_pool, other_inside) = (pool.clone(), Arc::clone(&inside));
        let thread = thread::spawn(move || work(&other_pool, &other_inside));
        work(&pool, &inside);
        thread.join().unwrap();
        settled(&pool, 0);
    });
}

/// Bug: `end` leaves the queue as it is: who queued before it waits for ever.
#[test]
fn close_reaches_who_waits() {
    // C6
    model(|| {
        let pool = Pool::new(Some(1));
        let _held = pool.acquire(1).unwrap();
        let asker = pool.clone();
        let thread = thread::spawn(move || asker.acquire(1));
        pool.close();
        assert!(matches!(thread.join().unwrap(), Err(AcquireError::Closed)));
        settled(&pool, 1);
    });
}

/// Bug: as above; or a release that grants after the end, which leaves both an error and a grant.
#[test]
fn close_against_release_and_a_waiter() {
    // C6
    model(|| {
        let pool = Pool::new(Some(1));
        let held = pool.acquire(1).unwrap();
        let (asker, closer) = (pool.clone(), pool.clone());
        let asking = thread::spawn(move || asker.acquire(1).map(drop));
        let closing = thread::spawn(move || closer.close());
        drop(held);
        closing.join().unwrap();
        let result = asking.join().unwrap();
        assert!(matches!(result, Ok(()) | Err(AcquireError::Closed)));
        settled(&pool, 0);
    });
}

/// Bug: `refuse_waiting` ends the waiter before it tells it the cause: one that looks in between finds none, and takes
/// the open pool for closed.
#[test]
fn an_interruption_against_a_release() {
    // C6
    model(|| {
        let pool = Pool::new(Some(1));
        let held = pool.acquire(1).unwrap();
        let (asker, interrupter) = (pool.clone(), pool.clone());
        let asking = thread::spawn(move || asker.acquire(1).map(drop));
        let cause = std::sync::Arc::new(std::io::Error::other("flushes are failing"));
        let interrupting = thread::spawn(move || interrupter.interrupt(cause));
        drop(held);
        interrupting.join().unwrap();
        let result = asking.join().unwrap();
        assert!(matches!(result, Ok(()) | Err(AcquireError::Interrupted { .. })), "{result:?}");
        settled(&pool, 0);
        drop(pool.acquire(1).unwrap());
    });
}

/// Bug: a waiter whose time is up does not obey a grant that came in the last moment (`cancel` returns
/// `true` for it): the bytes are lost.
#[test]
fn a_deadline_against_a_release() {
    // C6
    model(|| {
        let pool = Pool::new(Some(1));
        let held = pool.acquire(1).unwrap();
        let deadline = Deadline::new();
        let (asker, until) = (pool.clone(), deadline.clone());
        let asking = thread::spawn(move || asker.request(1).acquire_until(&until).map(drop));
        let expiring = thread::spawn(move || deadline.expire());
        drop(held);
        expiring.join().unwrap();
        assert!(matches!(asking.join().unwrap(), Ok(()) | Err(AcquireError::TimedOut)));
        settled(&pool, 0);
    });
}

/// Bug: nobody is served when a waiter gives up: the one behind it, who fits, waits for ever.
#[test]
fn a_deadline_lets_those_behind_through() {
    // C6, C12
    model(|| {
        let pool = Pool::new(Some(2));
        let _held = pool.acquire(1).unwrap();
        let deadline = Deadline::new();
        let (large, small, until) = (pool.clone(), pool.clone(), deadline.clone());
        let large = thread::spawn(move || large.request(2).acquire_until(&until).map(drop));
        let small = thread::spawn(move || drop(small.acquire(1).unwrap()));
        deadline.expire();
        assert!(matches!(large.join().unwrap(), Err(AcquireError::TimedOut)));
        small.join().unwrap();
        settled(&pool, 1);
    });
}

/// Bug: `obstacle` admits an oversized request when it fits beside what is held (no `held == 0`).
#[test]
fn an_oversized_request_is_alone() {
    // C3
    model(|| {
        let pool = Pool::new(Some(1));
        let inside = Arc::new(AtomicUsize::new(0));
        let (other_pool, other_inside) = (pool.clone(), Arc::clone(&inside));
        let thread = thread::spawn(move || {
            let permit = other_pool.acquire(1).unwrap();
            assert_eq!(other_inside.fetch_add(1, SeqCst), 0, "the oversized one is in");
            other_inside.fetch_sub(1, SeqCst);
            drop(permit);
        });
        let permit = pool.acquire(3).unwrap();
        assert_eq!(inside.fetch_add(1, SeqCst), 0, "another one is in");
        assert_eq!(pool.held_bytes(), 3);
        inside.fetch_sub(1, SeqCst);
        drop(permit);
        thread.join().unwrap();
        settled(&pool, 0);
    });
}

/// Bug: `start_fast_path` does not raise the count: a stale exchange succeeds after the resize.
#[test]
fn nothing_is_granted_beyond_a_capacity_that_was_lowered() {
    // C12
    model(|| {
        let pool = Pool::new(Some(2));
        let held = pool.acquire(1).unwrap();
        let asker = pool.clone();
        let thread = thread::spawn(move || asker.try_acquire(1));
        pool.resize(Some(1));
        // What is granted now would be the second byte of one.
        let held_then = pool.held_bytes();
        let permit = thread.join().unwrap();
        assert_eq!(pool.held_bytes(), held_then, "granted after the resize");
        assert_eq!(permit.is_ok(), held_then == 2);
        drop((permit, held));
        settled(&pool, 0);
    });
}

/// Bug: `resize` does not serve: the waiter that fits now is not woken.
#[test]
fn a_larger_capacity_wakes_who_fits() {
    // C12
    model(|| {
        let pool = Pool::new(Some(1));
        let _held = pool.acquire(1).unwrap();
        let asker = pool.clone();
        let thread = thread::spawn(move || drop(asker.acquire(1).unwrap()));
        pool.resize(Some(2));
        thread.join().unwrap();
        settled(&pool, 1);
    });
}

/// Bug: what a child holds, its parent does not (`shift` stops after the first node).
#[test]
fn a_child_against_its_parent() {
    // C12
    model(|| {
        let parent = Pool::new(Some(1));
        let child = parent.child("child", &ChildOptions::default()).unwrap();
        let inside = Arc::new(AtomicUsize::new(0));
        let other_inside = Arc::clone(&inside);
        let thread = thread::spawn(move || {
            let permit = child.acquire(1).unwrap();
            assert_eq!(other_inside.fetch_add(1, SeqCst), 0, "the parent's is in");
            other_inside.fetch_sub(1, SeqCst);
            drop(permit);
        });
        let permit = parent.acquire(1).unwrap();
        assert_eq!(inside.fetch_add(1, SeqCst), 0, "the child's is in");
        inside.fetch_sub(1, SeqCst);
        drop(permit);
        thread.join().unwrap();
        settled(&parent, 0);
        assert!(parent.children().is_empty());
    });
}

/// Bug: `plant` leaves the fast path of the parent open (`is_flat` always true): the two accounts part.
#[test]
fn a_child_is_made_while_its_parent_is_used() {
    // C12
    model(|| {
        let parent = Pool::new(Some(2));
        let user = parent.clone();
        let thread = thread::spawn(move || drop(user.acquire(2).unwrap()));
        let child = parent.child("child", &ChildOptions::default()).unwrap();
        drop(child.acquire(1).unwrap());
        drop(child);
        thread.join().unwrap();
        settled(&parent, 0);
    });
}

/// Bug: handles detach before the last byte is back and free the account (`remove_if_done` ignores
/// what is held): the permit's use of it is seen.
#[test]
fn the_account_lives_until_the_last_byte() {
    // C4
    model(|| {
        let pool = Pool::new(Some(2));
        let mut permit = pool.acquire(2).unwrap();
        let part: Permit = permit.split(1).unwrap();
        let other = pool.clone();
        let thread = thread::spawn(move || {
            drop(part);
            drop(other);
        });
        drop(pool);
        drop(permit);
        thread.join().unwrap();
    });
}

/// Bug: elastic holders are asked before the request is queued, but not again afterwards (`plead` left
/// out of `Pending::wait`): an entry that becomes evictable in between is asked for by nobody.
#[test]
fn a_reclaimer_gives_back_for_who_waits() {
    // C12
    model(|| {
        let parent = Pool::new(Some(1));
        // loom's mutex, or loom would not see that the order of what happens to the entry matters.
        let entry = std::sync::Arc::new(Mutex::new(None::<Permit>));
        let evicted = std::sync::Arc::clone(&entry);
        let evict = move || {
            let entry = evicted.lock().unwrap().take();
            drop(entry);
        };
        let reclaim = evict.clone();
        let cache = parent
            .elastic_child(
                "cache",
                &ChildOptions::default(),
                std::sync::Arc::new(move |_| reclaim()),
            )
            .unwrap();
        let pinned = cache.try_acquire(1).unwrap();
        let asker = parent.clone();
        let thread = thread::spawn(move || drop(asker.acquire(1).unwrap()));
        // Unpinned: from here on it can be evicted, and who was asked in vain is looked after.
        *entry.lock().unwrap() = Some(pinned);
        if cache.wanted_bytes() > 0 {
            evict();
        }
        thread.join().unwrap();
        evict();
        drop(cache);
        settled(&parent, 0);
    });
}

#[cfg(feature = "async")]
mod tasks {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// Bug: a dropped future only leaves the queue (`Pending::drop` does not return a grant).
    #[test]
    fn a_dropped_future_leaves_no_trace() {
        // C6
        model(|| {
            let pool = Pool::new(Some(1));
            let held = pool.acquire(1).unwrap();
            let asker = pool.clone();
            let thread = thread::spawn(move || {
                let mut future = pin!(asker.acquire_async(1));
                let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                if let Poll::Ready(permit) = polled {
                    drop(permit.unwrap());
                }
            });
            drop(held);
            thread.join().unwrap();
            settled(&pool, 0);
            assert!(pool.try_acquire(1).is_ok());
        });
    }

    /// Bug: the future looks at its standing before it names its waker: it sleeps for ever.
    #[test]
    fn a_task_is_woken() {
        // C1
        model(|| {
            let pool = Pool::new(Some(1));
            let held = pool.acquire(1).unwrap();
            let asker = pool.clone();
            let thread = thread::spawn(move || {
                drop(loom::future::block_on(asker.acquire_async(1)).unwrap());
            });
            drop(held);
            thread.join().unwrap();
            settled(&pool, 0);
        });
    }
}
