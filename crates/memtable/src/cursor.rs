//! Cursors over a memtable, borrowing it or holding on to it.
//!
//! Concurrency: a cursor holds nothing that an insert could wait for. It stands on an entry, which stays where it is,
//! and remembers where in which leaf that is, and under which version of the leaf. As long as the version is the same,
//! a step is a look at the next slot; after an insert into the leaf, and at its end, it is a search. So a cursor moves
//! by what is there at the time: an entry that is inserted behind it is not met, one inserted in front is.

use std::convert::Infallible;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use base::{Cursor, InternalKeyRef};

use crate::entry::{EntryRef, Probe};
use crate::table::Memtable;
use crate::tree::{Side, Spot};

/// A cursor that borrows its memtable.
pub type MemtableCursor<'a> = TableCursor<&'a Memtable>;

/// A cursor that keeps its memtable, and so its memory and its charge, alive.
pub type OwnedCursor = TableCursor<Arc<Memtable>>;

/// A cursor over a memtable; see [`MemtableCursor`] and [`OwnedCursor`], which are the two there are.
pub struct TableCursor<T> {
    table: T,
    /// Where it stands, in `table`'s memory: valid as long as `table`, whatever the lifetime says.
    spot: Option<Spot<'static>>,
}

impl<T: Deref<Target = Memtable>> TableCursor<T> {
    /// A cursor that stands nowhere yet. Only for a `T` that keeps to one memtable and keeps that alive.
    pub(crate) fn over(table: T) -> Self {
        Self { table, spot: None }
    }

    /// The entry it stands on, for as long as the cursor is borrowed.
    #[inline]
    fn entry(&self) -> EntryRef<'_> {
        self.here().entry()
    }

    #[inline]
    fn here(&self) -> &Spot<'_> {
        self.spot.as_ref().expect("the cursor stands on an entry")
    }

    /// Stands on `spot`.
    #[inline]
    fn stand(spot: Option<Spot<'_>>) -> Option<Spot<'static>> {
        // SAFETY: the place was found in `self.table`, which keeps its memory for as long as this cursor has it; what
        // is handed out of the cursor is bound to a borrow of the cursor.
        spot.map(|spot| unsafe { spot.extend() })
    }
}

impl<T: Deref<Target = Memtable>> Cursor for TableCursor<T> {
    type Error = Infallible;

    #[inline]
    fn is_valid(&self) -> bool {
        self.spot.is_some()
    }

    fn seek_to_first(&mut self) -> Result<(), Infallible> {
        self.spot = Self::stand(self.table.tree().spot_after(&Probe::FIRST, Side::Below));
        Ok(())
    }

    fn seek_to_last(&mut self) -> Result<(), Infallible> {
        self.spot = Self::stand(self.table.tree().last_spot());
        Ok(())
    }

    fn seek(&mut self, target: InternalKeyRef<'_>) -> Result<(), Infallible> {
        self.spot = Self::stand(self.table.tree().spot_after(&Probe::new(target), Side::Below));
        Ok(())
    }

    fn seek_for_prev(&mut self, target: InternalKeyRef<'_>) -> Result<(), Infallible> {
        self.spot = Self::stand(self.table.tree().spot_before(&Probe::new(target), Side::UpTo));
        Ok(())
    }

    #[inline]
    fn next(&mut self) -> Result<(), Infallible> {
        self.spot = Self::stand(self.table.tree().following(self.here()));
        Ok(())
    }

    #[inline]
    fn prev(&mut self) -> Result<(), Infallible> {
        self.spot = Self::stand(self.table.tree().preceding(self.here()));
        Ok(())
    }

    #[inline]
    fn key(&self) -> InternalKeyRef<'_> {
        self.entry().key()
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.entry().value()
    }
}

impl<T> fmt::Debug for TableCursor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableCursor")
            .field("is_valid", &self.spot.is_some())
            .finish_non_exhaustive()
    }
}
