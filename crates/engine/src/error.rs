//! What can go wrong, and what the caller does next.

use std::path::PathBuf;
use std::sync::Arc;

use base::{BatchError, FamilyId};

/// What went wrong. [`Error::kind`] says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database was closed; open it again.
    #[error("the database is closed")]
    Closed,
    /// An option does not make sense, or contradicts another.
    #[error("{what}")]
    InvalidOptions {
        /// Which, and what to change.
        what: String,
    },
    /// Another process, or another handle in this one, has the database open.
    #[error("{} is open elsewhere: close it there, or wait", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// What the file system said.
        source: vfs::Error,
    },
    /// There is no database, and `create_if_missing` is off.
    #[error("there is no database in {}: set create_if_missing to make one", path.display())]
    NoDatabase {
        /// The directory.
        path: PathBuf,
    },
    /// There is a database, and `error_if_exists` is on.
    #[error("there is a database in {} already: open it without error_if_exists, or choose another directory", path.display())]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds something else: nothing was touched.
    #[error("{} is not a database: it holds {found}; choose an empty directory", path.display())]
    NotADatabase {
        /// The directory.
        path: PathBuf,
        /// A name that was found in it.
        found: String,
    },
    /// A key or value is beyond its limit: nothing was written.
    #[error("the batch was refused")]
    Batch(#[from] BatchError),
    /// The batch is larger than `max_batch_bytes`: nothing was written; split it.
    #[error("a batch of {bytes} bytes is larger than max_batch_bytes = {limit}: split it")]
    BatchTooLarge {
        /// Its encoded size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// There is no such column family.
    #[error("there is no column family {name:?}: create it first")]
    UnknownFamily {
        /// Its name.
        name: String,
    },
    /// A batch names a column family that this database does not have: nothing was written.
    #[error("the batch names column family number {family}, which this database does not have")]
    UnknownFamilyNumber {
        /// Its number.
        family: FamilyId,
    },
    /// There is a column family of this name already.
    #[error("there is a column family {name:?} already: open it")]
    FamilyExists {
        /// Its name.
        name: String,
    },
    /// The write's deadline passed while it waited: nothing was written; try again later.
    #[error("the deadline passed while waiting for {what}")]
    TimedOut {
        /// What it waited for.
        what: &'static str,
    },
    /// The write would have had to wait: nothing was written; try again later.
    #[error("the write would have to wait for {what}")]
    WouldBlock {
        /// What for.
        what: &'static str,
    },
    /// Flushes fail, so memory cannot be given back: nothing was written. The engine goes on trying; what was
    /// acknowledged is safe in the log.
    #[error("flushes are failing, so that no memory can be given back to writers")]
    FlushFailing {
        /// Why the last flush failed.
        source: Arc<Error>,
    },
    /// A compaction that was asked for failed. The engine goes on trying; nothing is lost.
    #[error("compactions are failing")]
    CompactionFailing {
        /// Why the last one failed.
        source: Arc<Error>,
    },
    /// Memory could not be had from the system: nothing was written.
    #[error("the system has no memory for a memtable")]
    OutOfMemory {
        /// What the system said.
        source: memtable::MapError,
    },
    /// An earlier failure left it unknown what is on the disk: writes are refused, reads go on. Close the database, see
    /// to the cause, open it again.
    #[error("the database takes no more writes since an earlier failure")]
    ReadOnly {
        /// The first failure.
        source: Arc<Error>,
    },
    /// A thread ended in the middle of a write: half of its batch may be in memory, so writing ends. Reopening recovers
    /// the batch as a whole, or not at all.
    #[error("a thread panicked in the middle of a write")]
    WriterPanicked,
    /// A background thread ended by a defect: what it was doing is undone by reopening.
    #[error("the thread {name} panicked")]
    ThreadPanicked {
        /// Which thread.
        name: String,
    },
    /// The system had no room for a background thread.
    #[error("a background thread could not be started")]
    Thread {
        /// What the system said.
        source: std::io::Error,
    },
    /// A table that the manifest names is not there, or has another size than it should.
    #[error("table {}: expected {expected} bytes, found {found}; restore the file from a backup", path.display())]
    TableFile {
        /// The file.
        path: PathBuf,
        /// Its size according to the manifest.
        expected: u64,
        /// What was found.
        found: String,
    },
    /// A log record is whole but does not hold a batch.
    #[error("{} at offset {offset}: the record is whole but holds no batch; salvage, or restore from a backup", path.display())]
    LogRecord {
        /// The segment's file.
        path: PathBuf,
        /// Where the record stands.
        offset: u64,
        /// What is wrong with it.
        source: BatchError,
    },
    /// The log failed.
    #[error("the log failed")]
    Log(#[from] wal::Error),
    /// The log could not be recovered.
    #[error("the log could not be recovered")]
    Recovery(#[source] wal::Error),
    /// The manifest failed.
    #[error("the manifest failed")]
    Manifest(#[from] version::Error),
    /// A change of the tables could not be made durable; the engine goes on with what there was before.
    #[error("a change of the tables was not recorded")]
    NotRecorded(#[from] version::ApplyError),
    /// A table failed.
    #[error("a table failed")]
    Table(#[from] sstable::Error),
    /// The file system failed.
    #[error("the file system failed")]
    File(#[from] vfs::Error),
}

/// What a caller does about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Nothing happened, and trying the same again gives the same answer: change the call.
    Refused,
    /// Nothing happened; the same call may succeed later.
    RetryLater,
    /// Writes are refused from now on, reads go on: close, see to the cause, open again.
    ReadOnly,
    /// A file is damaged: the error names it. Restore it, or salvage what is readable.
    Corruption,
    /// The database is closed.
    Closed,
    /// The system refused something: see the source.
    System,
}

impl Error {
    /// What to do next.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Closed => ErrorKind::Closed,
            Self::InvalidOptions { .. }
            | Self::NoDatabase { .. }
            | Self::Exists { .. }
            | Self::NotADatabase { .. }
            | Self::Batch(_)
            | Self::BatchTooLarge { .. }
            | Self::UnknownFamily { .. }
            | Self::UnknownFamilyNumber { .. }
            | Self::FamilyExists { .. } => ErrorKind::Refused,
            Self::Locked { .. }
            | Self::TimedOut { .. }
            | Self::WouldBlock { .. }
            | Self::FlushFailing { .. }
            | Self::CompactionFailing { .. }
            | Self::OutOfMemory { .. } => ErrorKind::RetryLater,
            Self::ReadOnly { .. } | Self::WriterPanicked | Self::ThreadPanicked { .. } => {
                ErrorKind::ReadOnly
            }
            Self::TableFile { .. } | Self::LogRecord { .. } => ErrorKind::Corruption,
            // A new segment could not be made: what needed it was not done.
            Self::Log(wal::Error::Fs(_)) => ErrorKind::RetryLater,
            Self::Log(error) | Self::Recovery(error) => log_kind(error),
            Self::Manifest(error) => manifest_kind(error),
            Self::Table(error) => table_kind(error),
            Self::Thread { .. } | Self::File(_) | Self::NotRecorded(_) => ErrorKind::System,
        }
    }
}

fn log_kind(error: &wal::Error) -> ErrorKind {
    use wal::Error as Log;
    match error {
        Log::Corrupt { .. } | Log::TornTail { .. } | Log::MissingSegment { .. } => {
            ErrorKind::Corruption
        }
        Log::Failed(_) => ErrorKind::ReadOnly,
        Log::NotAppended(_) => ErrorKind::RetryLater,
        Log::TooLarge { .. } | Log::InvalidOption { .. } | Log::UnsupportedVersion { .. } => {
            ErrorKind::Refused
        }
        _ => ErrorKind::System,
    }
}

fn manifest_kind(error: &version::Error) -> ErrorKind {
    use version::Error as Manifest;
    match error {
        Manifest::File(_) => ErrorKind::System,
        Manifest::NoDatabase { .. } | Manifest::Exists { .. } | Manifest::NewerFormat { .. } => {
            ErrorKind::Refused
        }
        _ => ErrorKind::Corruption,
    }
}

fn table_kind(error: &sstable::Error) -> ErrorKind {
    match error {
        sstable::Error::UnsupportedVersion { .. } => ErrorKind::Refused,
        error if error.is_corruption() => ErrorKind::Corruption,
        _ => ErrorKind::System,
    }
}
