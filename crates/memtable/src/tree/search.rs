//! The search inside a node: how many of its items go before a key.
//!
//! What it reads may be changed meanwhile and need not fit together: it always comes to an end, and what comes out
//! means something only if the node's version is still the same afterwards.

use std::cmp::Ordering;

use crate::atomic::AtomicU64;
use crate::atomic::Ordering::Relaxed;

use crate::entry::Probe;
use crate::tree::Tree;
use crate::tree::node::{Prefixed, Shape};

/// Which items go before a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Those that are less.
    Below,
    /// Those that are less or equal.
    UpTo,
}

/// Eight bytes of `key` from `skip` on, as a big-endian number, filled up with zeros.
#[inline]
pub(crate) fn prefix_at(key: &[u8], skip: usize) -> u64 {
    let rest = key.get(skip..).unwrap_or_default();
    if let Some(start) = rest.first_chunk() {
        u64::from_be_bytes(*start)
    } else {
        let mut bytes = [0; 8];
        bytes[..rest.len()].copy_from_slice(rest);
        u64::from_be_bytes(bytes)
    }
}

/// How many bytes two keys share from their start.
pub(crate) fn common(a: &[u8], b: &[u8]) -> usize {
    let len = a.len().min(b.len());
    (0..len).find(|&at| a[at] != b[at]).unwrap_or(len)
}

/// How many of the sorted `prefixes` are less than `prefix`. Without a branch that depends on what is compared.
#[inline]
fn lower_bound(prefixes: &[AtomicU64], prefix: u64) -> usize {
    let (mut from, mut len) = (0, prefixes.len());
    while len > 1 {
        let half = len / 2;
        from += usize::from(prefixes[from + half - 1].load(Relaxed) < prefix) * half;
        len -= half;
    }
    from + usize::from(len == 1 && prefixes[from].load(Relaxed) < prefix)
}

impl Tree {
    /// How many items of `node`, which has this shape, go before `probe`.
    #[inline]
    pub(crate) fn rank(
        &self,
        node: &impl Prefixed,
        shape: Shape,
        probe: &Probe<'_>,
        side: Side,
    ) -> usize {
        let count = shape.count.min(node.prefixes().len());
        if shape.sample != 0 {
            match self.beside_sample(shape, probe) {
                Ordering::Less => return 0,
                Ordering::Greater => return count,
                Ordering::Equal => {}
            }
        }
        let prefix = prefix_at(probe.user_key, shape.skip);
        let prefixes = &node.prefixes()[..count];
        let from = lower_bound(prefixes, prefix);
        if from < count && prefixes[from].load(Relaxed) == prefix {
            self.rank_among_equals(node, from, count, prefix, probe, side)
        } else {
            from
        }
    }

    /// Where the probe stands beside all keys that share the sample's first bytes: `Equal` when it shares them too.
    fn beside_sample(&self, shape: Shape, probe: &Probe<'_>) -> Ordering {
        let Some(sample) = self.entry(shape.sample) else { return Ordering::Equal };
        let (key, shared) = (probe.user_key, &sample.user_key()[..shape.skip]);
        key[..key.len().min(shape.skip)].cmp(shared)
    }

    /// The rank where prefixes do not decide: from `from` on there are items with the probe's own.
    fn rank_among_equals(
        &self,
        node: &impl Prefixed,
        from: usize,
        count: usize,
        prefix: u64,
        probe: &Probe<'_>,
        side: Side,
    ) -> usize {
        let prefixes = node.prefixes();
        let (mut from, mut end) = (from, from + 1);
        // Mostly there is one; where there are many, they may be all.
        let mut step = 1;
        while end < count && prefixes[end].load(Relaxed) == prefix {
            end = (end + step).min(count);
            step *= 2;
        }
        while from < end {
            let mid = from + (end - from) / 2;
            if self.goes_before(node, mid, prefix, probe, side) {
                from = mid + 1;
            } else {
                end = mid;
            }
        }
        from
    }

    /// Whether the item at `at` goes before the probe.
    fn goes_before(
        &self,
        node: &impl Prefixed,
        at: usize,
        prefix: u64,
        probe: &Probe<'_>,
        side: Side,
    ) -> bool {
        // Behind the last equal one there may be others: the end was only guessed.
        if node.prefixes()[at].load(Relaxed) != prefix {
            return false;
        }
        self.entry(node.reference(at)).is_some_and(|entry| match entry.compare(probe) {
            Ordering::Less => true,
            Ordering::Equal => side == Side::UpTo,
            Ordering::Greater => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_order_as_their_keys() {
        let keys: [&[u8]; 9] =
            [b"", b"\0", b"a", b"a\0", b"ab", b"abcdefg", b"abcdefgh", b"abcdefghi", b"b"];
        for pair in keys.windows(2) {
            assert!(prefix_at(pair[0], 0) <= prefix_at(pair[1], 0), "{pair:?}");
        }
        assert_eq!(prefix_at(b"abc", 0), u64::from_be_bytes(*b"abc\0\0\0\0\0"));
        assert_eq!(prefix_at(b"abcdefghijk", 2), u64::from_be_bytes(*b"cdefghij"));
        assert_eq!((prefix_at(b"abc", 3), prefix_at(b"abc", 4)), (0, 0));
    }

    #[test]
    fn a_lower_bound_is_where_a_linear_search_ends() {
        for len in 0..70u64 {
            let prefixes: Vec<_> = (0..len).map(|i| AtomicU64::new(i / 3 * 10)).collect();
            for prefix in 0..len * 4 + 20 {
                let expected = prefixes.iter().take_while(|p| p.load(Relaxed) < prefix).count();
                assert_eq!(lower_bound(&prefixes, prefix), expected, "{prefix} in {len}");
            }
        }
    }
}
