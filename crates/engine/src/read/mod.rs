//! The way of a read: a view is pinned, its memtables and tables are asked from the newest on.

pub(crate) mod batch;
mod bound;
mod calls;
mod child;
pub(crate) mod get;
mod habit;
pub(crate) mod iter;
pub(crate) mod level;
pub(crate) mod merge;
pub(crate) mod options;
pub(crate) mod paid;
pub(crate) mod scan;
mod verify;
pub(crate) mod view;
pub(crate) mod walk;

pub use iter::{EntryRef, Iter};
pub use options::ReadOptions;
pub use verify::{Fault, VerifyReport};
