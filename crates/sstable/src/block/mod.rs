//! A decoded block of sorted entries: its shape, and how one entry is taken apart.
//!
//! Format of the payload of data blocks, index partitions and the top index:
//!
//! ```text
//! values      the entries' values in order, with nothing between them
//! entry*      shared (varint), rest (varint), value_len (varint), then `rest` bytes: the end of the user key from byte
//!             `shared` on, the sequence number's bytes (little-endian, none of the highest that are 0), and a byte
//!             of their number (high half) and the kind (low half)
//! prefixes    for each restart 8 bytes of its user key from byte `common_len` on, padded with zeros
//! places      for each restart the offsets of its entry and of its value (4 bytes each, little-endian)
//! common      up to 255 bytes with which every user key of the block begins
//! common_len  1 byte: how many they are
//! restarts    4 bytes, little-endian: how many there are, at least 1
//! ```
//!
//! The values come first: the first restart's value is at 0, its entry where the values end. A restart's entry shares
//! nothing with the one before it. The prefixes are what a search looks at: an array of numbers, with the common bytes
//! beside it, in place of keys scattered over the block; and the entries that are walked from there lie in a cache line
//! or two, as their values do not stand between them. In an index every entry is a restart, so that it can be reached
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
use base::prefetch::prefetch;
use base::{InternalKeyRef, MAX_KEY_BYTES, varint};
use bytes::Bytes;
use std::ops::Range;

const COMMON_LEN_BYTES: usize = 1;
const COUNT_BYTES: usize = 4;
const PREFIX_BYTES: usize = 8;
const PLACE_BYTES: usize = 8;
/// Bytes of a sequence number at most.
const SEQ_BYTES_MAX: usize = 7;
const LINE_BYTES: usize = 64;
/// At most so many lines of a block's end are fetched ahead.
const FETCHED_LINES: usize = 4;
/// Bytes that each restart takes beside its entry.
pub(crate) const RESTART_BYTES: usize = PREFIX_BYTES + PLACE_BYTES;
/// Bytes of a payload beside entries and restarts.
pub(crate) const SHAPE_BYTES: usize = COMMON_LEN_BYTES + COUNT_BYTES;

/// A block that was read, checked and decompressed. Cloning it copies no contents.
#[derive(Debug)]
pub struct Block {
    data: Bytes,
    kind: BlockKind,
    /// Where the values end and the entries begin.
    values_end: u32,
    /// Where the entries end and the prefixes begin.
    entries_end: u32,
    restarts: u32,
    common_len: u8,
}

/// Where a restart's entry begins, and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RestartPlace {
    pub(crate) entry: usize,
    pub(crate) value: u64,
}

/// One entry as it stands in its block.
#[derive(Clone, Debug)]
pub(crate) struct RawEntry {
    /// Bytes that its user key takes from the one before it.
    pub(crate) shared: usize,
    /// Where the rest of its user key begins.
    pub(crate) body: usize,
    /// Where the next entry begins. There is a byte at least between the two.
    pub(crate) end: usize,
    pub(crate) value_len: u32,
}

impl Clone for Block {
    /// Shares the contents. Whoever takes a block out of a cache goes on to search it: what is read first is fetched while
    /// the reference is counted, which nothing passes.
    #[inline]
    fn clone(&self) -> Self {
        if self.kind == BlockKind::Data {
            fetch_end(self.data.get(self.entries_end()..).unwrap_or_default());
        }
        let Self { data, kind, values_end, entries_end, restarts, common_len } = self;
        Self {
            data: data.clone(),
            kind: *kind,
            values_end: *values_end,
            entries_end: *entries_end,
            restarts: *restarts,
            common_len: *common_len,
        }
    }
}

impl Block {
    /// Takes a decompressed payload.
    pub(crate) fn parse(kind: BlockKind, data: Bytes) -> Result<Self, Malformed> {
        let mut block =
            Self { data, kind, values_end: 0, entries_end: 0, restarts: 0, common_len: 0 };
        match kind {
            BlockKind::Data | BlockKind::Index | BlockKind::TopIndex => block.find_shape()?,
            BlockKind::Filter => filter::check(&block.data)?,
            BlockKind::Properties => {}
        }
        Ok(block)
    }

