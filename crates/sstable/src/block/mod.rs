//! A decoded block of sorted entries: its shape, and how one entry is taken apart.
//!
//! Format of the payload of data blocks, index partitions and the top index:
//!
//! ```text
//! entry*      shared (varint), unshared (varint), rest (varint),
//!             the user key's last `unshared` bytes, then `rest` bytes: trailer (varint of sequence << 8 | kind), value
//! prefixes    for each restart 8 bytes of its user key from byte `common_len` on, padded with zeros
//! offsets     for each restart the offset of its entry (4 bytes, little-endian), the first being 0
//! common      up to 255 bytes with which every user key of the block begins
//! common_len  1 byte: how many they are
//! restarts    4 bytes, little-endian: how many there are, at least 1
//! ```
//!
//! A restart's entry shares nothing with the one before it. The prefixes are what a search looks at: an array of
//! numbers, with the common bytes beside it, in place of keys scattered over the block. In an index every entry is a restart, so that it can be reached
//! by its number; its key is at or above every key below it and below every key of the next.
//!
//! Invariants: everything read from the payload is checked when it is used, for a checksum proves only that the bytes
//! are those that were written.

pub(crate) mod build;
mod check;
pub(crate) mod iter;
mod search;
#[cfg(test)]
mod tests;

use crate::error::Malformed;
use crate::filter;
use crate::format::BlockKind;
use base::{InternalKeyRef, varint};
use bytes::{Buf, Bytes};
use std::ops::Range;

const COMMON_LEN_BYTES: usize = 1;
const COUNT_BYTES: usize = 4;
const PREFIX_BYTES: usize = 8;
const OFFSET_BYTES: usize = 4;
/// Bytes that each restart takes beside its entry.
pub(crate) const RESTART_BYTES: usize = PREFIX_BYTES + OFFSET_BYTES;
/// Bytes of a payload beside entries and restarts.
pub(crate) const SHAPE_BYTES: usize = COMMON_LEN_BYTES + COUNT_BYTES;

/// A block that was read, checked and decompressed. Cloning it copies no contents.
#[derive(Clone, Debug)]
pub struct Block {
    data: Bytes,
    kind: BlockKind,
    /// Where the entries end and the prefixes begin.
    entries_end: u32,
    restarts: u32,
    common_len: u8,
}

/// One entry as it stands in its block.
#[derive(Clone, Debug)]
pub(crate) struct RawEntry {
    /// Bytes that its user key takes from the one before it.
    pub(crate) shared: usize,
    /// Where the rest of its user key stands.
    pub(crate) suffix: Range<usize>,
    /// Where the next entry begins.
    pub(crate) end: usize,
}

impl Block {
    /// Takes a decompressed payload.
    pub(crate) fn parse(kind: BlockKind, data: Bytes) -> Result<Self, Malformed> {
        let mut block = Self { data, kind, entries_end: 0, restarts: 0, common_len: 0 };
        match kind {
            BlockKind::Data | BlockKind::Index | BlockKind::TopIndex => block.find_shape()?,
            BlockKind::Filter => filter::check(&block.data)?,
            BlockKind::Properties => {}
        }
        Ok(block)
    }

    fn find_shape(&mut self) -> Result<(), Malformed> {
        let shape = || Malformed::new("entries and restarts that fill the block", "others");
        let (rest, count) = self.data.split_last_chunk::<COUNT_BYTES>().ok_or_else(shape)?;
        let (rest, &[common_len]) =
            rest.split_last_chunk::<COMMON_LEN_BYTES>().ok_or_else(shape)?;
        let restarts = u32::from_le_bytes(*count);
        let entries_end = (restarts as usize)
            .checked_mul(RESTART_BYTES)
            .and_then(|bytes| bytes.checked_add(usize::from(common_len)))
            .and_then(|bytes| rest.len().checked_sub(bytes))
            .ok_or_else(shape)?;
        if restarts == 0 || entries_end == 0 {
            return Err(shape());
        }
        self.restarts = restarts;
        self.common_len = common_len;
        self.entries_end = u32::try_from(entries_end).map_err(|_| shape())?;
        let first = self.entry_at(0)?;
        if self.restart_offset(0)? != 0 || first.shared != 0 {
            return Err(shape());
        }
        Ok(())
    }

