//! The whole engine under a seeded scheduler, on the simulated disk: every lock, wait, atomic and thread of all crates
//! is a point where another thread may go on.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test -p polder-engine --release --test shuttle`; a failure prints the schedule that
//! replays it, and a deadlock is a failure. `POLDER_SHUTTLE_SCHEDULES` plays more. No time passes in a model.
#![cfg(shuttle)]

use std::sync::Arc;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use engine::vfs::Fs;
use engine::{Db, Error, ErrorKind, Options, WriteBatch, WriteOptions};
use shuttle::thread;
use vfs::Operation;
use vfs::sim::{Effect, Fault, SimFs};

fn options() -> Options {
    Options {
        write_budget: Some(256 << 10),
        write_buffer_size: 64 << 10,
        max_write_buffer_number: 2,
        wal_segment_bytes: 256 << 10,
        ..Options::default()
    }
}

fn open(fs: &SimFs) -> Db {
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    Db::open_on(fs, "/db", options()).expect("the database opens")
}

fn schedules() -> usize {
    std::env::var("POLDER_SHUTTLE_SCHEDULES").map_or(100, |n| n.parse().expect("a number"))
}

fn explore(run: impl Fn() + Send + Sync + 'static) {
    shuttle::check_pct(run, schedules(), 3);
}

/// W4, F4: batches stay whole, and a writer reads its own, while memtables are switched and flushed under them. Made to
/// fail by: a batch that is published before it is inserted.
#[test]
fn batches_are_whole_across_switches() {
    explore(|| {
        let db = open(&SimFs::new());
        let writers: Vec<_> = (0..2u8)
            .map(|writer| {
                let db = db.clone();
                thread::spawn(move || {
                    for round in 0..3u8 {
                        let mut batch = WriteBatch::new();
                        batch.put(b"a", vec![writer, round]).put(b"b", vec![writer, round]);
                        db.write(&batch, &WriteOptions::default()).unwrap();
                    }
                })
            })
            .collect();
        let switcher = db.clone();
        let switching = thread::spawn(move || {
            for _ in 0..2 {
                switcher.flush().unwrap();
            }
        });
        for _ in 0..3 {
            let snapshot = db.snapshot();
            assert_eq!(snapshot.get("a").unwrap(), snapshot.get("b").unwrap());
        }
        for writer in writers {
            writer.join().unwrap();
        }
        switching.join().unwrap();
        assert_eq!(db.get("a").unwrap().unwrap()[1], 2);
        db.close().unwrap();
    });
}

/// R7: an iterator that keeps its cursors between batches sees its moment, both ways, while flushes take them away.
#[test]
fn an_iterator_stands_at_its_moment_while_flushes_revoke_its_cursors() {
    explore(|| {
        let db = open(&SimFs::new());
        for i in 0..24u8 {
            db.put([i], [i]).unwrap();
        }
        let mut iter = db.iter().unwrap();
        let writer = db.clone();
        let writing = thread::spawn(move || {
            for round in 0..2u8 {
                writer.put([round], [99]).unwrap();
                writer.flush().unwrap();
            }
        });
        let mut keys: Vec<u8> = Vec::new();
        while let Some((key, value)) = iter.next_entry().unwrap() {
            assert_eq!(key, value);
            keys.push(key[0]);
            if keys.len() == 20 {
                break;
            }
        }
        let (last, _) = iter.next_back().unwrap().unwrap();
        assert_eq!(last[0], 23);
        assert_eq!(keys, (0..20).collect::<Vec<_>>());
        writing.join().unwrap();
        drop(iter);
        db.close().unwrap();
    });
}

/// R2, W4: a read finds its version of a key whose versions are dropped by flushes, and none older than the last one.
#[test]
fn a_read_meets_its_version_across_switches() {
    explore(|| {
        let db = open(&SimFs::new());
        db.put("hot", [0]).unwrap();
        let (writer, switcher) = (db.clone(), db.clone());
        let writing = thread::spawn(move || {
            for round in 1..5u8 {
                writer.put("hot", [round]).unwrap();
            }
        });
        let switching = thread::spawn(move || {
            for _ in 0..3 {
                switcher.flush().unwrap();
            }
        });
        let mut last = 0;
        for _ in 0..4 {
            let seen = db.get("hot").unwrap().expect("it was never deleted")[0];
            assert!(seen >= last, "{seen} after {last}");
            last = seen;
        }
        writing.join().unwrap();
        switching.join().unwrap();
        db.close().unwrap();
    });
}

