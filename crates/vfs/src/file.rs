//! An open file: positioned reads and writes, allocation, syncing, mapping.
//!
//! Concurrency: every method may be called from any thread at any time; there is no cursor. Reads
//! and writes of overlapping ranges at the same time may see any mix of both.

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::path::Path;

use crate::error::{Error, Operation, Result};
use crate::fs::Access;
use crate::map::MappedRegion;

/// An open file, closed when the last handle is dropped.
pub trait File: Send + Sync + Debug {
    /// The path that it was created or opened by (a later rename does not change this).
    fn path(&self) -> &Path;

    /// Length in bytes.
    ///
    /// # Errors
    /// As the system reports.
    fn len(&self) -> Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// As [`len`](File::len).
    fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads from `offset` until `buf` is full or the file ends; returns the bytes read. Less than
    /// `buf.len()` means that the file ends there. Holes read as zeros.
    ///
    /// # Errors
    /// When the device cannot deliver the bytes; `buf` is then unspecified.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize>;

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// [`UnexpectedEof`](crate::ErrorKind::UnexpectedEof), saying how many bytes were found, if
    /// the file ends before `offset + buf.len()`; otherwise as [`read_at`](File::read_at).
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let found = self.read_at(buf, offset)?;
        if found == buf.len() {
            return Ok(());
        }
        let expected = buf.len();
        let source = io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("expected {expected} bytes, found {found} before the end of the file"),
        );
        Err(Error::new(Operation::Read, self.path(), source).with_range(offset, expected as u64))
    }

    /// Appends the `len` bytes from `offset` to `buf`, which spares clearing memory that is about to be
    /// read into.
    ///
    /// # Errors
    /// As [`read_exact_at`](File::read_exact_at); `buf` is then as it was.
    fn read_exact_onto(&self, buf: &mut Vec<u8>, len: usize, offset: u64) -> Result<()> {
        let before = buf.len();
        buf.resize(before + len, 0);
        let read = self.read_exact_at(&mut buf[before..], offset);
        if read.is_err() {
            buf.truncate(before);
        }
        read
    }

    /// Says that `[offset, offset + len)` will be read soon, so that the system can begin to read it from the
    /// disk meanwhile. Only a hint: where there is no such call, or it fails, nothing happens.
    fn will_read(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }

    /// Writes all of `buf` at `offset`, extending the file where needed. Writing beyond the end
    /// leaves a hole; writing nothing does nothing.
    ///
    /// # Errors
    /// [`NoSpace`](crate::ErrorKind::NoSpace) when the file system is full,
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied) on a handle opened with
    /// [`Access::Read`]. Any part of `buf` may have been written.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> Result<()>;

    /// Writes all of `parts`, one behind the other, at `offset`: as [`write_all_at`](File::write_all_at) of what they add
    /// up to, without gathering it where the system can do that. The slices are used up.
    ///
    /// # Errors
    /// As [`write_all_at`](File::write_all_at).
    fn write_parts_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> Result<()> {
        let whole: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        self.write_all_at(&whole, offset)
    }

    /// Writes all of `buf` at `offset` and makes it durable, with the length and allocation that it needs; other bytes of
    /// the file that are not durable may stay so. Writing nothing does nothing.
    ///
    /// # Errors
    /// As [`write_all_at`](File::write_all_at) and [`sync_data`](File::sync_data): what is on disk of the file is unknown.
    fn write_durable_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.write_all_at(buf, offset)?;
        if buf.is_empty() { Ok(()) } else { self.sync_data() }
    }

    /// Reserves blocks for `[offset, offset + len)`, so that later writes there do not run out of
    /// space, and extends the file to `offset + len` if it is shorter. Bytes that the file had stay;
    /// new ones are zeros. `len` 0 does nothing.
    ///
    /// Where the system or file system cannot reserve, the part beyond the end of the file is
    /// filled with zeros, and holes before it are left: do not count on those.
    ///
    /// # Errors
    /// [`NoSpace`](crate::ErrorKind::NoSpace): the file may have been extended in part; remove it or
    /// [`set_len`](File::set_len) it back.
    fn allocate(&self, offset: u64, len: u64) -> Result<()>;

    /// Cuts the file to `len`, or extends it by a hole.
    ///
    /// # Errors
    /// As the system reports.
    fn set_len(&self, len: u64) -> Result<()>;

    /// Makes the content and the length durable, whichever handle or mapping wrote them, but not
    /// the file's directory entry ([`Fs::sync_dir`](crate::Fs::sync_dir)).
    ///
    /// # Errors
    /// After *any* error what is on disk is unknown, and a second sync would succeed without having
    /// written what the first one could not: the system marks such pages clean. Never call it again
    /// to try once more; write the data into a new file, or stop.
    fn sync_data(&self) -> Result<()>;

    /// As [`sync_data`](File::sync_data), and the rest of the metadata (times) too.
    ///
    /// # Errors
    /// As [`sync_data`](File::sync_data).
    fn sync_all(&self) -> Result<()>;

    /// Starts write-back of `[offset, offset + len)`, and waits for its end if `wait`; so that a
    /// later sync finds little to do. Makes nothing durable by itself: the device may hold it in a
    /// cache, and metadata is not written. Where there is no such call, `wait` syncs the file's
    /// data, and without `wait` nothing happens.
    ///
    /// # Errors
    /// With `wait`, as [`sync_data`](File::sync_data), the error being then reported here and *not*
    /// again by the sync that follows: treat it as a failed sync.
    fn sync_range(&self, offset: u64, len: u64, wait: bool) -> Result<()>;

    /// Gives back the blocks of `[offset, offset + len)`, which then reads as zeros; the length
    /// stays. `len` 0 does nothing.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where that cannot be done: keep the blocks.
    fn punch_hole(&self, offset: u64, len: u64) -> Result<()>;

    /// Maps `[offset, offset + len)`, which must lie within the file, shared with every other
    /// handle; `offset` need not be aligned. The mapping outlives this handle.
    ///
    /// A file must not be truncated while it is mapped: touching what is cut off kills the process
    /// (SIGBUS).
    ///
    /// # Errors
    /// [`UnexpectedEof`](crate::ErrorKind::UnexpectedEof) if the range is not within the file,
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if `len` is 0,
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied) for [`Access::ReadWrite`] of a
    /// handle opened with [`Access::Read`].
    fn map(&self, offset: u64, len: usize, access: Access) -> Result<MappedRegion>;
}
