//! A virtual clock that spaces writers out at a rate which may change at any moment.
//!
//! The clock counts bytes, not seconds: `served` grows with time at the present rate, and each writer
//! takes the next `bytes` of a line, `issued`. It may go when `served` has come within one burst of its
//! place. That is the rule `tat = max(now, tat) + bytes/r; sleep until tat − burst` with both sides times the
//! rate; kept like this, a new rate applies at once to those who sleep already.
//!
//! Concurrency: `issued` is one atomic, moved by compare-and-swap; the clock's three figures sit under a
//! mutex that is held for a few nanoseconds, and only while writers are being slowed. At full speed a
//! writer does one atomic load.

use std::time::Duration;

use crate::sync::{AtomicU64, Mutex, Ordering};

/// The longest that [`Throttle::pause`] asks for at a time; then it is to be asked again, since the rate
/// may have changed.
pub const PAUSE_MAX: Duration = Duration::from_millis(10);

/// How far writers may run ahead of the clock: shorter sleeps cost more than they delay.
const BURST: Duration = Duration::from_micros(200);

/// Spaces writers out; shared by all of them.
///
/// Times are durations since any fixed moment, the same for all calls.
#[derive(Debug)]
pub struct Throttle {
    /// Bits of the rate, to be read without the lock; infinite is full speed.
    rate: AtomicU64,
    /// End of the line, in bytes of the clock.
    issued: AtomicU64,
    clock: Mutex<Clock>,
    burst: Duration,
}

#[derive(Debug)]
struct Clock {
    at: Duration,
    served: f64,
    bytes_per_second: f64,
}

/// A writer's place in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a place in the line is to be waited for"]
pub struct Slot {
    /// Its end, in bytes of the clock; 0 for one that need not wait.
    end: u64,
}

impl Default for Throttle {
    fn default() -> Throttle {
        Throttle::new()
    }
}

impl Throttle {
    /// A throttle at full speed, with a burst of 200 µs.
    #[must_use]
    pub fn new() -> Throttle {
        Throttle::with_burst(BURST)
    }

    /// A throttle at full speed with a burst of `burst`, but at least 200 µs.
    #[must_use]
    pub fn with_burst(burst: Duration) -> Throttle {
        Throttle {
            rate: AtomicU64::new(f64::INFINITY.to_bits()),
            issued: AtomicU64::new(0),
            clock: Mutex::new(Clock {
                at: Duration::ZERO,
                served: 0.0,
                bytes_per_second: f64::INFINITY,
            }),
            burst: burst.max(BURST),
        }
    }

    /// The present rate; infinite is full speed.
    #[must_use]
    #[inline]
    pub fn bytes_per_second(&self) -> f64 {
        f64::from_bits(self.rate.load(Ordering::Relaxed))
    }

    /// From `now` on `bytes_per_second` pass; infinite (or not a number) is full speed, which lets all
    /// that wait go.
    pub fn set_rate(&self, now: Duration, bytes_per_second: f64) {
        let rate =
            if bytes_per_second.is_nan() { f64::INFINITY } else { bytes_per_second.max(0.0) };
        let mut clock = self.clock.lock();
        clock.advance(now);
        if rate.is_infinite() {
            clock.served = clock.served.max(self.issued.load(Ordering::Acquire) as f64);
        }
        clock.bytes_per_second = rate;
        self.rate.store(rate.to_bits(), Ordering::Relaxed);
    }

    /// Takes the next `bytes` of the line; the writer then waits as [`pause`](Throttle::pause) says.
    #[inline]
    pub fn reserve(&self, now: Duration, bytes: u64) -> Slot {
        if self.bytes_per_second().is_infinite() {
            return Slot { end: 0 };
        }
        self.reserve_paced(now, bytes)
    }

    fn reserve_paced(&self, now: Duration, bytes: u64) -> Slot {
        let served = self.clock.lock().served_at(now) as u64;
        let mut issued = self.issued.load(Ordering::Acquire);
        loop {
            // Time in which nobody wrote is not saved up: the line begins at the clock.
            let end = issued.max(served).saturating_add(bytes);
            match self.issued.compare_exchange_weak(
                issued,
                end,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Slot { end },
                Err(other) => issued = other,
            }
        }
    }

