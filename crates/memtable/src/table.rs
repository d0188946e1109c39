//! The memtable: a tree of entries over an arena, and the calls around it.
//!
//! Concurrency: `reserve` and `add_chunk` take the arena's short lock, and so do the figures. `get` and cursors take
//! none; they wait at most for an insert that is moving numbers in the very node they read. An insert latches one leaf,
//! and on a split the nodes above that split too. It is seen by every read that starts after it has returned, and by
//! none in part.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::{InternalKeyRef, SeqNo};

use crate::arena::{Outlook, Region};
use crate::chunk::Chunk;
use crate::cursor::{MemtableCursor, OwnedCursor};
use crate::entry::{self, EntryRef, Probe};
use crate::space::Space;
use crate::tree::Tree;
use crate::tree::demand::Settled;

/// A sorted table in memory: internal keys (user key ascending, sequence number descending) and their values.
///
/// All its memory is in chunks that carry their own charge; dropping it unmaps them and returns their permits.
pub struct Memtable {
    id: u64,
    token: u64,
    tree: Tree,
}

/// Room in one memtable, for the entries of one [`Space`]: with it in hand their inserts cannot fail.
///
/// What is dropped without being used up stays reserved until the memtable goes.
#[derive(Debug)]
#[must_use = "room that is reserved and not used is lost to the memtable"]
pub struct Reserved {
    token: u64,
    region: Region,
    /// Entries that are still to come.
    entries_left: u32,
    /// What has been inserted, and the nodes that it took.
    used: Settled,
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
        Self { id, token, tree: Tree::new() }
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
        self.tree.arena().chunk_bytes_for(space)
    }

    /// The bytes that reserving `space` takes now, in one piece: its entries, and the tree's nodes that its inserts
    /// may need beyond those that are held ready.
    ///
    /// Until somebody reserves, the answer does not grow: a chunk of so many bytes will do.
    #[must_use]
    pub fn bytes_for(&self, space: &Space) -> usize {
        self.tree.arena().bytes_for(space)
    }

    /// Whether it has reached `write_buffer_size` bytes, and if not, whether `space` can be reserved: what
    /// [`Memtable::is_full`], [`Memtable::chunk_bytes_for`] and [`Memtable::bytes_for`] say, in one look.
    #[inline]
    #[must_use]
    pub fn outlook(&self, space: &Space, write_buffer_size: usize) -> Outlook {
        self.tree.arena().outlook(space, write_buffer_size)
    }

    /// Adds memory. It goes when the memtable goes.
    ///
    /// # Panics
    /// When the memtable has no place left for it: there is one for 16 GiB and more, and a memtable calls itself full
    /// well before.
    pub fn add_chunk(&self, chunk: Chunk) {
        self.tree.arena().add_chunk(chunk);
    }

    /// Takes room for `space`; `None` when a chunk has to be added first, as [`Memtable::chunk_bytes_for`] says.
    #[inline]
    pub fn reserve(&self, space: &Space) -> Option<Reserved> {
        let region = self.tree.arena().cut(space)?;
        let entries_left = space.entries() as u32;
        Some(Reserved { token: self.token, region, entries_left, used: Settled::default() })
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
        let bytes = entry::bytes(key.user_key.len(), value.len());
        let left = reserved.entries_left.checked_sub(1);
        let cut = left.and_then(|left| Some((left, reserved.region.cut(bytes)?)));
        let (left, (at, reference)) =
            cut.expect("the space that was reserved has counted this entry");
        reserved.entries_left = left;
        // SAFETY: the region is this arena's (the token says so), aligned, `bytes` long and cut for this call alone;
        // the arena keeps its chunks mapped for as long as `self`, which is borrowed for the entry's lifetime, lives.
        let entry = unsafe { EntryRef::write(at, key, value) };
        // SAFETY: the entry was written just above, where the reference that was cut with its place names it; both are
        // used here and nowhere else.
        let nodes = unsafe { self.tree.insert(reference, entry) };
        reserved.used.entries += 1;
        reserved.used.nodes += nodes as u32;
        if left == 0 {
            self.tree.arena().settle(reserved.used);
        }
    }

    /// The newest version of `user_key` with a sequence number of at most `at`, of whatever kind.
    #[inline]
    #[must_use]
    pub fn get(&self, user_key: &[u8], at: SeqNo) -> Option<(InternalKeyRef<'_>, &[u8])> {
        let probe = Probe::new(InternalKeyRef::seek_at(user_key, at));
        let entry = self.tree.at_or_after(&probe)?;
        (entry.user_key() == user_key).then(|| (entry.key(), entry.value()))
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
        self.tree.arena().figures().charged_bytes
    }

    /// The bytes reserved out of those.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.tree.arena().figures().used_bytes
    }

    /// The entries that room was reserved for; once every reservation has been used up, the entries it holds.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.tree.arena().figures().entries as u64
    }

    /// Whether no entry has been inserted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// Whether it has reached `write_buffer_size` bytes and should be switched for the next.
    ///
    /// It looks at what is allocated and can still be used: with A bytes charged, B the next chunk and
    /// W `write_buffer_size`, it is not full while A + B < W + 0.6 B, full when A > W + 0.6 B, and in between full
    /// when less than B / 4 can still be used. A memtable without a chunk is never full.
    #[must_use]
    pub fn is_full(&self, write_buffer_size: usize) -> bool {
        self.tree.arena().figures().is_full(write_buffer_size)
    }

    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }
}

impl fmt::Debug for Memtable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = self.tree.arena().figures();
        f.debug_struct("Memtable")
            .field("id", &self.id)
            .field("figures", &figures)
            .finish_non_exhaustive()
    }
}
