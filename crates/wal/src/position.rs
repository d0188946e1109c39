//! A place in the log as a whole, over all segments.

use std::fmt;

/// A place in the log: bytes, headers included, over all segments since this [`Wal`](crate::Wal) was created.
///
/// Positions of one `Wal` are ordered as its records are. They are not kept on disk and mean nothing to another `Wal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition(pub(crate) u64);

impl LogPosition {
    /// The position as a number of bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
