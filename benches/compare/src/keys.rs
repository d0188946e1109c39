//! Keys and values, each a pure function of its number, so that whatever is read can be checked.
//!
//! A key is its number in big-endian order, so that keys sort as their numbers do, and eight more
//! bytes: the layout of RocksDB's `db_bench`. A value is a piece of a pool of random bytes: making
//! one costs nothing, and no compressor finds anything in it.

use kit::random::{fill, mix};

/// Length of a key, in bytes.
pub(crate) const KEY_BYTES: usize = 16;

/// Bytes of the pool, besides the longest value: so few that it stays in the processor's nearest
/// cache, and checking a value costs little beside reading it. With 1 MiB, checking took a fifth of the
/// time of short scans.
const POOL_BYTES: usize = 16 << 10;

const TAIL: [u8; 8] = *b"00000000";
const TAIL_MISSING: [u8; 8] = *b"00000001";

/// A key.
pub(crate) type Key = [u8; KEY_BYTES];

/// The key of this number.
pub(crate) fn key(number: u64) -> Key {
    with_tail(number, TAIL)
}

/// A key that nobody writes, between those of this number and of the next.
pub(crate) fn missing_key(number: u64) -> Key {
    with_tail(number, TAIL_MISSING)
}

fn with_tail(number: u64, tail: [u8; 8]) -> Key {
    let mut key = [0; KEY_BYTES];
    key[..8].copy_from_slice(&number.to_be_bytes());
    key[8..].copy_from_slice(&tail);
    key
}

/// The number of a key that [`key`] has made; `None` for any other.
pub(crate) fn number(key: &[u8]) -> Option<u64> {
    let number = key.strip_suffix(&TAIL)?;
    Some(u64::from_be_bytes(number.try_into().ok()?))
}

/// The value of every key.
#[derive(Debug)]
pub(crate) struct Values {
    pool: Vec<u8>,
    length: usize,
}

impl Values {
    /// Values of this many bytes.
    pub(crate) fn new(length: usize) -> Self {
        let mut pool = vec![0; POOL_BYTES + length];
        fill(&mut pool, 0x706f_6c64_6572);
        Self { pool, length }
    }

    /// The value of the key with this number.
    pub(crate) fn of(&self, number: u64) -> &[u8] {
        let at = mix(number) as usize % POOL_BYTES;
        &self.pool[at..at + self.length]
    }
}

/// Numbers below `count` in a random order, each exactly once.
///
/// A Feistel network over the next even number of bits; what falls outside is sent through again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shuffle {
    count: u64,
    half_bits: u32,
    seed: u64,
}

impl Shuffle {
    /// An order of `0..count`, another one for each seed.
    pub(crate) fn new(count: u64, seed: u64) -> Self {
        let bits = u64::BITS - count.saturating_sub(1).leading_zeros();
        Self { count, half_bits: bits.div_ceil(2).max(1), seed }
    }

    /// The number at this position; `position` must be below the count.
    pub(crate) fn at(&self, position: u64) -> u64 {
        assert!(position < self.count, "position {position} of {}", self.count);
        let mut number = self.once(position);
        while number >= self.count {
            number = self.once(number);
        }
        number
    }

    fn once(&self, number: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (number >> self.half_bits, number & mask);
        for round in 0..4 {
            let mixed = mix(right ^ self.seed.rotate_left(round * 16)) & mask;
            (left, right) = (right, left ^ mixed);
        }
        left << self.half_bits | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_numbers_and_read_back() {
        let numbers = [0, 1, 255, 256, 65_535, 1 << 40, u64::MAX];
        for pair in numbers.windows(2) {
            assert!(key(pair[0]) < key(pair[1]));
            assert!(key(pair[0]) < missing_key(pair[0]) && missing_key(pair[0]) < key(pair[1]));
        }
        for wanted in numbers {
            assert_eq!(number(&key(wanted)), Some(wanted));
            assert_eq!(number(&missing_key(wanted)), None);
        }
        assert_eq!(number(b"00000000"), None);
        assert_eq!(number(b""), None);
    }

    #[test]
    fn values_are_reproducible_long_as_asked_and_differ() {
        for length in [0, 8, 100, 65_536] {
            let (values, again) = (Values::new(length), Values::new(length));
            for number in [0, 1, 7, u64::MAX] {
                assert_eq!(values.of(number).len(), length);
                assert_eq!(values.of(number), again.of(number));
            }
        }
        let values = Values::new(8);
        let mut seen: Vec<_> = (0..1000).map(|number| values.of(number)).collect();
        seen.sort_unstable();
        seen.dedup();
        // A thousand of 16 Ki places: some thirty are taken twice.
        assert!(seen.len() > 930, "{}", seen.len());
    }

    #[test]
    fn a_shuffle_takes_every_number_once_and_mixes() {
        for count in [1, 2, 3, 4, 5, 64, 65, 1000] {
            let shuffle = Shuffle::new(count, 9);
            let order: Vec<_> = (0..count).map(|position| shuffle.at(position)).collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..count).collect::<Vec<_>>());
            assert!(count < 64 || order != sorted);
            let other = Shuffle::new(count, 10);
            assert!(count < 64 || (0..count).any(|at| other.at(at) != order[at as usize]));
        }
    }

    #[test]
    fn neighbours_of_a_shuffle_are_far_apart() {
        let (count, shuffle) = (100_000, Shuffle::new(100_000, 1));
        let steps = (1..count).map(|at| shuffle.at(at).abs_diff(shuffle.at(at - 1)));
        let mean = steps.sum::<u64>() / (count - 1);
        // Two uniform numbers are a third of the range apart.
        assert!((count * 3 / 10..count * 37 / 100).contains(&mean), "{mean}");
    }
}
