//! A cursor over the tables of a sorted level, one after the other; a table is opened when the cursor reaches it.

use std::sync::Arc;

use base::{Cursor, InternalKeyRef};
use sstable::{ScanOptions, TableCursor};

use crate::error::Error;
use crate::tables::{TableFile, TableStore};

/// Walks tables that are sorted and do not overlap. It does not keep their files from being removed: whoever has it
/// holds the version that they are of.
pub(crate) struct LevelCursor {
    store: Arc<TableStore>,
    files: Arc<Vec<Arc<TableFile>>>,
    /// The table that `current` walks.
    at: usize,
    current: Option<TableCursor>,
    options: ScanOptions,
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
        Self { store: Arc::clone(store), files, at: 0, current: None, options }
    }

    /// Makes `at` the table walked; not valid when there is no such table.
    fn open(&mut self, at: usize) -> Result<Option<&mut TableCursor>, Error> {
        if self.current.is_none() || self.at != at {
            self.current = None;
            let Some(file) = self.files.get(at) else { return Ok(None) };
            self.current = Some(self.store.reader(file)?.cursor_with(self.options));
            self.at = at;
        }
        Ok(self.current.as_mut())
    }

    /// Goes on to later tables until the cursor stands on an entry.
    fn skip_forward(&mut self) -> Result<(), Error> {
        while self.current.as_ref().is_some_and(|cursor| !cursor.is_valid()) {
            match self.open(self.at + 1)? {
                Some(cursor) => cursor.seek_to_first()?,
                None => break,
            }
        }
        Ok(())
    }

    /// Goes back to earlier tables until the cursor stands on an entry.
    fn skip_backward(&mut self) -> Result<(), Error> {
        while self.current.as_ref().is_some_and(|cursor| !cursor.is_valid()) {
            let Some(before) = self.at.checked_sub(1) else {
                self.current = None;
                break;
            };
            if let Some(cursor) = self.open(before)? {
                cursor.seek_to_last()?;
            }
        }
        Ok(())
    }

    /// The table that it stands in.
    pub(crate) fn table(&self) -> Option<&TableCursor> {
        self.current.as_ref()
    }

    #[inline]
    fn walked(&self) -> &TableCursor {
        self.current.as_ref().expect("the cursor is valid")
    }
}

impl Cursor for LevelCursor {
    type Error = Error;

    #[inline]
    fn is_valid(&self) -> bool {
        self.current.as_ref().is_some_and(TableCursor::is_valid)
    }

    fn seek_to_first(&mut self) -> Result<(), Error> {
        if let Some(cursor) = self.open(0)? {
            cursor.seek_to_first()?;
        }
        self.skip_forward()
    }

    fn seek_to_last(&mut self) -> Result<(), Error> {
        let Some(last) = self.files.len().checked_sub(1) else { return Ok(()) };
        if let Some(cursor) = self.open(last)? {
            cursor.seek_to_last()?;
        }
        self.skip_backward()
    }

    fn seek(&mut self, target: InternalKeyRef<'_>) -> Result<(), Error> {
        let at = self.files.partition_point(|file| file.meta.largest.as_ref() < target);
        match self.open(at)? {
            Some(cursor) => cursor.seek(target)?,
            None => self.current = None,
        }
        self.skip_forward()
    }

    fn seek_for_prev(&mut self, target: InternalKeyRef<'_>) -> Result<(), Error> {
        let after = self.files.partition_point(|file| file.meta.smallest.as_ref() <= target);
        let Some(at) = after.checked_sub(1) else {
            self.current = None;
            return Ok(());
        };
        if let Some(cursor) = self.open(at)? {
            cursor.seek_for_prev(target)?;
        }
        self.skip_backward()
    }

    #[inline]
    fn next(&mut self) -> Result<(), Error> {
        if let Some(cursor) = &mut self.current {
            cursor.next()?;
            if cursor.is_valid() {
                return Ok(());
            }
        }
        self.skip_forward()
    }

    #[inline]
    fn prev(&mut self) -> Result<(), Error> {
        if let Some(cursor) = &mut self.current {
            cursor.prev()?;
            if cursor.is_valid() {
                return Ok(());
            }
        }
        self.skip_backward()
    }

    #[inline]
    fn key(&self) -> InternalKeyRef<'_> {
        self.walked().key()
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.walked().value()
    }
}
