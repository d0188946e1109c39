//! What writers agree on under the commit lock: sequence numbers, tickets, and which memtables there are.
//!
//! Invariants:
//! - sequence numbers, tickets and log positions are handed out together, in one order;
//! - all of a memtable's sequence numbers lie below those of the next memtable of its family;
//! - a memtable holds no chunk, and so no credits, before its first reservation;
//! - the view is stored before anything is reserved in a memtable that it introduces.
//!
//! The lock is held for arithmetic and for storing a view, never for I/O, a copy, an insert, a wait or a sync.

use std::sync::Arc;

use base::{FamilyId, SegmentNumber, SeqNo};
use memtable::Memtable;
use wal::LogPosition;

use crate::read::view::{FamilyView, ReadView};
use crate::shared::Shared;

/// Why a memtable was closed to writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FlushReason {
    /// It has reached `write_buffer_size`.
    Full,
    /// Writers wait for credits.
    Credits,
    /// The log has grown past what it should hold.
    LogSize,
    /// Somebody asked.
    Manual,
    /// It holds what was recovered from the log.
    Recovery,
}

/// Where the newest reservation stands in the order of all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastReservation {
    pub(crate) ticket: u64,
    pub(crate) seq: SeqNo,
    /// The end of the newest record in the log, if there is one.
    pub(crate) log_end: Option<LogPosition>,
}

/// A memtable that takes no more writes and waits for its flush.
pub(crate) struct Sealed {
    pub(crate) memtable: Arc<Memtable>,
    /// The first log segment that holds one of its entries.
    pub(crate) first_segment: SegmentNumber,
    /// The newest reservation of any family at the time: once that is visible, nobody writes to the memtable.
    /// `None`: nothing was reserved in this process before (it was recovered).
    pub(crate) last: Option<LastReservation>,
    /// The greatest sequence number that it may hold.
    pub(crate) max_seq: SeqNo,
    pub(crate) reason: FlushReason,
    /// Whether a flush has taken it.
    pub(crate) is_flushing: bool,
}

/// A column family as writers see it.
pub(crate) struct FamilyState {
    pub(crate) id: FamilyId,
    pub(crate) active: Arc<Memtable>,
    /// The log segment of the active memtable's first entry.
    pub(crate) first_segment: Option<SegmentNumber>,
    /// Oldest first.
    pub(crate) sealed: Vec<Sealed>,
    /// Bytes of the chunk that some writer is getting for the active memtable.
    pub(crate) growing: Option<usize>,
}

impl FamilyState {
    pub(crate) fn new(id: FamilyId, memtable_id: u64) -> Self {
        Self {
            id,
            active: Arc::new(Memtable::new(memtable_id)),
            first_segment: None,
            sealed: Vec::new(),
            growing: None,
        }
    }

    /// The first log segment that the family still needs.
    pub(crate) fn oldest_segment(&self) -> Option<SegmentNumber> {
        self.sealed.iter().map(|sealed| sealed.first_segment).chain(self.first_segment).min()
    }
}

/// What writers were given room for, and did not give back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Accepted {
    pub(crate) batches: u64,
    /// Bytes of keys and values.
    pub(crate) user_bytes: u64,
}

impl Accepted {
    #[inline]
    pub(crate) fn add(&mut self, user_bytes: u64) {
        self.batches += 1;
        self.user_bytes += user_bytes;
    }

    /// A write failed after it was added.
    pub(crate) fn take_back(&mut self, user_bytes: u64) {
        self.batches -= 1;
        self.user_bytes -= user_bytes;
    }
}

/// See the module's text.
pub(crate) struct CommitState {
    pub(crate) next_seq: u64,
    pub(crate) next_ticket: u64,
    pub(crate) last: Option<LastReservation>,
    pub(crate) next_memtable: u64,
    pub(crate) accepted: Accepted,
    /// Ascending by id, the default family first; in the same order as the view's.
    pub(crate) families: Vec<FamilyState>,
}

impl CommitState {
    pub(crate) fn new(visible: SeqNo, families: Vec<FamilyState>, next_memtable: u64) -> Self {
        Self {
            next_seq: visible.get() + 1,
            next_ticket: 0,
            last: None,
            next_memtable,
            accepted: Accepted::default(),
            families,
        }
    }

    /// What the arenas of all memtables have mapped.
    pub(crate) fn memtable_bytes(&self) -> u64 {
        let memtables = self.families.iter().flat_map(|family| {
            family.sealed.iter().map(|sealed| &sealed.memtable).chain([&family.active])
        });
        memtables.map(|memtable| memtable.charged_bytes() as u64).sum()
    }

    /// Where a family stands, if it exists.
    #[inline]
    pub(crate) fn position(&self, id: FamilyId) -> Option<usize> {
        // The default family is first; most writes are to it.
        if id == FamilyId::DEFAULT {
            return Some(0);
        }
        self.families.binary_search_by_key(&id, |f| f.id).ok()
    }

    /// The newest sequence number that was handed out.
    pub(crate) fn last_seq(&self) -> SeqNo {
        SeqNo::new(self.next_seq - 1)
    }

    pub(crate) fn family_mut(&mut self, id: FamilyId) -> Option<&mut FamilyState> {
        let at = self.position(id)?;
        Some(&mut self.families[at])
    }
}

impl Shared {
    /// Stores the view that follows from `state` and the current version.
    pub(crate) fn store_view(&self, state: &CommitState) {
        let families = state
            .families
            .iter()
            .map(|family| {
                let sealed = family.sealed.iter().rev().map(|sealed| &sealed.memtable);
                let memtables = std::iter::once(&family.active).chain(sealed).cloned().collect();
                FamilyView { id: family.id, memtables }
            })
            .collect();
        self.view.store(Arc::new(ReadView { families, version: self.versions.current() }));
    }

    /// Closes the active memtable of the family at `at` to further writes and starts the next one, if it holds
    /// anything; `true` when it has something to flush. The caller wakes the flush.
    pub(crate) fn seal(&self, state: &mut CommitState, at: usize, reason: FlushReason) -> bool {
        let (last, max_seq, next_memtable) = (state.last, state.last_seq(), state.next_memtable);
        let family = &mut state.families[at];
        let first_segment = family.first_segment.take();
        if first_segment.is_none() && family.active.charged_bytes() == 0 {
            return false;
        }
        let memtable =
            std::mem::replace(&mut family.active, Arc::new(Memtable::new(next_memtable)));
        // One that holds memory and no entry (its writer found no room in the log) just goes.
        if let Some(first_segment) = first_segment {
            family.sealed.push(Sealed {
                memtable,
                first_segment,
                last,
                max_seq,
                reason,
                is_flushing: false,
            });
            tracing::debug!(?reason, "a memtable was sealed");
        }
        state.next_memtable += 1;
        self.store_view(state);
        first_segment.is_some()
    }
}
