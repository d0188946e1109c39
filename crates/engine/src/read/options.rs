//! How a read is made.

use std::borrow::Cow;
use std::ops::{Bound, RangeBounds};

use base::sync::Instant;
use sstable::{ReadBlocks, ScanOptions};

use crate::db::Snapshot;
use crate::read::get::GetHow;
use crate::read::iter::ScanHow;

/// How keys are read, or an iterator reads: plain values with defaults. Bounds, prefix and readahead mean something to
/// iterators only.
///
/// ```
/// use engine::{Db, Options, ReadOptions};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let db = Db::open(dir.path(), Options::default())?;
/// db.put("dike", "closed")?;
/// let before = db.snapshot();
/// db.put("dike", "open")?;
/// let then = ReadOptions { snapshot: Some(&before), ..ReadOptions::default() };
/// assert_eq!(db.get_with("dike", &then)?.as_deref(), Some(&b"closed"[..]));
/// let d = ReadOptions { prefix: Some(b"d"), fill_cache: false, ..ReadOptions::default() };
/// assert_eq!(db.iter_with(&d)?.count(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions<'a> {
    /// Read as of this snapshot. Default: as of now.
    pub snapshot: Option<&'a Snapshot>,
    /// Where an iterator begins. Default: unbounded.
    pub lower: Bound<&'a [u8]>,
    /// Where it ends. Default: unbounded.
    pub upper: Bound<&'a [u8]>,
    /// Only keys that begin with this, within the bounds. Default: none.
    pub prefix: Option<&'a [u8]>,
    /// Whether blocks that had to be read from a file are put into the block cache: a scan over much that is not read
    /// again soon does better without. Default: true.
    pub fill_cache: bool,
    /// Whether the checksums of data blocks that are read from a file are verified; without, damage may go unseen, and a
    /// wrong value be returned. Default: true.
    pub verify_checksums: bool,
    /// When an iterator goes on from block to block, how many bytes ahead at most the system is told to read into its page
    /// cache; the iterator itself reads one block at a time. 0: none. Default: 256 KiB.
    pub readahead_bytes: usize,
    /// Give up at this moment with [`Error::TimedOut`](crate::Error::TimedOut). It is looked at before each table and
    /// between the steps of a long walk, not while the disk is waited for. Default: none.
    pub deadline: Option<Instant>,
}

impl Default for ReadOptions<'_> {
    fn default() -> Self {
        Self {
            snapshot: None,
            lower: Bound::Unbounded,
            upper: Bound::Unbounded,
            prefix: None,
            fill_cache: true,
            verify_checksums: true,
            readahead_bytes: ScanOptions::DEFAULT.readahead_bytes,
            deadline: None,
        }
    }
}

impl ReadOptions<'_> {
    pub(crate) fn get(&self) -> GetHow {
        let blocks =
            ReadBlocks { fill_cache: self.fill_cache, verify_checksums: self.verify_checksums };
        GetHow { at: self.snapshot.map(Snapshot::at), blocks, deadline: self.deadline }
    }

    pub(crate) fn scan(&self) -> ScanHow {
        let tables = ScanOptions {
            fill_cache: self.fill_cache,
            verify_checksums: self.verify_checksums,
            readahead_bytes: self.readahead_bytes,
            ..ScanOptions::DEFAULT
        };
        ScanHow { tables, deadline: self.deadline }
    }

    /// The bounds, and the prefix's where they are narrower.
    pub(crate) fn bounds(&self) -> (Bound<&[u8]>, Bound<Cow<'_, [u8]>>) {
        let (mut lower, mut upper) = (self.lower, self.upper.map(Cow::Borrowed));
        let Some(prefix) = self.prefix else { return (lower, upper) };
        let is_below = match &lower {
            Bound::Unbounded => true,
            Bound::Included(key) | Bound::Excluded(key) => *key < prefix,
        };
        if is_below {
            lower = Bound::Included(prefix);
        }
        if let Some(end) = prefix_end(prefix) {
            let is_above = match &upper {
                Bound::Unbounded => true,
                Bound::Included(key) | Bound::Excluded(key) => key[..] >= end[..],
            };
            if is_above {
                upper = Bound::Excluded(Cow::Owned(end));
            }
        }
        (lower, upper)
    }
}

/// The first key that is above all keys with this prefix, if there is one.
fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte < u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// The bounds as bytes.
pub(crate) fn slices<'a, K: AsRef<[u8]> + 'a>(
    bounds: &'a impl RangeBounds<K>,
) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    (bounds.start_bound().map(K::as_ref), bounds.end_bound().map(K::as_ref))
}

/// A bound by reference.
pub(crate) fn borrowed<'a>(bound: &'a Bound<Cow<'_, [u8]>>) -> Bound<&'a [u8]> {
    bound.as_ref().map(|key| &**key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(vec![0u8, 1, 254, 255]), 0..4)
    }

    fn any_bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
        (any_key(), 0..3).prop_map(|(key, kind)| match kind {
            0 => Bound::Unbounded,
            1 => Bound::Included(key),
            _ => Bound::Excluded(key),
        })
    }

    proptest! {
        #[test]
        fn bounds_and_prefix_together_let_through_what_both_do(
            lower in any_bound(), upper in any_bound(), prefix in any_key(), key in any_key(),
        ) {
            let slices = (lower.as_ref().map(Vec::as_slice), upper.as_ref().map(Vec::as_slice));
            let options = ReadOptions {
                lower: slices.0,
                upper: slices.1,
                prefix: Some(&prefix),
                ..ReadOptions::default()
            };
            let (low, high) = options.bounds();
            let narrowed = (low, borrowed(&high));
            let expected = key.starts_with(&prefix)
                && <(_, _) as RangeBounds<[u8]>>::contains(&slices, &key[..]);
            prop_assert_eq!(<(_, _) as RangeBounds<[u8]>>::contains(&narrowed, &key[..]), expected);
        }
    }
}
