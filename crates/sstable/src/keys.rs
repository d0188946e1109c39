//! Comparing keys: common prefixes, and the first bytes of a key as a number.

/// How many bytes `a` and `b` have in common at their start.
#[inline]
pub(crate) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let len = a.len().min(b.len());
    let (a, b) = (&a[..len], &b[..len]);
    let mut at = 0;
    while let (Some(x), Some(y)) = (a[at..].first_chunk::<8>(), b[at..].first_chunk::<8>()) {
        let differ = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if differ != 0 {
            return at + (differ.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    at + a[at..].iter().zip(&b[at..]).take_while(|(x, y)| x == y).count()
}

/// The first eight bytes as a number that orders as they do; what is missing counts as zero.
#[inline]
pub(crate) fn prefix_number(key: &[u8]) -> u64 {
    match key.first_chunk::<8>() {
        Some(first) => u64::from_be_bytes(*first),
        None => key.iter().enumerate().fold(0, |n, (i, &b)| n | u64::from(b) << (56 - 8 * i)),
    }
}

/// A short user key `s` with `last <= s < next`, appended to `out`; `last` must be less than `next`.
pub(crate) fn separator(last: &[u8], next: &[u8], out: &mut Vec<u8>) {
    let same = common_prefix(last, next);
    match (last.get(same), next.get(same)) {
        // `next` goes on after the byte that differs: cut there, it is above `last` and below `next`.
        (Some(_), Some(_)) if next.len() > same + 1 => {
            out.extend_from_slice(&next[..=same]);
        }
        (Some(&a), Some(&b)) if a + 1 < b && same + 1 < last.len() => {
            out.extend_from_slice(&last[..same]);
            out.push(a + 1);
        }
        _ => out.extend_from_slice(last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(2), Just(254), Just(255)], 0..20)
    }

    proptest! {
        #[test]
        fn common_prefix_is_that_of_the_plain_loop(a in key(), b in key()) {
            let plain = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
            prop_assert_eq!(common_prefix(&a, &b), plain);
            prop_assert_eq!(common_prefix(&a, &a), a.len());
        }

        #[test]
        fn prefix_numbers_never_contradict_the_order(a in key(), b in key()) {
            if prefix_number(&a) < prefix_number(&b) {
                prop_assert!(a < b);
            }
            if a < b {
                prop_assert!(prefix_number(&a) <= prefix_number(&b));
            }
        }

        #[test]
        fn a_separator_separates_and_is_no_longer(a in key(), b in key()) {
            prop_assume!(a != b);
            let (last, next) = if a < b { (a, b) } else { (b, a) };
            let mut out = Vec::new();
            separator(&last, &next, &mut out);
            prop_assert!(last <= out && out < next, "{:?} {:?} {:?}", last, out, next);
            prop_assert!(out.len() <= last.len());
        }
    }
}
