//! The waits of a write, for tasks: what blocks a thread elsewhere is awaited here, on any runtime.
//!
//! The steps are those of a thread's write, and so is each decision; only compaction's pace, another writer's chunk, a
//! flush and credits are waited for without the thread. What is short by nature is not: the next log segment, a place in
//! a ring, the turn of the writes before; nor is a sync.
//!
//! A task that is not polled holds up those behind it in the pool's queue, and, once it was granted credits, those who
//! need them: nobody else. A thread that polls tasks must therefore not wait for credits itself.
//!
//! A future that is dropped leaves no trace: until everything is reserved a write holds a place in the pool's queue, or
//! chunks, and both go back; and what follows has no point at which it could be dropped.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use base::Changes;
use base::sync::{Duration, Instant, now};
use credit::{AcquireError, Permit, TryAcquireError};
use futures_timer::Delay;

use crate::commit::room::{FOR_CREDITS, FOR_FLUSH, FOR_GROWTH, Hand, Lack, Seeker, total_bytes};
use crate::commit::{Needs, Reservation};
use crate::error::Error;
use crate::options::WriteOptions;
use crate::perf::Stopwatch;
use crate::shared::Shared;
use crate::stall::Pacing;
use crate::stats::StallCause;

impl Shared {
    /// As [`Shared::write`], for tasks.
    pub(crate) async fn write_async(
        &self,
        changes: Changes<'_>,
        options: &WriteOptions,
    ) -> Result<(), Error> {
        let bytes = self.check_write(changes, options)?;
        let needs = Needs::of(changes);
        if needs.is_nothing() {
            return self.write_nothing(options);
        }
        self.pace_async(bytes, options).await?;
        let reserved = self.reserve_async(&needs, bytes, options).await;
        let mut reservation = Some(reserved.map_err(|error| self.explained(error))?);
        // A task may go on in another thread, so that its steps are not measured.
        self.commit(changes, &needs, &mut reservation, options.sync, Stopwatch::off())
    }

    async fn pace_async(&self, bytes: usize, options: &WriteOptions) -> Result<(), Error> {
        let Some(mut pacing) = Pacing::begin(self, bytes, options)? else { return Ok(()) };
        loop {
            let epoch = self.progress.epoch();
            let Some((cause, until)) = pacing.next(options)? else { return Ok(()) };
            let since = now();
            before(until, self.progress.past(epoch)).await;
            self.counters.stalled(cause, since.elapsed(), bytes as u64);
        }
    }

    async fn reserve_async(
        &self,
        needs: &Needs,
        bytes: usize,
        options: &WriteOptions,
    ) -> Result<Reservation<'_>, Error> {
        let mut hand = Hand::default();
        loop {
            let lack = match self.attempt_once(needs, bytes, options, &mut hand)? {
                Ok(reservation) => return Ok(reservation),
                Err(lack) => lack,
            };
            match lack {
                Lack::Chunks(wanted) => {
                    // Nobody else waits for this one's chunk: a task may not be polled for as long as it likes, by a
                    // thread that itself waits for that chunk, say.
                    drop(hand.growth.take());
                    hand.chunks = match self.kept_chunks(&wanted) {
                        Some(chunks) => chunks,
                        None => {
                            let total = total_bytes(&wanted);
                            let permit = self.get_credits_async(total, bytes, options).await?;
                            self.map_chunks(&wanted, permit)?
                        }
                    };
                    self.prepare_chunk(wanted.iter().map(|(_, size)| *size));
                }
                Lack::Growing(epoch) => {
                    if options.no_wait {
                        return Err(Error::WouldBlock { what: FOR_GROWTH });
                    }
                    if !before(options.deadline, self.grown.past(epoch)).await {
                        return Err(Error::TimedOut { what: FOR_GROWTH });
                    }
                }
                Lack::Memtables(epoch) => {
                    // Others may need what is in hand while this task is not polled.
                    hand.chunks.clear();
                    self.check_flush_wait(options)?;
                    let since = now();
                    let came = before(options.deadline, self.progress.past(epoch)).await;
                    self.counters.stalled(StallCause::Memtables, since.elapsed(), bytes as u64);
                    if !came {
                        return Err(Error::TimedOut { what: FOR_FLUSH });
                    }
                }
                Lack::Log => self.make_log_room(bytes)?,
                Lack::Ring(ticket) => self.wait_for_ring(ticket, bytes)?,
            }
        }
    }

    /// As [`Shared::attempt`]; what it makes is moved, so that it is no part of the future.
    fn attempt_once<'a>(
        &'a self,
        needs: &Needs,
        bytes: usize,
        options: &WriteOptions,
        hand: &mut Hand<'a>,
    ) -> Result<Result<Reservation<'a>, Lack>, Error> {
        let mut made = None;
        let lack = self.attempt(needs, bytes, options, hand, &mut made)?;
        Ok(match (made, lack) {
            (_, Some(lack)) => Err(lack),
            (made, None) => Ok(made.expect("what lacks nothing was made")),
        })
    }

    async fn get_credits_async(
        &self,
        credits: u64,
        bytes: usize,
        options: &WriteOptions,
    ) -> Result<Permit, Error> {
        match self.pool.try_acquire(credits) {
            Ok(permit) => return Ok(permit),
            Err(TryAcquireError::WouldBlock) => {}
            Err(_) => return Err(self.health.refusal()),
        }
        // What is kept ready goes back, and while this waits all that comes.
        let _wanted = self.chunks.want();
        if let Ok(permit) = self.pool.try_acquire(credits) {
            return Ok(permit);
        }
        loop {
            // Only until it stands in the pool's queue: when it is granted what it asked for, but not polled, nothing
            // needs to be flushed for it any more.
            let mut seeker = Some(Seeker::new(self));
            self.check_credit_wait(options)?;
            let since = now();
            let mut acquired = Err(AcquireError::TimedOut);
            let mut request = pin!(self.pool.acquire_async(credits));
            let granted = poll_fn(|context| {
                let end = request.as_mut().poll(context);
                drop(seeker.take());
                end.map(|end| acquired = end)
            });
            before(options.deadline, granted).await;
            self.counters.stalled(StallCause::Credits, since.elapsed(), bytes as u64);
            match acquired {
                Ok(permit) => return Ok(permit),
                // Flushes failed; if they go on, the next round says so.
                Err(AcquireError::Interrupted { .. }) => {}
                Err(AcquireError::TimedOut) => return Err(Error::TimedOut { what: FOR_CREDITS }),
                Err(_) => return Err(self.health.refusal()),
            }
        }
    }
}

/// Awaits `event`, at most until `deadline`; whether it came.
async fn before(deadline: Option<Instant>, event: impl Future<Output = ()>) -> bool {
    let mut event = pin!(event);
    let Some(deadline) = deadline else {
        event.await;
        return true;
    };
    let mut delay = Delay::new(deadline.saturating_duration_since(now()).max(Duration::ZERO));
    poll_fn(move |context| {
        if event.as_mut().poll(context).is_ready() {
            return Poll::Ready(true);
        }
        if deadline <= now() {
            return Poll::Ready(false); // the timer's thread may be late
        }
        pin!(&mut delay).poll(context).map(|()| false)
    })
    .await
}
