//! What can go wrong with a table, and what to do about it.

use crate::format::{BlockKind, FORMAT_VERSION};
use base::{InternalKey, MAX_KEY_BYTES, MAX_VALUE_BYTES};
use std::fmt;
use std::path::{Path, PathBuf};

/// Why a table could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system failed. A writer: drop it, remove the file and write a new one. A reader: the table itself may
    /// be sound; the read can be tried again.
    #[error("cannot {action} table file {}", source.path().display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file system's error.
        source: Box<vfs::Error>,
    },
    /// The file is not what was written: restore it from a copy.
    #[error("{0}")]
    Corrupt(Box<Corruption>),
    /// The file was written by another release (or the number itself is damaged): open it with that release.
    #[error(
        "table file {} has format version {found}, this release reads version {FORMAT_VERSION}; open it with \
         the release that wrote it", path.display()
    )]
    UnsupportedVersion {
        /// The file.
        path: PathBuf,
        /// The version that the file says it has.
        found: u32,
    },
    /// A key does not come after the one before it. Nothing of it was written; the writer stays usable.
    #[error(
        "keys must be added in strictly ascending order: {} at {} after {} at {}",
        Shown(&key.user_key), key.seq, Shown(&previous.user_key), previous.seq
    )]
    OutOfOrder {
        /// The last key that was added.
        previous: Box<InternalKey>,
        /// The key that was refused.
        key: Box<InternalKey>,
    },
    /// A key is longer than [`MAX_KEY_BYTES`]. Nothing of it was written; the writer stays usable.
    #[error("a key of {found} bytes is longer than the {MAX_KEY_BYTES} that a key may have")]
    KeyTooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// A value is larger than [`MAX_VALUE_BYTES`]. Nothing of it was written; the writer stays usable.
    #[error("a value of {found} bytes is larger than the {MAX_VALUE_BYTES} that a value may have")]
    ValueTooLarge {
        /// Its length in bytes.
        found: usize,
    },
    /// A table needs at least one entry: remove the file.
    #[error("a table cannot be empty: {} got no entry", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// An option is outside of its limits: correct it. Nothing was written.
    #[error("table option {option} is {found}, allowed is {allowed}")]
    InvalidOption {
        /// The option's name.
        option: &'static str,
        /// What it was.
        found: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// The file given to a writer has content: give it a new file.
    #[error("table file {} already holds {found} bytes; a table is written into an empty file", path.display())]
    NotEmpty {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        found: u64,
    },
    /// One block, or an index, would not fit the format's 32-bit lengths: write several smaller tables.
    #[error("table file {} has a {block} of {found} bytes, too large for the format", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Which block it is.
        block: BlockKind,
        /// Its size in bytes.
        found: usize,
    },
    /// The compression library refused: write with another compression.
    #[error("cannot compress a block of table file {}", path.display())]
    Compress {
        /// The file.
        path: PathBuf,
        /// The library's reason.
        source: Box<std::io::Error>,
    },
    /// An earlier call on this writer failed, so the file is not whole: drop the writer and remove the file.
    #[error("table file {} is not whole after an earlier failure of its writer", path.display())]
    WriterFailed {
        /// The file.
        path: PathBuf,
    },
}

impl Error {
    /// Whether the file is damaged (or not a table of a version that this release knows), as against a failure that
    /// may pass.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        matches!(self, Self::Corrupt(_) | Self::UnsupportedVersion { .. })
    }

    pub(crate) fn io(action: &'static str) -> impl FnOnce(vfs::Error) -> Self {
        move |source| Self::Io { action, source: Box::new(source) }
    }
}

/// A place of a table file that does not hold what it must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corruption {
    /// The file.
    pub path: PathBuf,
    /// Where in the file, in bytes from its start, what is damaged begins.
    pub offset: u64,
    /// Which part of the file it is; `None` is the footer, or the file as a whole.
    pub block: Option<BlockKind>,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, offset, block, expected, found } = self;
        write!(f, "table file {} is damaged: ", path.display())?;
        match block {
            Some(block) => write!(f, "{block}")?,
            None => write!(f, "footer")?,
        }
        write!(
            f,
            " at offset {offset}: expected {expected}, found {found}; restore the file from a copy"
        )
    }
}

/// A user key for people: quoted, escaped, cut when long.
pub(crate) struct Shown<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = self.0.len().min(64);
        write!(f, "\"{}\"", self.0[..cut].escape_ascii())?;
        if cut < self.0.len() {
            write!(f, "... ({} bytes)", self.0.len())?;
        }
        Ok(())
    }
}

/// What a decoder, which knows neither file nor offset, says of bytes that it cannot take. One word, so that results
/// with it stay small on the way of every read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Malformed(Box<Complaint>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Complaint {
    expected: &'static str,
    found: String,
}

impl Malformed {
    /// What should be there, and what is.
    #[cold]
    pub(crate) fn new(expected: &'static str, found: impl fmt::Display) -> Self {
        Self(Box::new(Complaint { expected, found: found.to_string() }))
    }

    /// The same with the place where it was met.
    #[cold]
    pub(crate) fn at(self, path: &Path, offset: u64, block: Option<BlockKind>) -> Error {
        let Complaint { expected, found } = *self.0;
        Error::Corrupt(Box::new(Corruption {
            path: path.to_path_buf(),
            offset,
            block,
            expected: expected.to_owned(),
            found,
        }))
    }

    /// What is there.
    #[cfg(test)]
    pub(crate) fn found(&self) -> &str {
        &self.0.found
    }
}
