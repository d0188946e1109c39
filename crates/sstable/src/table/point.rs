//! Point reads: of one key, and of many in ascending order.

use super::fetch::{BlockPlace, PointBlock};
use super::scratch;
use super::{Table, data_handle};
use crate::block::Block;
use crate::cache::{BlockCacheHandle, RecordOf};
use crate::error::{Error, Malformed};
use crate::filter;
use crate::format::{BlockKind, Handle};
use crate::options::ReadBlocks;
use base::{InternalKeyRef, SeqNo, ValueKind};
use bytes::Bytes;
use std::ops::Range;

/// The version of a key that a point read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// When it was written.
    pub seq: SeqNo,
    /// What was written; a delete is found like anything else.
    pub kind: ValueKind,
    /// The value; see [`FoundRef::pin`].
    pub value: Bytes,
}

/// The version of a key that a point read found, lent out of its block.
#[derive(Clone, Copy, Debug)]
pub struct FoundRef<'a> {
    /// When it was written.
    pub seq: SeqNo,
    /// What was written; a delete is found like anything else.
    pub kind: ValueKind,
    /// The value, to be looked at or copied.
    pub value: &'a [u8],
    /// The block that can be kept for it, and where in that it stands.
    home: Option<(&'a Block, (usize, usize))>,
}

impl FoundRef<'_> {
    /// About how many bytes of memory [`FoundRef::pin`] keeps: those of the whole block, or of the value alone.
    #[must_use]
    pub fn pinned_bytes(&self) -> usize {
        self.home.map_or(self.value.len(), |(block, _)| block.memory_bytes())
    }

    /// The value as a handle: one that shares the memory of its block, and keeps all of it for as long as it lives; or a
    /// copy, if the value does not stand in a block that is kept.
    #[must_use]
    pub fn pin(&self) -> Bytes {
        match self.home {
            Some((block, (start, end))) => block.slice(start..end),
            None => Bytes::copy_from_slice(self.value),
        }
    }
}

/// Where in a data block an entry's value is.
struct Entry {
    seq: SeqNo,
    kind: ValueKind,
    value: Range<usize>,
}

impl Table {
    /// The newest version of `user_key` with a sequence number of at most `at`, or `None` when this table has none.
    ///
    /// The filter is asked first; when it knows nothing of the key no data block is read. Nothing is allocated when
    /// the blocks are in the cache.
    ///
    /// # Errors
    /// [`Error::Io`]: the read can be tried again. [`Error::Corrupt`]: the file is damaged.
    #[inline]
    pub fn get(&self, user_key: &[u8], at: SeqNo) -> Result<Option<Found>, Error> {
        self.get_with(user_key, at, &ReadBlocks::DEFAULT)
    }

