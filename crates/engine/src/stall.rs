//! Slows writers down, or lets them wait, while compaction is behind.
//!
//! How far behind it is is one score, computed each time the tables change: 1 where writes begin to be slowed by the
//! known triggers, 2 where they stop. From a half on the pacer's law turns it into a rate, in proportion to what
//! compaction takes off; from 2 on writes wait. A slowed write sleeps before it takes any lock, it alone, in short
//! pieces that a close or a new rate ends; nobody waits behind it.

use base::sync::atomic::{AtomicU8, Ordering};
use base::sync::{Duration, Instant, Mutex, now};
use credit::pacer::{DrainEstimate, PaceInputs, Slot, Throttle, pace};
use version::pick::{DebtLimits, debt_score};

use crate::error::Error;
use crate::options::{Options, WriteOptions};
use crate::shared::Shared;
use crate::stats::StallCause;
use crate::tables::Version;

const WHAT: &str = "compaction, which is behind";

/// What writers do for now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stall {
    /// Write at most this many bytes per second, all together; infinite is full speed.
    Pace(f64),
    /// Wait for a compaction.
    Stop(StallCause),
}

/// What the levels ask of writers, when compaction takes `drain` user bytes per second off level 0.
pub(crate) fn decide(score: f64, level0_tables: usize, drain: f64, options: &Options) -> Stall {
    if score >= 2.0 {
        let is_level0 = level0_tables >= options.level0_stop_writes_trigger;
        return Stall::Stop(if is_level0 {
            StallCause::Level0Stop
        } else {
            StallCause::PendingCompactionStop
        });
    }
    let inputs = PaceInputs {
        budget_bytes: None, // what memory asks is the pool's business
        held_bytes: 0,
        flushing_written_bytes: 0,
        flush_bytes_per_second: 0.0,
        next_return: None,
        score,
        drain_bytes_per_second: drain,
    };
    Stall::Pace(pace(&inputs).bytes_per_second)
}

/// The answer that is in force.
#[derive(Debug)]
pub(crate) struct Gate {
    /// 0: none; else the place of a cause in [`StallCause::ALL`], plus 1.
    stop: AtomicU8,
    throttle: Throttle,
    /// What the throttle's times count from.
    epoch: Instant,
    drain: Mutex<DrainEstimate>,
}

impl Gate {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            stop: AtomicU8::new(0),
            throttle: Throttle::new(),
            epoch: now(),
            drain: Mutex::new(DrainEstimate::new(options.drain_rate() as f64)),
        }
    }

    /// Compaction took `bytes` off level 0 in `busy` time.
    pub(crate) fn drained(&self, bytes: u64, busy: Duration) {
        self.drain.lock().record(bytes, busy);
    }

    fn stop(&self) -> Option<StallCause> {
        let at = self.stop.load(Ordering::Acquire).checked_sub(1)?;
        StallCause::ALL.get(usize::from(at)).copied()
    }

    /// Whether nobody has to wait or is slowed.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.stop().is_none() && self.throttle.bytes_per_second().is_infinite()
    }

    fn time(&self) -> Duration {
        now().duration_since(self.epoch)
    }

    fn set(&self, stall: Stall) {
        let (stop, rate) = match stall {
            Stall::Pace(rate) => (0, rate),
            // Those who are slowed already go and wait with the others.
            Stall::Stop(cause) => (cause as u8 + 1, f64::INFINITY),
        };
        let before = self.throttle.bytes_per_second();
        let stopped = self.stop.swap(stop, Ordering::AcqRel);
        self.throttle.set_rate(self.time(), rate);
        if before.is_infinite() != rate.is_infinite() || (stopped == 0) != (stop == 0) {
            tracing::info!(?stall, "compaction changes how fast writes go");
        }
    }
}

impl Shared {
    /// Decides anew after the tables have changed.
    pub(crate) fn update_stall(&self, version: &Version) {
        let limits = self.options.debt_limits();
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
        let drain = self.gate.drain.lock().bytes_per_second();
        self.gate.set(decide(score, tables, drain, &self.options));
    }

    /// Step 1 of a write: waits where compaction is behind. Two atomic loads where it is not.
    #[inline]
    pub(crate) fn pace(&self, bytes: usize, options: &WriteOptions) -> Result<(), Error> {
        if self.gate.is_open() {
            return Ok(());
        }
        self.pace_slowly(bytes, options)
    }

    #[cold]
    fn pace_slowly(&self, bytes: usize, options: &WriteOptions) -> Result<(), Error> {
        let Some(mut pacing) = Pacing::begin(self, bytes, options)? else { return Ok(()) };
        loop {
            let epoch = self.progress.epoch();
            let Some((cause, until)) = pacing.next(options)? else { return Ok(()) };
            self.timed(cause, bytes, || {
                self.progress.wait_past(epoch, until);
                Ok(())
            })?;
        }
    }
}

/// A write on its way through the gate: what it has to wait for next, apart from the waiting. One that ends before it is
/// through leaves the line.
pub(crate) struct Pacing<'a> {
    shared: &'a Shared,
    slot: Slot,
    bytes: u64,
    is_through: bool,
}

