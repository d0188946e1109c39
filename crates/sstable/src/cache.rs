//! What a table needs of a block cache; the cache itself is its owner's.

use crate::block::Block;
use base::{FileNumber, SeqNo, ValueKind};
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

    /// Whether the data block of `table` at `offset`, of about so many bytes, is to be offered ([`BlockCache::insert`]) when
    /// a point read has found it nowhere; if not, what was looked for in it is offered alone
    /// ([`BlockCache::insert_record`]). The default is that it is.
    fn wants(&self, table: FileNumber, offset: u64, bytes: usize) -> bool {
        let _ = (table, offset, bytes);
        true
    }

    /// Offers the newest version that `record`'s table has of its key; `false`: no, the whole block rather. The default
    /// declines.
    fn insert_record(
        &self,
        record: RecordOf<'_>,
        seq: SeqNo,
        kind: ValueKind,
        value: &[u8],
    ) -> bool {
        let _ = (record, seq, kind, value);
        false
    }

    /// Copies the value of a record that was kept into `value`, in place of what that holds, and says what it is. The
    /// default has none.
    fn record(&self, record: RecordOf<'_>, value: &mut Vec<u8>) -> Option<(SeqNo, ValueKind)> {
        let _ = (record, value);
        None
    }

    /// Whether a table may hold an index or filter partition of `bytes` itself until it is closed, beside the cache:
    /// reads then find it without a look-up. What was granted is given back when the table is dropped, and this
    /// handle with it: whoever counts gives each table a cache object of its own. The default is that it may not.
    fn keep(&self, bytes: usize) -> bool {
        let _ = bytes;
        false
    }
}

/// Which key of which table a record is of.
#[derive(Clone, Copy, Debug)]
pub struct RecordOf<'a> {
    /// The table's number.
    pub table: FileNumber,
    /// The key.
    pub user_key: &'a [u8],
    /// A hash of the key, of 64 bits that are all as good.
    pub hash: u64,
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
