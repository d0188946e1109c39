//! What the tests share: a memtable with a pool, filled the way an engine does it.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use base::{InternalKeyRef, SeqNo, ValueKind};
use credit::Pool;
use memtable::{Chunk, Memtable, Reserved, Space};

/// Held shared by whoever maps memory, exclusively by whoever compares the whole process's figure.
pub static MAPPING: RwLock<()> = RwLock::new(());

/// A memtable whose memory comes from `pool`.
pub struct Fixture {
    pub pool: Pool,
    pub table: Arc<Memtable>,
    pub mapping: Option<RwLockReadGuard<'static, ()>>,
}

impl Fixture {
    pub fn new(capacity_bytes: Option<u64>) -> Self {
        let mapping = MAPPING.read().unwrap_or_else(PoisonError::into_inner);
        Self { mapping: Some(mapping), ..Self::alone(capacity_bytes) }
    }

    /// For a test that holds [`MAPPING`] exclusively.
    pub fn alone(capacity_bytes: Option<u64>) -> Self {
        Self { pool: Pool::new(capacity_bytes), table: Arc::new(Memtable::new(0)), mapping: None }
    }

    /// Reserves, adding a chunk first where one is needed.
    pub fn reserve(&self, space: &Space) -> Reserved {
        reserve(&self.pool, &self.table, space)
    }

    pub fn put(&self, user_key: &[u8], seq: u64, kind: ValueKind, value: &[u8]) {
        let mut space = Space::new();
        space.add(user_key.len(), value.len());
        let mut reserved = self.reserve(&space);
        self.table.insert(
            &mut reserved,
            InternalKeyRef::new(user_key, SeqNo::new(seq), kind),
            value,
        );
    }

    /// C7: what is charged is what the memtable says it holds, and no more is used than that.
    pub fn check_account(&self) {
        assert_eq!(self.pool.held_bytes(), self.table.charged_bytes() as u64);
        assert!(self.table.used_bytes() <= self.table.charged_bytes());
        self.pool.check_conservation();
    }
}

/// The engine's way to room in a memtable, with a pool that must not be exhausted.
pub fn reserve(pool: &Pool, table: &Memtable, space: &Space) -> Reserved {
    loop {
        if let Some(reserved) = table.reserve(space) {
            return reserved;
        }
        if let Some(bytes) = table.chunk_bytes_for(space) {
            let permit =
                pool.try_acquire(bytes as u64).expect("the pool of this test is large enough");
            table.add_chunk(Chunk::map(permit).expect("memory can be mapped"));
        }
    }
}

/// A repeatable stream of numbers.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
