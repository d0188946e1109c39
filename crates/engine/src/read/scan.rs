//! From versions to values: walks a merged cursor as a reader at one sequence number sees it, a batch at a time.
//!
//! Versions that the reader does not see, and those hidden by a newer one, are stepped over; after a few steps within
//! one key the cursor seeks past the rest, so that a key with a million versions costs a seek, not a walk.

use std::ops::{Bound, Range};

use base::{Cursor, InternalKeyRef, SeqNo, ValueKind};
use bytes::{Bytes, BytesMut};

use crate::error::Error;
use crate::read::merge::MergeCursor;

/// Steps within one key after which seeking is cheaper.
const STEPS_BEFORE_SEEK: usize = 8;

/// Values from this size on are handed out as they are held, smaller ones are copied into the batch.
const COPIED_BYTES_MAX: usize = 4096;

/// How much one batch takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLimit {
    entries: usize,
    bytes: usize,
}

impl BatchLimit {
    /// A first batch, for readers that want only a few entries.
    pub(crate) const FIRST: Self = Self { entries: 8, bytes: 8 << 10 };
    const LARGEST: Self = Self { entries: 4096, bytes: 256 << 10 };

    /// The batch after this one, for a reader that goes on.
    pub(crate) fn next(self) -> Self {
        Self {
            entries: (self.entries * 4).min(Self::LARGEST.entries),
            bytes: (self.bytes * 4).min(Self::LARGEST.bytes),
        }
    }
}

enum Value {
    Copied(Range<usize>),
    Held(Bytes),
}

/// Entries that were read together, in the order in which they were met.
#[derive(Default)]
pub(crate) struct Batch {
    bytes: Bytes,
    entries: std::collections::VecDeque<(Range<usize>, Value)>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes the entry that was met first.
    pub(crate) fn take_first(&mut self) -> Option<(Bytes, Bytes)> {
        let entry = self.entries.pop_front()?;
        Some(self.hand_out(entry))
    }

    /// Takes the entry that was met last.
    pub(crate) fn take_last(&mut self) -> Option<(Bytes, Bytes)> {
        let entry = self.entries.pop_back()?;
        Some(self.hand_out(entry))
    }

    /// The key that was met last.
    pub(crate) fn last_key(&self) -> Option<Bytes> {
        self.entries.back().map(|(key, _)| self.bytes.slice(key.clone()))
    }

    fn hand_out(&self, (key, value): (Range<usize>, Value)) -> (Bytes, Bytes) {
        let value = match value {
            Value::Copied(range) => self.bytes.slice(range),
            Value::Held(bytes) => bytes,
        };
        (self.bytes.slice(key), value)
    }
}

/// A batch that is being filled.
struct Filling {
    bytes: BytesMut,
    entries: std::collections::VecDeque<(Range<usize>, Value)>,
    held_bytes: usize,
    limit: BatchLimit,
}

impl Filling {
    fn new(limit: BatchLimit) -> Self {
        Self {
            bytes: BytesMut::with_capacity(limit.bytes.min(32 << 10)),
            entries: std::collections::VecDeque::new(),
            held_bytes: 0,
            limit,
        }
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= self.limit.entries
            || self.bytes.len() + self.held_bytes >= self.limit.bytes
    }

    fn push(&mut self, cursor: &MergeCursor<'_>) {
        let key_start = self.bytes.len();
        self.bytes.extend_from_slice(cursor.key().user_key);
        let key = key_start..self.bytes.len();
        let value = cursor.value();
        let value = if value.len() < COPIED_BYTES_MAX {
            self.bytes.extend_from_slice(value);
            Value::Copied(key.end..self.bytes.len())
        } else {
            self.held_bytes += value.len();
            Value::Held(cursor.value_bytes())
        };
        self.entries.push_back((key, value));
    }

    fn finish(self) -> Batch {
        Batch { bytes: self.bytes.freeze(), entries: self.entries }
    }
}

fn is_below(key: &[u8], lower: Bound<&[u8]>) -> bool {
    match lower {
        Bound::Unbounded => false,
        Bound::Included(bound) => key < bound,
        Bound::Excluded(bound) => key <= bound,
    }
}

fn is_above(key: &[u8], upper: Bound<&[u8]>) -> bool {
    match upper {
        Bound::Unbounded => false,
        Bound::Included(bound) => key > bound,
        Bound::Excluded(bound) => key >= bound,
    }
}

