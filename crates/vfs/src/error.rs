//! The one error type of this crate: what was tried, on which file, and why it failed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Result of a file system call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was being done to the file system; part of every [`Error`], and what a simulated fault is
/// scripted against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Create a file that must not exist.
    Create,
    /// Open a file that must exist.
    Open,
    /// Create one directory.
    CreateDir,
    /// List a directory.
    List,
    /// Look up a path.
    Metadata,
    /// Rename a file.
    Rename,
    /// Remove a file.
    Remove,
    /// Make a directory's entries durable.
    SyncDir,
    /// Take a lock file.
    Lock,
    /// Ask for the free space.
    FreeSpace,
    /// Ask what kind of file system a path is on.
    MapSupport,
    /// Ask for a file's length.
    Len,
    /// Read from a file.
    Read,
    /// Write to a file.
    Write,
    /// Reserve space for a file.
    Allocate,
    /// Truncate or extend a file.
    SetLen,
    /// Make a file's content and length durable.
    SyncData,
    /// Make a file's content and metadata durable.
    SyncAll,
    /// Start or wait for write-back of a range.
    SyncRange,
    /// Give a range's blocks back to the file system.
    PunchHole,
    /// Map a range into memory.
    Map,
    /// Read mapped memory.
    MapRead,
    /// Write mapped memory.
    MapWrite,
    /// Make mapped memory resident.
    Populate,
    /// Make a mapped range durable.
    MapFlush,
}

impl Operation {
    fn verb(self) -> &'static str {
        match self {
            Operation::Create => "create",
            Operation::Open => "open",
            Operation::CreateDir => "create the directory",
            Operation::List => "list the directory",
            Operation::Metadata => "look up",
            Operation::Rename => "rename",
            Operation::Remove => "remove",
            Operation::SyncDir => "sync the directory",
            Operation::Lock => "lock",
            Operation::FreeSpace => "ask for the free space at",
            Operation::MapSupport => "ask for the file system of",
            Operation::Len => "ask for the length of",
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::Allocate => "allocate",
            Operation::SetLen => "set the length of",
            Operation::SyncData => "sync the data of",
            Operation::SyncAll => "sync",
            Operation::SyncRange => "start write-back of",
            Operation::PunchHole => "punch a hole into",
            Operation::Map => "map",
            Operation::MapRead => "read mapped",
            Operation::MapWrite => "write mapped",
            Operation::Populate => "populate mapped",
            Operation::MapFlush => "flush mapped",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verb())
    }
}

/// Kinds of failure that callers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No such file or directory.
    NotFound,
    /// The file to be created exists.
    AlreadyExists,
    /// The lock is held by another process, or by another handle of this one.
    Locked,
    /// The file system, or the user's quota on it, is full. Free space and try again.
    NoSpace,
    /// The file ended before the bytes that were asked for.
    UnexpectedEof,
    /// The caller may not do this to the file, or opened it without write access.
    PermissionDenied,
    /// The file system is mounted for reading only.
    ReadOnly,
    /// The system or file system cannot do this; use another way.
    Unsupported,
    /// The arguments are wrong (a range outside a mapping, a directory where a file is needed).
    InvalidInput,
    /// Anything else, above all a failing device. What is on disk may be unknown: see
    /// [`File::sync_data`](crate::File::sync_data).
    Io,
}

impl ErrorKind {
    fn describe(self) -> Option<&'static str> {
        Some(match self {
            ErrorKind::NotFound => "not found",
            ErrorKind::AlreadyExists => "it exists already",
            ErrorKind::Locked => "it is held by another process or handle; close that first",
            ErrorKind::NoSpace => "no space is left; free some and try again",
            ErrorKind::UnexpectedEof => "the file is too short",
            ErrorKind::PermissionDenied => "permission denied",
            ErrorKind::ReadOnly => "the file system is read-only",
            ErrorKind::Unsupported => "not supported here",
            ErrorKind::InvalidInput => "invalid arguments",
            ErrorKind::Io => return None,
        })
    }
}

/// A failed file system call: the operation, the path, the range where there is one, and the cause
/// ([`source`](std::error::Error::source)).
#[derive(Debug, thiserror::Error)]
#[error("cannot {}", Subject(self))]
pub struct Error {
    operation: Operation,
    path: Box<Path>,
    target: Option<Box<Path>>,
    range: Option<(u64, u64)>,
    source: io::Error,
}

impl Error {
    /// An error of `operation` on `path`.
    pub fn new(operation: Operation, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into().into_boxed_path();
        Error { operation, path, target: None, range: None, source }
    }

    /// Adds the byte range `[offset, offset + len)` that the operation was about.
    #[must_use]
    pub fn with_range(mut self, offset: u64, len: u64) -> Self {
        self.range = Some((offset, len));
        self
    }

    /// Adds the new path of a rename.
    #[must_use]
    pub fn with_target(mut self, target: impl Into<PathBuf>) -> Self {
        self.target = Some(target.into().into_boxed_path());
        self
    }

    /// What was tried.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// The file or directory that it was tried on; of a rename, the old path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The new path of a rename.
    pub fn target(&self) -> Option<&Path> {
        self.target.as_deref()
    }

    /// Offset and length, in bytes, of the range that the operation was about.
    pub fn range(&self) -> Option<(u64, u64)> {
        self.range
    }

    /// The cause, as the system reported it.
    pub fn io_error(&self) -> &io::Error {
        &self.source
    }

    /// The kind of failure, for callers that react to it.
    pub fn kind(&self) -> ErrorKind {
        match self.source.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
            io::ErrorKind::WouldBlock if self.operation == Operation::Lock => ErrorKind::Locked,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
            io::ErrorKind::UnexpectedEof => ErrorKind::UnexpectedEof,
            io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
            io::ErrorKind::Unsupported => ErrorKind::Unsupported,
            io::ErrorKind::InvalidInput
            | io::ErrorKind::InvalidFilename
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::NotADirectory => ErrorKind::InvalidInput,
            _ => ErrorKind::Io,
        }
    }
}

/// The rest of the message: what, where, and the kind where it says something.
struct Subject<'a>(&'a Error);

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = self.0;
        write!(f, "{} ", error.operation)?;
        if let Some((offset, len)) = error.range {
            write!(f, "{len} bytes at offset {offset} of ")?;
        }
        write!(f, "{}", error.path.display())?;
        if let Some(target) = &error.target {
            write!(f, " to {}", target.display())?;
        }
        match error.kind().describe() {
            Some(kind) => write!(f, ": {kind}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_operation_path_and_range() {
        let error = Error::new(Operation::Write, "/db/1.log", io::ErrorKind::StorageFull.into())
            .with_range(4096, 140);
        assert_eq!(
            error.to_string(),
            "cannot write 140 bytes at offset 4096 of /db/1.log: \
             no space is left; free some and try again"
        );
        assert!(std::error::Error::source(&error).is_some());

        let error = Error::new(Operation::Rename, "/db/a", io::Error::other("device gone"))
            .with_target("/db/b");
        assert_eq!(error.to_string(), "cannot rename /db/a to /db/b");
        assert_eq!(error.kind(), ErrorKind::Io);
    }

    #[test]
    fn only_a_lock_that_would_block_is_locked() {
        let would_block = || io::Error::from(io::ErrorKind::WouldBlock);
        assert_eq!(Error::new(Operation::Lock, "x", would_block()).kind(), ErrorKind::Locked);
        assert_eq!(Error::new(Operation::Read, "x", would_block()).kind(), ErrorKind::Io);
    }
}
