//! Acquiring without blocking a thread: a future that needs no particular runtime.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::AcquireError;
use crate::permit::Permit;
use crate::pool::Pool;
use crate::request::{Asking, Request};
use crate::wait::{Pending, Waiter};

/// Resolves to a permit; see [`Pool::acquire_async`].
#[derive(Debug)]
#[must_use = "a future does nothing until it is polled"]
pub struct Acquire<'a> {
    stage: Stage<'a>,
}

#[derive(Debug)]
enum Stage<'a> {
    Begin(Request<'a>),
    Queued(Pending<'a>),
    Done,
}

impl Pool {
    /// As [`acquire`](Pool::acquire), for tasks.
    ///
    /// The place in the queue is taken at the first poll. Dropping the future at any moment leaves no
    /// trace: it leaves the queue, or what was just granted goes back to the next in turn. There is no
    /// deadline: drop the future when yours has passed. Elastic holders are asked at each poll.
    #[track_caller]
    pub fn acquire_async(&self, bytes: u64) -> Acquire<'_> {
        self.request(bytes).acquire_async()
    }
}

impl<'a> Request<'a> {
    /// As [`Pool::acquire_async`].
    pub fn acquire_async(self) -> Acquire<'a> {
        Acquire { stage: Stage::Begin(self) }
    }
}

impl Future for Acquire<'_> {
    type Output = Result<Permit, AcquireError>;

    /// # Panics
    /// If polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut pending = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Begin(request) => match request.ask_fast_or_queue() {
                Ok(Asking::Granted(permit)) => return Poll::Ready(Ok(permit)),
                Ok(Asking::Pending(pending)) => pending,
                Err(error) => return Poll::Ready(Err(error)),
            },
            Stage::Queued(pending) => pending,
            Stage::Done => panic!("the future was polled after it was ready"),
        };
        // First the waker, then the look: what is granted in between wakes it.
        pending.set_waker(context.waker());
        pending.plead();
        match pending.take_end() {
            Some(end) => Poll::Ready(end.map(Permit::new)),
            None => {
                self.stage = Stage::Queued(pending);
                Poll::Pending
            }
        }
    }
}

impl<'a> Request<'a> {
    fn ask_fast_or_queue(self) -> Result<Asking<'a>, AcquireError> {
        if let Some(permit) = self.grant_fast() {
            return Ok(Asking::Granted(permit));
        }
        // Elastic holders are asked before anybody waits.
        if self.has_elastic_neighbours()
            && let Ok(permit) = self.run_trial_and_plead()
        {
            return Ok(Asking::Granted(permit));
        }
        self.ask(|_| Some(Waiter::task(self.bytes, &self.site)))
    }
}
