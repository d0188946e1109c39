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
use base::{BatchEntry, Changes, FamilyId, InternalKeyRef, SeqNo, WriteBatch};
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

impl Need {
    fn new(family: FamilyId) -> Self {
        Self { family, space: Space::new() }
    }
}

impl Needs {
    /// Adds up what `changes` need, whose lengths are within the limits.
    #[inline]
    pub(crate) fn of(changes: Changes<'_>) -> Self {
        match changes {
            Changes::One(entry) => {
                let mut needs = Self::none(entry.family);
                needs.add(0, &entry);
                needs
            }
            Changes::Batch(batch) => Self::of_batch(batch),
        }
    }

    fn of_batch(batch: &WriteBatch) -> Self {
        let family = batch.iter().next().map_or(FamilyId::DEFAULT, |first| first.family);
        let mut needs = Self::none(family);
        for entry in batch {
            let at = needs.place(entry.family);
            needs.add(at, &entry);
        }
        needs
    }

    fn none(first: FamilyId) -> Self {
        Self { first: Need::new(first), rest: Vec::new(), user_bytes: 0 }
    }

    #[inline]
    fn add(&mut self, at: usize, entry: &BatchEntry<'_>) {
        self.at_mut(at).space.add(entry.key.len(), entry.value.len());
        self.user_bytes += (entry.key.len() + entry.value.len()) as u64;
    }

    /// Whether nothing is to be written.
    #[inline]
    pub(crate) fn is_nothing(&self) -> bool {
        self.first.space.entries() == 0
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
                self.rest.push(Need::new(family));
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
        let bytes = self.check_write(changes, options)?;
        let needs = Needs::of(changes);
        if needs.is_nothing() {
            return self.write_nothing(options);
        }
        let mut watch = Stopwatch::start();
        watch.count();
        let paced = self.pace(bytes, options);
        watch.lap(Step::Pace);
        paced?;
        let mut reservation = None;
        let reserved = self.reserve(&needs, bytes, options, &mut reservation);
        watch.lap(Step::Reserve);
        reserved.map_err(|error| self.explained(error))?;
        self.commit(changes, &needs, &mut reservation, options.sync, watch)
    }

    /// Whether `changes` can be written at all; their encoded bytes.
    #[inline]
    fn check_write(&self, changes: Changes<'_>, options: &WriteOptions) -> Result<usize, Error> {
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
        Ok(bytes)
    }

    /// Writes a batch without changes: syncs all before it, if that is asked for.
    #[cold]
    fn write_nothing(&self, options: &WriteOptions) -> Result<(), Error> {
        let last = self.commit.lock().last;
        match last.and_then(|last| last.log_end) {
            Some(log_end) if options.sync => self.sync_log(log_end),
            _ => Ok(()),
        }
    }

    /// Steps 3 to 6, with the reservation that was made, which is used up.
    #[inline]
    fn commit(
        &self,
        changes: Changes<'_>,
        needs: &Needs,
        reservation: &mut Option<Reservation<'_>>,
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
                *reservation = None;
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

        *reservation = None; // lets go of the view, and completes the turn
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
