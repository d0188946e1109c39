//! A range of a file mapped into memory, shared with every other way of reading and writing it.
//!
//! Invariants: every access is checked against the length of the region. Mapped memory is touched
//! through raw pointers only; no reference into it exists, since another process may change it, but
//! for those that [`MappedRegion::as_slice`] gives to who vouches that none does.
//!
//! Concurrency: accesses to disjoint ranges may run at the same time in any number of threads;
//! keeping them disjoint is the caller's part, which is why [`MappedRegion::write`] is `unsafe`.

use std::io;
use std::path::Path;

use crate::error::{Error, Operation, Result};
use crate::fs::Access;

/// A mapped range of a file, unmapped when dropped.
///
/// Unmapping writes nothing: what was stored stays in the system's page cache, where it survives
/// the process but not a power cut, until [`File::sync_data`](crate::File::sync_data).
#[derive(Debug)]
pub struct MappedRegion {
    memory: Memory,
    path: Box<Path>,
    /// Where the region begins in the file.
    file_offset: u64,
    access: Access,
}

#[derive(Debug)]
enum Memory {
    Real(memmap2::MmapRaw),
    #[cfg(feature = "sim")]
    Simulated(crate::sim::SimMap),
}

impl MappedRegion {
    /// Maps a real file; `offset + len` must lie within it.
    pub(crate) fn real(
        file: &std::fs::File,
        path: &Path,
        offset: u64,
        len: usize,
        access: Access,
    ) -> io::Result<Self> {
        let mut options = memmap2::MmapOptions::new();
        options.offset(offset).len(len);
        let memory = match access {
            Access::Read => options.map_raw_read_only(file)?,
            Access::ReadWrite => options.map_raw(file)?,
        };
        Ok(MappedRegion {
            memory: Memory::Real(memory),
            path: path.into(),
            file_offset: offset,
            access,
        })
    }

    /// Wraps simulated memory.
    #[cfg(feature = "sim")]
    pub(crate) fn simulated(
        memory: crate::sim::SimMap,
        path: &Path,
        file_offset: u64,
        access: Access,
    ) -> Self {
        MappedRegion { memory: Memory::Simulated(memory), path: path.into(), file_offset, access }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        match &self.memory {
            Memory::Real(memory) => memory.len(),
            #[cfg(feature = "sim")]
            Memory::Simulated(memory) => memory.len(),
        }
    }

    /// Whether the region has no bytes, which never happens: mapping nothing is refused.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the region begins in the file, in bytes.
    pub fn file_offset(&self) -> u64 {
        self.file_offset
    }

