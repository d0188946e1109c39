//! How much room a group of inserts needs, exactly and before the first of them.
//!
//! An entry's size depends on the height of its tower, which is random. A [`Space`] therefore draws the heights: it
//! holds the seed that the inserts will draw the same heights from. Which entry gets which height does not matter to
//! the sum, since an entry costs so much for its key and value and so much for its height.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use base::{MAX_KEY_BYTES, MAX_VALUE_BYTES};

use crate::node;

/// The room that a group of inserts into one memtable needs.
///
/// Add every entry of the group, reserve the whole, then insert the entries in any order.
#[derive(Clone, Debug)]
pub struct Space {
    first: Heights,
    next: Heights,
    bytes: usize,
    entries: usize,
}

impl Space {
    /// Room for nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::with_seed(fresh_seed())
    }

    /// Room for nothing yet, with the tower heights that follow from `seed`. For tests that have to be repeatable:
    /// many groups of equal seeds make a slow table.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self { first: Heights(seed), next: Heights(seed), bytes: 0, entries: 0 }
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
        let entry = node::bytes(self.next.draw(), key_len, value_len);
        self.bytes = self.bytes.checked_add(entry).expect("a group of inserts fits in memory");
        self.entries += 1;
    }

    /// The bytes needed, exactly.
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

    /// The heights that were counted, from the first entry on.
    #[inline]
    pub(crate) fn heights(&self) -> Heights {
        self.first
    }
}

impl Default for Space {
    fn default() -> Self {
        Self::new()
    }
}

/// A repeatable sequence of tower heights: each level is a quarter as likely as the one below.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heights(u64);

impl Heights {
    /// The next height, from 1 to [`node::HEIGHT_MAX`] inclusive.
    #[inline]
    pub(crate) fn draw(&mut self) -> usize {
        self.0 = self.0.wrapping_add(GOLDEN_GAMMA);
        let pairs_of_zeros = mix(self.0).trailing_zeros() as usize / 2;
        (1 + pairs_of_zeros).min(node::HEIGHT_MAX)
    }
}

/// The step of the SplitMix64 generator.
const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output function of the SplitMix64 generator.
#[inline]
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A seed that no other group in this process has, without touching memory that other threads write.
///
/// It follows from how many threads and groups there were before, and from nothing else: a program that runs its
/// threads in the same order gets the same tables.
#[inline]
fn fresh_seed() -> u64 {
    if cfg!(any(loom, shuttle)) {
        // A model runs the same program again and again on one thread, and has to meet the same heights each time.
        return 0;
    }
    /// A plain `std` atomic, under loom too: it numbers threads and orders nothing.
    static THREADS: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static GROUPS: Cell<u64> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed) << 40);
    }
    GROUPS.with(|groups| {
        let group = groups.get();
        groups.set(group.wrapping_add(1));
        mix(group)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_fall_off_by_a_quarter_a_level() {
        // Across groups of one entry, which is how single writes draw them.
        let mut seen = [0usize; node::HEIGHT_MAX + 1];
        for _ in 0..100_000 {
            seen[Space::new().heights().draw()] += 1;
        }
        assert_eq!(seen[0], 0);
        assert!((73_000..77_000).contains(&seen[1]), "{seen:?}");
        assert!((17_500..20_000).contains(&seen[2]), "{seen:?}");
        assert!((4_200..5_200).contains(&seen[3]), "{seen:?}");
    }

    #[test]
    fn heights_repeat_from_the_seed() {
        let mut space = Space::with_seed(7);
        let mut expected = 0;
        let mut heights = space.heights();
        for len in 0..50 {
            space.add(len, 2 * len);
            expected += node::bytes(heights.draw(), len, 2 * len);
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
