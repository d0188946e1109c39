//! Entries that an iterator has read together.

use bytes::Bytes;
use credit::{Permit, Pool};

use crate::read::merge::MergeCursor;

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

/// An entry: its key stands in the batch's bytes from `start` to `key_end`, its value behind that up to `end`, or in
/// `held`, where `end` says which it is.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start: usize,
    key_end: usize,
    end: usize,
    is_held: bool,
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

    /// Takes in the entry that the cursor stands on, whose key and value these are.
    #[inline]
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8], cursor: &MergeCursor, pool: &Pool) {
        let start = self.own.len();
        let key_end = start + key.len();
        if value.len() >= COPIED_BYTES_MAX {
            self.own.extend_from_slice(key);
            self.push_large(value, (start, key_end), cursor, pool);
            return;
        }
        self.own.reserve(key.len() + value.len());
        self.own.extend_from_slice(key);
        self.own.extend_from_slice(value);
        self.entries.push(Entry { start, key_end, end: self.own.len(), is_held: false });
    }

    #[cold]
    fn push_large(
        &mut self,
        value: &[u8],
        (start, key_end): (usize, usize),
        cursor: &MergeCursor,
        pool: &Pool,
    ) {
        let value = match cursor.value_bytes() {
            Some((value, block_bytes)) => charged(value, block_bytes, pool),
            None => Bytes::copy_from_slice(value),
        };
        self.held_bytes += value.len();
        self.held.push(value);
        self.entries.push(Entry { start, key_end, end: self.held.len() - 1, is_held: true });
    }

    /// Takes the last entry back, with its key and value.
    pub(crate) fn undo(&mut self) {
        if let Some(entry) = self.entries.pop() {
            self.own.truncate(entry.start);
            if entry.is_held {
                self.held_bytes -= self.held.pop().map_or(0, |value| value.len());
            }
        }
    }

    /// The key that was met last.
    pub(crate) fn last_key(&self) -> Option<&[u8]> {
        self.entries.last().map(|entry| &self.own[entry.start..entry.key_end])
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
        let key = &bytes[entry.start..entry.key_end];
        let value = match entry.is_held {
            true => &self.held[entry.end],
            false => &bytes[entry.key_end..entry.end],
        };
        (key, value)
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
        let key = self.shared.slice(entry.start..entry.key_end);
        let value = match entry.is_held {
            // An entry is handed out once: what is kept beyond that is kept by whoever has it.
            true => std::mem::take(&mut self.held[entry.end]),
            false => self.shared.slice(entry.key_end..entry.end),
        };
        (key, value)
    }
}
