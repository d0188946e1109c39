//! Opening: the directory is locked, the manifest read, the log replayed, what nobody needs removed.
//!
//! 1. *Lock* the directory; tell whether it holds a database.
//! 2. *Manifest*: families and tables, and where the log begins.
//! 3. *Log*: every batch that is not in tables yet goes to memtables, in order. What the budget cannot hold is flushed
//!    on the way, so a log that was written under a larger budget still replays.
//! 4. *Secure*: make what was read durable as the present state; only then remove what it does not need.
//! 5. *Go on* in a new log segment, whose header states where the old one ends: records behind a torn tail never come
//!    back. The memtables are flushed in the background; their log stays until then.
//!
//! A crash at any point of this leaves what was there before, or more of it in tables: opening again does the same.

use std::path::Path;
use std::sync::Arc;

use base::ring::CompletionRing;
use base::sync::atomic::{AtomicBool, AtomicUsize};
use base::sync::{ArcCell, Duration, Mutex, Signal, thread};
use base::{BatchEntry, InternalKeyRef, SegmentNumber, SeqNo, batch};
use credit::{ChildError, Pool};
use memtable::{Chunk, ChunkCache, Memtable, Space};
use sstable::CompressionHelpers;
use version::files::{Presence, orphans, presence};
use version::{ApplyError, FileName, ManifestOptions, VersionEdit};
use vfs::{DirEntry, FileLock, Fs};
use wal::{RecoverError, Recovered, RecoveryMode, Wal};

use crate::background::{Progress, Threads};
use crate::budget::Budget;
use crate::commit::state::{CommitState, FamilyState, FlushReason, Sealed};
use crate::error::Error;
use crate::flush::{Outputs, Unapplied};
use crate::health::Health;
use crate::options::Options;
use crate::read::view::ReadView;
use crate::read::walk::Walks;
use crate::shared::Shared;
use crate::snapshot::SnapshotList;
use crate::stall::Gate;
use crate::stats::Counters;
use crate::tables::{TableHandle, TableStore, VersionSet};
use crate::{compaction, flush, janitor};

/// Tickets that may be open at a time: more writers than that wait.
const RING_SIZE: usize = 4096;

/// Opens or creates the database in `dir`.
pub(crate) fn open(fs: Arc<dyn Fs>, dir: &Path, options: Options) -> Result<Arc<Shared>, Error> {
    options.validate()?;
    check_directory(&*fs, dir, &options)?;
    if options.create_if_missing {
        fs.create_dir_all(dir)?;
    }
    let lock = lock_directory(&*fs, dir)?;

    let janitor_signal = Arc::new(Signal::default());
    let wake = Arc::clone(&janitor_signal);
    let versions = open_versions(&fs, dir, &options, Box::new(move || wake.notify()))?;

    let invalid = |error: ChildError| Error::InvalidOptions { what: error.to_string() };
    let budget = Budget::new(&options).map_err(invalid)?;
    let pool = budget.writes.clone();
    let tables = TableStore::new(Arc::clone(&fs), dir, &options, &budget).map_err(invalid)?;
    let compression =
        CompressionHelpers::start(options.compression_helpers(thread::available_parallelism()));
    let compression = Arc::new(compression.map_err(|source| Error::Thread { source })?);
    let health = Health::default();
    let outputs = Outputs {
        versions: &versions,
        tables: &tables,
        options: &options,
        jobs: &budget.jobs,
        helpers: &compression,
        health: &health,
    };
    let mut replay = Replay::new(&fs, dir, outputs, &pool);
    let recovered = replay.run()?;
    let Replay { families, visible, next_memtable, .. } = replay;

    let window = budget.log.clone();
    let wal = Wal::create_charged(Arc::clone(&fs), dir, options.log(), recovered.start, window)?;
    let oldest = families.iter().filter_map(FamilyState::oldest_segment).min();
    record_log(&versions, oldest.unwrap_or_else(|| wal.current_segment()))?;
    remove_orphans(&fs, dir, &versions)?;

    let view = ReadView { families: Vec::new(), version: versions.current() };
    let shared = Arc::new(Shared {
        dir: dir.to_owned(),
        health,
        budget,
        pool,
        chunks: ChunkCache::new(options.spare_chunk_bytes() as usize),
        is_chunk_due: AtomicBool::new(false),
        wal,
        ring: CompletionRing::new(RING_SIZE, visible.get()),
        commit: Mutex::new(CommitState::new(visible, families, next_memtable)),
        grown: Progress::default(),
        seekers: AtomicUsize::new(0),
        view: ArcCell::new(Arc::new(view)),
        versions,
        tables: Arc::new(tables),
        walks: Walks::default(),
        snapshots: SnapshotList::default(),
        gate: Gate::new(&options),
        counters: Counters::default(),
        progress: Progress::default(),
        flush_signal: Signal::default(),
        compaction_signal: Signal::default(),
        janitor_signal,
        manual: Mutex::default(),
        given_up: Mutex::default(),
        install: Mutex::new(()),
        doubtful: Mutex::default(),
        threads: Threads::default(),
        compression,
        options,
        lock: Mutex::new(Some(lock)),
    });
    start(&shared)?;
    Ok(shared)
}

