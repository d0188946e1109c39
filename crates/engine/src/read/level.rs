//! A cursor over tables that follow one another, those of a sorted level or one alone.
//!
//! Where a table begins and ends is known without looking into it. So a cursor that comes to the end of a table from
//! outside stands *ahead* of it: it has the key of that end, and reads nothing until somebody wants more ([`load`]), which
//! of many cursors in a merge is only the one that comes first. What lies beyond the end of a short scan is not read.
//!
//! Invariants: ahead of a table the cursor's key is that of the table's first entry, or of its last when it goes
//! backwards. It does not keep the tables' files from being removed: whoever has it holds the version that they are of.
//!
//! [`load`]: LevelCursor::load

use std::ops::Range;
use std::sync::Arc;

use base::{Cursor, InternalKeyRef};
use bytes::Bytes;
use sstable::{ScanOptions, TableCursor};

use crate::error::Error;
use crate::read::merge::Direction;
use crate::tables::{TableFile, TableStore};

/// Where a cursor stands with regard to table `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Nowhere,
    /// At its end, coming from outside in this direction.
    Ahead(Direction),
    /// Where its own cursor stands.
    In,
}

/// See the module's text.
pub(crate) struct LevelCursor {
    store: Arc<TableStore>,
    files: Arc<Vec<Arc<TableFile>>>,
    /// Those of `files` that it walks.
    range: Range<usize>,
    at: usize,
    place: Place,
    /// The table that was walked last, and its cursor.
    current: Option<(usize, TableCursor)>,
    options: ScanOptions,
    /// What is read lies at or above this, and below that.
    lower: Option<Bytes>,
    upper: Option<Bytes>,
}

/// For compactions, which read everything once: what they read does not push out of the cache what others read again, and
/// is verified whoever verified it before, for what they write of it has checksums anew.
pub(crate) const SCAN_ONCE: ScanOptions =
    ScanOptions { fill_cache: false, verify_again: true, ..ScanOptions::DEFAULT };

impl LevelCursor {
    pub(crate) fn new(
        store: &Arc<TableStore>,
        files: Arc<Vec<Arc<TableFile>>>,
        options: ScanOptions,
    ) -> Self {
        let all = 0..files.len();
        Self::of(store, files, all, options)
    }

    /// Over the tables `range` of `files`.
    pub(crate) fn of(
        store: &Arc<TableStore>,
        files: Arc<Vec<Arc<TableFile>>>,
        range: Range<usize>,
        options: ScanOptions,
    ) -> Self {
        Self {
            store: Arc::clone(store),
            files,
            at: range.start,
            range,
            place: Place::Nowhere,
            current: None,
            options,
            lower: None,
            upper: None,
        }
    }

    /// From the next seek on, only what lies at or above `lower` and below `upper` is wanted: see
    /// [`TableCursor::set_bounds`]. Until then the cursor stands nowhere.
    pub(crate) fn set_bounds(&mut self, lower: Option<Bytes>, upper: Option<Bytes>) {
        self.place = Place::Nowhere;
        if lower.is_none() && upper.is_none() && self.lower.is_none() && self.upper.is_none() {
            return;
        }
        if let Some((_, cursor)) = &mut self.current {
            cursor.set_bounds(lower.clone(), upper.clone());
        }
        (self.lower, self.upper) = (lower, upper);
    }

    /// The cursor of table `at`, opened if need be.
    fn open(&mut self) -> Result<&mut TableCursor, Error> {
        let own = self.current.take().filter(|(at, _)| *at == self.at);
        let own = match own {
            Some(own) => own,
            None => {
                let reader = self.store.reader(&self.files[self.at])?;
                let mut cursor = reader.cursor_with(self.options);
                if self.lower.is_some() || self.upper.is_some() {
                    cursor.set_bounds(self.lower.clone(), self.upper.clone());
                }
                (self.at, cursor)
            }
        };
        Ok(&mut self.current.insert(own).1)
    }

    /// Whether table `at` begins beyond the bound that lies in `direction`.
    fn is_beyond(&self, at: usize, direction: Direction) -> bool {
        let meta = &self.files[at].meta;
        match direction {
            Direction::Forward => {
                self.upper.as_ref().is_some_and(|upper| meta.smallest.user_key[..] >= upper[..])
            }
            Direction::Backward => {
                self.lower.as_ref().is_some_and(|lower| meta.largest.user_key[..] < lower[..])
            }
        }
    }

    /// Stands ahead of table `at`, if it is one of those walked and not beyond the bounds.
    fn come_to(&mut self, at: Option<usize>, direction: Direction) {
        self.place = match at {
            Some(at) if self.range.contains(&at) && !self.is_beyond(at, direction) => {
                self.at = at;
                Place::Ahead(direction)
            }
            _ => Place::Nowhere,
        };
    }

    /// Moves within table `at` by `movement`, and on to the next in `direction` when nothing is left of it.
    fn go(
        &mut self,
        direction: Direction,
        movement: impl FnOnce(&mut TableCursor) -> Result<(), sstable::Error>,
    ) -> Result<(), Error> {
        self.place = Place::Nowhere;
        let cursor = self.open()?;
        movement(cursor)?;
        if cursor.is_valid() {
            self.place = Place::In;
        } else {
            self.leave(direction);
        }
        Ok(())
    }

    fn leave(&mut self, direction: Direction) {
        let next = match direction {
            Direction::Forward => self.at.checked_add(1),
            Direction::Backward => self.at.checked_sub(1),
        };
        self.come_to(next, direction);
    }

