//! A pool without parent or children.

use std::sync::Arc;
use std::time::{Duration, Instant};

use credit::{AcquireError, Pool, TryAcquireError};

use crate::{ask, ask_by, wait_for};

#[test]
fn unlimited_pools_grant_everything_and_count_it() {
    // C2
    for capacity in [None, Some(0)] {
        let pool = Pool::new(capacity);
        assert_eq!((pool.capacity_bytes(), pool.free_bytes()), (None, None));
        let big = pool.acquire(1 << 45).expect("unlimited");
        let small = pool.try_acquire(7).expect("unlimited");
        assert_eq!(pool.held_bytes(), (1 << 45) + 7);
        drop((big, small));
        assert_eq!((pool.held_bytes(), pool.peak_bytes()), (0, (1 << 45) + 7));
        assert_eq!(pool.stats().acquisitions, 2);
        pool.check_conservation();
    }
}

#[test]
fn a_bounded_pool_grants_to_the_last_byte_and_no_further() {
    // C1
    let pool = Pool::new(Some(10));
    let six = pool.acquire(6).expect("free");
    let four = pool.try_acquire(4).expect("free");
    assert_eq!((pool.held_bytes(), pool.free_bytes()), (10, Some(0)));
    assert!(matches!(pool.try_acquire(1), Err(TryAcquireError::WouldBlock)));
    drop(six);
    assert_eq!(pool.free_bytes(), Some(6));
    assert_eq!((pool.used_fraction() * 10.0) as u64, 4);
    drop(four);
    assert_eq!((pool.held_bytes(), pool.peak_bytes()), (0, 10));
    pool.check_conservation();
    pool.assert_all_returned();
}

#[test]
fn nothing_is_granted_for_nothing() {
    // C4
    let pool = Pool::new(Some(1));
    let all = pool.acquire(1).expect("free");
    let mut none = pool.acquire(0).expect("0 bytes are always free");
    assert_eq!((none.bytes(), pool.held_bytes()), (0, 1));
    assert!(pool.try_acquire(0).is_ok());
    none.merge(all);
    assert_eq!(none.bytes(), 1);
    drop(none);
    assert_eq!(pool.held_bytes(), 0);
}

#[test]
fn splitting_merging_and_shrinking_conserve_bytes() {
    // C4
    let pool = Pool::new(Some(100));
    let mut whole = pool.acquire(100).expect("free");
    let mut part = whole.split(30).expect("enough");
    assert_eq!((whole.bytes(), part.bytes(), pool.held_bytes()), (70, 30, 100));
    assert!(whole.split(71).is_none());
    assert_eq!(whole.bytes(), 70);
    part.shrink(10);
    assert_eq!((part.bytes(), pool.held_bytes()), (10, 80));
    part.shrink(11);
    assert_eq!(part.bytes(), 10);
    whole.merge(part);
    assert_eq!((whole.bytes(), pool.held_bytes()), (80, 80));
    let rest = whole.split(80).expect("all of it");
    assert_eq!((whole.bytes(), rest.bytes()), (0, 80));
    drop(whole);
    assert_eq!(pool.held_bytes(), 80);
    drop(rest);
    assert_eq!(pool.held_bytes(), 0);
    pool.check_conservation();
}

#[test]
#[should_panic(expected = "permits of different pools")]
fn permits_of_different_pools_do_not_merge() {
    let (a, b) = (Pool::new(None), Pool::new(None));
    let mut permit = a.acquire(1).expect("free");
    permit.merge(b.acquire(1).expect("free"));
}

#[test]
fn raw_amounts_are_held_until_released_in_any_portions() {
    let pool = Pool::new(Some(10));
    assert_eq!(pool.acquire(8).expect("free").forget(), 8);
    assert_eq!((pool.held_bytes(), pool.stats().raw_bytes), (8, 8));
    pool.release_raw(5);
    pool.check_conservation();
    pool.release_raw(3);
    pool.release_raw(0);
    assert_eq!(pool.held_bytes(), 0);
}

#[test]
fn over_release_panics_even_if_others_hold_as_much() {
    // C4
    let pool = Pool::new(Some(10));
    let _other = pool.acquire(5).expect("free");
    assert_eq!(pool.acquire(3).expect("free").forget(), 3);
    let release = std::panic::AssertUnwindSafe(|| pool.release_raw(4));
    let message = std::panic::catch_unwind(release).expect_err("too much");
    let message = message.downcast::<String>().expect("a message");
    assert_eq!(*message, "4 raw bytes released, but only 3 are held");
    assert_eq!(pool.held_bytes(), 8, "nothing has changed");
    pool.release_raw(3);
    pool.check_conservation();
}

#[test]
fn sums_cannot_overflow() {
    // C4
    let pool = Pool::new(None);
    let _most = pool.acquire(Pool::BYTES_MAX).expect("all that can be counted");
    assert!(matches!(
        pool.try_acquire(1),
        Err(TryAcquireError::TooLarge { requested_bytes: 1, held_bytes: Pool::BYTES_MAX })
    ));
    assert!(matches!(pool.acquire(u64::MAX), Err(AcquireError::TooLarge { .. })));
    let bounded = Pool::new(Some(10));
    assert!(matches!(bounded.acquire(u64::MAX), Err(AcquireError::TooLarge { .. })));
    assert_eq!(bounded.waiters(), 0);
    pool.check_conservation();
}

