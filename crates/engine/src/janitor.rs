//! Small work that nobody should wait for: removes the files of tables that no version holds any more, and has the
//! memtables' next chunk of memory ready.
//!
//! A table becomes reclaimable when the last version that holds it dies, which may be on a reader's thread: there only
//! a flag is set; the files are removed here.
//!
//! A chunk's pages are made resident when it is mapped, which takes hundreds of microseconds. Whoever takes a chunk of
//! full size asks for the next one; if it is not ready when it is needed, the writer maps one itself.

use base::sync::atomic::Ordering;

use crate::shared::Shared;

/// The janitor thread.
pub(crate) fn run(shared: &Shared) {
    while shared.janitor_signal.wait() {
        if shared.is_chunk_due.swap(false, Ordering::Relaxed)
            && let Err(error) = shared.chunks.prepare(&shared.pool)
        {
            // The writer that needs it is told.
            tracing::warn!(error = &error as &dyn std::error::Error, "no chunk was made ready");
        }
        shared.remove_reclaimable();
    }
}

impl Shared {
    /// A memtable was given chunks of these sizes: the next of full size will be needed soon.
    pub(crate) fn prepare_chunk(&self, mut sizes: impl Iterator<Item = usize>) {
        if sizes.any(|size| size == memtable::CHUNK_BYTES_MAX) {
            self.is_chunk_due.store(true, Ordering::Relaxed);
            self.janitor_signal.notify();
        }
    }

    /// Removes what may be removed now.
    pub(crate) fn remove_reclaimable(&self) {
        let numbers = self.versions.take_reclaimable();
        if numbers.is_empty() {
            return;
        }
        for number in numbers {
            self.tables.discard(number);
        }
        self.progress.notify();
    }
}