/// Refuses a directory that holds something else, or nothing where nothing may be made, before anything is put into it.
fn check_directory(fs: &dyn Fs, dir: &Path, options: &Options) -> Result<(), Error> {
    let entries = match fs.list(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == vfs::ErrorKind::NotFound => {
            return if options.create_if_missing {
                Ok(())
            } else {
                Err(Error::NoDatabase { path: dir.to_owned() })
            };
        }
        Err(error) => return Err(error.into()),
    };
    check_names(dir, &entries, options)
}

fn check_names(dir: &Path, entries: &[DirEntry], options: &Options) -> Result<(), Error> {
    let names = || entries.iter().map(|entry| entry.name.as_str());
    let path = || dir.to_owned();
    match presence(names()) {
        Presence::Database if options.error_if_exists => Err(Error::Exists { path: path() }),
        Presence::Database | Presence::Damaged(_) => Ok(()),
        Presence::Absent | Presence::Unfinished if !options.create_if_missing => {
            Err(Error::NoDatabase { path: path() })
        }
        Presence::Absent | Presence::Unfinished => {
            let foreign = |name: &&str| FileName::parse(name).is_none() && *name != "lost+found";
            match names().find(foreign) {
                Some(found) => Err(Error::NotADatabase { path: path(), found: found.to_owned() }),
                None => Ok(()),
            }
        }
    }
}

/// Takes the directory's lock. A process that this one is just starting has a copy of an older lock's descriptor until
/// it has begun to run its own program, so the lock is asked for a few times before it counts as held.
fn lock_directory(fs: &dyn Fs, dir: &Path) -> Result<Box<dyn FileLock>, Error> {
    const TRIES: u32 = 20;
    const PAUSE: Duration = Duration::from_millis(5);
    let path = FileName::Lock.path_in(dir);
    let mut tries = 1;
    loop {
        let source = match fs.lock(&path) {
            Ok(lock) => return Ok(lock),
            Err(source) => source,
        };
        match source.kind() {
            vfs::ErrorKind::Locked if tries < TRIES => {
                tries += 1;
                thread::sleep(PAUSE);
            }
            vfs::ErrorKind::Locked => return Err(Error::Locked { path, source }),
            vfs::ErrorKind::NotFound => return Err(Error::NoDatabase { path: dir.to_owned() }),
            _ => return Err(Error::File(source)),
        }
    }
}

