//! What Linux has calls for: reserved blocks, write-back of a range, holes, file system types.

use std::fs::File;
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Advice, FallocateFlags};
use rustix::io::{Errno, ReadWriteFlags, retry_on_intr};

use super::fill::fill_with_zeros;
use crate::fs::MapSupport;

pub(super) fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    file.read_at(buf, offset)
}

/// Appends up to `len` bytes, for which `buf` has room, without clearing that room first.
pub(super) fn read_onto(
    file: &File,
    buf: &mut Vec<u8>,
    len: usize,
    offset: u64,
) -> io::Result<usize> {
    let before = buf.len();
    let room = &mut buf.spare_capacity_mut()[..len];
    let read = rustix::io::pread(file, room, offset)?.0.len();
    // SAFETY: `pread` returns the part of `room` that it initialised, which begins where `buf` ends.
    unsafe { buf.set_len(before + read) };
    Ok(read)
}

pub(super) fn will_read(file: &File, offset: u64, len: u64) {
    let Some(len) = NonZeroU64::new(len) else { return };
    // A hint that fails changes nothing: the read that follows will say what is wrong.
    rustix::fs::fadvise(file, offset, Some(len), Advice::WillNeed).unwrap_or_default();
}

pub(super) fn write_at(file: &File, buf: &[u8], offset: u64) -> io::Result<usize> {
    file.write_at(buf, offset)
}

/// The most parts that the system takes in one call.
const PARTS_MAX: usize = 1024;

pub(super) fn write_parts_at(file: &File, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
    Ok(rustix::io::pwritev(file, &parts[..parts.len().min(PARTS_MAX)], offset)?)
}

pub(super) fn write_durable_at(file: &File, buf: &[u8], offset: u64) -> io::Result<usize> {
    match rustix::io::pwritev2(file, &[IoSlice::new(buf)], offset, ReadWriteFlags::DSYNC) {
        // Not on this file system or kernel.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let written = file.write_at(buf, offset)?;
            file.sync_data()?;
            Ok(written)
        }
        result => Ok(result?),
    }
}

pub(super) fn allocate(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let flags = FallocateFlags::empty();
    match retry_on_intr(|| rustix::fs::fallocate(file, flags, offset, len)) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => fill_with_zeros(file, offset, len),
        result => Ok(result?),
    }
}

pub(super) fn punch_hole(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(retry_on_intr(|| rustix::fs::fallocate(file, flags, offset, len))?)
}

pub(super) fn sync_range(file: &File, offset: u64, len: u64, wait: bool) -> io::Result<()> {
    const WAIT_BEFORE: u32 = 1;
    const WRITE: u32 = 2;
    const WAIT_AFTER: u32 = 4;
    // rustix has no wrapper for this call.
    unsafe extern "C" {
        fn sync_file_range(fd: i32, offset: i64, len: i64, flags: u32) -> i32;
    }

    let flags = if wait { WAIT_BEFORE | WRITE | WAIT_AFTER } else { WRITE };
    let too_far = || io::Error::from(io::ErrorKind::InvalidInput);
    let offset = i64::try_from(offset).map_err(|_| too_far())?;
    let len = i64::try_from(len).map_err(|_| too_far())?;
    loop {
        // SAFETY: the call touches no memory of ours, and `file` keeps its descriptor open.
        if unsafe { sync_file_range(file.as_raw_fd(), offset, len, flags) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match Errno::from_io_error(&error) {
            Some(Errno::INTR) => {}
            // Not on this file system or kernel: a hint may be dropped, a wait may not.
            Some(Errno::NOSYS | Errno::OPNOTSUPP | Errno::SPIPE) if wait => {
                return file.sync_data();
            }
            Some(Errno::NOSYS | Errno::OPNOTSUPP | Errno::SPIPE) => return Ok(()),
            _ => return Err(error),
        }
    }
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    let handle = File::open(dir)?;
    if !handle.metadata()?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    handle.sync_all()
}

pub(super) fn free_space(path: &Path) -> io::Result<u64> {
    let stat = retry_on_intr(|| rustix::fs::statvfs(path))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

pub(super) fn map_support(path: &Path) -> io::Result<MapSupport> {
    // From linux/magic.h. ext2 and ext3 share ext4's number, and its driver.
    const EXT4: u64 = 0xEF53;
    const XFS: u64 = 0x5846_5342;
    const TMPFS: u64 = 0x0102_1994;

    let stat = retry_on_intr(|| rustix::fs::statfs(path))?;
    // The field's type differs between architectures; the numbers have 32 bits everywhere.
    Ok(match stat.f_type as u64 & 0xFFFF_FFFF {
        EXT4 | XFS | TMPFS => MapSupport::Known,
        _ => MapSupport::Unknown,
    })
}
