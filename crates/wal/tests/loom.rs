//! Loom models of reserving, filling and syncing, on the production code: run with
//! `RUSTFLAGS="--cfg loom" cargo test -p polder-wal --release --test loom`.
//!
//! The file system is a double whose files hold loom's atomics, written and read `Relaxed`: a sync that is not ordered
//! behind a write it answers for misses it. What the models do not see: the file system's own locks, and time.
#![cfg(loom)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use vfs::{Access, DirEntry, Error as FsError, FileLock, Fs, MapSupport, Metadata, Operation};
use wal::{Error, LogPosition, LogStart, Wal, WalOptions};

/// So many records of the empty payload, 12 bytes each, can be told apart; what is further on counts as the last.
const PLACES: usize = 4;

/// Which flag stands for the link of a segment.
const LINK: usize = PLACES;

/// Bytes of a segment before its first record.
const HEAD: u64 = wal::SEGMENT_HEADER_BYTES;

/// A file whose content is which records' places were written, and which of them a sync has seen.
#[derive(Debug)]
struct Double {
    path: PathBuf,
    written: Vec<AtomicBool>,
    synced: Vec<AtomicBool>,
    /// Every write to this place fails.
    bad_place: Option<usize>,
    fails_syncs: bool,
}

/// Two files, of the first two segments.
#[derive(Debug, Clone)]
struct DoubleFs([Arc<Double>; 2]);

fn unsupported(path: &Path, operation: Operation) -> FsError {
    FsError::new(operation, path, std::io::ErrorKind::Unsupported.into())
}

impl DoubleFs {
    fn new(bad_place: Option<usize>, fails_syncs: bool) -> Self {
        let file = |path: &str| {
            let flags = || (0..=PLACES).map(|_| AtomicBool::new(false)).collect();
            let (written, synced) = (flags(), flags());
            Arc::new(Double { path: path.into(), written, synced, bad_place, fails_syncs })
        };
        Self([file("/000001.log"), file("/000002.log")])
    }

    fn is_synced_in(&self, segment: usize, place: usize) -> bool {
        self.0[segment - 1].synced[place].load(Ordering::Relaxed)
    }

    fn is_synced(&self, place: usize) -> bool {
        self.is_synced_in(1, place)
    }
}

