//! Iterators over the entries of a column family, both ways, as of one moment.
//!
//! An iterator holds a sequence number and a place, not memtables or tables: it pins a view only while it reads a batch
//! of entries, and seeks again in the view that is current when it needs the next. So however long it stays open, and
//! whatever its owner does meanwhile, it holds up no flush and no writer; what it keeps alive are the versions that its
//! snapshot sees.

use std::ops::Bound;
use std::sync::Arc;

use base::{FamilyId, SeqNo};
use bytes::Bytes;

use crate::error::Error;
use crate::read::level::LevelCursor;
use crate::read::merge::{Child, MergeCursor};
use crate::read::scan::{self, Batch, BatchLimit};
use crate::read::view::ReadView;
use crate::shared::{Owner, Shared};
use crate::tables::TableFile;

/// A reader's place in the list of snapshots; released on drop. Keeps the database open.
pub(crate) struct SnapshotGuard {
    pub(crate) owner: Arc<Owner>,
    pub(crate) at: SeqNo,
}

impl SnapshotGuard {
    /// Registers a reader at what is visible now.
    pub(crate) fn now(owner: &Arc<Owner>) -> Self {
        let at = owner.snapshots.register(|| owner.visible());
        Self { owner: Arc::clone(owner), at }
    }
}

impl Clone for SnapshotGuard {
    fn clone(&self) -> Self {
        self.owner.snapshots.register_again(self.at);
        Self { owner: Arc::clone(&self.owner), at: self.at }
    }
}

impl Drop for SnapshotGuard {
    fn drop(&mut self) {
        self.owner.snapshots.release(self.at);
    }
}

/// The entries of a column family within bounds, ascending by key; from the other end by `next_back` or `rev`.
///
/// It shows the database as it was when it was made. After an error it ends.
pub struct Iter {
    snapshot: SnapshotGuard,
    family: FamilyId,
    /// What has not been read yet lies between these.
    lower: Bound<Bytes>,
    upper: Bound<Bytes>,
    /// Read from the lower end, ascending.
    front: Batch,
    /// Read from the upper end, descending.
    back: Batch,
    front_limit: BatchLimit,
    back_limit: BatchLimit,
    /// Nothing is left between the bounds.
    is_read: bool,
}

impl Iter {
    pub(crate) fn new(
        snapshot: SnapshotGuard,
        family: FamilyId,
        lower: Bound<Bytes>,
        upper: Bound<Bytes>,
    ) -> Result<Self, Error> {
        snapshot.owner.health.check_open()?;
        snapshot.owner.view.load().family(family)?;
        let is_read = is_empty(&lower, &upper);
        Ok(Self {
            snapshot,
            family,
            lower,
            upper,
            front: Batch::default(),
            back: Batch::default(),
            front_limit: BatchLimit::FIRST,
            back_limit: BatchLimit::FIRST,
            is_read,
        })
    }

    fn take(&mut self, is_forward: bool) -> Option<Result<(Bytes, Bytes), Error>> {
        let own = if is_forward { &self.front } else { &self.back };
        if own.is_empty() && !self.is_read {
            let filled = if is_forward { self.fill_front() } else { self.fill_back() };
            if let Err(error) = filled {
                self.is_read = true;
                (self.front, self.back) = Default::default();
                return Some(Err(error));
            }
        }
        let (own, other) = if is_forward {
            (&mut self.front, &mut self.back)
        } else {
            (&mut self.back, &mut self.front)
        };
        // What the other end has read is this end's rest, its last first.
        own.take_first().or_else(|| other.take_last()).map(Ok)
    }

    fn fill_front(&mut self) -> Result<(), Error> {
        let limit = self.front_limit;
        self.front =
            self.read(|cursor, at, lower, upper| scan::forward(cursor, at, lower, upper, limit))?;
        self.front_limit = limit.next();
        match self.front.last_key() {
            Some(key) => self.lower = Bound::Excluded(key),
            None => self.is_read = true,
        }
        Ok(())
    }

    fn fill_back(&mut self) -> Result<(), Error> {
        let limit = self.back_limit;
        self.back =
            self.read(|cursor, at, lower, upper| scan::backward(cursor, at, lower, upper, limit))?;
        self.back_limit = limit.next();
        match self.back.last_key() {
            Some(key) => self.upper = Bound::Excluded(key),
            None => self.is_read = true,
        }
        Ok(())
    }

    /// Pins the current view for the time of `read`.
    fn read(
        &self,
        read: impl FnOnce(
            &mut MergeCursor<'_>,
            SeqNo,
            Bound<&[u8]>,
            Bound<&[u8]>,
        ) -> Result<Batch, Error>,
    ) -> Result<Batch, Error> {
        let shared: &Shared = &self.snapshot.owner;
        shared.health.check_open()?;
        if is_empty(&self.lower, &self.upper) {
            return Ok(Batch::default());
        }
        let view = shared.view.load();
        let (lower, upper) = (as_slice(&self.lower), as_slice(&self.upper));
        let mut cursor = merged(shared, &view, self.family, lower, upper)?;
        read(&mut cursor, self.snapshot.at, lower, upper)
    }
}

impl Iterator for Iter {
    type Item = Result<(Bytes, Bytes), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.take(true)
    }
}

impl DoubleEndedIterator for Iter {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.take(false)
    }
}

impl std::iter::FusedIterator for Iter {}

impl std::fmt::Debug for Iter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Iter")
            .field("family", &self.family)
            .field("at", &self.snapshot.at)
            .finish_non_exhaustive()
    }
}

fn as_slice(bound: &Bound<Bytes>) -> Bound<&[u8]> {
    match bound {
        Bound::Unbounded => Bound::Unbounded,
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
    }
}

/// Whether no key can lie between the bounds.
fn is_empty(lower: &Bound<Bytes>, upper: &Bound<Bytes>) -> bool {
    match (lower, upper) {
        (Bound::Included(lower), Bound::Included(upper)) => lower > upper,
        (
            Bound::Included(lower) | Bound::Excluded(lower),
            Bound::Included(upper) | Bound::Excluded(upper),
        ) => lower >= upper,
        _ => false,
    }
}

/// A cursor over all that `family` holds and that may lie within the bounds.
fn merged<'a>(
    shared: &'a Shared,
    view: &'a ReadView,
    family: FamilyId,
    lower: Bound<&[u8]>,
    upper: Bound<&[u8]>,
) -> Result<MergeCursor<'a>, Error> {
    let (memtables, levels) = view.family(family)?;
    let mut children: Vec<Child<'a>> =
        memtables.iter().map(|m| Child::Memtable(m.cursor())).collect();
    for (level, files) in levels.levels().enumerate() {
        if level > 0 {
            children.push(Child::Level(LevelCursor::new(&shared.tables, files)));
            continue;
        }
        for file in files.iter().filter(|file| overlaps(file, lower, upper)) {
            children.push(Child::Table(shared.tables.reader(file)?.cursor()));
        }
    }
    Ok(MergeCursor::new(children))
}

fn overlaps(file: &TableFile, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> bool {
    let ends_before = match lower {
        Bound::Unbounded => false,
        Bound::Included(key) | Bound::Excluded(key) => *file.meta.largest.user_key < *key,
    };
    let starts_after = match upper {
        Bound::Unbounded => false,
        Bound::Included(key) | Bound::Excluded(key) => *file.meta.smallest.user_key > *key,
    };
    !ends_before && !starts_after
}
