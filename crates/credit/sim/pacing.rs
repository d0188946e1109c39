//! Writers against a memory budget that is returned in lumps, under three policies.
//!
//! The engine that is simulated: writes fill an active memtable; a full one is sealed and flushed, one at a
//! time, at the device's speed; its bytes are returned when its flush *ends*. Each flushed byte adds to the
//! debt of compaction, which drains at a speed of its own. Clients are open-loop: they offer writes at a
//! given rate, whatever became of the earlier ones; eight threads take them in order of arrival.

use std::collections::VecDeque;
use std::time::Duration;

use credit::pacer::{DrainEstimate, PaceInputs, Slot, Throttle, pace};

pub const BUDGET: u64 = 64 << 20;
const MEMTABLE: u64 = BUDGET / 4;
const WRITE: u64 = 16 << 10;
const THREADS: usize = 8;
pub const STEP: Duration = Duration::from_micros(100);
const LAW_EVERY: u64 = 10;

/// Debt at which the score is 1; at twice that it is 2.
pub const SOFT_DEBT: f64 = 512e6;

/// The device's flush speed in ordinary times, bytes per second.
pub const DEVICE: f64 = 100e6;

/// How writers are held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The law of `credit::pacer`.
    Law,
    /// RocksDB's: full speed, then a rate moved by ×0.8 and ×1.25, with sleeps of at least 1 ms taken by
    /// the head of the queue for all behind it, then a stop.
    RocksDb,
    /// None: writers run until the budget is used up, and block.
    Blocking,
}

impl Policy {
    #[allow(dead_code, reason = "for the example")]
    pub const ALL: [Policy; 3] = [Policy::Law, Policy::RocksDb, Policy::Blocking];

    pub fn name(self) -> &'static str {
        match self {
            Policy::Law => "law",
            Policy::RocksDb => "rocksdb",
            Policy::Blocking => "blocking",
        }
    }
}

/// What happens to the engine from outside; functions of the second.
pub struct Scenario {
    pub name: &'static str,
    pub seconds: u64,
    /// Bytes per second that clients offer.
    pub offered: fn(f64) -> f64,
    /// Bytes per second that a flush writes.
    pub device: fn(f64) -> f64,
    /// Bytes per second of user data that compaction drains.
    pub drain: fn(f64) -> f64,
    /// A moment, and by how much the debt jumps then.
    pub debt_jump: Option<(f64, f64)>,
}

fn ordinary(_: f64) -> f64 {
    DEVICE
}

fn ample(_: f64) -> f64 {
    4.0 * DEVICE
}

/// The device's speed wavers by a fifth, several times a second and over seconds.
fn wavering(second: f64) -> f64 {
    DEVICE * (1.0 + 0.12 * (second * 21.0).sin() + 0.08 * (second * 1.3).sin())
}

pub const SCENARIOS: [Scenario; 5] = [
    Scenario {
        name: "steady",
        seconds: 40,
        offered: |_| 0.95 * DEVICE,
        device: wavering,
        drain: ample,
        debt_jump: None,
    },
    Scenario {
        name: "steps",
        seconds: 40,
        offered: |second| match second as u64 {
            0..8 => 0.2 * DEVICE,
            8..16 => 1.3 * DEVICE,
            _ => 0.6 * DEVICE,
        },
        device: wavering,
        drain: ample,
        debt_jump: None,
    },
    Scenario {
        name: "bursts",
        seconds: 40,
        // 0.4 s at 2.6 times what the device can, every 1.2 s; 95 % of it on average.
        offered: |second| if second % 1.2 < 0.4 { 2.6 * DEVICE } else { 0.125 * DEVICE },
        device: ordinary,
        drain: ample,
        debt_jump: None,
    },
    Scenario {
        name: "slow device",
        seconds: 40,
        // Clients go on as before while the device has become ten times slower.
        offered: |second| if second < 28.0 { 0.95 * DEVICE } else { 0.1 * DEVICE },
        device: |second| if (8.0..28.0).contains(&second) { 0.1 * DEVICE } else { DEVICE },
        drain: ample,
        debt_jump: None,
    },
    Scenario {
        name: "debt jump",
        seconds: 40,
        offered: |_| 0.75 * DEVICE,
        device: ordinary,
        drain: |_| 0.8 * DEVICE,
        debt_jump: Some((10.0, 2.2 * SOFT_DEBT)),
    },
];

