//! Makes room for a write: memory, log, sequence numbers and a ticket, all at once or not at all.
//!
//! Concurrency. Everything is looked at, and taken, in one critical section of the commit lock. What is missing is got
//! outside it, then the whole is looked at again:
//! - *credits*: one request for all chunks that the batch lacks. Before it waits, a writer makes sure that a flush is
//!   under way that will return credits ([`Shared::relieve`]), and does not hold any. While it waits it counts as a
//!   seeker; whoever attaches a chunk, and every finished flush, looks for seekers and seals the next memtable if
//!   nothing is being flushed. The counter is raised before `relieve` takes the commit lock and read under that lock,
//!   so either the seeker sees the chunk, or the one who attached it sees the seeker. A task is counted only until the
//!   pool's queue counts it ([`Shared::are_credits_sought`]).
//! - *one chunk for all*: while a writer gets a chunk for a family, others that need no more than that wait for it
//!   instead of getting one each. They wait with their own deadlines, and every end of the attempt wakes them.
//! - *log*: the next segment, or a place in the ring.
//!
//! A chunk in hand is attached in the same critical section in which its writer reserves, when nothing else is missing.
//! So memory that was got for a large batch cannot be sealed away before the batch has used it, and a writer that gives
//! up takes its memory with it. Whoever waits for the log or the ring with a chunk in hand waits for nobody who could
//! wait for credits.

use base::FamilyId;
use base::sync::atomic::Ordering;
use base::sync::{Instant, MutexGuard, now};
use base::{SegmentNumber, SeqNo};
use credit::{AcquireError, Permit, TryAcquireError};
use memtable::{Chunk, Outlook};
use wal::ReserveError;

use crate::commit::state::{CommitState, FamilyState, FlushReason, LastReservation};
use crate::commit::{Need, Needs, Reservation, Room, Rooms, Turn};
use crate::error::Error;
use crate::options::WriteOptions;
use crate::perf::{Step, Stopwatch};
use crate::shared::Shared;
use crate::stats::StallCause;

/// What writers wait for, in their errors.
pub(super) const FOR_GROWTH: &str = "memory that another writer is getting";
pub(super) const FOR_FLUSH: &str = "a flush";
pub(super) const FOR_CREDITS: &str = "credits: the write budget is used up";

/// Why a reservation could not be made at once.
pub(super) enum Lack {
    /// Chunks of these sizes, for these families.
    Chunks(Vec<(FamilyId, usize)>),
    /// A chunk that another writer is getting: wait until `grown` is past this.
    Growing(u64),
    /// A flush, because a family has as many memtables as it may: wait until `progress` is past this.
    Memtables(u64),
    /// A log segment, or a place in the log's ring.
    Log,
    /// A place in the completion ring, for this ticket.
    Ring(u64),
}

/// The attempt of one writer to get chunks. However it ends, those who wait for it are woken and look again.
pub(super) struct Growth<'a> {
    shared: &'a Shared,
    families: Vec<(FamilyId, usize)>,
}

impl<'a> Growth<'a> {
    /// Announces chunks of these sizes.
    fn begin(
        shared: &'a Shared,
        state: &mut CommitState,
        families: Vec<(FamilyId, usize)>,
    ) -> Self {
        for (family, size) in &families {
            if let Some(family) = state.family_mut(*family) {
                family.growing = Some(*size);
            }
        }
        Self { shared, families }
    }

    fn end(&mut self, state: &mut CommitState) {
        for (family, _) in self.families.drain(..) {
            if let Some(family) = state.family_mut(family) {
                family.growing = None;
            }
        }
        self.shared.grown.notify();
    }
}

impl Drop for Growth<'_> {
    fn drop(&mut self) {
        if !self.families.is_empty() {
            let shared = self.shared;
            self.end(&mut shared.commit.lock());
        }
    }
}

/// What a writer holds between two looks, on its way to a reservation.
#[derive(Default)]
pub(super) struct Hand<'a> {
    /// What it got for families that lacked a chunk.
    pub(super) chunks: Vec<(FamilyId, Chunk)>,
    /// Set while it gets them.
    pub(super) growth: Option<Growth<'a>>,
}

