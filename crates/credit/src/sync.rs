//! Locks, atomics and parking: the standard ones, loom's under `cfg(loom)`, or those of the seeded
//! scheduler under `cfg(shuttle)`.
//!
//! Everything else in the crate takes its synchronisation from here, so that the models in
//! `tests/loom.rs` run the production code and not a copy of it. In a model a [`Deadline`] is
//! something that another thread lets expire, because models have no time.

#[cfg(not(any(loom, shuttle)))]
pub(crate) use real::{Deadline, Parker};
#[cfg(not(any(loom, shuttle)))]
pub(crate) use {
    // As fast as the standard mutex here, but compiled with this crate: ThreadSanitizer sees what it orders.
    parking_lot::Mutex,
    std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
};

#[cfg(any(loom, shuttle))]
pub use modelled::Deadline;
#[cfg(any(loom, shuttle))]
pub(crate) use modelled::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
#[cfg(any(loom, shuttle))]
pub(crate) use modelled::{Mutex, Parker};

/// A count that orders nothing: the standard atomic in models too, which would otherwise explore its every value.
pub(crate) type Count = std::sync::atomic::AtomicU64;

/// The time, in models too: there it only goes into reports.
pub(crate) fn now() -> std::time::Instant {
    std::time::Instant::now()
}

#[cfg(not(any(loom, shuttle)))]
mod real {
    use std::thread::{self, Thread};
    use std::time::{Duration, Instant};

    /// A moment after which waiting ends.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Deadline(pub(crate) Instant);

    impl Deadline {
        pub(crate) fn passed(&self) -> bool {
            Instant::now() >= self.0
        }
    }

    /// Lets one thread sleep until another one wakes it.
    #[derive(Debug)]
    pub(crate) struct Parker(Thread);

    impl Parker {
        /// For the calling thread, the only one that may call [`park`](Parker::park) on it.
        pub(crate) fn new() -> Parker {
            Parker(thread::current())
        }

        /// Sleeps until unparked, the deadline or `at_most`; may also return early.
        pub(crate) fn park(&self, deadline: Option<&Deadline>, at_most: Option<Duration>) {
            let left = deadline.map(|d| d.0.saturating_duration_since(Instant::now()));
            match (left, at_most) {
                (None, None) => thread::park(),
                (Some(time), None) | (None, Some(time)) => thread::park_timeout(time),
                (Some(left), Some(at_most)) => thread::park_timeout(left.min(at_most)),
            }
        }

        /// Wakes the thread, or lets its next `park` return at once.
        pub(crate) fn unpark(&self) {
            self.0.unpark();
        }
    }

    /// How often a waiter looks at its state before it parks: for about as long as parking and waking takes, so that the
    /// two together never cost more than twice the better one.
    pub(crate) const SPINS: u32 = 600;

    /// After so many lost races in a row the pause grows no longer.
    pub(crate) const LOSSES_MAX: u32 = 3;
}

/// Pauses after a lost race for a word, of which there were `losses` before; how many there are now.
#[cfg(not(any(loom, shuttle)))]
#[cold]
#[inline(never)]
pub(crate) fn stand_back(losses: u32) -> u32 {
    for _ in 0..1u32 << losses {
        std::hint::spin_loop();
    }
    (losses + 1).min(real::LOSSES_MAX)
}

/// In a model a pause is nothing.
#[cfg(any(loom, shuttle))]
pub(crate) fn stand_back(losses: u32) -> u32 {
    losses
}

/// Runs `done` a few times with pauses in between; whether it was ever true.
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn spin_until(mut done: impl FnMut() -> bool) -> bool {
    for _ in 0..real::SPINS {
        if done() {
            return true;
        }
        std::hint::spin_loop();
    }
    done()
}

/// In a model one look is enough: spinning would only add branches.
#[cfg(any(loom, shuttle))]
pub(crate) fn spin_until(mut done: impl FnMut() -> bool) -> bool {
    done()
}

#[cfg(any(loom, shuttle))]
mod modelled {
    #[cfg(loom)]
    use loom as backend;
    #[cfg(all(shuttle, not(loom)))]
    use shuttle as backend;

    use std::sync::PoisonError;
    use std::time::Duration;

    pub(crate) use backend::sync::atomic;
    use backend::sync::atomic::{AtomicBool, Ordering};
    use backend::sync::{Arc, Condvar, MutexGuard};

    /// The model's mutex with the interface of `parking_lot`'s.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(backend::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Mutex<T> {
            Mutex(backend::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// A deadline that another thread lets pass.
    #[derive(Debug, Clone)]
    pub struct Deadline {
        expired: Arc<AtomicBool>,
        parked: Arc<Mutex<Option<Parker>>>,
    }

    impl Default for Deadline {
        fn default() -> Deadline {
            Deadline::new()
        }
    }

    impl Deadline {
        /// A deadline that has not passed.
        pub fn new() -> Deadline {
            Deadline {
                expired: Arc::new(AtomicBool::new(false)),
                parked: Arc::new(Mutex::new(None)),
            }
        }

        /// Lets the deadline pass and wakes whoever waits for it.
        pub fn expire(&self) {
            self.expired.store(true, Ordering::Release);
            let parked = self.parked.lock().take();
            if let Some(parker) = parked {
                parker.unpark();
            }
        }

        pub(crate) fn passed(&self) -> bool {
            self.expired.load(Ordering::Acquire)
        }
    }

    /// A token under a mutex and a condition variable: loom's own `park` may not be mixed with mutexes.
    #[derive(Debug, Clone)]
    pub(crate) struct Parker(Arc<(Mutex<bool>, Condvar)>);

    impl Parker {
        pub(crate) fn new() -> Parker {
            Parker(Arc::new((Mutex::new(false), Condvar::new())))
        }

        pub(crate) fn park(&self, deadline: Option<&Deadline>, _at_most: Option<Duration>) {
            if let Some(deadline) = deadline {
                *deadline.parked.lock() = Some(self.clone());
                if deadline.passed() {
                    return;
                }
            }
            let (token, wake) = &*self.0;
            let mut set = token.lock();
            while !*set {
                set = wake.wait(set).unwrap_or_else(PoisonError::into_inner);
            }
            *set = false;
        }

        pub(crate) fn unpark(&self) {
            let (token, wake) = &*self.0;
            *token.lock() = true;
            wake.notify_one();
        }
    }
}
