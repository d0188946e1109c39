//! Slows writers down, or lets them wait, while compaction is behind.
//!
//! What to do is decided by a pure function of level sizes each time they change ([`decide`]); a write reads the answer
//! from one atomic. A slowed write sleeps before it takes any lock, it alone, in pieces that a close or a change of the
//! answer interrupts; nobody waits behind it.

use std::time::Duration;

use base::sync::atomic::{AtomicU64, Ordering};
use base::sync::{Instant, Mutex, now};
use version::pick::{DebtLimits, debt_score};

use crate::error::Error;
use crate::options::{Options, WriteOptions};
use crate::shared::Shared;
use crate::stats::StallCause;
use crate::tables::Version;

/// What writers do for now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stall {
    /// Go on.
    None,
    /// Write at most this many bytes per second, all together.
    Slow(u64),
    /// Wait for a compaction.
    Stop(StallCause),
}

/// What the levels ask of writers.
///
/// The score is 1 where writes begin to be slowed down and 2 where they stop; in between the rate falls from
/// `delayed_write_rate` to half of it.
pub(crate) fn decide(score: f64, level0_tables: usize, options: &Options) -> Stall {
    if score < 1.0 {
        return Stall::None;
    }
    if score >= 2.0 {
        let is_level0 = level0_tables >= options.level0_stop_writes_trigger;
        return Stall::Stop(if is_level0 {
            StallCause::Level0Stop
        } else {
            StallCause::PendingCompactionStop
        });
    }
    let rate = options.delayed_write_rate as f64 * (3.0 - score) / 2.0;
    Stall::Slow((rate as u64).max(1))
}

/// The answer that is in force, packed so that a write reads it at once: 0 go on, then the two stops, else a rate.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    packed: AtomicU64,
    /// When the next slowed write may go: each moves it on by its bytes.
    next: Mutex<Option<Instant>>,
}

const STOP_LEVEL0: u64 = u64::MAX;
const STOP_PENDING: u64 = u64::MAX - 1;

impl Gate {
    fn get(&self) -> Stall {
        match self.packed.load(Ordering::Acquire) {
            0 => Stall::None,
            STOP_LEVEL0 => Stall::Stop(StallCause::Level0Stop),
            STOP_PENDING => Stall::Stop(StallCause::PendingCompactionStop),
            rate => Stall::Slow(rate),
        }
    }

    fn set(&self, stall: Stall) {
        let packed = match stall {
            Stall::None => 0,
            Stall::Slow(rate) => rate,
            Stall::Stop(StallCause::Level0Stop) => STOP_LEVEL0,
            Stall::Stop(_) => STOP_PENDING,
        };
        let before = self.packed.swap(packed, Ordering::AcqRel);
        if (before == 0) != (packed == 0) {
            tracing::info!(?stall, "compaction changes how fast writes go");
        }
    }

    /// Books `bytes` at `rate`: when they may go.
    fn book(&self, bytes: usize, rate: u64, at: Instant) -> Instant {
        let mut next = self.next.lock();
        let start = next.map_or(at, |next| next.max(at));
        *next = Some(start + Duration::from_secs_f64(bytes as f64 / rate as f64));
        start
    }
}

impl Shared {
    /// Decides anew after the tables have changed.
    pub(crate) fn update_stall(&self, version: &Version) {
        let limits = DebtLimits {
            level0_slowdown_writes_trigger: self.options.level0_slowdown_writes_trigger as u32,
            level0_stop_writes_trigger: self.options.level0_stop_writes_trigger as u32,
            soft_pending_compaction_bytes: self.options.soft_pending_compaction_bytes,
            hard_pending_compaction_bytes: self.options.hard_pending_compaction_bytes,
        };
        let compaction = self.options.compaction();
        let (score, tables) = version
            .families()
            .map(|family| {
                let levels = family.levels();
                (
                    debt_score(levels, &compaction, &limits, Default::default()),
                    levels.level(0).len(),
                )
            })
            .fold((0.0, 0), |(score, tables): (f64, usize), (s, t)| (score.max(s), tables.max(t)));
        self.gate.set(decide(score, tables, &self.options));
    }

    /// Step 1 of a write: waits where compaction is behind.
    #[inline]
    pub(crate) fn pace(&self, bytes: usize, options: &WriteOptions) -> Result<(), Error> {
        match self.gate.get() {
            Stall::None => Ok(()),
            stall => self.pace_slowly(stall, bytes, options),
        }
    }

    #[cold]
    fn pace_slowly(
        &self,
        mut stall: Stall,
        bytes: usize,
        options: &WriteOptions,
    ) -> Result<(), Error> {
        const WHAT: &str = "compaction, which is behind";
        let mut booked = None;
        loop {
            let epoch = self.progress.epoch();
            let (cause, until) = match stall {
                Stall::None => return Ok(()),
                Stall::Stop(cause) => (cause, None),
                Stall::Slow(rate) => {
                    let at = now();
                    let start = *booked.get_or_insert_with(|| self.gate.book(bytes, rate, at));
                    if start <= at {
                        return Ok(());
                    }
                    (StallCause::Slowdown, Some(start))
                }
            };
            if options.no_wait {
                return Err(Error::WouldBlock { what: WHAT });
            }
            if options.deadline.is_some_and(|deadline| deadline <= now()) {
                return Err(Error::TimedOut { what: WHAT });
            }
            let until = match (until, options.deadline) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            self.timed(cause, bytes, || {
                self.progress.wait_past(epoch, until);
                Ok(())
            })?;
            self.health.check_writable()?;
            stall = self.gate.get();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_go_on_slow_down_and_stop_in_turn() {
        // W3, L4
        let options = Options { delayed_write_rate: 1000, ..Options::default() };
        assert_eq!(decide(0.99, 19, &options), Stall::None);
        assert_eq!(decide(1.0, 20, &options), Stall::Slow(1000));
        assert_eq!(decide(1.5, 28, &options), Stall::Slow(750));
        assert_eq!(decide(2.0, 36, &options), Stall::Stop(StallCause::Level0Stop));
        assert_eq!(decide(2.5, 3, &options), Stall::Stop(StallCause::PendingCompactionStop));
    }

    #[test]
    fn what_is_set_is_got() {
        let gate = Gate::default();
        for stall in [
            Stall::Slow(7),
            Stall::Stop(StallCause::Level0Stop),
            Stall::Stop(StallCause::PendingCompactionStop),
            Stall::None,
        ] {
            gate.set(stall);
            assert_eq!(gate.get(), stall);
        }
    }

    #[test]
    fn bytes_are_booked_one_after_the_other() {
        let gate = Gate::default();
        let start = now();
        assert_eq!(gate.book(500, 1000, start), start);
        assert_eq!(gate.book(500, 1000, start), start + Duration::from_millis(500));
        let later = start + Duration::from_secs(9);
        assert_eq!(gate.book(1, 1000, later), later);
    }
}
