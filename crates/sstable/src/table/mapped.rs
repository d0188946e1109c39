//! Tables whose file is mapped into memory: data blocks that are not compressed are read where they lie.
//!
//! Invariants: a data block's checksum is verified when it is read for the first time since the table was opened, by any
//! thread; a bit for each block remembers that it was. What the bits say is no more than that: a page that the system has
//! dropped and read again is not looked at again, so that all that a block says of itself is still checked at each use.
//!
//! Concurrency: the bits are Relaxed, as nothing is published by them: two threads may verify the same block.

use super::Table;
use crate::block::{Block, fetch_end};
use crate::cache::BlockCacheHandle;
use crate::compress;
use crate::error::Error;
use crate::format::{BlockKind, Handle, Place, Trailer};
use crate::options::ReadBlocks;
use crate::table::fetch::{BlockPlace, Fetcher};
use base::sync::OnceLock;
use base::sync::atomic::{AtomicU64, Ordering};
use bytes::Bytes;
use std::sync::Arc;
use vfs::{Access, File, MappedRegion};

/// Which data blocks of a partition have been verified: a bit for each, in order.
#[derive(Debug, Default)]
pub(super) struct VerifiedBits(OnceLock<Box<[AtomicU64]>>);

impl VerifiedBits {
    fn is_set(&self, entry: usize) -> bool {
        let word = self.0.get().and_then(|words| words.get(entry / 64));
        word.is_some_and(|word| word.load(Ordering::Relaxed) >> (entry % 64) & 1 != 0)
    }

    /// Notes that block `entry`, of `blocks`, has been verified.
    fn set(&self, entry: usize, blocks: usize) {
        let words =
            self.0.get_or_init(|| (0..blocks.div_ceil(64)).map(|_| AtomicU64::new(0)).collect());
        if let Some(word) = words.get(entry / 64) {
            word.fetch_or(1 << (entry % 64), Ordering::Relaxed);
        }
    }
}

/// The mapped file as the owner of its bytes.
struct Contents(MappedRegion);

impl AsRef<[u8]> for Contents {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: whoever called `Table::into_mapped`, the only place that makes one, has promised that nobody changes
        // the file as long as the table or one of its values lives, and the region lives in those alone.
        unsafe { self.0.as_slice() }.unwrap_or_default()
    }
}

impl Table {
    /// Opens the table in `file` as [`Table::open`] does, and maps it into memory: see [`Table::into_mapped`].
    ///
    /// # Safety
    /// As [`Table::into_mapped`].
    ///
    /// # Errors
    /// As [`Table::open`].
    pub unsafe fn open_mapped(
        file: Arc<dyn File>,
        cache: Option<BlockCacheHandle>,
    ) -> Result<Self, Error> {
        let table = Self::open(file, cache)?;
        // SAFETY: the caller promises what it asks for.
        Ok(unsafe { table.into_mapped() })
    }

    /// Maps the table's file into memory: data blocks that are not compressed are then neither copied nor put into the
    /// cache, and a value that is kept keeps the mapping. Where the file cannot be mapped it is read as before
    /// ([`Table::is_mapped`]).
    ///
    /// What is mapped is the system's page cache: it is resident memory of the process, but the system takes it back
    /// when it needs to, and no budget is charged with it.
    ///
    /// **A disk that fails kills the process**: a page that cannot be read is a signal (SIGBUS), where
    /// [`Table::open`] has an error. And a block is verified when it is first read; if the system has dropped its page
    /// since, what the disk delivers then is not verified again, but where [`ScanOptions::verify_again`] asks for it.
    ///
    /// [`ScanOptions::verify_again`]: crate::ScanOptions::verify_again
    ///
    /// # Safety
    /// As long as the table, a cursor or a value of it lives, nobody may write or cut the file, in this process or in any
    /// other. (Removing it is harmless, except on Windows, which refuses.)
    #[must_use]
    pub unsafe fn into_mapped(mut self) -> Self {
        let len = usize::try_from(self.file_bytes()).ok();
        let region = len.and_then(|len| self.fetcher.file.map(0, len, Access::Read).ok());
        let contents = region.map(|region| Bytes::from_owner(Contents(region)));
        self.fetcher.mapped = contents.filter(|bytes| Some(bytes.len()) == len);
        self
    }

    /// Whether the file is mapped into memory.
    #[must_use]
    pub fn is_mapped(&self) -> bool {
        self.fetcher.mapped.is_some()
    }
}

impl Fetcher {
    /// The data block at `handle` from the mapped file.
    pub(super) fn mapped_block(
        &self,
        mapped: &Bytes,
        handle: Handle,
        BlockPlace { entry, blocks, verified, is_trusted, is_alone }: BlockPlace<'_>,
        how: ReadBlocks,
    ) -> Result<Block, Error> {
        let damaged = || self.damaged(handle.offset, BlockKind::Data);
        handle.check(self.limit).map_err(damaged())?;
        let start = handle.offset as usize;
        let stored = &mapped[start..start + handle.stored_bytes()];
        fetch_end(stored);
        let is_known = is_trusted && verified.is_set(entry);
        if !is_known && is_alone {
            // It may still be on the disk: then it comes as one read of just its pages, and not a page fault each with
            // what the system thinks would be wanted around it.
            self.file.will_read(handle.offset, stored.len() as u64);
        }
        let opened = if is_known || !how.verify_checksums {
            Trailer::open_unverified(stored, BlockKind::Data)
        } else {
            let place = Place { offset: handle.offset, salt: self.salt };
            Trailer::open(stored, BlockKind::Data, place)
        };
        let (payload, trailer) = opened.map_err(damaged())?;
        if how.verify_checksums && !is_known {
            verified.set(entry, blocks);
        }
        if trailer.compression == 0 && trailer.raw_len == handle.len {
            let data = mapped.slice(start..start + payload.len());
            return Block::parse(BlockKind::Data, data).map_err(damaged());
        }
        if let Some(block) = self.cached(handle, BlockKind::Data) {
            return Ok(block);
        }
        let block = compress::decompress(trailer.compression, payload, trailer.raw_len)
            .and_then(|payload| Block::parse(BlockKind::Data, Bytes::from(payload)))
            .map_err(damaged())?;
        self.offer(handle, &block, how);
        Ok(block)
    }
}
