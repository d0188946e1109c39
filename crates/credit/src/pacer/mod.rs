//! Slowing writers smoothly before a budget is reached: the law, its inputs and a virtual clock.
//!
//! Three parts, each usable alone:
//!
//! - [`pace`] is the law: from how full things are and how fast they drain to the rate at which
//!   writers may go on. A pure function.
//! - [`DrainEstimate`] smooths what was drained into the rates that the law asks for.
//! - [`Throttle`] turns the rate into how long each writer sleeps, fairly and without a queue.
//!
//! The sleeping itself is the caller's, who knows what may interrupt it.
//!
//! ```
//! use std::time::Duration;
//! use credit::pacer::{PaceInputs, Throttle, pace};
//!
//! let throttle = Throttle::new();
//! let started = std::time::Instant::now();
//! let inputs = PaceInputs {
//!     budget_bytes: Some(64 << 20),
//!     held_bytes: 48 << 20,
//!     flushing_written_bytes: 0,
//!     flush_bytes_per_second: 100e6,
//!     next_return: None,
//!     score: 0.0,
//!     drain_bytes_per_second: 100e6,
//! };
//! // Three quarters are held: as fast as flushes are.
//! let pace = pace(&inputs);
//! assert_eq!(pace.bytes_per_second, 100e6);
//! throttle.set_rate(started.elapsed(), pace.bytes_per_second);
//! let slot = throttle.reserve(started.elapsed(), 4096);
//! loop {
//!     let pause = throttle.pause(started.elapsed(), &slot);
//!     if pause.is_zero() {
//!         break;
//!     }
//!     std::thread::sleep(pause); // or wait on a condition that close() signals
//! }
//! ```
//!
//! Source: the project's design, "Delays, not stops"; the virtual clock is the generic cell rate
//! algorithm of ATM networks (ITU-T I.371), kept in bytes so that a new rate applies at once.

mod estimate;
mod law;
mod throttle;

pub use estimate::DrainEstimate;
pub use law::{Pace, PaceCause, PaceInputs, pace};
pub use throttle::{PAUSE_MAX, Slot, Throttle};
