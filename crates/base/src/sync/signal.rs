//! Waking a background thread, and ending it.

use super::{Condvar, Instant, Mutex};

/// Wakes one background thread. A wake that comes while the thread is busy is not lost.
#[derive(Debug, Default)]
pub struct Signal {
    state: Mutex<State>,
    woken: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_pending: bool,
    is_stopped: bool,
}

impl Signal {
    /// There is something to do.
    pub fn notify(&self) {
        let was_pending = std::mem::replace(&mut self.state.lock().is_pending, true);
        if !was_pending {
            self.woken.notify_one();
        }
    }

    /// The thread has to end.
    pub fn stop(&self) {
        self.state.lock().is_stopped = true;
        self.woken.notify_all();
    }

    /// Whether the thread has to end.
    pub fn is_stopped(&self) -> bool {
        self.state.lock().is_stopped
    }

    /// Waits until there is something to do; `false` when the thread has to end.
    pub fn wait(&self) -> bool {
        self.wait_until(None)
    }

    /// Waits until there is something to do, or `deadline`; `false` when the thread has to end.
    pub fn wait_until(&self, deadline: Option<Instant>) -> bool {
        let mut state = self.state.lock();
        let mut is_late = false;
        loop {
            if state.is_stopped {
                return false;
            }
            if std::mem::take(&mut state.is_pending) || is_late {
                return true;
            }
            match deadline {
                None => state = self.woken.wait(state),
                Some(deadline) => (state, is_late) = self.woken.wait_until(state, deadline),
            }
        }
    }

    /// Does nothing until `deadline`, whatever there is to do; `false` when the thread has to end.
    pub fn pause_until(&self, deadline: Instant) -> bool {
        let mut state = self.state.lock();
        let mut is_over = false;
        while !state.is_stopped && !is_over {
            (state, is_over) = self.woken.wait_until(state, deadline);
        }
        !state.is_stopped
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sync::now;

    #[test]
    fn a_wake_is_not_lost_and_taken_once() {
        let signal = Signal::default();
        let soon = || Some(now() + Duration::from_millis(1));
        signal.notify();
        signal.notify();
        assert!(signal.wait(), "it was woken before it waited");
        let begun = now();
        let deadline = begun + Duration::from_millis(5);
        assert!(signal.wait_until(Some(deadline)) && now() >= deadline, "nothing is pending");
        signal.notify();
        assert!(signal.pause_until(begun) && signal.wait(), "a pause takes no wake");
        signal.stop();
        assert!(signal.is_stopped() && !signal.wait() && !signal.wait_until(soon()));
        assert!(!signal.pause_until(now() + Duration::from_secs(60)), "a stop ends a pause");
    }

    #[test]
    fn one_that_waits_is_woken_and_stopped() {
        let signal = Signal::default();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| (signal.wait(), signal.wait()));
            signal.notify();
            while signal.state.lock().is_pending {
                std::thread::yield_now();
            }
            signal.stop();
            assert_eq!(waiter.join().unwrap(), (true, false));
        });
    }
}