/// Stores the first view and starts the threads.
fn start(shared: &Arc<Shared>) -> Result<(), Error> {
    shared.store_view(&shared.commit.lock());
    shared.update_stall(&shared.versions.current());
    type Run = fn(&Shared);
    let threads: [(&'static str, Run); 3] = [
        ("polder-flush", flush::run),
        ("polder-compact", compaction::run),
        ("polder-janitor", janitor::run),
    ];
    for (name, run) in threads {
        if let Err(error) = shared.threads.start(name, shared, run) {
            // Those that run already end; what the close could not sync is in the log still.
            let _closed = shared.close();
            return Err(error);
        }
    }
    shared.flush_signal.notify();
    shared.compaction_signal.notify();
    shared.janitor_signal.notify();
    Ok(())
}

fn open_versions(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    options: &Options,
    wake: Box<dyn Fn() + Send + Sync>,
) -> Result<VersionSet, Error> {
    let entries = fs.list(dir)?;
    // Again, now that nobody else can make one: another process may have.
    check_names(dir, &entries, options)?;
    let manifest = ManifestOptions::default();
    match presence(entries.iter().map(|entry| entry.name.as_str())) {
        Presence::Absent | Presence::Unfinished => {
            Ok(VersionSet::create(Arc::clone(fs), dir, manifest, wake)?)
        }
        // With `CURRENT` missing among a database's files, this names what is wrong.
        Presence::Database | Presence::Damaged(_) => {
            VersionSet::recover(Arc::clone(fs), dir, manifest, wake, |_| Ok(TableHandle::default()))
        }
    }
}

/// Sees to it that the manifest says where the log begins, before the first write: a log that is gone is then told from
/// one in which nothing was written, and segments that nothing needs go.
fn record_log(versions: &VersionSet, from: SegmentNumber) -> Result<(), Error> {
    if versions.log_from() < from {
        versions
            .apply(VersionEdit { log_from: Some(from), ..VersionEdit::default() }, Vec::new())?;
    }
    Ok(())
}

/// Removes files that an interrupted job left, or that were dropped and not yet removed.
fn remove_orphans(fs: &Arc<dyn Fs>, dir: &Path, versions: &VersionSet) -> Result<(), Error> {
    let live = versions.secure()?;
    let entries = fs.list(dir)?;
    for orphan in orphans(entries.iter().map(|entry| entry.name.as_str()), &live) {
        match fs.remove(&orphan.path_in(dir)) {
            Err(error) if error.kind() != vfs::ErrorKind::NotFound => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, %orphan, "an orphan stays until the next start");
            }
            _ => tracing::info!(%orphan, "an orphan was removed"),
        }
    }
    Ok(())
}

/// The replay of the log into memtables.
struct Replay<'a> {
    fs: &'a Arc<dyn Fs>,
    dir: &'a Path,
    /// The segment that is being read.
    segment: SegmentNumber,
    /// Up to this segment (inclusive) the log was made durable on the way.
    secured: Option<SegmentNumber>,
    outputs: Outputs<'a>,
    pool: &'a Pool,
    families: Vec<FamilyState>,
    /// The newest sequence number that is in a table or was replayed.
    visible: SeqNo,
    /// How far the log was replayed. Behind `visible` where another family was flushed further.
    replayed: SeqNo,
    next_memtable: u64,
}

impl<'a> Replay<'a> {
    fn new(fs: &'a Arc<dyn Fs>, dir: &'a Path, outputs: Outputs<'a>, pool: &'a Pool) -> Self {
        let version = outputs.versions.current();
        let families =
            version.families().zip(1..).map(|(family, id)| FamilyState::new(family.id(), id));
        let families: Vec<_> = families.collect();
        let next_memtable = families.len() as u64 + 1;
        Self {
            fs,
            dir,
            segment: SegmentNumber::new(0),
            secured: None,
            outputs,
            pool,
            families,
            visible: version.last_seq(),
            replayed: SeqNo::ZERO,
            next_memtable,
        }
    }

    /// Reads the log and seals what it held.
    fn run(&mut self) -> Result<Recovered, Error> {
        let (fs, dir) = (self.fs, self.dir);
        let version = self.outputs.versions.current();
        let from = wal::RecoverFrom { segment: version.log_from(), durable: version.log_durable() };
        let visit =
            &mut |segment: SegmentNumber, offset: u64, payload: &[u8]| {
                let (first, entries) = batch::decode(payload).map_err(|source| {
                    Error::LogRecord { path: FileName::Log(segment).path_in(dir), offset, source }
                })?;
                self.apply(segment, first, entries)
            };
        let recovered =
            wal::recover(fs, dir, from, RecoveryMode::PointInTime, visit).map_err(|error| {
                match error {
                    RecoverError::Visitor(error) => error,
                    RecoverError::Log(error) => Error::Recovery(error),
                }
            })?;
        tracing::info!(records = recovered.records, bytes = recovered.bytes, tail = ?recovered.tail, "the log was read");
        self.seal_all();
        Ok(recovered)
    }

