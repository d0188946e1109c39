//! The rate limiter from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use credit::limiter::{
    Clock, Direction, LimiterClosed, LimiterOptions, ManualClock, Mode, Priority, RateLimiter,
};

use crate::wait_for;

use Direction::{Read, Write};

/// 100 bytes every 10 ms of a clock that the test moves.
fn limiter(mode: Mode) -> (Arc<RateLimiter>, ManualClock) {
    let clock = ManualClock::default();
    let mut options = LimiterOptions::new(10_000);
    options.refill_period = Duration::from_millis(10);
    options.mode = mode;
    (Arc::new(RateLimiter::with_clock(options, Arc::new(clock.clone()))), clock)
}

#[test]
fn waiting_ends_with_the_refill_that_suffices() {
    // L1
    let (limiter, clock) = limiter(Mode::Writes);
    assert_eq!((limiter.burst_bytes(), limiter.bytes_per_second()), (100, 10_000));
    assert_eq!(limiter.try_acquire(Priority::Deep, Write, 100), Ok(true));
    assert_eq!(limiter.try_acquire(Priority::Deep, Write, 1), Ok(false));
    let done = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let result = limiter.acquire(Priority::Deep, Write, 250);
            done.store(clock.now().as_millis() as u64, Ordering::SeqCst);
            result
        });
        // It keeps asking, so that time can be moved on for it.
        while !waits.is_finished() {
            clock.advance(Duration::from_millis(1));
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(waits.join().expect("no panic"), Ok(()));
    });
    let done = done.load(Ordering::SeqCst);
    assert!(done >= 30, "250 bytes after {done} ms at 100 bytes in 10 ms");
    let stats = limiter.stats(Priority::Deep);
    assert_eq!((stats.requests, stats.bytes, stats.waits), (2, 350, 1));
    assert!(stats.wait_max >= Duration::from_millis(20) && stats.wait_total == stats.wait_max);
}

#[test]
fn log_and_flush_never_wait_and_others_pay() {
    // L2
    let (limiter, clock) = limiter(Mode::Writes);
    limiter.charge(Priority::Log, Write, 60);
    assert_eq!(limiter.acquire(Priority::Flush, Write, 100), Ok(()));
    assert_eq!(limiter.try_acquire(Priority::LevelZero, Write, 1), Ok(false));
    clock.advance(Duration::from_millis(10));
    assert_eq!(limiter.try_acquire(Priority::LevelZero, Write, 41), Ok(false), "60 were owed");
    assert_eq!(limiter.try_acquire(Priority::LevelZero, Write, 40), Ok(true));
    assert_eq!(limiter.stats(Priority::Log).bytes, 60);
    assert_eq!(limiter.stats(Priority::Flush).requests, 1);
}

#[test]
fn the_mode_says_which_transfers_count() {
    // L2
    for (mode, limited, free) in [
        (Mode::Writes, Write, Some(Read)),
        (Mode::Reads, Read, Some(Write)),
        (Mode::All, Write, None),
    ] {
        let (limiter, _clock) = limiter(mode);
        if let Some(free) = free {
            assert_eq!(limiter.acquire(Priority::Deep, free, 1 << 40), Ok(()));
            assert_eq!(limiter.stats(Priority::Deep).requests, 0);
        }
        assert_eq!(limiter.try_acquire(Priority::Deep, limited, 100), Ok(true));
        assert_eq!(limiter.try_acquire(Priority::ClientRead, limited, 1), Ok(false));
    }
}

#[test]
fn close_ends_waiting() {
    // C6
    let (limiter, _clock) = limiter(Mode::Writes);
    std::thread::scope(|scope| {
        let waits: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| limiter.acquire(Priority::Deep, Write, 1 << 30)))
            .collect();
        std::thread::sleep(Duration::from_millis(5));
        limiter.close();
        for waits in waits {
            assert_eq!(waits.join().expect("no panic"), Err(LimiterClosed));
        }
    });
    assert_eq!(limiter.try_acquire(Priority::Deep, Write, 1), Err(LimiterClosed));
    assert_eq!(limiter.acquire(Priority::Flush, Write, 1), Ok(()), "never waits, never refused");
}

#[test]
fn the_rate_can_be_changed_while_somebody_waits() {
    // L1
    let (limiter, clock) = limiter(Mode::Writes);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| limiter.acquire(Priority::Deep, Write, 1_000_000));
        wait_for(|| !limiter.try_acquire(Priority::Deep, Write, 1).expect("open"));
        limiter.set_bytes_per_second(1_000_000_000);
        // One refill at the new rate suffices; at the old one it would take ten thousand, and none comes
        // while the clock stands.
        clock.advance(Duration::from_millis(10));
        wait_for(|| waits.is_finished());
        assert_eq!(waits.join().expect("no panic"), Ok(()));
    });
    assert_eq!(clock.now(), Duration::from_millis(10));
}

#[test]
fn threads_together_are_as_fast_as_the_rate_and_all_get_on() {
    // L1, L2
    let limiter = RateLimiter::new(LimiterOptions::new(50_000_000));
    let begun = Instant::now();
    let classes = [Priority::ClientRead, Priority::LevelZero, Priority::Deep, Priority::Deep];
    std::thread::scope(|scope| {
        for class in classes {
            let limiter = &limiter;
            scope.spawn(move || {
                while begun.elapsed() < Duration::from_millis(400) {
                    limiter.acquire(class, Write, 4096).expect("open");
                }
            });
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    let bytes = |class| limiter.stats(class).bytes as f64;
    let total: f64 =
        [Priority::ClientRead, Priority::LevelZero, Priority::Deep].map(bytes).iter().sum();
    // No more than the rate, a burst, and what each is served in part.
    assert!(total <= 50e6 * (seconds + 0.005) + 4.0 * 4096.0, "{total} bytes in {seconds} s");
    assert!(bytes(Priority::Deep) > 0.0 && bytes(Priority::LevelZero) > 0.0);
}
