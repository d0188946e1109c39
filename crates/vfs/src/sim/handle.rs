//! Open files, mappings and locks of the simulated file system.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::SimFs;
use super::bytes::Change;
use super::names::Ino;
use crate::error::{Error, Operation, Result};
use crate::file::File;
use crate::fs::{Access, FileLock};
use crate::map::MappedRegion;

/// A counted reference to a file, which keeps its content while it has no name.
#[derive(Debug)]
pub(super) struct Handle {
    fs: SimFs,
    ino: Ino,
    path: Box<Path>,
}

impl Handle {
    /// Takes over one count of the file's handles.
    pub(super) fn new(fs: SimFs, ino: Ino, path: &Path) -> Self {
        Handle { fs, ino, path: path.into() }
    }

    fn id(&self) -> (Ino, &Path) {
        (self.ino, &self.path)
    }

    fn change(&self, operation: Operation, change: Change<'_>) -> io::Result<()> {
        self.fs.begin(operation, &self.path).change(self.id(), change)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.fs.disk().release(self.ino);
    }
}

#[derive(Debug)]
pub(super) struct SimFile {
    handle: Handle,
    access: Access,
}

impl SimFile {
    pub(super) fn new(handle: Handle, access: Access) -> Self {
        SimFile { handle, access }
    }

    fn error(&self, operation: Operation, source: io::Error) -> Error {
        Error::new(operation, &*self.handle.path, source)
    }

    fn writable(&self, access: Access) -> io::Result<()> {
        if access == Access::ReadWrite && self.access == Access::Read {
            let message = "the file is open for reading only";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        Ok(())
    }

    fn change(&self, operation: Operation, change: Change<'_>) -> Result<()> {
        self.writable(Access::ReadWrite)
            .and_then(|()| self.handle.change(operation, change))
            .map_err(|source| self.error(operation, source))
    }

    fn sync(&self, operation: Operation) -> Result<()> {
        self.handle
            .change(operation, Change::Sync(operation))
            .map_err(|source| self.error(operation, source))
    }

    fn map_checked(&self, offset: u64, len: usize, access: Access) -> io::Result<SimMap> {
        self.writable(access)?;
        if len == 0 {
            let message = "a mapping needs at least one byte";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let Handle { fs, ino, path } = &self.handle;
        let mut disk = fs.begin(Operation::Map, path);
        disk.map(self.handle.id(), offset, len)?;
        disk.retain(*ino)?;
        drop(disk);
        Ok(SimMap { handle: Handle::new(fs.clone(), *ino, path), len, access })
    }
}

impl File for SimFile {
    fn path(&self) -> &Path {
        &self.handle.path
    }

    fn len(&self) -> Result<u64> {
        let Handle { fs, ino, path } = &self.handle;
        fs.begin(Operation::Len, path)
            .len(*ino, path)
            .map_err(|source| self.error(Operation::Len, source))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let len = buf.len() as u64;
        self.handle
            .fs
            .begin(Operation::Read, self.path())
            .read(Operation::Read, self.handle.id(), offset, buf)
            .map_err(|source| self.error(Operation::Read, source).with_range(offset, len))
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let range = |error: Error| error.with_range(offset, bytes.len() as u64);
        if bytes.is_empty() {
            return self
                .writable(Access::ReadWrite)
                .map_err(|source| range(self.error(Operation::Write, source)));
        }
        self.change(Operation::Write, Change::Write { offset, bytes }).map_err(range)
    }

    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.write_all_at(bytes, offset)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let len = bytes.len() as u64;
        self.change(Operation::SyncData, Change::SyncWritten { offset, len })
            .map_err(|error| error.with_range(offset, len))
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        self.change(Operation::Allocate, Change::Allocate { offset, len })
            .map_err(|error| error.with_range(offset, len))
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.change(Operation::SetLen, Change::SetLen(len))
    }

    fn sync_data(&self) -> Result<()> {
        self.sync(Operation::SyncData)
    }

    fn sync_all(&self) -> Result<()> {
        self.sync(Operation::SyncAll)
    }

    fn sync_range(&self, offset: u64, len: u64, _wait: bool) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        self.handle
            .change(Operation::SyncRange, Change::SyncRange { offset, len })
            .map_err(|source| self.error(Operation::SyncRange, source).with_range(offset, len))
    }

    fn punch_hole(&self, offset: u64, len: u64) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        self.change(Operation::PunchHole, Change::PunchHole { offset, len })
            .map_err(|error| error.with_range(offset, len))
    }

    fn map(&self, offset: u64, len: usize, access: Access) -> Result<MappedRegion> {
        match self.map_checked(offset, len, access) {
            Ok(map) => Ok(MappedRegion::simulated(map, self.path(), offset, access)),
            Err(source) => Err(self.error(Operation::Map, source).with_range(offset, len as u64)),
        }
    }
}

/// Simulated mapped memory: every access goes to the file's content. Offsets are the file's; the
/// region has checked them.
#[derive(Debug)]
pub(crate) struct SimMap {
    handle: Handle,
    len: usize,
    access: Access,
}

impl SimMap {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.handle.change(Operation::MapWrite, Change::MapWrite { offset, bytes })
    }

    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let mut disk = self.handle.fs.begin(Operation::MapRead, &self.handle.path);
        disk.touch(self.handle.ino, offset, buf.len() as u64)?;
        disk.read(Operation::MapRead, self.handle.id(), offset, buf)?;
        Ok(())
    }

    pub(crate) fn populate(&self, offset: u64, len: usize) -> io::Result<()> {
        let writable = self.access == Access::ReadWrite;
        self.handle.fs.begin(Operation::Populate, &self.handle.path).populate(
            self.handle.id(),
            offset,
            len as u64,
            writable,
        )
    }

    pub(crate) fn flush(&self, offset: u64, len: usize) -> io::Result<()> {
        let len = len as u64;
        self.handle.change(Operation::MapFlush, Change::MapFlush { offset, len })
    }
}

#[derive(Debug)]
pub(super) struct SimLock {
    pub(super) fs: SimFs,
    pub(super) ino: Ino,
    pub(super) path: Arc<Path>,
}

impl FileLock for SimLock {
    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.fs.disk().unlock(self.ino);
    }
}