/// Where every version of `key` is behind.
fn after(key: &[u8]) -> InternalKeyRef<'_> {
    InternalKeyRef::new(key, SeqNo::ZERO, ValueKind::Delete)
}

/// Where every version of `key` is ahead.
fn before(key: &[u8]) -> InternalKeyRef<'_> {
    InternalKeyRef::seek_at(key, SeqNo::MAX)
}

/// Reads a batch upwards from `lower`; empty when nothing is left.
pub(crate) fn forward(
    cursor: &mut MergeCursor<'_>,
    at: SeqNo,
    lower: Bound<&[u8]>,
    upper: Bound<&[u8]>,
    limit: BatchLimit,
) -> Result<Batch, Error> {
    match lower {
        Bound::Unbounded => cursor.seek_to_first()?,
        Bound::Included(key) => cursor.seek(InternalKeyRef::seek_at(key, at))?,
        Bound::Excluded(key) => {
            cursor.seek(after(key))?;
            skip_key_forward(cursor, key)?;
        }
    }
    let mut batch = Filling::new(limit);
    let mut key = Vec::new();
    let mut unseen = 0;
    while cursor.is_valid() && !batch.is_full() {
        let here = cursor.key();
        if is_above(here.user_key, upper) {
            break;
        }
        if here.seq > at {
            unseen += 1;
            if unseen > STEPS_BEFORE_SEEK {
                key.clear();
                key.extend_from_slice(here.user_key);
                cursor.seek(InternalKeyRef::seek_at(&key, at))?;
                unseen = 0;
            } else {
                cursor.next()?;
            }
            continue;
        }
        unseen = 0;
        if here.kind == ValueKind::Put {
            batch.push(cursor);
        }
        key.clear();
        key.extend_from_slice(here.user_key);
        skip_key_forward(cursor, &key)?;
    }
    Ok(batch.finish())
}

/// Moves up past all versions of `key`.
fn skip_key_forward(cursor: &mut MergeCursor<'_>, key: &[u8]) -> Result<(), Error> {
    let mut steps = 0;
    while cursor.is_valid() && cursor.key().user_key == key {
        steps += 1;
        if steps > STEPS_BEFORE_SEEK && cursor.key() < after(key) {
            cursor.seek(after(key))?;
        } else {
            cursor.next()?;
        }
    }
    Ok(())
}

/// Reads a batch downwards from `upper`; empty when nothing is left.
pub(crate) fn backward(
    cursor: &mut MergeCursor<'_>,
    at: SeqNo,
    lower: Bound<&[u8]>,
    upper: Bound<&[u8]>,
    limit: BatchLimit,
) -> Result<Batch, Error> {
    match upper {
        Bound::Unbounded => cursor.seek_to_last()?,
        Bound::Included(key) => cursor.seek_for_prev(after(key))?,
        Bound::Excluded(key) => cursor.seek_for_prev(before(key))?,
    }
    let mut batch = Filling::new(limit);
    let mut key = Vec::new();
    while cursor.is_valid() && !batch.is_full() {
        let here = cursor.key();
        if is_below(here.user_key, lower) {
            break;
        }
        key.clear();
        key.extend_from_slice(here.user_key);
        if here.seq > at {
            // The oldest version is newer than the reader: it sees none.
            skip_key_backward(cursor, &key)?;
            continue;
        }
        // The newest version that the reader sees is the last one met on the way down; a seek finds it at once where
        // there are many.
        cursor.seek(InternalKeyRef::seek_at(&key, at))?;
        if cursor.is_valid() && cursor.key().user_key == key && cursor.key().kind == ValueKind::Put
        {
            batch.push(cursor);
        }
        cursor.seek_for_prev(before(&key))?;
    }
    Ok(batch.finish())
}

/// Moves down past all versions of `key`.
fn skip_key_backward(cursor: &mut MergeCursor<'_>, key: &[u8]) -> Result<(), Error> {
    let mut steps = 0;
    while cursor.is_valid() && cursor.key().user_key == key {
        steps += 1;
        if steps > STEPS_BEFORE_SEEK {
            cursor.seek_for_prev(before(key))?;
        } else {
            cursor.prev()?;
        }
    }
    Ok(())
}
