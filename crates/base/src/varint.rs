//! Variable-length integers, LEB128: seven bits a byte, low bits first, the high bit set on all but the last byte.
//!
//! Readers take bytes off the front of a slice and answer `None` for what is truncated, too long or too large, so
//! that they can be used on bytes from a disk.

/// The most bytes that a `u32` takes.
pub const MAX_U32_BYTES: usize = 5;
/// The most bytes that a `u64` takes.
pub const MAX_U64_BYTES: usize = 10;

/// Appends `value`.
#[inline]
pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    encode_u64(value, |byte| out.push(byte));
}

/// Gives the bytes of `value` to `push`, one by one.
#[inline]
pub fn encode_u64(mut value: u64, mut push: impl FnMut(u8)) {
    while value >= 0x80 {
        push(value as u8 | 0x80);
        value >>= 7;
    }
    push(value as u8);
}

/// Appends `value`.
#[inline]
pub fn put_u32(out: &mut Vec<u8>, value: u32) {
    put_u64(out, u64::from(value));
}

/// The bytes that `value` takes.
#[inline]
#[must_use]
pub const fn len_u64(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Takes a `u64` off the front of `input`.
#[inline]
pub fn get_u64(input: &mut &[u8]) -> Option<u64> {
    if let Some((&first, rest)) = input.split_first()
        && first < 0x80
    {
        *input = rest;
        return Some(u64::from(first));
    }
    get_long(input)
}

fn get_long(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (i, &byte) in input.iter().enumerate().take(MAX_U64_BYTES) {
        let bits = u64::from(byte & 0x7f);
        let shifted = bits << (7 * i);
        if shifted >> (7 * i) != bits {
            return None;
        }
        value |= shifted;
        if byte < 0x80 {
            *input = &input[i + 1..];
            return Some(value);
        }
    }
    None
}

/// Takes a `u32` off the front of `input`; `None` also when the number is larger.
#[inline]
pub fn get_u32(input: &mut &[u8]) -> Option<u32> {
    let mut rest = *input;
    let value = u32::try_from(get_u64(&mut rest)?).ok()?;
    *input = rest;
    Some(value)
}

/// Appends the length of `bytes` and then `bytes`.
#[inline]
pub fn put_len_prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes a length and that many bytes off the front of `input`.
#[inline]
pub fn get_len_prefixed<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut rest = *input;
    let len = usize::try_from(get_u64(&mut rest)?).ok()?;
    if len > rest.len() {
        return None;
    }
    let (bytes, rest) = rest.split_at(len);
    *input = rest;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_round_trip(value: u64, shift in 0u32..64, tail: [u8; 3]) {
            let value = value >> shift;
            let mut out = Vec::new();
            put_u64(&mut out, value);
            prop_assert_eq!(out.len(), len_u64(value));
            out.extend_from_slice(&tail);
            let mut input = &out[..];
            prop_assert_eq!(get_u64(&mut input), Some(value));
            prop_assert_eq!(input, &tail[..]);
        }

        #[test]
        fn no_input_panics_and_what_is_refused_stays(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut input = &bytes[..];
            if get_len_prefixed(&mut input).is_none() {
                prop_assert_eq!(input, &bytes[..]);
            }
            let mut input = &bytes[..];
            if get_u32(&mut input).is_none() {
                prop_assert_eq!(input, &bytes[..]);
            }
        }
    }

    #[test]
    fn the_truncated_the_long_and_the_large_are_refused() {
        assert_eq!(get_u64(&mut &[0x80][..]), None);
        assert_eq!(get_u64(&mut &[0xff; 11][..]), None);
        assert_eq!(
            get_u64(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2][..]),
            None
        );
        assert_eq!(get_u32(&mut &[0xff, 0xff, 0xff, 0xff, 0x1f][..]), None);
        assert_eq!(get_len_prefixed(&mut &[3, 1, 2][..]), None);
    }
}