/// A tenth of a second.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    pub second: f64,
    pub offered: f64,
    /// Bytes per second that writers got done.
    pub written: f64,
    /// The highest part of the budget that was held.
    pub held_max: f64,
    /// The longest time that a write spent with a thread: paced or blocked, not queued for a thread.
    pub delay_max: f64,
    /// Compaction's score at the end.
    pub score: f64,
}

/// How a run went.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub samples: Vec<Sample>,
    /// The highest part of the budget that was held.
    pub held_max: f64,
    /// Writes that found no room in the budget.
    pub blocked: u64,
    /// The fewest bytes written in any one second (from the second one on).
    pub second_min: f64,
    /// Times that writes spent with a thread, sorted, in seconds.
    pub delays: Vec<f64>,
}

impl Outcome {
    pub fn delay(&self, quantile: f64) -> f64 {
        let at = ((self.delays.len() as f64 * quantile) as usize).min(self.delays.len() - 1);
        self.delays[at]
    }

    pub fn written(&self) -> f64 {
        self.samples.iter().map(|sample| sample.written).sum::<f64>() / 10.0
    }
}

/// One writing thread.
#[derive(Debug, Clone, Copy)]
enum Thread {
    Idle,
    /// Began at this step, sleeps until that one, and then asks again.
    Paced {
        since: u64,
        until: u64,
        slot: Slot,
    },
    /// RocksDB: sleeps once.
    Sleeping {
        since: u64,
        until: u64,
    },
    /// Waits for room in the budget.
    Blocked {
        since: u64,
    },
}

struct World<'a> {
    scenario: &'a Scenario,
    policy: Policy,
    step: u64,
    /// Writes offered and not yet taken by a thread.
    backlog: f64,
    active: u64,
    sealed: VecDeque<u64>,
    flushed: f64,
    held: u64,
    debt: f64,
    threads: [Thread; THREADS],
    throttle: Throttle,
    flush_rate: DrainEstimate,
    drain_rate: DrainEstimate,
    rocks: Rocks,
    blocked: u64,
    delays: Vec<f64>,
}

/// RocksDB's write controller, as in `db/column_family.cc` and `db/write_controller.cc`.
struct Rocks {
    rate: f64,
    delayed: bool,
    debt_before: f64,
    credit: f64,
    refilled: f64,
}

const ROCKS_MAX: f64 = DEVICE;

impl Rocks {
    /// At each switch, flush and compaction: whether to delay, and how fast.
    fn recalculate(&mut self, delay: bool, debt: f64, now: f64) {
        if delay {
            if !self.delayed {
                self.credit = 0.0;
                self.refilled = now;
            } else if debt > self.debt_before {
                self.rate *= 0.8;
            } else if debt < self.debt_before {
                self.rate *= 1.25;
            }
        } else if self.delayed {
            self.rate *= 1.4;
        }
        self.rate = self.rate.clamp(16e3, ROCKS_MAX);
        self.delayed = delay;
        self.debt_before = debt;
    }

    /// Seconds that the head of the queue sleeps for a write.
    fn delay(&mut self, bytes: f64, now: f64) -> f64 {
        const REFILL: f64 = 1e-3;
        if self.credit >= bytes {
            self.credit -= bytes;
            return 0.0;
        }
        if self.refilled <= now {
            self.credit += (now - self.refilled + REFILL) * self.rate;
            self.refilled = now + REFILL;
            if self.credit >= bytes {
                self.credit -= bytes;
                return 0.0;
            }
        }
        let needed = (bytes - self.credit) / self.rate;
        let sleep = REFILL.max(self.refilled - now + needed);
        self.credit = 0.0;
        self.refilled = now + sleep;
        sleep
    }
}

