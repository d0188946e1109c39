//! Any history of operations on one flat pool, against a plain model.
//!
//! Asynchronous requests stand for waiting threads, so that a history runs on one thread and is the same
//! each time. A failure prints its smallest history; proptest keeps its seed in `proptest-regressions`.
#![cfg(feature = "async")]

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use credit::{AcquireError, Permit, Pool, TryAcquireError};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Ask(u64),
    Try(u64),
    Release(usize),
    Shrink(usize, u64),
    Split(usize, u64),
    Merge(usize, usize),
    Raw(usize),
    Cancel(usize),
    Resize(Option<u64>),
    Poll,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || prop_oneof![0..20u64, 0..200u64];
    let which = || 0..8usize;
    prop_oneof![
        6 => bytes().prop_map(Step::Ask),
        4 => bytes().prop_map(Step::Try),
        6 => which().prop_map(Step::Release),
        2 => (which(), bytes()).prop_map(|(i, b)| Step::Shrink(i, b)),
        2 => (which(), bytes()).prop_map(|(i, b)| Step::Split(i, b)),
        2 => (which(), which()).prop_map(|(i, j)| Step::Merge(i, j)),
        1 => which().prop_map(Step::Raw),
        2 => which().prop_map(Step::Cancel),
        1 => proptest::option::of(bytes()).prop_map(Step::Resize),
        4 => Just(Step::Poll),
        1 => Just(Step::Close),
    ]
}

/// The pool as it should be: what is held, and who waits in which order.
#[derive(Default)]
struct Model {
    capacity: Option<u64>,
    held: u64,
    peak: u64,
    /// Number and bytes of each request that waits.
    queue: VecDeque<(usize, u64)>,
    granted: Vec<usize>,
    closed: bool,
}

impl Model {
    fn fits(&self, bytes: u64) -> bool {
        self.capacity.is_none_or(|capacity| self.held + bytes <= capacity || self.held == 0)
    }

    fn grant(&mut self, bytes: u64) {
        self.held += bytes;
        self.peak = self.peak.max(self.held);
    }

    fn serve(&mut self) {
        while let Some(&(number, bytes)) = self.queue.front()
            && self.fits(bytes)
        {
            self.queue.pop_front();
            self.grant(bytes);
            self.granted.push(number);
        }
    }

    fn release(&mut self, bytes: u64) {
        self.held -= bytes;
        self.serve();
    }
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Woken>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

type Request<'a> = Pin<Box<dyn Future<Output = Result<Permit, AcquireError>> + 'a>>;

struct World<'a> {
    pool: &'a Pool,
    model: Model,
    permits: Vec<Permit>,
    requests: Vec<(usize, u64, Arc<Woken>, Request<'a>)>,
    asked: usize,
}

impl World<'_> {
    fn run(&mut self, step: Step) {
        let count = self.permits.len();
        match step {
            Step::Ask(bytes) => self.ask(bytes),
            Step::Try(bytes) => {
                let expected = !self.model.closed
                    && (bytes == 0 || (self.model.queue.is_empty() && self.model.fits(bytes)));
                match self.pool.try_acquire(bytes) {
                    Ok(permit) => {
                        assert!(expected);
                        self.model.grant(bytes);
                        self.permits.push(permit);
                    }
                    Err(TryAcquireError::Closed) => assert!(self.model.closed),
                    Err(TryAcquireError::WouldBlock) => assert!(!expected && !self.model.closed),
                    Err(other) => panic!("{other}"),
                }
            }
            Step::Release(i) if i < count => {
                let permit = self.permits.swap_remove(i);
                self.model.release(permit.bytes());
            }
            Step::Shrink(i, to) if i < count => {
                let surplus = self.permits[i].bytes().saturating_sub(to);
                self.permits[i].shrink(to);
                self.model.release(surplus);
            }
            Step::Split(i, bytes) if i < count => {
                let before = self.permits[i].bytes();
                let part = self.permits[i].split(bytes);
                assert_eq!(part.is_some(), bytes <= before);
                self.permits.extend(part);
            }
            Step::Merge(i, j) if i < count && j < count && i != j => {
                let (low, high) = (i.min(j), i.max(j));
                let part = self.permits.swap_remove(high);
                self.permits[low].merge(part);
            }
            Step::Raw(i) if i < count => {
                let bytes = self.permits.swap_remove(i).forget();
                self.check();
                self.pool.release_raw(bytes);
                self.model.release(bytes);
            }
            Step::Cancel(i) if i < self.requests.len() => {
                let (number, bytes, ..) = self.requests.remove(i);
                let waited = self.model.queue.len();
                self.model.queue.retain(|(other, _)| *other != number);
                if self.model.queue.len() == waited && self.model.granted.contains(&number) {
                    // Granted and never collected: it goes back.
                    self.model.granted.retain(|other| *other != number);
                    self.model.release(bytes);
                } else {
                    self.model.serve();
                }
            }
            Step::Resize(capacity) => {
                self.pool.resize(capacity);
                self.model.capacity = capacity.filter(|&bytes| bytes > 0);
                self.model.serve();
            }
            Step::Poll => self.poll_all(),
            Step::Close => {
                self.pool.close();
                self.model.closed = true;
                self.model.queue.clear();
            }
            _ => {}
        }
    }

