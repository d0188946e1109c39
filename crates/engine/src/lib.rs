//! An embedded, ordered key-value storage engine whose memory and disk use can be promised.
#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod background;
mod budget;
mod commit;
mod compaction;
mod db;
mod error;
mod flush;
mod health;
mod janitor;
mod meter;
mod options;
mod perf;
mod read;
mod recovery;
mod retention;
mod shared;
mod snapshot;
mod stall;
mod stats;
mod tables;

pub use base::{BatchError, FamilyId, MAX_KEY_BYTES, MAX_VALUE_BYTES, WriteBatch};
pub use bytes::Bytes;
pub use commit::FlushReason;
pub use credit::limiter;
pub use db::{DEFAULT_FAMILY, Db, Family, Snapshot};
pub use error::{Error, ErrorKind};
pub use options::{Options, WriteOptions};
pub use perf::{MeasureWrites, WriteTimes};
pub use read::{EntryRef, Fault, Iter, ReadOptions, VerifyReport};
pub use sstable::{BlockKind, Compression};
pub use stats::{LevelStats, StallCause, StallStats, Stats};
pub use version::PinReport;
pub use vfs;
pub use wal::LogBackend;

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct FrontPage;
