//! An open table: point reads, and the way down from the top index to a data block.
//!
//! Invariants: of each table only the top index and the properties stay in memory, about one part in four thousand of
//! the file at the default sizes; every other block is read when it is needed and belongs to the cache, if there is
//! one. A separator is at or above every key of what it leads to and below every key after it, so a point read never
//! looks into a second block.
//!
//! Concurrency: nothing in a table changes once it is open; it has no locks.

mod cursor;
mod fetch;
mod open;
mod readahead;
mod verify;

pub use cursor::TableCursor;
pub use verify::Verified;

use crate::block::Block;
use crate::error::{Error, Malformed};
use crate::filter;
use crate::format::{BlockKind, Footer, Handle};
use crate::options::ScanOptions;
use crate::properties::Properties;
use base::{InternalKeyRef, SeqNo, ValueKind};
use bytes::Bytes;
use fetch::Fetcher;
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

/// The version of a key that a point read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// When it was written.
    pub seq: SeqNo,
    /// What was written; a delete is found like anything else.
    pub kind: ValueKind,
    /// The value. It shares the memory of its block, and keeps all of it for as long as it lives.
    pub value: Bytes,
}

/// One entry of the top index.
#[derive(Clone, Copy, Debug)]
struct Partition {
    index: Handle,
    /// The filter for the keys below `index`, if the table has filters.
    filter: Option<Handle>,
}

impl Table {
    /// The newest version of `user_key` with a sequence number of at most `at`, or `None` when this table has none.
    ///
    /// The filter is asked first; when it knows nothing of the key no data block is read. Nothing is allocated when
    /// the blocks are in the cache.
    ///
    /// # Errors
    /// [`Error::Io`]: the read can be tried again. [`Error::Corrupt`]: the file is damaged.
    pub fn get(&self, user_key: &[u8], at: SeqNo) -> Result<Option<Found>, Error> {
        let target = InternalKeyRef::seek_at(user_key, at);
        let Some(number) = self.partition_for(target)? else { return Ok(None) };
        let partition = self.partitions[number];
        if let Some(handle) = partition.filter {
            let block = self.fetcher.block(handle, BlockKind::Filter, true)?;
            if !filter::may_contain(block.data(), filter::hash(user_key)) {
                return Ok(None);
            }
        }
        let index = self.fetcher.block(partition.index, BlockKind::Index, true)?;
        let in_index = || self.fetcher.damaged(partition.index.offset, BlockKind::Index);
        let entry = index.lower_bound(target).map_err(in_index())?;
        let handle = data_handle(&index, entry).map_err(in_index())?;
        let data = self.fetcher.block(handle, BlockKind::Data, true)?;
        let in_data = || self.fetcher.damaged(handle.offset, BlockKind::Data);
        let landing = data.first_at_or_after(target).map_err(in_data())?;
        let Some(landing) = landing.filter(|landing| landing.same_user_key) else {
            return Ok(None);
        };
        let Some(key) = InternalKeyRef::from_trailer(user_key, landing.trailer) else {
            let code = landing.trailer & 0xff;
            return Err(in_data()(Malformed::new("a kind of entry", format_args!("code {code}"))));
        };
        let value = data.slice(landing.value..landing.entry.end);
        Ok(Some(Found { seq: key.seq, kind: key.kind, value }))
    }

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

    /// Bytes of memory that the table takes while it is open, blocks in the cache not counted.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let keys = self.properties.smallest.user_key.len() + self.properties.largest.user_key.len();
        let partitions = size_of_val(&*self.partitions);
        size_of::<Self>() + self.top.memory_bytes() + partitions + keys
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
                Ok(Partition { index, filter: (filter != Handle::NONE).then_some(filter) })
            }
            _ => Err(Malformed::new("two handles", format_args!("others in entry {number}"))),
        }
    };
    (0..top.restarts()).map(partition).collect()
}

/// The data block of entry `number` of an index partition.
#[inline]
fn data_handle(index: &Block, number: usize) -> Result<Handle, Malformed> {
    let (_, mut value) = index.indexed(number)?;
    match Handle::get(&mut value) {
        Some(handle) if value.is_empty() => Ok(handle),
        _ => Err(Malformed::new("one handle", format_args!("another in entry {number}"))),
    }
}