#[test]
fn a_release_wakes_the_waiter() {
    let pool = Pool::new(Some(10));
    let held = pool.acquire(10).expect("free");
    let waiting = ask(&pool, 4);
    assert!(waiting.is_waiting());
    drop(held);
    assert_eq!(waiting.end().expect("released").bytes(), 4);
    let stats = pool.stats();
    assert_eq!((stats.acquisitions, stats.waits, stats.waits_refused), (2, 1, 0));
    assert!(stats.wait_total >= stats.wait_max && stats.wait_max > Duration::ZERO);
    pool.check_conservation();
}

#[test]
fn requests_are_served_in_order_and_only_those_that_fit() {
    // C12
    let pool = Pool::new(Some(10));
    let mut held = pool.acquire(10).expect("free");
    let large = ask(&pool, 8);
    let small = ask(&pool, 1);
    let last = ask(&pool, 2);
    // 7 are free: enough for both small ones, but the large one is before them.
    held.shrink(3);
    assert!(large.is_waiting() && small.is_waiting() && last.is_waiting());
    assert_eq!(pool.waiters(), 3);
    assert!(matches!(pool.try_acquire(1), Err(TryAcquireError::WouldBlock)));
    pool.check_conservation();
    // 8 + 1 fit now, 2 more do not.
    held.shrink(1);
    let (large, small) = (large.end().expect("fits"), small.end().expect("fits"));
    assert!(last.is_waiting());
    assert_eq!((pool.held_bytes(), pool.waiters()), (10, 1));
    drop(small);
    assert!(last.is_waiting());
    assert_eq!(pool.waiters(), 1);
    drop(held);
    drop(last.end().expect("fits"));
    drop(large);
    pool.assert_all_returned();
}

#[test]
fn overtaking_is_possible_where_it_was_asked_for() {
    // C12
    let pool = Pool::with_overtaking(Some(10));
    let mut held = pool.acquire(10).expect("free");
    let large = ask(&pool, 8);
    let small = ask(&pool, 2);
    held.shrink(6);
    assert_eq!(small.end().expect("fits").bytes(), 2);
    assert_eq!(pool.try_acquire(3).expect("fits").bytes(), 3);
    assert!(large.is_waiting());
    drop(held);
    assert_eq!(large.end().expect("fits").bytes(), 8);
    pool.check_conservation();
}

#[test]
fn an_oversized_request_waits_for_an_empty_pool_and_keeps_it() {
    // C3
    let pool = Pool::new(Some(10));
    let one = pool.acquire(1).expect("free");
    assert!(matches!(pool.try_acquire(11), Err(TryAcquireError::WouldBlock)));
    let oversized = ask(&pool, 25);
    let behind = ask(&pool, 1);
    assert!(oversized.is_waiting() && behind.is_waiting());
    assert_eq!(pool.waiters(), 2);
    drop(one);
    let oversized = oversized.end().expect("the pool is empty");
    assert_eq!((pool.held_bytes(), pool.free_bytes(), pool.peak_bytes()), (25, Some(0), 25));
    assert!(behind.is_waiting());
    assert_eq!(pool.waiters(), 1);
    assert!(matches!(pool.try_acquire(1), Err(TryAcquireError::WouldBlock)));
    pool.check_conservation();
    drop(oversized);
    drop(behind.end().expect("free again"));
    assert_eq!(pool.try_acquire(1_000_000).expect("the pool is empty").bytes(), 1_000_000);
    pool.assert_all_returned();
}

#[test]
fn deadlines_end_waiting_and_let_those_behind_through() {
    // C6
    let pool = Pool::new(Some(10));
    let _held = pool.acquire(5).expect("free");
    let large = ask_by(&pool, |pool| pool.acquire_timeout(9, Duration::from_millis(40)));
    let small = ask(&pool, 5);
    assert!(small.is_waiting());
    assert!(matches!(large.end(), Err(AcquireError::TimedOut)));
    // Nothing was released: the small one fits since nobody is before it any more.
    let small = small.end().expect("fits");
    let begun = Instant::now();
    let late = pool.acquire_deadline(1, begun);
    assert!(matches!(late, Err(AcquireError::TimedOut)));
    drop(small);
    assert_eq!(pool.acquire_deadline(1, begun).expect("free at once").bytes(), 1);
    assert_eq!(pool.acquire_timeout(1, Duration::MAX).expect("free at once").bytes(), 1);
    assert_eq!(pool.stats().waits_refused, 2);
    pool.check_conservation();
}

