//! The operating system's file system.
//!
//! Concurrency: no state of its own; every call goes to the system.

mod file;
mod fill;
#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod sys;
#[cfg(not(target_os = "linux"))]
#[path = "portable.rs"]
mod sys;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Operation, Result};
use crate::file::File;
use crate::fs::{Access, DirEntry, FileLock, Fs, MapSupport, Metadata};
use file::RealFile;

/// The operating system's file system. Holds nothing: any number of them are the same.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealFs;

impl RealFs {
    /// The operating system's file system.
    pub fn new() -> Self {
        RealFs
    }
}

/// `result`, with the operation and the path in its error.
fn at<T>(operation: Operation, path: &Path, result: io::Result<T>) -> Result<T> {
    result.map_err(|source| Error::new(operation, path, source))
}

impl Fs for RealFs {
    fn create(&self, path: &Path) -> Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let file = at(Operation::Create, path, options.open(path))?;
        Ok(Arc::new(RealFile::new(file, path, Access::ReadWrite)))
    }

    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(access == Access::ReadWrite);
        let opened = options.open(path).and_then(|file| match file.metadata()?.is_dir() {
            true => Err(io::ErrorKind::IsADirectory.into()),
            false => Ok(file),
        });
        Ok(Arc::new(RealFile::new(at(Operation::Open, path, opened)?, path, access)))
    }

    fn create_dir_all(&self, dir: &Path) -> Result<()> {
        let mut missing = Vec::new();
        let mut next = Some(dir);
        while let Some(path) = next.filter(|path| !path.as_os_str().is_empty()) {
            match fs::metadata(path) {
                Ok(metadata) if metadata.is_dir() => break,
                Ok(_) => {
                    let source = io::ErrorKind::NotADirectory.into();
                    return Err(Error::new(Operation::CreateDir, path, source));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(path),
                Err(error) => return Err(Error::new(Operation::CreateDir, path, error)),
            }
            next = path.parent();
        }
        for path in missing.into_iter().rev() {
            match fs::create_dir(path) {
                // Somebody else was faster, and may not have synced it yet.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
                result => at(Operation::CreateDir, path, result)?,
            }
            self.sync_dir(parent(path))?;
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in at(Operation::List, dir, fs::read_dir(dir))? {
            let entry = at(Operation::List, dir, entry)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            match fs::metadata(entry.path()) {
                Ok(metadata) => {
                    let is_dir = metadata.is_dir();
                    let len = if is_dir { 0 } else { metadata.len() };
                    entries.push(DirEntry { name, len, is_dir });
                }
                // Removed since the directory was read, or a link to nothing.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::new(Operation::List, entry.path(), error)),
            }
        }
        entries.sort_unstable();
        Ok(entries)
    }

    fn metadata(&self, path: &Path) -> Result<Metadata> {
        let metadata = at(Operation::Metadata, path, fs::metadata(path))?;
        let is_dir = metadata.is_dir();
        Ok(Metadata { len: if is_dir { 0 } else { metadata.len() }, is_dir })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        at(Operation::Rename, from, fs::rename(from, to)).map_err(|error| error.with_target(to))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        at(Operation::Remove, path, fs::remove_file(path))
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        at(Operation::SyncDir, dir, sys::sync_dir(dir))
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn FileLock>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = at(Operation::Lock, path, options.open(path))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(RealLock { _file: file, path: path.into() })),
            Err(fs::TryLockError::WouldBlock) => {
                Err(Error::new(Operation::Lock, path, io::ErrorKind::WouldBlock.into()))
            }
            Err(fs::TryLockError::Error(error)) => Err(Error::new(Operation::Lock, path, error)),
        }
    }

    fn free_space(&self, path: &Path) -> Result<u64> {
        at(Operation::FreeSpace, path, sys::free_space(path))
    }

    fn map_support(&self, path: &Path) -> Result<MapSupport> {
        at(Operation::MapSupport, path, sys::map_support(path))
    }
}

/// The directory that holds `path`: `.` for a bare name, the root for the root.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// A lock that belongs to the open file description (`flock`, `LockFileEx`), so that it excludes
/// other handles of this process too, and ends when the file is closed.
#[derive(Debug)]
struct RealLock {
    _file: fs::File,
    path: PathBuf,
}

impl FileLock for RealLock {
    fn path(&self) -> &Path {
        &self.path
    }
}
