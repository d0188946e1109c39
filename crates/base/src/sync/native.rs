//! The machine's own locks, threads and clock.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

pub use parking_lot::MutexGuard;

/// Atomic numbers and flags.
pub mod atomic {
    pub use std::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
}

/// A lock around a `T`.
#[derive(Debug, Default)]
pub struct Mutex<T: ?Sized>(parking_lot::Mutex<T>);

impl<T> Mutex<T> {
    /// A lock around `value`.
    pub const fn new(value: T) -> Self {
        Self(parking_lot::Mutex::new(value))
    }

    /// Takes the value out.
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits for the lock and takes it.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock()
    }

    /// Takes the lock if nobody holds it.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock()
    }
}

/// A place to wait in until somebody says that something has changed.
#[derive(Debug, Default)]
pub struct Condvar(parking_lot::Condvar);

impl Condvar {
    /// A condition variable.
    #[must_use]
    pub const fn new() -> Self {
        Self(parking_lot::Condvar::new())
    }

    /// Gives the lock up, waits for a notification, takes the lock again. Wakes without reason are possible.
    #[must_use = "the guard holds the lock"]
    pub fn wait<'a, T: ?Sized>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(&mut guard);
        guard
    }

    /// As [`Condvar::wait`], but until `deadline` at the latest; `true` when that was the reason.
    #[must_use = "the guard holds the lock"]
    pub fn wait_until<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        deadline: Instant,
    ) -> (MutexGuard<'a, T>, bool) {
        let timed_out = self.0.wait_until(&mut guard, deadline).timed_out();
        (guard, timed_out)
    }

    /// Wakes one that waits.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all that wait.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// An `Arc` that can be read without a lock and replaced as a whole.
#[derive(Debug)]
pub struct ArcCell<T>(arc_swap::ArcSwap<T>);

/// A short hold on what an [`ArcCell`] held when it was loaded.
pub struct ArcRef<T>(arc_swap::Guard<Arc<T>>);

impl<T> ArcCell<T> {
    /// A cell that holds `value`.
    pub fn new(value: Arc<T>) -> Self {
        Self(arc_swap::ArcSwap::new(value))
    }

    /// What the cell holds now, to look at for a short while. Sees all that happened before the `store` of it.
    #[inline]
    pub fn load(&self) -> ArcRef<T> {
        ArcRef(self.0.load())
    }

    /// Puts `value` in the place of what the cell held.
    pub fn store(&self, value: Arc<T>) {
        self.0.store(value);
    }
}

impl<T> Deref for ArcRef<T> {
    type Target = Arc<T>;

    #[inline]
    fn deref(&self) -> &Arc<T> {
        &self.0
    }
}

/// Threads.
pub mod thread {
    pub use std::thread::{JoinHandle, current, panicking, park, sleep, yield_now};

    /// How many threads the machine runs at a time, as far as it says so; at least 1.
    #[must_use]
    pub fn available_parallelism() -> usize {
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
    }

    /// Starts a thread under a name.
    ///
    /// # Errors
    /// When the system has no room for another thread.
    pub fn spawn_named<T: Send + 'static>(
        name: &str,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> std::io::Result<JoinHandle<T>> {
        std::thread::Builder::new().name(name.to_owned()).spawn(run)
    }
}

/// Waiting for a few instructions.
pub mod hint {
    pub use std::hint::spin_loop;
}

/// The time.
#[inline]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}
