//! Every lock, wait, thread and clock that Polder uses, behind one set of names.
//!
//! Three backends, chosen when the workspace is built: the machine's own (the default; locks by `parking_lot`), `loom`
//! under `--cfg loom`, which explores the interleavings of a small model, and `shuttle` under `--cfg shuttle`, a seeded
//! scheduler for larger ones. Production code that uses these names alone runs unchanged in all three.
//!
//! Locks do not poison: a thread that panics while it holds one leaves what it guards as it was, so whoever guards
//! state that can be half changed finishes the change, or marks it, in a drop guard.

#[cfg(not(any(loom, shuttle)))]
mod native;
#[cfg(not(any(loom, shuttle)))]
pub use native::*;

#[cfg(any(loom, shuttle))]
mod model;
#[cfg(any(loom, shuttle))]
pub use model::*;

mod signal;
pub use signal::Signal;

pub use std::sync::{Arc, OnceLock};
pub use std::time::{Duration, Instant};
