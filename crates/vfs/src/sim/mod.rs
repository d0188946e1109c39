//! A simulated file system, in memory, that can crash and fail: for tests.
//!
//! It keeps what is durable apart from what is not: file content per 4 KiB page, the files'
//! lengths, and the directories' entries apart from the files. [`SimFs::crash_clone`] gives the disk
//! as it would be found after a crash, in which every unsynced page, length and entry is in any of
//! the states that it went through since its last sync. The same history and seed give the same
//! disk.
//!
//! Concurrency: one lock guards the disk; callbacks run without it. Which of two threads comes first
//! is theirs to decide: a test that replays seeds needs a deterministic schedule too.

mod bytes;
mod content;
mod crash;
mod disk;
mod fault;
mod handle;
mod names;
mod rng;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Operation, Result};
use crate::file::File;
use crate::fs::{Access, DirEntry, FileLock, Fs, MapSupport, Metadata};
use disk::Disk;
use handle::{Handle, SimFile, SimLock};

pub use crash::{CrashOptions, Survival};
pub use fault::{Effect, Fault, is_injected, is_power_off};
pub(crate) use handle::SimMap;

/// Called before each operation, on the thread that does it, while no lock is held.
pub type Hook = Arc<dyn Fn(Operation, &Path) + Send + Sync>;

/// A simulated disk. Clones are the same disk.
///
/// It starts empty but for the root directory; relative paths start at the root too.
#[derive(Clone)]
pub struct SimFs {
    shared: Arc<Shared>,
}

struct Shared {
    disk: Mutex<Disk>,
    hook: Mutex<Option<Hook>>,
}

impl fmt::Debug for SimFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFs").field("operations", &self.operations()).finish_non_exhaustive()
    }
}

impl Default for SimFs {
    fn default() -> Self {
        SimFs::new()
    }
}

impl SimFs {
    /// An empty disk without a limit.
    pub fn new() -> Self {
        SimFs::with(Disk::new())
    }

    fn with(disk: Disk) -> Self {
        SimFs { shared: Arc::new(Shared { disk: Mutex::new(disk), hook: Mutex::new(None) }) }
    }

    /// A panic of a test's thread leaves the disk as it is, for the others to see.
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.shared.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk, after the hook was called.
    fn begin(&self, operation: Operation, path: &Path) -> MutexGuard<'_, Disk> {
        let hook = self.shared.hook.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(hook) = hook {
            hook(operation, path);
        }
        self.disk()
    }

    /// The disk as it would be found if the machine crashed now: a random (seeded) part of what is
    /// not synced survives, torn at 512 bytes. Holds no locks, faults or hook, and its power is on;
    /// this disk is not changed.
    #[must_use]
    pub fn crash_clone(&self, seed: u64) -> SimFs {
        self.crash_with(CrashOptions::new(seed))
    }

    /// [`crash_clone`](SimFs::crash_clone) with a choice of what survives.
    #[must_use]
    pub fn crash_with(&self, options: CrashOptions) -> SimFs {
        SimFs::with(self.disk().crash(options))
    }

    /// How many operations there were that change the disk or make something durable: each call of
    /// create, rename, remove, sync, write (also to mapped memory), allocate, and so on, and of
    /// `create_dir_all` two for each directory created. Those that failed count, those after
    /// a power cut do not.
    pub fn operations(&self) -> u64 {
        self.disk().operations
    }

    /// Cuts the power at operation number `number`, as [`operations`](SimFs::operations) counts
    /// from 1, or at the next one if that is past: it and everything after, reads included, fails,
    /// without effect, by an error for which [`is_power_off`] holds. `crash_clone` then gives the
    /// disk at that moment.
    pub fn power_off_at(&self, number: u64) {
        self.disk().power_off_at = Some(number);
    }

    /// Cuts the power now; see [`power_off_at`](SimFs::power_off_at).
    pub fn power_off(&self) {
        self.disk().cut_power();
    }

    /// Adds a fault. Of several that strike the same operation, the last added decides.
    pub fn inject(&self, fault: Fault) {
        self.disk().faults.push(fault);
    }

    /// Takes back all faults.
    pub fn clear_faults(&self) {
        self.disk().faults.clear();
    }

    /// How many operations were hit by a fault.
    pub fn faults_hit(&self) -> u64 {
        self.disk().faults_hit
    }

    /// Limits the disk to so many bytes, in whole pages of 4 KiB; `None` lifts the limit. Files that
    /// are there stay, even if they are larger.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().set_capacity(bytes);
    }

    /// Bytes allocated to files that have a name or an open handle, in whole pages of 4 KiB.
    pub fn used_bytes(&self) -> u64 {
        self.disk().used_bytes()
    }

    /// Sets what [`Fs::map_support`] says; [`MapSupport::Known`] from the start.
    pub fn set_map_support(&self, support: MapSupport) {
        self.disk().map_support = support;
    }

    /// Has `hook` called before each operation, to add latency or to hold a thread at a certain
    /// point; `None` takes it away. What it does to this file system calls it again.
    pub fn set_hook(&self, hook: Option<Hook>) {
        *self.shared.hook.lock().unwrap_or_else(PoisonError::into_inner) = hook;
    }

    /// Every file's path and content as readers see them, by path; also after a power cut.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        self.disk().files()
    }

    fn open_handle(&self, ino: names::Ino, path: &Path, access: Access) -> Arc<dyn File> {
        Arc::new(SimFile::new(Handle::new(self.clone(), ino, path), access))
    }
}

/// `result`, with the operation and the path in its error.
fn at<T>(operation: Operation, path: &Path, result: std::io::Result<T>) -> Result<T> {
    result.map_err(|source| Error::new(operation, path, source))
}

impl Fs for SimFs {
    fn create(&self, path: &Path) -> Result<Arc<dyn File>> {
        let created = self.begin(Operation::Create, path).create(path);
        Ok(self.open_handle(at(Operation::Create, path, created)?, path, Access::ReadWrite))
    }

    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn File>> {
        let opened = self.begin(Operation::Open, path).open(path);
        Ok(self.open_handle(at(Operation::Open, path, opened)?, path, access))
    }

    fn create_dir_all(&self, dir: &Path) -> Result<()> {
        let mut dirs: Vec<&Path> = dir.ancestors().collect();
        dirs.reverse();
        for dir in dirs {
            let created = self.begin(Operation::CreateDir, dir).create_dir(dir);
            at(Operation::CreateDir, dir, created)?;
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>> {
        at(Operation::List, dir, self.begin(Operation::List, dir).list(dir))
    }

    fn metadata(&self, path: &Path) -> Result<Metadata> {
        at(Operation::Metadata, path, self.begin(Operation::Metadata, path).metadata(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let renamed = self.begin(Operation::Rename, from).rename(from, to);
        at(Operation::Rename, from, renamed).map_err(|error| error.with_target(to))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        at(Operation::Remove, path, self.begin(Operation::Remove, path).remove(path))
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        at(Operation::SyncDir, dir, self.begin(Operation::SyncDir, dir).sync_dir(dir))
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn FileLock>> {
        let locked = self.begin(Operation::Lock, path).lock(path);
        let ino = at(Operation::Lock, path, locked)?;
        Ok(Box::new(SimLock { fs: self.clone(), ino, path: path.into() }))
    }

    fn free_space(&self, path: &Path) -> Result<u64> {
        at(Operation::FreeSpace, path, self.begin(Operation::FreeSpace, path).free_space(path))
    }

    fn map_support(&self, path: &Path) -> Result<MapSupport> {
        at(Operation::MapSupport, path, self.begin(Operation::MapSupport, path).map_support(path))
    }
}
