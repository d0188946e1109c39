//! Walking a table both ways.

use super::bounds::{Bounds, Window, before};
use super::fetch::BlockPlace;
use super::readahead::{Direction, Readahead};
use super::{Table, data_handle};
use crate::block::Block;
use crate::block::iter::BlockIter;
use crate::error::{Error, Malformed};
use crate::format::{BlockKind, Handle};
use crate::options::ScanOptions;
use base::{Cursor, InternalKeyRef};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// A position in a table, which keeps the table open and one data block in memory.
pub struct TableCursor {
    table: Arc<Table>,
    options: ScanOptions,
    bounds: Bounds,
    /// What of the current partition is within the bounds, once it was asked for.
    window: Option<Window>,
    /// The partition that `index` is, if there is one.
    partition: usize,
    index: Option<(Block, Handle)>,
    /// The entry of `index` whose block is in `data`, if one is.
    entry: usize,
    loaded: Option<Handle>,
    data: BlockIter,
    readahead: Readahead,
}

impl fmt::Debug for TableCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableCursor")
            .field("table", &self.table.fetcher.file.path())
            .field("key", &self.is_valid().then(|| self.key()))
            .finish_non_exhaustive()
    }
}

impl TableCursor {
    pub(super) fn new(table: Arc<Table>, options: ScanOptions) -> Self {
        Self {
            table,
            options,
            bounds: Bounds::default(),
            window: None,
            partition: 0,
            index: None,
            entry: 0,
            loaded: None,
            data: BlockIter::new(),
            readahead: Readahead::new(options.readahead_bytes),
        }
    }

    /// From the next seek on, the cursor is wanted for user keys from `lower` on and below `upper` alone; until then it
    /// stands nowhere.
    ///
    /// That saves reads: a data block that lies wholly beyond a bound, as far as the index tells, is neither read nor
    /// announced; where it would be entered, the cursor stands nowhere. A seek from beyond a bound leads to the first or last
    /// entry within, or nowhere. What lies beyond but in a block that was read for others may still be met: whoever sets
    /// bounds looks at the keys all the same.
    pub fn set_bounds(&mut self, lower: Option<Bytes>, upper: Option<Bytes>) {
        self.leave();
        self.index = None;
        self.bounds = Bounds::new(&self.table, lower, upper);
    }

    /// The value it stands on, without copying it; the handle keeps the whole block in memory. Called only while
    /// valid; empty otherwise.
    #[must_use]
    pub fn value_bytes(&self) -> Bytes {
        if self.data.is_valid() { self.data.value_bytes() } else { Bytes::new() }
    }

    /// About how many bytes of memory the data block takes that it stands in; 0 when it stands nowhere.
    #[must_use]
    pub fn block_bytes(&self) -> usize {
        self.data.block_bytes()
    }

