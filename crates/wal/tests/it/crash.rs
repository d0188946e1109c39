//! A crash, and a fault, at every operation of random workloads, over several lives of the log, for each way in which
//! records get to their segment, and with files that are used once or again.
//!
//! What the helper threads do is done by the workload itself, at random, so that each operation has its number. A normal
//! run takes a share of the workloads; `POLDER_FULL=1` runs many more, and `POLDER_CRASH_SEEDS=N` so many for each test.
//! A failure names the workload, the operation and the crash seed.

use vfs::sim::{Effect, Fault, SimFs};
use wal::{LogBackend, WalOptions};

use crate::history::{History, Promise, Rng, variants};

const STEPS: u64 = 140;

fn workloads(default: u64, full: u64) -> u64 {
    let asked = std::env::var("POLDER_CRASH_SEEDS").ok().and_then(|n| n.parse().ok());
    let is_full = std::env::var("POLDER_FULL").is_ok_and(|value| value != "0");
    asked.unwrap_or(if is_full { full } else { default })
}

/// Each workload with each kind of log.
fn runs(first: u64, count: u64) -> impl Iterator<Item = (u64, WalOptions)> {
    (first..first + count).flat_map(|workload| variants().map(|options| (workload, options)))
}

/// Every other workload syncs hardly anything.
fn is_lazy(workload: u64) -> bool {
    workload.is_multiple_of(2)
}

/// The operations of an undisturbed run of a workload.
fn operations(workload: u64, options: &WalOptions) -> u64 {
    let fs = SimFs::new();
    let mut history = History::new(options, is_lazy(workload));
    let mut rng = Rng::new(workload);
    assert!(history.generation(&fs, &mut rng, STEPS, "undisturbed").is_ok());
    history.check_disk(&fs, Promise::Acknowledged, "undisturbed");
    // So that workloads which try nothing are noticed.
    let stats = history.stats;
    let is_mapped = options.backend == LogBackend::Mapped;
    if workload % 100 == 1 {
        assert!(stats.segments_prepared > 0 && stats.segments_unprepared > 0, "{stats:?}");
        assert!(!is_mapped || stats.unmapped_records < stats.records, "{stats:?}");
    }
    if workload % 100 == 2 {
        assert_eq!(stats.segments_recycled > 0, options.spare_segments_max > 0, "{stats:?}");
    }
    if workload % 100 == 2 && options.unsynced_bytes_max > 0 {
        assert!(stats.segments_unsynced > 0, "{stats:?}");
        let left = stats.segments_created + stats.segments_recycled;
        assert!(stats.left_syncs < left / 2, "{stats:?}");
    }
    assert_eq!(stats.windows_mapped > 0, is_mapped, "{stats:?}");
    fs.operations()
}

fn name(options: &WalOptions) -> String {
    format!("{:?}, {} spares", options.backend, options.spare_segments_max)
}

/// Power is cut at one operation, then, after recovery, at another one, and again: also while recovering and creating.
#[test]
fn a_power_cut_at_every_operation() {
    let mut points = 0;
    for (workload, options) in runs(1, workloads(2, 40)) {
        let total = operations(workload, &options);
        for cut in 1..=total {
            let what =
                format!("workload {workload}, {}, power cut at {cut} of {total}", name(&options));
            let mut fs = SimFs::new();
            let mut history = History::new(&options, is_lazy(workload));
            let mut rng = Rng::new(workload);
            fs.power_off_at(cut);
            drop(history.generation(&fs, &mut rng, STEPS, &what));
            let mut rng = Rng::new(workload * 1_000_003 + cut);
            for life in 0..3 {
                let seed = rng.below(u64::MAX);
                let what = format!("{what}, life {life}, crash seed {seed}");
                fs = fs.crash_clone(seed);
                history.check_disk(&fs.crash_clone(0), Promise::Synced, &what);
                // Recovery and creation take about ten operations.
                fs.power_off_at(fs.operations() + 1 + rng.below(25));
                points += 1;
                drop(history.generation(&fs, &mut rng, 10, &what));
            }
            history.check_disk(&fs.crash_clone(cut), Promise::Synced, &what);
        }
    }
    println!("{points} power cuts");
}

/// The process is killed at one operation, and recovery finds what is in the system's memory; then the power is cut
/// while it recovers, creates or goes on.
#[test]
fn a_kill_at_every_operation() {
    let mut points = 0;
    for (workload, options) in runs(101, workloads(2, 40)) {
        let total = operations(workload, &options);
        for kill in 1..=total {
            let what =
                format!("workload {workload}, {}, killed at {kill} of {total}", name(&options));
            let fs = SimFs::new();
            let mut history = History::new(&options, is_lazy(workload));
            let mut rng = Rng::new(workload);
            fs.inject(Fault::any(Effect::IO).nth(kill).times(u64::MAX));
            drop(history.generation(&fs, &mut rng, STEPS, &what));
            fs.clear_faults();
            // Looked at on a copy, since recovering syncs.
            history.check_disk(&crate::kit::killed(&fs), Promise::Acknowledged, &what);
            let mut rng = Rng::new(workload * 1_000_003 + kill);
            fs.power_off_at(fs.operations() + 1 + rng.below(25));
            drop(history.generation(&fs, &mut rng, 10, &what));
            for seed in 0..3 {
                history.check_disk(&fs.crash_clone(seed), Promise::Synced, &what);
            }
            points += 2;
        }
    }
    println!("{points} kills and power cuts after them");
}

/// One operation fails, in each way; the log goes on, or ends, and keeps what it promised.
#[test]
fn a_fault_at_every_operation() {
    let short = |written| Effect::ShortWrite { written, failure: std::io::ErrorKind::StorageFull };
    let effects =
        [Effect::IO, Effect::NO_SPACE, short(5), short(70), short(1 << 20), Effect::FailSync];
    let mut points = 0;
    for (workload, options) in runs(201, workloads(2, 20)) {
        let total = operations(workload, &options);
        for (i, effect) in effects.into_iter().enumerate() {
            for at in 1..=total {
                let what = format!(
                    "workload {workload}, {}, {effect:?} at {at} of {total}",
                    name(&options)
                );
                let fs = SimFs::new();
                let mut history = History::new(&options, is_lazy(workload));
                let mut rng = Rng::new(workload);
                fs.inject(Fault::any(effect).nth(at));
                drop(history.generation(&fs, &mut rng, STEPS, &what));
                fs.clear_faults();
                for seed in 0..2 {
                    let crashed = fs.crash_clone(at * 10 + seed + i as u64);
                    history.check_disk(&crashed, Promise::Synced, &what);
                }
                history.check_disk(&fs, Promise::Acknowledged, &what);
                points += 1;
            }
        }
    }
    println!("{points} faults");
}