    fn find_shape(&mut self) -> Result<(), Malformed> {
        let shape = || Malformed::new("values, entries and restarts that fill the block", "others");
        let (rest, count) = self.data.split_last_chunk::<COUNT_BYTES>().ok_or_else(shape)?;
        let (rest, &[common_len]) =
            rest.split_last_chunk::<COMMON_LEN_BYTES>().ok_or_else(shape)?;
        let restarts = u32::from_le_bytes(*count);
        let entries_end = (restarts as usize)
            .checked_mul(RESTART_BYTES)
            .and_then(|bytes| bytes.checked_add(usize::from(common_len)))
            .and_then(|bytes| rest.len().checked_sub(bytes))
            .ok_or_else(shape)?;
        if restarts == 0 {
            return Err(shape());
        }
        self.restarts = restarts;
        self.common_len = common_len;
        self.entries_end = u32::try_from(entries_end).map_err(|_| shape())?;
        let first = self.restart(0)?;
        if first.value != 0 || first.entry >= entries_end {
            return Err(shape());
        }
        self.values_end = first.entry as u32;
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

    /// Where the first entry begins.
    pub(crate) fn entries_start(&self) -> usize {
        self.values_end as usize
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

    /// Where the entry of restart `number` and its value begin.
    #[inline]
    pub(crate) fn restart(&self, number: usize) -> Result<RestartPlace, Malformed> {
        self.restart_if(number)
            .ok_or_else(|| Malformed::new("a restart", format_args!("number {number}")))
    }

    #[inline]
    fn restart_if(&self, number: usize) -> Option<RestartPlace> {
        let start = self.entries_end() + self.restarts() * PREFIX_BYTES;
        let end = start + self.restarts() * PLACE_BYTES;
        let places: &[[u8; PLACE_BYTES]] = self.data.get(start..end)?.as_chunks().0;
        let place = u64::from_le_bytes(*places.get(number)?);
        Some(RestartPlace { entry: place as u32 as usize, value: place >> 32 })
    }

    /// Where the value of restart `number` begins, or the values end.
    #[inline]
    fn value_from(&self, number: usize) -> u64 {
        self.restart_if(number).map_or(u64::from(self.values_end), |place| place.value)
    }

    /// Asks for the cache line at byte `at`.
    #[inline]
    fn fetch(&self, at: usize) {
        prefetch(self.data.as_ptr().wrapping_add(at));
    }

    /// The prefixes of all restarts.
    #[inline]
    fn prefixes(&self) -> &[[u8; PREFIX_BYTES]] {
        let start = self.entries_end();
        let end = start + self.restarts() * PREFIX_BYTES;
        self.data.get(start..end).map_or(&[], |bytes| bytes.as_chunks().0)
    }

    /// The entry that begins at `at`.
    #[inline(always)]
    pub(crate) fn entry_at(&self, at: usize) -> Result<RawEntry, Malformed> {
        let entries = &self.data[..self.entries_end()];
        let Header { shared, rest, value_len, body } = match entries
            .get(at..)
            .and_then(<[u8]>::first_chunk)
        {
            // The usual: one byte, one byte, one or two.
            Some(&[shared, rest, low, high]) if (shared | rest) < 0x80 && (low & high) < 0x80 => {
                let has_high = low >> 7;
                Header {
                    shared: usize::from(shared),
                    rest: usize::from(rest),
                    value_len: u32::from(low & 0x7f)
                        | ((u32::from(high) << 7) * u32::from(has_high)),
                    body: at + 3 + usize::from(has_high),
                }
            }
            _ => long_header(entries, at)?,
        };
        match body.checked_add(rest) {
            Some(end) if rest > 0 && end <= entries.len() => {
                Ok(RawEntry { shared, body, end, value_len })
            }
            _ => Err(Malformed::new("a whole entry", format_args!("its beginning at byte {at}"))),
        }
    }

    /// The trailer of `entry`, and where its user key ends.
    #[inline(always)]
    pub(crate) fn trailer_of(&self, entry: &RawEntry) -> Result<(u64, usize), Malformed> {
        let before = &self.data[..entry.end];
        let word = match before.last_chunk() {
            Some(word) => u64::from_le_bytes(*word),
            None => short_word(before),
        };
        let tag = word >> 56;
        let len = (tag >> 4) as usize;
        if len > SEQ_BYTES_MAX || entry.body + len >= entry.end {
            return Err(Malformed::new(
                "a sequence number and kind",
                format_args!("none before byte {}", entry.end),
            ));
        }
        // The number's bytes are those before the tag; two shifts, for one by 64 does nothing.
        let seq = (word << 8 >> 1) >> (63 - 8 * len);
        Ok((seq << 8 | tag & 0xf, entry.end - 1 - len))
    }

    /// Where a value of `len` bytes is that begins at `start`.
    #[inline]
    pub(crate) fn value_at(&self, start: u64, len: u32) -> Result<Range<usize>, Malformed> {
        let end = start.saturating_add(u64::from(len));
        if end > u64::from(self.values_end) {
            return Err(Malformed::new(
                "a value that ends where the entries begin, or before",
                format_args!("{len} bytes at {start}"),
            ));
        }
        Ok(start as usize..end as usize)
    }

    /// The entry of restart `number` as its key and value. In an index, this is entry `number`.
    pub(crate) fn indexed(&self, number: usize) -> Result<(InternalKeyRef<'_>, &[u8]), Malformed> {
        let place = self.restart(number)?;
        let entry = self.entry_at(place.entry)?;
        let (trailer, key_end) = self.trailer_of(&entry)?;
        let value = self.value_at(place.value, entry.value_len)?;
        match InternalKeyRef::from_trailer(&self.data[entry.body..key_end], trailer) {
            Some(key) if entry.shared == 0 => Ok((key, &self.data[value])),
            _ => Err(Malformed::new("a whole key", format_args!("none at byte {}", place.entry))),
        }
    }

    /// The value of entry `number` of an index, without a look at the entry: it ends where the next begins.
    #[inline]
    pub(crate) fn indexed_value(&self, number: usize) -> Result<&[u8], Malformed> {
        let (start, end) = (self.restart(number)?.value, self.value_from(number + 1));
        let value = self.data[..self.entries_start()].get(start as usize..end as usize);
        value.ok_or_else(|| Malformed::new("a value", format_args!("none at restart {number}")))
    }
}

/// Asks for the last cache lines of `bytes`, in which a block has what its search looks at first.
#[inline]
pub(crate) fn fetch_end(bytes: &[u8]) {
    for line in 1..=FETCHED_LINES.min(bytes.len().div_ceil(LINE_BYTES)) {
        prefetch(bytes.as_ptr().wrapping_add(bytes.len()).wrapping_sub(line * LINE_BYTES));
    }
}

/// What an entry begins with.
struct Header {
    shared: usize,
    rest: usize,
    value_len: u32,
    body: usize,
}

/// The last eight bytes of a block, if it had as many: zeros before those that it has.
#[cold]
fn short_word(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold((0, 56), |(word, shift), &byte| (word | u64::from(byte) << shift, shift - 8))
        .0
}

#[cold]
fn long_header(entries: &[u8], at: usize) -> Result<Header, Malformed> {
    let header = || {
        let mut input = entries.get(at..)?;
        let shared = varint::get_u32(&mut input)? as usize;
        let rest = varint::get_u32(&mut input)? as usize;
        let value_len = varint::get_u32(&mut input)?;
        Some(Header { shared, rest, value_len, body: entries.len() - input.len() })
    };
    let header = header().ok_or_else(|| {
        Malformed::new("an entry's three lengths", format_args!("others at byte {at}"))
    })?;
    // A key that is too long has a long header, as have few others.
    let key_and_trailer = header.shared.saturating_add(header.rest);
    if key_and_trailer > MAX_KEY_BYTES {
        let tag = header.body.checked_add(header.rest).and_then(|end| entries.get(end - 1));
        let trailer = 1 + tag.map_or(0, |tag| usize::from(tag >> 4));
        if key_and_trailer > MAX_KEY_BYTES + trailer {
            return Err(Malformed::new(
                "a user key of 65,535 bytes at most",
                format_args!("{key_and_trailer} bytes with the trailer at byte {at}"),
            ));
        }
    }
    Ok(header)
}
