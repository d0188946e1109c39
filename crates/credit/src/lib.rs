//! Byte credits: pools of bytes that may be held, a rate limiter, and a pacer.
//!
#![doc = include_str!("../README.md")]
//!
//! # Where what is
//!
//! [`Pool`] and [`Permit`] are all that most users need; [`pacer`] and [`limiter`] have front pages of
//! their own. Inside, in reading order: `word` (the packed account), `account` (grants without a lock),
//! `handle` (what keeps an account alive, the crate's only unsafe code), `tree` and `book` (what happens
//! under the lock), `serve` (whose turn it is), `wait` (sleeping and waking).
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
mod request;
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
pub use pool::Pool;
pub use pressure::Pressure;
pub use request::Request;
pub use stats::{PoolStats, WaitTimes};
#[cfg(any(loom, shuttle))]
pub use sync::Deadline;
