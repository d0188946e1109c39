//! Immutable sorted table files: blocks, index, filter, writer and reader.
#![doc = include_str!("../README.md")]

mod block;
mod cache;
mod compress;
mod error;
mod filter;
mod format;
mod helpers;
mod keys;
mod options;
mod properties;
mod table;
mod writer;

pub use block::Block;
pub use cache::{BlockCache, BlockCacheHandle, RecordOf};
pub use error::{Corruption, Error};
pub use format::BlockKind;
pub use helpers::CompressionHelpers;
pub use options::{Compression, ReadBlocks, ScanOptions, TableOptions};
pub use properties::Properties;
pub use table::{Found, FoundRef, Table, TableCursor, Verified};
pub use writer::{TableSummary, TableWriter, WriteAllError};
