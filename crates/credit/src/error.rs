//! Why a request for credits was refused, and what the caller does about it.

use std::error::Error;
use std::sync::Arc;

/// The cause a pool was poisoned with.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// A blocking request ended without a permit.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// The pool was closed: stop asking, the owner is shutting down.
    #[error("the credit pool is closed; its owner is shutting down, do not retry")]
    Closed,
    /// The pool was poisoned: report the cause, nothing will be granted again.
    #[error("the credit pool is poisoned; nothing will be granted until its owner is reopened")]
    Poisoned {
        /// The first cause given to [`Pool::poison`](crate::Pool::poison).
        #[source]
        cause: Cause,
    },
    /// The deadline passed before the request could be granted: shed the work or ask again.
    #[error("the deadline passed before the credits were free; retry later or ask for less")]
    TimedOut,
}

/// A non-blocking request ended without a permit.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TryAcquireError {
    /// Too little is free, or others wait already: retry later, or wait with `acquire`.
    #[error("the credits are not free now; wait with acquire, or retry later")]
    WouldBlock,
    /// The pool was closed: stop asking, the owner is shutting down.
    #[error("the credit pool is closed; its owner is shutting down, do not retry")]
    Closed,
    /// The pool was poisoned: report the cause, nothing will be granted again.
    #[error("the credit pool is poisoned; nothing will be granted until its owner is reopened")]
    Poisoned {
        /// The first cause given to [`Pool::poison`](crate::Pool::poison).
        #[source]
        cause: Cause,
    },
}
