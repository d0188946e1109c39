//! Byte credits: a pool of bytes that may be held.
#![deny(unsafe_code)]

mod account;
mod audit;
mod book;
mod child;
mod error;
#[cfg(feature = "async")]
mod future;
mod handle;
mod ledger;
pub mod limiter;
mod node;
pub mod pacer;
mod permit;
mod pool;
mod pressure;
mod queue;
mod serve;
mod stats;
mod sync;
mod tree;
mod wait;
mod word;

pub use child::{ChildOptions, ChildUse, Reclaim};
pub use error::{AcquireError, Cause, ChildError, TryAcquireError};
#[cfg(feature = "async")]
pub use future::Acquire;
pub use ledger::{Holder, WaitReason, Waiting};
pub use permit::Permit;
pub use pool::{Pool, Request};
pub use pressure::Pressure;
pub use stats::{PoolStats, WaitTimes};

#[cfg(loom)]
pub use sync::Deadline;
