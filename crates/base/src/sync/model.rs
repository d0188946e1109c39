//! The same names over `loom` or `shuttle`.
//!
//! Time stands still in a model and waits never time out: a deadline is modelled as another thread that cancels.

#[cfg(loom)]
use loom as backend;
#[cfg(all(shuttle, not(loom)))]
use shuttle as backend;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

pub use backend::sync::MutexGuard;

/// Atomic numbers and flags.
pub mod atomic {
    pub use super::backend::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
}

/// A lock around a `T`.
#[derive(Debug, Default)]
pub struct Mutex<T>(backend::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// A lock around `value`.
    pub fn new(value: T) -> Self {
        Self(backend::sync::Mutex::new(value))
    }

    /// Takes the value out.
    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits for the lock and takes it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Takes the lock if nobody holds it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }
}

/// A place to wait in until somebody says that something has changed.
#[derive(Debug)]
pub struct Condvar(backend::sync::Condvar);

impl Default for Condvar {
    fn default() -> Self {
        Self::new()
    }
}

impl Condvar {
    /// A condition variable.
    pub fn new() -> Self {
        Self(backend::sync::Condvar::new())
    }

    /// Gives the lock up, waits for a notification, takes the lock again.
    #[must_use = "the guard holds the lock"]
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// As [`Condvar::wait`]: in a model no deadline ever passes.
    #[must_use = "the guard holds the lock"]
    pub fn wait_until<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        _deadline: Instant,
    ) -> (MutexGuard<'a, T>, bool) {
        (self.wait(guard), false)
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

/// An `Arc` that can be replaced as a whole; in a model behind a lock.
#[derive(Debug)]
pub struct ArcCell<T>(Mutex<Arc<T>>);

/// A hold on what an [`ArcCell`] held when it was loaded.
pub struct ArcRef<T>(Arc<T>);

impl<T> ArcCell<T> {
    /// A cell that holds `value`.
    pub fn new(value: Arc<T>) -> Self {
        Self(Mutex::new(value))
    }

    /// What the cell holds now.
    pub fn load(&self) -> ArcRef<T> {
        ArcRef(Arc::clone(&self.0.lock()))
    }

    /// Puts `value` in the place of what the cell held.
    pub fn store(&self, value: Arc<T>) {
        let _old = std::mem::replace(&mut *self.0.lock(), value);
    }
}

impl<T> Deref for ArcRef<T> {
    type Target = Arc<T>;

    fn deref(&self) -> &Arc<T> {
        &self.0
    }
}

/// Threads.
pub mod thread {
    pub use super::backend::thread::{JoinHandle, current, park, yield_now};
    pub use std::thread::panicking;

    /// Lets others go on; a model does not wait.
    pub fn sleep(_time: std::time::Duration) {
        yield_now();
    }

    /// How many threads a model is taken to run at a time.
    pub fn available_parallelism() -> usize {
        2
    }

    /// Starts a thread; a model does not name it.
    ///
    /// # Errors
    /// Never in a model.
    pub fn spawn_named<T: Send + 'static>(
        _name: &str,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> std::io::Result<JoinHandle<T>> {
        Ok(super::backend::thread::spawn(run))
    }
}

/// Waiting for a few instructions.
pub mod hint {
    pub use super::backend::hint::spin_loop;
}

/// The time, which stands still in a model.
pub fn now() -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *START.get_or_init(Instant::now)
}
