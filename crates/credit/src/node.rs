//! One pool's place in the tree: its limits, its queue, and what its children are promised.

use std::sync::Arc;

use crate::account::Account;
use crate::child::Reclaim;
use crate::error::{AcquireError, Cause};
use crate::handle::Handle;
use crate::ledger::Ledger;
use crate::pressure::Watches;
use crate::queue::Queue;
use crate::tree::NodeId;
use crate::word::MAX_BYTES;

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) account: Arc<Account>,
    pub(crate) name: Arc<str>,
    pub(crate) parent: Option<NodeId>,
    /// Keeps the parent's account as long as this node; `None` at the root.
    pub(crate) parent_handle: Option<Handle>,
    /// Steps from the root, which has 0.
    pub(crate) depth: u32,
    pub(crate) children: Vec<NodeId>,
    /// Those of `children` in or below which somebody waits.
    pub(crate) busy: Vec<NodeId>,
    pub(crate) floor: u64,
    pub(crate) weight: u32,
    pub(crate) reclaimer: Option<Arc<dyn Reclaim>>,
    /// Sum of the floors of the children.
    pub(crate) floors: u64,
    /// Sum over the children of what they are promised less what they hold: negative when an elastic
    /// child holds more than its floor.
    pub(crate) extra: i64,
    pub(crate) queue: Queue,
    /// Requests queued here and below, trials included.
    pub(crate) waiting: usize,
    /// Whether a request may pass a larger one that waits before it.
    pub(crate) overtaking: bool,
    pub(crate) end: Option<End>,
    /// The last handle is gone; the node goes when nothing is held.
    pub(crate) detached: bool,
    pub(crate) ledger: Ledger,
    pub(crate) watches: Watches,
}

/// Why nothing is granted any more.
#[derive(Debug, Clone)]
pub(crate) enum End {
    Closed,
    Poisoned(Cause),
}

impl From<&End> for AcquireError {
    fn from(end: &End) -> AcquireError {
        match end {
            End::Closed => AcquireError::Closed,
            End::Poisoned(cause) => AcquireError::Poisoned { cause: Arc::clone(cause) },
        }
    }
}

/// The limits a node is made with.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) name: Arc<str>,
    pub(crate) capacity: u64,
    pub(crate) floor: u64,
    pub(crate) weight: u32,
    pub(crate) reclaimer: Option<Arc<dyn Reclaim>>,
    pub(crate) overtaking: bool,
}

impl Node {
    pub(crate) fn new(
        account: Arc<Account>,
        parent: Option<(NodeId, u32, Handle)>,
        terms: Terms,
    ) -> Node {
        let (parent, depth, parent_handle) = match parent {
            Some((id, depth, handle)) => (Some(id), depth + 1, Some(handle)),
            None => (None, 0, None),
        };
        Node {
            account,
            name: terms.name,
            parent,
            parent_handle,
            depth,
            children: Vec::new(),
            busy: Vec::new(),
            floor: terms.floor,
            weight: terms.weight,
            reclaimer: terms.reclaimer,
            floors: 0,
            extra: 0,
            queue: Queue::default(),
            waiting: 0,
            overtaking: terms.overtaking,
            end: None,
            detached: false,
            ledger: Ledger::default(),
            watches: Watches::default(),
        }
    }

    pub(crate) fn held(&self) -> u64 {
        self.account.held()
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.account.capacity()
    }

    pub(crate) fn unlimited(&self) -> bool {
        self.capacity() == MAX_BYTES
    }

    pub(crate) fn elastic(&self) -> bool {
        self.reclaimer.is_some()
    }

    /// What is held or promised here: what an elastic child holds beyond its floor does not count,
    /// what another's floor leaves unused does.
    pub(crate) fn reserved(&self) -> i64 {
        self.held() as i64 + self.extra
    }

    /// What this node counts for in its parent's `reserved`, if its own were `reserved`.
    pub(crate) fn promised(&self, reserved: i64) -> i64 {
        let floor = self.floor as i64;
        if self.elastic() { floor } else { reserved.max(floor) }
    }

    /// What this node adds to its parent's `extra`.
    pub(crate) fn surplus(&self) -> i64 {
        self.promised(self.reserved()) - self.held() as i64
    }

    /// Held beyond the floor; what fairness between siblings looks at.
    pub(crate) fn borrowed(&self) -> u64 {
        self.held().saturating_sub(self.floor)
    }

    /// Whether grants and releases need the lock, apart from children and parents.
    pub(crate) fn needs_lock(&self) -> bool {
        !self.queue.is_empty() || self.end.is_some() || self.detached || self.ledger.is_on()
    }
}
