//! How background threads are woken, how their progress is waited for, and how they end.

use std::sync::Arc;

use base::sync::thread::{self, JoinHandle};
use base::sync::{Condvar, Instant, Mutex};

use crate::error::Error;

/// Wakes one background thread. A wake that comes while the thread is busy is not lost.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    state: Mutex<SignalState>,
    woken: Condvar,
}

#[derive(Debug, Default)]
struct SignalState {
    is_pending: bool,
    is_stopped: bool,
}

impl Signal {
    /// There is something to do.
    pub(crate) fn notify(&self) {
        self.state.lock().is_pending = true;
        self.woken.notify_one();
    }

    /// The thread has to end.
    pub(crate) fn stop(&self) {
        self.state.lock().is_stopped = true;
        self.woken.notify_all();
    }

    /// Whether the thread has to end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.state.lock().is_stopped
    }

    /// Waits until there is something to do; `false` when the thread has to end.
    pub(crate) fn wait(&self) -> bool {
        let mut state = self.state.lock();
        loop {
            if state.is_stopped {
                return false;
            }
            if std::mem::take(&mut state.is_pending) {
                return true;
            }
            state = self.woken.wait(state);
        }
    }

    /// Does nothing until `deadline`, whatever there is to do; `false` when the thread has to end.
    pub(crate) fn pause_until(&self, deadline: Instant) -> bool {
        let mut state = self.state.lock();
        let mut is_over = false;
        while !state.is_stopped && !is_over {
            (state, is_over) = self.woken.wait_until(state, deadline);
        }
        !state.is_stopped
    }
}

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

    #[test]
    fn a_wake_while_busy_is_not_lost_and_a_stop_ends() {
        let signal = Signal::default();
        signal.notify();
        assert!(signal.wait());
        signal.notify();
        let until = base::sync::now() + base::sync::Duration::from_millis(20);
        assert!(signal.pause_until(until) && base::sync::now() >= until);
        assert!(signal.wait()); // the wake that came before the pause
        signal.stop();
        assert!(!signal.wait() && !signal.pause_until(until) && signal.is_stopped());
    }

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
