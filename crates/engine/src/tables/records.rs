//! The records of one part of the cache: what point reads found in blocks that were not worth their room.
//!
//! A block is a hundred records, of which a reader of single keys may want one. Where the cache is full, that one is kept
//! in place of its block.
//!
//! Layout: records stand one behind another in chunks of [`CHUNK_BYTES`], the youngest chunk last; an index leads from the
//! hash of a table's number and a user key to the record. A record is a [`Header`], the key, the value.
//!
//! Algorithm: a clock. Where room is needed the oldest chunk gives up the records that nobody asked for since it was last
//! looked at, keeps the others up to half of itself, and becomes the youngest.
//!
//! Invariants: every record of a chunk is in the index, once; a position in the index is where a record begins.

use std::collections::VecDeque;

use base::FileNumber;
use hashbrown::HashTable;

/// How much memory is taken at once.
pub(super) const CHUNK_BYTES: usize = 32 << 10;
/// What takes more, its header included, is left to its block.
pub(super) const RECORD_BYTES_MAX: usize = 2 << 10;
/// So many records' room in the index is not worth giving back.
const SPARE_RECORDS: usize = 64;

/// Which key of which table a record is of.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordKey<'a> {
    file: u64,
    user_key: &'a [u8],
    hash: u64,
}

impl<'a> RecordKey<'a> {
    /// `hash` is one of `user_key` alone that spreads well.
    #[inline]
    pub(super) fn new(file: FileNumber, user_key: &'a [u8], hash: u64) -> Self {
        let file = file.get();
        Self { file, user_key, hash: hash ^ file.wrapping_mul(0x9e37_79b9_7f4a_7c15) }
    }

    /// The number by which it is found.
    #[inline]
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }
}

/// What a record begins with: the number by which it is found, the table's number, the version's trailer (8 bytes each),
/// the lengths of key and value (2 each), whether somebody asked for it since it was last looked at (1).
struct Header {
    hash: u64,
    file: u64,
    trailer: u64,
    key_len: usize,
    value_len: usize,
    is_used: bool,
}

impl Header {
    const BYTES: usize = 29;
    const USED_AT: usize = 28;

    /// The header at `at` of `chunk`.
    #[inline]
    fn read(chunk: &[u8], at: usize) -> Self {
        let bytes = &chunk[at..at + Self::BYTES];
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
        let len = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        Self {
            hash: word(0),
            file: word(8),
            trailer: word(16),
            key_len: len(24),
            value_len: len(26),
            is_used: bytes[Self::USED_AT] != 0,
        }
    }

    fn write(&self, chunk: &mut Vec<u8>) {
        chunk.extend_from_slice(&self.hash.to_le_bytes());
        chunk.extend_from_slice(&self.file.to_le_bytes());
        chunk.extend_from_slice(&self.trailer.to_le_bytes());
        chunk.extend_from_slice(&(self.key_len as u16).to_le_bytes());
        chunk.extend_from_slice(&(self.value_len as u16).to_le_bytes());
        chunk.push(u8::from(self.is_used));
    }

    fn record_bytes(&self) -> usize {
        Self::BYTES + self.key_len + self.value_len
    }
}

/// Bytes of the record of `key` with `value`.
pub(super) fn record_bytes(key: RecordKey<'_>, value: &[u8]) -> usize {
    Header::BYTES + key.user_key.len() + value.len()
}

/// See the module's text.
#[derive(Default)]
pub(super) struct Records {
    /// Each has room for [`CHUNK_BYTES`], and never more.
    chunks: VecDeque<Vec<u8>>,
    /// The number of the oldest chunk. The chunk of a position is its number times [`CHUNK_BYTES`], what is left is the
    /// place in the chunk.
    first: u64,
    index: HashTable<u64>,
}

impl Records {
    /// The memory that it takes.
    #[inline]
    pub(super) fn bytes(&self) -> u64 {
        (self.chunks.len() * CHUNK_BYTES + self.index.allocation_size()) as u64
    }

    /// Copies the value of the record of `key` to `into`, which is cleared first; its trailer.
    #[inline]
    pub(super) fn get(&mut self, key: RecordKey<'_>, into: &mut Vec<u8>) -> Option<u64> {
        let Self { chunks, first, index } = self;
        let is_same = |&position: &u64| {
            let (chunk, at) = place(*first, position);
            chunks.get(chunk).is_some_and(|chunk| is_of(chunk, at, key))
        };
        let &position = index.find(key.hash, is_same)?;
        let (chunk, at) = place(*first, position);
        let chunk = chunks.get_mut(chunk)?;
        chunk[at + Header::USED_AT] = 1;
        let header = Header::read(chunk, at);
        let value = at + Header::BYTES + header.key_len;
        into.clear();
        into.extend_from_slice(&chunk[value..value + header.value_len]);
        Some(header.trailer)
    }

