//! Removes the files of tables that no version holds any more.
//!
//! A table becomes reclaimable when the last version that holds it dies, which may be on a reader's thread: there only
//! a flag is set; the files are removed here.

use crate::shared::Shared;

/// The janitor thread.
pub(crate) fn run(shared: &Shared) {
    while shared.janitor_signal.wait() {
        shared.remove_reclaimable();
    }
}

impl Shared {
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
