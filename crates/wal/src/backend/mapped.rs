//! Stores into a mapped window of the file: no system call, no buffer in between.
//!
//! What this needs of the system: one page cache for mapped and written bytes of a file, so that a store, a positional
//! write and a sync see one another. Linux has that on the file systems for which [`vfs::MapSupport`] is known.

#![expect(unsafe_code, reason = "mapped memory is written through raw pointers")]

use std::ops::Range;

use base::record::{self, BLOCK_BYTES, HEADER_BYTES};
use vfs::MappedRegion;

use super::{Backend, Content, Positional};
use crate::tail::Place;

/// A mapped window of a segment's file.
#[derive(Debug)]
pub(crate) struct Mapped {
    region: MappedRegion,
    file: Positional,
}

impl Mapped {
    /// Stores through `region`, which is mapped for writing from `file`; what does not suit it is written to the file.
    pub fn new(region: MappedRegion, file: Positional) -> Self {
        Self { region, file }
    }

    fn range(&self) -> Range<u64> {
        self.region.file_offset()..self.region.file_offset() + self.region.len() as u64
    }

    /// Stores `bytes` at a file offset.
    ///
    /// # Safety
    /// As [`MappedRegion::write`] for those bytes.
    unsafe fn store(&self, offset: u64, bytes: &[u8]) -> vfs::Result<()> {
        let within = (offset - self.region.file_offset()) as usize;
        // SAFETY: the caller keeps the contract of `MappedRegion::write`, which checks the range itself.
        unsafe { self.region.write(within, bytes) }
    }
}

impl Backend for Mapped {
    fn put(&self, place: &mut Place, content: &Content<'_>) -> vfs::Result<()> {
        let (range, window) = (place.range(), self.range());
        let is_inside = window.start <= range.start && range.end <= window.end;
        if !is_inside || content.is_written(range.end - range.start) {
            return self.file.put(place, content);
        }
        // The header of the first chunk goes last, so that a reader of half a record finds none at all.
        let left = BLOCK_BYTES as u64 - range.start % BLOCK_BYTES as u64;
        let header_at = range.start + if left < HEADER_BYTES as u64 { left } else { 0 };
        let mut header: Option<[u8; HEADER_BYTES]> = None;
        let mut at = range.start;
        let Content { salt, vouched, parts, .. } = *content;
        record::encode_with(at, salt, vouched, parts, |slice| {
            let offset = at;
            at += slice.len() as u64;
            if offset == header_at
                && header.is_none()
                && let Ok(first) = slice.try_into()
            {
                header = Some(first);
                return Ok(());
            }
            if slice.is_empty() {
                return Ok(());
            }
            // SAFETY: the bytes lie in `place`, since the record has exactly its size. By the contract of `tail::Place` no
            // other place overlaps with it, and it is borrowed for this call alone; nothing but a place's owner touches
            // mapped bytes of a segment (readers use positional reads).
            unsafe { self.store(offset, slice) }
        })?;
        match header {
            // SAFETY: as above.
            Some(header) => unsafe { self.store(header_at, &header) },
            None => Ok(()),
        }
    }

    fn mapped_bytes(&self) -> u64 {
        self.region.len() as u64
    }
}
