//! The block cache: an elastic holder of the memory budget.
//!
//! Invariants: what the shards hold ([`Blocks::used_bytes`]) is at most what was granted ([`Blocks::granted_bytes`]),
//! and what was granted is what the pool has this cache down for. A block that gets no room is not kept, and nobody waits.
//!
//! Credits are taken in steps, so that a block that is read does not cost a look into the pool. When somebody else lacks
//! credits the pool asks for some back ([`Blocks::reclaim`]): the limit goes down first, then each shard gives up what is
//! beyond its share of it, then the credits return. An insert reads the limit under its shard's lock, so it has either
//! seen the new one or its block is looked at by the one who lowered it.
//!
//! Concurrency: a shard's lock is held for a look-up or an insert, `grant` for arithmetic and, by who gives back, over
//! the shards. Neither is held while credits are asked for or returned, nor while a block is freed.

use base::FileNumber;
use base::sync::atomic::{AtomicU64, Ordering};
use base::sync::{Arc, Mutex, OnceLock};
use credit::{ChildError, ChildOptions, Permit, Pool};
use crossbeam_utils::CachePadded;
use sstable::{Block, BlockKind};

use crate::tables::shard::{Key, Shard, entry_bytes};

/// So much is asked for at once.
const STEP_BYTES: u64 = 256 << 10;
const SHARDS_MAX: u64 = 16;
/// A shard has at least this much, so that it can hold a few blocks.
const SHARD_BYTES_MIN: u64 = 512 << 10;

/// See the module's text.
pub(crate) struct Blocks<V = Block> {
    shards: Box<[CachePadded<Mutex<Shard<V>>>]>,
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
    pub(crate) fn new(budget: &Pool, ceiling: u64) -> Result<Arc<Self>, ChildError> {
        let shards = (ceiling / SHARD_BYTES_MIN).clamp(1, SHARDS_MAX).next_power_of_two();
        let blocks = Arc::new(Self {
            shards: (0..shards).map(|_| CachePadded::default()).collect(),
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
    fn shard(&self, key: Key) -> &Mutex<Shard<V>> {
        // The map within a shard uses the lowest and the highest bits.
        let number = (key.hash() >> 32) as usize & (self.shards.len() - 1);
        &self.shards[number]
    }

    #[inline]
    pub(super) fn get(&self, table: FileNumber, offset: u64) -> Option<V> {
        let key = Key { file: table.get(), offset };
        self.shard(key).lock().get(key)
    }

    /// Takes in a block of so many bytes, if there is room.
    pub(super) fn insert(&self, key: Key, block: V, bytes: u64, is_data: bool) {
        let weight = bytes + entry_bytes::<V>();
        let mut evicted = Vec::new();
        let mut shard = self.shard(key).lock();
        if shard.bytes() + weight > self.share() {
            drop(shard);
            self.grow(weight);
            shard = self.shard(key).lock();
        }
        let share = self.share();
        if weight <= share {
            shard.insert(key, block, weight, is_data);
            shard.evict_to(share, &mut evicted);
        }
        drop(shard);
        drop(evicted);
    }

    /// What each shard may hold.
    fn share(&self) -> u64 {
        self.limit.load(Ordering::Acquire) / self.shards.len() as u64
    }

    /// Asks for more credits; after a refusal, only when a step's worth was offered since.
    fn grow(&self, weight: u64) {
        let limit = self.limit.load(Ordering::Relaxed);
        if limit >= self.ceiling {
            return;
        }
        let offered = self.offered.fetch_add(weight, Ordering::Relaxed) + weight;
        if offered < STEP_BYTES {
            return;
        }
        let Some(pool) = self.pool.get() else { return };
        // All shards grow together: a step for the one that needs it is a step for each.
        let step = STEP_BYTES.max(weight) * self.shards.len() as u64;
        let step = step.min(self.ceiling - limit);
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
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.evict_to(share, &mut evicted);
            shard.trim();
        }
        let back = grant.as_mut().and_then(|held| held.split(bytes));
        self.offered.store(0, Ordering::Relaxed);
        drop(grant);
        // The memory first: credits say that it is free.
        drop(evicted);
        drop(back);
    }

    /// What the blocks in the cache take, entries' overhead included.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lock().bytes()).sum()
    }

    /// What the pool has the cache down for.
    pub(crate) fn granted_bytes(&self) -> u64 {
        self.limit.load(Ordering::Acquire)
    }

    /// Look-ups that found their block, and those that did not.
    pub(crate) fn looked_up(&self) -> (u64, u64) {
        self.shards.iter().fold((0, 0), |(hits, misses), shard| {
            let shard = shard.lock();
            (hits + shard.hits, misses + shard.misses)
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
