//! The pool under a seeded scheduler: longer histories than loom can explore, each replayable by its seed.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test -p polder-credit --test shuttle`; a failure prints the schedule
//! that replays it.
#![cfg(shuttle)]

use credit::{ChildOptions, Pool};
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

/// Threads that hold bytes of a small tree by turns; each gets all that it asks for, and all comes back.
///
/// Seen to fail when `cancel` or `release` do not serve (they enter by `inspect_mut`): shuttle reports the deadlock.
#[test]
fn many_threads_share_a_tree() {
    // C6, C12
    shuttle::check_random(
        || {
            let root = Pool::new(Some(4));
            let floor = ChildOptions { floor_bytes: 1, ..ChildOptions::default() };
            let child = root.child("child", &floor).unwrap();
            let threads: Vec<_> = (0..4)
                .map(|number| {
                    let pool = if number % 2 == 0 { root.clone() } else { child.clone() };
                    thread::spawn(move || {
                        for _ in 0..3 {
                            let mut permit = pool.acquire(thread_rng().gen_range(1..7)).unwrap();
                            thread::yield_now();
                            permit.shrink(1);
                            drop(pool.try_acquire(1));
                        }
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
            assert_eq!((root.held_bytes(), root.waiters()), (0, 0));
            root.check_conservation();
        },
        2000,
    );
}