    /// What it holds: index and filter partitions serve many more reads than data blocks, and a cache may want to
    /// hold on to them longer.
    #[must_use]
    pub fn kind(&self) -> BlockKind {
        self.kind
    }

    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.data.len() + size_of::<Self>()
    }

    pub(crate) fn data(&self) -> &[u8] {
        &self.data
    }

    /// A part of the block that keeps the whole block in memory.
    pub(crate) fn slice(&self, range: Range<usize>) -> Bytes {
        if range.is_empty() { Bytes::new() } else { self.data.slice(range) }
    }

    /// As [`Block::slice`] of a block that is not needed any more: nothing is counted up and down again.
    pub(crate) fn into_slice(self, range: Range<usize>) -> Bytes {
        if range.is_empty() {
            return Bytes::new();
        }
        let mut data = self.data;
        data.truncate(range.end);
        data.advance(range.start);
        data
    }

    pub(crate) fn entries_end(&self) -> usize {
        self.entries_end as usize
    }

    pub(crate) fn restarts(&self) -> usize {
        self.restarts as usize
    }

    /// The bytes with which every user key of the block begins.
    #[inline]
    fn common(&self) -> &[u8] {
        let start = self.entries_end() + self.restarts() * RESTART_BYTES;
        self.data.get(start..start + usize::from(self.common_len)).unwrap_or_default()
    }

    /// Where the entry of restart `number` begins.
    #[inline]
    pub(crate) fn restart_offset(&self, number: usize) -> Result<usize, Malformed> {
        let start = self.entries_end() + self.restarts() * PREFIX_BYTES + number * OFFSET_BYTES;
        match self.data.get(start..).and_then(|rest| rest.first_chunk::<OFFSET_BYTES>()) {
            Some(offset) if number < self.restarts() => Ok(u32::from_le_bytes(*offset) as usize),
            _ => Err(Malformed::new("a restart", format_args!("number {number}"))),
        }
    }

    /// The prefixes of all restarts.
    #[inline]
    fn prefixes(&self) -> &[[u8; PREFIX_BYTES]] {
        let start = self.entries_end();
        let end = start + self.restarts() * PREFIX_BYTES;
        self.data.get(start..end).map_or(&[], |bytes| bytes.as_chunks().0)
    }

    /// The entry that begins at `at`.
    #[inline]
    pub(crate) fn entry_at(&self, at: usize) -> Result<RawEntry, Malformed> {
        let entries = &self.data[..self.entries_end()];
        let (shared, unshared, rest, body) = match entries.get(at..).and_then(<[u8]>::first_chunk) {
            Some(&[shared, unshared, rest]) if (shared | unshared | rest) < 0x80 => {
                (usize::from(shared), usize::from(unshared), usize::from(rest), at + 3)
            }
            _ => long_header(entries, at)?,
        };
        let key_end = body.checked_add(unshared);
        let end = key_end.and_then(|key_end| key_end.checked_add(rest));
        match (key_end, end) {
            (Some(key_end), Some(end)) if end <= entries.len() => {
                Ok(RawEntry { shared, suffix: body..key_end, end })
            }
            _ => Err(Malformed::new("a whole entry", format_args!("its beginning at byte {at}"))),
        }
    }

    /// The trailer of `entry` and where its value begins.
    #[inline]
    pub(crate) fn trailer_of(&self, entry: &RawEntry) -> Result<(u64, usize), Malformed> {
        let start = entry.suffix.end;
        // Of at most eight bytes, the usual case, all are taken at once.
        if let Some(word) = self.data.get(start..).and_then(<[u8]>::first_chunk) {
            let (trailer, len) = varint_in(u64::from_le_bytes(*word));
            if len > 0 && len <= entry.end - start {
                return Ok((trailer, start + len));
            }
        }
        self.long_trailer_of(entry)
    }

    #[cold]
    fn long_trailer_of(&self, entry: &RawEntry) -> Result<(u64, usize), Malformed> {
        let mut rest = &self.data[entry.suffix.end..entry.end];
        match varint::get_u64(&mut rest) {
            Some(trailer) => Ok((trailer, entry.end - rest.len())),
            None => Err(Malformed::new(
                "a sequence number and kind",
                format_args!("none at byte {}", entry.suffix.end),
            )),
        }
    }

    /// The entry of restart `number` as its key and value. In an index, this is entry `number`.
    pub(crate) fn indexed(&self, number: usize) -> Result<(InternalKeyRef<'_>, &[u8]), Malformed> {
        let at = self.restart_offset(number)?;
        let entry = self.entry_at(at)?;
        let (trailer, value) = self.trailer_of(&entry)?;
        match InternalKeyRef::from_trailer(&self.data[entry.suffix.clone()], trailer) {
            Some(key) if entry.shared == 0 => Ok((key, &self.data[value..entry.end])),
            _ => Err(Malformed::new("a whole key", format_args!("none at byte {at}"))),
        }
    }
}

/// The varint that `word` begins with and its length; 0 when it is longer than eight bytes.
#[inline]
fn varint_in(word: u64) -> (u64, usize) {
    let ends = !word & 0x8080_8080_8080_8080;
    if ends == 0 {
        return (0, 0);
    }
    let bits = ends.trailing_zeros() + 1;
    // The seven bits of each byte, moved together in pairs, then pairs of pairs, then those.
    let x = word & (u64::MAX >> (64 - bits)) & 0x7f7f_7f7f_7f7f_7f7f;
    let x = (x & 0x007f_007f_007f_007f) | ((x & 0x7f00_7f00_7f00_7f00) >> 1);
    let x = (x & 0x0000_3fff_0000_3fff) | ((x & 0x3fff_0000_3fff_0000) >> 2);
    let x = (x & 0x0000_0000_0fff_ffff) | ((x & 0x0fff_ffff_0000_0000) >> 4);
    (x, (bits / 8) as usize)
}

#[cold]
fn long_header(entries: &[u8], at: usize) -> Result<(usize, usize, usize, usize), Malformed> {
    let header = || {
        let mut input = entries.get(at..)?;
        let shared = varint::get_u32(&mut input)?;
        let unshared = varint::get_u32(&mut input)?;
        let rest = varint::get_u32(&mut input)?;
        Some((shared as usize, unshared as usize, rest as usize, entries.len() - input.len()))
    };
    header().ok_or_else(|| {
        Malformed::new("an entry's three lengths", format_args!("others at byte {at}"))
    })
}
