//! The arena: chunks of charged memory, from which reservations are cut and never given back one by one.
//!
//! Invariants: what the arena holds is exactly the sum of its chunks, which is exactly the sum of their permits. Every
//! reservation lies within one chunk and overlaps no other. Chunks leave only with the arena.
//!
//! A room is used from both ends: entries from the front, slots for the tree's nodes from the back, where the end of
//! the chunk keeps them aligned.
//!
//! Concurrency: one short lock around the bookkeeping. The callers that cut reservations serialise themselves anyway
//! (a commit has to order its sequence numbers), so that it is not contended; writing into what was cut needs no lock.

use std::ptr::NonNull;

use crate::atomic::AtomicU64;
use crate::atomic::Ordering::{Acquire, Release};
use base::sync::Mutex;
use crossbeam_utils::CachePadded;

use crate::chunk::{Chunk, page_bytes};
use crate::entry::{self, EntryRef};
use crate::space::Space;
use crate::tree::demand::{Demand, LEVELS_MAX, Settled};
use crate::tree::node::SLOT_BYTES;

mod directory;
mod slots;

use directory::{Directory, PIECE_BYTES};
pub(crate) use slots::{Slot, Slots};

/// The first chunk: what a memtable with one entry costs.
pub(crate) const CHUNK_BYTES_FIRST: usize = 16 << 10;
/// The bytes of an ordinary chunk of a memtable that has grown: chunks double up to this, and only a group of inserts that
/// needs more gets a larger one.
pub const CHUNK_BYTES_MAX: usize = PIECE_BYTES;
/// A group of inserts above this gets a chunk of just its size: an ordinary one could be left with a large rest.
const CHUNK_BYTES_EXACT_FROM: usize = CHUNK_BYTES_MAX / 4;
/// How many chunks with room left are kept in view. More than one, because a large group does not fit into what is
/// left of a chunk that still serves small ones, and because several threads may add a chunk at once.
const ROOMS_MAX: usize = 4;
/// A memtable whose chunks have taken so many of the directory's pieces counts as full, whatever its limit: there is
/// as much room again for groups that come before it is switched.
const PIECES_FULL: usize = 1 << 14;

/// Memory for a memtable's entries and nodes.
#[derive(Debug)]
pub(crate) struct Arena {
    directory: Directory,
    slots: Slots,
    /// What inserts have used up: [`Settled`], packed. It and the lock are written by every insert's thread, on lines of
    /// their own, away from what readers read.
    settled: CachePadded<AtomicU64>,
    books: CachePadded<Mutex<Books>>,
}

#[derive(Debug)]
struct Books {
    chunks: Vec<Chunk>,
    /// Pieces of the directory that are taken.
    pieces: usize,
    /// Where reservations can still be cut, in no order.
    rooms: Vec<Room>,
    charged_bytes: usize,
    used_bytes: usize,
    entries: usize,
    /// Slots cut so far.
    slots: usize,
    /// What is known to be settled: never too much.
    settled: Settled,
}

/// What is left of a chunk: addresses `start` (a multiple of [`entry::ALIGN`]) to `start + bytes`.
#[derive(Debug)]
struct Room {
    start: NonNull<u8>,
    bytes: usize,
    /// The reference of `start`.
    reference: u32,
}

// SAFETY: a room is the sole access to its memory, which is plain bytes that any thread may own.
unsafe impl Send for Room {}

/// Memory that was cut out of an arena for one writer alone. The arena has to outlive its use.
#[derive(Debug)]
pub(crate) struct Region(Room);

impl Region {
    /// A region of nothing.
    const EMPTY: Self = Self(Room { start: NonNull::dangling(), bytes: 0, reference: 0 });

    /// Cuts `bytes`, a multiple of [`entry::ALIGN`], off the front, with the reference of their first; `None` when so
    /// much is not left.
    #[inline]
    pub(crate) fn cut(&mut self, bytes: usize) -> Option<(NonNull<u8>, u32)> {
        self.0.cut_front(bytes)
    }
}