pub fn run(scenario: &Scenario, policy: Policy) -> Outcome {
    let mut world = World {
        scenario,
        policy,
        step: 0,
        backlog: 0.0,
        active: 0,
        sealed: VecDeque::new(),
        flushed: 0.0,
        held: 0,
        debt: 0.0,
        threads: [Thread::Idle; THREADS],
        throttle: Throttle::new(),
        flush_rate: DrainEstimate::default(),
        drain_rate: DrainEstimate::default(),
        rocks: Rocks {
            rate: ROCKS_MAX,
            delayed: false,
            debt_before: 0.0,
            credit: 0.0,
            refilled: 0.0,
        },
        blocked: 0,
        delays: Vec::new(),
    };
    let steps_per_sample = Duration::from_millis(100).as_micros() as u64 / STEP.as_micros() as u64;
    let mut samples = Vec::new();
    for number in 0..scenario.seconds * 10 {
        let mut sample = Sample { second: number as f64 / 10.0, ..Sample::default() };
        let delays_before = world.delays.len();
        for _ in 0..steps_per_sample {
            sample.written += 10.0 * world.advance();
            sample.held_max = sample.held_max.max(world.held as f64 / BUDGET as f64);
        }
        sample.offered = (scenario.offered)(sample.second);
        sample.delay_max = world.delays[delays_before..].iter().copied().fold(0.0, f64::max);
        // Who is held up now has no delay to show yet.
        sample.delay_max = world.oldest_delay().max(sample.delay_max);
        sample.score = world.score();
        samples.push(sample);
    }
    let mut delays = world.delays;
    delays.sort_by(f64::total_cmp);
    let second_min = samples
        .chunks(10)
        .skip(1)
        .map(|second| second.iter().map(|sample| sample.written).sum::<f64>() / 10.0)
        .fold(f64::INFINITY, f64::min);
    let held_max = samples.iter().map(|sample| sample.held_max).fold(0.0, f64::max);
    Outcome { samples, held_max, blocked: world.blocked, second_min, delays }
}

