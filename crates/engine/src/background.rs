//! How the progress of background threads is waited for, and how they end.

use std::sync::Arc;

use base::sync::thread::{self, JoinHandle};
use base::sync::{Condvar, Instant, Mutex};

use crate::error::Error;

/// Lets any number of threads wait until background work has changed something.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    epoch: Mutex<u64>,
    moved: Condvar,
    /// Wakes tasks, as `moved` wakes threads.
    #[cfg(feature = "async")]
    told: event_listener::Event,
}

impl Progress {
    /// Something has changed.
    pub(crate) fn notify(&self) {
        *self.epoch.lock() += 1;
        self.moved.notify_all();
        #[cfg(feature = "async")]
        self.told.notify(usize::MAX);
    }

    /// As [`Progress::wait_past`] without a deadline, for tasks.
    #[cfg(feature = "async")]
    pub(crate) async fn past(&self, epoch: u64) {
        loop {
            // Before the look: what comes after it is heard.
            let news = self.told.listen();
            if self.epoch() != epoch {
                return;
            }
            news.await;
        }
    }

    /// Where progress stands: take it *before* looking at what is waited for.
    pub(crate) fn epoch(&self) -> u64 {
        *self.epoch.lock()
    }

    /// Waits until progress is past `epoch`; `false` when `deadline` came first.
    pub(crate) fn wait_past(&self, epoch: u64, deadline: Option<Instant>) -> bool {
        let mut now = self.epoch.lock();
        while *now == epoch {
            match deadline {
                None => now = self.moved.wait(now),
                Some(deadline) => {
                    let (guard, timed_out) = self.moved.wait_until(now, deadline);
                    now = guard;
                    if timed_out && *now == epoch {
                        return false;
                    }
                }
            }
        }
        true
    }
}

/// Is told when one of its threads ends by a panic.
pub(crate) trait OnPanic {
    fn thread_panicked(&self, name: &str);
}

struct PanicGuard<'a, S: OnPanic> {
    shared: &'a S,
    name: &'a str,
}

impl<S: OnPanic> Drop for PanicGuard<'_, S> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.shared.thread_panicked(self.name);
        }
    }
}

/// The engine's own threads.
#[derive(Debug, Default)]
pub(crate) struct Threads {
    running: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    /// Starts one.
    ///
    /// # Errors
    /// [`Error::Thread`] when the system has no room for it.
    pub(crate) fn start<S: OnPanic + Send + Sync + 'static>(
        &self,
        name: &'static str,
        shared: &Arc<S>,
        run: fn(&S),
    ) -> Result<(), Error> {
        let shared = Arc::clone(shared);
        let run = move || {
            let _guard = PanicGuard { shared: &*shared, name };
            run(&shared);
        };
        let handle = thread::spawn_named(name, run).map_err(|source| Error::Thread { source })?;
        self.running.lock().push(handle);
        Ok(())
    }

    /// Waits for all of them to end; `false` when one of them panicked.
    pub(crate) fn join(&self) -> bool {
        let handles = std::mem::take(&mut *self.running.lock());
        let panicked = handles.into_iter().filter_map(|handle| handle.join().err()).count();
        panicked == 0
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Shared {
        panicked: Mutex<Vec<String>>,
    }

    impl OnPanic for Shared {
        fn thread_panicked(&self, name: &str) {
            self.panicked.lock().push(name.to_owned());
        }
    }

    #[test]
    fn a_thread_that_panics_is_told_and_not_merely_gone() {
        let (threads, shared) = (Threads::default(), Arc::new(Shared::default()));
        threads.start("well", &shared, |_| {}).unwrap();
        threads.start("ill", &shared, |_| panic!("on purpose")).unwrap();
        assert!(!threads.join());
        assert_eq!(*shared.panicked.lock(), ["ill"]);
    }

    #[test]
    fn progress_that_came_before_the_wait_counts() {
        let progress = Progress::default();
        let epoch = progress.epoch();
        assert!(!progress.wait_past(epoch, Some(base::sync::now())));
        progress.notify();
        assert!(progress.wait_past(epoch, None));
    }
}
