//! Loom models of the completion ring: run with `RUSTFLAGS="--cfg loom" cargo test -p polder-base --release --test loom`.
#![cfg(loom)]

use base::ring::{CompletionRing, RingFailed};
use base::sync::Arc;
use base::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

fn model(run: impl Fn() + Sync + Send + 'static) {
    model_with(3, run);
}

fn model_with(preemptions: usize, run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(run);
}

/// W4. Made to fail by: a Relaxed mark in `complete`, a Relaxed `published`, no fence in `advance` or in `complete`.
#[test]
fn who_sees_a_value_sees_what_was_done_before_all_tickets_up_to_it() {
    model(|| {
        let ring = Arc::new(CompletionRing::new(4, 0));
        let done: Arc<Vec<AtomicU64>> = Arc::new((0..2).map(|_| AtomicU64::new(0)).collect());
        let writers: Vec<_> = [1u64, 0]
            .into_iter()
            .map(|ticket| {
                let (ring, done) = (Arc::clone(&ring), Arc::clone(&done));
                thread::spawn(move || {
                    done[ticket as usize].store(1, Ordering::Relaxed);
                    ring.complete(ticket, ticket + 1);
                })
            })
            .collect();
        let seen = ring.published();
        for ticket in 0..seen {
            assert_eq!(done[ticket as usize].load(Ordering::Relaxed), 1);
        }
        for writer in writers {
            writer.join().unwrap();
        }
        assert_eq!(ring.published(), 2, "a finished ticket was left behind");
    });
}

/// C6. Made to fail (as a deadlock) by: no wake in `advance`, or by looking at `published` before joining the sleepers.
#[test]
fn a_waiter_is_woken() {
    model(|| {
        let ring = Arc::new(CompletionRing::new(2, 0));
        let other = Arc::clone(&ring);
        let writer = thread::spawn(move || other.complete(0, 1));
        ring.complete(1, 2);
        assert_eq!(ring.wait(1, 2), Ok(()));
        writer.join().unwrap();
    });
}

/// A ticket that needs an old one's slot is taken only after that one was published.
#[test]
fn room_is_waited_for() {
    model(|| {
        let ring = Arc::new(CompletionRing::new(1, 0));
        let other = Arc::clone(&ring);
        let writer = thread::spawn(move || other.complete(0, 1));
        assert_eq!(ring.wait_for_room(1), Ok(()));
        assert_eq!(ring.published(), 1);
        ring.complete(1, 2);
        writer.join().unwrap();
        assert_eq!(ring.published(), 2);
    });
}

/// C6, W6. Made to fail by: no wake in `fail`.
#[test]
fn failing_strands_nobody() {
    model(|| {
        let ring = Arc::new(CompletionRing::new(2, 0));
        let other = Arc::clone(&ring);
        let failer = thread::spawn(move || other.fail());
        assert_eq!(ring.wait(0, 1), Err(RingFailed));
        failer.join().unwrap();
    });
}

/// Who finishes the first open ticket publishes it without a mark, those behind it with one, and they meet at every place:
/// three finishers, of whom one waits for the room that the others make, in a ring whose slots are used again. Made to fail
/// by: no fence in `publish`, a Relaxed `head` in `complete`, a fast path that does not go on as an advancer.
#[test]
fn finishers_with_and_without_a_mark_leave_nobody_behind() {
    model_with(2, || {
        let ring = Arc::new(CompletionRing::new(2, 0));
        let done: Arc<Vec<AtomicU64>> = Arc::new((0..3).map(|_| AtomicU64::new(0)).collect());
        let finish = |ring: &CompletionRing, done: &[AtomicU64], ticket: u64| {
            done[ticket as usize].store(1, Ordering::Relaxed);
            ring.complete(ticket, ticket + 1);
        };
        let (other, others) = (Arc::clone(&ring), Arc::clone(&done));
        let first = thread::spawn(move || finish(&other, &others, 0));
        let (other, others) = (Arc::clone(&ring), Arc::clone(&done));
        let third = thread::spawn(move || {
            assert_eq!(other.wait_for_room(2), Ok(()));
            assert_eq!(others[0].load(Ordering::Relaxed), 1);
            finish(&other, &others, 2);
        });
        finish(&ring, &done, 1);
        assert_eq!(ring.wait(2, 3), Ok(()));
        assert!(done.iter().all(|done| done.load(Ordering::Relaxed) == 1));
        first.join().unwrap();
        third.join().unwrap();
        assert!(ring.has_room(4) && !ring.has_room(5));
    });
}
