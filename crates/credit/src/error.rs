//! Why a request for credits was refused, and what the caller does about it.

use std::error::Error;
use std::sync::Arc;

/// The cause a pool was poisoned with; every refused request gets a clone of it.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// A request that was allowed to wait ended without a permit, and left nothing behind.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// The pool, or one it draws from, was closed. Stop asking: its owner is shutting down.
    #[error("the credit pool is closed; its owner is shutting down, do not ask again")]
    Closed,
    /// The pool, or one it draws from, was poisoned. Report the cause: nothing is granted again.
    #[error("the credit pool is poisoned and grants nothing until its owner starts anew")]
    Poisoned {
        /// The first cause given to [`Pool::poison`](crate::Pool::poison).
        #[source]
        cause: Cause,
    },
    /// The owner told all who waited to stop waiting. Report the cause; the pool is open, ask again when it is mended.
    #[error("waiting for credits was interrupted; ask again when the cause is mended")]
    Interrupted {
        /// The cause given to [`Pool::interrupt`](crate::Pool::interrupt).
        #[source]
        cause: Cause,
    },
    /// The deadline passed first. Shed the work, ask for less, or ask again.
    #[error("the deadline passed before the credits were free; shed the work or ask again")]
    TimedOut,
    /// More was asked for than can be counted. A length was computed wrongly; correct the caller.
    #[error(
        "{requested_bytes} bytes cannot be counted beside {held_bytes} held; check how the length was computed"
    )]
    TooLarge {
        /// What was asked for.
        requested_bytes: u64,
        /// What the pool held at that moment.
        held_bytes: u64,
    },
}

/// A request that was not allowed to wait ended without a permit.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TryAcquireError {
    /// Too little is free, or others wait already. Wait with `acquire`, or come back later.
    #[error("the credits are not free now; wait with acquire, or come back later")]
    WouldBlock,
    /// The pool, or one it draws from, was closed. Stop asking: its owner is shutting down.
    #[error("the credit pool is closed; its owner is shutting down, do not ask again")]
    Closed,
    /// The pool, or one it draws from, was poisoned. Report the cause: nothing is granted again.
    #[error("the credit pool is poisoned and grants nothing until its owner starts anew")]
    Poisoned {
        /// The first cause given to [`Pool::poison`](crate::Pool::poison).
        #[source]
        cause: Cause,
    },
    /// More was asked for than can be counted. A length was computed wrongly; correct the caller.
    #[error(
        "{requested_bytes} bytes cannot be counted beside {held_bytes} held; check how the length was computed"
    )]
    TooLarge {
        /// What was asked for.
        requested_bytes: u64,
        /// What the pool held at that moment.
        held_bytes: u64,
    },
}

impl From<AcquireError> for TryAcquireError {
    /// For a request that could not wait, running out of time means that it would have had to.
    fn from(error: AcquireError) -> TryAcquireError {
        match error {
            AcquireError::TimedOut | AcquireError::Interrupted { .. } => {
                TryAcquireError::WouldBlock
            }
            AcquireError::Closed => TryAcquireError::Closed,
            AcquireError::Poisoned { cause } => TryAcquireError::Poisoned { cause },
            AcquireError::TooLarge { requested_bytes, held_bytes } => {
                TryAcquireError::TooLarge { requested_bytes, held_bytes }
            }
        }
    }
}

/// A child pool could not be made; nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// The parent cannot promise that floor beside what is promised and held already. Ask for less,
    /// resize the parent, or wait until bytes have come back.
    #[error(
        "a floor of {floor_bytes} bytes cannot be promised, only {available_bytes} are left; lower it or enlarge the parent"
    )]
    FloorUnavailable {
        /// The floor that was asked for.
        floor_bytes: u64,
        /// The largest floor that can be promised now.
        available_bytes: u64,
    },
    /// The floor is above the ceiling. Correct the options.
    #[error("the floor of {floor_bytes} bytes is above the ceiling of {ceiling_bytes}")]
    FloorAboveCeiling {
        /// The floor that was asked for.
        floor_bytes: u64,
        /// The ceiling that was asked for.
        ceiling_bytes: u64,
    },
}
