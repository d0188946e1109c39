//! The file system as the engine sees it: names, directories, locks.
//!
//! Concurrency: every method may be called from any thread at any time.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use crate::error::{ErrorKind, Result};
use crate::file::File;

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reading only; writes through this handle fail with [`ErrorKind::PermissionDenied`].
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// Name without the directory.
    pub name: String,
    /// Length in bytes; 0 for a directory.
    pub len: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// What a path refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Length in bytes; 0 for a directory.
    pub len: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// Whether writing files through mapped memory is known to behave on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MapSupport {
    /// ext4, xfs or tmpfs: allocated blocks stay allocated, so that a store never lacks space.
    Known,
    /// Any other: a store into allocated space may still need a new block (copy on write), or
    /// mapped and written data may differ (network file systems). Use
    /// [`File::write_all_at`] there.
    Unknown,
}

/// A held lock file. Released when dropped, and by the system when the process dies.
pub trait FileLock: Send + Sync + Debug {
    /// The lock file.
    fn path(&self) -> &Path;
}

/// A file system.
///
/// Durability: [`create`](Fs::create), [`lock`](Fs::lock), [`rename`](Fs::rename) and
/// [`remove`](Fs::remove) take effect at once for every reader, but survive a power cut only after
/// [`sync_dir`](Fs::sync_dir) of the directory, and syncing a file does not replace that. Until
/// then any of them may survive, those of one name in order.
pub trait Fs: Send + Sync + Debug {
    /// Creates an empty file, open for reading and writing.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] if the path exists: take another name, or
    /// [`open`](Fs::open) it. [`ErrorKind::NotFound`] if its directory does not exist.
    fn create(&self, path: &Path) -> Result<Arc<dyn File>>;

    /// Opens a file that exists. Each call gives an open file description of its own.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it does not exist, [`ErrorKind::InvalidInput`] if it is a
    /// directory.
    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn File>>;

    /// Creates a directory and those above it that do not exist, and makes what it created
    /// durable. A directory that exists already is left alone: whether *its* entry is durable is
    /// not looked into.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if a part of the path is a file. Some of the directories may have
    /// been created.
    fn create_dir_all(&self, dir: &Path) -> Result<()>;

    /// Lists a directory in ascending order of names. Entries whose names are not UTF-8 are left
    /// out: they are never this crate's user's.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such directory.
    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>>;

    /// Looks up a path.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it does not exist.
    fn metadata(&self, path: &Path) -> Result<Metadata>;

    /// Whether a path exists.
    ///
    /// # Errors
    /// When that cannot be found out; its absence is not an error.
    fn exists(&self, path: &Path) -> Result<bool> {
        match self.metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Renames a file, replacing atomically a file that has the new name. Open handles keep
    /// referring to their files. To make it durable, sync the new directory, then the old one.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the file or the new directory does not exist.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Removes a file. Open handles stay usable, and its space is freed after the last of them
    /// (Windows refuses while a handle is open).
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it does not exist; an error of another kind for a directory.
    fn remove(&self, path: &Path) -> Result<()>;

    /// Makes every entry created, renamed or removed in `dir` so far durable. On Windows, where a
    /// directory cannot be synced, it only looks whether the directory exists: there the file
    /// system's journal decides.
    ///
    /// # Errors
    /// After any error the state of the entries on disk is unknown: do not acknowledge what
    /// depends on them.
    fn sync_dir(&self, dir: &Path) -> Result<()>;

    /// Takes a lock file, creating it if need be, without waiting.
    ///
    /// The lock is advisory: it excludes others that call this, and not those who remove or
    /// replace the file. A second call in the same process conflicts like any other.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] while another process or handle holds it.
    fn lock(&self, path: &Path) -> Result<Box<dyn FileLock>>;

    /// Bytes that an unprivileged user can still allocate on the file system that holds `path`,
    /// which must exist.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the path does not exist.
    fn free_space(&self, path: &Path) -> Result<u64>;

    /// Whether the file system that holds `path`, which must exist, is known to be good for
    /// writing through [`File::map`].
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the path does not exist.
    fn map_support(&self, path: &Path) -> Result<MapSupport>;
}
