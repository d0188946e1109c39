//! A bound of an iterator, whose memory stays when it moves.

use std::ops::Bound;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Unbounded,
    Included,
    Excluded,
}

/// A [`Bound`] with a key of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyBound {
    kind: Kind,
    key: Vec<u8>,
}

impl KeyBound {
    /// Becomes `bound`.
    pub(crate) fn set(&mut self, bound: Bound<&[u8]>) {
        let (kind, key) = match bound {
            Bound::Unbounded => (Kind::Unbounded, &[][..]),
            Bound::Included(key) => (Kind::Included, key),
            Bound::Excluded(key) => (Kind::Excluded, key),
        };
        self.kind = kind;
        self.key.clear();
        self.key.extend_from_slice(key);
    }

    #[inline]
    pub(crate) fn get(&self) -> Bound<&[u8]> {
        match self.kind {
            Kind::Unbounded => Bound::Unbounded,
            Kind::Included => Bound::Included(&self.key),
            Kind::Excluded => Bound::Excluded(&self.key),
        }
    }

    /// The memory that it keeps.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.key.capacity()
    }
}

/// Whether no key can lie between the bounds.
pub(crate) fn is_empty(lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> bool {
    match (lower, upper) {
        (Bound::Included(lower), Bound::Included(upper)) => lower > upper,
        (
            Bound::Included(lower) | Bound::Excluded(lower),
            Bound::Included(upper) | Bound::Excluded(upper),
        ) => lower >= upper,
        _ => false,
    }
}
