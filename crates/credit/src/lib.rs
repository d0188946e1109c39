//! Byte credits: a pool of bytes that may be held.
#![forbid(unsafe_code)]

mod error;
mod pool;

pub use error::{AcquireError, TryAcquireError};
pub use pool::{Permit, Pool, PoolStats};
