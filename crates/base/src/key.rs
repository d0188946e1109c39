//! User keys, sequence numbers and internal keys.
//!
//! Format: an encoded internal key is the user key followed by eight bytes, little-endian, that hold
//! `sequence << 8 | kind`.
//!
//! Invariants: internal keys order by user key ascending (bytewise, always), then by sequence number *descending*,
//! then by kind descending, so that the newest version of a key is met first.

use std::cmp::Ordering;
use std::fmt;

/// The longest user key, in bytes. The empty key is a key like any other.
pub const MAX_KEY_BYTES: usize = 65_535;

/// The largest value, in bytes (1 GiB). The empty value is a value like any other.
pub const MAX_VALUE_BYTES: usize = 1 << 30;

/// Bytes that an encoded internal key has beyond its user key.
pub const TRAILER_BYTES: usize = 8;

/// A sequence number: the place of one entry in the order of all writes of a database.
///
/// 56 bits wide. 0 is before every write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeqNo(u64);

impl SeqNo {
    /// Before every write.
    pub const ZERO: Self = Self(0);
    /// After every write: a read at this number sees all there is.
    pub const MAX: Self = Self((1 << 56) - 1);

    /// The sequence number `number`.
    ///
    /// # Panics
    /// When `number` does not fit in 56 bits. For numbers read from a disk use [`SeqNo::checked`].
    #[inline]
    #[must_use]
    pub const fn new(number: u64) -> Self {
        assert!(number <= Self::MAX.0, "a sequence number has 56 bits");
        Self(number)
    }

    /// The sequence number `number`, or `None` when it does not fit in 56 bits.
    #[inline]
    #[must_use]
    pub const fn checked(number: u64) -> Option<Self> {
        if number <= Self::MAX.0 { Some(Self(number)) } else { None }
    }

    /// The number itself.
    #[inline]
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number that follows, or `None` after [`SeqNo::MAX`].
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        Self::checked(self.0 + 1)
    }
}

impl fmt::Display for SeqNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What an entry does to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ValueKind {
    /// The key has no value from here on (a tombstone).
    Delete = 0,
    /// The key has this value from here on.
    Put = 1,
    /// An operand that a merge operator applies to the value before it. Has a place in the formats; no call makes it
    /// yet.
    Merge = 2,
    /// A tombstone for the range from the key (inclusive) to the value (exclusive). Has a place in the formats; no
    /// call makes it yet.
    RangeDelete = 3,
}

impl ValueKind {
    /// The greatest kind: together with a sequence number it names the first place at which an entry of that number
    /// can stand.
    pub const MAX: Self = Self::RangeDelete;
}

impl TryFrom<u8> for ValueKind {
    type Error = u8;

    /// The kind with this code; an unknown code is given back.
    #[inline]
    fn try_from(code: u8) -> Result<Self, u8> {
        match code {
            0 => Ok(Self::Delete),
            1 => Ok(Self::Put),
            2 => Ok(Self::Merge),
            3 => Ok(Self::RangeDelete),
            other => Err(other),
        }
    }
}

/// An internal key that borrows its user key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InternalKeyRef<'a> {
    /// The key as the user gave it.
    pub user_key: &'a [u8],
    /// When it was written.
    pub seq: SeqNo,
    /// What was written.
    pub kind: ValueKind,
}

impl<'a> InternalKeyRef<'a> {
    /// The internal key of these three.
    #[inline]
    #[must_use]
    pub const fn new(user_key: &'a [u8], seq: SeqNo, kind: ValueKind) -> Self {
        Self { user_key, seq, kind }
    }

    /// The first place at which a version of `user_key` that a reader at `at` sees can stand: seek here to find the
    /// newest version with a sequence number of at most `at`.
    #[inline]
    #[must_use]
    pub const fn seek_at(user_key: &'a [u8], at: SeqNo) -> Self {
        Self { user_key, seq: at, kind: ValueKind::MAX }
    }

