//! A list of changes that is applied as a whole or not at all.
//!
//! Format (a log record's payload): the first entry's sequence number (8 bytes, little-endian), the number of entries
//! (4 bytes, little-endian), then the entries. An entry is a byte with its kind in the low seven bits; if the high bit
//! is set, the column family's number follows (varint), else it is the default family; then the key's length (varint)
//! and the key; then, unless the kind is delete, the value's length (varint) and the value. The n-th entry has the
//! first sequence number + n.

use crate::ids::FamilyId;
use crate::key::{MAX_KEY_BYTES, MAX_VALUE_BYTES, SeqNo, ValueKind};
use crate::varint;

/// Bytes before the first entry.
pub const BATCH_HEADER_BYTES: usize = 12;

pub(crate) const OTHER_FAMILY: u8 = 0x80;

/// A list of changes, in order, to any number of column families.
///
/// Building one never fails; what is too large is refused when it is written.
///
/// ```
/// use base::WriteBatch;
///
/// let mut batch = WriteBatch::new();
/// batch.put(b"k1", b"v1").delete(b"k2");
/// assert_eq!(batch.len(), 2);
/// ```
#[derive(Clone, Debug, Default)]
pub struct WriteBatch {
    entries: Vec<u8>,
    count: u32,
    key_bytes_max: usize,
    value_bytes_max: usize,
}

/// One change of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchEntry<'a> {
    /// The column family that it changes.
    pub family: FamilyId,
    /// What it does.
    pub kind: ValueKind,
    /// The key.
    pub key: &'a [u8],
    /// The value; empty for a delete.
    pub value: &'a [u8],
}

/// Why a batch, or the bytes of one, cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// A key is longer than [`MAX_KEY_BYTES`]: shorten it.
    #[error("a key of {found} bytes is longer than the {MAX_KEY_BYTES} that a key may have")]
    KeyTooLong {
        /// The longest key's length.
        found: usize,
    },
    /// A value is larger than [`MAX_VALUE_BYTES`]: store it in parts.
    #[error("a value of {found} bytes is larger than the {MAX_VALUE_BYTES} that a value may have")]
    ValueTooLarge {
        /// The largest value's length.
        found: usize,
    },
    /// Bytes that should hold a batch do not: whoever read them reports the place.
    #[error("not a batch: {what} at byte {at}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
        /// The offset in the batch.
        at: usize,
    },
}

impl WriteBatch {
    /// An empty batch.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Vec::new(), count: 0, key_bytes_max: 0, value_bytes_max: 0 }
    }

    /// An empty batch with room for `bytes` of entries.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { entries: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// Gives `key` the value `value` in the default family.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> &mut Self {
        self.push(FamilyId::DEFAULT, ValueKind::Put, key.as_ref(), value.as_ref())
    }

    /// Removes `key` from the default family; no error if it is not there.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) -> &mut Self {
        self.push(FamilyId::DEFAULT, ValueKind::Delete, key.as_ref(), &[])
    }

    /// Gives `key` the value `value` in `family`.
    pub fn put_in(
        &mut self,
        family: impl Into<FamilyId>,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> &mut Self {
        self.push(family.into(), ValueKind::Put, key.as_ref(), value.as_ref())
    }

    /// Removes `key` from `family`; no error if it is not there.
    pub fn delete_in(&mut self, family: impl Into<FamilyId>, key: impl AsRef<[u8]>) -> &mut Self {
        self.push(family.into(), ValueKind::Delete, key.as_ref(), &[])
    }

    fn push(&mut self, family: FamilyId, kind: ValueKind, key: &[u8], value: &[u8]) -> &mut Self {
        self.key_bytes_max = self.key_bytes_max.max(key.len());
        self.value_bytes_max = self.value_bytes_max.max(value.len());
        self.count = self.count.saturating_add(1);
        if family == FamilyId::DEFAULT {
            self.entries.push(kind as u8);
        } else {
            self.entries.push(kind as u8 | OTHER_FAMILY);
            varint::put_u32(&mut self.entries, family.get());
        }
        varint::put_len_prefixed(&mut self.entries, key);
        if kind != ValueKind::Delete {
            varint::put_len_prefixed(&mut self.entries, value);
        }
        self
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.count = 0;
        self.key_bytes_max = 0;
        self.value_bytes_max = 0;
    }

    /// How many changes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the encoded form, header included.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        BATCH_HEADER_BYTES + self.entries.len()
    }

    /// The encoded entries, without the header.
    #[must_use]
    pub fn entry_bytes(&self) -> &[u8] {
        &self.entries
    }

    /// The header of the encoded form, for a batch whose first entry gets `first`.
    #[must_use]
    pub fn header(&self, first: SeqNo) -> [u8; BATCH_HEADER_BYTES] {
        header(first, self.count)
    }

    /// Checks the limits of keys and values.
    ///
    /// # Errors
    /// [`BatchError::KeyTooLong`], [`BatchError::ValueTooLarge`]: nothing of the batch can be written.
    pub fn check_limits(&self) -> Result<(), BatchError> {
        check_lengths(self.key_bytes_max, self.value_bytes_max)
    }

    /// The changes in order.
    #[must_use]
    pub fn iter(&self) -> Entries<'_> {
        Entries { all: &self.entries, rest: &self.entries }
    }
}

