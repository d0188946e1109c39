//! Tests of the crate from outside; one binary, a module per subject.
#![cfg(not(any(loom, shuttle)))]

mod flat;
mod limiting;
mod model;
mod nested;
mod simulated;
mod stress;
mod watching;

use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use credit::{AcquireError, Permit, Pool};

/// What a thread that asked for credits got, when it gets it.
struct Asked {
    result: Receiver<Result<Permit, AcquireError>>,
    thread: JoinHandle<()>,
}

/// Asks on a thread of its own and returns once the request is queued.
fn ask(pool: &Pool, bytes: u64) -> Asked {
    ask_by(pool, move |pool| pool.acquire(bytes))
}

/// As [`ask`], in whatever way `acquire` asks.
fn ask_by(
    pool: &Pool,
    acquire: impl FnOnce(&Pool) -> Result<Permit, AcquireError> + Send + 'static,
) -> Asked {
    let before = pool.waiters();
    let (send, result) = channel();
    let asker = pool.clone();
    let thread = std::thread::spawn(move || {
        // The test may have ended and dropped its side.
        drop(send.send(acquire(&asker)));
    });
    wait_for(|| pool.waiters() > before);
    Asked { result, thread }
}

impl Asked {
    /// Whether no result has come yet; a test that must know also counts the pool's waiters.
    fn is_waiting(&self) -> bool {
        !self.thread.is_finished()
    }

    /// The result, which must come.
    fn end(self) -> Result<Permit, AcquireError> {
        let result = self.result.recv_timeout(PATIENCE).expect("the request should have ended");
        self.thread.join().expect("asking does not panic");
        result
    }
}

/// Far above what anything here takes; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `done`, which must come true.
fn wait_for(done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "what was waited for did not happen");
        std::thread::yield_now();
    }
}
