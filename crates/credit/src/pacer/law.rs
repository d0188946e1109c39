//! The law: how fast writers may be, given how full things are and how fast they drain.

use std::time::Duration;

/// What the law looks at; plain data, taken at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PaceInputs {
    /// The budget for held bytes; `None` is unlimited.
    pub budget_bytes: Option<u64>,
    /// Bytes held now, those of running flushes included.
    pub held_bytes: u64,
    /// Those of `held_bytes` that running flushes have written already. They are still held, for
    /// credits come back when a flush ends, but that work is done.
    pub flushing_written_bytes: u64,
    /// Bytes flushed per second in which a flush was running, smoothed ([`DrainEstimate`](crate::pacer::DrainEstimate)).
    pub flush_bytes_per_second: f64,
    /// When the next credits come back, reckoned from now; `None` if no flush is running.
    pub next_return: Option<Duration>,
    /// Debt of compaction: 1 at the slowdown trigger or soft limit, 2 at the stop trigger or hard
    /// limit, counted continuously, with the progress inside running jobs.
    pub score: f64,
    /// Bytes of user data per second that compaction takes off the debt, smoothed.
    pub drain_bytes_per_second: f64,
}

/// A rate, and what set it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Bytes per second for all writers together; infinite if nothing has to be slowed.
    pub bytes_per_second: f64,
    /// Which term was the smallest.
    pub cause: PaceCause,
}

/// Why writers are slowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PaceCause {
    /// They are not.
    None,
    /// More than half of the budget waits to be flushed.
    Memory,
    /// What is free has to last until the running flush returns its credits.
    Return,
    /// Compaction is behind.
    Compaction,
}

/// From this part of the budget on writers are slowed: to twice the flush rate at this very point.
const FULL_SPEED_BELOW: f64 = 0.5;

/// At this part of the budget writers are exactly as fast as flushes.
const BALANCED_AT: f64 = 0.75;

/// The rate at which writers may go on.
///
/// With `v` the part of the budget that is held and not yet written, and `s` the score:
///
/// ```text
///   memory:      ∞ if v < 0.5, else flush rate · (1 − v) / (1 − 0.75)
///   return:      ∞ if less than half is held, else (budget − held) / time to the next return
///   compaction:  drain rate · h(s);  h: ∞ below ½, 3−2s in [½, 1], (3−s)/2 in [1, 2], then ½
/// ```
///
/// The smallest of the three counts. The first two fall to 0 at the budget and not before: what is
/// left then shrinks like an exponential. Inputs that are not finite or negative count as 0.
#[must_use]
pub fn pace(inputs: &PaceInputs) -> Pace {
    let mut pace = Pace { bytes_per_second: f64::INFINITY, cause: PaceCause::None };
    let mut at_most = |bytes_per_second: f64, cause| {
        if bytes_per_second < pace.bytes_per_second {
            pace = Pace { bytes_per_second, cause };
        }
    };
    if let Some(budget) = inputs.budget_bytes.filter(|&budget| budget > 0) {
        at_most(memory_rate(inputs, budget), PaceCause::Memory);
        at_most(return_rate(inputs, budget), PaceCause::Return);
    }
    let slack = compaction_slack(inputs.score);
    if slack.is_finite() {
        at_most(sane(inputs.drain_bytes_per_second) * slack, PaceCause::Compaction);
    }
    pace
}

fn memory_rate(inputs: &PaceInputs, budget: u64) -> f64 {
    let waiting = inputs.held_bytes.saturating_sub(inputs.flushing_written_bytes);
    let filled = waiting as f64 / budget as f64;
    if filled < FULL_SPEED_BELOW {
        return f64::INFINITY;
    }
    sane(inputs.flush_bytes_per_second) * (1.0 - filled).max(0.0) / (1.0 - BALANCED_AT)
}

fn return_rate(inputs: &PaceInputs, budget: u64) -> f64 {
    let Some(next_return) = inputs.next_return else { return f64::INFINITY };
    if (inputs.held_bytes as f64) < FULL_SPEED_BELOW * budget as f64 {
        return f64::INFINITY;
    }
    let free = budget.saturating_sub(inputs.held_bytes) as f64;
    // A return that is due now may still be a scheduler's quantum away.
    free / next_return.max(RETURN_AFTER_MIN).as_secs_f64()
}