    /// Whether it stands ahead of a table that has not been looked into.
    #[inline]
    pub(crate) fn is_ahead(&self) -> bool {
        matches!(self.place, Place::Ahead(_))
    }

    /// Whether it stands in a table.
    #[inline]
    pub(crate) fn is_inside(&self) -> bool {
        self.place == Place::In
    }

    /// The cursor in the table that it stands in, to be moved and then told of by [`Self::follow`].
    #[inline]
    pub(crate) fn inside(&mut self) -> Option<&mut TableCursor> {
        match (self.place, &mut self.current) {
            (Place::In, Some((_, cursor))) => Some(cursor),
            _ => None,
        }
    }

    /// The cursor that it stands in was moved in `direction`.
    pub(crate) fn follow(&mut self, direction: Direction) {
        if self.is_inside() && !self.table().is_some_and(TableCursor::is_valid) {
            self.leave(direction);
        }
    }

    /// Goes into the table that it stands ahead of.
    ///
    /// # Errors
    /// The table cannot be read; the cursor is not valid then.
    pub(crate) fn load(&mut self) -> Result<(), Error> {
        while let Place::Ahead(direction) = self.place {
            self.go(direction, |cursor| match direction {
                Direction::Forward => cursor.seek_to_first(),
                Direction::Backward => cursor.seek_to_last(),
            })?;
        }
        Ok(())
    }

    /// The table that it has looked into last.
    #[inline]
    pub(crate) fn table(&self) -> Option<&TableCursor> {
        self.current.as_ref().map(|(_, cursor)| cursor)
    }

    #[inline]
    fn walked(&self) -> &TableCursor {
        self.table().expect("the cursor stands in a table")
    }

    fn walked_files(&self) -> &[Arc<TableFile>] {
        &self.files[self.range.clone()]
    }

    #[inline]
    pub(crate) fn is_valid(&self) -> bool {
        self.place != Place::Nowhere
    }

    pub(crate) fn seek_to_first(&mut self) -> Result<(), Error> {
        self.come_to(Some(self.range.start), Direction::Forward);
        Ok(())
    }

    pub(crate) fn seek_to_last(&mut self) -> Result<(), Error> {
        self.come_to(self.range.end.checked_sub(1), Direction::Backward);
        Ok(())
    }

    pub(crate) fn seek(&mut self, target: InternalKeyRef<'_>) -> Result<(), Error> {
        let files = self.walked_files();
        let skipped = files.partition_point(|file| file.meta.largest.as_ref() < target);
        let is_inside = files.get(skipped).is_some_and(|file| file.meta.smallest.as_ref() < target);
        self.come_to(Some(self.range.start + skipped), Direction::Forward);
        // Not if that table lies beyond the bounds: then it stands nowhere.
        if is_inside && self.is_ahead() {
            self.go(Direction::Forward, |cursor| cursor.seek(target))?;
        }
        Ok(())
    }

    pub(crate) fn seek_for_prev(&mut self, target: InternalKeyRef<'_>) -> Result<(), Error> {
        let files = self.walked_files();
        let begun = files.partition_point(|file| file.meta.smallest.as_ref() <= target);
        let last = begun.checked_sub(1);
        let is_inside = last.is_some_and(|at| files[at].meta.largest.as_ref() > target);
        self.come_to(last.map(|at| self.range.start + at), Direction::Backward);
        if is_inside && self.is_ahead() {
            self.go(Direction::Backward, |cursor| cursor.seek_for_prev(target))?;
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Result<(), Error> {
        self.step(Direction::Forward, TableCursor::next)
    }

    #[inline]
    pub(crate) fn prev(&mut self) -> Result<(), Error> {
        self.step(Direction::Backward, TableCursor::prev)
    }

    #[inline]
    fn step(
        &mut self,
        direction: Direction,
        movement: impl FnOnce(&mut TableCursor) -> Result<(), sstable::Error>,
    ) -> Result<(), Error> {
        if let (Place::In, Some((_, cursor))) = (self.place, &mut self.current) {
            let moved = movement(cursor);
            if cursor.is_valid() { Ok(()) } else { self.run_out(direction, moved) }
        } else {
            self.step_from_ahead(direction, movement)
        }
    }

    /// Nothing is left of its table in `direction`, or it could not be read.
    #[cold]
    fn run_out(
        &mut self,
        direction: Direction,
        moved: Result<(), sstable::Error>,
    ) -> Result<(), Error> {
        self.place = Place::Nowhere;
        moved?;
        self.leave(direction);
        Ok(())
    }

    #[cold]
    fn step_from_ahead(
        &mut self,
        direction: Direction,
        movement: impl FnOnce(&mut TableCursor) -> Result<(), sstable::Error>,
    ) -> Result<(), Error> {
        self.load()?;
        if self.is_inside() { self.go(direction, movement) } else { Ok(()) }
    }

    /// Its key, while it is valid.
    #[inline]
    pub(crate) fn key(&self) -> InternalKeyRef<'_> {
        match self.place {
            Place::Ahead(Direction::Forward) => self.files[self.at].meta.smallest.as_ref(),
            Place::Ahead(Direction::Backward) => self.files[self.at].meta.largest.as_ref(),
            _ => self.walked().key(),
        }
    }

    /// Its value, while it is valid and not ahead of a table.
    #[inline]
    pub(crate) fn value(&self) -> &[u8] {
        self.walked().value()
    }
}
