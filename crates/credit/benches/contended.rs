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

use credit::{ChildOptions, Pool};
use crossbeam_utils::Backoff;
use crossbeam_utils::sync::{Parker, Unparker, WaitGroup};

/// Something that counts bytes which may be held.
trait Candidate: Sync {
    /// Takes one unit, works, gives it back.
    fn cycle(&self, work: impl Fn());
}

/// What the holder of a unit does: so many spins.
fn spin(spins: u32) {
    for _ in 0..spins {
        std::hint::spin_loop();
    }
}

struct Credit(Pool);

impl Candidate for Credit {
    #[inline]
    fn cycle(&self, work: impl Fn()) {
        let _permit = self.0.acquire(1).expect("the pool is open");
        work();
    }
}

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

/// Polls `acquire` until it is done, parking in between.
fn block_on<T>(acquire: impl Future<Output = T>) -> T {
    let mut acquire = pin!(acquire);
    WAKER.with(|waker| {
        loop {
            match acquire.as_mut().poll(&mut Context::from_waker(waker)) {
                Poll::Ready(permit) => return permit,
                Poll::Pending => std::thread::park(),
            }
        }
    })
}

/// With a permit that can be stored and moved, as the pool's.
struct TokioOwned(Arc<tokio::sync::Semaphore>);

impl Candidate for TokioOwned {
    #[inline]
    fn cycle(&self, work: impl Fn()) {
        let _permit = match Arc::clone(&self.0).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => block_on(Arc::clone(&self.0).acquire_owned()).expect("it is open"),
        };
        work();
    }
}

/// With a permit that borrows the semaphore.
struct Tokio(tokio::sync::Semaphore);

impl Candidate for Tokio {
    #[inline]
    fn cycle(&self, work: impl Fn()) {
        let _permit = match self.0.try_acquire() {
            Ok(permit) => permit,
            Err(_) => block_on(self.0.acquire()).expect("it is open"),
        };
        work();
    }
}

/// The source's design: not fair, whoever comes first takes.
struct Monitor {
    free: Mutex<u64>,
    returned: Condvar,
}

