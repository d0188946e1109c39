//! Group sync: of all that wait for their records to be durable, one does it for all that are filled.
//!
//! The leader loads the contiguously filled position first, then syncs, in order, every segment that holds something
//! between the durable position and that one, then publishes exactly what it loaded: what was filled meanwhile may or
//! may not have been caught by the sync, so it is not claimed. Whoever waits and is not covered elects the next leader.
//!
//! A sync makes a file durable as a whole, so a limit on the bytes of a round could only leave out records that are on
//! disk anyway: there is none.
//!
//! Concurrency. One lock and one condition, for both things waited for: a round to end, and an earlier record to be
//! filled. The second is published without this lock; so a waiter announces itself in `fill_waiters`, passes a `SeqCst`
//! fence and looks again, while whoever fills publishes, passes a `SeqCst` fence (the ring's) and looks for waiters: one
//! sees the other, and the lock closes the gap between looking and sleeping. Whoever publishes a record's position, its own or
//! that of others finished before, looks for waiters afterwards.

use base::sync::atomic::{AtomicU64, Ordering, fence};
use base::sync::{Condvar, Instant, Mutex, now};

use crate::error::{Error, Failure};
use crate::log::Log;
use crate::position::LogPosition;
use crate::reader::ReadUpTo;

/// Who leads, and where the others wait.
#[derive(Debug, Default)]
pub(crate) struct GroupSync {
    has_leader: Mutex<bool>,
    changed: Condvar,
    fill_waiters: AtomicU64,
    /// The position up to which somebody has asked for a sync; 0: nobody has.
    asked: AtomicU64,
    /// Held from before a file's sync until its outcome is the log's: see [`Log::sync_file`].
    calls: Mutex<()>,
}

impl GroupSync {
    /// Called after a record's ticket was finished.
    #[inline]
    pub fn filled_some(&self) {
        // Whoever has published has passed a `SeqCst` fence since: the ring's text promises it.
        if self.fill_waiters.load(Ordering::Relaxed) > 0 {
            self.wake_all();
        }
    }

    pub fn wake_all(&self) {
        drop(self.has_leader.lock());
        self.changed.notify_all();
    }
}

/// Gives leadership up, also when the leader panics.
struct Leadership<'a>(&'a GroupSync);

impl Drop for Leadership<'_> {
    fn drop(&mut self) {
        *self.0.has_leader.lock() = false;
        self.0.changed.notify_all();
    }
}

impl Log {
    /// As [`Wal::sync`](crate::Wal::sync).
    pub fn sync(&self, upto: LogPosition) -> Result<(), Error> {
        if self.durable() >= upto {
            return Ok(());
        }
        let end = self.reserved();
        if upto > end {
            return Err(Error::UnknownPosition { found: upto, end });
        }
        let group = &self.syncing;
        let mut has_leader = group.has_leader.lock();
        loop {
            if self.durable() >= upto {
                return Ok(());
            }
            self.check()?;
            if self.filled() < upto {
                group.fill_waiters.fetch_add(1, Ordering::Relaxed);
                fence(Ordering::SeqCst);
                if self.filled() < upto {
                    has_leader = group.changed.wait(has_leader);
                }
                group.fill_waiters.fetch_sub(1, Ordering::Relaxed);
            } else if *has_leader {
                has_leader = group.changed.wait(has_leader);
            } else {
                *has_leader = true;
                drop(has_leader);
                let leadership = Leadership(group);
                let done = self.sync_filled();
                drop(leadership);
                return done;
            }
        }
    }

    /// How far the log is.
    pub(crate) fn reached(&self, upto: ReadUpTo) -> LogPosition {
        match upto {
            ReadUpTo::Durable => self.durable(),
            ReadUpTo::Filled => self.filled(),
        }
    }

    /// Waits until the log is past `position`; `false` when `deadline` came first.
    pub(crate) fn wait_past(
        &self,
        position: LogPosition,
        upto: ReadUpTo,
        deadline: Option<Instant>,
    ) -> Result<bool, Error> {
        let group = &self.syncing;
        let mut has_leader = group.has_leader.lock();
        loop {
            if self.reached(upto) > position {
                return Ok(true);
            }
            self.check()?;
            // The end of a round wakes all; what is filled wakes those that have announced themselves.
            group.fill_waiters.fetch_add(1, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            let mut is_late = false;
            if self.reached(upto) <= position {
                match deadline {
                    None => has_leader = group.changed.wait(has_leader),
                    Some(deadline) => {
                        (has_leader, is_late) = group.changed.wait_until(has_leader, deadline);
                    }
                }
            }
            group.fill_waiters.fetch_sub(1, Ordering::Relaxed);
            if is_late {
                return Ok(self.reached(upto) > position);
            }
        }
    }

    /// Syncs one file outside a round. The system reports a write-back that failed once per open file: so a sync that
    /// meets another one could be told that all is well. Hence one at a time, and none after a failed one.
    pub(crate) fn sync_file(&self, file: &dyn vfs::File) -> Result<(), Failure> {
        let _alone = self.syncing.calls.lock();
        self.failure().map_or(Ok(()), Err)?;
        file.sync_data().map_err(|cause| {
            let failure = Failure::new(cause);
            self.poison(failure.clone());
            failure
        })
    }

    /// Whether what is appended now is going to be synced soon: it was asked for, or is at intervals. While it is not,
    /// what only makes syncs shorter is left out, and with it the disk's work for segments that are retired before.
    pub(crate) fn expects_syncs(&self) -> bool {
        let asked = self.syncing.asked.load(Ordering::Relaxed);
        let is_recent = || self.reserved().get() - asked <= 2 * self.options.segment_bytes;
        self.options.sync_interval.is_some() || (asked > 0 && is_recent())
    }

    /// Makes durable what stands before the position `upto`, where a segment that was left ends. All before it is filled.
    pub(crate) fn sync_left(&self, upto: u64) -> Result<(), Error> {
        let _alone = self.syncing.calls.lock();
        self.round(upto)?;
        self.syncing.wake_all();
        Ok(())
    }

    /// One round, by the leader: what is filled becomes durable.
    fn sync_filled(&self) -> Result<(), Error> {
        let _alone = self.syncing.calls.lock();
        let filled = self.ring.published();
        self.syncing.asked.store(filled, Ordering::Relaxed);
        self.round(filled)
    }

    /// Syncs what holds something between the durable position and `upto`, which is filled. The caller holds `calls`.
    fn round(&self, upto: u64) -> Result<(), Error> {
        self.check()?;
        let durable = self.durable.load(Ordering::Acquire);
        if upto <= durable {
            return Ok(());
        }
        self.mapper.unmap_unpaid();
        let segments = self.segments.lock().between(durable, upto);
        let started = now();
        for segment in segments {
            if let Err(cause) = segment.file.sync_data() {
                // Never tried again: the system may have marked what it could not write as clean.
                self.poison(Failure::new(cause));
                return self.check();
            }
        }
        self.durable.store(upto, Ordering::Release);
        self.counters.syncs.add(1);
        self.counters.sync_nanos.add_time(now().saturating_duration_since(started));
        Ok(())
    }
}