impl vfs::File for Double {
    fn path(&self) -> &Path {
        &self.path
    }
    fn len(&self) -> vfs::Result<u64> {
        Err(unsupported(&self.path, Operation::Len))
    }
    fn read_at(&self, _: &mut [u8], _: u64) -> vfs::Result<usize> {
        Err(unsupported(&self.path, Operation::Read))
    }
    fn write_all_at(&self, _: &[u8], offset: u64) -> vfs::Result<()> {
        let place = match offset.checked_sub(HEAD) {
            Some(behind) => (behind as usize / 12).min(PLACES - 1),
            None if offset == HEAD / 2 => LINK,
            None => return Ok(()),
        };
        if self.bad_place == Some(place) {
            return Err(unsupported(&self.path, Operation::Write));
        }
        self.written[place].store(true, Ordering::Relaxed);
        Ok(())
    }
    fn allocate(&self, _: u64, _: u64) -> vfs::Result<()> {
        Ok(())
    }
    fn set_len(&self, _: u64) -> vfs::Result<()> {
        Err(unsupported(&self.path, Operation::SetLen))
    }
    fn sync_data(&self) -> vfs::Result<()> {
        if self.fails_syncs {
            return Err(unsupported(&self.path, Operation::SyncData));
        }
        for (written, synced) in self.written.iter().zip(&self.synced) {
            if written.load(Ordering::Relaxed) {
                synced.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    }
    fn sync_all(&self) -> vfs::Result<()> {
        Ok(())
    }
    fn sync_range(&self, _: u64, _: u64, _: bool) -> vfs::Result<()> {
        Err(unsupported(&self.path, Operation::SyncRange))
    }
    fn punch_hole(&self, _: u64, _: u64) -> vfs::Result<()> {
        Err(unsupported(&self.path, Operation::PunchHole))
    }
    fn map(&self, _: u64, _: usize, _: Access) -> vfs::Result<vfs::MappedRegion> {
        Err(unsupported(&self.path, Operation::Map))
    }
}

impl Fs for DoubleFs {
    fn create(&self, path: &Path) -> vfs::Result<Arc<dyn vfs::File>> {
        match self.0.iter().find(|file| file.path == path) {
            Some(file) => Ok(Arc::clone(file) as Arc<dyn vfs::File>),
            None => Err(unsupported(path, Operation::Create)),
        }
    }
    fn open(&self, path: &Path, _: Access) -> vfs::Result<Arc<dyn vfs::File>> {
        Err(unsupported(path, Operation::Open))
    }
    fn create_dir_all(&self, path: &Path) -> vfs::Result<()> {
        Err(unsupported(path, Operation::CreateDir))
    }
    fn list(&self, path: &Path) -> vfs::Result<Vec<DirEntry>> {
        Err(unsupported(path, Operation::List))
    }
    fn metadata(&self, path: &Path) -> vfs::Result<Metadata> {
        Err(unsupported(path, Operation::Metadata))
    }
    fn rename(&self, path: &Path, _: &Path) -> vfs::Result<()> {
        Err(unsupported(path, Operation::Rename))
    }
    fn remove(&self, path: &Path) -> vfs::Result<()> {
        Err(unsupported(path, Operation::Remove))
    }
    fn sync_dir(&self, _: &Path) -> vfs::Result<()> {
        Ok(())
    }
    fn lock(&self, path: &Path) -> vfs::Result<Box<dyn FileLock>> {
        Err(unsupported(path, Operation::Lock))
    }
    fn free_space(&self, path: &Path) -> vfs::Result<u64> {
        Err(unsupported(path, Operation::FreeSpace))
    }
    fn map_support(&self, _: &Path) -> vfs::Result<MapSupport> {
        Ok(MapSupport::Unknown)
    }
}

fn model(preemptions: usize, run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(run);
}

fn open(fs: &DoubleFs) -> Arc<Wal> {
    open_with(fs, WalOptions::default().unsynced_bytes_max)
}

fn open_with(fs: &DoubleFs, unsynced_bytes_max: u64) -> Arc<Wal> {
    let options = WalOptions {
        segment_bytes: 4096,
        open_records_max: 2,
        unsynced_bytes_max,
        helper_threads: false,
        ..WalOptions::default()
    };
    Arc::new(Wal::create(Arc::new(fs.clone()), Path::new("/"), options, LogStart::fresh()).unwrap())
}

/// Which record, counted from 0, ends at a position.
fn place(end: LogPosition) -> usize {
    (end.get() - HEAD) as usize / 12 - 1
}

fn append_and_sync(fs: &DoubleFs, log: &Wal) {
    let end = log.append(&[]).unwrap();
    log.sync(end).unwrap();
    for place in 0..=place(end) {
        assert!(fs.is_synced(place), "record {place} was answered for and not synced");
    }
    assert!(log.durable() >= end);
}

/// W2, W4. Made to fail by: a Relaxed `published` in the ring; by claiming, after the sync, what is published then; by
/// a Relaxed store or load of `durable`; by leaving out the wake when a leader is done.
#[test]
fn a_sync_covers_what_it_answers_for() {
    model(3, || {
        let fs = DoubleFs::new(None, false);
        let log = open(&fs);
        let other = {
            let (fs, log) = (fs.clone(), Arc::clone(&log));
            thread::spawn(move || append_and_sync(&fs, &log))
        };
        append_and_sync(&fs, &log);
        other.join().unwrap();
    });
}

/// Three threads: one leads, one follows, one only fills.
#[test]
fn a_sync_waits_for_records_before_it() {
    model(3, || {
        let fs = DoubleFs::new(None, false);
        let log = open(&fs);
        let first = log.reserve(0).unwrap();
        let second = log.reserve(0).unwrap();
        let (middle, end) = (first.end(), second.end());
        second.fill(&[]).unwrap();
        let others: Vec<_> = [middle, end]
            .into_iter()
            .map(|end| {
                let (fs, log) = (fs.clone(), Arc::clone(&log));
                thread::spawn(move || {
                    log.sync(end).unwrap();
                    assert!(fs.is_synced(0), "the first record was answered for and not synced");
                })
            })
            .collect();
        // Made to fail, as a deadlock, by leaving out the look for waiters after a fill, or the waiter's fence or second
        // look.
        first.fill(&[]).unwrap();
        for other in others {
            other.join().unwrap();
        }
        assert!(fs.is_synced(0) && fs.is_synced(1) == (log.durable() >= end));
    });
}

/// A ring of two: the third record waits for the first, and nobody waits for ever.
#[test]
fn room_is_made() {
    model(3, || {
        let fs = DoubleFs::new(None, false);
        let log = open(&fs);
        let first = log.reserve(0).unwrap();
        log.append(&[]).unwrap();
        let other = {
            let log = Arc::clone(&log);
            thread::spawn(move || log.append(&[]).map(place))
        };
        first.fill(&[]).unwrap();
        assert_eq!(other.join().unwrap().unwrap(), 2);
    });
}

/// C6, W6: the hole of a record that cannot be written releases those who wait for it, and for its ticket.
#[test]
fn a_hole_releases_those_who_wait() {
    model(3, || {
        let fs = DoubleFs::new(Some(0), false);
        let log = open(&fs);
        let bad = log.reserve(0).unwrap();
        let end = log.append(&[]).unwrap();
        let sync = {
            let log = Arc::clone(&log);
            thread::spawn(move || log.sync(end))
        };
        let room = {
            let log = Arc::clone(&log);
            thread::spawn(move || log.make_room(0))
        };
        // Made to fail, as a deadlock, by poisoning without waking.
        bad.fill(&[]).unwrap_err();
        assert!(matches!(sync.join().unwrap(), Err(Error::Failed(_))));
        assert!(matches!(room.join().unwrap(), Err(Error::Failed(_))));
    });
}

/// W6: a failed sync is everybody's, and nobody syncs again.
#[test]
fn a_failed_sync_releases_all() {
    model(3, || {
        let fs = DoubleFs::new(None, true);
        let log = open(&fs);
        let end = log.append(&[]).unwrap();
        let other = {
            let log = Arc::clone(&log);
            thread::spawn(move || log.sync(end))
        };
        assert!(matches!(log.sync(end), Err(Error::Failed(_))));
        assert!(matches!(other.join().unwrap(), Err(Error::Failed(_))));
        assert!(log.durable() < end);
    });
}

/// The helper has the next segment ready while a writer needs it: it is taken, or made by the writer, and what is synced
/// in it is durable with its link and with all that is before. Made to fail by leaving the old segment out of those to
/// sync.
#[test]
fn a_prepared_segment_is_handed_over() {
    model(2, || {
        let fs = DoubleFs::new(None, false);
        let log = open(&fs);
        // Enough for the helper to see that the next one is due.
        log.append(&[&[0; 1100]]).unwrap();
        let helper = {
            let log = Arc::clone(&log);
            thread::spawn(move || log.maintain())
        };
        log.roll().unwrap();
        let end = log.append(&[]).unwrap();
        log.sync(end).unwrap();
        assert!(fs.is_synced_in(1, 0), "what is before was not synced");
        assert!(fs.is_synced_in(2, 0) && fs.is_synced_in(2, LINK));
        helper.join().unwrap();
        let stats = log.stats();
        assert_eq!(stats.segments_prepared + stats.segments_unprepared, 1);
    });
}

/// Two writers need the next segment, of which one makes it; none is left behind, none is made twice. Made to fail by
/// listing the new segment only after records can be reserved in it: a sync then passes it over.
#[test]
fn one_segment_for_two_who_need_it() {
    model(2, || {
        let fs = DoubleFs::new(None, false);
        let log = open(&fs);
        log.append(&[&[0; 3900]]).unwrap();
        let other = {
            let log = Arc::clone(&log);
            thread::spawn(move || log.append_synced(&[&[0; 200]]).map(drop))
        };
        log.append(&[&[0; 200]]).unwrap();
        other.join().unwrap().unwrap();
        assert_eq!(log.current_segment(), base::SegmentNumber::new(2));
        assert!(fs.is_synced_in(1, 0) && fs.is_synced_in(2, LINK));
    });
}

/// The helper syncs the segment that was left while a writer syncs what comes behind it, and while it is retired: each
/// says that something is durable only when all before it is, or is retired. Made to fail by leaving the first segment
/// out of the writer's sync when the helper is at it, and by claiming, for the helper's sync, what is filled.
#[test]
fn a_left_segment_is_synced_beside_a_writer() {
    for retires in [false, true] {
        model(3, move || {
            let fs = DoubleFs::new(None, false);
            let log = open_with(&fs, 0);
            let end = log.append(&[]).unwrap();
            log.roll().unwrap();
            let helper = {
                let (fs, log) = (fs.clone(), Arc::clone(&log));
                thread::spawn(move || {
                    log.maintain();
                    // By the helper, or by the writer, whose sync then counts as asked for.
                    assert!(retires || (log.durable() >= end && fs.is_synced_in(1, 0)));
                })
            };
            if retires {
                log.retire_before(base::SegmentNumber::new(2)).unwrap();
            }
            let end = log.append(&[]).unwrap();
            log.sync(end).unwrap();
            assert!(log.durable() >= end && fs.is_synced_in(2, 0) && fs.is_synced_in(2, LINK));
            assert!(retires || fs.is_synced_in(1, 0), "what is before was not synced");
            helper.join().unwrap();
        });
    }
}
