//! Background bytes per second: what jobs write passes the rate limiter, in pieces, while they write it.
//!
//! A flush is charged and never waits; compactions wait, out of level 0 before deeper ones. A waiting job is woken by
//! the limiter alone, so it asks for little at a time and looks in between whether the engine closes.

use std::sync::Arc;

use credit::limiter::{Direction, Priority, RateLimiter};

use crate::error::Error;
use crate::health::Health;

/// The most that is asked for at once. A limiter with a smaller burst is asked for that: the closing engine waits for
/// what was asked for.
const PIECE_BYTES: u64 = 64 << 10;

/// Lets one job's bytes through.
#[derive(Clone, Copy)]
pub(crate) struct Meter<'a> {
    limiter: Option<&'a RateLimiter>,
    class: Priority,
    health: &'a Health,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(
        limiter: Option<&'a Arc<RateLimiter>>,
        class: Priority,
        health: &'a Health,
    ) -> Self {
        Self { limiter: limiter.map(|limiter| &**limiter), class, health }
    }

    /// The bytes from which on it is worth asking.
    pub(crate) fn piece_bytes(self) -> u64 {
        if self.limiter.is_some() { PIECE_BYTES } else { u64::MAX }
    }

    /// Lets `bytes` that were written, or are about to be, pass when it is their turn.
    ///
    /// # Errors
    /// [`Error::Closed`] when the engine closes meanwhile. A limiter that was closed limits nothing any more.
    pub(crate) fn pass(self, mut bytes: u64) -> Result<(), Error> {
        let Some(limiter) = self.limiter else { return Ok(()) };
        if self.class.never_waits() {
            limiter.charge(self.class, Direction::Write, bytes);
            return Ok(());
        }
        while bytes > 0 {
            self.health.check_open()?;
            let piece = bytes.min(PIECE_BYTES).min(limiter.burst_bytes().max(1));
            if limiter.acquire(self.class, Direction::Write, piece).is_err() {
                limiter.charge(self.class, Direction::Write, bytes);
                return Ok(());
            }
            bytes -= piece;
        }
        Ok(())
    }
}
