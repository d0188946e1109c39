//! What every other crate of Polder speaks in: keys, sequence numbers, batches, cursors, record framing, and the
//! synchronisation layer.
#![doc = include_str!("../README.md")]

pub mod batch;
pub mod changes;
pub mod cursor;
pub mod ids;
pub mod key;
pub mod prefetch;
pub mod record;
pub mod ring;
pub mod sync;
pub mod varint;

pub use batch::{BatchEntry, BatchError, WriteBatch};
pub use changes::Changes;
pub use cursor::Cursor;
pub use ids::{FamilyId, FileNumber, LogPlace, SegmentNumber};
pub use key::{InternalKey, InternalKeyRef, MAX_KEY_BYTES, MAX_VALUE_BYTES, SeqNo, ValueKind};
