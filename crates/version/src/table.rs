//! What a version knows of a table: its figures, and what the user of this crate attached to it.

use std::fmt;

use base::{FileNumber, InternalKey, SeqNo};

use crate::ids::VersionNumber;

/// What the manifest says of one table file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableMeta {
    /// The file's number.
    pub number: FileNumber,
    /// The file's length in bytes.
    pub file_bytes: u64,
    /// The number of entries, tombstones included; never 0.
    pub entries: u64,
    /// How many of the entries are tombstones.
    pub tombstones: u64,
    /// The first entry's key.
    pub smallest: InternalKey,
    /// The last entry's key, inclusive.
    pub largest: InternalKey,
    /// The least sequence number of an entry.
    pub min_seq: SeqNo,
    /// The greatest sequence number of an entry.
    pub max_seq: SeqNo,
    /// The version that brought the table in (R1). Whoever describes a new table leaves it at
    /// [`VersionNumber::ZERO`]: it is set when the edit is applied, and kept from then on.
    pub created: VersionNumber,
}

impl TableMeta {
    /// Whether the table's key range and `[first, last]`, both ends inclusive, have a user key in common.
    #[must_use]
    pub fn overlaps(&self, first: &[u8], last: &[u8]) -> bool {
        &*self.smallest.user_key <= last && first <= &*self.largest.user_key
    }

    /// Why these figures cannot be those of a table, if they cannot.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        if self.smallest > self.largest {
            Some("its smallest key is above its largest")
        } else if self.min_seq > self.max_seq {
            Some("its least sequence number is above its greatest")
        } else if self.entries == 0 {
            Some("it has no entries")
        } else if self.tombstones > self.entries {
            Some("it has more tombstones than entries")
        } else {
            None
        }
    }
}

/// A table file in a version, and `handle`, which the user of this crate attached to it (its open reader).
///
/// Versions share it by `Arc`. It does not itself pin the file: a [`Version`](crate::Version) that holds it does.
pub struct TableFile<H> {
    /// What the manifest says of it.
    pub meta: TableMeta,
    /// What was attached to it.
    pub handle: H,
}

impl<H> fmt::Debug for TableFile<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableFile").field("meta", &self.meta).finish_non_exhaustive()
    }
}