    fn apply<'b>(
        &mut self,
        segment: SegmentNumber,
        first: SeqNo,
        entries: impl Iterator<Item = BatchEntry<'b>>,
    ) -> Result<(), Error> {
        self.segment = segment;
        for (seq, entry) in (first.get()..).zip(entries) {
            let seq = SeqNo::new(seq);
            self.apply_entry(segment, seq, &entry)?;
            // Only now: what is flushed to make room for an entry ends before it.
            self.replayed = seq;
            self.visible = self.visible.max(seq);
        }
        Ok(())
    }

    fn apply_entry(
        &mut self,
        segment: SegmentNumber,
        seq: SeqNo,
        entry: &BatchEntry<'_>,
    ) -> Result<(), Error> {
        // A family that is gone took its entries with it.
        let Ok(at) = self.families.binary_search_by_key(&entry.family, |f| f.id) else {
            return Ok(());
        };
        if self.outputs.versions.flushed_seq(entry.family).is_some_and(|flushed| seq <= flushed) {
            return Ok(());
        }
        let mut space = Space::new();
        space.add(entry.key.len(), entry.value.len());
        self.make_room(at, &space)?;
        let family = &mut self.families[at];
        let mut reserved = family.active.reserve(&space).expect("room was made for exactly this");
        family.first_segment.get_or_insert(segment);
        family.active.insert(
            &mut reserved,
            InternalKeyRef::new(entry.key, seq, entry.kind),
            entry.value,
        );
        Ok(())
    }

    /// Makes sure that the family's memtable has room for `space`; flushes everything first if there are no credits.
    fn make_room(&mut self, at: usize, space: &Space) -> Result<(), Error> {
        if self.families[at].active.is_full(self.outputs.options.write_buffer_size as usize) {
            self.flush_all()?;
        }
        let Some(mut bytes) = self.families[at].active.chunk_bytes_for(space) else {
            return Ok(());
        };
        let permit = match self.pool.try_acquire(bytes as u64) {
            Ok(permit) => permit,
            Err(_) => {
                self.flush_all()?;
                bytes = self.families[at].active.chunk_bytes_for(space).unwrap_or(bytes);
                // Nothing is held now, so even what is larger than the whole budget is admitted; and what a larger
                // budget has let in must come back under a smaller one.
                let beyond = |_| Pool::new(None).try_acquire(bytes as u64);
                self.pool.try_acquire(bytes as u64).or_else(beyond).map_err(|_| Error::Closed)?
            }
        };
        let chunk = Chunk::map(permit).map_err(|source| Error::OutOfMemory { source })?;
        self.families[at].active.add_chunk(chunk);
        Ok(())
    }

    /// Writes every memtable to a table. The log stays as it is, so that the second half of a batch which is cut here
    /// is found again. It may so far be in the system's memory only, where a killed process has left it: then it is made
    /// durable before a table is.
    fn flush_all(&mut self) -> Result<(), Error> {
        self.sync_log()?;
        let mut edit = VersionEdit { last_seq: Some(self.visible), ..VersionEdit::default() };
        let mut handles = Vec::new();
        let mut written = Vec::new();
        for family in &mut self.families {
            if family.first_segment.take().is_none() {
                continue;
            }
            let full =
                std::mem::replace(&mut family.active, Arc::new(Memtable::new(self.next_memtable)));
            self.next_memtable += 1;
            let table = self.outputs.write_memtables(&[full], vec![self.visible])?;
            edit.flushed_seq.push((family.id, self.replayed));
            edit.added_tables
                .extend(table.tables().iter().map(|meta| (family.id, 0, meta.clone())));
            handles.extend(table.open()?);
            written.push(table);
        }
        let applied = self.outputs.versions.apply(edit, handles);
        if matches!(applied, Ok(_) | Err(ApplyError::InDoubt(_))) {
            written.into_iter().for_each(Unapplied::keep);
        }
        applied?;
        Ok(())
    }

    /// Makes durable what was read of the log: every segment up to the one that is being read, each of them once.
    fn sync_log(&mut self) -> Result<(), Error> {
        let from = self.outputs.versions.log_from();
        let mut due = Vec::new();
        for entry in self.fs.list(self.dir)? {
            if let Some(FileName::Log(number)) = FileName::parse(&entry.name)
                && (from..=self.segment).contains(&number)
                && self.secured.is_none_or(|secured| number > secured)
            {
                due.push(number);
            }
        }
        wal::secure(&**self.fs, self.dir, due).map_err(Error::Recovery)?;
        self.secured = Some(self.segment);
        Ok(())
    }

    /// What is left waits for the flush thread.
    fn seal_all(&mut self) {
        for family in &mut self.families {
            let Some(first_segment) = family.first_segment.take() else { continue };
            let memtable =
                std::mem::replace(&mut family.active, Arc::new(Memtable::new(self.next_memtable)));
            self.next_memtable += 1;
            family.sealed.push(Sealed {
                memtable,
                first_segment,
                last: None,
                max_seq: self.visible,
                reason: FlushReason::Recovery,
                is_flushing: false,
            });
        }
    }
}
