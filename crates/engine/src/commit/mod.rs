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
use base::{FamilyId, InternalKeyRef, SeqNo, WriteBatch};
use credit::limiter::{Direction, Priority};
use memtable::{Reserved, Space};

use crate::error::Error;
use crate::options::WriteOptions;
use crate::perf::{Step, Stopwatch};
use crate::read::view::ReadView;
use crate::shared::Shared;
use crate::stats;

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
    /// Adds up what `batch` needs; `None` when it is empty.
    pub(crate) fn of(batch: &WriteBatch) -> Option<Self> {
        let mut entries = batch.iter();
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

/// Room in the memtables, in the order of [`Needs`], each with its family's place in the view.
pub(crate) struct Rooms {
    pub(crate) first: (usize, Reserved),
    pub(crate) rest: Vec<(usize, Reserved)>,
}

impl Rooms {
    fn at_mut(&mut self, at: usize) -> &mut (usize, Reserved) {
        if at == 0 { &mut self.first } else { &mut self.rest[at - 1] }
    }
}

/// All that a batch needs, in hand.
pub(crate) struct Reservation<'a> {
    /// `None`: the write is not logged.
    pub(crate) log: Option<wal::Reservation<'a>>,
    pub(crate) rooms: Rooms,
    /// Keeps the memtables alive; its families stand where the rooms say.
    pub(crate) view: ArcRef<ReadView>,
    pub(crate) first_seq: SeqNo,
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
    fn drop(&mut self) {
        if !self.is_whole {
            self.shared.fail(Error::WriterPanicked);
        } else if let Some(cause) = self.shared.wal.failure() {
            // There may be a hole in the log here or before: what comes behind it would not be recovered, so nothing
            // behind it may be acknowledged.
            self.shared.fail(wal::Error::Failed(cause).into());
        } else {
            self.shared.ring.complete(self.ticket, self.last_seq.get());
        }
    }
}

impl Shared {
    /// Writes `batch`: see the module's text.
    pub(crate) fn write(&self, batch: &WriteBatch, options: &WriteOptions) -> Result<(), Error> {
        let Some((needs, bytes)) = self.check_write(batch, options)? else { return Ok(()) };
        let mut watch = Stopwatch::start();
        watch.count();
        let paced = self.pace(bytes, options);
        watch.lap(Step::Pace);
        paced?;
        let reserved = self.reserve(&needs, bytes, options);
        watch.lap(Step::Reserve);
        let reservation = reserved.map_err(|error| self.explained(error))?;
        self.commit(batch, &needs, reservation, options.sync, watch)
    }

    /// What `batch` needs, and its encoded bytes; `None` when it is empty, and was synced if that was asked for.
    fn check_write(
        &self,
        batch: &WriteBatch,
        options: &WriteOptions,
    ) -> Result<Option<(Needs, usize)>, Error> {
        self.health.check_writable()?;
        options.validate()?;
        batch.check_limits()?;
        let bytes = batch.encoded_len();
        if bytes as u64 > self.options.max_batch_bytes {
            return Err(Error::BatchTooLarge {
                bytes: bytes as u64,
                limit: self.options.max_batch_bytes,
            });
        }
        let needs = Needs::of(batch);
        if needs.is_none() && options.sync {
            let last = self.commit.lock().last;
            if let Some(log_end) = last.and_then(|last| last.log_end) {
                self.sync_log(log_end)?;
            }
        }
        Ok(needs.map(|needs| (needs, bytes)))
    }

    /// Steps 3 to 6.
    fn commit(
        &self,
        batch: &WriteBatch,
        needs: &Needs,
        reservation: Reservation<'_>,
        is_synced: bool,
        mut watch: Stopwatch,
    ) -> Result<(), Error> {
        let Reservation { log, mut rooms, view, first_seq, mut turn } = reservation;
        let (ticket, last_seq) = (turn.ticket, turn.last_seq);

        let log_end = log.as_ref().map(wal::Reservation::end);
        if let Some(log) = log {
            let header = batch.header(first_seq);
            let record: [&[u8]; 2] = [&header, batch.entry_bytes()];
            let filled = if is_synced { log.fill_to_sync(&record) } else { log.fill(&record) };
            if let Err(error) = filled {
                drop(turn); // nothing of the batch is in a memtable: those behind it go on, unless the log is poisoned
                return Err(self.explained(Error::Log(error.into())));
            }
            if let Some(limiter) = &self.options.rate_limiter {
                limiter.charge(Priority::Log, Direction::Write, batch.encoded_len() as u64);
            }
        }
        watch.lap(Step::Log);

        turn.is_whole = false;
        insert(batch, needs, &view, &mut rooms, first_seq);
        turn.is_whole = true;
        drop(view);
        stats::add(&self.counters.user_bytes, needs.user_bytes);
        stats::add(&self.counters.batches, 1);

        watch.lap(Step::Insert);

        drop(turn);
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
fn insert(batch: &WriteBatch, needs: &Needs, view: &ReadView, rooms: &mut Rooms, first: SeqNo) {
    for (seq, entry) in (first.get()..).zip(batch) {
        let at = needs.find(entry.family).expect("the needs were added up from the same batch");
        let (family, reserved) = rooms.at_mut(at);
        let key = InternalKeyRef::new(entry.key, SeqNo::new(seq), entry.kind);
        view.families[*family].memtables[0].insert(reserved, key, entry.value);
    }
}
