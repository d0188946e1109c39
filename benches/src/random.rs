//! Reproducible pseudo-random numbers: pure functions of their arguments, so that any operation of
//! a run can be worked out again without the ones before it.

/// A well-mixed function of `x` (the finaliser of SplitMix64); a bijection.
pub fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Maps a uniform `random` to `0..bound` without a division (Lemire); 0 for a bound of 0.
pub fn below(random: u64, bound: u64) -> u64 {
    ((u128::from(random) * u128::from(bound)) >> 64) as u64
}

/// Fills `bytes` with pseudo-random bytes determined by `seed`.
pub fn fill(bytes: &mut [u8], seed: u64) {
    let mut state = seed;
    for chunk in bytes.chunks_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        chunk.copy_from_slice(&mix(state).to_le_bytes()[..chunk.len()]);
    }
}

/// A 64-bit checksum of `bytes`, continued from `state`. Lengths count: `ab` + `c` and `a` + `bc`
/// give different results. Not cryptographic: it finds mistakes, not attacks.
pub fn checksum(state: u64, bytes: &[u8]) -> u64 {
    let mut sum = mix(state ^ bytes.len() as u64);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        sum = (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x9fb2_1c65_1e98_df25);
        sum ^= sum >> 32;
    }
    mix(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_stays_below_and_reaches_both_ends() {
        assert_eq!((below(0, 10), below(u64::MAX, 10), below(7, 0)), (0, 9, 0));
        let mut seen = [0; 10];
        (0..10_000).for_each(|n| seen[below(mix(n), 10) as usize] += 1);
        assert!(seen.iter().all(|&count| (800..1200).contains(&count)), "{seen:?}");
    }

    #[test]
    fn checksums_see_content_order_and_lengths() {
        let sum = |parts: &[&[u8]]| parts.iter().fold(0, |state, part| checksum(state, part));
        let base = sum(&[b"key", b"a longer value"]);
        assert_eq!(base, sum(&[b"key", b"a longer value"]));
        let changed: [&[&[u8]]; 5] = [
            &[b"key", b"a longer valuf"],
            &[b"a longer value", b"key"],
            &[b"keya", b" longer value"],
            &[b"key", b"a longer value\0"],
            &[b"key", b"a longer value", b""],
        ];
        for parts in changed {
            assert_ne!(base, sum(parts), "{parts:?}");
        }
    }

    #[test]
    fn filling_is_reproducible_and_seeded() {
        let filled = |length: usize, seed| {
            let mut bytes = vec![0; length];
            fill(&mut bytes, seed);
            bytes
        };
        assert_eq!(filled(13, 1), filled(13, 1));
        assert_ne!(filled(13, 1), filled(13, 2));
        assert_eq!(filled(13, 1), filled(20, 1)[..13]);
    }
}
