//! Open table readers: how many there may be, and what they take of the memory budget.
//!
//! Each table of a version has a [`Place`] for its reader, which is opened on first use and stays until room is needed for
//! another: then those not used for longest go (a clock goes round; who was used since it last came by is passed over).
//! Whoever uses a reader holds it, so that closing one takes nothing from under anybody: its file and its memory go with the
//! last user.
//!
//! Invariants: of the readers that stand in places there are at most `open_max`, and what they take is charged to the
//! budget. A reader that gets no credits although all others have been closed serves the one call that opened it, not
//! charged, and is not kept.
//!
//! Concurrency: `ring` is held for moves of places, never while a file is opened or closed. Two may open one table at
//! once; the later one stays.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Weak;

use base::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use base::sync::{Arc, ArcCell, ArcRef, Mutex};
use base::{FileNumber, InternalKeyRef, SeqNo, ValueKind};
use credit::{Permit, Pool};
use sstable::{Block, BlockCache, RecordOf, Table};

use crate::tables::cache::Blocks;
use crate::tables::records::RecordKey;
use crate::tables::shard::Key;

/// Where the reader of one table stands while it is open.
#[derive(Debug)]
pub(crate) struct Place {
    table: ArcCell<Option<Arc<Table>>>,
    /// Used since the clock last came by.
    is_used: AtomicBool,
}

impl Default for Place {
    fn default() -> Self {
        Self { table: ArcCell::new(Arc::new(None)), is_used: AtomicBool::new(false) }
    }
}

/// A table's reader in use: it stays open as long as this is held.
pub(crate) enum Reader {
    /// It stands in its place.
    Kept(ArcRef<Option<Arc<Table>>>),
    /// It was opened just now.
    Own(Arc<Table>),
}

impl Deref for Reader {
    type Target = Arc<Table>;

    #[inline]
    fn deref(&self) -> &Arc<Table> {
        match self {
            Self::Own(table) => table,
            Self::Kept(place) => match &***place {
                Some(table) => table,
                None => unreachable!("a reader is made of an open table alone"),
            },
        }
    }
}

impl Place {
    /// The reader, if it is open.
    #[inline]
    pub(super) fn reader(&self) -> Option<Reader> {
        let place = self.table.load();
        if place.is_none() {
            return None;
        }
        if !self.is_used.load(Ordering::Relaxed) {
            self.is_used.store(true, Ordering::Relaxed);
        }
        Some(Reader::Kept(place))
    }

    fn close(&self) {
        self.table.store(Arc::new(None));
    }
}

/// All open readers of a database.
#[derive(Debug)]
pub(super) struct Readers {
    open_max: usize,
    pool: Pool,
    blocks: Arc<Blocks>,
    /// Tables that are open now, those that stand in no place any more included.
    open: Arc<AtomicUsize>,
    /// How often a table was refused to keep a partition since one was last asked for in earnest.
    refused: AtomicUsize,
    /// Places in the order in which the clock comes by; some of them have gone.
    ring: Mutex<VecDeque<Weak<Place>>>,
}

impl Readers {
    pub(super) fn new(open_max: usize, pool: Pool, blocks: Arc<Blocks>) -> Self {
        Self {
            open_max,
            pool,
            blocks,
            open: Arc::default(),
            refused: AtomicUsize::new(0),
            ring: Mutex::default(),
        }
    }

