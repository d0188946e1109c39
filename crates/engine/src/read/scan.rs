//! From versions to values: walks a merged cursor as a reader at one sequence number sees it, a batch at a time.
//!
//! Versions that the reader does not see, and those hidden by a newer one, are stepped over; after a few steps within
//! one key the cursor seeks past the rest, so that a key with a million versions costs a seek, not a walk. A deleted key
//! costs a step for its tombstone and one for each of the few versions beneath it, once: nothing is walked twice.

use std::ops::Bound;

use base::sync::{Instant, now};
use base::{Cursor, InternalKeyRef, SeqNo, ValueKind};
use bytes::Bytes;
use credit::Pool;
use sstable::TableCursor;

use crate::error::Error;
use crate::read::batch::{Batch, BatchLimit, same};
use crate::read::merge::MergeCursor;

/// Steps within one key after which seeking is cheaper.
const STEPS_BEFORE_SEEK: u32 = 8;
/// Steps after which the deadline is looked at.
const STEPS_BEFORE_CLOCK: u32 = 1024;

/// What a reader in an error was doing.
pub(crate) const A_READ: &str = "a read";

/// What one batch is read for.
pub(crate) struct Reading<'a> {
    pub(crate) at: SeqNo,
    pub(crate) lower: Bound<&'a [u8]>,
    pub(crate) upper: Bound<&'a [u8]>,
    pub(crate) limit: BatchLimit,
    pub(crate) deadline: Option<Instant>,
    pub(crate) pinned: &'a Pool,
}

/// What a batch is read from.
pub(crate) trait Source: Cursor<Error: Into<Error>> {
    /// The key and value that it stands on, while it is valid.
    #[inline]
    fn entry(&self) -> Option<(InternalKeyRef<'_>, &[u8])> {
        self.is_valid().then(|| (self.key(), self.value()))
    }

    /// That value as a handle that keeps its block in memory, and what that takes; `None` where there is no block.
    fn value_handle(&self) -> Option<(Bytes, usize)>;
}

impl Source for TableCursor {
    fn value_handle(&self) -> Option<(Bytes, usize)> {
        Some((self.value_bytes(), self.block_bytes()))
    }
}

/// Which key's newest version a walk upwards has met last.
#[derive(Clone, Copy)]
enum Met {
    Nothing,
    /// That of the lower bound, which is excluded.
    Bound,
    /// The batch's last.
    Pushed,
    /// The batch's `deleted`.
    Deleted,
}

/// How far a walk upwards has come.
struct SoFar {
    met: Met,
    /// Within one key.
    steps: u32,
    since_clock: u32,
}

impl SoFar {
    /// Counts a step over an entry that is not wanted; whether it is time to seek past those that follow.
    #[inline]
    fn is_enough(&mut self) -> bool {
        self.steps += 1;
        let is_enough = self.steps > STEPS_BEFORE_SEEK;
        if is_enough {
            self.steps = 0;
        }
        is_enough
    }
}

/// Refuses to go on past `deadline`.
pub(crate) fn check_deadline(deadline: Option<Instant>) -> Result<(), Error> {
    match deadline {
        Some(deadline) if now() >= deadline => Err(Error::TimedOut { what: A_READ }),
        _ => Ok(()),
    }
}

