//! What a table needs of a block cache; the cache itself is its owner's.

use crate::block::Block;
use base::FileNumber;
use std::fmt;
use std::sync::Arc;

/// Keeps blocks between reads. Shared by all tables of its owner, and called by many threads at once.
///
/// ```
/// use base::FileNumber;
/// use sstable::{Block, BlockCache};
/// use std::{collections::HashMap, sync::Mutex};
///
/// /// Keeps everything: good for a tool that reads one table.
/// #[derive(Default)]
/// struct KeepAll(Mutex<HashMap<(FileNumber, u64), Block>>);
///
/// impl BlockCache for KeepAll {
///     fn get(&self, table: FileNumber, offset: u64) -> Option<Block> {
///         self.0.lock().unwrap().get(&(table, offset)).cloned()
///     }
///     fn insert(&self, table: FileNumber, offset: u64, block: Block) {
///         self.0.lock().unwrap().insert((table, offset), block);
///     }
/// }
/// ```
pub trait BlockCache: Send + Sync {
    /// The block of `table` that begins at `offset` of its file, if it is kept.
    fn get(&self, table: FileNumber, offset: u64) -> Option<Block>;

    /// Offers a block that was read from the file. The cache may decline: [`Block::kind`] and [`Block::memory_bytes`]
    /// say what it is and what it takes.
    fn insert(&self, table: FileNumber, offset: u64, block: Block);

    /// Whether a table may hold an index or filter partition of `bytes` itself until it is closed, beside the cache:
    /// reads then find it without a look-up. What was granted is given back when the table is dropped, and this
    /// handle with it: whoever counts gives each table a cache object of its own. The default is that it may not.
    fn keep(&self, bytes: usize) -> bool {
        let _ = bytes;
        false
    }
}

/// A cache, and the number under which one table's blocks are in it.
#[derive(Clone)]
pub struct BlockCacheHandle {
    /// The cache.
    pub cache: Arc<dyn BlockCache>,
    /// The table's number. No two tables of one cache may ever have the same, not even one after the other, as
    /// blocks of the first may still be there.
    pub table: FileNumber,
}

impl fmt::Debug for BlockCacheHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockCacheHandle").field("table", &self.table).finish_non_exhaustive()
    }
}