impl Room {
    #[inline]
    fn cut_front(&mut self, bytes: usize) -> Option<(NonNull<u8>, u32)> {
        debug_assert!(bytes.is_multiple_of(entry::ALIGN));
        let left = self.bytes.checked_sub(bytes)?;
        let (start, reference) = (self.start, self.reference);
        // `wrapping_add` never wraps here: the room ends inside its chunk.
        self.start = NonNull::new(start.as_ptr().wrapping_add(bytes))?;
        // A room that ends where references end has no reference behind it, and no room either.
        self.reference = reference.wrapping_add((bytes / entry::ALIGN) as u32);
        self.bytes = left;
        Some((start, reference))
    }

    fn cut_back(&mut self, bytes: usize) -> Option<NonNull<u8>> {
        self.bytes = self.bytes.checked_sub(bytes)?;
        NonNull::new(self.start.as_ptr().wrapping_add(self.bytes))
    }
}

/// What a memtable has for a group of inserts: [`Memtable::outlook`](crate::Memtable::outlook).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It has reached its size: switch it for the next.
    Full,
    /// There is room.
    Ready,
    /// A chunk has to be added first.
    Lacking {
        /// The bytes of the chunk to get, as [`Memtable::chunk_bytes_for`](crate::Memtable::chunk_bytes_for) says.
        chunk_bytes: usize,
        /// The bytes that a chunk has to have at least, as [`Memtable::bytes_for`](crate::Memtable::bytes_for) says.
        bytes: usize,
    },
}

/// What [`Arena::figures`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) charged_bytes: usize,
    pub(crate) used_bytes: usize,
    pub(crate) entries: usize,
    pub(crate) next_chunk_bytes: usize,
    pub(crate) room_bytes: usize,
    pub(crate) is_used_up: bool,
}

impl Arena {
    /// An arena that holds nothing.
    pub(crate) fn new() -> Self {
        let books = Books {
            chunks: Vec::new(),
            pieces: 0,
            rooms: Vec::new(),
            charged_bytes: 0,
            used_bytes: 0,
            entries: 0,
            slots: 0,
            settled: Settled::default(),
        };
        Self {
            directory: Directory::new(),
            slots: Slots::new(),
            settled: CachePadded::new(AtomicU64::new(0)),
            books: CachePadded::new(Mutex::new(books)),
        }
    }

    /// The bytes that a reservation of `space` takes now: its entries, and what slots are lacking.
    pub(crate) fn bytes_for(&self, space: &Space) -> usize {
        self.books.lock().bytes_for(&self.settled, space)
    }

    /// The bytes of the chunk to add before `space` can be cut; `None` when it can be now.
    pub(crate) fn chunk_bytes_for(&self, space: &Space) -> Option<usize> {
        let mut books = self.books.lock();
        let bytes = books.bytes_for(&self.settled, space);
        books.chunk_bytes_for(bytes)
    }

    /// Whether a memtable of `write_buffer_bytes` is full, and what it lacks for `space`, at one moment.
    #[inline]
    pub(crate) fn outlook(&self, space: &Space, write_buffer_bytes: usize) -> Outlook {
        let mut books = self.books.lock();
        if books.figures().is_full(write_buffer_bytes) {
            return Outlook::Full;
        }
        let bytes = books.bytes_for(&self.settled, space);
        match books.chunk_bytes_for(bytes) {
            None => Outlook::Ready,
            Some(chunk_bytes) => Outlook::Lacking { chunk_bytes, bytes },
        }
    }

    /// Takes a chunk in, to cut from.
    pub(crate) fn add_chunk(&self, chunk: Chunk) {
        let mut books = self.books.lock();
        let (start, bytes) = (chunk.start(), chunk.bytes());
        let reference = self.directory.enter(books.pieces, start, bytes);
        books.pieces += Directory::pieces(bytes);
        books.charged_bytes += bytes;
        books.keep(Room { start, bytes, reference });
        books.chunks.push(chunk);
    }

