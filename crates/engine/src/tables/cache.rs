//! The cache of blocks and records: an elastic holder of the memory budget.
//!
//! Invariants: what its parts hold ([`Blocks::used_bytes`]) is at most what was granted ([`Blocks::granted_bytes`]),
//! and what was granted is what the pool has this cache down for. A block that gets no room is not kept, and nobody waits.
//!
//! Credits are taken in steps, so that a block that is read does not cost a look into the pool. When somebody else lacks
//! credits the pool asks for some back ([`Blocks::reclaim`]): the limit goes down first, then each part gives up what is
//! beyond its share of it, then the credits return. An insert reads the limit under its part's lock, so it has either
//! seen the new one or its block is looked at by the one who lowered it.
//!
//! Concurrency: a part's lock is held for a look-up or an insert, `grant` for arithmetic and, by who gives back, over
//! the parts. Neither is held while credits are asked for or returned, nor while a block is freed.

use base::FileNumber;
use base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use base::sync::{Arc, Mutex, OnceLock};
use credit::{ChildError, ChildOptions, Permit, Pool};
use crossbeam_utils::CachePadded;
use sstable::{Block, BlockKind};

use crate::tables::part::Part;
use crate::tables::records::RecordKey;
use crate::tables::shard::{Key, entry_bytes};

/// So much is asked for at once.
const STEP_BYTES: u64 = 256 << 10;
const PARTS_MAX: u64 = 16;
/// A part has at least this much, so that it can hold a few blocks.
const PART_BYTES_MIN: u64 = 512 << 10;

/// See the module's text.
pub(crate) struct Blocks<V = Block> {
    parts: Box<[CachePadded<Mutex<Part<V>>>]>,
    /// Whether point reads may keep records.
    keeps_records: bool,
    /// A hint: there may be records.
    has_records: AtomicBool,
    /// The most that it may hold.
    ceiling: u64,
    pool: OnceLock<Pool>,
    grant: Mutex<Option<Permit>>,
    /// The bytes of `grant`.
    limit: AtomicU64,
    /// Bytes offered since the pool last refused credits.
    offered: AtomicU64,
}

