//! What happens to the bytes of a file on the simulated disk: reads, writes, space, syncs, and what
//! a fault leaves of them.

use std::io;
use std::path::Path;

use super::content::{Content, FILE_BYTES_MAX};
use super::disk::Disk;
use super::fault::Effect;
use super::names::Ino;
use crate::error::Operation;

/// What a file operation does to the content; see [`Disk::change`].
pub(super) enum Change<'a> {
    Write {
        offset: u64,
        bytes: &'a [u8],
    },
    /// A store: must lie within the file.
    MapWrite {
        offset: u64,
        bytes: &'a [u8],
    },
    Allocate {
        offset: u64,
        len: u64,
    },
    SetLen(u64),
    PunchHole {
        offset: u64,
        len: u64,
    },
    Sync(Operation),
    /// What a durable write ends with: the pages of the range, and the length.
    SyncWritten {
        offset: u64,
        len: u64,
    },
    SyncRange {
        offset: u64,
        len: u64,
    },
    MapFlush {
        offset: u64,
        len: u64,
    },
}

impl Change<'_> {
    fn operation(&self) -> Operation {
        match self {
            Change::Write { .. } => Operation::Write,
            Change::MapWrite { .. } => Operation::MapWrite,
            Change::Allocate { .. } => Operation::Allocate,
            Change::SetLen(_) => Operation::SetLen,
            Change::PunchHole { .. } => Operation::PunchHole,
            Change::Sync(operation) => *operation,
            Change::SyncWritten { .. } => Operation::SyncData,
            Change::SyncRange { .. } => Operation::SyncRange,
            Change::MapFlush { .. } => Operation::MapFlush,
        }
    }
}

impl Disk {
    pub(super) fn len(&mut self, ino: Ino, path: &Path) -> io::Result<u64> {
        self.begin_plain(Operation::Len, path, false)?;
        Ok(self.file(ino)?.content.len())
    }

    pub(super) fn read(
        &mut self,
        operation: Operation,
        (ino, path): (Ino, &Path),
        offset: u64,
        buf: &mut [u8],
    ) -> io::Result<usize> {
        let effect = self.begin(operation, path, false)?;
        let count = self.file(ino)?.content.read(offset, buf);
        match effect {
            Some(Effect::FlipBit(bit)) if count > 0 => {
                let bit = bit % (count as u64 * 8);
                buf[(bit / 8) as usize] ^= 1 << (bit % 8);
            }
            Some(Effect::FlipBit(_)) | None => {}
            Some(effect) => return Err(effect.error()),
        }
        Ok(count)
    }

    /// Checks that a range can be mapped.
    pub(super) fn map(
        &mut self,
        (ino, path): (Ino, &Path),
        offset: u64,
        len: usize,
    ) -> io::Result<()> {
        self.begin_plain(Operation::Map, path, false)?;
        let file_len = self.file(ino)?.content.len();
        if offset.checked_add(len as u64).is_none_or(|end| end > file_len) {
            let message = format!("the file has {file_len} bytes");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        Ok(())
    }

    /// Makes mapped pages resident; those of a writable mapping get blocks.
    pub(super) fn populate(
        &mut self,
        (ino, path): (Ino, &Path),
        offset: u64,
        len: u64,
        writable: bool,
    ) -> io::Result<()> {
        self.begin_plain(Operation::Populate, path, false)?;
        self.touch(ino, offset, len)?;
        if writable { self.take_space(ino, offset, len).map_err(sigbus) } else { Ok(()) }
    }

    /// Whether mapped memory can be accessed: it must still lie within the file.
    pub(super) fn touch(&mut self, ino: Ino, offset: u64, len: u64) -> io::Result<()> {
        let file_len = self.file(ino)?.content.len();
        match offset + len <= file_len {
            true => Ok(()),
            false => Err(sigbus(format!("the file now ends at {file_len}"))),
        }
    }

    /// Allocates the pages of the range that have no block.
    fn take_space(&mut self, ino: Ino, offset: u64, len: u64) -> io::Result<()> {
        if offset.checked_add(len).is_none_or(|end| end > FILE_BYTES_MAX) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let lacking = self.file(ino)?.content.pages_lacking(offset, len);
        if lacking > self.free_pages() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let content = &mut self.file(ino)?.content;
        content.allocate(offset, len);
        self.used_pages += lacking;
        Ok(())
    }

    /// Changes a file's content, or makes it durable.
    pub(super) fn change(
        &mut self,
        (ino, path): (Ino, &Path),
        change: Change<'_>,
    ) -> io::Result<()> {
        let effect = self.begin(change.operation(), path, true)?;
        if let Some(effect) = effect {
            self.fail_change(ino, &change, effect)?;
            return Err(effect.error());
        }
        match change {
            Change::Write { offset, bytes } => {
                self.take_space(ino, offset, bytes.len() as u64)?;
                self.file(ino)?.content.write(offset, bytes);
            }
            Change::MapWrite { offset, bytes } => {
                self.touch(ino, offset, bytes.len() as u64)?;
                self.take_space(ino, offset, bytes.len() as u64).map_err(sigbus)?;
                self.file(ino)?.content.write(offset, bytes);
            }
            Change::Allocate { offset, len } => {
                self.take_space(ino, offset, len)?;
                let content = &mut self.file(ino)?.content;
                content.set_len(content.len().max(offset + len));
            }
            Change::SetLen(len) => self.reshape(ino, len, |content| content.set_len(len))?,
            Change::PunchHole { offset, len } => {
                let end = offset.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?;
                self.reshape(ino, end, |content| content.punch_hole(offset, len))?;
            }
            Change::Sync(_) => self.file(ino)?.content.sync(),
            Change::SyncRange { .. } => {}
            Change::SyncWritten { offset, len } | Change::MapFlush { offset, len } => {
                self.file(ino)?.content.sync_pages(offset, len);
            }
        }
        Ok(())
    }

    /// Does something that can free blocks, and refers to bytes up to `end`.
    fn reshape(&mut self, ino: Ino, end: u64, shape: impl FnOnce(&mut Content)) -> io::Result<()> {
        if end > FILE_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let content = &mut self.file(ino)?.content;
        let before = content.allocated_pages();
        shape(content);
        let freed = before - content.allocated_pages();
        self.used_pages -= freed;
        Ok(())
    }

    /// The part of a change that is done before it fails.
    fn fail_change(&mut self, ino: Ino, change: &Change<'_>, effect: Effect) -> io::Result<()> {
        match (effect, change) {
            (Effect::ShortWrite { written, .. }, Change::Write { offset, bytes }) => {
                let part = &bytes[..written.min(bytes.len())];
                self.take_space(ino, *offset, part.len() as u64)?;
                self.file(ino)?.content.write(*offset, part);
            }
            (Effect::FailSync, Change::Sync(_)) => {
                self.file(ino)?.content.fail_sync(0, FILE_BYTES_MAX);
            }
            (
                Effect::FailSync,
                Change::SyncWritten { offset, len }
                | Change::SyncRange { offset, len }
                | Change::MapFlush { offset, len },
            ) => self.file(ino)?.content.fail_sync(*offset, *len),
            _ => {}
        }
        Ok(())
    }
}

/// What would have killed the process on a real file system.
fn sigbus(cause: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("a SIGBUS outside the simulation: {cause}"))
}
