//! Cursors over a memtable, borrowing it or holding on to it.
//!
//! Concurrency: a cursor waits for nobody and nobody waits for it. It stands on a node, which stays where it is, and
//! moves by what is there at the time: an entry that is inserted behind it is not met on the way forward, one inserted
//! in front is. There are no back links: a step back is a search.

use std::convert::Infallible;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use base::{Cursor, InternalKeyRef};

use crate::node::{NodeRef, Probe};
use crate::table::Memtable;

/// A cursor that borrows its memtable.
pub type MemtableCursor<'a> = TableCursor<&'a Memtable>;

/// A cursor that keeps its memtable, and so its memory and its charge, alive.
pub type OwnedCursor = TableCursor<Arc<Memtable>>;

/// A cursor over a memtable; see [`MemtableCursor`] and [`OwnedCursor`], which are the two there are.
pub struct TableCursor<T> {
    table: T,
    /// The node it stands on, in `table`'s memory: valid as long as `table`, whatever the lifetime says.
    node: Option<NodeRef<'static>>,
}

impl<T: Deref<Target = Memtable>> TableCursor<T> {
    /// A cursor that stands nowhere yet. Only for a `T` that keeps to one memtable and keeps that alive.
    pub(crate) fn over(table: T) -> Self {
        Self { table, node: None }
    }

    /// Where it stands, for as long as the cursor is borrowed.
    #[inline]
    fn node(&self) -> NodeRef<'_> {
        self.node.expect("the cursor stands on an entry")
    }

    /// Stands on `node`.
    #[inline]
    fn stand(node: Option<NodeRef<'_>>) -> Option<NodeRef<'static>> {
        // SAFETY: the node was found in `self.table`, which keeps its memory for as long as this cursor has it; what
        // is handed out of the cursor is bound to a borrow of the cursor.
        node.map(|node| unsafe { node.extend() })
    }
}

impl<T: Deref<Target = Memtable>> Cursor for TableCursor<T> {
    type Error = Infallible;

    #[inline]
    fn is_valid(&self) -> bool {
        self.node.is_some()
    }

    fn seek_to_first(&mut self) -> Result<(), Infallible> {
        self.node = Self::stand(self.table.list().first());
        Ok(())
    }

    fn seek_to_last(&mut self) -> Result<(), Infallible> {
        self.node = Self::stand(self.table.list().last());
        Ok(())
    }

    fn seek(&mut self, target: InternalKeyRef<'_>) -> Result<(), Infallible> {
        self.node = Self::stand(self.table.list().at_or_after(&Probe::new(target)));
        Ok(())
    }

    fn seek_for_prev(&mut self, target: InternalKeyRef<'_>) -> Result<(), Infallible> {
        self.node = Self::stand(self.table.list().at_or_before(&Probe::new(target)));
        Ok(())
    }

    #[inline]
    fn next(&mut self) -> Result<(), Infallible> {
        self.node = Self::stand(self.table.list().following(self.node()));
        Ok(())
    }

    fn prev(&mut self) -> Result<(), Infallible> {
        self.node = Self::stand(self.table.list().before(&Probe::new(self.node().key())));
        Ok(())
    }

    #[inline]
    fn key(&self) -> InternalKeyRef<'_> {
        self.node().key()
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.node().value()
    }
}

impl<T> fmt::Debug for TableCursor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableCursor")
            .field("is_valid", &self.node.is_some())
            .finish_non_exhaustive()
    }
}
