//! The way of a write.
//!
//! 1. *Pace*: wait, before any lock, where compaction or flushes are behind (`stall`).
//! 2. *Reserve*: one short critical section (`room`) gives room in the memtables, a place in the log, sequence numbers
//!    and a ticket, all in one order. What is short is made good outside it, credits first: the log is not touched
//!    before the memory is there.
//! 3. *Log*: copy the record to its place.
//! 4. *Insert* into the memtables, side by side with other writers.
//! 5. *Publish* in order, through the completion ring; wait until one's own batch is visible.
//! 6. *Sync*, if asked: wait until the log is durable up to the record's end.
//!
//! Nothing between 2 and 5 waits or can fail but the append to the log itself. A batch whose append failed is not
//! applied; its sequence numbers are never visible. If the place in the log cannot be given up in an orderly way either,
//! the log is poisoned and the engine stops taking writes.

pub(crate) mod room;
pub(crate) mod state;
#[cfg(feature = "async")]
mod tasks;

use std::sync::Arc;

use base::sync::ArcRef;
use base::{BatchEntry, Changes, FamilyId, InternalKeyRef, SeqNo};
use credit::limiter::{Direction, Priority};
use memtable::{Reserved, Space};

use crate::error::Error;
use crate::options::WriteOptions;
use crate::perf::{Step, Stopwatch};
use crate::read::view::ReadView;
use crate::shared::Shared;

pub use state::FlushReason;

/// What a batch needs in the memtable of one family.
pub(crate) struct Need {
    pub(crate) family: FamilyId,
    pub(crate) space: Space,
}

/// What a batch needs: nearly always one family, so the first stands by itself.
pub(crate) struct Needs {
    first: Need,
    rest: Vec<Need>,
    /// Bytes of keys and values.
    pub(crate) user_bytes: u64,
}

impl Needs {
    /// Adds up what `changes` need, whose lengths are within the limits; `None` when there are none.
    #[inline]
    pub(crate) fn of(changes: Changes<'_>) -> Option<Self> {
        let mut entries = changes.entries();
        let first = entries.next()?;
        let mut needs = Self {
            first: Need { family: first.family, space: Space::new() },
            rest: Vec::new(),
            user_bytes: 0,
        };
        for entry in std::iter::once(first).chain(entries) {
            let at = needs.place(entry.family);
            needs.at_mut(at).space.add(entry.key.len(), entry.value.len());
            needs.user_bytes += (entry.key.len() + entry.value.len()) as u64;
        }
        Some(needs)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Need> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    fn at_mut(&mut self, at: usize) -> &mut Need {
        if at == 0 { &mut self.first } else { &mut self.rest[at - 1] }
    }

    /// Where `family` stands; added if it is new.
    fn place(&mut self, family: FamilyId) -> usize {
        match self.find(family) {
            Some(at) => at,
            None => {
                self.rest.push(Need { family, space: Space::new() });
                self.rest.len()
            }
        }
    }

    #[inline]
    fn find(&self, family: FamilyId) -> Option<usize> {
        if self.first.family == family {
            return Some(0);
        }
        self.rest.iter().position(|need| need.family == family).map(|i| i + 1)
    }
}

/// Room in the memtable of a family, with that family's place in the view.
pub(crate) struct Room {
    pub(crate) family: usize,
    pub(crate) reserved: Reserved,
}

/// Room in the memtables, in the order of [`Needs`].
pub(crate) struct Rooms {
    pub(crate) first: Room,
    pub(crate) rest: Vec<Room>,
}

impl Rooms {
    #[inline]
    fn at_mut(&mut self, at: usize) -> &mut Room {
        if at == 0 { &mut self.first } else { &mut self.rest[at - 1] }
    }
}

/// All that a write needs, in hand. It is made where it stays until its writer is through: it is large, and to move it
/// costs more than to make it.
pub(crate) struct Reservation<'a> {
    /// `None`: the write is not logged, or is in the log already.
    pub(crate) log: Option<wal::Reservation<'a>>,
    pub(crate) log_end: Option<wal::LogPosition>,
    pub(crate) rooms: Rooms,
    /// Keeps the memtables alive; its families stand where the rooms say.
    pub(crate) view: ArcRef<ReadView>,
    pub(crate) first_seq: SeqNo,
    /// Goes last: whoever sees the write published sees it whole.
    pub(crate) turn: Turn<'a>,
}

/// A place in the order of publication. Whatever happens to its writer, it is passed: completed, or, if the writer
/// ends in the middle of its inserts, as the failure of the engine, so that nobody waits for it for ever.
pub(crate) struct Turn<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) ticket: u64,
    pub(crate) last_seq: SeqNo,
    /// Whether the memtables hold all of the batch, or nothing of it.
    pub(crate) is_whole: bool,
}

impl Drop for Turn<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.is_whole && !self.shared.wal.has_failed() {
            self.shared.ring.complete(self.ticket, self.last_seq.get());
        } else {
            self.fail();
        }
    }
}

impl Turn<'_> {
    #[cold]
    fn fail(&self) {
        match self.shared.wal.failure() {
            // There may be a hole in the log here or before: what comes behind it would not be recovered, so nothing
            // behind it may be acknowledged.
            Some(cause) if self.is_whole => {
                self.shared.fail(wal::Error::Failed(cause).into());
            }
            _ => {
                self.shared.fail(Error::WriterPanicked);
            }
        }
    }
}