    /// About how many bytes of memory the blocks take that it keeps: that of [`TableCursor::block_bytes`], and its partition
    /// of the index unless the table keeps that itself ([`BlockCache::keep`]).
    ///
    /// [`BlockCache::keep`]: crate::BlockCache::keep
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        let of_table = self.table.partitions.get(self.partition).and_then(|of| of.kept_index.get());
        let own = self.index.as_ref().filter(|_| of_table.is_none());
        self.block_bytes() + own.map_or(0, |(index, _)| index.memory_bytes())
    }

    /// Takes care that after an error the cursor is not valid.
    fn guarded(
        &mut self,
        movement: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.bounds.exclude_all {
            self.leave();
            return Ok(());
        }
        let moved = movement(self);
        if moved.is_err() {
            self.leave();
        }
        moved
    }

    /// Stands nowhere.
    fn leave(&mut self) {
        self.loaded = None;
        self.data.clear();
    }

    fn in_data(&self) -> impl FnOnce(Malformed) -> Error {
        let offset = self.loaded.map_or(0, |handle| handle.offset);
        self.table.fetcher.damaged(offset, BlockKind::Data)
    }

    /// The number of data blocks below the current partition.
    fn blocks(&self) -> usize {
        self.index.as_ref().map_or(0, |(index, _)| index.restarts())
    }

    fn load_partition(&mut self, number: usize) -> Result<(), Error> {
        if self.index.is_some() && self.partition == number {
            return Ok(());
        }
        self.leave();
        self.index = None;
        let index = self.table.index_partition(number, &mut None)?.clone();
        let place = self.table.partitions[number].index;
        self.window = None;
        self.partition = number;
        self.index = Some((index, place));
        Ok(())
    }

    /// What of the current partition is within the bounds: asked for when a walk goes from block to block, not by a seek.
    fn window(&mut self) -> Result<&Window, Error> {
        let window = match (self.window.take(), &self.index) {
            (Some(window), _) => window,
            (None, Some((index, place))) => {
                self.bounds.window(&self.table, self.partition, index, *place)?
            }
            (None, None) => Window::default(),
        };
        Ok(self.window.insert(window))
    }

    fn handle_at(&self, entry: usize) -> Result<Handle, Error> {
        match &self.index {
            Some((index, place)) => data_handle(index, entry)
                .map_err(self.table.fetcher.damaged(place.offset, BlockKind::Index)),
            None => Err(self.in_data()(Malformed::new("a partition to be in", "none"))),
        }
    }

    /// Takes the block of entry `entry` of the current partition into `data`.
    fn load_block(&mut self, entry: usize, direction: Option<Direction>) -> Result<(), Error> {
        self.readahead.moved(direction);
        let handle = self.handle_at(entry)?;
        if self.loaded != Some(handle) {
            self.leave();
            let block = match self.table.fetcher.cached_data(handle) {
                Some(block) => block,
                None => {
                    if self.readahead.is_going() {
                        let span = self.window()?.span.clone();
                        self.readahead.reads(handle, &*self.table.fetcher.file, &span);
                    }
                    let fetcher = &self.table.fetcher;
                    let verified = &self.table.partitions[self.partition].verified;
                    let (blocks, is_trusted) = (self.blocks(), !self.options.verify_again);
                    let place = BlockPlace { entry, blocks, verified, is_trusted, is_alone: false };
                    fetcher.load_data_block(handle, place, self.options.blocks())?
                }
            };
            self.data.set_block(block);
            self.loaded = Some(handle);
        }
        self.entry = entry;
        Ok(())
    }

    /// Goes to the first entry of the block after this one, if there is one.
    fn enter_next_block(&mut self) -> Result<(), Error> {
        let direction = Some(Direction::Forward);
        let next = self.entry + 1;
        if self.window()?.ends_at(next) {
            self.leave();
            return Ok(());
        }
        if self.entry + 1 < self.blocks() {
            self.load_block(self.entry + 1, direction)?;
        } else if self.partition + 1 < self.table.partitions.len() {
            self.load_partition(self.partition + 1)?;
            self.load_block(0, direction)?;
        } else {
            self.leave();
            return Ok(());
        }
        self.data.seek_to_first().map_err(self.in_data())
    }

    /// Goes to the last entry of the block before this one, if there is one.
    fn enter_previous_block(&mut self) -> Result<(), Error> {
        let direction = Some(Direction::Backward);
        let entry = self.entry;
        if self.window()?.begins_at(entry) {
            self.leave();
            return Ok(());
        }
        if self.entry > 0 {
            self.load_block(self.entry - 1, direction)?;
        } else if self.partition > 0 {
            self.load_partition(self.partition - 1)?;
            self.load_block(self.blocks().saturating_sub(1), direction)?;
        } else {
            self.leave();
            return Ok(());
        }
        self.data.seek_to_last().map_err(self.in_data())
    }

    fn go_to_first(&mut self) -> Result<(), Error> {
        if let Some(lower) = self.bounds.lower.clone() {
            return self.go_to(before(&lower));
        }
        self.load_partition(0)?;
        self.load_block(0, None)?;
        self.data.seek_to_first().map_err(self.in_data())
    }

    fn go_to_last(&mut self) -> Result<(), Error> {
        if let Some(upper) = self.bounds.upper.clone() {
            return self.go_to_before(before(&upper));
        }
        self.go_to_end()
    }

    fn go_to_end(&mut self) -> Result<(), Error> {
        self.load_partition(self.table.partitions.len().saturating_sub(1))?;
        self.load_block(self.blocks().saturating_sub(1), None)?;
        self.data.seek_to_last().map_err(self.in_data())
    }

    /// Goes to the first entry that is `target` or above, or nowhere, in the only block of partition `partition` that can
    /// hold the target.
    fn find(&mut self, partition: usize, target: InternalKeyRef<'_>) -> Result<(), Error> {
        self.load_partition(partition)?;
        let entry = match &self.index {
            Some((index, place)) => index
                .lower_bound(target)
                .map_err(self.table.fetcher.damaged(place.offset, BlockKind::Index))?,
            None => 0,
        };
        self.load_block(entry, None)?;
        self.data.seek(target).map_err(self.in_data())
    }

    fn go_to(&mut self, target: InternalKeyRef<'_>) -> Result<(), Error> {
        let Some(partition) = self.table.partition_for(target)? else {
            self.leave();
            return Ok(());
        };
        self.find(partition, target)?;
        // The target may lie between the block's last key and its separator.
        if self.data.is_valid() { Ok(()) } else { self.enter_next_block() }
    }

    /// Goes to the last entry that is `target` or below.
    fn go_to_before(&mut self, target: InternalKeyRef<'_>) -> Result<(), Error> {
        let Some(partition) = self.table.partition_for(target)? else { return self.go_to_end() };
        self.find(partition, target)?;
        if !self.data.is_valid() {
            return self.data.seek_to_last().map_err(self.in_data());
        }
        if self.data.key() == target { Ok(()) } else { self.prev() }
    }
}

