//! Getting one block of a table: from the cache, or from the file with every check.

use crate::block::Block;
use crate::cache::BlockCacheHandle;
use crate::compress;
use crate::error::{Error, Malformed};
use crate::format::{BlockKind, Handle, Place, Trailer};
use bytes::Bytes;
use std::sync::Arc;
use vfs::File;

/// Reads the blocks of one file.
#[derive(Debug)]
pub(super) struct Fetcher {
    pub(super) file: Arc<dyn File>,
    pub(super) cache: Option<BlockCacheHandle>,
    pub(super) salt: u64,
    /// Where the footer begins: every block ends at or before it.
    pub(super) limit: u64,
}

impl Fetcher {
    /// The block at `handle`, from the cache if it is there; one that was read from the file is put there if `fill`.
    #[inline]
    pub(super) fn block(
        &self,
        handle: Handle,
        kind: BlockKind,
        fill: bool,
    ) -> Result<Block, Error> {
        if let Some(block) = self.cached(handle, kind) {
            return Ok(block);
        }
        let block = self.read_block(handle, kind)?;
        if fill {
            self.offer(handle, &block);
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

    pub(super) fn offer(&self, handle: Handle, block: &Block) {
        if let Some(BlockCacheHandle { cache, table }) = &self.cache {
            cache.insert(*table, handle.offset, block.clone());
        }
    }

    /// The block at `handle`, from the file.
    pub(super) fn read_block(&self, handle: Handle, kind: BlockKind) -> Result<Block, Error> {
        handle.check(self.limit).map_err(self.damaged(handle.offset, kind))?;
        let mut stored = vec![0; handle.stored_bytes()];
        self.read(&mut stored, handle.offset)?;
        let (payload, trailer) =
            self.open(&stored, handle, kind).map_err(self.damaged(handle.offset, kind))?;
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
    ) -> Result<Block, Error> {
        self.open(stored, handle, kind)
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
    ) -> Result<(&'a [u8], Trailer), Malformed> {
        Trailer::open(stored, kind, Place { offset: handle.offset, salt: self.salt })
    }

    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> Result<(), Error> {
        self.file.read_exact_at(buf, offset).map_err(Error::io("read"))
    }

    /// Makes an error of what a decoder says of the block at `offset`.
    pub(super) fn damaged(&self, offset: u64, kind: BlockKind) -> impl FnOnce(Malformed) -> Error {
        move |malformed| malformed.at(self.file.path(), offset, Some(kind))
    }
}
