//! Models of what readers, writers and the remover of files do to one another, in every interleaving.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release -p polder-version --test loom`. The simulated file system's lock is not
//! loom's; it is never held while a thread can be switched, so nothing is lost by that.
#![cfg(loom)]

use std::path::Path;
use std::sync::Arc;

use base::{FamilyId, FileNumber, InternalKey, SeqNo, ValueKind};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use version::{ApplyError, ManifestOptions, TableMeta, VersionEdit, VersionNumber, VersionSet};
use vfs::Operation;
use vfs::sim::{Effect, Fault, SimFs};

type Set = VersionSet<()>;

fn key() -> InternalKey {
    InternalKey { user_key: (*b"k").into(), seq: SeqNo::new(1), kind: ValueKind::Put }
}

fn add(set: &Set) -> (FileNumber, VersionEdit) {
    let number = set.new_file_number();
    let table = TableMeta {
        number,
        file_bytes: 1,
        entries: 1,
        tombstones: 0,
        smallest: key(),
        largest: key(),
        min_seq: SeqNo::new(1),
        max_seq: SeqNo::new(1),
        created: VersionNumber::ZERO,
    };
    let added_tables = vec![(FamilyId::DEFAULT, 0, table)];
    (number, VersionEdit { added_tables, ..VersionEdit::default() })
}

fn remove(number: FileNumber) -> VersionEdit {
    let removed_tables = vec![(FamilyId::DEFAULT, 0, number)];
    VersionEdit { removed_tables, ..VersionEdit::default() }
}

/// A set with one table, and how often it has called to have files removed.
fn sample() -> (SimFs, Arc<Set>, FileNumber, Arc<AtomicUsize>) {
    let fs = SimFs::new();
    let wakes = Arc::new(AtomicUsize::new(0));
    let wake = {
        let wakes = Arc::clone(&wakes);
        Box::new(move || {
            wakes.fetch_add(1, Ordering::SeqCst);
        })
    };
    let options = ManifestOptions::default();
    let set = Set::create(Arc::new(fs.clone()), Path::new("/db"), options, wake).unwrap();
    let (number, edit) = add(&set);
    set.apply(edit, vec![()]).unwrap();
    (fs, Arc::new(set), number, wakes)
}

/// A reader: pins the current version, looks, and closes. What it was handed to remove.
fn read(set: &Set) -> Vec<FileNumber> {
    let version = set.current();
    let mut taken = set.take_reclaimable();
    for table in version.tables() {
        let number = table.meta.number;
        assert!(!taken.contains(&number), "the table is handed out while this reader holds it");
    }
    drop(version);
    taken.extend(set.take_reclaimable());
    taken
}

/// R3, R5: a dropped table is handed out exactly once, and never while a reader holds it; whoever removes files is told.
#[test]
fn a_dropped_table_is_handed_out_once_and_to_nobody_before_its_readers_close() {
    loom::model(|| {
        let (_fs, set, number, wakes) = sample();
        let reader = {
            let set = Arc::clone(&set);
            thread::spawn(move || read(&set))
        };
        set.apply(remove(number), vec![]).unwrap();
        let mut taken = set.take_reclaimable();
        taken.extend(reader.join().unwrap());
        taken.extend(set.take_reclaimable());
        assert_eq!(taken, [number]);
        assert_eq!(wakes.load(Ordering::SeqCst), 1);
    });
}

/// Two readers and a writer that replaces the table.
#[test]
fn two_readers_close_in_any_order() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let (_fs, set, number, wakes) = sample();
        let readers = [(); 2].map(|()| {
            let set = Arc::clone(&set);
            thread::spawn(move || read(&set))
        });
        let (_, mut edit) = add(&set);
        edit.removed_tables = remove(number).removed_tables;
        set.apply(edit, vec![()]).unwrap();
        let mut taken = Vec::new();
        for reader in readers {
            taken.extend(reader.join().unwrap());
        }
        taken.extend(set.take_reclaimable());
        assert_eq!(taken, [number]);
        assert_eq!(wakes.load(Ordering::SeqCst), 1);
        assert_eq!(set.pins().live.len(), 1);
    });
}

/// A sync fails while a reader closes: what comes free is kept back until a fresh manifest is durable, and not forgotten.
#[test]
fn what_comes_free_while_the_manifest_is_in_doubt_is_handed_out_afterwards() {
    loom::model(|| {
        let (fs, set, number, wakes) = sample();
        let pinned = set.current();
        set.apply(remove(number), vec![]).unwrap();
        fs.inject(Fault::new(Operation::SyncData, Effect::FailSync));
        let reader = {
            let set = Arc::clone(&set);
            thread::spawn(move || {
                drop(pinned);
                set.take_reclaimable()
            })
        };
        let (_, edit) = add(&set);
        assert!(matches!(set.apply(edit, vec![()]), Err(ApplyError::InDoubt(_))));
        let kept_back = set.take_reclaimable();
        assert_eq!(kept_back, [], "the edit may be on disk");
        let mut taken = reader.join().unwrap();
        set.secure().unwrap();
        taken.extend(set.take_reclaimable());
        assert_eq!(taken, [number]);
        assert!(wakes.load(Ordering::SeqCst) >= 1);
    });
}

/// Edits of two threads both take effect, one after the other.
#[test]
fn edits_of_two_threads_both_take_effect() {
    loom::model(|| {
        let (_fs, set, number, _wakes) = sample();
        let other = {
            let set = Arc::clone(&set);
            thread::spawn(move || {
                let (number, edit) = add(&set);
                set.apply(edit, vec![()]).unwrap();
                number
            })
        };
        set.apply(remove(number), vec![]).unwrap();
        let added = other.join().unwrap();
        let left: Vec<FileNumber> = set.current().tables().map(|table| table.meta.number).collect();
        assert_eq!(left, [added]);
        assert_eq!(set.current().number(), VersionNumber::new(4));
    });
}
