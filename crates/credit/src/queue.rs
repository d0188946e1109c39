//! The requests that wait in one pool, in order of arrival.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::wait::Waiter;

/// Orders requests by arrival, over the whole tree.
pub(crate) type Ticket = u64;

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) ticket: Ticket,
    /// What the tree had granted to waiters when this one came, to see how much has passed it.
    pub(crate) granted_before: u64,
    pub(crate) waiter: Arc<Waiter>,
}

/// Sorted by ticket, for tickets only ever rise: the first is found at once, any other by halving.
///
/// Rejected: a `BTreeMap`, which allocates and frees its node whenever the queue empties, under the lock.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    requests: VecDeque<Queued>,
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(crate) fn first(&self) -> Option<&Queued> {
        self.requests.front()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Queued> {
        self.requests.iter()
    }

    /// Adds a request whose ticket is above all before it.
    pub(crate) fn push(&mut self, queued: Queued) {
        debug_assert!(self.requests.back().is_none_or(|last| last.ticket < queued.ticket));
        self.requests.push_back(queued);
    }

    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<Queued> {
        let place = self.requests.binary_search_by_key(&ticket, |queued| queued.ticket).ok()?;
        self.requests.remove(place)
    }
}
