//! Several threads on one pool, beside the alternatives; prints a table of ratios.
//!
//! Criterion measures one thing after the other, and on a shared machine the weather changes in
//! between. Here all candidates run in turn for a short time, many rounds over, and each is compared with
//! the others of the same round; the median over the rounds is printed.
//!
//! `cargo bench -p polder-credit --bench contended [-- ROUNDS MILLIS]`

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use credit::Pool;
use crossbeam_utils::Backoff;
use crossbeam_utils::sync::{Parker, Unparker, WaitGroup};

/// Something that counts bytes which may be held.
trait Candidate: Sync {
    fn cycle(&self, work: &dyn Fn());
}

struct Credit(Pool);

impl Candidate for Credit {
    fn cycle(&self, work: &dyn Fn()) {
        let _permit = self.0.acquire(1);
        work();
    }
}

struct Tokio(tokio::sync::Semaphore);

/// Wakes a thread that polls a future.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Unpark>) {
        self.0.unpark();
    }
}

thread_local! {
    static WAKER: Waker = Waker::from(Arc::new(Unpark(std::thread::current())));
}

impl Candidate for Tokio {
    fn cycle(&self, work: &dyn Fn()) {
        if let Ok(_permit) = self.0.try_acquire() {
            work();
            return;
        }
        let mut acquire = pin!(self.0.acquire());
        let _permit = WAKER.with(|waker| {
            loop {
                match acquire.as_mut().poll(&mut Context::from_waker(waker)) {
                    Poll::Ready(permit) => return permit,
                    Poll::Pending => std::thread::park(),
                }
            }
        });
        work();
    }
}

/// The source's design: not fair, whoever comes first takes.
struct Monitor {
    free: Mutex<u64>,
    returned: Condvar,
}

impl Candidate for Monitor {
    fn cycle(&self, work: &dyn Fn()) {
        let free = self.free.lock().expect("no panic");
        let mut free = self.returned.wait_while(free, |free| *free == 0).expect("no panic");
        *free -= 1;
        drop(free);
        work();
        *self.free.lock().expect("no panic") += 1;
        self.returned.notify_one();
    }
}

/// An atomic counter, crossbeam's backoff and then its parker: not fair, whoever comes first takes.
struct Backing {
    free: AtomicU64,
    sleepers: AtomicU64,
    parked: Mutex<Vec<Unparker>>,
}

impl Backing {
    fn take(&self) -> bool {
        let take = |free: u64| free.checked_sub(1);
        self.free.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok()
    }

    fn sleep(&self) {
        let parker = Parker::new();
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        self.parked.lock().expect("no panic").push(parker.unparker().clone());
        if self.free.load(Ordering::SeqCst) == 0 {
            // Woken by a release, or in vain: the caller looks again.
            parker.park_timeout(Duration::from_millis(10));
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Candidate for Backing {
    fn cycle(&self, work: &dyn Fn()) {
        let backoff = Backoff::new();
        while !self.take() {
            if backoff.is_completed() {
                self.sleep();
            } else {
                backoff.snooze();
            }
        }
        work();
        self.free.fetch_add(1, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            let next = self.parked.lock().expect("no panic").pop();
            if let Some(next) = next {
                next.unpark();
            }
        }
    }
}

/// No pool at all: the bare counter that any of them needs. It cannot sleep, nor tell who waits.
struct Counter(AtomicU64);

impl Candidate for Counter {
    fn cycle(&self, work: &dyn Fn()) {
        let take = |free: u64| free.checked_sub(1);
        while self.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, take).is_err() {
            std::thread::yield_now();
        }
        work();
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// Cycles per second of `candidate` on `threads` threads.
fn measure(
    candidate: &dyn Candidate,
    threads: usize,
    time: Duration,
    work: &(dyn Fn() + Sync),
) -> f64 {
    let stop = AtomicBool::new(false);
    let start = Barrier::new(threads + 1);
    let cycles = AtomicU64::new(0);
    let all = WaitGroup::new();
    let mut begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (stop, start, cycles, all) = (&stop, &start, &cycles, all.clone());
            scope.spawn(move || {
                start.wait();
                let mut own = 0;
                while !stop.load(Ordering::Relaxed) {
                    for _ in 0..16 {
                        candidate.cycle(&|| work());
                    }
                    own += 16;
                }
                cycles.fetch_add(own, Ordering::Relaxed);
                drop(all);
            });
        }
        start.wait();
        begun = Instant::now();
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        all.wait();
    });
    cycles.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
}

const NAMES: [&str; 6] = [
    "credit",
    "tokio (fair)",
    "Mutex+Condvar (barging)",
    "crossbeam Backoff+Parker (barging)",
    "bare counter, spinning",
    "credit, overtaking",
];

fn candidates(units: u64) -> [Box<dyn Candidate>; 6] {
    [
        Box::new(Credit(Pool::new(Some(units)))),
        Box::new(Tokio(tokio::sync::Semaphore::new(units as usize))),
        Box::new(Monitor { free: Mutex::new(units), returned: Condvar::new() }),
        Box::new(Backing {
            free: AtomicU64::new(units),
            sleepers: AtomicU64::new(0),
            parked: Mutex::new(Vec::new()),
        }),
        Box::new(Counter(AtomicU64::new(units))),
        Box::new(Credit(Pool::with_overtaking(Some(units)))),
    ]
}

fn table(
    title: &str,
    thread_counts: &[usize],
    units: u64,
    rounds: usize,
    time: Duration,
    work: &(dyn Fn() + Sync),
) {
    println!("\n{title}: million cycles per second, and credit's speed as a multiple of it\n");
    println!("| threads | {} |", NAMES.join(" | "));
    println!("|---|{}", "---|".repeat(NAMES.len()));
    for &threads in thread_counts {
        let candidates = candidates(units);
        let mut speeds = vec![Vec::new(); NAMES.len()];
        let mut ratios = vec![Vec::new(); NAMES.len()];
        for round in 0..rounds {
            let mut now = [0.0; NAMES.len()];
            for turn in 0..NAMES.len() {
                let which = (turn + round) % NAMES.len();
                now[which] = measure(&*candidates[which], threads, time, work);
            }
            for which in 0..NAMES.len() {
                speeds[which].push(now[which]);
                ratios[which].push(now[0] / now[which]);
            }
        }
        let cells: Vec<String> = (0..NAMES.len())
            .map(|which| {
                let (speed, ratio) = (median(&mut speeds[which]) / 1e6, median(&mut ratios[which]));
                if which == 0 {
                    format!("{speed:.3}")
                } else {
                    format!("{speed:.3} ({ratio:.2} ×)")
                }
            })
            .collect();
        println!("| {threads} | {} |", cells.join(" | "));
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let rounds = numbers.first().copied().unwrap_or(7) as usize;
    let time = Duration::from_millis(numbers.get(1).copied().unwrap_or(40));
    let threads = [1, 2, 4, 8, 16];
    table("Not exhausted", &threads, 1 << 20, rounds, time, &|| {});
    // One unit for all: whoever works holds it, and gives way once while it does.
    table("Exhausted, one unit", &threads[1..], 1, rounds, time, &|| {
        for _ in 0..50 {
            std::hint::spin_loop();
        }
    });
}
