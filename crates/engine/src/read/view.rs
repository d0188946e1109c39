//! What a reader reads: the memtables and tables of one moment.
//!
//! Invariants: a view is immutable and replaced as a whole, under the commit lock. Every entry whose sequence number
//! was visible when the view was current is in it, and what a flush or compaction takes out of a later view stays in
//! this one as long as somebody reads from it.
//!
//! Concurrency: a reader loads the view, then the visible sequence number, then looks whether the view is still the
//! current one, and starts again if not. A writer that writes to a memtable which the view lacks has seen the newer
//! view stored before it published (Release in the completion ring); so a reader that loads its number (Acquire) and
//! still finds the old view has not seen anything that the old view lacks. Loaded the other way round, a flush could
//! drop versions between the two loads that the older number needs.

use std::sync::Arc;

use base::sync::ArcRef;
use base::{FamilyId, SeqNo};
use memtable::Memtable;

use crate::error::Error;
use crate::shared::Shared;
use crate::tables::{FamilyLevels, Version};

/// The memtables and tables of all column families at one moment.
pub(crate) struct ReadView {
    /// Ascending by id; in the same order as the commit state's families.
    pub(crate) families: Vec<FamilyView>,
    /// The tables; keeps them alive.
    pub(crate) version: Arc<Version>,
}

/// The memtables of one column family.
pub(crate) struct FamilyView {
    pub(crate) id: FamilyId,
    /// Newest first; the first takes writes.
    pub(crate) memtables: Vec<Arc<Memtable>>,
}

impl ReadView {
    /// Where `family` stands, if it exists.
    #[inline]
    pub(crate) fn position(&self, family: FamilyId) -> Option<usize> {
        // The default family is first; most calls are for it.
        if family == FamilyId::DEFAULT {
            return Some(0);
        }
        self.families.binary_search_by_key(&family, |f| f.id).ok()
    }

    /// The memtables, newest first, and the tables of `family`.
    ///
    /// # Errors
    /// [`Error::UnknownFamilyNumber`].
    #[inline]
    pub(crate) fn family(
        &self,
        family: FamilyId,
    ) -> Result<(&[Arc<Memtable>], &FamilyLevels), Error> {
        let memtables = self.position(family).map(|i| &self.families[i].memtables[..]);
        match (memtables, self.version.levels(family)) {
            (Some(memtables), Some(levels)) => Ok((memtables, levels)),
            _ => Err(Error::UnknownFamilyNumber { family }),
        }
    }
}

impl Shared {
    /// The newest sequence number that readers may see.
    #[inline]
    pub(crate) fn visible(&self) -> SeqNo {
        SeqNo::new(self.ring.published())
    }

    /// A view and a sequence number that belong together: all that is visible at the number is in the view.
    #[inline]
    pub(crate) fn view_now(&self) -> (ArcRef<ReadView>, SeqNo) {
        let mut view = self.view.load();
        loop {
            let visible = self.visible();
            let current = self.view.load();
            if Arc::ptr_eq(&view, &current) {
                return (view, visible);
            }
            view = current;
        }
    }
}