    pub(super) fn open_count(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn held_bytes(&self) -> u64 {
        self.pool.held_bytes()
    }

    /// What a table that is about to be opened reads its blocks through, once there is room for one more.
    pub(super) fn admit(self: &Arc<Self>) -> Arc<TableCache> {
        while self.open_count() >= self.open_max && self.close_one() {}
        self.open.fetch_add(1, Ordering::Relaxed);
        Arc::new(TableCache { readers: Arc::clone(self), held: Mutex::new(None) })
    }

    /// Puts an open table in its place, if its memory can be charged; others are closed for that if need be.
    pub(super) fn keep(&self, place: &Arc<Place>, table: &Arc<Table>, cache: &TableCache) {
        let bytes = table.memory_bytes() as u64;
        while !cache.charge(bytes) {
            if !self.close_one() {
                return;
            }
        }
        place.is_used.store(true, Ordering::Relaxed);
        place.table.store(Arc::new(Some(Arc::clone(table))));
        let mut ring = self.ring.lock();
        if ring.len() >= 2 * self.open_max.max(8) {
            ring.retain(|place| place.strong_count() > 0);
        }
        ring.push_back(Arc::downgrade(place));
    }

    /// Closes the reader that was not used for longest; `false` when none stands in a place.
    fn close_one(&self) -> bool {
        let mut ring = self.ring.lock();
        let mut turns = 2 * ring.len();
        let closed = loop {
            let Some(next) = ring.pop_front() else { break None };
            let Some(place) = next.upgrade() else { continue };
            turns = turns.saturating_sub(1);
            if turns > 0 && place.is_used.swap(false, Ordering::Relaxed) {
                ring.push_back(next);
                continue;
            }
            break Some(place);
        };
        drop(ring);
        match closed {
            Some(place) => {
                place.close();
                true
            }
            None => false,
        }
    }
}

/// The block cache as one table sees it, and what the table's reader is charged with, as long as that is open.
#[derive(Debug)]
pub(super) struct TableCache {
    readers: Arc<Readers>,
    held: Mutex<Option<Permit>>,
}

/// After a refusal the pool is left alone for so many more: a table asks at each read, and a reader that is closed for
/// another's sake has to be read again.
const REFUSALS: usize = 4096;

impl TableCache {
    /// Charges the reader with `bytes` more, if there are credits.
    fn charge(&self, bytes: u64) -> bool {
        let Ok(permit) = self.readers.pool.try_acquire(bytes) else { return false };
        match &mut *self.held.lock() {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        true
    }
}

impl BlockCache for TableCache {
    #[inline]
    fn get(&self, table: FileNumber, offset: u64) -> Option<Block> {
        self.readers.blocks.get(table, offset)
    }

    fn insert(&self, table: FileNumber, offset: u64, block: Block) {
        self.readers.blocks.offer(table, offset, block);
    }

    fn wants(&self, table: FileNumber, offset: u64, bytes: usize) -> bool {
        self.readers.blocks.wants(Key { file: table.get(), offset }, bytes as u64)
    }

    fn insert_record(
        &self,
        record: RecordOf<'_>,
        seq: SeqNo,
        kind: ValueKind,
        value: &[u8],
    ) -> bool {
        let trailer = InternalKeyRef::new(&[], seq, kind).trailer();
        self.readers.blocks.insert_record(record_key(record), trailer, value)
    }

    #[inline]
    fn record(&self, record: RecordOf<'_>, value: &mut Vec<u8>) -> Option<(SeqNo, ValueKind)> {
        let trailer = self.readers.blocks.record(record_key(record), value)?;
        let key = InternalKeyRef::from_trailer(&[], trailer)?;
        Some((key.seq, key.kind))
    }

    fn keep(&self, bytes: usize) -> bool {
        let refused = &self.readers.refused;
        if !refused.load(Ordering::Relaxed).is_multiple_of(REFUSALS) {
            refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        // Once more with the memory of the reader that was not used for longest: what is read now is worth more.
        let may =
            self.charge(bytes as u64) || (self.readers.close_one() && self.charge(bytes as u64));
        refused.store(usize::from(!may), Ordering::Relaxed);
        may
    }
}

#[inline]
fn record_key(record: RecordOf<'_>) -> RecordKey<'_> {
    RecordKey::new(record.table, record.user_key, record.hash)
}

impl Drop for TableCache {
    fn drop(&mut self) {
        self.readers.open.fetch_sub(1, Ordering::Relaxed);
    }
}
