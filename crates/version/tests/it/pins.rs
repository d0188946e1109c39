//! What readers pin, and when it comes free.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use base::SeqNo;
use version::{FileName, ManifestOptions, VersionEdit, VersionNumber, VersionSet};
use vfs::sim::SimFs;
use vfs::{Fs, Operation};

use crate::support::*;

fn new_set() -> (SimFs, Set) {
    let fs = SimFs::new();
    let set = create(&fs, ManifestOptions::default()).unwrap();
    (fs, set)
}

/// R3: when the reader closes, and not at the next write; and whoever removes files is told then.
#[test]
fn a_table_comes_free_when_its_last_reader_closes() {
    let fs = SimFs::new();
    let wakes = Arc::new(AtomicU64::new(0));
    let wake = {
        let wakes = Arc::clone(&wakes);
        Box::new(move || {
            wakes.fetch_add(1, Ordering::Relaxed);
        })
    };
    let options = ManifestOptions::default();
    let set = Set::create(Arc::new(fs.clone()), dir(), options, wake).unwrap();
    let table = flush(&fs, &set, 1);
    let readers = [set.current(), set.current()];
    set.apply(remove(0, &table), vec![]).unwrap();
    let [first, second] = readers;
    drop(first);
    assert_eq!((set.take_reclaimable(), wakes.load(Ordering::Relaxed)), (vec![], 0));
    assert_eq!((set.pins().pinned.count, set.pins().pinned.bytes), (1, table.file_bytes));
    drop(second);
    assert_eq!((set.pins().pinned.count, wakes.load(Ordering::Relaxed)), (0, 1));
    assert_eq!(set.take_reclaimable(), [table.number]);
    assert_eq!(set.take_reclaimable(), [], "each table once (R5)");
}

