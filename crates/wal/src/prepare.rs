//! Making a segment's file ready for use: allocated, filled, with a durable header under a durable name.
//!
//! Order, and why. Space first, so that a full disk is found here and never when a record is written. Then every byte of
//! a new file is written once, in pieces of 16 KiB: a sync of a record then changes no metadata, and the system keeps
//! the file in small pages, of which it writes only those that changed. Then the header, then a sync of the file, then
//! one of the directory. Only after that may the segment be used; so records in it prove that its header was durable.
//!
//! A retired segment's file is used again: renamed to its new number, then given its new header, then synced as above.
//! Its old records are salted with its old number and are nobody's under the new one. A crash in between leaves the file
//! under the old name, which is below what recovery begins at, or under the new one with an old, torn or new header and
//! without a link: a segment that was never used.

use std::path::Path;
use std::sync::Arc;

use base::SegmentNumber;
use vfs::{Access, ErrorKind, File, Fs, MapSupport};

use crate::error::Error;
use crate::format::{SegmentHeader, segment_file_name};
use crate::segments::Segment;

/// How much of a new file is written at a time.
const PIECE_BYTES: usize = 16 << 10;

/// The file of a retired segment, kept for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spare {
    /// The number in its name.
    pub number: SegmentNumber,
    pub file_bytes: u64,
}

/// What a segment is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source {
    New { file_bytes: u64 },
    Spare(Spare),
}

/// A segment that could not be made.
#[derive(Debug)]
pub(crate) struct PrepareFailed {
    pub error: Error,
    /// Its file is there and could not be removed.
    pub left_behind: bool,
}

/// Makes the file of segment `number` ready. A file of that name that exists is left alone; one that could not be
/// completed is removed again, to give its space back.
pub(crate) fn prepare(
    fs: &dyn Fs,
    dir: &Path,
    number: SegmentNumber,
    source: Source,
    more: impl FnOnce(&dyn File) -> vfs::Result<()>,
) -> Result<Segment, PrepareFailed> {
    let path = dir.join(segment_file_name(number));
    let (file, file_bytes, recycled_from) = begin(fs, dir, &path, source)?;
    let complete = || {
        if recycled_from.is_none() {
            file.allocate(0, file_bytes)?;
            // Where blocks may move when they are written, writing them ahead gains nothing.
            if fs.map_support(dir)? == MapSupport::Known {
                fill(&*file, file_bytes)?;
            }
        }
        file.write_all_at(&SegmentHeader { number, recycled_from }.encode(), 0)?;
        more(&*file)?;
        file.sync_all()?;
        fs.sync_dir(dir)
    };
    match complete() {
        Ok(()) => Ok(Segment::new(number, file_bytes, file)),
        Err(error) => {
            drop(file);
            Err(given_up(fs, &path, error))
        }
    }
}

/// Removes the file of a segment that cannot be made.
fn given_up(fs: &dyn Fs, path: &Path, error: vfs::Error) -> PrepareFailed {
    let left_behind = fs.remove(path).is_err_and(|error| error.kind() != ErrorKind::NotFound);
    PrepareFailed { error: error.into(), left_behind }
}

type Begun = (Arc<dyn File>, u64, Option<SegmentNumber>);

/// The file under its new name, its size, and which segment it was before.
fn begin(fs: &dyn Fs, dir: &Path, path: &Path, source: Source) -> Result<Begun, PrepareFailed> {
    let not_begun = |error: vfs::Error| PrepareFailed { error: error.into(), left_behind: false };
    let spare = match source {
        Source::New { file_bytes } => {
            return Ok((fs.create(path).map_err(not_begun)?, file_bytes, None));
        }
        Source::Spare(spare) => spare,
    };
    match fs.rename(&dir.join(segment_file_name(spare.number)), path) {
        Ok(()) => {}
        // Somebody has removed it.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok((fs.create(path).map_err(not_begun)?, spare.file_bytes, None));
        }
        // The number is nobody else's: whatever has its name now was the spare.
        Err(error) => return Err(given_up(fs, path, error)),
    }
    let file = fs.open(path, Access::ReadWrite).map_err(|error| given_up(fs, path, error))?;
    Ok((file, spare.file_bytes, Some(spare.number)))
}

/// Writes zeros over all of a new file.
fn fill(file: &dyn File, file_bytes: u64) -> vfs::Result<()> {
    static ZEROS: [u8; PIECE_BYTES] = [0; PIECE_BYTES];
    let mut at = 0;
    while at < file_bytes {
        let len = (file_bytes - at).min(PIECE_BYTES as u64);
        file.write_all_at(&ZEROS[..len as usize], at)?;
        at += len;
    }
    Ok(())
}