    /// Copies `bytes` to `offset` (within the region). Makes no system call, but may have to fault
    /// the page in; if its blocks were not allocated, or the file was cut meanwhile, that can kill
    /// the process (SIGBUS): [`allocate`](crate::File::allocate), then
    /// [`populate`](MappedRegion::populate), first.
    ///
    /// # Safety
    /// While this runs nothing else in the process may read or write the bytes
    /// `[offset, offset + bytes.len())` through this region, or through another mapping of the
    /// same file. Other bytes may be accessed freely.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the range is not within the region, and
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied) if the region was mapped for
    /// reading; nothing is written then.
    #[inline]
    pub unsafe fn write(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        if self.access != Access::ReadWrite || !self.holds(offset, bytes.len()) {
            return Err(self.refused(Operation::MapWrite, offset, bytes.len()));
        }
        match &self.memory {
            Memory::Real(memory) => {
                // SAFETY: `holds` has checked that `offset + bytes.len()` is within the mapping,
                // which is writable; `bytes` is a reference and so cannot overlap with it; the
                // caller vouches that nothing else accesses the range now.
                unsafe {
                    let to = memory.as_mut_ptr().add(offset);
                    std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
                }
                Ok(())
            }
            #[cfg(feature = "sim")]
            Memory::Simulated(memory) => memory
                .write(self.file_offset + offset as u64, bytes)
                .map_err(|source| self.error(Operation::MapWrite, offset, bytes.len(), source)),
        }
    }

    /// Copies the bytes at `offset` (within the region) into `buf`. May kill the process like
    /// [`write`](MappedRegion::write).
    ///
    /// # Safety
    /// While this runs nothing else in the process may write the bytes
    /// `[offset, offset + buf.len())` through this region, or through another mapping of the same
    /// file.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the range is not within the region.
    #[inline]
    pub unsafe fn read(&self, offset: usize, buf: &mut [u8]) -> Result<()> {
        if !self.holds(offset, buf.len()) {
            return Err(self.refused(Operation::MapRead, offset, buf.len()));
        }
        match &self.memory {
            Memory::Real(memory) => {
                // SAFETY: `holds` has checked that `offset + buf.len()` is within the mapping;
                // `buf` is a unique reference and so cannot overlap with it; the caller vouches
                // that nothing writes the range now.
                unsafe {
                    let from = memory.as_ptr().add(offset);
                    std::ptr::copy_nonoverlapping(from, buf.as_mut_ptr(), buf.len());
                }
                Ok(())
            }
            #[cfg(feature = "sim")]
            Memory::Simulated(memory) => {
                let (at, len) = (self.file_offset + offset as u64, buf.len());
                memory
                    .read(at, buf)
                    .map_err(|source| self.error(Operation::MapRead, offset, len, source))
            }
        }
    }

    /// All bytes of the region, where they are in memory. `None` for a simulated file, whose bytes are elsewhere.
    /// Reading them may kill the process like [`write`](MappedRegion::write): also when the disk cannot
    /// deliver a page.
    ///
    /// # Safety
    /// As long as the slice lives nobody may write or cut this part of the file, in this process or in any other, by
    /// any way.
    pub unsafe fn as_slice(&self) -> Option<&[u8]> {
        match &self.memory {
            // SAFETY: the mapping is `len` bytes long and lives as long as `self`, which the slice borrows; that nobody
            // changes what it shows is the caller's promise.
            Memory::Real(memory) => unsafe {
                Some(std::slice::from_raw_parts(memory.as_ptr(), memory.len()))
            },
            #[cfg(feature = "sim")]
            Memory::Simulated(_) => None,
        }
    }

    /// Makes the pages of `[offset, offset + len)` (within the region) resident, for writing if the
    /// region is writable, so that accesses to them do not fault, as long as memory is not short
    /// and nothing writes the pages back (a page that was written back faults again on the next
    /// store).
    ///
    /// # Errors
    /// An error here is what would have been a SIGBUS at the access: do not use the range.
    /// [`Unsupported`](crate::ErrorKind::Unsupported) before Linux 5.14 and on other systems:
    /// accesses work, but fault and are not checked.
    pub fn populate(&self, offset: usize, len: usize) -> Result<()> {
        if !self.holds(offset, len) {
            return Err(self.refused(Operation::Populate, offset, len));
        }
        match &self.memory {
            Memory::Real(memory) => populate_real(memory, self.access, offset, len),
            #[cfg(feature = "sim")]
            Memory::Simulated(memory) => memory.populate(self.file_offset + offset as u64, len),
        }
        .map_err(|source| self.error(Operation::Populate, offset, len, source))
    }

    /// Makes what was stored in `[offset, offset + len)` (within the region) durable, waiting for
    /// it. A sync of the file does the same for all of it.
    ///
    /// # Errors
    /// As [`File::sync_data`](crate::File::sync_data): after any of them what is on disk is
    /// unknown.
    pub fn flush_range(&self, offset: usize, len: usize) -> Result<()> {
        if !self.holds(offset, len) {
            return Err(self.refused(Operation::MapFlush, offset, len));
        }
        match &self.memory {
            Memory::Real(memory) => memory.flush_range(offset, len),
            #[cfg(feature = "sim")]
            Memory::Simulated(memory) => memory.flush(self.file_offset + offset as u64, len),
        }
        .map_err(|source| self.error(Operation::MapFlush, offset, len, source))
    }

    #[inline]
    fn holds(&self, offset: usize, len: usize) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.len())
    }

    #[cold]
    fn refused(&self, operation: Operation, offset: usize, len: usize) -> Error {
        let source = if self.holds(offset, len) {
            io::Error::new(io::ErrorKind::PermissionDenied, "the region is mapped for reading")
        } else {
            let held = self.len();
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("offset {offset} + {len} bytes is outside the mapped {held}"),
            )
        };
        self.error(operation, offset, len, source)
    }

    #[cold]
    fn error(&self, operation: Operation, offset: usize, len: usize, source: io::Error) -> Error {
        Error::new(operation, &*self.path, source)
            .with_range(self.file_offset.saturating_add(offset as u64), len as u64)
    }
}

#[cfg(target_os = "linux")]
fn populate_real(
    memory: &memmap2::MmapRaw,
    access: Access,
    offset: usize,
    len: usize,
) -> io::Result<()> {
    use memmap2::Advice;

    let advice = match access {
        Access::Read => Advice::PopulateRead,
        Access::ReadWrite => Advice::PopulateWrite,
    };
    loop {
        match memory.advise_range(advice, offset, len) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The range has been checked: an invalid argument means that the kernel does not
            // know the advice.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, error));
            }
            result => return result,
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn populate_real(_: &memmap2::MmapRaw, _: Access, _: usize, _: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