impl Candidate for Monitor {
    #[inline]
    fn cycle(&self, work: impl Fn()) {
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

impl Backing {
    fn new(units: u64) -> Backing {
        Backing {
            free: AtomicU64::new(units),
            sleepers: AtomicU64::new(0),
            parked: Mutex::new(Vec::new()),
        }
    }

    #[inline]
    fn acquire(&self) {
        let backoff = Backoff::new();
        while !self.take() {
            if backoff.is_completed() {
                self.sleep();
            } else {
                backoff.snooze();
            }
        }
    }

    #[inline]
    fn release(&self) {
        self.free.fetch_add(1, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            let next = self.parked.lock().expect("no panic").pop();
            if let Some(next) = next {
                next.unpark();
            }
        }
    }
}

/// It without a permit: whoever forgets to release, or panics before, has leaked a unit.
impl Candidate for Backing {
    #[inline]
    fn cycle(&self, work: impl Fn()) {
        self.acquire();
        work();
        self.release();
    }
}

/// It with a permit that can be stored and moved, as the pool's.
struct BackingOwned(Arc<Backing>);

struct BackingPermit(Arc<Backing>);

impl Drop for BackingPermit {
    #[inline]
    fn drop(&mut self) {
        self.0.release();
    }
}

impl Candidate for BackingOwned {
    #[inline]
    fn cycle(&self, work: impl Fn()) {
        self.0.acquire();
        let _permit = BackingPermit(Arc::clone(&self.0));
        work();
    }
}

/// No pool at all: the bare counter that any of them needs. It cannot sleep, nor tell who waits.
struct Counter(AtomicU64);

impl Candidate for Counter {
    #[inline]
    fn cycle(&self, work: impl Fn()) {
        let take = |free: u64| free.checked_sub(1);
        while self.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, take).is_err() {
            std::thread::yield_now();
        }
        work();
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// A candidate whose every cycle is compiled into the loop that is measured, as it would be where it is used.
trait Measured {
    /// Cycles per second on `threads` threads.
    fn measure(&self, threads: usize, time: Duration, spins: u32) -> f64;
}

impl<C: Candidate> Measured for C {
    fn measure(&self, threads: usize, time: Duration, spins: u32) -> f64 {
        if spins == 0 {
            measure(self, threads, time, || {})
        } else {
            measure(self, threads, time, move || spin(spins))
        }
    }
}

fn measure<C: Candidate>(
    candidate: &C,
    threads: usize,
    time: Duration,
    work: impl Fn() + Copy + Send,
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
                        candidate.cycle(work);
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

type Named = (&'static str, Box<dyn Measured>);

/// The pool first, and what it is compared with, all of `units`.
fn peers(units: u64) -> Vec<Named> {
    let monitor = Monitor { free: Mutex::new(units), returned: Condvar::new() };
    let semaphore = || tokio::sync::Semaphore::new(units as usize);
    vec![
        ("credit", Box::new(Credit(Pool::new(Some(units))))),
        ("tokio, owned permit (fair)", Box::new(TokioOwned(Arc::new(semaphore())))),
        ("tokio, borrowed permit (fair)", Box::new(Tokio(semaphore()))),
        ("Mutex+Condvar, no permit (barging)", Box::new(monitor)),
        (
            "crossbeam Backoff+Parker, owned permit (barging)",
            Box::new(BackingOwned(Arc::new(Backing::new(units)))),
        ),
        ("crossbeam Backoff+Parker, no permit (barging)", Box::new(Backing::new(units))),
        ("bare counter, no permit, never sleeps", Box::new(Counter(AtomicU64::new(units)))),
        ("credit, overtaking", Box::new(Credit(Pool::with_overtaking(Some(units))))),
    ]
}

/// A flat pool first, and what is added to it.
fn additions(units: u64) -> Vec<Named> {
    let watched = Pool::new(Some(units));
    watched.on_pressure(&[0.5], |_| {});
    let listed = Pool::new(Some(units));
    listed.set_ledger(true);
    let child = |parent: &Pool| parent.child("child", &ChildOptions::default()).expect("no floor");
    let parent = Pool::new(Some(units));
    vec![
        ("flat", Box::new(Credit(Pool::new(Some(units))))),
        ("watched", Box::new(Credit(watched))),
        ("child", Box::new(Credit(child(&parent)))),
        ("grandchild", Box::new(Credit(child(&child(&parent))))),
        ("with ledger", Box::new(Credit(listed))),
    ]
}

/// How long and how often is measured.
struct Effort {
    rounds: usize,
    time: Duration,
}

fn table(
    title: &str,
    thread_counts: &[usize],
    make: impl Fn() -> Vec<Named>,
    effort: &Effort,
    spins: u32,
) {
    let names: Vec<&str> = make().iter().map(|(name, _)| *name).collect();
    println!(
        "\n{title}: million cycles per second, and the first one's speed as a multiple of it\n"
    );
    println!("| threads | {} |", names.join(" | "));
    println!("|---|{}", "---|".repeat(names.len()));
    for &threads in thread_counts {
        let candidates = make();
        let mut speeds = vec![Vec::new(); names.len()];
        let mut ratios = vec![Vec::new(); names.len()];
        for round in 0..effort.rounds {
            let mut now = vec![0.0; names.len()];
            for turn in 0..names.len() {
                let which = (turn + round) % names.len();
                now[which] = candidates[which].1.measure(threads, effort.time, spins);
            }
            for which in 0..names.len() {
                speeds[which].push(now[which]);
                ratios[which].push(now[0] / now[which]);
            }
        }
        let cells: Vec<String> = speeds
            .iter_mut()
            .zip(&mut ratios)
            .enumerate()
            .map(|(which, (speeds, ratios))| {
                let (speed, ratio) = (median(speeds) / 1e6, median(ratios));
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
    let effort = Effort {
        rounds: numbers.first().copied().unwrap_or(7) as usize,
        time: Duration::from_millis(numbers.get(1).copied().unwrap_or(40)),
    };
    let threads = [1, 2, 4, 8, 16];
    table("What is added", &threads[..2], || additions(1 << 20), &effort, 0);
    table("Not exhausted", &threads, || peers(1 << 20), &effort, 0);
    // One unit for all: who works holds it, for a microsecond or two.
    table("Exhausted, one unit", &threads[1..], || peers(1), &effort, 50);
}
