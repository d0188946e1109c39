//! Compares the memtable with other sorted maps, round by round in one process, and prints times and ratios.
//!
//! `cargo run --release -p polder-memtable --example compare -- [entries] [threads] [rounds] [processor] [workloads]`
//!
//! The maps take turns in every round, so that what else the machine does hits all of them; what is printed is the
//! median over the rounds of each time, and of each ratio to the memtable's time in the same round. On a machine that
//! others use, `processor` measures the time that the threads had a processor, added up, instead of the time that went
//! by.

use std::process::ExitCode;
use std::sync::Barrier;
use std::thread;

use rustix::time::{ClockId, clock_gettime};

#[path = "../benches/rivals/mod.rs"]
mod rivals;

use rivals::{Crossbeam, Keys, Locked, Polder, Rival, Workload, mix};

const VALUE: [u8; 100] = [7; 100];

/// Nanoseconds an entry.
#[derive(Clone, Copy, Default)]
struct Times {
    insert: f64,
    get: f64,
    scan: f64,
}

struct Plan {
    entries: usize,
    threads: usize,
    rounds: usize,
    clock: ClockId,
    workloads: Vec<Workload>,
}

/// Nanoseconds by one of the system's clocks.
fn nanos(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Runs `work` on so many threads, each with its number; nanoseconds an entry: from the common start to the last end,
/// or what the threads used of their processors' time.
fn on_threads(plan: &Plan, work: impl Fn(usize) + Sync) -> f64 {
    let start = Barrier::new(plan.threads + 1);
    let spent = thread::scope(|scope| {
        let (start, work) = (&start, &work);
        let run = |number: usize| {
            start.wait();
            let since = nanos(ClockId::ThreadCPUTime);
            work(number);
            nanos(ClockId::ThreadCPUTime) - since
        };
        let threads: Vec<_> =
            (0..plan.threads).map(|number| scope.spawn(move || run(number))).collect();
        start.wait();
        let since = nanos(ClockId::Monotonic);
        let used = threads.into_iter().map(|thread| thread.join().expect("no panic")).sum();
        let went_by = nanos(ClockId::Monotonic) - since;
        if plan.clock == ClockId::Monotonic { went_by } else { used }
    });
    spent / plan.entries as f64
}

/// Fills one map, reads every key in random order, walks it.
fn measure<R: Rival>(keys: &Keys, plan: &Plan) -> Times {
    let (n, threads) = (keys.len(), plan.threads);
    let map = R::new();
    let insert = on_threads(plan, |number| {
        // Interleaved: the threads write to the same places at the same time.
        for at in (number..n).step_by(threads) {
            map.insert(keys.at(at), at as u64, &VALUE);
        }
    });
    let get = on_threads(plan, |number| {
        for turn in (number..n).step_by(threads) {
            let at = mix(turn as u64) as usize % n;
            assert_eq!(map.get(keys.at(at)), Some(VALUE[0]));
        }
    });
    let since = nanos(plan.clock);
    assert_eq!(map.scan(), (n, n as u64 * u64::from(VALUE[0])));
    let scan = (nanos(plan.clock) - since) / n as f64;
    Times { insert, get, scan }
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

/// One workload: all maps in every round.
fn compare(plan: &Plan, workload: Workload) {
    let keys = workload.keys(plan.entries);
    let names = [Polder::NAME, Crossbeam::NAME, Locked::NAME];
    let mut rounds: Vec<[Times; 3]> = Vec::new();
    for _ in 0..plan.rounds {
        rounds.push([
            measure::<Polder>(&keys, plan),
            measure::<Crossbeam>(&keys, plan),
            measure::<Locked>(&keys, plan),
        ]);
    }
    for (map, name) in names.iter().enumerate() {
        print!("{workload:<14} {:>9} {:>2}  {name:<16}", plan.entries, plan.threads);
        for of in [|t: &Times| t.insert, |t: &Times| t.get, |t: &Times| t.scan] {
            let time = median(rounds.iter().map(|round| of(&round[map])).collect());
            let ratio = rounds.iter().map(|round| of(&round[map]) / of(&round[0])).collect();
            print!("{time:>8.0} ns ×{:<5.2}", median(ratio));
        }
        println!();
    }
}

fn plan() -> Option<Plan> {
    let mut words = std::env::args().skip(1);
    let mut number = |default| words.next().map_or(Some(default), |word| word.parse().ok());
    let (entries, threads, rounds) = (number(500_000)?, number(1)?, number(5)?);
    let mut wanted: Vec<String> = words.collect();
    let is_processor = wanted.first().is_some_and(|word| word == "processor");
    let clock = if is_processor { ClockId::ThreadCPUTime } else { ClockId::Monotonic };
    wanted.drain(..usize::from(is_processor));
    let is_wanted = |workload: &Workload| {
        let name = workload.to_string();
        wanted.is_empty() || wanted.iter().any(|word| name.starts_with(word.as_str()))
    };
    let workloads = Workload::ALL.into_iter().filter(is_wanted).collect();
    (entries > 0 && threads > 0 && rounds > 0).then_some(Plan {
        entries,
        threads,
        rounds,
        clock,
        workloads,
    })
}

fn main() -> ExitCode {
    let Some(plan) = plan() else {
        eprintln!(
            "compare [entries] [threads] [rounds] [processor] [random|sequential|zipfian|shared]…"
        );
        return ExitCode::from(2);
    };
    println!("median time an entry, and its ratio to the memtable's:");
    println!(
        "workload         entries thr  map                  insert          get             scan"
    );
    for &workload in &plan.workloads {
        compare(&plan, workload);
    }
    ExitCode::SUCCESS
}
