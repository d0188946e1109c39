//! Operations that fail while the process lives: nothing acknowledged is lost, and an edit that failed can be tried
//! again.

use std::io;

use base::FileNumber;
use version::{ApplyError, Error, FileName, ManifestOptions, VersionEdit};
use vfs::sim::{Effect, Fault, SimFs};
use vfs::{Fs, Operation};

use crate::history::{fingerprints, history, run};
use crate::support::*;

/// R4, K: every operation fails once, in each way; a crash at that moment, and one at the end.
#[test]
fn a_failure_of_any_operation_is_survived() {
    let steps = history(3, 14);
    let expected = fingerprints(short(), &steps);
    let whole = SimFs::new();
    run(&whole, short(), &steps, 0, &mut |_| {});
    let effects = [
        Effect::IO,
        Effect::NO_SPACE,
        Effect::FailSync,
        Effect::ShortWrite { written: 13, failure: io::ErrorKind::StorageFull },
    ];
    for effect in effects {
        for nth in 1..=whole.operations() {
            let disk = SimFs::new();
            disk.inject(Fault::any(effect).nth(nth));
            let replay = format!("{effect:?} at operation {nth}");
            let mut crashes = 0;
            let outcome = run(&disk, short(), &steps, 1, &mut |acknowledged| {
                crashes += 1;
                for seed in nth * 4..nth * 4 + 4 {
                    let set = recover(&disk.crash_clone(seed), short())
                        .unwrap_or_else(|error| panic!("{replay}, crash seed {seed}: {error}"));
                    let found = fingerprint(&set.current());
                    let allowed = &expected[acknowledged..acknowledged + 2];
                    assert!(allowed.contains(&found), "{replay}, crash seed {seed}: found {found}");
                }
            });
            assert_eq!(outcome.acknowledged, steps.len(), "{replay}");
            assert!(crashes <= 1 && disk.faults_hit() == 1, "{replay}");
            let set = outcome.set.unwrap();
            assert_eq!(fingerprint(&set.current()), expected[steps.len()], "{replay}");
            drop(set);
            for seed in nth * 4..nth * 4 + 2 {
                let disk = disk.crash_clone(seed);
                let set = recover(&disk, short()).unwrap();
                assert_eq!(fingerprint(&set.current()), expected[steps.len()], "{replay}");
                remove_orphans(&disk, &set).unwrap();
                assert_no_leak(&disk, &set);
            }
        }
    }
}

fn long() -> ManifestOptions {
    ManifestOptions::default()
}

/// Design, "a failed sync of the manifest": nothing is handed out until a fresh manifest is durable.
#[test]
fn after_a_failed_sync_nothing_is_removed_before_a_fresh_manifest_is_durable() {
    let fs = SimFs::new();
    let set = create(&fs, long()).unwrap();
    let old = flush(&fs, &set, 1);
    let reader = set.current();
    set.apply(remove(0, &old), vec![]).unwrap();
    let kept = flush(&fs, &set, 2);

    // From here on no manifest can be synced; the first of them is the live one.
    fs.inject(
        Fault::new(Operation::SyncData, Effect::FailSync).on_path("MANIFEST").times(u64::MAX),
    );
    fs.inject(Fault::new(Operation::SyncAll, Effect::FailSync).on_path("MANIFEST").times(u64::MAX));
    let added = new_table(&fs, &set, 3);
    let before = fingerprint(&set.current());
    let mut edit = add(0, &added);
    edit.removed_tables = remove(0, &kept).removed_tables;
    let error = set.apply(edit.clone(), vec![added.number.get()]).unwrap_err();
    assert!(matches!(error, ApplyError::InDoubt(_)), "{error}");
    assert_eq!(fingerprint(&set.current()), before);
    drop(reader);
    assert_eq!(set.pins().reclaimable, 1, "the first table is free");
    assert_eq!(set.take_reclaimable(), [], "but is not handed out");

    // A crash now may bring the edit back or not: both are there as a whole.
    let mut found = [false; 2];
    for seed in 0..40 {
        let crashed = recover(&fs.crash_clone(seed), long()).unwrap();
        let ids: Vec<u64> = crashed.current().tables().map(|table| table.meta.entries).collect();
        found[usize::from(ids == [3])] = true;
        assert!(ids == [3] || ids == [2], "{ids:?}");
    }
    assert_eq!(found, [true; 2], "the seeds show both");

    // As long as no fresh manifest can be written, nothing changes, and the old one stays.
    let manifest = FileName::Manifest(FileNumber::new(1)).to_string();
    for _ in 0..3 {
        let error = set.apply(edit.clone(), vec![added.number.get()]).unwrap_err();
        assert!(matches!(error, ApplyError::NotWritten(Error::File(_))), "{error}");
        assert!(set.secure().is_err());
        assert_eq!(set.take_reclaimable(), []);
        assert!(listing(&fs).contains(&manifest));
    }
    assert_eq!(set.stats().failed_replacements, 6);
    assert_eq!(fingerprint(&set.current()), before);

    fs.clear_faults();
    set.apply(edit, vec![added.number.get()]).unwrap();
    assert_eq!(set.take_reclaimable(), [old.number, kept.number]);
    assert!(!listing(&fs).contains(&manifest));
    let ids = |set: &Set| -> Vec<u64> { set.current().tables().map(|t| t.meta.entries).collect() };
    assert_eq!(ids(&set), [3]);
    assert_eq!(ids(&recover(&fs.crash_clone(1), long()).unwrap()), [3]);
}