impl Drop for Pacing<'_> {
    fn drop(&mut self) {
        if !self.is_through {
            let gate = &self.shared.gate;
            gate.throttle.give_up(gate.time(), &self.slot, self.bytes);
        }
    }
}

impl<'a> Pacing<'a> {
    /// Takes a place in the line; `None` when nobody has to wait.
    pub(crate) fn begin(
        shared: &'a Shared,
        bytes: usize,
        options: &WriteOptions,
    ) -> Result<Option<Self>, Error> {
        let gate = &shared.gate;
        if gate.is_open() {
            return Ok(None);
        }
        shared.check_patience(bytes, options)?;
        let bytes = bytes as u64;
        let slot = gate.throttle.reserve(gate.time(), bytes);
        Ok(Some(Self { shared, slot, bytes, is_through: false }))
    }

    /// Why to wait, and until when at most unless `progress` moves on before; `None` when the write may go on. Take
    /// `progress`'s epoch before asking.
    pub(crate) fn next(
        &mut self,
        options: &WriteOptions,
    ) -> Result<Option<(StallCause, Option<Instant>)>, Error> {
        let gate = &self.shared.gate;
        self.shared.health.check_writable()?;
        let (cause, until) = match gate.stop() {
            Some(cause) => {
                if let Some(source) = self.shared.health.compaction_failing() {
                    return Err(Error::CompactionFailing { source });
                }
                (cause, None)
            }
            None => {
                let pause = gate.throttle.pause(gate.time(), &self.slot);
                if pause.is_zero() {
                    self.is_through = true;
                    return Ok(None);
                }
                (StallCause::Slowdown, Some(now() + pause))
            }
        };
        if options.no_wait {
            return Err(Error::WouldBlock { what: WHAT }); // a stop has come since it was asked
        }
        if options.deadline.is_some_and(|deadline| deadline <= now()) {
            return Err(Error::TimedOut { what: WHAT });
        }
        let until = match (until, options.deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Ok(Some((cause, until)))
    }
}

impl Shared {
    /// Refuses a write that may not wait as long as it would have to, before it takes a place in the line that others
    /// would then wait for.
    fn check_patience(&self, bytes: usize, options: &WriteOptions) -> Result<(), Error> {
        let wait = match self.gate.stop() {
            Some(_) => Duration::MAX,
            None => self.gate.throttle.wait_for(self.gate.time(), bytes as u64),
        };
        if options.no_wait && !wait.is_zero() {
            return Err(Error::WouldBlock { what: WHAT });
        }
        let is_stopped = wait == Duration::MAX; // nobody knows for how long
        match options.deadline {
            Some(deadline)
                if !is_stopped && now().checked_add(wait).is_none_or(|end| end > deadline) =>
            {
                Err(Error::TimedOut { what: WHAT })
            }
            _ => Ok(()),
        }
    }
}

impl Options {
    /// From where on compaction's debt slows and stops writers; 0 stands for never.
    fn debt_limits(&self) -> DebtLimits {
        let or_never = |bytes, never| if bytes == 0 { never } else { bytes };
        DebtLimits {
            level0_slowdown_writes_trigger: self.level0_slowdown_writes_trigger as u32,
            level0_stop_writes_trigger: self.level0_stop_writes_trigger as u32,
            soft_pending_compaction_bytes: or_never(
                self.soft_pending_compaction_bytes,
                u64::MAX / 2,
            ),
            hard_pending_compaction_bytes: or_never(self.hard_pending_compaction_bytes, u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_go_on_slow_down_and_stop_in_turn() {
        // W3, L4
        let options = Options::default();
        let decide = |score, tables| decide(score, tables, 1000.0, &options);
        assert_eq!(decide(0.4, 8), Stall::Pace(f64::INFINITY));
        assert_eq!(decide(0.5, 10), Stall::Pace(2000.0));
        assert_eq!(decide(1.0, 20), Stall::Pace(1000.0));
        assert_eq!(decide(1.5, 28), Stall::Pace(750.0));
        assert_eq!(decide(2.0, 36), Stall::Stop(StallCause::Level0Stop));
        assert_eq!(decide(2.5, 3), Stall::Stop(StallCause::PendingCompactionStop));
    }

    #[test]
    fn a_stop_is_got_back_as_it_was_set_and_ends() {
        let gate = Gate::new(&Options::default());
        for cause in [StallCause::Level0Stop, StallCause::PendingCompactionStop] {
            gate.set(Stall::Stop(cause));
            assert_eq!(gate.stop(), Some(cause));
        }
        gate.set(Stall::Pace(7.0));
        assert_eq!((gate.stop(), gate.throttle.bytes_per_second()), (None, 7.0));
    }

    #[test]
    fn no_limit_on_pending_bytes_is_never_reached() {
        let options = Options {
            soft_pending_compaction_bytes: 0,
            hard_pending_compaction_bytes: 0,
            ..Options::default()
        };
        assert!(options.validate().is_ok() && options.debt_limits().validate().is_ok());
    }
}
