//! The errors of this crate; what the caller does next decides which one it is.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use base::SegmentNumber;

use crate::position::LogPosition;

/// Why a log cannot be created, read, rolled or synced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file system call failed; nothing was lost by it. When its cause is mended (space, permissions), try again.
    #[error(transparent)]
    Fs(#[from] vfs::Error),

    /// The log has failed for good, by a failed sync or a hole that could not be closed: what is on disk behind the
    /// last durable position is unknown. Close it, recover, and go on from what is there.
    #[error("the log takes nothing more after an earlier failure; close it and recover")]
    Failed(#[source] Failure),

    /// As [`AppendError::NotAppended`].
    #[error("the record was not appended")]
    NotAppended(#[source] vfs::Error),

    /// Records were retired before a reader came to them: read on, without them.
    #[error("the records from position {from} to {to} were retired before they were read")]
    Retired {
        /// The position behind what was read.
        from: LogPosition,
        /// The position at which the reader goes on.
        to: LogPosition,
    },

    /// A helper thread could not be started: give the process room for more threads, or do without
    /// ([`WalOptions::helper_threads`](crate::WalOptions::helper_threads)).
    #[error("a helper thread of the log could not be started")]
    NoThread {
        /// What the system says.
        source: std::io::Error,
    },

    /// An option is out of bounds.
    #[error("the option {option} is {found}; it must be {bounds}")]
    InvalidOption {
        /// The option's name.
        option: &'static str,
        /// Its value.
        found: u64,
        /// What it may be.
        bounds: &'static str,
    },

    /// A record is too long: split it.
    #[error("a record of {len} bytes is longer than the {max} bytes that the log can hold")]
    TooLarge {
        /// The payload's length in bytes.
        len: usize,
        /// The most that is possible, inclusive.
        max: usize,
    },

    /// A position was asked for that this log has not handed out.
    #[error("position {found} is not one of this log, which ends at {end}")]
    UnknownPosition {
        /// What was asked for.
        found: LogPosition,
        /// The end of what is reserved.
        end: LogPosition,
    },

    /// The segment numbers are used up.
    #[error("segment {last} is the last one possible; no further one can be created in {}", dir.display())]
    NumbersExhausted {
        /// The log's directory.
        dir: PathBuf,
        /// The last number.
        last: SegmentNumber,
    },

    /// Bytes that were known to be on stable storage are not what was written. Restore the file from a copy, or save
    /// what can be read with [`RecoveryMode::SkipDamaged`](crate::RecoveryMode::SkipDamaged).
    #[error(
        "{} is damaged at offset {offset}: expected {expected}, found {found}; restore the file \
         from a copy, or recover what is readable by skipping damaged records",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The offset of what cannot be read, in bytes.
        offset: u64,
        /// What should stand there.
        expected: String,
        /// What stands there.
        found: String,
    },

    /// The log's last record is not whole, in a mode that does not accept that.
    #[error(
        "{} ends in the middle of a record at offset {offset} ({reason}); recover to a point in \
         time to go on without it",
        path.display()
    )]
    TornTail {
        /// The file.
        path: PathBuf,
        /// The end of the last whole record.
        offset: u64,
        /// What stands there.
        reason: String,
    },

    /// The segment was written by another version of this crate: use that one.
    #[error("{} has log format version {found}; this program reads version {supported}", path.display())]
    UnsupportedVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version that is understood.
        supported: u32,
    },

    /// A segment that must be there is not. Restore it from a copy, or save what can be read with
    /// [`RecoveryMode::SkipDamaged`](crate::RecoveryMode::SkipDamaged).
    #[error(
        "segment {number} of the log in {} is missing, though {needed_by} needs it; restore it \
         from a copy, or recover what is readable by skipping damaged records",
        dir.display()
    )]
    MissingSegment {
        /// The log's directory.
        dir: PathBuf,
        /// The missing segment.
        number: SegmentNumber,
        /// Who knows of it.
        needed_by: NeededBy,
    },
}

/// How it is known that a segment must exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeededBy {
    /// Recovery was asked to begin at it.
    Caller,
    /// This later segment continues it, or must be reached from it.
    Segment(SegmentNumber),
}

impl fmt::Display for NeededBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caller => f.write_str("whoever recovers"),
            Self::Segment(number) => write!(f, "segment {number}"),
        }
    }
}

/// The first cause for which a log failed, shared by all who get to see it.
#[derive(Clone)]
pub struct Failure(Arc<dyn std::error::Error + Send + Sync>);

impl Failure {
    /// A failure for this cause.
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(Arc::from(cause.into()))
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// Why nothing was reserved.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// The segment, or the ring of open records, is full: call [`Wal::make_room`](crate::Wal::make_room) without
    /// holding a lock, and reserve again.
    #[error("the log needs room before it can take this record")]
    NeedsRoom,
    /// As [`Error::TooLarge`].
    #[error("a record of {len} bytes is longer than the {max} bytes that the log can hold")]
    TooLarge {
        /// The payload's length in bytes.
        len: usize,
        /// The most that is possible, inclusive.
        max: usize,
    },
    /// As [`Error::Failed`].
    #[error("the log takes nothing more after an earlier failure; close it and recover")]
    Failed(#[source] Failure),
}

/// Why a reserved record is not in the log.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The record could not be written; its place is closed, and recovery will not bring it back. This append failed,
    /// the log goes on.
    #[error("the record was not appended")]
    NotAppended(#[source] vfs::Error),
    /// As [`Error::Failed`]; whether recovery finds the record is unknown.
    #[error("the log takes nothing more after an earlier failure; close it and recover")]
    Failed(#[source] Failure),
}

impl From<AppendError> for Error {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::NotAppended(cause) => Self::NotAppended(cause),
            AppendError::Failed(failure) => Self::Failed(failure),
        }
    }
}

/// Why a log could not be recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError<E> {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] Error),
    /// The visitor ended it.
    #[error("a record of the log could not be taken in")]
    Visitor(#[source] E),
}
