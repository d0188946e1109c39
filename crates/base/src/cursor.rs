//! The one way in which sorted entries are walked, whoever holds them.

use crate::key::InternalKeyRef;

/// A position in a sorted run of internal keys, which can be moved both ways.
///
/// A cursor starts out not valid; a seek makes it valid when there is an entry to stand on. Walking off either end
/// makes it not valid again; only a seek brings it back. After an error the cursor is not valid.
pub trait Cursor {
    /// What can go wrong when it moves.
    type Error;

    /// Whether it stands on an entry.
    fn is_valid(&self) -> bool;

    /// Moves to the first entry.
    ///
    /// # Errors
    /// When an entry cannot be read; so for every move below.
    fn seek_to_first(&mut self) -> Result<(), Self::Error>;

    /// Moves to the last entry.
    ///
    /// # Errors
    /// As [`Cursor::seek_to_first`].
    fn seek_to_last(&mut self) -> Result<(), Self::Error>;

    /// Moves to the first entry that is `target` or comes after it.
    ///
    /// # Errors
    /// As [`Cursor::seek_to_first`].
    fn seek(&mut self, target: InternalKeyRef<'_>) -> Result<(), Self::Error>;

    /// Moves to the last entry that is `target` or comes before it.
    ///
    /// # Errors
    /// As [`Cursor::seek_to_first`].
    fn seek_for_prev(&mut self, target: InternalKeyRef<'_>) -> Result<(), Self::Error>;

    /// Moves to the next entry. Called only while valid.
    ///
    /// # Errors
    /// As [`Cursor::seek_to_first`].
    fn next(&mut self) -> Result<(), Self::Error>;

    /// Moves to the previous entry. Called only while valid.
    ///
    /// # Errors
    /// As [`Cursor::seek_to_first`].
    fn prev(&mut self) -> Result<(), Self::Error>;

    /// The key it stands on. Called only while valid; may panic otherwise.
    fn key(&self) -> InternalKeyRef<'_>;

    /// The value it stands on. Called only while valid; may panic otherwise.
    fn value(&self) -> &[u8];
}
