//! An index or filter partition that its table may keep in memory for as long as it is open.

use crate::block::Block;
use base::sync::OnceLock;
use base::sync::atomic::{AtomicBool, Ordering};

/// A place for one block, empty at first.
#[derive(Debug, Default)]
pub(super) struct Kept {
    block: OnceLock<Block>,
    /// Somebody is asking whether the block may be kept, or has been told that it may: it is asked for once.
    is_asked: AtomicBool,
}

impl Kept {
    #[inline]
    pub(super) fn get(&self) -> Option<&Block> {
        self.block.get()
    }

    /// Keeps `block` if `may` says that there is room for it. Says whether this call, or one at the same time, keeps it.
    pub(super) fn offer(&self, block: &Block, may: impl FnOnce(usize) -> bool) -> bool {
        // Relaxed: the flag only keeps others from asking too; the block itself is published by its lock.
        if self.is_asked.swap(true, Ordering::Relaxed) {
            return true;
        }
        if may(block.memory_bytes()) {
            self.block.get_or_init(|| block.clone());
            return true;
        }
        self.is_asked.store(false, Ordering::Relaxed);
        false
    }
}
