//! A position in one data block, which can be moved both ways.
//!
//! Going back, entries can only be read forwards from a restart: the entries of one restart interval are read at once
//! and kept, so that a step back costs on average what a step forward does. Of a key that is kept only what the next does not
//! have is written down, which all together is less than the block, whatever it says.

use super::search::overlong;
use super::{Block, LINE_BYTES, RawEntry, RestartPlace};
use crate::error::Malformed;
use base::{InternalKeyRef, SeqNo, ValueKind};
use bytes::Bytes;
use std::ops::Range;

/// Of a block that is walked from its start, so many cache lines of values and of entries are asked for at once; from
/// there on, always the one that is as far ahead.
const FETCHED_LINES: usize = 16;

/// An entry of the interval that is being walked backwards.
struct Kept {
    at: usize,
    end: usize,
    /// Its user key is so many bytes of that of the entry behind it, and what stands here in `kept_keys`.
    shared: usize,
    rest: Range<usize>,
    trailer: u64,
    value: Range<usize>,
}

/// A user key that is put together step by step.
///
/// Suffixes are mostly short, and a copy of a length that is known is two moves where another is a call: so up to
/// [`KeyBuffer::STRIDE`] bytes are copied as that many, the rest being whatever follows in the block.
struct KeyBuffer {
    /// The key, and room behind it.
    bytes: Vec<u8>,
    len: usize,
}

impl KeyBuffer {
    const STRIDE: usize = 16;

    fn new() -> Self {
        Self { bytes: Vec::new(), len: 0 }
    }

    #[inline]
    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Keeps the first `shared` bytes, of which there are so many, and appends `suffix` of `data`.
    #[inline]
    fn set(&mut self, shared: usize, data: &[u8], suffix: Range<usize>) {
        let len = shared + suffix.len();
        let from = data.get(suffix.start..).and_then(<[u8]>::first_chunk::<{ Self::STRIDE }>);
        let to = self.bytes.get_mut(shared..).and_then(<[u8]>::first_chunk_mut::<{ Self::STRIDE }>);
        match (from, to) {
            (Some(from), Some(to)) if suffix.len() <= Self::STRIDE => *to = *from,
            _ => self.set_long(shared, &data[suffix]),
        }
        self.len = len;
    }

    #[cold]
    fn set_long(&mut self, shared: usize, suffix: &[u8]) {
        self.bytes.truncate(shared);
        self.bytes.extend_from_slice(suffix);
        self.bytes.resize(shared + suffix.len() + Self::STRIDE, 0);
    }

    fn set_whole(&mut self, key: &[u8]) {
        self.set_long(0, key);
        self.len = key.len();
    }
}

/// Walks the entries of one block. Not valid until a seek; not valid after an error.
pub(crate) struct BlockIter {
    block: Option<Block>,
    valid: bool,
    /// Where the current entry begins and ends.
    at: usize,
    end: usize,
    key: KeyBuffer,
    seq: SeqNo,
    kind: ValueKind,
    value: Range<usize>,
    /// Entries before the current one, up to its restart; empty unless the last move was a step back.
    kept: Vec<Kept>,
    kept_keys: Vec<u8>,
}

impl BlockIter {
    pub(crate) fn new() -> Self {
        Self {
            block: None,
            valid: false,
            at: 0,
            end: 0,
            key: KeyBuffer::new(),
            seq: SeqNo::ZERO,
            kind: ValueKind::Put,
            value: 0..0,
            kept: Vec::new(),
            kept_keys: Vec::new(),
        }
    }

    /// Takes another block to walk.
    pub(crate) fn set_block(&mut self, block: Block) {
        self.block = Some(block);
        self.reset();
    }

    /// Lets go of the block.
    pub(crate) fn clear(&mut self) {
        self.block = None;
        self.reset();
    }

    #[inline]
    pub(crate) fn is_valid(&self) -> bool {
        self.valid
    }

    /// About how many bytes of memory its block takes; 0 without one.
    pub(crate) fn block_bytes(&self) -> usize {
        self.block.as_ref().map_or(0, Block::memory_bytes)
    }

