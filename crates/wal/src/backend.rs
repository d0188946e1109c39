//! How a record gets to its reserved place in a segment's file.
//!
//! Two ways behind one trait: positional writes, and stores into a mapped window of the file. The bytes are the same,
//! and so is what they survive: both end in the system's page cache, which outlives the process. Whichever way a record
//! went, a sync of the file makes it durable.

use std::fmt::Debug;
use std::ops::Range;

use base::SegmentNumber;

mod mapped;
mod positional;

pub(crate) use mapped::Mapped;
pub(crate) use positional::Positional;

/// Bytes of a segment's file that belong to one record, and to nobody else.
///
/// Contract: whoever makes one has never made another that overlaps with it in the same segment; the file is not
/// another segment's while it exists. There is one maker, the log's tail, which cuts places one behind the other. A
/// place cannot be copied.
#[derive(Debug)]
pub(crate) struct Place {
    segment: SegmentNumber,
    range: Range<u64>,
}

impl Place {
    /// For the log's tail alone: see the contract.
    pub fn cut(segment: SegmentNumber, range: Range<u64>) -> Self {
        Self { segment, range }
    }

    /// The segment whose file it is in.
    pub fn segment(&self) -> SegmentNumber {
        self.segment
    }

    /// Its offsets in the file.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }
}

/// What is to be put to a place.
#[derive(Debug)]
pub(crate) struct Content<'a> {
    /// What salts the checksums.
    pub salt: u32,
    /// How many leading bytes of the segment are known to be durable.
    pub vouched: u32,
    /// The payload, in parts.
    pub parts: &'a [&'a [u8]],
    /// Its writer syncs it next.
    pub is_synced: bool,
}

/// A way to the places of one segment.
///
/// Concurrency: `put` is called by many threads at once, each with a place of its own.
pub(crate) trait Backend: Send + Sync + Debug {
    /// Encodes the record and puts it to its place. On success it survives the process; on failure any part of it may
    /// stand there.
    fn put(&self, place: &mut Place, content: &Content<'_>) -> vfs::Result<()>;

    /// The bytes of memory that are mapped.
    fn mapped_bytes(&self) -> u64 {
        0
    }
}
