//! A blocked Bloom filter over user keys: one cache line is read for each question.
//!
//! Format: lines of 64 bytes, then the number of probes (1 byte) and the scheme (1 byte, always 1). A key's hash
//! (64 bits) picks line `(high half * lines) >> 32`; then, starting with the low half, each probe multiplies by
//! 0x9e3779b9 (modulo 2^32) and takes the product's top nine bits as the number of a bit in the line, bit `n` being
//! bit `n % 8` of byte `n / 8`.
//!
//! The layout is that of RocksDB's FastLocalBloom; the hash is our own, as it is part of the format.

use crate::error::Malformed;

const LINE_BYTES: usize = 64;
const TAIL_BYTES: usize = 2;
const SCHEME: u8 = 1;
const PROBES_MAX: u8 = 24;

const SEED: u64 = 0x243f_6a88_85a3_08d3;
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
const LAST: u64 = 0xd1b5_4a32_d192_ed03;

/// The hash by which the filter knows a user key.
#[inline]
pub(crate) fn hash(key: &[u8]) -> u64 {
    let mut state = SEED ^ (key.len() as u64).wrapping_mul(LAST);
    let (words, tail) = key.as_chunks::<8>();
    for word in words {
        state = fold(state ^ u64::from_le_bytes(*word), MIX);
    }
    if !tail.is_empty() {
        let mut word = [0; 8];
        word[..tail.len()].copy_from_slice(tail);
        state = fold(state ^ u64::from_le_bytes(word), MIX);
    }
    fold(state ^ LAST, LAST)
}

/// The 128-bit product, its halves folded into one.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[inline]
fn line_of(hash: u64, lines: usize) -> usize {
    (((hash >> 32) * lines as u64) >> 32) as usize
}

/// The bits of a key in its line.
#[inline]
fn probes(hash: u64, count: u8) -> impl Iterator<Item = usize> {
    let mut state = hash as u32;
    (0..count).map(move |_| {
        state = state.wrapping_mul(0x9e37_79b9);
        (state >> 23) as usize
    })
}

/// Gathers the keys of one partition.
pub(crate) struct FilterBuilder {
    hashes: Vec<u64>,
    bits_per_key: u32,
    out: Vec<u8>,
}

impl FilterBuilder {
    pub(crate) fn new(bits_per_key: u32) -> Self {
        Self { hashes: Vec::new(), bits_per_key, out: Vec::new() }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.bits_per_key > 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Adds keys by their hashes.
    pub(crate) fn extend(&mut self, hashes: &[u64]) {
        self.hashes.extend_from_slice(hashes);
    }

    /// Bytes that the filter would take now.
    pub(crate) fn size(&self) -> usize {
        self.size_with(0)
    }

    /// Bytes that the filter would take with so many more keys.
    pub(crate) fn size_with(&self, more: usize) -> usize {
        self.lines(self.hashes.len() + more) * LINE_BYTES + TAIL_BYTES
    }

    /// Bytes that its buffers hold.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.hashes.capacity() * size_of::<u64>() + self.out.capacity()
    }

    fn lines(&self, keys: usize) -> usize {
        (keys * self.bits_per_key as usize).div_ceil(LINE_BYTES * 8).max(1)
    }

    /// The filter's payload; the builder starts anew.
    pub(crate) fn finish(&mut self) -> &[u8] {
        let lines = self.lines(self.hashes.len());
        // Fewer probes than an unblocked filter would take (ln 2 a bit): the lines are not filled evenly.
        let count = (self.bits_per_key * 6 / 10).clamp(1, u32::from(PROBES_MAX)) as u8;
        self.out.clear();
        self.out.resize(lines * LINE_BYTES, 0);
        for &hash in &self.hashes {
            let start = line_of(hash, lines) * LINE_BYTES;
            let line = &mut self.out[start..start + LINE_BYTES];
            for bit in probes(hash, count) {
                line[bit / 8] |= 1 << (bit % 8);
            }
        }
        self.out.extend_from_slice(&[count, SCHEME]);
        self.hashes.clear();
        &self.out
    }
}