    /// Sequence number and kind in one number: `sequence << 8 | kind`.
    #[inline]
    #[must_use]
    pub const fn trailer(&self) -> u64 {
        (self.seq.0 << 8) | self.kind as u64
    }

    /// Takes a trailer apart; `None` when its kind is unknown.
    #[inline]
    #[must_use]
    pub fn from_trailer(user_key: &'a [u8], trailer: u64) -> Option<Self> {
        let kind = ValueKind::try_from((trailer & 0xff) as u8).ok()?;
        Some(Self { user_key, seq: SeqNo(trailer >> 8), kind })
    }

    /// Appends the encoded form.
    #[inline]
    pub fn encode_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.user_key);
        out.extend_from_slice(&self.trailer().to_le_bytes());
    }

    /// Reads the encoded form; `None` when it is too short or its kind is unknown.
    #[inline]
    #[must_use]
    pub fn decode(encoded: &'a [u8]) -> Option<Self> {
        let (user_key, trailer) = encoded.split_last_chunk::<TRAILER_BYTES>()?;
        Self::from_trailer(user_key, u64::from_le_bytes(*trailer))
    }

    /// An owned copy.
    #[must_use]
    pub fn to_owned(&self) -> InternalKey {
        InternalKey { user_key: self.user_key.into(), seq: self.seq, kind: self.kind }
    }
}

impl Ord for InternalKeyRef<'_> {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.user_key.cmp(other.user_key).then_with(|| other.trailer().cmp(&self.trailer()))
    }
}

impl PartialOrd for InternalKeyRef<'_> {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// An internal key that owns its user key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InternalKey {
    /// The key as the user gave it.
    pub user_key: Box<[u8]>,
    /// When it was written.
    pub seq: SeqNo,
    /// What was written.
    pub kind: ValueKind,
}

impl InternalKey {
    /// This key, borrowed.
    #[inline]
    #[must_use]
    pub fn as_ref(&self) -> InternalKeyRef<'_> {
        InternalKeyRef { user_key: &self.user_key, seq: self.seq, kind: self.kind }
    }
}

impl From<InternalKeyRef<'_>> for InternalKey {
    fn from(key: InternalKeyRef<'_>) -> Self {
        key.to_owned()
    }
}

impl Ord for InternalKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_ref().cmp(&other.as_ref())
    }
}

impl PartialOrd for InternalKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_key() -> impl Strategy<Value = InternalKey> {
        (prop::collection::vec(0u8..4, 0..6), 0u64..6, 0u8..4).prop_map(|(key, seq, kind)| {
            InternalKeyRef::new(&key, SeqNo::new(seq), ValueKind::try_from(kind).unwrap())
                .to_owned()
        })
    }

    proptest! {
        #[test]
        fn encoding_round_trips(key in any_key()) {
            let mut out = Vec::new();
            key.as_ref().encode_to(&mut out);
            prop_assert_eq!(InternalKeyRef::decode(&out), Some(key.as_ref()));
        }

        #[test]
        fn order_is_key_up_then_sequence_down(a in any_key(), b in any_key()) {
            let expected = a.user_key.cmp(&b.user_key)
                .then(b.seq.cmp(&a.seq))
                .then(b.kind.cmp(&a.kind));
            prop_assert_eq!(a.cmp(&b), expected);
        }

        #[test]
        fn a_seek_lands_before_every_version_it_may_see(key in any_key(), at in 0u64..6) {
            let target = InternalKeyRef::seek_at(&key.user_key, SeqNo::new(at));
            prop_assert_eq!(target <= key.as_ref(), key.seq.get() <= at);
        }
    }

    #[test]
    fn what_is_too_short_or_unknown_is_refused() {
        assert_eq!(InternalKeyRef::decode(b"1234567"), None);
        assert_eq!(InternalKeyRef::decode(&[4, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(SeqNo::checked(1 << 56), None);
    }
}