    /// Bytes of the buffers that a walk back fills.
    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept.capacity() * size_of::<Kept>() + self.kept_keys.capacity()
    }

    /// Where in the block the current entry and its value begin.
    pub(crate) fn place(&self) -> RestartPlace {
        RestartPlace { entry: self.at, value: self.value.start as u64 }
    }

    #[inline]
    pub(crate) fn key(&self) -> InternalKeyRef<'_> {
        InternalKeyRef::new(self.key.as_slice(), self.seq, self.kind)
    }

    #[inline]
    pub(crate) fn value(&self) -> &[u8] {
        self.block.as_ref().map_or(&[], |block| &block.data()[self.value.clone()])
    }

    pub(crate) fn value_bytes(&self) -> Bytes {
        self.block.as_ref().map_or_else(Bytes::new, |block| block.slice(self.value.clone()))
    }

    #[inline]
    fn reset(&mut self) {
        self.valid = false;
        self.kept.clear();
    }

    pub(crate) fn seek_to_first(&mut self) -> Result<(), Malformed> {
        self.reset();
        let Some(block) = &self.block else { return Ok(()) };
        let start = block.entries_start();
        for line in 0..FETCHED_LINES {
            block.fetch(start.wrapping_add(line * LINE_BYTES));
            block.fetch(line * LINE_BYTES);
        }
        self.key.len = 0;
        self.step_to(start, 0)
    }

    pub(crate) fn seek_to_last(&mut self) -> Result<(), Malformed> {
        self.reset();
        match &self.block {
            Some(block) => {
                let end = block.entries_end();
                self.step_before(end)
            }
            None => Ok(()),
        }
    }

    /// Moves to the first entry that is `target` or above; not valid when all are below.
    pub(crate) fn seek(&mut self, target: InternalKeyRef<'_>) -> Result<(), Malformed> {
        self.reset();
        let Some(block) = &self.block else { return Ok(()) };
        let Some(landing) = block.first_at_or_after(target)? else { return Ok(()) };
        self.key.set_whole(&target.user_key[..landing.entry.shared]);
        self.key.set(landing.entry.shared, block.data(), landing.entry.body..landing.key_end);
        self.at = landing.at;
        self.end = landing.entry.end;
        self.value = landing.value;
        self.stand(landing.trailer)
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Result<(), Malformed> {
        self.reset();
        self.step_to(self.end, self.value.end)
    }

    pub(crate) fn prev(&mut self) -> Result<(), Malformed> {
        self.valid = false;
        if self.kept.is_empty() { self.step_before(self.at) } else { self.take_kept() }
    }

    /// Reads the entry at `at`, which follows the one whose key is in `self.key`, and whose value is at `value`.
    #[inline]
    fn step_to(&mut self, at: usize, value: usize) -> Result<(), Malformed> {
        let Some(block) = &self.block else { return Ok(()) };
        if at >= block.entries_end() {
            return Ok(());
        }
        let entry = block.entry_at(at)?;
        let trailer = apply(&mut self.key, block, &entry, at)?;
        self.value = block.value_at(value as u64, entry.value_len)?;
        block.fetch(value.wrapping_add(FETCHED_LINES * LINE_BYTES));
        self.at = at;
        self.end = entry.end;
        self.stand(trailer)
    }

    #[inline]
    fn stand(&mut self, trailer: u64) -> Result<(), Malformed> {
        let key = InternalKeyRef::from_trailer(&[], trailer).ok_or_else(|| {
            Malformed::new("a kind of entry", format_args!("code {}", trailer & 0xff))
        })?;
        self.seq = key.seq;
        self.kind = key.kind;
        self.valid = true;
        Ok(())
    }

    /// Moves to the entry that ends at `end`; not valid when that is the block's start.
    fn step_before(&mut self, end: usize) -> Result<(), Malformed> {
        let Some(block) = &self.block else { return Ok(()) };
        if end == block.entries_start() {
            return Ok(());
        }
        let restart = last_restart_before(block, end)?;
        self.kept_keys.clear();
        let RestartPlace { entry: mut at, value: mut value_start } = block.restart(restart)?;
        self.key.len = 0;
        while at < end {
            let entry = block.entry_at(at)?;
            if let Some(last) = self.kept.last_mut() {
                let rest = self.key.as_slice().get(entry.shared..).ok_or_else(|| overlong(at))?;
                let start = self.kept_keys.len();
                self.kept_keys.extend_from_slice(rest);
                (last.shared, last.rest) = (entry.shared, start..self.kept_keys.len());
            }
            let trailer = apply(&mut self.key, block, &entry, at)?;
            let value = block.value_at(value_start, entry.value_len)?;
            value_start = value.end as u64;
            let (shared, rest) = (self.key.len, 0..0);
            self.kept.push(Kept { at, end: entry.end, shared, rest, trailer, value });
            at = entry.end;
        }
        // Room for copies of the usual length, see `KeyBuffer`.
        self.kept_keys.extend_from_slice(&[0; KeyBuffer::STRIDE]);
        if at != end {
            self.kept.clear();
            return Err(Malformed::new(
                "entries that end where the next begins",
                format_args!("one that ends at byte {at} and not at {end}"),
            ));
        }
        self.take_kept()
    }

    fn take_kept(&mut self) -> Result<(), Malformed> {
        let Some(kept) = self.kept.pop() else { return Ok(()) };
        self.key.set(kept.shared, &self.kept_keys, kept.rest);
        self.at = kept.at;
        self.end = kept.end;
        self.value = kept.value;
        self.stand(kept.trailer)
    }
}

/// Turns the key before `entry` into the key of `entry`, and says what its trailer is.
#[inline(always)]
fn apply(
    key: &mut KeyBuffer,
    block: &Block,
    entry: &RawEntry,
    at: usize,
) -> Result<u64, Malformed> {
    if entry.shared > key.len {
        return Err(overlong(at));
    }
    let (trailer, key_end) = block.trailer_of(entry)?;
    key.set(entry.shared, block.data(), entry.body..key_end);
    Ok(trailer)
}

/// The last restart that begins before `end`.
fn last_restart_before(block: &Block, end: usize) -> Result<usize, Malformed> {
    let (mut low, mut high) = (0, block.restarts());
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        if block.restart(middle)?.entry < end {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(low)
}
