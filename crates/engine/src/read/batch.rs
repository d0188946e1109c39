//! Entries that an iterator has read together.

use std::ops::Range;

use base::MAX_KEY_BYTES;
use bytes::Bytes;
use credit::{Permit, Pool};

use crate::read::scan::Source;

/// Values from this size on keep their block in memory, if there are credits for that; smaller ones are copied.
pub(crate) const COPIED_BYTES_MAX: usize = 4096;

/// How much one batch takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLimit {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
}

/// A value that keeps its block, and what that is charged with.
struct Charged {
    value: Bytes,
    _permit: Permit,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.value
    }
}

/// Whether these are the same. Keys of one table differ in their first or last bytes mostly.
#[inline]
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let ends = (a.first_chunk::<8>(), a.last_chunk::<8>());
    if ends != (b.first_chunk(), b.last_chunk()) {
        return false;
    }
    // Two times eight bytes are all of it, or there are more to be looked at.
    (8..=16).contains(&a.len()) || a == b
}

/// `value` as a handle that returns its credits when it goes; a copy if there are no credits for all of its block, which
/// takes so many bytes.
pub(crate) fn charged(value: Bytes, block_bytes: usize, pool: &Pool) -> Bytes {
    match pool.try_acquire(block_bytes as u64) {
        Ok(permit) => Bytes::from_owner(Charged { value, _permit: permit }),
        Err(_) => Bytes::copy_from_slice(&value),
    }
}

/// An entry: its key stands in the batch's bytes at `start`, its value behind that, or as number `held` in `held` if that
/// is one of them.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    key_len: u16,
    value_len: u16,
    held: u32,
}

impl Entry {
    const NOT_HELD: u32 = u32::MAX;

    #[inline]
    fn key(self) -> Range<usize> {
        let start = self.start as usize;
        start..start + usize::from(self.key_len)
    }

    #[inline]
    fn value(self) -> Range<usize> {
        let start = self.start as usize + usize::from(self.key_len);
        start..start + usize::from(self.value_len)
    }

    /// Which of those that are held its value is.
    #[inline]
    fn held(self) -> Option<usize> {
        (self.held != Self::NOT_HELD).then_some(self.held as usize)
    }
}

/// Entries that were read together, in the order in which they were met.
#[derive(Default)]
pub(crate) struct Batch {
    /// The bytes, until somebody wants a share of them.
    own: Vec<u8>,
    shared: Bytes,
    entries: Vec<Entry>,
    held: Vec<Bytes>,
    held_bytes: usize,
    /// Entries before this one have been taken.
    taken: usize,
    /// Room for a key whose newest version was met, and is a delete.
    pub(crate) deleted: Vec<u8>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.taken == self.entries.len()
    }

    /// Entries that have not been taken.
    pub(crate) fn left(&self) -> usize {
        self.entries.len() - self.taken
    }

    /// The memory that its buffers keep when it is cleared.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.own.capacity() + self.deleted.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Makes ready for being filled anew; its memory stays.
    pub(crate) fn clear(&mut self) {
        if self.own.capacity() == 0
            && let Ok(bytes) = std::mem::take(&mut self.shared).try_into_mut()
        {
            self.own = bytes.into();
        }
        self.own.clear();
        self.shared = Bytes::new();
        self.entries.clear();
        self.held.clear();
        self.held_bytes = 0;
        self.taken = 0;
    }

    pub(crate) fn is_full(&self, limit: BatchLimit) -> bool {
        self.entries.len() >= limit.entries || self.own.len() + self.held_bytes >= limit.bytes
    }

    /// Takes in the entry that `source` stands on, whose key and value these are.
    #[inline]
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8], source: &impl Source, pool: &Pool) {
        if value.len() >= COPIED_BYTES_MAX {
            let value = match source.value_handle() {
                Some((value, block_bytes)) => charged(value, block_bytes, pool),
                None => Bytes::copy_from_slice(value),
            };
            self.push_held(key, value);
            return;
        }
        let entry = self.entry(key, value.len());
        self.own.reserve(key.len() + value.len());
        self.own.extend_from_slice(key);
        self.own.extend_from_slice(value);
        self.entries.push(entry);
    }

    #[cold]
    fn push_held(&mut self, key: &[u8], value: Bytes) {
        let entry = Entry { held: self.held.len() as u32, ..self.entry(key, 0) };
        self.own.extend_from_slice(key);
        self.held_bytes += value.len();
        self.held.push(value);
        self.entries.push(entry);
    }

    /// An entry that stands at the end. Keys have 65,535 bytes at most and values that are copied fewer, and a batch holds
    /// too few of them for its bytes to exceed a `u32`.
    #[inline]
    fn entry(&self, key: &[u8], value_len: usize) -> Entry {
        debug_assert!(key.len() <= MAX_KEY_BYTES && self.own.len() < u32::MAX as usize);
        Entry {
            start: self.own.len() as u32,
            key_len: key.len() as u16,
            value_len: value_len as u16,
            held: Entry::NOT_HELD,
        }
    }

    /// Takes the last entry back, with its key and value.
    pub(crate) fn undo(&mut self) {
        if let Some(entry) = self.entries.pop() {
            self.own.truncate(entry.start as usize);
            if entry.held().is_some() {
                self.held_bytes -= self.held.pop().map_or(0, |value| value.len());
            }
        }
    }

    /// The key that was met last.
    pub(crate) fn last_key(&self) -> Option<&[u8]> {
        self.entries.last().map(|entry| &self.own[entry.key()])
    }

    /// Whether the key that was met last is `key`.
    #[inline]
    pub(crate) fn ends_with(&self, key: &[u8]) -> bool {
        self.last_key().is_some_and(|last| same(last, key))
    }

    fn bytes(&self) -> &[u8] {
        if self.shared.is_empty() { &self.own } else { &self.shared }
    }

    /// Takes the entry that was met first, to look at.
    #[inline]
    pub(crate) fn first(&mut self) -> Option<(&[u8], &[u8])> {
        let entry = *self.entries.get(self.taken)?;
        self.taken += 1;
        Some(self.view(entry))
    }

    /// Takes the entry that was met last, to look at.
    pub(crate) fn last(&mut self) -> Option<(&[u8], &[u8])> {
        if self.is_empty() {
            return None;
        }
        let entry = self.entries.pop()?;
        Some(self.view(entry))
    }

    #[inline]
    fn view(&self, entry: Entry) -> (&[u8], &[u8]) {
        let bytes = self.bytes();
        let value = match entry.held() {
            Some(held) => &self.held[held],
            None => &bytes[entry.value()],
        };
        (&bytes[entry.key()], value)
    }

    /// Takes the entry that was met first.
    pub(crate) fn take_first(&mut self) -> Option<(Bytes, Bytes)> {
        let entry = *self.entries.get(self.taken)?;
        self.taken += 1;
        Some(self.hand_out(entry))
    }

    /// Takes the entry that was met last.
    pub(crate) fn take_last(&mut self) -> Option<(Bytes, Bytes)> {
        if self.is_empty() {
            return None;
        }
        let entry = self.entries.pop()?;
        Some(self.hand_out(entry))
    }

    fn hand_out(&mut self, entry: Entry) -> (Bytes, Bytes) {
        if self.shared.is_empty() {
            self.shared = std::mem::take(&mut self.own).into();
        }
        let value = match entry.held() {
            // An entry is handed out once: what is kept beyond that is kept by whoever has it.
            Some(held) => std::mem::take(&mut self.held[held]),
            None => self.shared.slice(entry.value()),
        };
        (self.shared.slice(entry.key()), value)
    }
}