/// Checks that `payload` has the shape of a filter.
pub(crate) fn check(payload: &[u8]) -> Result<(), Malformed> {
    let shape = payload.split_last_chunk::<TAIL_BYTES>();
    match shape {
        Some((lines, [count, SCHEME]))
            if !lines.is_empty()
                && lines.len() % LINE_BYTES == 0
                && (1..=PROBES_MAX).contains(count) =>
        {
            Ok(())
        }
        Some((lines, [count, scheme])) => Err(Malformed::new(
            "64-byte lines, 1 to 24 probes and scheme 1",
            format_args!("{} bytes, {count} probes, scheme {scheme}", lines.len()),
        )),
        None => Err(Malformed::new("a filter", format_args!("{} bytes", payload.len()))),
    }
}

/// Whether a key with this hash may be among those of the filter `payload`; `true` for what is not a filter.
#[inline]
pub(crate) fn may_contain(payload: &[u8], hash: u64) -> bool {
    let Some((lines, &[count, _])) = payload.split_last_chunk::<TAIL_BYTES>() else { return true };
    let (lines, _) = lines.as_chunks::<LINE_BYTES>();
    let Some(line) = lines.get(line_of(hash, lines.len())) else { return true };
    probes(hash, count).all(|bit| line[bit / 8 % LINE_BYTES] & (1 << (bit % 8)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn false_positives(bits_per_key: u32, key: impl Fn(u32) -> Vec<u8>) -> f64 {
        const KEYS: u32 = 20_000;
        let mut builder = FilterBuilder::new(bits_per_key);
        (0..KEYS).for_each(|i| builder.extend(&[hash(&key(i))]));
        let size = builder.size();
        let payload = builder.finish().to_vec();
        assert_eq!(payload.len(), size);
        check(&payload).unwrap();
        for i in 0..KEYS {
            assert!(may_contain(&payload, hash(&key(i))), "key {i} is lost");
        }
        let wrong = (KEYS..11 * KEYS).filter(|&i| may_contain(&payload, hash(&key(i)))).count();
        wrong as f64 / f64::from(10 * KEYS)
    }

    #[test]
    fn no_key_is_lost_and_few_others_pass() {
        let shapes: [fn(u32) -> Vec<u8>; 4] = [
            |i| i.to_be_bytes().to_vec(),
            |i| i.to_le_bytes().to_vec(),
            |i| format!("user{i:016}").into_bytes(),
            |i| [vec![0; 40], i.to_be_bytes().to_vec(), vec![0; 9]].concat(),
        ];
        for shape in shapes {
            assert!(false_positives(10, shape) < 0.013);
            assert!(false_positives(16, shape) < 0.002);
            assert!(false_positives(1, shape) < 0.75);
        }
    }

    #[test]
    fn the_hash_is_part_of_the_format() {
        assert_eq!(hash(b""), 0x7d0b_035e_e31a_7403);
        assert_eq!(hash(b"a"), 0x8711_b3d7_55b2_6206);
        assert_eq!(hash(b"polder, a key of 24 b..."), 0x2e60_90b7_93cf_55dd);
        let keys = [&b""[..], b"\0", b"\0\0", b"\0\0\0\0\0\0\0\0", b"\0\0\0\0\0\0\0\0\0"];
        assert_eq!(keys.iter().map(|key| hash(key)).collect::<HashSet<_>>().len(), keys.len());
    }

    #[test]
    fn what_is_not_a_filter_is_refused() {
        for bytes in
            [&[][..], &[1, 1], &[0; 66], &[6; 65], &[[0; 64].as_slice(), &[25, 1]].concat()]
        {
            assert!(check(bytes).is_err());
            assert!(may_contain(bytes, 1) || bytes.len() > 64);
        }
    }
}