/// Counts a writer that waits for credits; a task only until it stands in the pool's queue.
pub(super) struct Seeker<'a>(&'a Shared);

impl<'a> Seeker<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        shared.seekers.fetch_add(1, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Seeker<'_> {
    fn drop(&mut self) {
        self.0.seekers.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    /// Step 2: all that a batch of `bytes` encoded bytes needs, put into `made`, which was empty.
    #[inline]
    pub(crate) fn reserve<'a>(
        &'a self,
        needs: &Needs,
        bytes: usize,
        options: &WriteOptions,
        made: &mut Option<Reservation<'a>>,
    ) -> Result<(), Error> {
        let mut hand = Hand::default();
        loop {
            match self.attempt(needs, bytes, options, &mut hand, made)? {
                None => return Ok(()),
                Some(lack) => self.make_good(lack, bytes, options, &mut hand)?,
            }
        }
    }

    /// Gets what was lacking, or waits until it may be there.
    #[cold]
    fn make_good<'a>(
        &'a self,
        lack: Lack,
        bytes: usize,
        options: &WriteOptions,
        hand: &mut Hand<'a>,
    ) -> Result<(), Error> {
        match lack {
            Lack::Chunks(wanted) => {
                hand.chunks = match self.kept_chunks(&wanted) {
                    Some(chunks) => chunks,
                    None => {
                        let permit = self.get_credits(total_bytes(&wanted), bytes, options)?;
                        self.map_chunks(&wanted, permit)?
                    }
                };
                self.prepare_chunk(wanted.iter().map(|(_, size)| *size));
                Ok(())
            }
            Lack::Growing(epoch) => self.wait_for_growth(epoch, bytes, options),
            Lack::Memtables(epoch) => self.wait_for_flush(epoch, bytes, options),
            Lack::Log => self.make_log_room(bytes),
            Lack::Ring(ticket) => self.wait_for_ring(ticket, bytes),
        }
    }

    /// One look under the lock: takes everything and puts it into `made`, or says what is missing. When that is chunks,
    /// the attempt to get them begins, and is over with the next look or when the hand is dropped.
    #[inline]
    pub(super) fn attempt<'a>(
        &'a self,
        needs: &Needs,
        bytes: usize,
        options: &WriteOptions,
        hand: &mut Hand<'a>,
        made: &mut Option<Reservation<'a>>,
    ) -> Result<Option<Lack>, Error> {
        let mut state = self.commit.lock();
        if let Some(mut ended) = hand.growth.take() {
            ended.end(&mut state);
        }
        self.health.check_writable()?;
        let lack = self.try_reserve(&mut state, needs, bytes, options, &mut hand.chunks, made)?;
        match &lack {
            None if self.are_credits_sought() => self.relieve_in(&mut state),
            Some(Lack::Chunks(wanted)) => {
                // What the budget could never give is not waited for.
                let (bytes, limit) = (total_bytes(wanted), self.budget.write_bytes_max());
                if bytes > limit {
                    return Err(Error::BatchTooLarge { bytes, limit });
                }
                hand.growth = Some(Growth::begin(self, &mut state, wanted.clone()));
                drop(state);
                hand.chunks.clear(); // too small for the memtable that is active now
            }
            _ => {}
        }
        Ok(lack)
    }

    /// Takes everything, or says what is missing. Chunks in hand go to the memtables that they are for.
    #[inline]
    fn try_reserve<'a>(
        &'a self,
        state: &mut MutexGuard<'_, CommitState>,
        needs: &Needs,
        bytes: usize,
        options: &WriteOptions,
        chunks: &mut Vec<(FamilyId, Chunk)>,
        made: &mut Option<Reservation<'a>>,
    ) -> Result<Option<Lack>, Error> {
        if let Some(lack) = self.look_at_memtables(state, needs, chunks)? {
            return Ok(Some(lack));
        }
        let ticket = state.next_ticket;
        if !self.ring.has_room(ticket) {
            return Ok(Some(Lack::Ring(ticket)));
        }
        let log = if options.disable_wal {
            None
        } else {
            match self.wal.reserve(bytes) {
                Ok(log) => Some(log),
                Err(ReserveError::NeedsRoom) => return Ok(Some(Lack::Log)),
                Err(ReserveError::TooLarge { len, max }) => {
                    return Err(Error::BatchTooLarge { bytes: len as u64, limit: max as u64 });
                }
                Err(ReserveError::Failed(failure)) => {
                    return Err(wal::Error::Failed(failure).into());
                }
            }
        };
        if !chunks.is_empty() {
            attach(state, needs, chunks);
        }
        self.take(state, needs, log, made);
        Ok(None)
    }

    /// Whether each family's active memtable has room for its part, or what is missing. Full ones are switched.
    #[inline]
    fn look_at_memtables(
        &self,
        state: &mut MutexGuard<'_, CommitState>,
        needs: &Needs,
        chunks: &[(FamilyId, Chunk)],
    ) -> Result<Option<Lack>, Error> {
        let mut lacks = Vec::new();
        let (mut is_short, mut is_growing) = (false, false);
        for need in needs.iter() {
            let Some(at) = state.position(need.family) else {
                return Err(Error::UnknownFamilyNumber { family: need.family });
            };
            let (lacking, least) = loop {
                match state.families[at].active.outlook(&need.space, self.memtable_bytes()) {
                    Outlook::Ready => break (0, 0),
                    Outlook::Lacking { chunk_bytes, bytes } => break (chunk_bytes, bytes),
                    Outlook::Full if self.is_at_memtable_limit(state, at) => {
                        // Taken under the lock under which flushed memtables are removed: none is missed.
                        return Ok(Some(Lack::Memtables(self.progress.epoch())));
                    }
                    Outlook::Full => {
                        if self.seal(state, at, FlushReason::Full) {
                            self.flush_signal.notify();
                        }
                    }
                }
            };
            if lacking == 0 {
                continue;
            }
            lacks.push((need.family, lacking));
            let serves = |chunk: &Chunk| chunk.bytes() >= least;
            if chunks.iter().any(|(id, chunk)| *id == need.family && serves(chunk)) {
                continue;
            }
            match state.families[at].growing {
                Some(coming) if coming >= lacking && chunks.is_empty() => is_growing = true,
                _ => is_short = true,
            }
        }
        Ok(if is_short {
            // All of them: what is in hand is given back before more is asked for, since nobody waits for credits while
            // holding some. Asking for the missing ones alone would go round for ever, one family's chunk after the other's.
            Some(Lack::Chunks(lacks))
        } else if is_growing {
            Some(Lack::Growing(self.grown.epoch()))
        } else {
            None
        })
    }

    /// The size of a memtable that is full.
    #[inline]
    fn memtable_bytes(&self) -> usize {
        self.options.write_buffer_size as usize
    }

    /// Hands out numbers and memory; nothing can be missing any more.
    #[inline]
    fn take<'a>(
        &'a self,
        state: &mut CommitState,
        needs: &Needs,
        log: Option<wal::Reservation<'a>>,
        made: &mut Option<Reservation<'a>>,
    ) {
        // What is not logged needs no segment; the present one stands for "something to flush".
        let segment =
            log.as_ref().map_or_else(|| self.wal.current_segment(), wal::Reservation::segment);
        let log_end = log.as_ref().map(wal::Reservation::end);
        let first = take_room(state, &needs.first, segment);
        let mut entries = needs.first.space.entries() as u64;
        let mut rest = Vec::new();
        for need in &needs.rest {
            rest.push(take_room(state, need, segment));
            entries += need.space.entries() as u64;
        }
        let first_seq = SeqNo::new(state.next_seq);
        state.next_seq += entries;
        let (ticket, last_seq) = (state.next_ticket, state.last_seq());
        state.next_ticket += 1;
        state.accepted.add(needs.user_bytes);
        let newest_log_end = log_end.or_else(|| state.last.and_then(|last| last.log_end));
        state.last = Some(LastReservation { ticket, seq: last_seq, log_end: newest_log_end });
        *made = Some(Reservation {
            log,
            log_end,
            rooms: Rooms { first, rest },
            view: self.view.load(),
            first_seq,
            turn: Turn { shared: self, ticket, last_seq, is_whole: true },
        });
    }

    fn is_at_memtable_limit(&self, state: &CommitState, at: usize) -> bool {
        state.families[at].sealed.len() + 1 >= self.options.max_write_buffer_number
    }

    /// Makes room in the log.
    pub(super) fn make_log_room(&self, bytes: usize) -> Result<(), Error> {
        self.timed(StallCause::Log, bytes, || Ok(self.wal.make_room(bytes)?))?;
        self.bound_log();
        Ok(())
    }

    /// Waits until the completion ring has room for `ticket`.
    pub(super) fn wait_for_ring(&self, ticket: u64, bytes: usize) -> Result<(), Error> {
        self.timed(StallCause::Log, bytes, || {
            self.ring.wait_for_room(ticket).map_err(|_| self.health.refusal())
        })
    }

    /// Waits until another writer's attempt to get a chunk has ended.
    fn wait_for_growth(
        &self,
        epoch: u64,
        bytes: usize,
        options: &WriteOptions,
    ) -> Result<(), Error> {
        if options.no_wait {
            return Err(Error::WouldBlock { what: FOR_GROWTH });
        }
        let since = now();
        if !self.grown.wait_past(epoch, options.deadline) {
            return Err(Error::TimedOut { what: FOR_GROWTH });
        }
        if self.are_credits_sought() {
            self.counters.stalled(StallCause::Credits, since.elapsed(), bytes as u64);
        }
        Ok(())
    }

    fn wait_for_flush(
        &self,
        epoch: u64,
        bytes: usize,
        options: &WriteOptions,
    ) -> Result<(), Error> {
        self.check_flush_wait(options)?;
        self.timed(StallCause::Memtables, bytes, || {
            if self.progress.wait_past(epoch, options.deadline) {
                Ok(())
            } else {
                Err(Error::TimedOut { what: FOR_FLUSH })
            }
        })
    }

    /// Refuses where waiting for a flush is not wanted, or of no use.
    pub(super) fn check_flush_wait(&self, options: &WriteOptions) -> Result<(), Error> {
        if options.no_wait {
            return Err(Error::WouldBlock { what: FOR_FLUSH });
        }
        match self.health.flush_failing() {
            Some(source) => Err(Error::FlushFailing { source }),
            None => Ok(()),
        }
    }

    /// Sees to it that a flush is under way; then refuses where waiting for credits is not wanted, or of no use.
    pub(super) fn check_credit_wait(&self, options: &WriteOptions) -> Result<(), Error> {
        self.relieve();
        if options.no_wait {
            return Err(Error::WouldBlock { what: FOR_CREDITS });
        }
        match self.health.flush_failing() {
            Some(source) => Err(Error::FlushFailing { source }),
            None => Ok(()),
        }
    }

    /// Chunks of these sizes out of those of flushed memtables, if there are such for all.
    pub(super) fn kept_chunks(
        &self,
        wanted: &[(FamilyId, usize)],
    ) -> Option<Vec<(FamilyId, Chunk)>> {
        let sizes: Vec<usize> = wanted.iter().map(|(_, size)| *size).collect();
        let chunks = self.chunks.take(&sizes)?;
        Some(wanted.iter().map(|(family, _)| *family).zip(chunks).collect())
    }

    /// Maps chunks of these sizes with what one request was granted for all of them.
    pub(super) fn map_chunks(
        &self,
        wanted: &[(FamilyId, usize)],
        mut permit: Permit,
    ) -> Result<Vec<(FamilyId, Chunk)>, Error> {
        let map = |(family, size): &(FamilyId, usize)| {
            let part =
                permit.split(*size as u64).expect("the permit covers all that was asked for");
            let chunk = self.chunks.map(part).map_err(|source| Error::OutOfMemory { source })?;
            Ok((*family, chunk))
        };
        wanted.iter().map(map).collect()
    }

    /// Takes credits; while there are none, makes sure that a flush is under way and waits for it (C5).
    fn get_credits(
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
        // Before anything is flushed or waited for, what is kept ready goes back, and while this waits all that comes.
        let _wanted = self.chunks.want();
        if let Ok(permit) = self.pool.try_acquire(credits) {
            return Ok(permit);
        }
        let seeker = Seeker::new(self);
        let mut watch = Stopwatch::start();
        loop {
            watch.lap(Step::Credits);
            self.check_credit_wait(options)?;
            let acquired = self.timed(StallCause::Credits, bytes, || {
                Ok(match options.deadline {
                    None => self.pool.acquire(credits),
                    Some(deadline) => self.pool.acquire_deadline(credits, deadline),
                })
            })?;
            match acquired {
                Ok(permit) => {
                    drop(seeker);
                    watch.lap(Step::Credits);
                    return Ok(permit);
                }
                // Flushes failed; if they go on, the next round says so.
                Err(AcquireError::Interrupted { .. }) => {}
                Err(AcquireError::TimedOut) => return Err(Error::TimedOut { what: FOR_CREDITS }),
                Err(_) => return Err(self.health.refusal()),
            }
        }
    }

    /// Flushes the families that hold the log's oldest segment, if the log is longer than it should be (F6).
    pub(crate) fn bound_log(&self) {
        if self.wal.live_bytes() <= self.options.log_bytes_max() {
            return;
        }
        let mut state = self.commit.lock();
        let oldest = state.families.iter().filter_map(FamilyState::oldest_segment).min();
        for at in 0..state.families.len() {
            if state.families[at].first_segment == oldest {
                self.seal(&mut state, at, FlushReason::LogSize);
            }
        }
        drop(state);
        self.flush_signal.notify();
    }

    /// Whether anybody waits for credits, or is about to. In this order: who is counted as a seeker no more stands in the
    /// pool's queue, or has what it waited for.
    pub(crate) fn are_credits_sought(&self) -> bool {
        self.seekers.load(Ordering::SeqCst) > 0 || self.pool.waiters() > 0
    }

    /// Makes sure that a flush which returns credits is under way, if anything can be flushed.
    pub(crate) fn relieve(&self) {
        self.relieve_in(&mut self.commit.lock());
    }

    fn relieve_in(&self, state: &mut CommitState) {
        if state.families.iter().all(|family| family.sealed.is_empty()) {
            let largest = (0..state.families.len())
                .filter(|&at| state.families[at].active.charged_bytes() > 0)
                .max_by_key(|&at| state.families[at].active.charged_bytes());
            if let Some(at) = largest {
                self.seal(state, at, FlushReason::Credits);
            }
        }
        self.flush_signal.notify();
    }

    /// Runs `wait`, and counts how long it took.
    pub(crate) fn timed<T>(
        &self,
        cause: StallCause,
        bytes: usize,
        wait: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let since: Instant = now();
        let result = wait();
        self.counters.stalled(cause, now().duration_since(since), bytes as u64);
        result
    }
}