    /// How long the writer at `slot` should sleep before it asks again: zero means go, never more than
    /// [`PAUSE_MAX`].
    ///
    /// A writer that gives up says so by [`give_up`](Throttle::give_up).
    #[must_use]
    pub fn pause(&self, now: Duration, slot: &Slot) -> Duration {
        if slot.end == 0 {
            return Duration::ZERO;
        }
        let clock = self.clock.lock();
        let rate = clock.bytes_per_second;
        if rate.is_infinite() {
            return Duration::ZERO;
        }
        let behind = slot.end as f64 - clock.served_at(now);
        if behind <= 0.0 {
            return Duration::ZERO;
        }
        let wait = behind / rate - self.burst.as_secs_f64();
        if wait <= 0.0 {
            Duration::ZERO
        } else {
            Duration::try_from_secs_f64(wait).unwrap_or(PAUSE_MAX).min(PAUSE_MAX)
        }
    }

    /// Gives back what the clock has not reached yet of the place of `bytes` at `slot`, whose writer goes without having
    /// written; at most once. Those behind it keep their places; those that come later stand further in front.
    pub fn give_up(&self, now: Duration, slot: &Slot, bytes: u64) {
        let served = self.clock.lock().served_at(now) as u64;
        let unused = slot.end.saturating_sub(served).min(bytes);
        // It is never more than the line, which holds all places that were taken and not given up.
        self.issued.fetch_sub(unused, Ordering::AcqRel);
    }

    /// How long a writer of `bytes` that takes its place now would wait at the present rate; for one that may not wait
    /// that long, and so should not take a place.
    #[must_use]
    pub fn wait_for(&self, now: Duration, bytes: u64) -> Duration {
        let rate = self.bytes_per_second();
        if rate.is_infinite() {
            return Duration::ZERO;
        }
        let behind = self.queued_bytes(now).saturating_add(bytes) as f64;
        let wait = behind / rate - self.burst.as_secs_f64();
        if wait <= 0.0 {
            Duration::ZERO
        } else {
            Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX)
        }
    }

    /// Bytes in the line that the clock has not reached.
    #[must_use]
    pub fn queued_bytes(&self, now: Duration) -> u64 {
        let served = self.clock.lock().served_at(now) as u64;
        self.issued.load(Ordering::Acquire).saturating_sub(served)
    }
}

impl Clock {
    fn served_at(&self, now: Duration) -> f64 {
        if self.bytes_per_second.is_infinite() {
            return self.served;
        }
        self.served + now.saturating_sub(self.at).as_secs_f64() * self.bytes_per_second
    }