/// What is free has to last at least this long, whatever was foretold.
const RETURN_AFTER_MIN: Duration = Duration::from_millis(5);

fn compaction_slack(score: f64) -> f64 {
    let score = sane(score);
    if score < 0.5 {
        f64::INFINITY
    } else if score < 1.0 {
        3.0 - 2.0 * score
    } else if score < 2.0 {
        (3.0 - score) / 2.0
    } else {
        0.5
    }
}

fn sane(value: f64) -> f64 {
    if value.is_finite() { value.max(0.0) } else { 0.0 }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    const IDLE: PaceInputs = PaceInputs {
        budget_bytes: Some(1000),
        held_bytes: 0,
        flushing_written_bytes: 0,
        flush_bytes_per_second: 100.0,
        next_return: None,
        score: 0.0,
        drain_bytes_per_second: 80.0,
    };

    fn rate(inputs: PaceInputs) -> (f64, PaceCause) {
        let Pace { bytes_per_second, cause } = pace(&inputs);
        (bytes_per_second, cause)
    }

    #[test]
    fn nobody_is_slowed_below_half() {
        // L5
        let next_return = Some(Duration::from_secs(9));
        assert_eq!(
            rate(PaceInputs { held_bytes: 499, next_return, ..IDLE }),
            (f64::INFINITY, PaceCause::None)
        );
        assert_eq!(
            rate(PaceInputs { budget_bytes: None, held_bytes: 1 << 40, ..IDLE }),
            (f64::INFINITY, PaceCause::None)
        );
    }

    #[test]
    fn memory_slows_linearly_from_twice_the_flush_rate_to_nothing() {
        // L5
        for (held, expected) in [(500, 200.0), (750, 100.0), (900, 40.0), (1000, 0.0), (2000, 0.0)]
        {
            let (rate, cause) = rate(PaceInputs { held_bytes: held, ..IDLE });
            assert!((rate - expected).abs() < 1e-9, "{held}: {rate}");
            assert_eq!(cause, PaceCause::Memory);
        }
        // What a flush has written does not count.
        let written = PaceInputs { held_bytes: 900, flushing_written_bytes: 150, ..IDLE };
        assert_eq!(rate(written), (100.0, PaceCause::Memory));
    }

    #[test]
    fn what_is_free_lasts_until_credits_return() {
        // L5
        let inputs = PaceInputs {
            held_bytes: 900,
            flushing_written_bytes: 800,
            next_return: Some(Duration::from_secs(2)),
            ..IDLE
        };
        assert_eq!(rate(inputs), (50.0, PaceCause::Return));
        let due = PaceInputs { next_return: Some(Duration::ZERO), ..inputs };
        assert_eq!(rate(due), (100.0 / 0.005, PaceCause::Return));
    }

    #[test]
    fn compaction_slows_in_two_slopes_and_never_stops() {
        // L4, L5
        for (score, expected) in
            [(0.5, 160.0), (0.75, 120.0), (1.0, 80.0), (1.5, 60.0), (2.0, 40.0), (9.0, 40.0)]
        {
            let (rate, cause) = rate(PaceInputs { score, ..IDLE });
            assert!((rate - expected).abs() < 1e-9, "{score}: {rate}");
            assert_eq!(cause, PaceCause::Compaction);
        }
        assert_eq!(rate(PaceInputs { score: 0.49, ..IDLE }).1, PaceCause::None);
    }

    #[test]
    fn the_smallest_term_counts_and_nonsense_counts_as_nothing() {
        let both = PaceInputs { held_bytes: 750, score: 1.0, ..IDLE };
        assert_eq!(rate(both), (80.0, PaceCause::Compaction));
        let nonsense = PaceInputs { flush_bytes_per_second: f64::NAN, score: f64::NAN, ..both };
        assert_eq!(rate(nonsense), (0.0, PaceCause::Memory));
    }
}
