//! Chunks that went out of use and wait for the next memtable, mapped and charged.
//!
//! What it is for: a chunk's pages are made resident when it is mapped, which costs more than filling them. A chunk
//! that comes back from a flushed memtable and goes into the next one spares that.
//!
//! Invariants: what is kept is charged, and at most `bytes_max`; while anybody [wants](ChunkCache::want) the credits,
//! nothing is kept. What comes back is dirty: whoever takes it writes before reading.
//!
//! Concurrency: one lock, held for a push or a look through a short list; memory is unmapped outside it.

use std::fmt;
use std::sync::Arc;

use base::sync::Mutex;
use credit::{Permit, Pool};

use crate::arena::CHUNK_BYTES_MAX;
use crate::chunk::{Chunk, MapError, Mapping};

/// Keeps chunks of ordinary sizes when their memtable goes, for the next one; gives them up when their credits are
/// wanted.
pub struct ChunkCache {
    bytes_max: usize,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    spare: Vec<Mapping>,
    bytes: usize,
    /// How many want credits just now.
    wanting: usize,
}

/// As long as this is held, its cache keeps nothing: what comes back goes back to the pool.
#[must_use = "the cache keeps chunks again when this is dropped"]
pub struct Wanted<'a>(&'a ChunkCache);

impl ChunkCache {
    /// A cache that keeps at most `bytes_max` bytes of chunks; 0 keeps none.
    #[must_use]
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, shelf: Mutex::new(Shelf::default()) })
    }

    /// Maps a chunk as [`Chunk::map`] does, which comes here when it goes out of use.
    ///
    /// # Errors
    /// As [`Chunk::map`].
    pub fn map(self: &Arc<Self>, permit: Permit) -> Result<Chunk, MapError> {
        Ok(Chunk::map(permit)?.at_home(self))
    }

    /// Chunks of exactly these sizes, in this order, with their charge: all of them or none. What is in them is what
    /// was left there.
    #[must_use]
    pub fn take(self: &Arc<Self>, sizes: &[usize]) -> Option<Vec<Chunk>> {
        let mut shelf = self.shelf.lock();
        let mut taken: Vec<Mapping> = Vec::with_capacity(sizes.len());
        for &size in sizes {
            match shelf.spare.iter().rposition(|spare| spare.bytes() == size) {
                Some(at) => taken.push(shelf.spare.swap_remove(at)),
                None => {
                    shelf.spare.append(&mut taken);
                    return None;
                }
            }
        }
        shelf.bytes -= sizes.iter().sum::<usize>();
        Some(taken.into_iter().map(|mapping| Chunk::of(mapping, Some(Arc::clone(self)))).collect())
    }

    /// Has a chunk of an ordinary memtable's full size ready for the next who takes one: if none is kept, there is room
    /// to keep one, nobody wants the credits and `pool` has them now. For a thread beside those that write, which would
    /// have to wait while its pages are made resident. Answers whether it mapped one.
    ///
    /// # Errors
    /// [`MapError::Refused`].
    pub fn prepare(self: &Arc<Self>, pool: &Pool) -> Result<bool, MapError> {
        {
            let shelf = self.shelf.lock();
            let is_there = shelf.spare.iter().any(|spare| spare.bytes() == CHUNK_BYTES_MAX);
            let has_room = shelf.bytes + CHUNK_BYTES_MAX <= self.bytes_max;
            if is_there || !has_room || shelf.wanting > 0 {
                return Ok(false);
            }
        }
        let Ok(permit) = pool.try_acquire(CHUNK_BYTES_MAX as u64) else { return Ok(false) };
        drop(self.map(permit)?); // comes here, unless its credits are wanted by now
        Ok(true)
    }

    /// Gives everything up, and keeps nothing while what this returns is held: call it before waiting for credits.
    pub fn want(&self) -> Wanted<'_> {
        let mut shelf = self.shelf.lock();
        shelf.wanting += 1;
        let spare = shelf.clear();
        drop(shelf);
        drop(spare); // unmapped outside the lock
        Wanted(self)
    }

    /// The bytes that it keeps now: charged, and in no memtable.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.shelf.lock().bytes
    }

    /// Takes back what a chunk was; gives back what it does not keep.
    pub(crate) fn put(&self, mapping: Mapping) -> Option<Mapping> {
        let bytes = mapping.bytes();
        let is_ordinary = bytes <= CHUNK_BYTES_MAX && bytes.is_power_of_two();
        let mut shelf = self.shelf.lock();
        let fits = shelf.bytes + bytes <= self.bytes_max;
        if !is_ordinary || !fits || shelf.wanting > 0 {
            return Some(mapping);
        }
        shelf.bytes += bytes;
        shelf.spare.push(mapping);
        None
    }
}

impl Shelf {
    fn clear(&mut self) -> Vec<Mapping> {
        self.bytes = 0;
        std::mem::take(&mut self.spare)
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.shelf.lock().wanting -= 1;
    }
}

impl fmt::Debug for ChunkCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkCache")
            .field("bytes_max", &self.bytes_max)
            .field("kept_bytes", &self.kept_bytes())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Wanted").field(self.0).finish()
    }
}