/// Some systems do not remove a file that is open: a table's handle goes before its file is given up.
#[test]
fn a_handle_is_dropped_before_its_file_is_given_up() {
    struct Handle(Arc<Mutex<Vec<&'static str>>>);
    impl Drop for Handle {
        fn drop(&mut self) {
            self.0.lock().unwrap().push("closed");
        }
    }
    let fs = SimFs::new();
    let events = Arc::new(Mutex::new(Vec::new()));
    let wake = {
        let events = Arc::clone(&events);
        Box::new(move || events.lock().unwrap().push("may be removed"))
    };
    let options = ManifestOptions::default();
    let set = VersionSet::create(Arc::new(fs.clone()), dir(), options, wake).unwrap();
    let table = meta(set.new_file_number(), 1);
    set.apply(add(0, &table), vec![Handle(Arc::clone(&events))]).unwrap();
    let reader = set.current();
    set.apply(remove(0, &table), vec![]).unwrap();
    assert!(events.lock().unwrap().is_empty());
    drop(reader);
    assert_eq!(*events.lock().unwrap(), ["closed", "may be removed"]);
}

/// R1: what came and went after the only reader is free at once, however old that reader is.
#[test]
fn what_no_reader_can_reach_is_free_although_an_older_reader_is_open() {
    let (fs, set) = new_set();
    let old = flush(&fs, &set, 1);
    let reader = set.current();
    set.apply(remove(0, &old), vec![]).unwrap();
    for id in 2..50 {
        let table = flush(&fs, &set, id);
        set.apply(remove(0, &table), vec![]).unwrap();
        assert_eq!(set.take_reclaimable(), [table.number]);
        assert_eq!(set.pins().pinned.count, 1);
    }
    assert_eq!(set.pins().live.iter().map(|live| live.waiting).collect::<Vec<_>>(), [1, 0]);
    drop(reader);
    assert_eq!(set.take_reclaimable(), [old.number]);
}

/// R1: tables keep the version that made them over a restart, so that a gap between readers is one after it too.
#[test]
fn creation_versions_survive_a_restart_and_a_move() {
    let (fs, set) = new_set();
    let table = flush(&fs, &set, 1);
    let made = set.current().number();
    let mut edit = VersionEdit::default();
    let meta = set.current().tables().next().unwrap().meta.clone();
    assert_eq!((table.created, meta.created), (VersionNumber::ZERO, made));
    edit.move_table(DEFAULT, 0, 1, &meta);
    set.apply(edit, vec![]).unwrap();
    drop(set);
    let set = recover(&fs, ManifestOptions::default()).unwrap();
    assert_eq!(set.current().tables().next().unwrap().meta.created, made);
    assert_eq!(set.current().number(), VersionNumber::new(3));
    let reader = set.current();
    set.apply(remove(1, &meta), vec![]).unwrap();
    assert_eq!(set.take_reclaimable(), []);
    drop(reader);
    assert_eq!(set.take_reclaimable(), [table.number]);
}

/// R7: reader and writer on one thread, while storage grows; R6: what is pinned stays bounded.
#[test]
fn a_reader_blocks_no_writer_whatever_it_pins() {
    let (fs, set) = new_set();
    let mut table = flush(&fs, &set, 1);
    let reader = set.current();
    for id in 2..1000 {
        let next = new_table(&fs, &set, id % 90 + 1);
        let mut edit = add(0, &next);
        edit.removed_tables = remove(0, &table).removed_tables;
        set.apply(edit, vec![next.number.get()]).unwrap();
        table = next;
        remove_reclaimable(&fs, &set);
        assert!(set.pins().pinned.count == 1 && set.pins().reclaimable == 0);
    }
    assert_eq!(reader.tables().count(), 1);
    drop(reader);
    remove_reclaimable(&fs, &set);
    assert_no_leak(&fs, &set);
}

/// A reader that closes while an edit is being synced neither waits for that nor is waited for.
#[test]
fn a_reader_closes_while_the_manifest_is_being_synced() {
    let (fs, set) = new_set();
    let set = Arc::new(set);
    let table = flush(&fs, &set, 1);
    let reader = Arc::new(Mutex::new(Some(set.current())));
    set.apply(remove(0, &table), vec![]).unwrap();
    let was_hit = Arc::new(AtomicBool::new(false));
    let hook = {
        let (set, was_hit) = (Arc::downgrade(&set), Arc::clone(&was_hit));
        move |operation: Operation, path: &std::path::Path| {
            if operation != Operation::SyncData || !path.ends_with("MANIFEST-000001") {
                return;
            }
            let (reader, set) = (Arc::clone(&reader), set.upgrade().unwrap());
            let (tell, told) = mpsc::channel();
            std::thread::spawn(move || {
                drop(reader.lock().unwrap().take());
                let names = set.families().len();
                let _receiver_gone = tell.send((set.take_reclaimable(), names));
            });
            // Only a failure waits so long.
            let (taken, names) = told.recv_timeout(Duration::from_secs(20)).expect("it is blocked");
            assert_eq!(taken.len(), usize::from(!was_hit.swap(true, Ordering::Relaxed)));
            assert_eq!(names, 1);
        }
    };
    fs.set_hook(Some(Arc::new(hook)));
    flush(&fs, &set, 2);
    assert!(was_hit.load(Ordering::Relaxed));
    fs.set_hook(None);
}

/// Writers, readers and a remover at once: what a reader holds is there; in the end nothing is left.
#[test]
fn threads_apply_read_and_remove_at_once() {
    let (fs, set) = new_set();
    let set = Arc::new(set);
    let is_done = Arc::new(AtomicBool::new(false));
    let exists = |fs: &SimFs, table: u64| {
        let name = FileName::Table(base::FileNumber::new(table));
        fs.exists(&name.path_in(dir())).unwrap()
    };
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (fs, set, is_done) = (fs.clone(), Arc::clone(&set), Arc::clone(&is_done));
            std::thread::spawn(move || {
                let mut held = std::collections::VecDeque::new();
                let mut looks = 0u64;
                loop {
                    // Asked before the look: even a reader that gets going last looks once.
                    let is_last = is_done.load(Ordering::Relaxed);
                    held.push_back(set.current());
                    if held.len() > 5 {
                        held.pop_front();
                    }
                    for version in &held {
                        for table in version.tables() {
                            assert!(exists(&fs, table.handle), "table {} is gone", table.handle);
                            looks += 1;
                        }
                    }
                    remove_reclaimable(&fs, &set);
                    if is_last {
                        return looks;
                    }
                }
            })
        })
        .collect();
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let (fs, set) = (fs.clone(), Arc::clone(&set));
            std::thread::spawn(move || {
                for round in 0..120 {
                    let table = flush(&fs, &set, 1 + writer * 200 + round);
                    let edit = VersionEdit { last_seq: Some(SeqNo::ZERO), ..remove(0, &table) };
                    // The last sequence number of another thread's edit may be greater: then not.
                    if round % 3 > 0 {
                        set.apply(VersionEdit { last_seq: None, ..edit }, vec![]).unwrap();
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    is_done.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.join().unwrap() > 0);
    }
    remove_reclaimable(&fs, &set);
    assert_no_leak(&fs, &set);
    assert_eq!(set.current().tables().count(), 3 * 40);
    assert_eq!(set.current().number(), VersionNumber::new(1 + 3 * (120 + 80)));
    let recovered = recover(&fs.crash_clone(1), ManifestOptions::default()).unwrap();
    assert_eq!(fingerprint(&recovered.current()), fingerprint(&set.current()));
}

/// The set can be shared between threads when its handles can.
#[test]
fn sets_and_versions_are_send_and_sync() {
    fn check<T: Send + Sync>() {}
    check::<VersionSet<u64>>();
    check::<version::Version<u64>>();
}