/// The header of `count` changes, of which the first gets `first`.
#[inline]
pub(crate) fn header(first: SeqNo, count: u32) -> [u8; BATCH_HEADER_BYTES] {
    let mut header = [0; BATCH_HEADER_BYTES];
    header[..8].copy_from_slice(&first.get().to_le_bytes());
    header[8..].copy_from_slice(&count.to_le_bytes());
    header
}

/// Checks the longest key and the largest value against their limits.
#[inline]
pub(crate) fn check_lengths(key_bytes: usize, value_bytes: usize) -> Result<(), BatchError> {
    if key_bytes > MAX_KEY_BYTES {
        return Err(BatchError::KeyTooLong { found: key_bytes });
    }
    if value_bytes > MAX_VALUE_BYTES {
        return Err(BatchError::ValueTooLarge { found: value_bytes });
    }
    Ok(())
}

impl<'a> IntoIterator for &'a WriteBatch {
    type Item = BatchEntry<'a>;
    type IntoIter = Entries<'a>;

    fn into_iter(self) -> Entries<'a> {
        self.iter()
    }
}

/// The changes of a batch, in order.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    all: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    fn read_entry(&mut self) -> Result<BatchEntry<'a>, BatchError> {
        let at = BATCH_HEADER_BYTES + (self.all.len() - self.rest.len());
        let malformed = |what| BatchError::Malformed { what, at };
        let (&tag, mut rest) = self.rest.split_first().ok_or(malformed("an entry is missing"))?;
        let kind = ValueKind::try_from(tag & !OTHER_FAMILY)
            .map_err(|_| malformed("unknown entry kind"))?;
        let family = if tag & OTHER_FAMILY != 0 {
            varint::get_u32(&mut rest).ok_or(malformed("no family number"))?
        } else {
            0
        };
        let key = varint::get_len_prefixed(&mut rest).ok_or(malformed("no whole key"))?;
        let value = if kind == ValueKind::Delete {
            &[]
        } else {
            varint::get_len_prefixed(&mut rest).ok_or(malformed("no whole value"))?
        };
        if key.len() > MAX_KEY_BYTES || value.len() > MAX_VALUE_BYTES {
            return Err(malformed("a key or value beyond its limit"));
        }
        self.rest = rest;
        Ok(BatchEntry { family: FamilyId::new(family), kind, key, value })
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = BatchEntry<'a>;

    #[inline]
    fn next(&mut self) -> Option<BatchEntry<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        // The bytes were made by `push` or went through `decode`, so this is always `Ok`.
        self.read_entry().ok()
    }
}

