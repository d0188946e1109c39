//! What systems other than Linux have instead: nothing is assumed beyond the standard library and
//! a call for the free space.

use std::fs::File;
use std::io::{self, IoSlice};
use std::path::Path;

use super::fill::fill_with_zeros;
use crate::fs::MapSupport;

#[cfg(unix)]
pub(super) fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buf, offset)
}

#[cfg(unix)]
pub(super) fn write_at(file: &File, buf: &[u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, buf, offset)
}

#[cfg(windows)]
pub(super) fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buf, offset)
}

#[cfg(windows)]
pub(super) fn write_at(file: &File, buf: &[u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, buf, offset)
}

/// Appends up to `len` bytes to `buf`.
pub(super) fn read_onto(
    file: &File,
    buf: &mut Vec<u8>,
    len: usize,
    offset: u64,
) -> io::Result<usize> {
    let before = buf.len();
    buf.resize(before + len, 0);
    let read = read_at(file, &mut buf[before..], offset);
    buf.truncate(before + read.as_ref().copied().unwrap_or(0));
    read
}

pub(super) fn write_parts_at(file: &File, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
    let first = parts.iter().find(|part| !part.is_empty());
    first.map_or(Ok(0), |part| write_at(file, part, offset))
}

pub(super) fn write_durable_at(file: &File, buf: &[u8], offset: u64) -> io::Result<usize> {
    let written = write_at(file, buf, offset)?;
    file.sync_data()?;
    Ok(written)
}

pub(super) fn will_read(_: &File, _: u64, _: u64) {}

pub(super) fn allocate(file: &File, offset: u64, len: u64) -> io::Result<()> {
    fill_with_zeros(file, offset, len)
}

pub(super) fn punch_hole(_: &File, _: u64, _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) fn sync_range(file: &File, _: u64, _: u64, wait: bool) -> io::Result<()> {
    if wait { file.sync_data() } else { Ok(()) }
}

#[cfg(unix)]
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    let handle = File::open(dir)?;
    if !handle.metadata()?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    handle.sync_all()
}

#[cfg(windows)]
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    match std::fs::metadata(dir)?.is_dir() {
        true => Ok(()),
        false => Err(io::ErrorKind::NotADirectory.into()),
    }
}

#[cfg(unix)]
pub(super) fn free_space(path: &Path) -> io::Result<u64> {
    let stat = rustix::io::retry_on_intr(|| rustix::fs::statvfs(path))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(windows)]
pub(super) fn free_space(path: &Path) -> io::Result<u64> {
    use std::os::windows::ffi::OsStrExt;

    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn GetDiskFreeSpaceExW(
            directory: *const u16,
            free_to_caller: *mut u64,
            total: *mut u64,
            free: *mut u64,
        ) -> i32;
    }

    // The call wants a directory.
    let dir = if std::fs::metadata(path)?.is_dir() { path } else { super::parent(path) };
    let wide: Vec<u16> = dir.as_os_str().encode_wide().chain([0]).collect();
    let mut free = 0;
    let null = std::ptr::null_mut;
    // SAFETY: `wide` ends in a zero and outlives the call, `free` is a valid place for its result,
    // and the other two results may be null.
    match unsafe { GetDiskFreeSpaceExW(wide.as_ptr(), &raw mut free, null(), null()) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(free),
    }
}

pub(super) fn map_support(path: &Path) -> io::Result<MapSupport> {
    std::fs::metadata(path)?;
    Ok(MapSupport::Unknown)
}