    /// Cuts room for `space`, and the slots that its inserts may need; `None` when there is no room for that in one
    /// piece.
    #[inline]
    pub(crate) fn cut(&self, space: &Space) -> Option<Region> {
        if space.entries() == 0 {
            return Some(Region::EMPTY);
        }
        let mut books = self.books.lock();
        let total = books.bytes_for(&self.settled, space);
        // The tightest room that serves, so that the rests of chunks are used up by what is small.
        let fits = books.rooms.iter_mut().filter(|room| room.bytes >= total);
        let room = fits.min_by_key(|room| room.bytes)?;
        let (start, reference) = room.cut_front(space.bytes())?;
        let slots_bytes = total - space.bytes();
        if slots_bytes > 0 {
            let slots = slots_bytes / SLOT_BYTES;
            self.slots.add(room.cut_back(slots_bytes)?, slots);
            books.slots += slots;
        }
        books.used_bytes += total;
        books.entries += space.entries();
        Some(Region(Room { start, bytes: space.bytes(), reference }))
    }

    /// Notes that inserts are through and what they have used up.
    #[inline]
    pub(crate) fn settle(&self, settled: Settled) {
        self.settled.fetch_add(settled.packed(), Release);
    }

    /// The slots for nodes.
    #[inline]
    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The entry that `reference` names, which was loaded with Acquire from where it was stored with Release; `None`
    /// when no entry can be there.
    ///
    /// # Safety
    /// `reference` is 0, or was given by [`Region::cut`] of this arena, and [`EntryRef::write`] wrote there before it
    /// was stored.
    #[inline]
    pub(crate) unsafe fn entry(&self, reference: u32) -> Option<EntryRef<'_>> {
        let at = self.directory.resolve(reference)?;
        // SAFETY: an entry was written there, says the caller, and that happened before: the Acquire load has seen
        // the Release store. The arena's chunks stay mapped for as long as it is borrowed.
        Some(unsafe { EntryRef::at(at) })
    }

    /// Where `reference` points, to be fetched ahead; not to be read.
    #[inline]
    pub(crate) fn address(&self, reference: u32) -> Option<NonNull<u8>> {
        self.directory.resolve(reference)
    }

    /// What the books say, all at one moment.
    pub(crate) fn figures(&self) -> Figures {
        self.books.lock().figures()
    }
}

impl Books {
    #[inline]
    fn figures(&self) -> Figures {
        debug_assert_eq!(self.charged_bytes, self.chunks.iter().map(Chunk::bytes).sum::<usize>());
        Figures {
            charged_bytes: self.charged_bytes,
            used_bytes: self.used_bytes,
            entries: self.entries,
            next_chunk_bytes: self.next_chunk_bytes(),
            room_bytes: self.rooms.iter().map(|room| room.bytes).max().unwrap_or(0),
            is_used_up: self.pieces >= PIECES_FULL,
        }
    }

    /// The bytes of the chunk to add before `bytes` can be cut in one piece; `None` when they can be now.
    #[inline]
    fn chunk_bytes_for(&self, bytes: usize) -> Option<usize> {
        if bytes == 0 || self.rooms.iter().any(|room| room.bytes >= bytes) {
            return None;
        }
        // Others may reserve before the chunk is there, and the same group may then lack a few slots more.
        let exact = (bytes + LEVELS_MAX * SLOT_BYTES).next_multiple_of(page_bytes());
        Some(if bytes > CHUNK_BYTES_EXACT_FROM {
            exact
        } else {
            exact.max(self.next_chunk_bytes())
        })
    }

    /// The bytes of `space` and of the slots that are lacking before its inserts may begin.
    ///
    /// Between two reservations the answer for the same space never grows: what was settled meanwhile is taken into
    /// account only where it helps.
    fn bytes_for(&mut self, settled: &AtomicU64, space: &Space) -> usize {
        if space.entries() == 0 {
            return 0;
        }
        let entries = self.entries + space.entries();
        let lacking = |settled: Settled| {
            let unused = self.slots - settled.nodes as usize;
            Demand { entries, settled }.slots().saturating_sub(unused)
        };
        let newest = Settled::unpack(settled.load(Acquire));
        let (before, now) = (lacking(self.settled), lacking(newest));
        if now <= before {
            self.settled = newest;
        }
        space.bytes().saturating_add(now.min(before) * SLOT_BYTES)
    }

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
        if self.is_used_up {
            true
        } else if allocated == 0 || allocated.saturating_add(next) < limit {
            false
        } else {
            allocated > limit || self.room_bytes < next / 4
        }
    }
}

#[cfg(test)]
mod tests;
