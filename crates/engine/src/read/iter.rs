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
use crate::read::bound::is_empty;
use crate::read::level::LevelCursor;
use crate::read::merge::{Child, Direction, MergeCursor};
use crate::read::scan::{Reading, check_deadline};
use crate::read::view::ReadView;
use crate::read::walk::{Parts, Slot, Walk};
use crate::shared::{Owner, Shared};

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
        if self.owner.snapshots.release(self.at) {
            self.owner.compaction_signal.notify();
        }
    }
}

/// The entries of a column family within bounds, ascending by key; from the other end by `next_back` or `rev`.
///
/// It shows the database as it was when it was made. After an error it ends.
pub struct Iter {
    snapshot: SnapshotGuard,
    how: ScanHow,
    /// None only once it has been dropped.
    parts: Option<Box<Parts>>,
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
        (lower, upper): (Bound<&[u8]>, Bound<&[u8]>),
        how: ScanHow,
    ) -> Result<Self, Error> {
        let shared: &Shared = &snapshot.owner;
        shared.health.check_open()?;
        shared.view.load().family(family)?;
        let mut parts = shared.walks.open(family);
        parts.lower.set(lower);
        parts.upper.set(upper);
        parts.is_read = is_empty(lower, upper);
        Ok(Self { snapshot, how, parts: Some(parts) })
    }

    /// As [`next`](Iterator::next), without a handle: the entry is there until the iterator is used again. The fastest
    /// way to look at many entries.
    ///
    /// # Errors
    /// As those that the iterator yields; it has ended then.
    #[inline]
    pub fn next_entry(&mut self) -> Result<Option<EntryRef<'_>>, Error> {
        match &mut self.parts {
            Some(parts) if !parts.front.is_empty() => {}
            _ => return self.read_entry(Direction::Forward),
        }
        Ok(self.parts.as_mut().and_then(|parts| parts.front.first()))
    }

    /// As [`Iter::next_entry`], from the other end.
    ///
    /// # Errors
    /// As [`Iter::next_entry`].
    #[inline]
    pub fn next_entry_back(&mut self) -> Result<Option<EntryRef<'_>>, Error> {
        match &mut self.parts {
            Some(parts) if !parts.back.is_empty() => {}
            _ => return self.read_entry(Direction::Backward),
        }
        Ok(self.parts.as_mut().and_then(|parts| parts.back.first()))
    }

    /// As [`Iter::next_entry`] in `direction`, where nothing has been read at this end.
    #[inline(never)]
    fn read_entry(&mut self, direction: Direction) -> Result<Option<EntryRef<'_>>, Error> {
        self.ready(direction)?;
        let Some(parts) = &mut self.parts else { return Ok(None) };
        let (own, other) = match direction {
            Direction::Forward => (&mut parts.front, &mut parts.back),
            Direction::Backward => (&mut parts.back, &mut parts.front),
        };
        // What the other end has read is this end's rest, its last first.
        Ok(if own.is_empty() { other.last() } else { own.first() })
    }

    fn take(&mut self, direction: Direction) -> Option<Result<(Bytes, Bytes), Error>> {
        if let Err(error) = self.ready(direction) {
            return Some(Err(error));
        }
        let parts = self.parts.as_mut()?;
        let (own, other) = match direction {
            Direction::Forward => (&mut parts.front, &mut parts.back),
            Direction::Backward => (&mut parts.back, &mut parts.front),
        };
        own.take_first().or_else(|| other.take_last()).map(Ok)
    }

    /// Sees to it that this end's batch has an entry, if one is left between the bounds.
    #[inline]
    fn ready(&mut self, direction: Direction) -> Result<(), Error> {
        let Some(parts) = &mut self.parts else { return Ok(()) };
        let own = if direction == Direction::Forward { &parts.front } else { &parts.back };
        if !own.is_empty() || parts.is_read {
            return Ok(());
        }
        let filled = fill(&self.snapshot, &self.how, parts, direction);
        if filled.is_err() {
            parts.is_read = true;
            parts.front.clear();
            parts.back.clear();
        }
        filled
    }
}