/// C5, C6, C7: writers whose batches do not fit the budget together all get through. Made to fail (as a deadlock) by: an
/// attempt to get a chunk that ends without telling those who wait for it.
#[test]
fn writers_wait_for_credits_and_none_is_stranded() {
    explore(|| {
        let db = open(&SimFs::new());
        let writers: Vec<_> = (0..3u8)
            .map(|writer| {
                let db = db.clone();
                thread::spawn(move || {
                    for round in 0..2u8 {
                        db.put([writer, round], vec![0; 120 << 10]).unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        assert!(db.stats().in_flight_peak_bytes <= 256 << 10);
        assert_eq!(db.iter().unwrap().count(), 6);
        db.flush().unwrap();
        db.close().unwrap();
    });
}

/// C6: a close ends every wait, and what was acknowledged is there afterwards. Made to fail (as a deadlock) by: a close
/// that tells without passing through the commit lock first.
#[test]
fn a_close_releases_who_waits() {
    explore(|| {
        let fs = SimFs::new();
        let db = open(&fs);
        let writers: Vec<_> = (0..2u8)
            .map(|writer| {
                let db = db.clone();
                thread::spawn(move || {
                    let mut acknowledged = Vec::new();
                    for round in 0..4u8 {
                        match db.put([writer, round], vec![0; 100 << 10]) {
                            Ok(()) => acknowledged.push([writer, round]),
                            Err(Error::Closed) => break,
                            Err(error) => panic!("{error:?}"),
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        thread::yield_now();
        db.close().unwrap();
        let acknowledged: Vec<_> =
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        let db = open(&fs);
        for key in acknowledged {
            assert!(db.get(key).unwrap().is_some(), "{key:?} was acknowledged");
        }
        db.close().unwrap();
    });
}

/// W2, W6: one failed sync of the log ends all writing, releases everybody, and takes back nothing that was durable.
#[test]
fn a_failed_sync_releases_everybody() {
    explore(|| {
        let fs = SimFs::new();
        let db = open(&fs);
        db.put("before", [1]).unwrap();
        db.write(WriteBatch::new(), &WriteOptions { sync: true, ..WriteOptions::default() })
            .unwrap();
        fs.inject(Fault::new(Operation::SyncData, Effect::FailSync).on_path(".log"));
        let writers: Vec<_> = (0..3u8)
            .map(|writer| {
                let db = db.clone();
                thread::spawn(move || {
                    let options = WriteOptions { sync: true, ..WriteOptions::default() };
                    let mut batch = WriteBatch::new();
                    batch.put([writer], [writer]);
                    db.write(&batch, &options).map_err(|error| error.kind())
                })
            })
            .collect();
        for writer in writers {
            assert_eq!(writer.join().unwrap(), Err(ErrorKind::ReadOnly));
        }
        assert_eq!(*db.get("before").unwrap().unwrap(), [1]);
        assert_eq!(db.put("after", [1]).unwrap_err().kind(), ErrorKind::ReadOnly);
        drop(db);
        let db = open(&fs.crash_clone(7));
        assert_eq!(*db.get("before").unwrap().unwrap(), [1]);
        db.close().unwrap();
    });
}

/// W2, W7: what a synced write was told is true after a power cut at that moment, whoever led the sync.
#[test]
fn a_synced_write_survives_a_power_cut() {
    explore(|| {
        let fs = SimFs::new();
        let db = open(&fs);
        let writers: Vec<_> = (0..3u8)
            .map(|writer| {
                let (db, fs) = (db.clone(), fs.clone());
                thread::spawn(move || {
                    let options = WriteOptions { sync: true, ..WriteOptions::default() };
                    let mut batch = WriteBatch::new();
                    batch.put([writer], [writer]);
                    db.write(&batch, &options).unwrap();
                    fs.crash_clone(u64::from(writer))
                })
            })
            .collect();
        let disks: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        drop(db);
        for (writer, disk) in disks.iter().enumerate() {
            let found = open(disk);
            assert_eq!(*found.get([writer as u8]).unwrap().unwrap(), [writer as u8]);
            found.close().unwrap();
        }
    });
}

/// A writer that panics while it writes its record leaves an aborted place; the others' writes go on, or are refused
/// if the place could not be closed, and nobody waits for ever.
#[test]
fn a_writer_that_panics_strands_nobody() {
    explore(|| {
        let fs = SimFs::new();
        let db = open(&fs);
        let writer = |number: u8| {
            let db = db.clone();
            thread::spawn(move || {
                let write = || db.put([number], vec![number; 2000]).map_err(|error| error.kind());
                catch_unwind(AssertUnwindSafe(write)).ok()
            })
        };
        let is_armed = Arc::new(AtomicBool::new(true));
        fs.set_hook(Some(Arc::new(move |operation, path| {
            let is_append = path.to_string_lossy().ends_with(".log")
                && matches!(operation, Operation::Write | Operation::MapWrite);
            if is_append && is_armed.swap(false, Ordering::Relaxed) {
                panic!("the writer's own");
            }
        })));
        let writers: Vec<_> = (0..3u8).map(writer).collect();
        let results: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        fs.set_hook(None);
        assert_eq!(results.iter().filter(|result| result.is_none()).count(), 1);
        for (number, result) in results.iter().enumerate() {
            let found = db.get([number as u8]).unwrap();
            match result {
                Some(Ok(())) => assert_eq!(*found.unwrap(), vec![number as u8; 2000]),
                Some(Err(kind)) => assert_eq!(*kind, ErrorKind::ReadOnly),
                None => assert_eq!(found, None, "half a write is visible"),
            }
        }
        drop(db);
        let found = open(&fs);
        for (number, result) in results.iter().enumerate() {
            if matches!(result, Some(Ok(()))) {
                assert!(found.get([number as u8]).unwrap().is_some());
            }
        }
        found.close().unwrap();
    });
}
