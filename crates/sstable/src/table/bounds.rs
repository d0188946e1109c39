//! The part of a table that a cursor is asked to stay in.
//!
//! Bounds save reads, and nothing else: a block that lies wholly beyond one is neither read nor announced. Which blocks
//! these are is known from the separators, so nothing is read to find it out but the partition that the cursor is in.

use super::{Table, data_handle};
use crate::block::Block;
use crate::error::Error;
use crate::format::{BlockKind, Handle};
use crate::properties::Properties;
use base::{InternalKeyRef, SeqNo};
use bytes::Bytes;
use std::ops::Range;

/// User keys that a cursor is kept between: the first that it is to see, and the first that it is not to.
#[derive(Default)]
pub(super) struct Bounds {
    pub(super) lower: Option<Bytes>,
    pub(super) upper: Option<Bytes>,
    /// Nothing of the table is between them.
    pub(super) exclude_all: bool,
}

/// What of one partition lies within the bounds.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    /// The number of the first data block within, unless those of the partition before are too.
    first: Option<usize>,
    /// The number after that of the last, unless those of the partition behind are within too.
    end: Option<usize>,
    /// The bytes of the file that can be of use.
    pub(super) span: Range<u64>,
}

impl Window {
    /// Whether what comes before block `entry` lies beyond.
    pub(super) fn begins_at(&self, entry: usize) -> bool {
        self.first.is_some_and(|first| entry <= first)
    }

    /// Whether what comes from block `entry` on lies beyond.
    pub(super) fn ends_at(&self, entry: usize) -> bool {
        self.end.is_some_and(|end| end <= entry)
    }
}

/// The place before every version of `user_key`.
pub(super) fn before(user_key: &[u8]) -> InternalKeyRef<'_> {
    InternalKeyRef::seek_at(user_key, SeqNo::MAX)
}

impl Bounds {
    pub(super) fn new(table: &Table, lower: Option<Bytes>, upper: Option<Bytes>) -> Self {
        let Properties { smallest, largest, .. } = table.properties();
        let above_all = lower.as_ref().is_some_and(|lower| *largest.user_key < **lower);
        let below_all = upper.as_ref().is_some_and(|upper| **upper <= *smallest.user_key);
        let crossed = lower.is_some() && upper.is_some() && lower >= upper;
        Self { lower, upper, exclude_all: above_all || below_all || crossed }
    }

    pub(super) fn is_below(&self, user_key: &[u8]) -> bool {
        self.lower.as_ref().is_some_and(|lower| user_key < lower)
    }

    pub(super) fn is_beyond(&self, user_key: &[u8]) -> bool {
        self.upper.as_ref().is_some_and(|upper| user_key >= upper)
    }

    /// The window of partition `number` of `table`, whose index is `index` and stands at `place`.
    pub(super) fn window(
        &self,
        table: &Table,
        number: usize,
        index: &Block,
        place: Handle,
    ) -> Result<Window, Error> {
        let mut window = Window { span: 0..table.fetcher.limit, ..Window::default() };
        let damaged = || table.fetcher.damaged(place.offset, BlockKind::Index);
        // Of this partition the first block that may hold `key` or what is above; none if it is in another.
        let block_of = |partition, key: &Bytes| {
            if partition != number {
                return Ok(None);
            }
            let entry = index.lower_bound(before(key)).map_err(damaged())?;
            Ok(Some((entry, data_handle(index, entry).map_err(damaged())?)))
        };
        if let Some(lower) = &self.lower {
            let partition = table.partition_for(before(lower))?.unwrap_or(usize::MAX);
            if let Some((entry, block)) = block_of(partition, lower)? {
                window.first = Some(entry);
                window.span.start = block.offset;
            } else if partition > number {
                window.first = Some(index.restarts());
            }
        }
        if let Some(upper) = &self.upper
            && let Some(partition) = table.partition_for(before(upper))?
        {
            let mut end = table.partitions[partition].index.end();
            if let Some((entry, block)) = block_of(partition, upper)? {
                window.end = Some(entry + 1);
                end = block.end();
            } else if partition < number {
                window.end = Some(0);
            }
            window.span.end = end.unwrap_or(u64::MAX).min(window.span.end);
        }
        Ok(window)
    }
}
