//! An open table: point reads, and the way down from the top index to a data block.
//!
//! Invariants: of each table only the top index and the properties stay in memory, about one part in four thousand of
//! the file at the default sizes, and the partitions that the cache's owner lets it keep; every other block is read when
//! it is needed and belongs to the cache, if there is one. A separator is at or above every key of what it leads to and below every key after it, so a point read never
//! looks into a second block.
//!
//! Concurrency: nothing in a table changes once it is open but for partitions being kept, each once; nobody waits.

mod bounds;
mod cursor;
mod fetch;
mod kept;
mod mapped;
mod open;
mod point;
mod readahead;
mod scratch;
mod verify;

pub use cursor::TableCursor;
pub use point::{Found, FoundRef};
pub use verify::Verified;

use crate::block::Block;
use crate::error::{Error, Malformed};
use crate::format::{BlockKind, Footer, Handle};
use crate::options::ScanOptions;
use crate::properties::Properties;
use base::InternalKeyRef;
use fetch::Fetcher;
use kept::Kept;
use mapped::VerifiedBits;
use std::sync::Arc;

/// An open table file. Shared by reference or [`Arc`] between threads; dropping it closes the file.
#[derive(Debug)]
pub struct Table {
    fetcher: Fetcher,
    footer: Footer,
    top: Block,
    /// What each entry of `top` leads to.
    partitions: Box<[Partition]>,
    properties: Properties,
}

/// One entry of the top index.
#[derive(Debug)]
struct Partition {
    index: Handle,
    /// The filter for the keys below `index`, if the table has filters.
    filter: Option<Handle>,
    kept_index: Kept,
    kept_filter: Kept,
    verified: VerifiedBits,
}

impl Table {
    /// A cursor over all entries, which keeps the table open.
    #[must_use]
    pub fn cursor(self: &Arc<Self>) -> TableCursor {
        self.cursor_with(ScanOptions::default())
    }

    /// A cursor over all entries that reads its blocks as `options` say.
    #[must_use]
    pub fn cursor_with(self: &Arc<Self>, options: ScanOptions) -> TableCursor {
        TableCursor::new(Arc::clone(self), options)
    }

    /// Counts, sizes and ranges of the whole table.
    #[must_use]
    pub fn properties(&self) -> &Properties {
        &self.properties
    }

    /// Length of the file in bytes.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.footer.file_bytes
    }

    /// Bytes of memory that the table takes while it is open; blocks in the cache, and partitions that the cache let it
    /// keep, are not counted.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let keys = self.properties.smallest.user_key.len() + self.properties.largest.user_key.len();
        let partitions = size_of_val(&*self.partitions);
        let verified_bits =
            if self.is_mapped() { self.properties.data_blocks as usize / 8 } else { 0 };
        size_of::<Self>() + self.top.memory_bytes() + partitions + keys + verified_bits
    }

    /// The index of partition `number`: kept by the table, or in `slot`.
    #[inline]
    fn index_partition<'a>(
        &'a self,
        number: usize,
        slot: &'a mut Option<Block>,
    ) -> Result<&'a Block, Error> {
        let partition = &self.partitions[number];
        self.fetcher.partition(partition.index, BlockKind::Index, &partition.kept_index, slot)
    }

    /// The number of the partition that would hold `target`; `None` when every key is below.
    #[inline]
    fn partition_for(&self, target: InternalKeyRef<'_>) -> Result<Option<usize>, Error> {
        let in_top = self.fetcher.damaged(self.footer.top_index.offset, BlockKind::TopIndex);
        let number = self.top.lower_bound(target).map_err(in_top)?;
        Ok((number < self.partitions.len()).then_some(number))
    }
}

/// What every entry of the top index leads to.
fn partitions_of(top: &Block) -> Result<Box<[Partition]>, Malformed> {
    let partition = |number| {
        let (_, mut value) = top.indexed(number)?;
        match (Handle::get(&mut value), Handle::get(&mut value)) {
            (Some(index), Some(filter)) if value.is_empty() => {
                let filter = (filter != Handle::NONE).then_some(filter);
                let (kept_index, kept_filter, verified) = Default::default();
                Ok(Partition { index, filter, kept_index, kept_filter, verified })
            }
            _ => Err(Malformed::new("two handles", format_args!("others in entry {number}"))),
        }
    };
    (0..top.restarts()).map(partition).collect()
}

/// The data block of entry `number` of an index partition.
#[inline]
fn data_handle(index: &Block, number: usize) -> Result<Handle, Malformed> {
    let mut value = index.indexed_value(number)?;
    match Handle::get(&mut value) {
        Some(handle) if value.is_empty() => Ok(handle),
        _ => Err(Malformed::new("one handle", format_args!("another in entry {number}"))),
    }
}