/// Reads the next batch of an end of `parts`.
fn fill(
    snapshot: &SnapshotGuard,
    how: &ScanHow,
    parts: &mut Parts,
    direction: Direction,
) -> Result<(), Error> {
    let shared: &Shared = &snapshot.owner;
    shared.health.check_open()?;
    check_deadline(how.deadline)?;
    let (lower, upper) = (parts.lower.get(), parts.upper.get());
    if is_empty(lower, upper) {
        parts.is_read = true;
        return Ok(());
    }
    let reading = Reading {
        at: snapshot.at,
        lower,
        upper,
        limit: parts.habit.limit(),
        deadline: how.deadline,
        pinned: &shared.budget.pinned,
    };
    let goes_on = parts.going.take() == Some(direction);
    let mut walk =
        walk_for(shared, &parts.slot, parts.family, &reading, how.tables, direction, goes_on)?;
    let near = if direction == Direction::Forward { lower } else { upper };
    shared.pay_for_batch(&walk.view, parts.family, near, goes_on);
    let (batch, is_read) = match direction {
        Direction::Forward => {
            parts.front.clear();
            let is_read = reading.forward(&mut walk.cursor, &mut parts.front)?;
            (&parts.front, is_read)
        }
        Direction::Backward => {
            parts.back.clear();
            let is_read = reading.backward(&mut walk.cursor, &mut parts.back)?;
            (&parts.back, is_read)
        }
    };
    parts.is_read = is_read;
    parts.habit.has_read(batch.left());
    walk.charge(&shared.budget.pinned, shared.options.block_size);
    shared.walks.keep(&parts.slot, walk);
    parts.going = Some(direction);
    if let Some(key) = batch.last_key() {
        match direction {
            Direction::Forward => parts.lower.set(Bound::Excluded(key)),
            Direction::Backward => parts.upper.set(Bound::Excluded(key)),
        }
    }
    Ok(())
}

/// The walk for the next batch: the one in `slot` where it stands if it `goes_on`, or placed anew if it reads from the
/// current view; else a new one.
fn walk_for(
    shared: &Shared,
    slot: &Slot,
    family: FamilyId,
    reading: &Reading<'_>,
    options: ScanOptions,
    direction: Direction,
    goes_on: bool,
) -> Result<Box<Walk>, Error> {
    let epoch = shared.walks.epoch();
    let kept = slot.take().filter(|walk| walk.epoch == epoch);
    if let Some(walk) = kept {
        if goes_on {
            return Ok(walk);
        }
        if walk.options == options && Arc::ptr_eq(&walk.view, &shared.view.load()) {
            return placed(walk, reading, direction);
        }
    }
    let view = Arc::clone(&shared.view.load());
    let cursor = merged(shared, &view, family, options)?;
    placed(Box::new(Walk { cursor, view, options, pinned: None, epoch }), reading, direction)
}

/// `walk` where `reading` begins.
fn placed(
    mut walk: Box<Walk>,
    reading: &Reading<'_>,
    direction: Direction,
) -> Result<Box<Walk>, Error> {
    match direction {
        Direction::Forward => reading.seek_front(&mut walk.cursor)?,
        Direction::Backward => reading.seek_back(&mut walk.cursor)?,
    }
    Ok(walk)
}

impl Drop for Iter {
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take() {
            let shared: &Shared = &self.snapshot.owner;
            shared.walks.close(parts, &shared.budget.pinned, shared.options.max_open_tables);
        }
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
            .field("family", &self.parts.as_ref().map(|parts| parts.family))
            .field("at", &self.snapshot.at)
            .finish_non_exhaustive()
    }
}

/// A cursor over all that `family` holds.
fn merged(
    shared: &Shared,
    view: &ReadView,
    family: FamilyId,
    options: ScanOptions,
) -> Result<MergeCursor, Error> {
    let (memtables, levels) = view.family(family)?;
    let level0 = levels.shared_level(0);
    let mut children = Vec::with_capacity(memtables.len() + level0.len() + levels.depth());
    children.extend(memtables.iter().map(|memtable| Child::Memtable(memtable.owned_cursor())));
    for at in 0..level0.len() {
        let files = Arc::clone(&level0);
        children.push(Child::Level(LevelCursor::of(&shared.tables, files, at..at + 1, options)));
    }
    for level in 1..levels.depth() {
        let files = levels.shared_level(level);
        if !files.is_empty() {
            children.push(Child::Level(LevelCursor::new(&shared.tables, files, options)));
        }
    }
    Ok(MergeCursor::new(children))
}
