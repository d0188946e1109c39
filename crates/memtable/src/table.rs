//! The memtable: an ordered list of nodes over an arena, and the calls around it.
//!
//! Concurrency: `reserve` and `add_chunk` take the arena's short lock; `insert`, `get` and cursors take none and never
//! wait. An insert is seen by every read that starts after it has returned, and by none in part.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::{InternalKeyRef, SeqNo};

use crate::arena::{Arena, Region};
use crate::chunk::Chunk;
use crate::cursor::{MemtableCursor, OwnedCursor};
use crate::list::List;
use crate::node::{self, NodeRef, Probe};
use crate::space::{Heights, Space};

/// A sorted table in memory: internal keys (user key ascending, sequence number descending) and their values.
///
/// All its memory is in chunks that carry their own charge; dropping it unmaps them and returns their permits.
pub struct Memtable {
    id: u64,
    token: u64,
    list: List,
    arena: Arena,
}

/// Room in one memtable, for the entries of one [`Space`]: with it in hand their inserts cannot fail.
///
/// What is dropped without being used up stays reserved until the memtable goes.
#[derive(Debug)]
#[must_use = "room that is reserved and not used is lost to the memtable"]
pub struct Reserved {
    token: u64,
    region: Region,
    heights: Heights,
}

impl Memtable {
    /// An empty memtable, which holds no memory yet. `id` is the caller's own, and only given back by
    /// [`Memtable::id`].
    #[must_use]
    pub fn new(id: u64) -> Self {
        /// Tells the memtables of this process apart. A plain `std` atomic, under loom too: it numbers and orders
        /// nothing.
        static TOKENS: AtomicU64 = AtomicU64::new(0);
        let token = TOKENS.fetch_add(1, Ordering::Relaxed);
        Self { id, token, list: List::new(), arena: Arena::new() }
    }

    /// The id it was made with.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What has to be added before `space` can be reserved: `None` when it fits now, else the bytes of one chunk, a
    /// multiple of [`page_bytes`](crate::page_bytes).
    ///
    /// 16 KiB at first, then doubling up to 1 MiB, and more only where `space` needs more. Acquire the credits and map
    /// the chunk outside the lock under which this was asked; by then the answer may be another, and a chunk that is
    /// added without need is used later.
    #[must_use]
    pub fn chunk_bytes_for(&self, space: &Space) -> Option<usize> {
        self.arena.chunk_bytes_for(space.bytes())
    }

    /// Adds memory. It goes when the memtable goes.
    pub fn add_chunk(&self, chunk: Chunk) {
        self.arena.add_chunk(chunk);
    }

    /// Takes room for `space`; `None` when a chunk has to be added first, as [`Memtable::chunk_bytes_for`] says.
    #[inline]
    pub fn reserve(&self, space: &Space) -> Option<Reserved> {
        let region = self.arena.cut(space.bytes(), space.entries())?;
        Some(Reserved { token: self.token, region, heights: space.heights() })
    }

    /// Inserts an entry into room that was reserved for it. May run at the same time as other inserts and all reads.
    ///
    /// Two entries must differ in user key, sequence number or kind; in a database sequence numbers see to that.
    ///
    /// # Panics
    /// When `reserved` is another memtable's, or has no room left for an entry of these lengths because the [`Space`]
    /// did not count it: both are mistakes of the caller, found before anything is changed. In debug builds also when
    /// an entry with the same internal key is there already.
    #[inline]
    pub fn insert(&self, reserved: &mut Reserved, key: InternalKeyRef<'_>, value: &[u8]) {
        assert_eq!(reserved.token, self.token, "the room was reserved in another memtable");
        let mut heights = reserved.heights;
        let height = heights.draw();
        let bytes = node::bytes(height, key.user_key.len(), value.len());
        let at =
            reserved.region.cut(bytes).expect("the space that was reserved has counted this entry");
        reserved.heights = heights;
        // SAFETY: the region is this arena's (the token says so), aligned, `bytes` long and cut for this call alone;
        // the arena keeps its chunks mapped for as long as `self`, which is borrowed for the node's lifetime, lives.
        let node = unsafe { NodeRef::write(at, height, key, value) };
        // SAFETY: the node was written just above and is inserted once; its memory lives as long as the arena, and the
        // list is used through this memtable only.
        unsafe { self.list.insert(node, &Probe::new(key)) };
    }

    /// The newest version of `user_key` with a sequence number of at most `at`, of whatever kind.
    #[inline]
    #[must_use]
    pub fn get(&self, user_key: &[u8], at: SeqNo) -> Option<(InternalKeyRef<'_>, &[u8])> {
        let node = self.list.at_or_after(&Probe::new(InternalKeyRef::seek_at(user_key, at)))?;
        (node.user_key() == user_key).then(|| (node.key(), node.value()))
    }

    /// A cursor over all entries, those that are inserted while it is used included.
    #[must_use]
    pub fn cursor(&self) -> MemtableCursor<'_> {
        MemtableCursor::over(self)
    }

    /// As [`Memtable::cursor`], but holding on to the memtable.
    #[must_use]
    pub fn owned_cursor(self: &Arc<Self>) -> OwnedCursor {
        OwnedCursor::over(Arc::clone(self))
    }

    /// The bytes of its chunks: what is mapped, which is what is charged.
    #[must_use]
    pub fn charged_bytes(&self) -> usize {
        self.arena.figures().charged_bytes
    }

    /// The bytes reserved out of those.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.arena.figures().used_bytes
    }

    /// The entries that room was reserved for; once every reservation has been used up, the entries it holds.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.arena.figures().entries
    }

    /// Whether no entry has been inserted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether it has reached `write_buffer_size` bytes and should be switched for the next.
    ///
    /// It looks at what is allocated and can still be used: with A bytes charged, B the next chunk and
    /// W `write_buffer_size`, it is not full while A + B < W + 0.6 B, full when A > W + 0.6 B, and in between full
    /// when less than B / 4 can still be used. A memtable without a chunk is never full.
    #[must_use]
    pub fn is_full(&self, write_buffer_size: usize) -> bool {
        self.arena.figures().is_full(write_buffer_size)
    }

    pub(crate) fn list(&self) -> &List {
        &self.list
    }
}

impl fmt::Debug for Memtable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = self.arena.figures();
        f.debug_struct("Memtable")
            .field("id", &self.id)
            .field("figures", &figures)
            .finish_non_exhaustive()
    }
}
