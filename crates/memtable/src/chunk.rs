//! Chunks: anonymous memory mappings, each with the permit that pays for it.
//!
//! Invariants: a chunk maps exactly as many bytes as its permit holds. The permit is taken before the mapping is made
//! and goes back after it is gone, so at no moment is more mapped than is charged.

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use credit::Permit;
use memmap2::{MmapOptions, MmapRaw};

use crate::cache::ChunkCache;

/// Bytes that all chunks of this process map now. A plain `std` atomic, under loom too: it has to be a static, it is
/// only reported, and nothing is decided or published by it.
static MAPPED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// The bytes that all chunks of this process map at this moment.
///
/// Counted where memory is mapped and unmapped, apart from every pool's own account: the two can be compared.
#[must_use]
pub fn mapped_bytes() -> usize {
    MAPPED_BYTES.load(Ordering::Relaxed)
}

/// The bytes of one page of memory: a chunk is a whole number of them.
#[must_use]
pub fn page_bytes() -> usize {
    rustix::param::page_size()
}

/// Why a chunk could not be mapped. The permit has gone back to its pool.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// The permit holds no whole number of pages: ask the pool for what
    /// [`Memtable::chunk_bytes_for`](crate::Memtable::chunk_bytes_for) says.
    #[error("a chunk of {bytes} bytes is not a positive multiple of the page size, {page_bytes}")]
    NotWholePages {
        /// What the permit holds.
        bytes: u64,
        /// What it has to be a multiple of.
        page_bytes: usize,
    },
    /// The operating system gave no memory: flush to free some and try again, or refuse the write.
    #[error("cannot map a chunk of {bytes} bytes; free memory or lower the write budget")]
    Refused {
        /// What was asked for.
        bytes: u64,
        /// The operating system's answer.
        source: std::io::Error,
    },
}

/// Mapped memory and the permit that pays for it.
///
/// When it is dropped the memory is unmapped, and then the permit returns to its pool; or both go to the
/// [`ChunkCache`] that it came from, for the next memtable.
pub struct Chunk {
    /// There until the chunk is dropped.
    mapping: Option<Mapping>,
    home: Option<Arc<ChunkCache>>,
}

/// What a chunk consists of.
pub(crate) struct Mapping {
    // Dropped in this order: first the memory, then its count, then its charge.
    memory: MmapRaw,
    counted: Counted,
    permit: Permit,
}

/// What [`mapped_bytes`] has been raised by.
struct Counted(usize);

impl Drop for Counted {
    fn drop(&mut self) {
        MAPPED_BYTES.fetch_sub(self.0, Ordering::Relaxed);
    }
}

impl Mapping {
    /// The bytes mapped, which are the bytes charged.
    pub(crate) fn bytes(&self) -> usize {
        debug_assert_eq!(self.permit.bytes(), self.counted.0 as u64);
        self.memory.len()
    }
}

impl Chunk {
    /// Maps exactly `permit.bytes()` bytes, a positive multiple of [`page_bytes`], and makes them resident.
    ///
    /// Takes microseconds to some hundred of them (a mebibyte): call it outside every lock. The pages are faulted in
    /// here, in one go, so that no insert meets a page fault.
    ///
    /// # Errors
    /// [`MapError`]; the permit is returned to its pool in every case.
    pub fn map(permit: Permit) -> Result<Self, MapError> {
        let bytes = permit.bytes();
        let page_bytes = page_bytes();
        let whole = usize::try_from(bytes).ok().filter(|&n| n > 0 && n.is_multiple_of(page_bytes));
        let Some(len) = whole else { return Err(MapError::NotWholePages { bytes, page_bytes }) };
        let mapped = MmapOptions::new().len(len).populate().map_anon();
        let memory = mapped.map_err(|source| MapError::Refused { bytes, source })?;
        MAPPED_BYTES.fetch_add(len, Ordering::Relaxed);
        let mapping = Mapping { memory: MmapRaw::from(memory), counted: Counted(len), permit };
        Ok(Self::of(mapping, None))
    }

    pub(crate) fn of(mapping: Mapping, home: Option<Arc<ChunkCache>>) -> Self {
        Self { mapping: Some(mapping), home }
    }

    /// The same chunk, which goes to `cache` when it goes out of use.
    pub(crate) fn at_home(mut self, cache: &Arc<ChunkCache>) -> Self {
        self.home = Some(Arc::clone(cache));
        self
    }

    /// The bytes mapped, which are the bytes charged.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.mapping().bytes()
    }

    /// Where the memory begins: aligned to a page, valid for reads and writes of [`Chunk::bytes`] bytes for as long
    /// as the chunk lives. What is in it may be left from an earlier use.
    pub(crate) fn start(&self) -> NonNull<u8> {
        NonNull::new(self.mapping().memory.as_mut_ptr()).expect("a mapping is never at address 0")
    }

    fn mapping(&self) -> &Mapping {
        self.mapping.as_ref().expect("a chunk has its memory until it is dropped")
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let (Some(mapping), Some(home)) = (self.mapping.take(), &self.home) {
            drop(home.put(mapping)); // what is not kept is unmapped here
        }
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}
