//! An open file of the operating system.

use std::fs;
use std::io::{self, IoSlice};
use std::path::Path;

use super::sys;
use crate::error::{Error, Operation, Result};
use crate::file::File;
use crate::fs::Access;
use crate::map::MappedRegion;

#[derive(Debug)]
pub(super) struct RealFile {
    file: fs::File,
    path: Box<Path>,
    access: Access,
}

impl RealFile {
    pub(super) fn new(file: fs::File, path: &Path, access: Access) -> Self {
        RealFile { file, path: path.into(), access }
    }

    #[cold]
    fn error(&self, operation: Operation, source: io::Error) -> Error {
        Error::new(operation, &*self.path, source)
    }

    /// Refuses to change a file opened for reading, with the same error on every system.
    fn writable(&self) -> io::Result<&fs::File> {
        match self.access {
            Access::ReadWrite => Ok(&self.file),
            Access::Read => Err(read_only()),
        }
    }

    /// Writes all of `buf` by as many calls of `write_some` as it takes.
    fn write_with(
        &self,
        buf: &[u8],
        offset: u64,
        write_some: impl Fn(&fs::File, &[u8], u64) -> io::Result<usize>,
    ) -> Result<()> {
        let write = || {
            let file = self.writable()?;
            let mut written = 0;
            while written < buf.len() {
                match write_some(file, &buf[written..], offset + written as u64) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(count) => written += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        write().map_err(|e| self.error(Operation::Write, e).with_range(offset, buf.len() as u64))
    }

    fn map_checked(&self, offset: u64, len: usize, access: Access) -> io::Result<MappedRegion> {
        if access == Access::ReadWrite {
            self.writable()?;
        }
        if len == 0 {
            let message = "a mapping needs at least one byte";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        // Mapping beyond the end would succeed, and each access there be a SIGBUS.
        let file_len = self.file.metadata()?.len();
        if offset.checked_add(len as u64).is_none_or(|end| end > file_len) {
            let message = format!("the file has {file_len} bytes");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        MappedRegion::real(&self.file, &self.path, offset, len, access)
    }
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "the file is open for reading only")
}

impl File for RealFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn len(&self) -> Result<u64> {
        let metadata = self.file.metadata().map_err(|e| self.error(Operation::Len, e))?;
        Ok(metadata.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let len = buf.len();
        let mut filled = 0;
        while filled < len {
            // Not an overflow: the system has just read `filled` bytes up to there.
            match sys::read_at(&self.file, &mut buf[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(self.error(Operation::Read, error).with_range(offset, len as u64));
                }
            }
        }
        Ok(filled)
    }

    fn read_exact_onto(&self, buf: &mut Vec<u8>, len: usize, offset: u64) -> Result<()> {
        let before = buf.len();
        buf.reserve_exact(len);
        let read = loop {
            let filled = buf.len() - before;
            if filled == len {
                return Ok(());
            }
            match sys::read_onto(&self.file, buf, len - filled, offset + filled as u64) {
                Ok(0) => {
                    let message =
                        format!("expected {len} bytes, found {filled} before the end of the file");
                    break io::Error::new(io::ErrorKind::UnexpectedEof, message);
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break error,
            }
        };
        buf.truncate(before);
        Err(self.error(Operation::Read, read).with_range(offset, len as u64))
    }

    fn will_read(&self, offset: u64, len: u64) {
        sys::will_read(&self.file, offset, len);
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.write_with(buf, offset, sys::write_at)
    }

    fn write_parts_at(&self, mut parts: &mut [IoSlice<'_>], offset: u64) -> Result<()> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let mut write = || {
            let file = self.writable()?;
            let mut written = 0;
            IoSlice::advance_slices(&mut parts, 0);
            while written < len {
                match sys::write_parts_at(file, parts, offset + written as u64) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(count) => {
                        written += count;
                        IoSlice::advance_slices(&mut parts, count);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        write()
            .map_err(|e: io::Error| self.error(Operation::Write, e).with_range(offset, len as u64))
    }

    fn write_durable_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.write_with(buf, offset, sys::write_durable_at)
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        self.writable()
            .and_then(|file| sys::allocate(file, offset, len))
            .map_err(|e| self.error(Operation::Allocate, e).with_range(offset, len))
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.writable()
            .and_then(|file| file.set_len(len))
            .map_err(|e| self.error(Operation::SetLen, e))
    }

    fn sync_data(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| self.error(Operation::SyncData, e))
    }

    fn sync_all(&self) -> Result<()> {
        self.file.sync_all().map_err(|e| self.error(Operation::SyncAll, e))
    }

    fn sync_range(&self, offset: u64, len: u64, wait: bool) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        sys::sync_range(&self.file, offset, len, wait)
            .map_err(|e| self.error(Operation::SyncRange, e).with_range(offset, len))
    }

    fn punch_hole(&self, offset: u64, len: u64) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        self.writable()
            .and_then(|file| sys::punch_hole(file, offset, len))
            .map_err(|e| self.error(Operation::PunchHole, e).with_range(offset, len))
    }

    fn map(&self, offset: u64, len: usize, access: Access) -> Result<MappedRegion> {
        self.map_checked(offset, len, access)
            .map_err(|e| self.error(Operation::Map, e).with_range(offset, len as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_write_that_comes_short_or_is_interrupted_goes_on_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = RealFile::new(fs::File::create_new(&path).unwrap(), &path, Access::ReadWrite);
        let calls = Cell::new(0);
        let some = |file: &fs::File, buf: &[u8], offset| {
            calls.set(calls.get() + 1);
            if calls.get() % 2 == 0 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            sys::write_at(file, &buf[..buf.len().min(3)], offset)
        };
        file.write_with(b"0123456789", 2, some).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"\0\x000123456789");
        assert_eq!(calls.get(), 7);
        let nothing = file.write_with(b"x", 0, |_, _, _| Ok(0)).unwrap_err();
        assert!(nothing.to_string().contains("file"), "{nothing}");
    }
}
