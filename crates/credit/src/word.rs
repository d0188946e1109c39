//! The account word: what is held, whether the slow path is due, and a count, in one atomic `u64`.
//!
//! Format (bit 0 is the lowest):
//!
//! ```text
//!   63        49   48   47                                              0
//!  +------------+------+-------------------------------------------------+
//!  | count (15) | SLOW |                 held bytes (48)                 |
//!  +------------+------+-------------------------------------------------+
//! ```
//!
//! Invariants
//! - While `SLOW` is clear, anybody may change the word by compare-and-swap. While it is set, only the
//!   thread that holds the pool's lock changes it.
//! - The count rises by one with each grant, so that acquisitions are counted without an atomic
//!   operation of their own (whoever makes it wrap adds one to a cold counter), and each time `SLOW` is
//!   cleared. The second is what makes a *stale* compare-and-swap fail: one that read the capacity
//!   before a resize and would otherwise find the very same word after it. (It would have to sleep
//!   through an exact multiple of 32,768 such steps to be fooled.)

/// Most bytes that can be held at once, 256 TiB less one: more than a process can map.
pub(crate) const MAX_BYTES: u64 = (1 << 48) - 1;

/// Set while acquire and release have to take the lock.
pub(crate) const SLOW: u64 = 1 << 48;

const COUNT_ONE: u64 = 1 << 49;
const COUNT_SHIFT: u32 = 49;

/// Grants after which the count in the word starts again from 0.
pub(crate) const COUNT_SPAN: u64 = 1 << (64 - COUNT_SHIFT);

/// The held bytes in `word`.
#[inline]
pub(crate) fn held(word: u64) -> u64 {
    word & MAX_BYTES
}

/// The count in `word`, 0 to `COUNT_SPAN - 1`.
#[inline]
pub(crate) fn count(word: u64) -> u64 {
    word >> COUNT_SHIFT
}

/// `word` after a grant of `bytes`, and whether the count wrapped.
///
/// The caller has checked that `held(word) + bytes` is at most [`MAX_BYTES`].
#[inline]
pub(crate) fn granted(word: u64, bytes: u64) -> (u64, bool) {
    debug_assert!(bytes <= MAX_BYTES - held(word), "the held bytes would run into the flags");
    (word + bytes).overflowing_add(COUNT_ONE)
}

/// `word` with `SLOW` cleared and the count raised, and whether the count wrapped.
#[inline]
pub(crate) fn reopened(word: u64) -> (u64, bool) {
    (word & !SLOW).overflowing_add(COUNT_ONE)
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_touch_each_other() {
        let (word, wrapped) = granted(SLOW, MAX_BYTES);
        assert_eq!((held(word), count(word), word & SLOW, wrapped), (MAX_BYTES, 1, SLOW, false));
        let (word, wrapped) = reopened(word);
        assert_eq!((held(word), count(word), word & SLOW, wrapped), (MAX_BYTES, 2, 0, false));
    }

    #[test]
    fn the_count_wraps_without_touching_held() {
        let mut word = 7;
        let mut wraps = 0;
        for _ in 0..2 * COUNT_SPAN + 3 {
            let (next, wrapped) = granted(word, 0);
            word = next;
            wraps += u64::from(wrapped);
        }
        assert_eq!((held(word), count(word), wraps), (7, 3, 2));
    }
}
