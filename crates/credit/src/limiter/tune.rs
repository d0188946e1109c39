//! How fast background work may be, from the clients' load and the debt.
//!
//! Background work gets what the clients leave of the device, but never less than a floor, and more as its debt
//! grows. That is a *feed-forward* rule: it looks at the load and not at how its own last step worked out,
//! so there is no loop that could oscillate, and it follows a step as fast as the load is known.
//!
//! Rejected: RocksDB's auto-tuner (×1.05 when more than 90 % of the refills were used up, ÷1.05 below
//! 50 %, straight to a twentieth when idle, looking every 100 refills). It searches for the demand of background work
//! and knows nothing of clients; a factor of 20 takes it 62 steps of 10 s each.

use std::time::Duration;

/// What the tuner looks at; plain data, over the time since the last look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TuneInputs {
    /// Time since the last look.
    pub elapsed: Duration,
    /// Bytes moved in that time for clients: log, flushes, client reads, and compaction of level 0.
    pub foreground_bytes: u64,
    /// Bytes per second that the device can move in all; measured by the owner, or a setting.
    pub device_bytes_per_second: f64,
    /// The debt, as the pacer's score: 1 at the soft limit, 2 at the hard limit.
    pub score: f64,
}

/// Sets the rate of background work; pure but for the smoothed load.
#[derive(Debug, Clone)]
pub struct AutoTune {
    floor_bytes_per_second: f64,
    foreground: f64,
    started: bool,
}

impl AutoTune {
    /// The time in which a step of the load is followed to 63 %.
    pub const SMOOTHING: Duration = Duration::from_millis(150);

    /// From this score on background work is lifted above what clients leave.
    const LIFT_FROM: f64 = 0.5;

    /// The part of the device that background work gets at the hard limit, whatever clients do.
    const SHARE_AT_HARD_LIMIT: f64 = 0.75;

    /// A tuner that never goes below `floor_bytes_per_second`.
    #[must_use]
    pub fn new(floor_bytes_per_second: f64) -> AutoTune {
        AutoTune { floor_bytes_per_second, foreground: 0.0, started: false }
    }

    /// The rate from now on; to be asked every 5 to 100 ms.
    ///
    /// `max(floor, device − foreground, share(score) · device)`, at most the device; the share rises from
    /// 0 at a score of ½ to ¾ at 2.
    pub fn tune(&mut self, inputs: &TuneInputs) -> f64 {
        let seconds = inputs.elapsed.as_secs_f64();
        if seconds > 0.0 {
            let now = inputs.foreground_bytes as f64 / seconds;
            // Nothing is known before the first look, so there is nothing to smooth it with.
            let weight = if self.started {
                1.0 - (-seconds / AutoTune::SMOOTHING.as_secs_f64()).exp()
            } else {
                1.0
            };
            self.foreground += weight * (now - self.foreground);
            self.started = true;
        }
        let device = inputs.device_bytes_per_second.max(0.0);
        let span = 2.0 - AutoTune::LIFT_FROM;
        let lift = ((inputs.score - AutoTune::LIFT_FROM) / span).clamp(0.0, 1.0);
        let lifted = lift * AutoTune::SHARE_AT_HARD_LIMIT * device;
        let left = device - self.foreground;
        left.max(lifted).min(device).max(self.floor_bytes_per_second)
    }

    /// The smoothed load of clients, bytes per second.
    #[must_use]
    pub fn foreground_bytes_per_second(&self) -> f64 {
        self.foreground
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    fn inputs(millis: u64, foreground_bytes: u64, score: f64) -> TuneInputs {
        TuneInputs {
            elapsed: Duration::from_millis(millis),
            foreground_bytes,
            device_bytes_per_second: 100e6,
            score,
        }
    }

    #[test]
    fn background_work_gets_the_rest_and_never_less_than_the_floor() {
        // L5
        let mut tune = AutoTune::new(1e6);
        assert_eq!(tune.tune(&inputs(10, 300_000, 0.0)), 70e6);
        assert_eq!(AutoTune::new(1e6).tune(&inputs(10, 5_000_000, 0.0)), 1e6);
        assert_eq!(AutoTune::new(1e6).tune(&inputs(10, 0, 0.0)), 100e6);
    }

    #[test]
    fn debt_lifts_it() {
        // L5
        for (score, expected) in [(0.5, 1e6), (1.25, 37.5e6), (2.0, 75e6), (9.0, 75e6)] {
            let rate = AutoTune::new(1e6).tune(&inputs(10, 1_000_000, score));
            assert!((rate - expected).abs() < 1.0, "{score}: {rate}");
        }
    }

    #[test]
    fn a_step_is_followed_within_a_second() {
        // L5
        let mut tune = AutoTune::new(1e6);
        let before = tune.tune(&inputs(10, 200_000, 0.0));
        let mut rate = before;
        for step in 0..100 {
            let next = tune.tune(&inputs(10, 800_000, 0.0));
            assert!(next <= rate, "not monotonous at step {step}");
            rate = next;
        }
        assert!((rate - 20e6).abs() < 0.1e6, "{rate} after a second");
    }
}
