//! What is written at once: a batch, or a single change that is not copied into one first.
//!
//! Both have the same encoded form, that of [`batch`](crate::batch).

use crate::batch::{
    BATCH_HEADER_BYTES, BatchEntry, BatchError, OTHER_FAMILY, WriteBatch, check_lengths, header,
};
use crate::ids::FamilyId;
use crate::key::{SeqNo, ValueKind};
use crate::varint;

/// What precedes the key of a single change at most: the header, the kind, the family's number, the key's length.
const HEAD_BYTES_MAX: usize = BATCH_HEADER_BYTES + 1 + 2 * varint::MAX_U32_BYTES;

/// Changes that are written as a whole.
#[derive(Clone, Copy, Debug)]
pub enum Changes<'a> {
    /// One, where its owner has it.
    One(BatchEntry<'a>),
    /// Those of a batch.
    Batch(&'a WriteBatch),
}

impl<'a> Changes<'a> {
    /// Gives `key` the value `value`; `None`: removes it.
    #[inline]
    #[must_use]
    pub fn one(family: FamilyId, key: &'a [u8], value: Option<&'a [u8]>) -> Self {
        let kind = if value.is_some() { ValueKind::Put } else { ValueKind::Delete };
        Self::One(BatchEntry { family, kind, key, value: value.unwrap_or_default() })
    }

    /// Checks the limits of keys and values.
    ///
    /// # Errors
    /// [`BatchError::KeyTooLong`], [`BatchError::ValueTooLarge`]: nothing of it can be written.
    #[inline]
    pub fn check_limits(&self) -> Result<(), BatchError> {
        match self {
            Self::One(entry) => check_lengths(entry.key.len(), entry.value.len()),
            Self::Batch(batch) => batch.check_limits(),
        }
    }

    /// Bytes of the encoded form, header included.
    #[inline]
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::One(entry) => {
                let len = |bytes: &[u8]| varint::len_u64(bytes.len() as u64) + bytes.len();
                let family = match entry.family {
                    FamilyId::DEFAULT => 0,
                    other => varint::len_u64(u64::from(other.get())),
                };
                let value = if entry.kind == ValueKind::Delete { 0 } else { len(entry.value) };
                BATCH_HEADER_BYTES + 1 + family + len(entry.key) + value
            }
            Self::Batch(batch) => batch.encoded_len(),
        }
    }

    /// Calls `with` with the encoded form, of which the first change gets the sequence number `first`: its parts, to be
    /// put one after the other.
    #[inline]
    pub fn with_encoded<T>(&self, first: SeqNo, with: impl FnOnce(&[&[u8]]) -> T) -> T {
        match self {
            Self::One(entry) => with_one(entry, first, with),
            Self::Batch(batch) => with(&[&batch.header(first), batch.entry_bytes()]),
        }
    }
}

/// As [`Changes::with_encoded`], for a single change.
#[inline]
fn with_one<T>(entry: &BatchEntry<'_>, first: SeqNo, with: impl FnOnce(&[&[u8]]) -> T) -> T {
    let (mut head, mut len) = ([0; HEAD_BYTES_MAX], BATCH_HEADER_BYTES);
    head[..BATCH_HEADER_BYTES].copy_from_slice(&header(first, 1));
    let mut push = |byte| {
        head[len] = byte;
        len += 1;
    };
    if entry.family == FamilyId::DEFAULT {
        push(entry.kind as u8);
    } else {
        push(entry.kind as u8 | OTHER_FAMILY);
        varint::encode_u64(u64::from(entry.family.get()), &mut push);
    }
    varint::encode_u64(entry.key.len() as u64, &mut push);
    let head = &head[..len];
    if entry.kind == ValueKind::Delete {
        return with(&[head, entry.key]);
    }
    let (mut value_len, mut len) = ([0; varint::MAX_U64_BYTES], 0);
    varint::encode_u64(entry.value.len() as u64, |byte| {
        value_len[len] = byte;
        len += 1;
    });
    with(&[head, entry.key, &value_len[..len], entry.value])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::decode;
    use crate::key::{MAX_KEY_BYTES, MAX_VALUE_BYTES};
    use proptest::prelude::*;

    fn encoded(changes: Changes<'_>, first: u64) -> Vec<u8> {
        changes.with_encoded(SeqNo::new(first), |parts| parts.concat())
    }

    proptest! {
        #[test]
        fn a_single_change_is_encoded_as_a_batch_of_one(
            family in prop_oneof![Just(0u32), any::<u32>()],
            key in prop::collection::vec(any::<u8>(), 0..300),
            value in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
            first in 0u64..1 << 40,
        ) {
            let family = FamilyId::new(family);
            let mut batch = WriteBatch::new();
            match &value {
                Some(value) => batch.put_in(family, &key, value),
                None => batch.delete_in(family, &key),
            };
            let (one, batch) = (Changes::one(family, &key, value.as_deref()), Changes::Batch(&batch));
            prop_assert_eq!(encoded(one, first), encoded(batch, first));
            prop_assert_eq!(one.encoded_len(), batch.encoded_len());
            let bytes = encoded(one, first);
            let (_, mut entries) = decode(&bytes).unwrap();
            let Changes::One(entry) = one else { unreachable!() };
            prop_assert_eq!((entries.next(), entries.next()), (Some(entry), None));
        }
    }

    #[test]
    fn the_limits_of_a_single_change_are_those_of_a_batch() {
        let (key, value) = (vec![0; MAX_KEY_BYTES + 1], vec![0; MAX_VALUE_BYTES + 1]);
        let check = |key, value| Changes::one(FamilyId::DEFAULT, key, Some(value)).check_limits();
        assert_eq!(check(&key[1..], &value[1..]), Ok(()));
        assert_eq!(check(&key, b""), Err(BatchError::KeyTooLong { found: key.len() }));
        assert_eq!(check(b"", &value), Err(BatchError::ValueTooLarge { found: value.len() }));
    }
}