    fn advance(&mut self, now: Duration) {
        self.served = self.served_at(now);
        self.at = self.at.max(now);
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    fn at(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    /// Sleeps through the pauses of `slot` from `now` on; when it may go.
    fn wait_from(throttle: &Throttle, mut now: Duration, slot: &Slot) -> Duration {
        loop {
            let pause = throttle.pause(now, slot);
            assert!(pause <= PAUSE_MAX);
            if pause.is_zero() {
                return now;
            }
            now += pause;
        }
    }

    #[test]
    fn full_speed_is_no_pause() {
        let throttle = Throttle::new();
        let slot = throttle.reserve(at(5), u64::MAX);
        assert_eq!(throttle.pause(at(5), &slot), Duration::ZERO);
        assert_eq!(throttle.queued_bytes(at(5)), 0);
    }

    #[test]
    fn writers_go_one_after_the_other_at_the_rate() {
        // L5
        let throttle = Throttle::new();
        throttle.set_rate(at(0), 1e6);
        let slots: Vec<Slot> = (0..4).map(|_| throttle.reserve(at(0), 1000)).collect();
        let gone: Vec<u128> =
            slots.iter().map(|slot| wait_from(&throttle, at(0), slot).as_micros()).collect();
        // Each at the end of its millisecond, less the burst of 200 µs.
        for (gone, expected) in gone.iter().zip([800, 1800, 2800, 3800]) {
            assert!(gone.abs_diff(expected) <= 1, "{gone} instead of {expected}");
        }
        assert_eq!(throttle.queued_bytes(at(1500)), 2500);
    }

    #[test]
    fn what_a_place_would_cost_is_told_without_taking_it() {
        let throttle = Throttle::new();
        assert_eq!(throttle.wait_for(at(0), u64::MAX), Duration::ZERO);
        throttle.set_rate(at(0), 1e6);
        for _ in 0..3 {
            assert_eq!(throttle.wait_for(at(0), 1000), at(800));
        }
        let _slot = throttle.reserve(at(0), 5000);
        assert_eq!(throttle.wait_for(at(0), 1000), at(5800));
        throttle.set_rate(at(0), 0.0);
        assert_eq!(throttle.wait_for(at(0), 1), Duration::MAX);
    }

    #[test]
    fn a_place_that_is_given_up_is_not_waited_for() {
        let throttle = Throttle::new();
        throttle.set_rate(at(0), 1e6);
        let (first, second) = (throttle.reserve(at(0), 3000), throttle.reserve(at(0), 1000));
        throttle.give_up(at(1000), &first, 3000);
        // What the clock has passed of it stays passed.
        assert_eq!(throttle.queued_bytes(at(1000)), 1000);
        assert!(wait_from(&throttle, at(1000), &second).as_micros().abs_diff(3800) <= 1);
        // One that has passed gives nothing back, and neither does one that never was.
        throttle.give_up(at(5000), &second, 1000);
        throttle.give_up(at(5000), &Slot { end: 0 }, 1000);
        assert_eq!(throttle.issued.load(Ordering::Relaxed), 2000);
        let third = throttle.reserve(at(5000), 1000);
        assert!(wait_from(&throttle, at(5000), &third).as_micros().abs_diff(5800) <= 1);
    }

    #[test]
    fn what_is_smaller_than_the_burst_does_not_sleep() {
        let throttle = Throttle::new();
        throttle.set_rate(at(0), 1e6);
        let slot = throttle.reserve(at(0), 200);
        assert_eq!(throttle.pause(at(0), &slot), Duration::ZERO);
        let slot = throttle.reserve(at(0), 1);
        assert!(throttle.pause(at(0), &slot) > Duration::ZERO);
    }

    #[test]
    fn idle_time_is_not_saved_up() {
        let throttle = Throttle::new();
        throttle.set_rate(at(0), 1e6);
        let slot = throttle.reserve(at(1_000_000), 1000);
        assert!(wait_from(&throttle, at(1_000_000), &slot).as_micros().abs_diff(1_000_800) <= 1);
    }

    #[test]
    fn a_new_rate_applies_to_those_who_sleep() {
        // L5
        let throttle = Throttle::new();
        throttle.set_rate(at(0), 1e6);
        let slot = throttle.reserve(at(0), 1_000_000);
        assert_eq!(throttle.pause(at(0), &slot), PAUSE_MAX);
        throttle.set_rate(at(500_000), 100e6);
        let gone = wait_from(&throttle, at(500_000), &slot).as_micros();
        assert!(gone.abs_diff(504_800) <= 2, "{gone}");
        let slot = throttle.reserve(at(505_000), 1_000_000);
        throttle.set_rate(at(505_000), 0.0);
        assert_eq!(throttle.pause(at(999_000), &slot), PAUSE_MAX, "asked again every 10 ms");
        throttle.set_rate(at(999_000), f64::INFINITY);
        assert_eq!(throttle.pause(at(999_000), &slot), Duration::ZERO);
        // Those who come after full speed find no old line.
        throttle.set_rate(at(999_000), 1e6);
        let slot = throttle.reserve(at(999_000), 100);
        assert_eq!(throttle.pause(at(999_000), &slot), Duration::ZERO);
    }

    #[test]
    fn many_threads_take_places_that_do_not_overlap() {
        let throttle = Throttle::new();
        throttle.set_rate(at(0), 1.0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        assert!(throttle.reserve(at(0), 3).end > 0);
                    }
                });
            }
        });
        assert_eq!(throttle.queued_bytes(at(0)), 24_000);
    }
}
