//! Scripted faults: which operation fails, and how.

use std::fmt;
use std::io;
use std::path::Path;

use crate::error::{Error, Operation};

/// A fault that is to happen: on operations of one kind (or on any that changes something), on
/// paths that match, from the n-th on, a number of times.
#[derive(Debug, Clone)]
pub struct Fault {
    operation: Option<Operation>,
    path_part: Option<String>,
    first: u64,
    times: u64,
    effect: Effect,
    /// Matching operations since it was injected.
    seen: u64,
}

/// What a fault does to the operation that it meets. An effect that does not fit the operation (a
/// short write of a directory) is a plain I/O error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// Fails with this kind of error, without having done anything.
    /// [`Other`](io::ErrorKind::Other) becomes [`ErrorKind::Io`](crate::ErrorKind::Io).
    Fail(io::ErrorKind),
    /// Of a write: the first `written` bytes are written (unsynced), then it fails with `failure`.
    ShortWrite {
        /// Bytes written before the failure; all of them if there are fewer.
        written: usize,
        /// The kind of the error.
        failure: io::ErrorKind,
    },
    /// Of a sync of a file or a range: fails, and marks the dirty pages clean, as ext4 does.
    /// Readers still see their content, and the next sync succeeds without writing it, so that
    /// after a crash it may be missing.
    FailSync,
    /// Of a read: succeeds, with this bit of the bytes read (modulo their number) flipped.
    FlipBit(u64),
}

impl Effect {
    /// An I/O error, as from a failing device.
    pub const IO: Effect = Effect::Fail(io::ErrorKind::Other);
    /// A full file system.
    pub const NO_SPACE: Effect = Effect::Fail(io::ErrorKind::StorageFull);

    pub(super) fn error(self) -> io::Error {
        let kind = match self {
            Effect::Fail(kind) | Effect::ShortWrite { failure: kind, .. } => kind,
            Effect::FailSync | Effect::FlipBit(_) => io::ErrorKind::Other,
        };
        io::Error::new(kind, Injected)
    }
}

impl Fault {
    /// A fault of the next `operation`, once.
    pub fn new(operation: Operation, effect: Effect) -> Self {
        Fault { operation: Some(operation), ..Fault::any(effect) }
    }

    /// A fault of the next operation that changes the disk or makes something durable, of any kind,
    /// once; what [`SimFs::operations`](super::SimFs::operations) counts.
    pub fn any(effect: Effect) -> Self {
        Fault { operation: None, path_part: None, first: 1, times: 1, effect, seen: 0 }
    }

    /// Only on paths that contain `part`. Of a rename, the old path counts.
    #[must_use]
    pub fn on_path(mut self, part: impl Into<String>) -> Self {
        self.path_part = Some(part.into());
        self
    }

    /// The `nth` (from 1) matching operation after the fault was injected is the first to fail.
    #[must_use]
    pub fn nth(mut self, nth: u64) -> Self {
        self.first = nth;
        self
    }

    /// So many matching operations fail, one after the other. `u64::MAX` is for ever.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// Counts an operation; the effect if this one is to be hit.
    pub(super) fn meet(
        &mut self,
        operation: Operation,
        path: &Path,
        mutating: bool,
    ) -> Option<Effect> {
        let kind_matches = self.operation.map_or(mutating, |wanted| wanted == operation);
        let path_matches =
            self.path_part.as_ref().is_none_or(|part| path.to_string_lossy().contains(part));
        if !kind_matches || !path_matches {
            return None;
        }
        self.seen += 1;
        let past_first = self.seen.checked_sub(self.first)?;
        (past_first < self.times).then_some(self.effect)
    }
}

/// What is inside the error of an injected fault.
#[derive(Debug)]
struct Injected;

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("injected fault")
    }
}

impl std::error::Error for Injected {}

/// What is inside the error of every operation after the simulated power cut.
#[derive(Debug)]
struct PowerOff;

impl fmt::Display for PowerOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulated machine has no power")
    }
}

impl std::error::Error for PowerOff {}

pub(super) fn power_off() -> io::Error {
    io::Error::other(PowerOff)
}

/// Whether an error is that of a simulated power cut
/// ([`SimFs::power_off_at`](super::SimFs::power_off_at)).
pub fn is_power_off(error: &Error) -> bool {
    error.io_error().get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<PowerOff>)
}

/// Whether an error was injected by a [`Fault`].
pub fn is_injected(error: &Error) -> bool {
    error.io_error().get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Injected>)
}