    /// How much more memory one more record of `bytes` makes it take for good, and how much for a moment on top.
    pub(super) fn growth(&self, bytes: usize) -> u64 {
        let chunk = if self.has_room(bytes) { 0 } else { CHUNK_BYTES };
        let is_full = self.index.len() == self.index.capacity();
        // A table that grows is copied into one of twice its size.
        let index = if is_full { (2 * self.index.allocation_size()).max(1 << 10) } else { 0 };
        (chunk + index) as u64
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.chunks.back().is_some_and(|chunk| chunk.len() + bytes <= CHUNK_BYTES)
    }

    /// Adds a record, for which there is memory. One that is there already stays.
    pub(super) fn insert(&mut self, key: RecordKey<'_>, trailer: u64, value: &[u8]) {
        let bytes = record_bytes(key, value);
        debug_assert!(bytes <= RECORD_BYTES_MAX, "larger ones are left to their blocks");
        let Self { chunks, first, index } = self;
        let is_same = |&position: &u64| {
            let (chunk, at) = place(*first, position);
            chunks.get(chunk).is_some_and(|chunk| is_of(chunk, at, key))
        };
        if index.find(key.hash, is_same).is_some() {
            return;
        }
        if !self.has_room(bytes) {
            self.chunks.push_back(Vec::with_capacity(CHUNK_BYTES));
        }
        let number = self.first + self.chunks.len() as u64 - 1;
        let Some(chunk) = self.chunks.back_mut() else { return };
        let position = number * CHUNK_BYTES as u64 + chunk.len() as u64;
        let header = Header {
            hash: key.hash,
            file: key.file,
            trailer,
            key_len: key.user_key.len(),
            value_len: value.len(),
            is_used: false,
        };
        header.write(chunk);
        chunk.extend_from_slice(key.user_key);
        chunk.extend_from_slice(value);
        let Self { chunks, first, index } = self;
        index.insert_unique(key.hash, position, |&position| {
            let (chunk, at) = place(*first, position);
            Header::read(&chunks[chunk], at).hash
        });
    }

    /// Makes the oldest chunk the youngest, at least half of it free: see the module's text.
    pub(super) fn turn(&mut self) {
        let Some(mut chunk) = self.chunks.pop_front() else { return };
        let (from, to) = (self.first, self.first + self.chunks.len() as u64 + 1);
        let (mut at, mut kept) = (0, 0);
        while at < chunk.len() {
            let header = Header::read(&chunk, at);
            let bytes = header.record_bytes();
            let position = from * CHUNK_BYTES as u64 + at as u64;
            if let Ok(mut entry) = self.index.find_entry(header.hash, |&other| other == position) {
                if header.is_used && kept + bytes <= CHUNK_BYTES / 2 {
                    *entry.get_mut() = to * CHUNK_BYTES as u64 + kept as u64;
                    chunk[at + Header::USED_AT] = 0;
                    chunk.copy_within(at..at + bytes, kept);
                    kept += bytes;
                } else {
                    entry.remove();
                }
            }
            at += bytes;
        }
        chunk.truncate(kept);
        self.first += 1;
        self.chunks.push_back(chunk);
    }

    /// Gives up the oldest chunk with all that is in it, and room in the index that is not needed then; `false` when
    /// there is none.
    pub(super) fn shrink(&mut self) -> bool {
        let Some(chunk) = self.chunks.pop_front() else { return false };
        let mut at = 0;
        while at < chunk.len() {
            let header = Header::read(&chunk, at);
            let position = self.first * CHUNK_BYTES as u64 + at as u64;
            if let Ok(entry) = self.index.find_entry(header.hash, |&other| other == position) {
                entry.remove();
            }
            at += header.record_bytes();
        }
        self.first += 1;
        if self.index.capacity() > 4 * self.index.len() + SPARE_RECORDS || self.chunks.is_empty() {
            let Self { chunks, first, index } = self;
            index.shrink_to(2 * index.len(), |&position| {
                let (chunk, at) = place(*first, position);
                Header::read(&chunks[chunk], at).hash
            });
        }
        true
    }
}

