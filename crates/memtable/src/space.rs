//! How much room a group of inserts needs for its entries, exactly and before the first of them.

use base::{MAX_KEY_BYTES, MAX_VALUE_BYTES};

use crate::entry;

/// The room that the entries of a group of inserts into one memtable need.
///
/// Add every entry of the group, reserve the whole, then insert the entries in any order. What the memtable's tree
/// needs on top to take them in is the memtable's to know: [`Memtable::bytes_for`](crate::Memtable::bytes_for).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    bytes: usize,
    entries: usize,
}

impl Space {
    /// Room for nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: 0, entries: 0 }
    }

    /// Adds room for one entry.
    ///
    /// # Panics
    /// When a length is above [`MAX_KEY_BYTES`] or [`MAX_VALUE_BYTES`], or the sum does not fit the address space:
    /// check what users give before.
    #[inline]
    pub fn add(&mut self, key_len: usize, value_len: usize) {
        assert!(key_len <= MAX_KEY_BYTES, "a key of {key_len} bytes is above the limit");
        assert!(value_len <= MAX_VALUE_BYTES, "a value of {value_len} bytes is above the limit");
        let entry = entry::bytes(key_len, value_len);
        self.bytes = self.bytes.checked_add(entry).expect("a group of inserts fits in memory");
        self.entries += 1;
    }

    /// The bytes that the entries take, exactly.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The entries added.
    #[inline]
    #[must_use]
    pub fn entries(&self) -> usize {
        self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_the_entries() {
        let (mut space, mut expected) = (Space::new(), 0);
        for len in 0..50 {
            space.add(len, 2 * len);
            expected += entry::bytes(len, 2 * len);
        }
        assert_eq!((space.bytes(), space.entries()), (expected, 50));
    }

    #[test]
    #[should_panic(expected = "above the limit")]
    fn a_key_above_the_limit_is_refused() {
        Space::new().add(MAX_KEY_BYTES + 1, 0);
    }

    #[test]
    #[should_panic(expected = "above the limit")]
    fn a_value_above_the_limit_is_refused() {
        Space::new().add(0, MAX_VALUE_BYTES + 1);
    }
}