    /// As [`Table::get`], reading its blocks as `how` says.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn get_with(
        &self,
        user_key: &[u8],
        at: SeqNo,
        how: &ReadBlocks,
    ) -> Result<Option<Found>, Error> {
        let keep =
            |found: FoundRef<'_>| Found { seq: found.seq, kind: found.kind, value: found.pin() };
        self.get_map(user_key, at, how, keep)
    }

    /// As [`Table::get_with`], but lends what it found to `take`, which can copy it or keep it ([`FoundRef::pin`]).
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn get_map<T>(
        &self,
        user_key: &[u8],
        at: SeqNo,
        how: &ReadBlocks,
        take: impl FnOnce(FoundRef<'_>) -> T,
    ) -> Result<Option<T>, Error> {
        let target = InternalKeyRef::seek_at(user_key, at);
        let Some(number) = self.partition_for(target)? else { return Ok(None) };
        let hash = filter::hash(user_key);
        if !self.may_contain(number, hash, &mut None)? {
            return Ok(None);
        }
        let mut take = Some(take);
        let mut taken = |found: FoundRef<'_>| take.take().map(|take| take(found));
        if let Some(taken) = self.with_record(target, hash, &mut taken) {
            return Ok(taken);
        }
        let (handle, place) = self.handle_for(number, target, &mut None)?;
        let mut found = self.fetcher.point_block(handle, place, *how)?;
        let Some(entry) = self.entry_for(&found.block, handle, target)? else {
            self.offer_unfound(&mut found, handle, number);
            return Ok(None);
        };
        self.offer_found(&mut found, handle, (target, hash), &entry);
        Ok(taken(lend(&found, &entry)))
    }

    /// Looks up `user_keys`, which must ascend (one may come several times), as of `at`, and gives each that is found
    /// to `each` with its place in `user_keys`, in that order; of the others nothing is heard. Keys that lie in the
    /// same block, or partition, share the work of finding and reading it.
    ///
    /// # Errors
    /// As [`Table::get`], at the first key that cannot be read: those before it have been given out.
    ///
    /// # Panics
    /// In debug builds, when the keys do not ascend; otherwise they are found all the same, but slowly.
    pub fn multi_get<K: AsRef<[u8]>>(
        &self,
        user_keys: &[K],
        at: SeqNo,
        how: &ReadBlocks,
        mut each: impl FnMut(usize, FoundRef<'_>),
    ) -> Result<(), Error> {
        debug_assert!(user_keys.is_sorted_by(|a, b| a.as_ref() <= b.as_ref()), "keys ascend");
        let mut last: Option<(Handle, PointBlock)> = None;
        // The partition that the blocks in the slots belong to.
        let mut partition = usize::MAX;
        let (mut filter_slot, mut index_slot) = (None, None);
        for (place, user_key) in user_keys.iter().enumerate() {
            let user_key = user_key.as_ref();
            let target = InternalKeyRef::seek_at(user_key, at);
            let Some(number) = self.partition_for(target)? else { continue };
            if number != partition {
                (filter_slot, index_slot) = (None, None);
                partition = number;
            }
            let hash = filter::hash(user_key);
            if !self.may_contain(number, hash, &mut filter_slot)? {
                continue;
            }
            if self.with_record(target, hash, |found| each(place, found)).is_some() {
                continue;
            }
            let (handle, place_in_index) = self.handle_for(number, target, &mut index_slot)?;
            let found = match &mut last {
                Some((loaded, found)) if *loaded == handle => found,
                other => {
                    let found = self.fetcher.point_block(handle, place_in_index, *how)?;
                    &mut other.insert((handle, found)).1
                }
            };
            if let Some(entry) = self.entry_for(&found.block, handle, target)? {
                self.offer_found(found, handle, (target, hash), &entry);
                each(place, lend(found, &entry));
            } else {
                self.offer_unfound(found, handle, number);
            }
        }
        Ok(())
    }

    /// What `take` makes of the record of `target`'s key, if the cache keeps one and it is the version that `target` sees.
    #[inline]
    fn with_record<T>(
        &self,
        target: InternalKeyRef<'_>,
        hash: u64,
        take: impl FnOnce(FoundRef<'_>) -> T,
    ) -> Option<T> {
        let BlockCacheHandle { cache, table } = self.fetcher.cache.as_ref()?;
        let record = RecordOf { table: *table, user_key: target.user_key, hash };
        scratch::with_value(|value| {
            let (seq, kind) = cache.record(record, value)?;
            (seq <= target.seq).then(|| take(FoundRef { seq, kind, value, home: None }))
        })
    }

    /// After `block` was searched for `target`: what was found in it is offered to the cache, or else the block itself,
    /// unless the block was.
    #[inline]
    fn offer_found(
        &self,
        found: &mut PointBlock,
        handle: Handle,
        (target, hash): (InternalKeyRef<'_>, u64),
        entry: &Entry,
    ) {
        if found.is_kept {
            return;
        }
        let Some(BlockCacheHandle { cache, table }) = &self.fetcher.cache else { return };
        let record = RecordOf { table: *table, user_key: target.user_key, hash };
        let value = &found.block.data()[entry.value.clone()];
        // A version that is not the table's newest of its key cannot stand for it.
        let is_newest = target.seq >= self.properties.max_seq;
        if !is_newest || !cache.insert_record(record, entry.seq, entry.kind, value) {
            cache.insert(*table, handle.offset, found.block.clone());
            found.is_kept = true;
        }
    }

    /// After a block was searched in vain: it is offered to the cache if partition `number` has no filter, which would have
    /// spared most such searches.
    #[cold]
    fn offer_unfound(&self, found: &mut PointBlock, handle: Handle, number: usize) {
        if !found.is_kept
            && self.partitions[number].filter.is_none()
            && let Some(BlockCacheHandle { cache, table }) = &self.fetcher.cache
        {
            cache.insert(*table, handle.offset, found.block.clone());
            found.is_kept = true;
        }
    }

    /// Whether partition `number` may hold the key of this hash; `slot` holds its filter between calls.
    #[inline]
    fn may_contain(
        &self,
        number: usize,
        hash: u64,
        slot: &mut Option<Block>,
    ) -> Result<bool, Error> {
        let partition = &self.partitions[number];
        let Some(handle) = partition.filter else { return Ok(true) };
        let filter = match slot {
            Some(filter) => &*filter,
            slot => {
                self.fetcher.partition(handle, BlockKind::Filter, &partition.kept_filter, slot)?
            }
        };
        Ok(filter::may_contain(filter.data(), hash))
    }

    /// The data block of partition `number` that would hold `target`; `slot` holds the index between calls.
    #[inline]
    fn handle_for(
        &self,
        number: usize,
        target: InternalKeyRef<'_>,
        slot: &mut Option<Block>,
    ) -> Result<(Handle, BlockPlace<'_>), Error> {
        let index = match slot {
            Some(index) => &*index,
            slot => self.index_partition(number, slot)?,
        };
        let partition = &self.partitions[number];
        let blocks = index.restarts();
        index
            .lower_bound(target)
            .and_then(|entry| {
                let verified = &partition.verified;
                let place =
                    BlockPlace { entry, blocks, verified, is_trusted: true, is_alone: true };
                Ok((data_handle(index, entry)?, place))
            })
            .map_err(self.fetcher.damaged(partition.index.offset, BlockKind::Index))
    }

    /// The newest version in the data block `block` that `target` sees.
    #[inline]
    fn entry_for(
        &self,
        block: &Block,
        handle: Handle,
        target: InternalKeyRef<'_>,
    ) -> Result<Option<Entry>, Error> {
        let in_data = || self.fetcher.damaged(handle.offset, BlockKind::Data);
        let landing = block.first_at_or_after(target).map_err(in_data())?;
        let Some(landing) = landing.filter(|landing| landing.same_user_key) else {
            return Ok(None);
        };
        match InternalKeyRef::from_trailer(target.user_key, landing.trailer) {
            Some(key) => Ok(Some(Entry { seq: key.seq, kind: key.kind, value: landing.value })),
            None => {
                let code = landing.trailer & 0xff;
                Err(in_data()(Malformed::new("a kind of entry", format_args!("code {code}"))))
            }
        }
    }
}

#[inline]
fn lend<'a>(found: &'a PointBlock, entry: &Entry) -> FoundRef<'a> {
    let Range { start, end } = entry.value;
    let value = &found.block.data()[start..end];
    let home = found.is_kept.then_some((&found.block, (start, end)));
    FoundRef { seq: entry.seq, kind: entry.kind, value, home }
}