/// Reads an encoded batch: its first sequence number and its entries, all of which have been checked.
///
/// # Errors
/// [`BatchError::Malformed`] when the bytes are not a whole batch, or hold more than one.
pub fn decode(bytes: &[u8]) -> Result<(SeqNo, Entries<'_>), BatchError> {
    let malformed = |what, at| BatchError::Malformed { what, at };
    let (header, entries) =
        bytes.split_first_chunk::<BATCH_HEADER_BYTES>().ok_or(malformed("no whole header", 0))?;
    let (first, count) = header.split_first_chunk::<8>().ok_or(malformed("no whole header", 0))?;
    let first = u64::from_le_bytes(*first);
    let count = count.iter().rev().fold(0u64, |n, &b| n << 8 | u64::from(b));
    let last = first.checked_add(count).and_then(SeqNo::checked);
    let (Some(first), Some(_)) = (SeqNo::checked(first), last) else {
        return Err(malformed("sequence number out of range", 0));
    };
    let all = Entries { all: entries, rest: entries };
    let mut check = all.clone();
    for _ in 0..count {
        check.read_entry()?;
    }
    if !check.rest.is_empty() {
        return Err(malformed("more bytes than entries", bytes.len() - check.rest.len()));
    }
    Ok((first, all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Change = (u32, bool, Vec<u8>, Vec<u8>);

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..200);
        prop::collection::vec((0u32..300, any::<bool>(), bytes(), bytes()), 0..20)
    }

    fn build(changes: &[Change]) -> WriteBatch {
        let mut batch = WriteBatch::new();
        for (family, is_put, key, value) in changes {
            if *is_put {
                batch.put_in(FamilyId::new(*family), key, value);
            } else {
                batch.delete_in(FamilyId::new(*family), key);
            }
        }
        batch
    }

    fn encoded(batch: &WriteBatch, first: SeqNo) -> Vec<u8> {
        [&batch.header(first)[..], batch.entry_bytes()].concat()
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(changes in changes(), first in 0u64..1 << 40) {
            let batch = build(&changes);
            let bytes = encoded(&batch, SeqNo::new(first));
            prop_assert_eq!(bytes.len(), batch.encoded_len());
            let (seq, entries) = decode(&bytes).unwrap();
            prop_assert_eq!(seq.get(), first);
            let entries: Vec<_> = entries.collect();
            prop_assert_eq!(&entries, &batch.iter().collect::<Vec<_>>());
            prop_assert_eq!(entries.len(), changes.len());
            for (entry, (family, is_put, key, value)) in entries.iter().zip(&changes) {
                prop_assert_eq!(entry.family.get(), *family);
                prop_assert_eq!(entry.key, key);
                prop_assert_eq!(entry.kind == ValueKind::Put, *is_put);
                prop_assert_eq!(entry.value, if *is_put { &value[..] } else { &[] });
            }
        }

        #[test]
        fn a_truncated_batch_is_refused(changes in changes(), cut in any::<prop::sample::Index>()) {
            let bytes = encoded(&build(&changes), SeqNo::new(1));
            prop_assert!(decode(&bytes[..cut.index(bytes.len())]).is_err());
        }

        #[test]
        fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok((_, entries)) = decode(&noise) {
                prop_assert!(entries.count() <= noise.len());
            }
        }
    }

    #[test]
    fn trailing_bytes_and_sequence_overflow_are_refused() {
        let mut batch = WriteBatch::new();
        batch.put(b"k", b"v");
        let mut bytes = encoded(&batch, SeqNo::new(1));
        bytes.push(0);
        assert!(decode(&bytes).is_err());
        assert!(decode(&encoded(&batch, SeqNo::MAX)).is_err());
    }

    #[test]
    fn limits_are_checked_and_cleared() {
        let mut batch = WriteBatch::new();
        batch.put(vec![0; MAX_KEY_BYTES], b"");
        assert_eq!(batch.check_limits(), Ok(()));
        batch.delete(vec![0; MAX_KEY_BYTES + 1]);
        assert_eq!(batch.check_limits(), Err(BatchError::KeyTooLong { found: MAX_KEY_BYTES + 1 }));
        batch.clear();
        assert!(batch.is_empty() && batch.check_limits().is_ok());
    }
}
