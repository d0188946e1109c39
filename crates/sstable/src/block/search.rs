//! Finding a key in a block: a binary search over the restarts' prefixes, then a walk from the restart.
//!
//! The walk takes no key together. It keeps how many bytes of the target the entry before shares (`matched`): an entry
//! that shares more than that with the one before it differs from the target at the same place, so it too is below;
//! any other begins with the target's own first `shared` bytes, and only its suffix need be compared. Where its value
//! would begin is added up on the way.

use super::{Block, LINE_BYTES, RawEntry, RestartPlace};
use crate::error::Malformed;
use crate::keys::{common_prefix, prefix_number};
use base::InternalKeyRef;
use std::cmp::Ordering;
use std::ops::Range;

/// The entry that a search ended at. Its user key is the target's first `entry.shared` bytes and what stands in the block
/// from there on up to `key_end`.
#[derive(Debug)]
pub(crate) struct Landing {
    pub(crate) at: usize,
    pub(crate) entry: RawEntry,
    pub(crate) key_end: usize,
    pub(crate) trailer: u64,
    pub(crate) value: Range<usize>,
    /// Whether its user key is the target's.
    pub(crate) same_user_key: bool,
}

impl Block {
    /// The number of the first restart whose key is `target` or above; the number of restarts if there is none.
    #[inline]
    pub(crate) fn lower_bound(&self, target: InternalKeyRef<'_>) -> Result<usize, Malformed> {
        let common = self.common();
        let head = &target.user_key[..common.len().min(target.user_key.len())];
        match head.cmp(common) {
            Ordering::Less => return Ok(0),
            Ordering::Greater => return Ok(self.restarts()),
            Ordering::Equal => {}
        }
        let wanted = prefix_number(&target.user_key[common.len()..]);
        let prefixes = self.prefixes();
        let mut low = prefixes.partition_point(|prefix| u64::from_be_bytes(*prefix) < wanted);
        // Those with the same prefix, mostly none, are told apart by their keys.
        let is_same = |prefix: &[u8; 8]| u64::from_be_bytes(*prefix) == wanted;
        let mut high = low;
        if prefixes.get(low).is_some_and(is_same) {
            high += prefixes[low..].partition_point(is_same);
        }
        while low < high {
            let middle = low + (high - low) / 2;
            let (key, _) = self.indexed(middle)?;
            if key < target {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// The first entry that is `target` or above; `None` when all are below.
    #[inline]
    pub(crate) fn first_at_or_after(
        &self,
        target: InternalKeyRef<'_>,
    ) -> Result<Option<Landing>, Malformed> {
        let restart = self.lower_bound(target)?.saturating_sub(1);
        let RestartPlace { entry: mut at, mut value } = self.restart(restart)?;
        // The value is somewhere behind: its page is found while the entries are walked.
        let far = self.value_from(restart + 1);
        self.fetch(at + LINE_BYTES);
        self.fetch(at + 2 * LINE_BYTES);
        self.fetch((value / 2 + far / 2) as usize);
        let mut matched = 0;
        // More than the user key before can have: its trailer is counted too.
        let mut key_len_max = 0;
        while at < self.entries_end() {
            let entry = self.entry_at(at)?;
            if entry.shared > key_len_max {
                return Err(overlong(at));
            }
            key_len_max = entry.shared + (entry.end - entry.body);
            if entry.shared <= matched {
                let rest = &target.user_key[entry.shared..];
                // Mostly the first byte decides. It is one of the trailer if the suffix is empty: then the user key is the
                // beginning of the target, and below it too.
                if let Some(&wanted) = rest.first()
                    && self.data()[entry.body] < wanted
                {
                    matched = entry.shared;
                } else {
                    let (trailer, key_end) = self.trailer_of(&entry)?;
                    let suffix = &self.data()[entry.body..key_end];
                    let more = common_prefix(suffix, rest);
                    matched = entry.shared + more;
                    let landed = match (suffix.get(more), rest.get(more)) {
                        (Some(found), Some(wanted)) => found > wanted,
                        (Some(_), None) => true,
                        (None, Some(_)) => false,
                        // Newer versions, with greater trailers, come first.
                        (None, None) => trailer <= target.trailer(),
                    };
                    if landed {
                        let same_user_key = more == suffix.len() && more == rest.len();
                        let value = self.value_at(value, entry.value_len)?;
                        return Ok(Some(Landing {
                            at,
                            entry,
                            key_end,
                            trailer,
                            value,
                            same_user_key,
                        }));
                    }
                }
            }
            // Of so many entries as fit into a block the sum cannot overflow.
            value += u64::from(entry.value_len);
            at = entry.end;
        }
        Ok(None)
    }
}

#[cold]
pub(super) fn overlong(at: usize) -> Malformed {
    Malformed::new(
        "an entry that shares no more than the key before it has",
        format_args!("one that does at byte {at}"),
    )
}