    fn ask(&mut self, bytes: u64) {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut request: Request<'_> = Box::pin(self.pool.acquire_async(bytes));
        match request.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(Ok(permit)) => {
                assert!(!self.model.closed);
                assert!(bytes == 0 || (self.model.queue.is_empty() && self.model.fits(bytes)));
                self.model.grant(bytes);
                self.permits.push(permit);
            }
            Poll::Ready(Err(error)) => {
                assert!(self.model.closed && matches!(error, AcquireError::Closed));
            }
            Poll::Pending => {
                assert!(!self.model.closed && bytes > 0);
                self.model.queue.push_back((self.asked, bytes));
                self.requests.push((self.asked, bytes, woken, request));
                self.asked += 1;
                self.model.serve();
            }
        }
    }

    /// Collects what has ended: exactly what the model says, and exactly those that were woken.
    fn poll_all(&mut self) {
        let mut waiting = Vec::new();
        for (number, bytes, woken, mut request) in std::mem::take(&mut self.requests) {
            let was_woken = woken.0.load(Ordering::SeqCst);
            let waker = Waker::from(Arc::clone(&woken));
            match request.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(Ok(permit)) => {
                    assert!(self.model.granted.contains(&number), "granted out of turn");
                    assert_eq!((permit.bytes(), was_woken), (bytes, 1));
                    self.model.granted.retain(|other| *other != number);
                    self.permits.push(permit);
                }
                Poll::Ready(Err(error)) => {
                    assert!(self.model.closed && matches!(error, AcquireError::Closed));
                    assert_eq!(was_woken, 1);
                }
                Poll::Pending => {
                    assert!(self.model.queue.iter().any(|(other, _)| *other == number));
                    assert_eq!(was_woken, 0, "woken for nothing");
                    waiting.push((number, bytes, woken, request));
                }
            }
        }
        self.requests = waiting;
    }

    fn check(&self) {
        assert_eq!(self.pool.held_bytes(), self.model.held);
        assert_eq!(self.pool.peak_bytes(), self.model.peak);
        assert_eq!(self.pool.waiters(), self.model.queue.len());
        let free = self.model.capacity.map(|capacity| capacity.saturating_sub(self.model.held));
        assert_eq!(self.pool.free_bytes(), free);
        self.pool.check_conservation();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_history_is_as_the_model_says(
        capacity in proptest::option::of(0..100u64),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        // C2, C3, C4, C6, C7, C12
        let pool = Pool::new(capacity);
        let mut world = World {
            pool: &pool,
            model: Model { capacity: capacity.filter(|&bytes| bytes > 0), ..Model::default() },
            permits: Vec::new(),
            requests: Vec::new(),
            asked: 0,
        };
        for step in steps {
            world.run(step);
            world.check();
        }
        // Every waiter ends: each permit that comes back lets others through until nobody is left.
        world.poll_all();
        let mut rounds = 0;
        while !world.requests.is_empty() || !world.permits.is_empty() {
            for permit in std::mem::take(&mut world.permits) {
                world.model.release(permit.bytes());
                drop(permit);
            }
            world.poll_all();
            world.check();
            rounds += 1;
            prop_assert!(rounds < 100, "somebody waits for ever");
        }
        pool.assert_all_returned();
    }
}