/// An edit that was left in doubt and given up never comes back once the set is secure.
#[test]
fn an_edit_that_was_given_up_is_gone_once_the_set_is_secure() {
    let fs = SimFs::new();
    let set = create(&fs, long()).unwrap();
    let table = new_table(&fs, &set, 1);
    fs.inject(Fault::new(Operation::SyncData, Effect::FailSync).on_path("MANIFEST"));
    set.apply(add(0, &table), vec![1]).unwrap_err();
    let live = set.secure().unwrap();
    assert!(!live.tables.contains(&table.number));
    fs.remove(&FileName::Table(table.number).path_in(dir())).unwrap();
    for seed in 0..20 {
        assert_eq!(recover(&fs.crash_clone(seed), long()).unwrap().current().tables().count(), 0);
    }
}

/// A process that ends while an edit is in the page cache alone: the next one reads it, and removes what it dropped. That
/// must not be before the edit is durable, and syncing the file that the system calls clean would not make it so.
#[test]
fn what_recovery_read_is_durable_once_it_is_secure() {
    let mut lost = 0;
    for seed in 0..40 {
        let fs = SimFs::new();
        let set = create(&fs, long()).unwrap();
        let table = flush(&fs, &set, 1);
        fs.inject(Fault::new(Operation::SyncData, Effect::FailSync).on_path("MANIFEST"));
        set.apply(remove(0, &table), vec![]).unwrap_err();
        drop(set);
        let set = recover(&fs, long()).unwrap();
        assert_eq!(set.current().tables().count(), 0, "the edit is in the page cache");
        lost += recover(&fs.crash_clone(seed), long()).unwrap().current().tables().count();
        let read = set.recovery().unwrap().manifest;
        let live = set.secure().unwrap();
        assert_ne!(live.manifest, read);
        assert_eq!(set.secure().unwrap(), live, "once");
        remove_orphans(&fs, &set).unwrap();
        assert_no_leak(&fs, &set);
        let crashed = recover(&fs.crash_clone(seed), long()).unwrap();
        assert_eq!(crashed.current().tables().count(), 0, "seed {seed}");
    }
    assert!(lost > 0, "no seed shows the loss that this is about");
}

/// A manifest that cannot be replaced by a shorter one grows on: a full disk there is no reason to stop.
#[test]
fn a_replacement_that_fails_leaves_the_old_manifest_in_use() {
    let fs = SimFs::new();
    let set = create(&fs, short()).unwrap();
    fs.inject(Fault::new(Operation::Create, Effect::NO_SPACE).on_path("MANIFEST").times(u64::MAX));
    for id in 1..40 {
        flush(&fs, &set, id);
    }
    let stats = set.stats();
    assert_eq!(stats.replacements, 1);
    assert!(stats.live_bytes > 2 * short().max_bytes);
    // Not with every edit anew.
    assert!((1..8).contains(&stats.failed_replacements), "{}", stats.failed_replacements);
    fs.clear_faults();
    for id in 40..60 {
        flush(&fs, &set, id);
    }
    assert!(set.stats().replacements > 1);
    assert_eq!(recover(&fs.crash_clone(1), short()).unwrap().current().tables().count(), 59);
}

/// The rename was done, the sync of the directory failed: both manifests stay until one is named durably.
#[test]
fn a_pointer_that_may_be_either_keeps_both_manifests() {
    let fs = SimFs::new();
    let set = create(&fs, short()).unwrap();
    let mut id = 0;
    let before = loop {
        id += 1;
        let stats = set.stats();
        if stats.live_bytes >= short().max_bytes {
            break stats;
        }
        flush(&fs, &set, id);
    };
    let table = new_table(&fs, &set, id);
    fs.inject(Fault::new(Operation::SyncDir, Effect::IO).nth(2));
    let error = set.apply(add(0, &table), vec![table.number.get()]).unwrap_err();
    assert!(matches!(error, ApplyError::NotWritten(_)), "{error}");
    assert_eq!(set.stats().live_bytes, 0, "there is none to append to");
    let manifests = |fs: &SimFs| listing(fs).iter().filter(|n| n.starts_with("MANIFEST")).count();
    assert_eq!(manifests(&fs), 2);
    assert_eq!(set.take_reclaimable(), []);
    for seed in 0..30 {
        let crashed = recover(&fs.crash_clone(seed), short()).unwrap();
        assert_eq!(fingerprint(&crashed.current()), fingerprint(&set.current()));
    }
    set.apply(add(0, &table), vec![table.number.get()]).unwrap();
    assert_eq!(manifests(&fs), 1);
    assert_eq!(set.stats().replacements, before.replacements + 1);
}

/// A refused edit touches nothing, and the next one is not disturbed by it (R4).
#[test]
fn a_refused_edit_leaves_no_trace() {
    let fs = SimFs::new();
    let set = create(&fs, long()).unwrap();
    let table = flush(&fs, &set, 1);
    let (before, operations, stats) = (fingerprint(&set.current()), fs.operations(), set.stats());
    let nonsense =
        VersionEdit { removed_tables: vec![(DEFAULT, 1, table.number)], ..add(0, &table) };
    let error = set.apply(nonsense, vec![1]).unwrap_err();
    assert!(matches!(error, ApplyError::Refused(_)), "{error}");
    assert_eq!(
        (fingerprint(&set.current()), fs.operations(), set.stats()),
        (before, operations, stats)
    );
    let second = flush(&fs, &set, 2);
    assert_eq!(set.pins().pinned.count, 0);
    set.apply(remove(0, &second), vec![]).unwrap();
    assert_eq!(set.take_reclaimable(), [second.number]);
}