impl Reading<'_> {
    fn is_below(&self, key: &[u8]) -> bool {
        match self.lower {
            Bound::Unbounded => false,
            Bound::Included(bound) => key < bound,
            Bound::Excluded(bound) => key <= bound,
        }
    }

    #[inline]
    fn is_above(&self, key: &[u8]) -> bool {
        match self.upper {
            Bound::Unbounded => false,
            Bound::Included(bound) => key > bound,
            Bound::Excluded(bound) => key >= bound,
        }
    }

    /// What all keys that are wanted lie below.
    fn end(&self) -> Option<Bytes> {
        match self.upper {
            Bound::Unbounded => None,
            Bound::Included(key) => Some([key, &[0]].concat().into()),
            Bound::Excluded(key) => Some(Bytes::copy_from_slice(key)),
        }
    }

    /// Places the cursor on the first entry that may lie within the bounds, to go upwards.
    pub(crate) fn seek_front(&self, cursor: &mut MergeCursor) -> Result<(), Error> {
        cursor.set_bounds(None, self.end());
        match self.lower {
            Bound::Unbounded => cursor.seek_to_first(),
            Bound::Included(key) => cursor.seek(InternalKeyRef::seek_at(key, self.at)),
            Bound::Excluded(key) => cursor.seek(after(key)),
        }
    }

    /// Places the cursor on the last entry that may lie within the bounds, to go downwards.
    pub(crate) fn seek_back(&self, cursor: &mut MergeCursor) -> Result<(), Error> {
        // Without an end in this direction, the other bound does not make it worth while.
        let start = match self.lower {
            Bound::Unbounded => None,
            Bound::Included(key) | Bound::Excluded(key) => Some(Bytes::copy_from_slice(key)),
        };
        let end = start.as_ref().and_then(|_| self.end());
        cursor.set_bounds(start, end);
        match self.upper {
            Bound::Unbounded => cursor.seek_to_last(),
            Bound::Included(key) => cursor.seek_for_prev(after(key)),
            Bound::Excluded(key) => cursor.seek_for_prev(before(key)),
        }
    }

    /// Reads a batch upwards from where the cursor stands; whether nothing is left behind it. It ends on the last entry of
    /// the batch, so that nothing is read that nobody may ask for.
    pub(crate) fn forward(
        &self,
        cursor: &mut MergeCursor,
        batch: &mut Batch,
    ) -> Result<bool, Error> {
        let met = match self.lower {
            Bound::Excluded(_) => Met::Bound,
            _ => Met::Nothing,
        };
        let mut so_far = SoFar { met, steps: 0, since_clock: 0 };
        while cursor.is_valid() {
            let is_full = match cursor.alone() {
                Some(table) => {
                    let is_full = self.take_from(table, batch, &mut so_far)?;
                    cursor.alone_has_moved()?;
                    is_full
                }
                None => self.take_from(cursor, batch, &mut so_far)?,
            };
            if let Some(is_full) = is_full {
                return Ok(!is_full);
            }
        }
        Ok(true)
    }

    /// Goes on with what `source` has. Whether the batch is full, or else what is left lies beyond the bounds; `None` when
    /// nothing is left of the source.
    #[inline]
    fn take_from<S: Source>(
        &self,
        source: &mut S,
        batch: &mut Batch,
        so_far: &mut SoFar,
    ) -> Result<Option<bool>, Error> {
        while let Some((here, value)) = source.entry() {
            let is_old = match (so_far.met, self.lower) {
                (Met::Pushed, _) => batch.ends_with(here.user_key),
                (Met::Deleted, _) => same(&batch.deleted, here.user_key),
                (Met::Bound, Bound::Excluded(key)) => same(key, here.user_key),
                _ => false,
            };
            if is_old || here.seq > self.at {
                if so_far.is_enough() {
                    let key = here.user_key.to_vec();
                    let target =
                        if is_old { after(&key) } else { InternalKeyRef::seek_at(&key, self.at) };
                    if here < target {
                        source.seek(target).map_err(Into::into)?;
                        continue;
                    }
                }
            } else {
                if self.is_above(here.user_key) {
                    return Ok(Some(false));
                }
                so_far.steps = 0;
                if here.kind == ValueKind::Put {
                    batch.push(here.user_key, value, source, self.pinned);
                    so_far.met = Met::Pushed;
                    if batch.is_full(self.limit) {
                        return Ok(Some(true));
                    }
                } else {
                    batch.deleted.clear();
                    batch.deleted.extend_from_slice(here.user_key);
                    so_far.met = Met::Deleted;
                }
            }
            so_far.since_clock += 1;
            if so_far.since_clock > STEPS_BEFORE_CLOCK {
                so_far.since_clock = 0;
                check_deadline(self.deadline)?;
            }
            source.next().map_err(Into::into)?;
        }
        Ok(None)
    }

    /// Reads a batch downwards from where the cursor stands; whether nothing is left before it.
    pub(crate) fn backward(
        &self,
        cursor: &mut MergeCursor,
        batch: &mut Batch,
    ) -> Result<bool, Error> {
        let mut key = Vec::new();
        let mut since_clock = 0;
        while cursor.is_valid() {
            let here = cursor.key();
            if self.is_below(here.user_key) {
                return Ok(true);
            }
            if batch.is_full(self.limit) {
                return Ok(false);
            }
            key.clear();
            key.extend_from_slice(here.user_key);
            since_clock += self.newest_below(cursor, &key, batch)?;
            if since_clock > STEPS_BEFORE_CLOCK {
                since_clock = 0;
                check_deadline(self.deadline)?;
            }
        }
        Ok(true)
    }

    /// Takes the newest version of `key` that the reader sees, coming from the oldest, and leaves the key downwards; how
    /// many steps it took.
    fn newest_below(
        &self,
        cursor: &mut MergeCursor,
        key: &[u8],
        batch: &mut Batch,
    ) -> Result<u32, Error> {
        let (mut steps, mut is_taken) = (0, false);
        while cursor.is_valid() && cursor.key().user_key == key {
            let here = cursor.key();
            if here.seq <= self.at {
                // Newer than the one before, which it hides.
                if std::mem::take(&mut is_taken) {
                    batch.undo();
                }
                if steps >= STEPS_BEFORE_SEEK {
                    // There are many: a seek finds the newest at once.
                    cursor.seek(InternalKeyRef::seek_at(key, self.at))?;
                }
                if let Some((here, value)) = cursor.entry()
                    && here.kind == ValueKind::Put
                {
                    batch.push(here.user_key, value, cursor, self.pinned);
                    is_taken = true;
                }
            }
            steps += 1;
            if steps > STEPS_BEFORE_SEEK {
                cursor.seek_for_prev(before(key))?;
                break;
            }
            cursor.prev()?;
        }
        Ok(steps)
    }
}

/// Where every version of `key` is behind.
fn after(key: &[u8]) -> InternalKeyRef<'_> {
    InternalKeyRef::new(key, SeqNo::ZERO, ValueKind::Delete)
}

/// Where every version of `key` is ahead.
fn before(key: &[u8]) -> InternalKeyRef<'_> {
    InternalKeyRef::seek_at(key, SeqNo::MAX)
}
