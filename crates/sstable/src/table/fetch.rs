//! Getting one block of a table: from the cache, or from the file with every check.

use crate::block::Block;
use crate::cache::BlockCacheHandle;
use crate::compress;
use crate::error::{Error, Malformed};
use crate::format::{BlockKind, Handle, Place, Trailer};
use crate::options::ReadBlocks;
use crate::table::kept::Kept;
use crate::table::mapped::VerifiedBits;
use bytes::Bytes;
use std::sync::Arc;
use vfs::File;

/// Which data block it is of its partition.
#[derive(Clone, Copy)]
pub(super) struct BlockPlace<'a> {
    /// Its number in the index.
    pub(super) entry: usize,
    /// How many there are.
    pub(super) blocks: usize,
    pub(super) verified: &'a VerifiedBits,
    /// Whether it need not be verified again where it was once.
    pub(super) is_trusted: bool,
    /// Whether nothing says that its neighbours will be read too.
    pub(super) is_alone: bool,
}

/// A data block that a point read looks into.
pub(super) struct PointBlock {
    pub(super) block: Block,
    /// Whether the cache has been offered the block; if not, it is to be offered what is found in it.
    pub(super) is_kept: bool,
}

/// Reads the blocks of one file.
#[derive(Debug)]
pub(super) struct Fetcher {
    pub(super) file: Arc<dyn File>,
    pub(super) cache: Option<BlockCacheHandle>,
    pub(super) salt: u64,
    /// The whole file, if it is mapped into memory.
    pub(super) mapped: Option<Bytes>,
    /// Where the footer begins: every block ends at or before it.
    pub(super) limit: u64,
}

impl Fetcher {
    /// The data block at `handle`, which stands at `place`, from the cache, the mapped file, or the file; for a point read,
    /// which may keep what it finds in the block and not the block.
    #[inline]
    pub(super) fn point_block(
        &self,
        handle: Handle,
        place: BlockPlace<'_>,
        how: ReadBlocks,
    ) -> Result<PointBlock, Error> {
        match self.cached_data(handle) {
            Some(block) => Ok(PointBlock { block, is_kept: true }),
            None => self.load_point_block(handle, place, how),
        }
    }

    fn load_point_block(
        &self,
        handle: Handle,
        place: BlockPlace<'_>,
        how: ReadBlocks,
    ) -> Result<PointBlock, Error> {
        let is_kept = match &self.cache {
            Some(BlockCacheHandle { cache, table }) if self.mapped.is_none() && how.may_fill() => {
                cache.wants(*table, handle.offset, handle.len as usize)
            }
            _ => true,
        };
        let block = if is_kept {
            self.load_data_block(handle, place, how)?
        } else {
            self.read_block(handle, BlockKind::Data)?
        };
        Ok(PointBlock { block, is_kept })
    }

    /// The data block at `handle` if it is in the cache and must be looked for there.
    #[inline]
    pub(super) fn cached_data(&self, handle: Handle) -> Option<Block> {
        if self.mapped.is_some() { None } else { self.cached(handle, BlockKind::Data) }
    }

    /// The data block at `handle`, which is not in the cache, from the mapped file or the file.
    #[inline]
    pub(super) fn load_data_block(
        &self,
        handle: Handle,
        place: BlockPlace<'_>,
        how: ReadBlocks,
    ) -> Result<Block, Error> {
        if let Some(mapped) = &self.mapped {
            return self.mapped_block(mapped, handle, place, how);
        }
        let block = self.read_block_as(handle, BlockKind::Data, how.verify_checksums)?;
        self.offer(handle, &block, how);
        Ok(block)
    }

    /// The partition at `handle`: kept by its table, or in `slot`.
    #[inline]
    pub(super) fn partition<'a>(
        &self,
        handle: Handle,
        kind: BlockKind,
        kept: &'a Kept,
        slot: &'a mut Option<Block>,
    ) -> Result<&'a Block, Error> {
        match kept.get() {
            Some(block) => Ok(block),
            None => Ok(slot.insert(self.load_partition(handle, kind, kept)?)),
        }
    }

    #[cold]
    fn load_partition(&self, handle: Handle, kind: BlockKind, kept: &Kept) -> Result<Block, Error> {
        let found = self.cached(handle, kind);
        let is_cached = found.is_some();
        let block = match found {
            Some(block) => block,
            None => self.read_block(handle, kind)?,
        };
        if let Some(BlockCacheHandle { cache, table }) = &self.cache
            && !kept.offer(&block, |bytes| cache.keep(bytes))
            && !is_cached
        {
            cache.insert(*table, handle.offset, block.clone());
        }
        Ok(block)
    }

    /// The block at `handle` if it is in the cache. One of another kind does not count: the handle that led to it is
    /// wrong, which reading the file will show.
    #[inline]
    pub(super) fn cached(&self, handle: Handle, kind: BlockKind) -> Option<Block> {
        let BlockCacheHandle { cache, table } = self.cache.as_ref()?;
        cache.get(*table, handle.offset).filter(|block| block.kind() == kind)
    }

    /// Puts a data block into the cache, if that is wanted and it was verified.
    pub(super) fn offer(&self, handle: Handle, block: &Block, how: ReadBlocks) {
        if let Some(BlockCacheHandle { cache, table }) = &self.cache
            && how.may_fill()
        {
            cache.insert(*table, handle.offset, block.clone());
        }
    }

    /// The block at `handle`, from the file.
    pub(super) fn read_block(&self, handle: Handle, kind: BlockKind) -> Result<Block, Error> {
        self.read_block_as(handle, kind, true)
    }

    fn read_block_as(&self, handle: Handle, kind: BlockKind, verify: bool) -> Result<Block, Error> {
        handle.check(self.limit).map_err(self.damaged(handle.offset, kind))?;
        let mut stored = Vec::new();
        self.file
            .read_exact_onto(&mut stored, handle.stored_bytes(), handle.offset)
            .map_err(Error::io("read"))?;
        let (payload, trailer) =
            self.open(&stored, handle, kind, verify).map_err(self.damaged(handle.offset, kind))?;
        let payload = if trailer.compression == 0 && trailer.raw_len == handle.len {
            stored.truncate(handle.len as usize);
            Ok(stored)
        } else {
            compress::decompress(trailer.compression, payload, trailer.raw_len)
        };
        payload
            .and_then(|payload| Block::parse(kind, Bytes::from(payload)))
            .map_err(self.damaged(handle.offset, kind))
    }

    /// The block at `handle`, whose stored bytes have been read already.
    pub(super) fn decode_block(
        &self,
        stored: &[u8],
        handle: Handle,
        kind: BlockKind,
        verify: bool,
    ) -> Result<Block, Error> {
        self.open(stored, handle, kind, verify)
            .and_then(|(payload, trailer)| {
                compress::decompress(trailer.compression, payload, trailer.raw_len)
            })
            .and_then(|payload| Block::parse(kind, Bytes::from(payload)))
            .map_err(self.damaged(handle.offset, kind))
    }

    fn open<'a>(
        &self,
        stored: &'a [u8],
        handle: Handle,
        kind: BlockKind,
        verify: bool,
    ) -> Result<(&'a [u8], Trailer), Malformed> {
        if verify {
            Trailer::open(stored, kind, Place { offset: handle.offset, salt: self.salt })
        } else {
            Trailer::open_unverified(stored, kind)
        }
    }

    /// Makes an error of what a decoder says of the block at `offset`.
    pub(super) fn damaged(&self, offset: u64, kind: BlockKind) -> impl FnOnce(Malformed) -> Error {
        move |malformed| malformed.at(self.file.path(), offset, Some(kind))
    }
}
