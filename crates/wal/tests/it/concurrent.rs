//! Threads: group sync, waiting, and what does not wait.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};

use vfs::sim::SimFs;
use vfs::{Fs, Operation, RealFs};
use wal::{LogStart, RecoveryMode, Wal, WalOptions};

use crate::kit::*;

/// Makes each data sync announce itself and wait until it is let go.
fn gate_syncs(fs: &SimFs) -> (Receiver<()>, Sender<()>) {
    let (announce, announced) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let gate = Mutex::new((announce, released));
    fs.set_hook(Some(Arc::new(move |operation: Operation, _: &Path| {
        if operation == Operation::SyncData {
            let gate = gate.lock().unwrap();
            if gate.0.send(()).is_ok() {
                // When the test is over, syncs pass.
                let _over = gate.1.recv();
            }
        }
    })));
    (announced, release)
}

#[test]
fn one_sync_serves_all_who_wait_and_none_waits_for_anothers() {
    // W2, W5
    const WRITERS: u64 = 6;
    let (fs, log) = fresh(WalOptions { segment_bytes: 1 << 20, ..small() });
    let (syncing, release) = gate_syncs(&fs);
    let log = &log;
    std::thread::scope(|scope| {
        let first = log.append(&[b"first"]).unwrap();
        let leader = scope.spawn(move || log.sync(first));
        syncing.recv().unwrap();
        // The leader is in its sync. Appends go on meanwhile.
        let ends: Vec<_> = (0..WRITERS).map(|_| log.append(&[b"more"]).unwrap()).collect();
        let others: Vec<_> = ends.iter().map(|&end| scope.spawn(move || log.sync(end))).collect();
        assert!(log.durable() < first);
        release.send(()).unwrap();
        leader.join().unwrap().unwrap();
        assert_eq!(log.durable(), first, "only what was filled before the sync is claimed");
        // One of those left leads for all of them.
        syncing.recv().unwrap();
        release.send(()).unwrap();
        for other in others {
            other.join().unwrap().unwrap();
        }
        assert_eq!(log.durable(), *ends.last().unwrap());
    });
    assert_eq!(log.stats().syncs, 2);
}

#[test]
fn a_sync_waits_for_earlier_records_to_be_filled() {
    // W4
    let (fs, log) = fresh(small());
    let earlier = log.reserve(7).unwrap();
    let end = log.append(&[b"later"]).unwrap();
    std::thread::scope(|scope| {
        let sync = scope.spawn(|| log.sync(end));
        earlier.fill(&[b"earlier"]).unwrap();
        sync.join().unwrap().unwrap();
    });
    assert_eq!(payloads(&synced_only(&fs)), [b"earlier".to_vec(), b"later".to_vec()]);
}

/// Many threads append, sync at times, and roll; what comes back is complete and in each thread's order.
fn many_threads(fs: Arc<dyn Fs>, dir: &Path, threads: u64, each: u64) {
    let options = WalOptions { segment_bytes: 64 * 1024, open_records_max: 64, ..small() };
    let log = Wal::create(Arc::clone(&fs), dir, options, LogStart::fresh()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let log = &log;
            scope.spawn(move || {
                for i in 0..each {
                    let mut payload = [thread.to_le_bytes(), i.to_le_bytes()].concat();
                    payload.resize(16 + (i * 37 % 900) as usize, thread as u8);
                    if i % 11 == 3 {
                        drop(log.reserve(payload.len()));
                    }
                    let end = log.append(&[&payload]).unwrap();
                    if i % 17 == thread {
                        log.sync(end).unwrap();
                        assert!(log.durable() >= end);
                    }
                    if i % 101 == 100 {
                        log.roll().unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(log.filled().get(), log.stats().log_bytes);
    log.close().unwrap();
    let mode = RecoveryMode::AbsoluteConsistency;
    let (records, _) = recover_at(&fs, dir, number(1), mode).unwrap();
    assert_eq!(records.len() as u64, threads * each);
    let mut next = vec![0; threads as usize];
    for read in records {
        let number = |at: usize| u64::from_le_bytes(read.payload[at..at + 8].try_into().unwrap());
        let (thread, i) = (number(0), number(8));
        assert_eq!(i, next[thread as usize]);
        next[thread as usize] += 1;
        assert_eq!(read.payload.len(), 16 + (i * 37 % 900) as usize);
        assert!(read.payload[16..].iter().all(|&byte| byte == thread as u8));
    }
}

#[test]
fn many_threads_on_the_simulated_file_system() {
    many_threads(Arc::new(SimFs::new()), Path::new(DIR), 6, 300);
}

#[test]
fn many_threads_on_the_real_file_system() {
    let dir = tempfile::tempdir().unwrap();
    many_threads(Arc::new(RealFs::new()), dir.path(), 6, 1000);
}