impl World<'_> {
    fn second(&self) -> f64 {
        self.step as f64 * STEP.as_secs_f64()
    }

    fn now(&self) -> Duration {
        STEP * self.step as u32
    }

    fn score(&self) -> f64 {
        self.debt / SOFT_DEBT
    }

    fn oldest_delay(&self) -> f64 {
        let since = |thread: &Thread| match *thread {
            Thread::Idle => self.step,
            Thread::Paced { since, .. }
            | Thread::Sleeping { since, .. }
            | Thread::Blocked { since } => since,
        };
        let oldest = self.threads.iter().map(since).min().unwrap_or(self.step);
        (self.step - oldest) as f64 * STEP.as_secs_f64()
    }

    /// One step; bytes written in it.
    fn advance(&mut self) -> f64 {
        self.step += 1;
        let second = self.second();
        self.backlog += (self.scenario.offered)(second) * STEP.as_secs_f64() / WRITE as f64;
        if let Some((at, bytes)) = self.scenario.debt_jump
            && (second - at).abs() < STEP.as_secs_f64() / 2.0
        {
            self.debt += bytes;
            self.recalculate_rocks();
        }
        self.flush(second);
        self.compact(second);
        if self.policy == Policy::Law && self.step.is_multiple_of(LAW_EVERY) {
            self.apply_law();
        }
        let mut written = 0;
        // A fixed order that turns, so that no thread is always the last.
        for turn in 0..THREADS {
            written += self.run_thread((turn + self.step as usize) % THREADS);
        }
        written as f64
    }

    fn flush(&mut self, second: f64) {
        let Some(&size) = self.sealed.front() else { return };
        let written = (self.scenario.device)(second) * STEP.as_secs_f64();
        self.flush_rate.record(written as u64, STEP);
        self.flushed += written;
        if self.flushed >= size as f64 {
            self.sealed.pop_front();
            self.flushed = 0.0;
            self.held -= size;
            self.debt += size as f64;
            self.recalculate_rocks();
        }
    }

    fn compact(&mut self, second: f64) {
        if self.debt <= 0.0 {
            return;
        }
        let drained = ((self.scenario.drain)(second) * STEP.as_secs_f64()).min(self.debt);
        self.drain_rate.record(drained as u64, STEP);
        // RocksDB looks at the debt whenever a compaction job ends: say every 64 MB.
        let jobs = |debt: f64| (debt / 64e6).ceil();
        let ends = jobs(self.debt) != jobs(self.debt - drained);
        self.debt -= drained;
        if ends {
            self.recalculate_rocks();
        }
    }

    fn apply_law(&mut self) {
        let flushing = self.sealed.front().map(|&size| size as f64 - self.flushed);
        let flush_rate = self.flush_rate.bytes_per_second();
        let pace = pace(&PaceInputs {
            budget_bytes: Some(BUDGET),
            held_bytes: self.held,
            flushing_written_bytes: self.flushed as u64,
            flush_bytes_per_second: flush_rate,
            next_return: flushing
                .map(|left| Duration::from_secs_f64((left / flush_rate).clamp(0.0, 1e6))),
            score: self.score(),
            drain_bytes_per_second: self.drain_rate.bytes_per_second(),
        });
        self.throttle.set_rate(self.now(), pace.bytes_per_second);
    }

    fn recalculate_rocks(&mut self) {
        // max_write_buffer_number = 4: with less than that RocksDB has no slowdown for memtables at all.
        let delay = self.sealed.len() >= 3 || self.score() >= 1.0;
        let (debt, now) = (self.debt, self.second());
        self.rocks.recalculate(delay, debt, now);
    }

    /// Runs one thread for one step, in which it gets at most one write done; bytes written.
    fn run_thread(&mut self, index: usize) -> u64 {
        if matches!(self.threads[index], Thread::Idle) && (self.backlog < 1.0 || !self.begin(index))
        {
            return 0;
        }
        let since = match self.threads[index] {
            Thread::Paced { until, .. } | Thread::Sleeping { until, .. } if self.step < until => {
                return 0;
            }
            Thread::Paced { since, slot, .. } => {
                let pause = self.throttle.pause(self.now(), &slot);
                if !pause.is_zero() {
                    let until = self.step + steps(pause.as_secs_f64());
                    self.threads[index] = Thread::Paced { since, until, slot };
                    return 0;
                }
                since
            }
            Thread::Sleeping { since, .. } | Thread::Blocked { since } => since,
            Thread::Idle => return 0,
        };
        let stopped = self.policy == Policy::RocksDb && self.score() >= 2.0;
        if stopped || self.held + WRITE > BUDGET {
            if !matches!(self.threads[index], Thread::Blocked { .. }) {
                self.blocked += u64::from(!stopped);
                self.threads[index] = Thread::Blocked { since };
            }
            return 0;
        }
        self.write();
        self.delays.push((self.step - since) as f64 * STEP.as_secs_f64());
        self.threads[index] = Thread::Idle;
        WRITE
    }

    /// Takes the next write of the backlog; `false` if the policy lets nobody begin now.
    fn begin(&mut self, index: usize) -> bool {
        let since = self.step;
        match self.policy {
            Policy::Law => {
                let slot = self.throttle.reserve(self.now(), WRITE);
                self.threads[index] = Thread::Paced { since, until: since, slot };
            }
            Policy::RocksDb if self.rocks.delayed => {
                // One sleeps for all: nobody passes the head of the queue.
                if self.threads.iter().any(|thread| matches!(thread, Thread::Sleeping { .. })) {
                    return false;
                }
                let sleep = self.rocks.delay(WRITE as f64, self.second());
                self.threads[index] = Thread::Sleeping { since, until: since + steps(sleep) };
            }
            Policy::RocksDb | Policy::Blocking => {
                self.threads[index] = Thread::Sleeping { since, until: since };
            }
        }
        self.backlog -= 1.0;
        true
    }

    fn write(&mut self) {
        self.held += WRITE;
        self.active += WRITE;
        if self.active >= MEMTABLE {
            self.sealed.push_back(self.active);
            self.active = 0;
            self.recalculate_rocks();
        }
    }
}

fn steps(seconds: f64) -> u64 {
    (seconds / STEP.as_secs_f64()).ceil() as u64
}