#[test]
fn close_wakes_everybody_and_refuses_from_then_on() {
    // C6
    let pool = Pool::new(Some(1));
    let held = pool.acquire(1).expect("free");
    let waiting: Vec<_> = (0..3).map(|_| ask(&pool, 1)).collect();
    pool.close();
    for waiting in waiting {
        assert!(matches!(waiting.end(), Err(AcquireError::Closed)));
    }
    assert!(matches!(pool.acquire(0), Err(AcquireError::Closed)));
    assert!(matches!(pool.try_acquire(1), Err(TryAcquireError::Closed)));
    assert_eq!((pool.waiters(), pool.held_bytes()), (0, 1));
    drop(held);
    assert_eq!(pool.held_bytes(), 0);
    pool.check_conservation();
}

#[test]
fn the_first_poison_stays() {
    // C6
    let pool = Pool::new(Some(1));
    let _held = pool.acquire(1).expect("free");
    let waiting = ask(&pool, 1);
    let cause = |text: &str| Arc::new(std::io::Error::other(text.to_owned()));
    pool.poison(cause("the disk is gone"));
    pool.poison(cause("and so is the log"));
    pool.close();
    for error in [waiting.end().unwrap_err(), pool.acquire(1).unwrap_err()] {
        let AcquireError::Poisoned { cause } = &error else { panic!("not poisoned: {error}") };
        assert_eq!(cause.to_string(), "the disk is gone");
        assert_eq!(
            std::error::Error::source(&error).map(ToString::to_string),
            Some("the disk is gone".to_owned())
        );
    }
    assert!(matches!(pool.try_acquire(1), Err(TryAcquireError::Poisoned { .. })));
}

#[test]
fn an_interruption_ends_the_waiting_of_now_and_not_the_pool() {
    // C6, C9
    let pool = Pool::new(Some(2));
    let held = pool.acquire(2).expect("free");
    let waiting: Vec<_> = (0..3).map(|_| ask(&pool, 1)).collect();
    pool.interrupt(Arc::new(std::io::Error::other("flushes are failing")));
    for waiting in waiting {
        let error = waiting.end().unwrap_err();
        let AcquireError::Interrupted { cause } = &error else {
            panic!("not interrupted: {error}")
        };
        assert_eq!(cause.to_string(), "flushes are failing");
    }
    let later = ask(&pool, 1);
    assert!(later.is_waiting());
    drop(held);
    drop(later.end().expect("the pool goes on"));
    pool.check_conservation();
}

#[test]
fn resizing_serves_those_who_fit_then() {
    // C12
    let pool = Pool::new(Some(10));
    let mut held = pool.acquire(10).expect("free");
    let waiting = ask(&pool, 10);
    pool.resize(Some(19));
    assert!(waiting.is_waiting());
    pool.resize(Some(20));
    let second = waiting.end().expect("fits");
    // Below what is held: nothing is granted until enough has come back.
    pool.resize(Some(5));
    assert_eq!((pool.held_bytes(), pool.free_bytes()), (20, Some(0)));
    drop(second);
    held.shrink(5);
    assert!(pool.try_acquire(1).is_err());
    held.shrink(4);
    assert!(pool.try_acquire(1).is_ok());
    let waiting = ask(&pool, 3);
    pool.resize(None);
    assert_eq!(waiting.end().expect("unlimited").bytes(), 3);
    assert_eq!(pool.capacity_bytes(), None);
    pool.check_conservation();
}

#[test]
fn permits_outlive_the_pool_and_the_account_goes_with_the_last() {
    let watched = Arc::new(());
    let kept = Arc::downgrade(&watched);
    let pool = Pool::new(Some(10));
    pool.on_pressure(&[2.0], move |_| drop(Arc::clone(&watched)));
    let mut permit = pool.acquire(10).expect("free");
    let part = permit.split(4).expect("enough");
    drop(pool);
    drop(permit);
    assert!(kept.upgrade().is_some());
    std::thread::spawn(move || drop(part)).join().expect("no panic");
    assert!(kept.upgrade().is_none(), "the account has leaked");
}

#[test]
fn acquisitions_are_counted_exactly_past_the_wrap_of_the_count() {
    let pool = Pool::new(Some(10));
    for _ in 0..100_000 {
        drop(pool.acquire(1));
    }
    // Each of these stops and starts the fast path, which also moves the count.
    for _ in 0..10 {
        pool.resize(Some(10));
    }
    assert_eq!(pool.stats().acquisitions, 100_000);
}

#[test]
fn a_panicking_holder_returns_its_bytes() {
    let pool = Pool::new(Some(10));
    let other = pool.clone();
    let result = std::thread::spawn(move || {
        let _permit = other.acquire(10);
        panic!("on purpose");
    })
    .join();
    assert!(result.is_err());
    assert_eq!(pool.held_bytes(), 0);
}

#[test]
fn waiters_are_counted() {
    let pool = Pool::new(Some(1));
    let held = pool.acquire(1).expect("free");
    let waiting = [ask(&pool, 1), ask(&pool, 1)];
    assert_eq!(pool.waiters(), 2);
    drop(held);
    for waiting in waiting {
        drop(waiting.end());
    }
    wait_for(|| pool.waiters() == 0);
    assert_eq!(pool.stats().waits, 2);
}