impl Cursor for TableCursor {
    type Error = Error;

    #[inline]
    fn is_valid(&self) -> bool {
        self.data.is_valid()
    }

    fn seek_to_first(&mut self) -> Result<(), Error> {
        self.guarded(Self::go_to_first)
    }

    fn seek_to_last(&mut self) -> Result<(), Error> {
        self.guarded(Self::go_to_last)
    }

    fn seek(&mut self, target: InternalKeyRef<'_>) -> Result<(), Error> {
        self.guarded(|cursor| {
            if cursor.bounds.is_beyond(target.user_key) {
                cursor.leave();
                Ok(())
            } else if cursor.bounds.is_below(target.user_key) {
                cursor.go_to_first()
            } else {
                cursor.go_to(target)
            }
        })
    }

    fn seek_for_prev(&mut self, target: InternalKeyRef<'_>) -> Result<(), Error> {
        self.guarded(|cursor| {
            if cursor.bounds.is_below(target.user_key) {
                cursor.leave();
                Ok(())
            } else if cursor.bounds.is_beyond(target.user_key) {
                cursor.go_to_last()
            } else {
                cursor.go_to_before(target)
            }
        })
    }

    #[inline]
    fn next(&mut self) -> Result<(), Error> {
        if !self.data.is_valid() {
            return Ok(());
        }
        let moved = self.data.next();
        if self.data.is_valid() {
            return Ok(());
        }
        self.guarded(|cursor| {
            moved.map_err(cursor.in_data())?;
            cursor.enter_next_block()
        })
    }

    #[inline]
    fn prev(&mut self) -> Result<(), Error> {
        if !self.data.is_valid() {
            return Ok(());
        }
        let moved = self.data.prev();
        if self.data.is_valid() {
            return Ok(());
        }
        self.guarded(|cursor| {
            moved.map_err(cursor.in_data())?;
            cursor.enter_previous_block()
        })
    }

    /// # Panics
    /// When not valid, in debug builds.
    #[inline]
    fn key(&self) -> InternalKeyRef<'_> {
        debug_assert!(self.is_valid(), "a cursor has a key only while it is valid");
        self.data.key()
    }

    #[inline]
    fn value(&self) -> &[u8] {
        debug_assert!(self.is_valid(), "a cursor has a value only while it is valid");
        self.data.value()
    }
}
