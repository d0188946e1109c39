//! Compares the memtable with other sorted maps, round by round in one process, and prints times and ratios.
//!
//! `cargo run --release -p polder-memtable --example compare -- [entries] [threads] [rounds] [workloads]`
//!
//! The maps take turns in every round, so that what else the machine does hits all of them; what is printed is the
//! median over the rounds of each time, and of each ratio to the memtable's time in the same round.

use std::process::ExitCode;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

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
    workloads: Vec<Workload>,
}

/// Runs `work` on so many threads, each with its number; nanoseconds from the common start to the last end, divided
/// by `entries`.
fn on_threads(threads: usize, entries: usize, work: impl Fn(usize) + Sync) -> f64 {
    let start = Barrier::new(threads + 1);
    let since = thread::scope(|scope| {
        let (start, work) = (&start, &work);
        for number in 0..threads {
            scope.spawn(move || {
                start.wait();
                work(number);
            });
        }
        start.wait();
        Instant::now()
    });
    since.elapsed().as_nanos() as f64 / entries as f64
}

/// Fills one map, reads every key in random order, walks it.
fn measure<R: Rival>(keys: &Keys, threads: usize) -> Times {
    let n = keys.len();
    let map = R::new();
    let insert = on_threads(threads, n, |number| {
        // Interleaved: the threads write to the same places at the same time.
        for at in (number..n).step_by(threads) {
            map.insert(keys.at(at), at as u64, &VALUE);
        }
    });
    let get = on_threads(threads, n, |number| {
        for turn in (number..n).step_by(threads) {
            let at = mix(turn as u64) as usize % n;
            assert_eq!(map.get(keys.at(at)), Some(VALUE[0]));
        }
    });
    let since = Instant::now();
    assert_eq!(map.scan(), (n, n as u64 * u64::from(VALUE[0])));
    let scan = since.elapsed().as_nanos() as f64 / n as f64;
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
            measure::<Polder>(&keys, plan.threads),
            measure::<Crossbeam>(&keys, plan.threads),
            measure::<Locked>(&keys, plan.threads),
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
    let wanted: Vec<String> = words.collect();
    let is_wanted = |workload: &Workload| {
        let name = workload.to_string();
        wanted.is_empty() || wanted.iter().any(|word| name.starts_with(word.as_str()))
    };
    let workloads = Workload::ALL.into_iter().filter(is_wanted).collect();
    (entries > 0 && threads > 0 && rounds > 0).then_some(Plan {
        entries,
        threads,
        rounds,
        workloads,
    })
}

fn main() -> ExitCode {
    let Some(plan) = plan() else {
        eprintln!("compare [entries] [threads] [rounds] [random|sequential|zipfian|shared]…");
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
