//! Making a segment's file ready for use: allocated, filled, with a durable header under a durable name.
//!
//! Order, and why. Space first, so that a full disk is found here and never when a record is written. Then, if records
//! are going to be synced, every byte of the file is written once, in pieces of 16 KiB: a sync of a record then changes
//! no metadata, and the system keeps the file in small pages, of which it writes only those that changed. Then the
//! header, then a sync of the file, then one of the directory. Only after that may the segment be used; so records in it
//! prove that its header was durable.
//!
//! A retired segment's file is used again: renamed to its new number, then given its new header, which alone is made
//! durable: what else of the file is in the system's memory only is nobody's, and what is written over it before it gets
//! to the disk costs the disk nothing. Then the directory is synced as above. Its old records are salted with its old number and are nobody's under the new one. A crash in between leaves the file
//! under the old name, which is below what recovery begins at, or under the new one with an old, torn or new header and
//! without a link: a segment that was never used.

use std::path::Path;
use std::sync::Arc;

use base::SegmentNumber;
use vfs::{Access, ErrorKind, File, Fs, MapSupport};

use crate::error::Error;
use crate::format::{SegmentHeader, SegmentLink, segment_file_name};
use crate::segments::Segment;

/// How much of a new file is written at a time.
const PIECE_BYTES: usize = 16 << 10;

/// The file of a retired segment, kept for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spare {
    /// The number in its name.
    pub number: SegmentNumber,
    pub file_bytes: u64,
    /// As [`Segment::is_filled`].
    pub is_filled: bool,
}

impl Spare {
    /// The file of `segment`, which is not used any more.
    pub fn of(segment: &Segment) -> Self {
        let Segment { number, capacity, is_filled, .. } = *segment;
        Self { number, file_bytes: capacity, is_filled }
    }
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

/// Makes the file of segment `number` ready, and takes it into use if its `link` is given; its records are going to be
/// synced if `for_syncs`. A file of that name that
/// exists is left alone; one that could not be completed is removed again, to give its space back.
pub(crate) fn prepare(
    fs: &dyn Fs,
    dir: &Path,
    number: SegmentNumber,
    source: Source,
    link: Option<SegmentLink>,
    for_syncs: bool,
) -> Result<Segment, PrepareFailed> {
    let path = dir.join(segment_file_name(number));
    let Begun { file, file_bytes, recycled_from, was_filled } = begin(fs, dir, &path, source)?;
    let complete = || {
        if recycled_from.is_none() {
            file.allocate(0, file_bytes)?;
        }
        // Where blocks may move when they are written, writing them ahead gains nothing.
        let fills = for_syncs && !was_filled && fs.map_support(dir)? == MapSupport::Known;
        if fills {
            fill(&*file, file_bytes)?;
        }
        let mut head = SegmentHeader { number, recycled_from }.encode().to_vec();
        head.extend(link.iter().flat_map(|link| link.encode(number)));
        if recycled_from.is_some() && !fills {
            file.write_durable_at(&head, 0)?;
        } else {
            file.write_all_at(&head, 0)?;
            file.sync_all()?;
        }
        fs.sync_dir(dir)?;
        Ok(was_filled || fills)
    };
    match complete() {
        Ok(is_filled) => Ok(Segment::new(number, file_bytes, is_filled, file)),
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

/// A file under its new name.
struct Begun {
    file: Arc<dyn File>,
    file_bytes: u64,
    /// Which segment it was before.
    recycled_from: Option<SegmentNumber>,
    was_filled: bool,
}

impl Begun {
    fn new(fs: &dyn Fs, path: &Path, file_bytes: u64) -> Result<Self, PrepareFailed> {
        match fs.create(path) {
            Ok(file) => Ok(Self { file, file_bytes, recycled_from: None, was_filled: false }),
            Err(error) => Err(PrepareFailed { error: error.into(), left_behind: false }),
        }
    }
}

/// Creates the file, or takes the spare one.
fn begin(fs: &dyn Fs, dir: &Path, path: &Path, source: Source) -> Result<Begun, PrepareFailed> {
    let Spare { number, file_bytes, is_filled } = match source {
        Source::New { file_bytes } => return Begun::new(fs, path, file_bytes),
        Source::Spare(spare) => spare,
    };
    match fs.rename(&dir.join(segment_file_name(number)), path) {
        Ok(()) => {}
        // Somebody has removed it.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Begun::new(fs, path, file_bytes);
        }
        // The number is nobody else's: whatever has its name now was the spare.
        Err(error) => return Err(given_up(fs, path, error)),
    }
    let file = fs.open(path, Access::ReadWrite).map_err(|error| given_up(fs, path, error))?;
    Ok(Begun { file, file_bytes, recycled_from: Some(number), was_filled: is_filled })
}

/// Writes zeros over all of a file.
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