impl<V: Clone + Send + 'static> Blocks<V> {
    /// A cache of at most `ceiling` bytes, which draws from `budget` as an elastic child.
    ///
    /// # Errors
    /// [`ChildError`]: never, as it is promised nothing.
    pub(crate) fn new(
        budget: &Pool,
        ceiling: u64,
        keeps_records: bool,
    ) -> Result<Arc<Self>, ChildError> {
        let parts = (ceiling / PART_BYTES_MIN).clamp(1, PARTS_MAX).next_power_of_two();
        let blocks = Arc::new(Self {
            parts: (0..parts).map(|_| CachePadded::default()).collect(),
            keeps_records,
            has_records: AtomicBool::new(false),
            ceiling,
            pool: OnceLock::new(),
            grant: Mutex::new(None),
            limit: AtomicU64::new(0),
            offered: AtomicU64::new(STEP_BYTES),
        });
        let weak = Arc::downgrade(&blocks);
        let reclaim = move |bytes: u64| {
            if let Some(blocks) = weak.upgrade() {
                blocks.reclaim(bytes);
            }
        };
        let options = ChildOptions { ceiling_bytes: Some(ceiling), ..ChildOptions::default() };
        if ceiling > 0 {
            let pool = budget.elastic_child("cache", &options, Arc::new(reclaim))?;
            blocks.pool.get_or_init(|| pool);
        }
        Ok(blocks)
    }

    #[inline]
    fn part(&self, hash: u64) -> &Mutex<Part<V>> {
        // The maps within a part use the lowest and the highest bits.
        let number = (hash >> 32) as usize & (self.parts.len() - 1);
        &self.parts[number]
    }

    #[inline]
    pub(super) fn get(&self, table: FileNumber, offset: u64) -> Option<V> {
        let key = Key { file: table.get(), offset };
        self.part(key.hash()).lock().block(key)
    }

    /// Takes in a block of so many bytes, if there is room.
    pub(super) fn insert(&self, key: Key, block: V, bytes: u64, is_data: bool) {
        let weight = bytes + entry_bytes::<V>();
        let mut evicted = Vec::new();
        let mut part = self.part(key.hash()).lock();
        if part.bytes() + weight > self.share() {
            drop(part);
            self.grow(weight);
            part = self.part(key.hash()).lock();
        }
        part.insert_block(key, block, (weight, is_data), self.share(), &mut evicted);
        drop(part);
        drop(evicted);
    }

    /// Whether a block of so many bytes, which a point read found nowhere, is to be kept, and not its record alone.
    pub(super) fn wants(&self, key: Key, bytes: u64) -> bool {
        if !self.keeps_records {
            return true;
        }
        let weight = bytes + entry_bytes::<V>();
        let wants = self.part(key.hash()).lock().wants(key, weight, self.share());
        wants || self.may_grow(weight)
    }

    /// Copies the value of a record to `into`; its trailer.
    #[inline]
    pub(super) fn record(&self, key: RecordKey<'_>, into: &mut Vec<u8>) -> Option<u64> {
        // Relaxed: who does not see a record that was just taken in reads its block.
        if !self.has_records.load(Ordering::Relaxed) {
            return None;
        }
        self.part(key.hash()).lock().record(key, into)
    }

    /// Takes in a record, if there is room; `false`: there is none, or records are not kept.
    pub(super) fn insert_record(&self, key: RecordKey<'_>, trailer: u64, value: &[u8]) -> bool {
        if !self.keeps_records {
            return false;
        }
        let mut evicted = Vec::new();
        let mut part = self.part(key.hash()).lock();
        let growth = part.record_growth(key, value);
        if growth > 0 && part.bytes() + growth > self.share() {
            drop(part);
            self.grow(growth);
            part = self.part(key.hash()).lock();
        }
        let is_in = part.insert_record(key, (trailer, value), self.share(), &mut evicted);
        drop(part);
        drop(evicted);
        if is_in && !self.has_records.load(Ordering::Relaxed) {
            self.has_records.store(true, Ordering::Relaxed);
        }
        is_in
    }

    /// What each part may hold.
    fn share(&self) -> u64 {
        self.limit.load(Ordering::Acquire) / self.parts.len() as u64
    }

    /// Whether it is time to ask for more credits: there may be some, and a step's worth was offered since they were
    /// last refused. `weight` is offered now.
    fn may_grow(&self, weight: u64) -> bool {
        self.limit.load(Ordering::Relaxed) < self.ceiling
            && self.offered.fetch_add(weight, Ordering::Relaxed) + weight >= STEP_BYTES
    }

    /// Asks for more credits, if it is time to.
    fn grow(&self, weight: u64) {
        if !self.may_grow(weight) {
            return;
        }
        let limit = self.limit.load(Ordering::Relaxed);
        let Some(pool) = self.pool.get() else { return };
        // All parts grow together: a step for the one that needs it is a step for each.
        let step = STEP_BYTES.max(weight) * self.parts.len() as u64;
        let step = step.min(self.ceiling.saturating_sub(limit));
        let granted = pool.try_acquire(step).or_else(|_| pool.try_acquire(STEP_BYTES.min(step)));
        let Ok(permit) = granted else {
            self.offered.store(0, Ordering::Relaxed);
            return;
        };
        let mut grant = self.grant.lock();
        self.limit.fetch_add(permit.bytes(), Ordering::Release);
        match &mut *grant {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
    }

    /// Gives back `bytes`, or all there is.
    pub(crate) fn reclaim(&self, bytes: u64) {
        let mut evicted = Vec::new();
        let mut grant = self.grant.lock();
        let held = grant.as_ref().map_or(0, Permit::bytes);
        let bytes = bytes.min(held);
        self.limit.store(held - bytes, Ordering::Release);
        let share = self.share();
        for part in &self.parts {
            part.lock().shrink_to(share, &mut evicted);
        }
        let back = grant.as_mut().and_then(|held| held.split(bytes));
        self.offered.store(0, Ordering::Relaxed);
        drop(grant);
        // The memory first: credits say that it is free.
        drop(evicted);
        drop(back);
    }

    /// Lets the blocks of a table go that is no more: others have their room at once.
    pub(super) fn forget(&self, table: FileNumber) {
        for part in &self.parts {
            let mut gone = Vec::new();
            part.lock().forget(table.get(), &mut gone);
            drop(gone);
        }
    }

    /// What blocks and records take, overhead included.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.lock().bytes()).sum()
    }

    /// What the records of these take, and look-ups that found one.
    pub(crate) fn records(&self) -> (u64, u64) {
        self.parts.iter().fold((0, 0), |(bytes, hits), part| {
            let part = part.lock();
            (bytes + part.record_bytes(), hits + part.record_hits)
        })
    }

    /// What the pool has the cache down for.
    pub(crate) fn granted_bytes(&self) -> u64 {
        self.limit.load(Ordering::Acquire)
    }

    /// Look-ups of blocks that found theirs, and those that did not.
    pub(crate) fn looked_up(&self) -> (u64, u64) {
        self.parts.iter().fold((0, 0), |(hits, misses), part| {
            let (part_hits, part_misses) = part.lock().looked_up();
            (hits + part_hits, misses + part_misses)
        })
    }
}

impl Blocks {
    /// Takes in a block of a table, if there is room.
    pub(super) fn offer(&self, table: FileNumber, offset: u64, block: Block) {
        let (bytes, is_data) = (block.memory_bytes() as u64, block.kind() == BlockKind::Data);
        self.insert(Key { file: table.get(), offset }, block, bytes, is_data);
    }
}

impl<V> std::fmt::Debug for Blocks<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocks")
            .field("granted_bytes", &self.limit.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}
