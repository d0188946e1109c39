//! A power cut at every operation of a history: what is found is what was acknowledged, or the edit in flight as well.
//!
//! To run more of it: `POLDER_SEEDS=100 cargo test --release -p polder-version crash`.

use version::Error;
use vfs::sim::SimFs;

use crate::history::{fingerprints, history, run};
use crate::support::*;

fn seeds() -> u64 {
    std::env::var("POLDER_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(3)
}

/// Opens what a crash left, or creates it anew if the creation was never acknowledged; its fingerprint.
fn reopen(disk: &SimFs, must_exist: bool) -> (Set, bool) {
    match recover(disk, short()) {
        Ok(set) => (set, true),
        Err(Error::NoDatabase { .. }) if !must_exist => {
            let set = create(disk, short()).expect("an unfinished creation can be done again");
            (set, false)
        }
        Err(error) => panic!("{error} ({:?})", std::error::Error::source(&error)),
    }
}

/// What was found is `expected[acknowledged]` or the one after it; its place.
fn place(set: &Set, expected: &[String], acknowledged: usize) -> usize {
    let found = fingerprint(&set.current());
    let allowed = &expected[acknowledged..(acknowledged + 2).min(expected.len())];
    match allowed.iter().position(|state| *state == found) {
        Some(place) => acknowledged + place,
        None => panic!("found\n{found}\nexpected one of\n{}", allowed.join("\nor\n")),
    }
}

/// K: creation, edits, replacements of the manifest and removals, cut at every operation.
#[test]
fn a_crash_at_any_operation_loses_nothing_acknowledged() {
    for seed in 0..seeds() {
        let steps = history(seed, 24);
        let expected = fingerprints(short(), &steps);
        let whole = SimFs::new();
        let set = run(&whole, short(), &steps, 0, &mut |_| {}).set.unwrap();
        let replacements = set.stats().replacements;
        assert!(replacements >= 3, "manifests are replaced in this history: {replacements}");
        for cut in 1..=whole.operations() + 1 {
            let disk = SimFs::new();
            disk.power_off_at(cut);
            let outcome = run(&disk, short(), &steps, 0, &mut |_| {});
            // Seeds differ from cut to cut: what a seed chooses first would be the same for all of them.
            for crash_seed in cut * 4..cut * 4 + 4 {
                let replay = format!("history {seed}, power cut at {cut}, crash seed {crash_seed}");
                let result = std::panic::catch_unwind(|| {
                    check(
                        &disk.crash_clone(crash_seed),
                        &expected,
                        outcome.created,
                        outcome.acknowledged,
                    );
                });
                assert!(result.is_ok(), "replay: {replay}");
            }
        }
    }
}

fn check(disk: &SimFs, expected: &[String], created: bool, acknowledged: usize) {
    let before = disk.files();
    let (set, was_there) = reopen(disk, created);
    if was_there {
        assert!(disk.files() == before, "recovery changes nothing on disk");
    }
    let found = place(&set, expected, acknowledged);
    remove_orphans(disk, &set).unwrap();
    assert_no_leak(disk, &set);
    // The database goes on from there.
    let table = flush(disk, &set, 999_999);
    let after = fingerprint(&set.current());
    assert!(set.current().number().get() as usize == found + 2 && after.contains("999999"));
    drop(set);
    let again = recover(&disk.crash_clone(0), short()).unwrap();
    assert_eq!(fingerprint(&again.current()), after);
    assert!(again.current().tables().any(|found| found.meta.number == table.number));
}

/// K: a second crash while the first one is recovered from, at every operation of that.
#[test]
fn a_crash_during_recovery_changes_nothing() {
    let steps = history(7, 12);
    let expected = fingerprints(short(), &steps);
    let whole = SimFs::new();
    run(&whole, short(), &steps, 0, &mut |_| {});
    for cut in (1..=whole.operations()).step_by(3) {
        let disk = SimFs::new();
        disk.power_off_at(cut);
        let outcome = run(&disk, short(), &steps, 0, &mut |_| {});
        if !outcome.created {
            continue;
        }
        let crashed = disk.crash_clone(cut);
        let first = place(&recover(&crashed, short()).unwrap(), &expected, outcome.acknowledged);
        for second_cut in 1.. {
            // Recovery only reads: it can be done once more on the disk before it is secured.
            let disk = disk.crash_clone(cut);
            let operations = disk.operations();
            disk.power_off_at(operations + second_cut);
            let set = recover(&disk, short()).unwrap();
            let done = remove_orphans(&disk, &set).is_ok();
            for seed in (cut + second_cut) * 4..(cut + second_cut) * 4 + 3 {
                let disk = disk.crash_clone(seed);
                let set = recover(&disk, short()).unwrap();
                let found = place(&set, &expected, outcome.acknowledged);
                assert_eq!(found, first, "cut at {cut}, then at {second_cut}, seed {seed}");
                remove_orphans(&disk, &set).unwrap();
                assert_no_leak(&disk, &set);
            }
            if done {
                break;
            }
        }
    }
}
