//! Iterators over the entries of a column family, both ways, as of one moment.
//!
//! An iterator holds a sequence number and a place, and reads in batches. Between two of them it keeps its cursors as
//! long as nobody minds ([`walk`](crate::read::walk)): a flush or compaction takes them away, and the iterator seeks
//! again in the view that is current when it needs the next batch. So however long it stays open, and whatever its owner
//! does meanwhile, it holds up no flush and no writer; what it keeps alive are the versions that its snapshot sees.

use std::ops::Bound;
use std::sync::Arc;

use base::sync::Instant;
use base::{FamilyId, SeqNo};
use bytes::Bytes;
use sstable::ScanOptions;

use crate::error::Error;
use crate::read::batch::{Batch, BatchLimit};
use crate::read::level::LevelCursor;
use crate::read::merge::{Child, Direction, MergeCursor};
use crate::read::scan::{Reading, check_deadline};
use crate::read::view::ReadView;
use crate::read::walk::{Slot, Walk};
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
    how: ScanHow,
    /// Where the cursors are between two batches.
    slot: Arc<Slot>,
}

/// A key and its value, lent.
pub type EntryRef<'a> = (&'a [u8], &'a [u8]);

/// How an iterator reads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ScanHow {
    pub(crate) tables: ScanOptions,
    pub(crate) deadline: Option<Instant>,
}

impl Iter {
    pub(crate) fn new(
        snapshot: SnapshotGuard,
        family: FamilyId,
        (lower, upper): (Bound<Bytes>, Bound<Bytes>),
        how: ScanHow,
    ) -> Result<Self, Error> {
        snapshot.owner.health.check_open()?;
        snapshot.owner.view.load().family(family)?;
        let is_read = is_empty(&lower, &upper);
        let slot = snapshot.owner.walks.register();
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
            how,
            slot,
        })
    }

    /// As [`next`](Iterator::next), without a handle: the entry is there until the iterator is used again. The fastest
    /// way to look at many entries.
    ///
    /// # Errors
    /// As those that the iterator yields; it has ended then.
    #[inline]
    pub fn next_entry(&mut self) -> Result<Option<EntryRef<'_>>, Error> {
        self.ready(Direction::Forward)?;
        // What the other end has read is this end's rest, its last first.
        Ok(if self.front.is_empty() { self.back.last() } else { self.front.first() })
    }

    /// As [`Iter::next_entry`], from the other end.
    ///
    /// # Errors
    /// As [`Iter::next_entry`].
    #[inline]
    pub fn next_entry_back(&mut self) -> Result<Option<EntryRef<'_>>, Error> {
        self.ready(Direction::Backward)?;
        Ok(if self.back.is_empty() { self.front.last() } else { self.back.first() })
    }

    fn take(&mut self, direction: Direction) -> Option<Result<(Bytes, Bytes), Error>> {
        if let Err(error) = self.ready(direction) {
            return Some(Err(error));
        }
        let (own, other) = match direction {
            Direction::Forward => (&mut self.front, &mut self.back),
            Direction::Backward => (&mut self.back, &mut self.front),
        };
        own.take_first().or_else(|| other.take_last()).map(Ok)
    }

    /// Sees to it that this end's batch has an entry, if one is left between the bounds.
    #[inline]
    fn ready(&mut self, direction: Direction) -> Result<(), Error> {
        let own = if direction == Direction::Forward { &self.front } else { &self.back };
        if !own.is_empty() || self.is_read {
            return Ok(());
        }
        let filled = self.fill(direction);
        if filled.is_err() {
            self.is_read = true;
            (self.front, self.back) = Default::default();
        }
        filled
    }

    fn fill(&mut self, direction: Direction) -> Result<(), Error> {
        let shared: &Shared = &self.snapshot.owner;
        shared.health.check_open()?;
        check_deadline(self.how.deadline)?;
        if is_empty(&self.lower, &self.upper) {
            self.is_read = true;
            return Ok(());
        }
        let (batch, limit) = match direction {
            Direction::Forward => (&mut self.front, &mut self.front_limit),
            Direction::Backward => (&mut self.back, &mut self.back_limit),
        };
        let reading = Reading {
            at: self.snapshot.at,
            lower: as_slice(&self.lower),
            upper: as_slice(&self.upper),
            limit: *limit,
            deadline: self.how.deadline,
            pinned: &shared.budget.pinned,
        };
        *limit = limit.next();
        let epoch = shared.walks.epoch();
        let kept = self.slot.take();
        let kept = kept.filter(|walk| walk.direction == direction && walk.epoch == epoch);
        let mut walk = match kept {
            Some(walk) => walk,
            None => begin(shared, self.family, &reading, self.how.tables, direction, epoch)?,
        };
        batch.clear();
        self.is_read = match direction {
            Direction::Forward => reading.forward(&mut walk.cursor, batch)?,
            Direction::Backward => reading.backward(&mut walk.cursor, batch)?,
        };
        if !self.is_read {
            walk.charge(&shared.budget.pinned, shared.options.block_size);
            shared.walks.keep(&self.slot, walk);
        }
        if let Some(key) = batch.last_key() {
            let key = Bound::Excluded(Bytes::copy_from_slice(key));
            match direction {
                Direction::Forward => self.lower = key,
                Direction::Backward => self.upper = key,
            }
        }
        Ok(())
    }
}

/// A walk in the current view that stands where `reading` begins. `epoch` was read before.
fn begin(
    shared: &Shared,
    family: FamilyId,
    reading: &Reading<'_>,
    options: ScanOptions,
    direction: Direction,
    epoch: u64,
) -> Result<Walk, Error> {
    let view = Arc::clone(&shared.view.load());
    let mut cursor = merged(shared, &view, family, (reading.lower, reading.upper), options)?;
    match direction {
        Direction::Forward => reading.seek_front(&mut cursor)?,
        Direction::Backward => reading.seek_back(&mut cursor)?,
    }
    Ok(Walk { cursor, direction, _view: view, pinned: None, epoch })
}

impl Drop for Iter {
    fn drop(&mut self) {
        self.snapshot.owner.walks.release(&self.slot);
    }
}

impl Iterator for Iter {
    type Item = Result<(Bytes, Bytes), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.take(Direction::Forward)
    }
}

impl DoubleEndedIterator for Iter {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.take(Direction::Backward)
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
fn merged(
    shared: &Shared,
    view: &ReadView,
    family: FamilyId,
    (lower, upper): (Bound<&[u8]>, Bound<&[u8]>),
    options: ScanOptions,
) -> Result<MergeCursor, Error> {
    let (memtables, levels) = view.family(family)?;
    let level0 = levels.level(0).iter().filter(|file| overlaps(file, lower, upper));
    let mut children =
        Vec::with_capacity(memtables.len() + level0.clone().count() + levels.depth());
    children.extend(memtables.iter().map(|memtable| Child::Memtable(memtable.owned_cursor())));
    for file in level0 {
        children.push(Child::Table(shared.tables.reader(file)?.cursor_with(options)));
    }
    for level in 1..levels.depth() {
        let files = levels.shared_level(level);
        if !files.is_empty() {
            children.push(Child::Level(LevelCursor::new(&shared.tables, files, options)));
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
