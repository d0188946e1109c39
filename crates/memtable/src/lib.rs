//! A concurrent sorted table in memory, over an arena whose every byte is charged to a credit pool.
#![doc = include_str!("../README.md")]

mod arena;
mod atomic;
mod cache;
mod chunk;
mod cursor;
mod entry;
mod space;
mod table;
mod tree;

pub use arena::{CHUNK_BYTES_MAX, Outlook};
pub use cache::{ChunkCache, Wanted};
pub use chunk::{Chunk, MapError, mapped_bytes, page_bytes};
pub use cursor::{MemtableCursor, OwnedCursor, TableCursor};
pub use space::Space;
pub use table::{Memtable, Reserved};
