//! The arena: chunks of charged memory, from which reservations are cut and never given back one by one.
//!
//! Invariants: what the arena holds is exactly the sum of its chunks, which is exactly the sum of their permits. Every
//! reservation lies within one chunk and overlaps no other. Chunks leave only with the arena.
//!
//! Concurrency: one short lock around the bookkeeping. The callers that cut reservations serialise themselves anyway
//! (a commit has to order its sequence numbers), so that it is not contended; writing into what was cut needs no lock.

use std::ptr::NonNull;

use base::sync::Mutex;

use crate::chunk::{Chunk, page_bytes};
use crate::node;

/// The first chunk: what a memtable with one entry costs.
pub(crate) const CHUNK_BYTES_FIRST: usize = 16 << 10;
/// Chunks double up to this; only a group of inserts that needs more gets a larger one.
pub(crate) const CHUNK_BYTES_MAX: usize = 1 << 20;
/// A group of inserts above this gets a chunk of just its size: an ordinary one could be left with a large rest.
const CHUNK_BYTES_EXACT_FROM: usize = CHUNK_BYTES_MAX / 4;
/// How many chunks with room left are kept in view. More than one, because a large group does not fit into what is
/// left of a chunk that still serves small ones, and because several threads may add a chunk at once.
const ROOMS_MAX: usize = 4;

/// Memory for a memtable's nodes.
#[derive(Debug)]
pub(crate) struct Arena {
    books: Mutex<Books>,
}

#[derive(Debug)]
struct Books {
    chunks: Vec<Chunk>,
    /// Where reservations can still be cut, in no order.
    rooms: Vec<Room>,
    charged_bytes: usize,
    used_bytes: usize,
    entries: u64,
}

/// What is left of a chunk: addresses `start` (a multiple of [`node::ALIGN`]) to `start + bytes`.
#[derive(Debug)]
struct Room {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a room is the sole access to its memory, which is plain bytes that any thread may own.
unsafe impl Send for Room {}

/// Memory that was cut out of an arena for one writer alone. The arena has to outlive its use.
#[derive(Debug)]
pub(crate) struct Region(Room);

impl Region {
    /// A region of nothing.
    const EMPTY: Self = Self(Room { start: NonNull::dangling(), bytes: 0 });

    /// Cuts `bytes`, a multiple of [`node::ALIGN`], off the front; `None` when so much is not left.
    #[inline]
    pub(crate) fn cut(&mut self, bytes: usize) -> Option<NonNull<u8>> {
        self.0.cut(bytes)
    }
}

impl Room {
    #[inline]
    fn cut(&mut self, bytes: usize) -> Option<NonNull<u8>> {
        debug_assert!(bytes.is_multiple_of(node::ALIGN));
        let left = self.bytes.checked_sub(bytes)?;
        let start = self.start;
        // `wrapping_add` never wraps here: the room ends inside its chunk.
        self.start = NonNull::new(start.as_ptr().wrapping_add(bytes))?;
        self.bytes = left;
        Some(start)
    }
}

/// What [`Arena::figures`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) charged_bytes: usize,
    pub(crate) used_bytes: usize,
    pub(crate) entries: u64,
    pub(crate) next_chunk_bytes: usize,
    pub(crate) room_bytes: usize,
}

impl Arena {
    /// An arena that holds nothing.
    pub(crate) fn new() -> Self {
        let books = Books {
            chunks: Vec::new(),
            rooms: Vec::new(),
            charged_bytes: 0,
            used_bytes: 0,
            entries: 0,
        };
        Self { books: Mutex::new(books) }
    }

    /// The bytes of the chunk to add before `bytes` can be cut; `None` when they can be now.
    pub(crate) fn chunk_bytes_for(&self, bytes: usize) -> Option<usize> {
        let books = self.books.lock();
        if bytes == 0 || books.rooms.iter().any(|room| room.bytes >= bytes) {
            return None;
        }
        let exact = bytes.next_multiple_of(page_bytes());
        Some(if bytes > CHUNK_BYTES_EXACT_FROM {
            exact
        } else {
            exact.max(books.next_chunk_bytes())
        })
    }

    /// Takes a chunk in, to cut from.
    pub(crate) fn add_chunk(&self, chunk: Chunk) {
        let mut books = self.books.lock();
        books.charged_bytes += chunk.bytes();
        books.keep(Room { start: chunk.start(), bytes: chunk.bytes() });
        books.chunks.push(chunk);
    }

    /// Cuts `bytes`, a multiple of [`node::ALIGN`], for `entries` entries; `None` when there is no room for them in
    /// one piece.
    #[inline]
    pub(crate) fn cut(&self, bytes: usize, entries: usize) -> Option<Region> {
        if bytes == 0 {
            return Some(Region::EMPTY);
        }
        let mut books = self.books.lock();
        // The tightest room that serves, so that the rests of chunks are used up by what is small.
        let fits = books.rooms.iter_mut().filter(|room| room.bytes >= bytes);
        let start = fits.min_by_key(|room| room.bytes)?.cut(bytes)?;
        books.used_bytes += bytes;
        books.entries += entries as u64;
        Some(Region(Room { start, bytes }))
    }

    /// What the books say, all at one moment.
    pub(crate) fn figures(&self) -> Figures {
        let books = self.books.lock();
        debug_assert_eq!(books.charged_bytes, books.chunks.iter().map(Chunk::bytes).sum::<usize>());
        Figures {
            charged_bytes: books.charged_bytes,
            used_bytes: books.used_bytes,
            entries: books.entries,
            next_chunk_bytes: books.next_chunk_bytes(),
            room_bytes: books.rooms.iter().map(|room| room.bytes).max().unwrap_or(0),
        }
    }
}

impl Books {
    /// The size of the next ordinary chunk: doubling with each chunk taken in, at least a page.
    fn next_chunk_bytes(&self) -> usize {
        let doublings = self.chunks.len().min(CHUNK_BYTES_MAX.ilog2() as usize);
        (CHUNK_BYTES_FIRST << doublings).min(CHUNK_BYTES_MAX).next_multiple_of(page_bytes())
    }

    /// Keeps `room` in view; when there are too many the one with the least left is given up.
    fn keep(&mut self, room: Room) {
        self.rooms.push(room);
        if self.rooms.len() > ROOMS_MAX {
            let least = (0..self.rooms.len()).min_by_key(|&at| self.rooms[at].bytes);
            if let Some(at) = least {
                self.rooms.swap_remove(at);
            }
        }
    }
}

impl Figures {
    /// F4: whether a memtable of these figures has reached `write_buffer_bytes`.
    ///
    /// With A what is charged, B the next chunk and W the limit: not full while A + B < W + 0.6 B; full when
    /// A > W + 0.6 B; in between when less than B / 4 can still be used. One that holds no chunk is never full, or an
    /// empty memtable would be switched for an empty one for ever.
    pub(crate) fn is_full(&self, write_buffer_bytes: usize) -> bool {
        let allocated = self.charged_bytes;
        let next = self.next_chunk_bytes;
        let limit = write_buffer_bytes.saturating_add(next * 3 / 5);
        if allocated == 0 || allocated.saturating_add(next) < limit {
            false
        } else {
            allocated > limit || self.room_bytes < next / 4
        }
    }
}

#[cfg(test)]
mod tests;