/// The chunk, counted from the oldest, and the place in it.
#[inline]
fn place(first: u64, position: u64) -> (usize, usize) {
    let chunk = position / CHUNK_BYTES as u64 - first;
    (chunk as usize, (position % CHUNK_BYTES as u64) as usize)
}

/// Whether the record at `at` is of `key`.
#[inline]
fn is_of(chunk: &[u8], at: usize, key: RecordKey<'_>) -> bool {
    let header = Header::read(chunk, at);
    let start = at + Header::BYTES;
    header.hash == key.hash
        && header.file == key.file
        && chunk.get(start..start + header.key_len) == Some(key.user_key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn key(bytes: &[u8]) -> RecordKey<'_> {
        let hash = bytes.iter().fold(7u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
        });
        RecordKey::new(FileNumber::new(3), bytes, hash)
    }

    #[test]
    fn what_was_asked_for_survives_a_turn() {
        let mut records = Records::default();
        let value = [5; 100];
        let keys: Vec<[u8; 4]> = (0..400u32).map(u32::to_be_bytes).collect();
        for bytes in &keys {
            records.insert(key(bytes), 1, &value);
        }
        let chunks = records.chunks.len();
        assert!(chunks > 1);
        let mut into = Vec::new();
        assert_eq!(records.get(key(&keys[9]), &mut into), Some(1));
        records.turn();
        assert_eq!(records.chunks.len(), chunks);
        assert_eq!(records.get(key(&keys[9]), &mut into), Some(1));
        assert_eq!(into, value);
        assert_eq!(records.get(key(&keys[8]), &mut into), None);
        let last = keys.len() - 1;
        assert_eq!(records.get(key(&keys[last]), &mut into), Some(1));
        // Asked for again since: it stays as long as that goes on, and goes when it ends.
        for _ in 0..3 * chunks {
            records.turn();
            assert_eq!(records.get(key(&keys[9]), &mut into), Some(1));
        }
        (0..2 * chunks).for_each(|_| records.turn());
        assert_eq!(records.get(key(&keys[9]), &mut into), None);
    }

    #[test]
    fn a_turn_frees_half_a_chunk_whatever_was_asked_for() {
        let mut records = Records::default();
        let keys: Vec<[u8; 4]> = (0..2000u32).map(u32::to_be_bytes).collect();
        let mut into = Vec::new();
        for bytes in &keys {
            records.insert(key(bytes), 1, &[1; 40]);
            assert!(records.get(key(bytes), &mut into).is_some());
        }
        let bytes = records.bytes();
        records.turn();
        assert!(records.has_room(CHUNK_BYTES / 2));
        assert_eq!(records.growth(CHUNK_BYTES / 2), 0);
        assert_eq!(records.bytes(), bytes);
    }

    proptest! {
        /// C13: what it finds is what was put in, and what it says that it takes covers what it holds.
        #[test]
        fn it_returns_what_was_put_in(
            calls in prop::collection::vec((0u16..600, 0usize..900, 0u8..8), 1..1500),
        ) {
            let mut records = Records::default();
            let mut model: HashMap<u16, (u64, Vec<u8>)> = HashMap::new();
            let mut into = Vec::new();
            for (turn, (number, len, call)) in calls.into_iter().enumerate() {
                let bytes = number.to_be_bytes();
                match call {
                    0 => records.turn(),
                    1 if number % 16 == 0 => drop(records.shrink()),
                    2..4 => {
                        let found = records.get(key(&bytes), &mut into);
                        prop_assert!(found.is_none() || found == model.get(&number).map(|of| of.0));
                        prop_assert!(found.is_none() || into == model[&number].1);
                    }
                    _ => {
                        let value = vec![number as u8; len];
                        if records.get(key(&bytes), &mut into).is_none() {
                            let (before, growth) = (records.bytes(), records.growth(record_bytes(key(&bytes), &value)));
                            records.insert(key(&bytes), turn as u64, &value);
                            prop_assert!(records.bytes() <= before + growth);
                            model.insert(number, (turn as u64, value));
                        }
                        prop_assert!(records.get(key(&bytes), &mut into).is_some());
                    }
                }
                prop_assert!(records.chunks.iter().all(|chunk| chunk.capacity() == CHUNK_BYTES));
                let held: usize = records.chunks.iter().map(Vec::len).sum();
                prop_assert!(held as u64 <= records.bytes());
            }
            while records.shrink() {}
            prop_assert_eq!((records.bytes(), records.index.len()), (0, 0));
        }
    }
}
