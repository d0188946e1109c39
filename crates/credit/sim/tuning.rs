//! Background work against clients on one device, under two tuners.
//!
//! Clients move bytes at a rate that steps; background work has always something to do and moves what the
//! limiter's rate allows. What both want beyond the device's speed queues up, and clients wait for it.

use std::time::Duration;

use credit::limiter::{AutoTune, TuneInputs};

pub const DEVICE: f64 = 100e6;
pub const FLOOR: f64 = 2e6;
const STEP: Duration = Duration::from_millis(5);

/// Who sets the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tuner {
    /// `credit::limiter::AutoTune`.
    AutoTune,
    /// RocksDB's: every 100 refills of 100 ms, by how many of them were used up.
    RocksDb,
}

impl Tuner {
    #[allow(dead_code, reason = "for the example")]
    pub const ALL: [Tuner; 2] = [Tuner::AutoTune, Tuner::RocksDb];

    #[allow(dead_code, reason = "for the example")]
    pub fn name(self) -> &'static str {
        match self {
            Tuner::AutoTune => "autotune",
            Tuner::RocksDb => "rocksdb",
        }
    }
}

/// What clients move at `second`, and whether background work has anything to do.
pub fn load(second: f64) -> (f64, bool) {
    // An idle quarter of an hour lies behind RocksDB's tuner when the work begins.
    let busy = second >= 30.0;
    let clients = if second < 60.0 {
        20e6
    } else if second < 90.0 {
        80e6
    } else {
        30e6
    };
    (clients, busy)
}

/// One step.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    pub second: f64,
    #[allow(dead_code, reason = "for the example")]
    pub clients: f64,
    /// The rate that the tuner set.
    pub rate: f64,
    /// How long the device needs for what is queued, seconds: the clients' added latency.
    pub queue_seconds: f64,
}

pub fn run(tuner: Tuner, seconds: u64) -> Vec<Point> {
    let steps = seconds * 1000 / STEP.as_millis() as u64;
    let mut ours = AutoTune::new(FLOOR);
    let mut rocks = Rocks { rate: DEVICE / 2.0, drained: 0, refills: 0, used: 0.0, since: 0 };
    let mut rate = FLOOR;
    let mut queued: f64 = 0.0;
    let mut points = Vec::new();
    for step in 0..steps {
        let second = (STEP * step as u32).as_secs_f64();
        let (clients, busy) = load(second);
        // Two parts in a hundred of unrest, so that a tuner that amplifies it is seen.
        let unrest = 1.0 + 0.02 * (second * 17.0).sin();
        let client_bytes = clients * unrest * STEP.as_secs_f64();
        let background_bytes = if busy { rate * STEP.as_secs_f64() } else { 0.0 };
        queued += client_bytes + background_bytes - DEVICE * STEP.as_secs_f64();
        queued = queued.max(0.0);
        rate = match tuner {
            Tuner::AutoTune => ours.tune(&TuneInputs {
                elapsed: STEP,
                foreground_bytes: client_bytes as u64,
                device_bytes_per_second: DEVICE,
                score: 0.0,
            }),
            Tuner::RocksDb => rocks.tune(background_bytes, busy),
        };
        points.push(Point { second, clients, rate, queue_seconds: queued / DEVICE });
    }
    points
}

/// `GenericRateLimiter::TuneLocked`, as in `util/rate_limiter.cc`.
struct Rocks {
    rate: f64,
    drained: u32,
    refills: u32,
    used: f64,
    since: u32,
}

impl Rocks {
    fn tune(&mut self, bytes: f64, waiting: bool) -> f64 {
        self.used += bytes;
        self.since += 1;
        if self.since == 20 {
            // One refill of 100 ms. It was drained if somebody had to wait for the next one.
            self.drained += u32::from(waiting);
            self.refills += 1;
            (self.since, self.used) = (0, 0.0);
        }
        if self.refills == 100 {
            let drained = self.drained;
            (self.drained, self.refills) = (0, 0);
            self.rate = if drained == 0 {
                DEVICE / 20.0
            } else if drained < 50 {
                (self.rate / 1.05).max(DEVICE / 20.0)
            } else if drained > 90 {
                (self.rate * 1.05).min(DEVICE)
            } else {
                self.rate
            };
        }
        self.rate
    }
}
