//! Pressure, ledger and reports.

use std::sync::{Arc, Mutex};

use credit::{Pool, Pressure, WaitReason};

use crate::{ask, wait_for};

fn levels(pool: &Pool, thresholds: &[f64]) -> Arc<Mutex<Vec<usize>>> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    pool.on_pressure(thresholds, move |pressure: Pressure| {
        tell.lock().expect("no panic").push(pressure.level);
    });
    told
}

#[test]
fn crossing_a_threshold_is_told_once_each_way() {
    // C12
    let pool = Pool::new(Some(6400));
    let told = levels(&pool, &[0.75, 0.5]);
    let take = || std::mem::take(&mut *told.lock().expect("no panic"));
    let mut permit = pool.acquire(3199).expect("free");
    assert_eq!(take(), [0usize; 0]);
    permit.merge(pool.acquire(1).expect("free"));
    assert_eq!(take(), [1]);
    // Within the slack below the threshold the level stays.
    permit.shrink(3100);
    permit.merge(pool.acquire(100).expect("free"));
    assert_eq!(take(), [0usize; 0]);
    permit.merge(pool.acquire(3000).expect("free"));
    assert_eq!(take(), [2]);
    permit.shrink(3099);
    assert_eq!(take(), [0]);
    permit.merge(pool.acquire(3301).expect("free"));
    let waits = ask(&pool, 1000);
    // Told by the thread that asks, after it has queued.
    wait_for(|| told.lock().expect("no panic").len() == 2);
    assert_eq!(take(), [2, 3], "the top level: somebody waits");
    drop(permit);
    drop(waits.end().expect("free"));
    wait_for(|| told.lock().expect("no panic").last() == Some(&0));
    pool.check_conservation();
}

#[test]
fn a_watch_sees_how_things_stand_when_it_comes() {
    let pool = Pool::new(Some(10));
    let _held = pool.acquire(8).expect("free");
    assert_eq!(*levels(&pool, &[0.5]).lock().expect("no panic"), [1]);
    pool.resize(Some(100));
    let told = levels(&pool, &[0.05]);
    assert_eq!(*told.lock().expect("no panic"), [1]);
    pool.resize(Some(1000));
    assert_eq!(*told.lock().expect("no panic"), [1, 0]);
}

#[test]
fn a_callback_may_use_the_pool() {
    // By a weak reference: a callback that owned its pool would keep it for ever.
    let pool = Arc::new(Pool::new(Some(10)));
    let weak = Arc::downgrade(&pool);
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&kept);
    pool.on_pressure(&[0.5, 0.9], move |pressure| {
        if (pressure.level_before, pressure.level) == (0, 1)
            && let Some(pool) = weak.upgrade()
        {
            let more = pool.try_acquire(5);
            keep.lock().expect("no panic").push(more);
        }
    });
    let _held = pool.acquire(5).expect("free");
    assert_eq!(pool.held_bytes(), 10);
    let taken = std::mem::take(&mut *kept.lock().expect("no panic"));
    assert!(taken.len() == 1 && taken[0].is_ok());
}

#[test]
fn parents_are_watched_too() {
    let parent = Pool::new(Some(10));
    let told = levels(&parent, &[0.5]);
    let child = parent.child("a", &credit::ChildOptions::default()).expect("no floor");
    drop(child.acquire(5).expect("free"));
    assert_eq!(*told.lock().expect("no panic"), [1, 0]);
}

#[test]
fn the_ledger_names_holders_and_follows_their_permits() {
    // C12
    let pool = Pool::new(Some(100));
    let before = pool.acquire(1).expect("free");
    pool.set_ledger(true);
    let mut a = pool.request(10).label("arena").acquire().expect("free");
    let line = line!() - 1;
    let mut b = pool.acquire(5).expect("free");
    let holders = pool.holders();
    assert_eq!(holders.len(), 2);
    assert_eq!((holders[0].bytes, holders[0].label), (10, Some("arena")));
    assert_eq!((holders[0].location.file(), holders[0].location.line()), (file!(), line));
    assert_eq!(holders[1].label, None);
    let part = a.split(3).expect("enough");
    b.merge(part);
    a.shrink(6);
    let bytes = |pool: &Pool| pool.holders().iter().map(|holder| holder.bytes).collect::<Vec<_>>();
    assert_eq!(bytes(&pool), [8, 6]);
    pool.check_conservation();
    assert_eq!(b.forget(), 8);
    assert_eq!(bytes(&pool), [6]);
    pool.release_raw(8);
    drop(before);
    pool.set_ledger(false);
    pool.set_ledger(true);
    assert!(pool.holders().is_empty(), "a new ledger knows nothing of older permits");
    drop(a);
    pool.check_conservation();
    pool.assert_all_returned();
}

#[test]
fn a_leak_names_its_holder() {
    // C7
    let pool = Pool::new(Some(100));
    pool.set_ledger(true);
    let _leak = pool.request(10).label("iterator").acquire().expect("free");
    let checked =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.assert_all_returned()));
    let message = *checked.expect_err("10 bytes are held").downcast::<String>().expect("a message");
    assert!(message.starts_with("10 bytes are still held"), "{message}");
    assert!(message.contains("iterator") && message.contains(file!()), "{message}");
}

#[test]
fn waiting_requests_say_why() {
    // C12
    let pool = Pool::new(Some(10));
    let held = pool.acquire(5).expect("free");
    let large = ask(&pool, 10);
    let small = ask(&pool, 1);
    let waiting = pool.waiting();
    assert_eq!(waiting.len(), 2);
    assert_eq!(waiting[0].reason, WaitReason::Full { pool: Arc::from("pool") });
    assert_eq!((waiting[1].bytes, &waiting[1].reason), (1, &WaitReason::Turn));
    drop(held);
    drop(large.end());
    drop(small.end());
}

#[test]
fn waiters_that_were_granted_are_listed_under_their_own_request() {
    let pool = Pool::new(Some(10));
    pool.set_ledger(true);
    let held = pool.acquire(10).expect("free");
    let waits = crate::ask_by(&pool, |pool| pool.request(4).label("waited").acquire());
    drop(held);
    let permit = waits.end().expect("free");
    assert_eq!(
        pool.holders().iter().map(|h| (h.bytes, h.label)).collect::<Vec<_>>(),
        [(4, Some("waited"))]
    );
    drop(permit);
    assert!(pool.holders().is_empty());
}