/// The sum of the sizes.
pub(super) fn total_bytes(wanted: &[(FamilyId, usize)]) -> u64 {
    wanted.iter().map(|(_, size)| *size as u64).sum()
}

#[inline]
fn take_room(state: &mut CommitState, need: &Need, segment: SegmentNumber) -> Room {
    let at = state.position(need.family);
    let at = at.expect("the family was found before in this critical section");
    let family = &mut state.families[at];
    family.first_segment.get_or_insert(segment);
    let reserved =
        family.active.reserve(&need.space).expect("there was room, or a chunk was attached for it");
    Room { family: at, reserved }
}

/// Gives the chunks in hand to the memtables that lack them. Only when nothing is missing any more: before its first
/// reservation a memtable holds no memory, and what this batch got cannot be sealed away before it has used it.
#[cold]
fn attach(state: &mut CommitState, needs: &Needs, chunks: &mut Vec<(FamilyId, Chunk)>) {
    for need in needs.iter() {
        let in_hand = chunks.iter().position(|(id, _)| *id == need.family);
        let family = state.family_mut(need.family);
        if let (Some(at), Some(family)) = (in_hand, family)
            && family.active.chunk_bytes_for(&need.space).is_some()
        {
            family.active.add_chunk(chunks.swap_remove(at).1);
        }
    }
}