impl Shared {
    /// Writes `changes`: see the module's text.
    pub(crate) fn write(&self, changes: Changes<'_>, options: &WriteOptions) -> Result<(), Error> {
        let Some((needs, bytes)) = self.check_write(changes, options)? else { return Ok(()) };
        let mut watch = Stopwatch::start();
        watch.count();
        let paced = self.pace(bytes, options);
        watch.lap(Step::Pace);
        paced?;
        let mut reservation = None;
        let reserved = self.reserve(&needs, bytes, options, &mut reservation);
        watch.lap(Step::Reserve);
        reserved.map_err(|error| self.explained(error))?;
        self.commit(changes, &needs, reservation, options.sync, watch)
    }

    /// What `changes` need, and their encoded bytes; `None` when there are none, and all before was synced if that was
    /// asked for.
    #[inline]
    fn check_write(
        &self,
        changes: Changes<'_>,
        options: &WriteOptions,
    ) -> Result<Option<(Needs, usize)>, Error> {
        self.health.check_writable()?;
        options.validate()?;
        changes.check_limits()?;
        let bytes = changes.encoded_len();
        if bytes as u64 > self.options.max_batch_bytes {
            return Err(Error::BatchTooLarge {
                bytes: bytes as u64,
                limit: self.options.max_batch_bytes,
            });
        }
        let needs = Needs::of(changes);
        if needs.is_none() && options.sync {
            let last = self.commit.lock().last;
            if let Some(log_end) = last.and_then(|last| last.log_end) {
                self.sync_log(log_end)?;
            }
        }
        Ok(needs.map(|needs| (needs, bytes)))
    }

    /// Steps 3 to 6, with the reservation that was made.
    #[inline]
    fn commit(
        &self,
        changes: Changes<'_>,
        needs: &Needs,
        mut reservation: Option<Reservation<'_>>,
        is_synced: bool,
        mut watch: Stopwatch,
    ) -> Result<(), Error> {
        let held = reservation.as_mut().expect("a write goes on when it has its reservation");
        let (ticket, last_seq, log_end) = (held.turn.ticket, held.turn.last_seq, held.log_end);

        if let Some(log) = held.log.take() {
            let filled = changes.with_encoded(held.first_seq, |record| {
                if is_synced { log.fill_to_sync(record) } else { log.fill(record) }
            });
            if let Err(error) = filled {
                self.commit.lock().accepted.take_back(needs.user_bytes);
                // Nothing of it is in a memtable: those behind it go on, unless the log is poisoned.
                drop(reservation);
                return Err(self.explained(Error::Log(error.into())));
            }
            if let Some(limiter) = &self.options.rate_limiter {
                limiter.charge(Priority::Log, Direction::Write, changes.encoded_len() as u64);
            }
        }
        watch.lap(Step::Log);

        held.turn.is_whole = false;
        insert(changes, needs, held);
        held.turn.is_whole = true;
        watch.lap(Step::Insert);

        drop(reservation); // lets go of the view, and completes the turn
        let published = self.ring.wait(ticket, last_seq.get());
        watch.lap(Step::Publish);
        if published.is_err() {
            return Err(self.health.refusal());
        }
        if let (true, Some(log_end)) = (is_synced, log_end) {
            let synced = self.sync_log(log_end);
            watch.lap(Step::Sync);
            synced?;
        }
        Ok(())
    }

    /// Makes the log durable up to `end`. A failed sync leaves it unknown what is on the disk: no more writes then.
    pub(crate) fn sync_log(&self, end: wal::LogPosition) -> Result<(), Error> {
        self.wal.sync(end).map_err(|error| match self.health.check_writable() {
            Ok(()) => Error::ReadOnly { source: self.fail(error.into()) },
            Err(refusal) => refusal,
        })
    }

    /// What a writer is told of a failure of the log: that the engine was closed or had failed, if that is why; the
    /// failure itself where the log goes on. Called without a lock.
    #[cold]
    fn explained(&self, error: Error) -> Error {
        match (error, self.health.check_writable()) {
            (Error::Log(_), Err(refusal)) => refusal,
            (Error::Log(error @ wal::Error::Failed(_)), Ok(())) => {
                Error::ReadOnly { source: self.fail(error.into()) }
            }
            (error, _) => error,
        }
    }

    /// Ends writing because of `cause`: everybody who waits is released, reads go on. The first cause stays.
    pub(crate) fn fail(&self, cause: Error) -> Arc<Error> {
        let first = self.health.fail(cause);
        tracing::error!(error = &*first as &dyn std::error::Error, "no more writes are taken");
        self.pool.poison(Arc::clone(&first) as _);
        self.ring.fail();
        self.wake_everybody();
        first
    }
}

/// Step 4.
#[inline]
fn insert(changes: Changes<'_>, needs: &Needs, held: &mut Reservation<'_>) {
    let mut put = |seq: u64, entry: BatchEntry<'_>| {
        let at = needs.find(entry.family).expect("the needs were added up from the same batch");
        let Room { family, reserved } = held.rooms.at_mut(at);
        let key = InternalKeyRef::new(entry.key, SeqNo::new(seq), entry.kind);
        held.view.families[*family].memtables[0].insert(reserved, key, entry.value);
    };
    let first = held.first_seq.get();
    match changes {
        Changes::One(entry) => put(first, entry),
        Changes::Batch(batch) => {
            (first..).zip(batch).for_each(|(seq, entry)| put(seq, entry));
        }
    }
}
