//! What is done under the tree's lock: granting, returning, ending, and the tree's shape.
//!
//! Invariants (checked by `audit_books`)
//! - A node holds what its own permits hold and what its children hold.
//! - `extra` of a node is the sum of its children's `surplus`, `floors` that of their floors.
//! - After `serve`, no request waits that would fit and is first in its turn.

use std::sync::Arc;

use crate::account::Account;
use crate::error::{AcquireError, Cause, ChildError};
use crate::handle::Handle;
use crate::ledger::Site;
use crate::node::{End, Node, Terms};
use crate::queue::{Queued, Ticket};
use crate::tree::{Aftermath, NodeId, ROOT, Tree};
use crate::wait::{Standing, Waiter};
use crate::word::MAX_BYTES;

/// The nodes of one tree and what is to be done once its lock is let go.
#[derive(Debug)]
pub(crate) struct Book {
    /// By `NodeId::index`; the generation is that of the present or next owner of the place.
    nodes: Vec<(u32, Option<Node>)>,
    vacant: Vec<u32>,
    live: usize,
    pub(crate) next_ticket: Ticket,
    /// Requests that wait, in the whole tree.
    pub(crate) waiting: usize,
    /// Bytes granted to requests that waited, so far.
    pub(crate) granted_waiting: u64,
    pub(crate) elastic: Vec<NodeId>,
    aftermath: Aftermath,
}

/// How a request fared at the first try.
#[derive(Debug)]
pub(crate) enum Asked {
    /// Granted, with this ledger entry or 0.
    Granted(u64),
    /// Queued under this ticket.
    Waits(Ticket),
    Refused(AcquireError),
}

/// The shape of the tree.
impl Book {
    pub(crate) fn new() -> Book {
        Book {
            nodes: Vec::new(),
            vacant: Vec::new(),
            live: 0,
            next_ticket: 0,
            waiting: 0,
            granted_waiting: 0,
            elastic: Vec::new(),
            aftermath: Aftermath::default(),
        }
    }

    pub(crate) fn get(&self, id: NodeId) -> Option<&Node> {
        let (generation, node) = self.nodes.get(id.index as usize)?;
        node.as_ref().filter(|_| *generation == id.generation)
    }

    pub(crate) fn get_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        let (generation, node) = self.nodes.get_mut(id.index as usize)?;
        node.as_mut().filter(|_| *generation == id.generation)
    }

    /// The node `id`, which a handle, a stake or a child keeps alive.
    pub(crate) fn node(&self, id: NodeId) -> &Node {
        self.get(id).expect("a node lives as long as its handles, bytes and children")
    }

    /// As [`node`](Book::node).
    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.get_mut(id).expect("a node lives as long as its handles, bytes and children")
    }

    /// `id` and its ancestors, the root last.
    pub(crate) fn path(&self, id: NodeId) -> impl Iterator<Item = (NodeId, &Node)> {
        std::iter::successors(Some((id, self.node(id))), |(_, node)| {
            node.parent.map(|parent| (parent, self.node(parent)))
        })
    }

    /// Whether `id` is `ancestor` or below it.
    pub(crate) fn is_within(&self, id: NodeId, ancestor: NodeId) -> bool {
        self.path(id).any(|(at, _)| at == ancestor)
    }

    /// All nodes at or below `top`.
    pub(crate) fn subtree(&self, top: NodeId) -> Vec<NodeId> {
        let mut found = vec![top];
        let mut next = 0;
        while let Some(&id) = found.get(next) {
            found.extend_from_slice(&self.node(id).children);
            next += 1;
        }
        found
    }

    /// Makes a node in `tree` (whose book this is) and returns its only handle.
    pub(crate) fn plant(
        &mut self,
        tree: &Arc<Tree>,
        parent: Option<Handle>,
        terms: Terms,
    ) -> Result<Handle, ChildError> {
        let parent = parent.map(|handle| (handle.id, self.node(handle.id).depth, handle));
        if let Some((parent, _, _)) = &parent {
            let available = self.largest_floor(*parent);
            if terms.floor > available {
                return Err(ChildError::FloorUnavailable {
                    floor_bytes: terms.floor,
                    available_bytes: available,
                });
            }
        }
        let id = self.vacancy();
        let account = Arc::new(Account::new(Arc::clone(tree), id, terms.capacity));
        let handle = Handle::adopt(&account);
        let parent_id = parent.as_ref().map(|(id, ..)| *id);
        let (floor, elastic) = (terms.floor, terms.reclaimer.is_some());
        self.nodes[id.index as usize].1 = Some(Node::new(account, parent, terms));
        self.live += 1;
        if elastic {
            self.elastic.push(id);
        }
        if let Some(parent) = parent_id {
            let node = self.node_mut(parent);
            node.children.push(id);
            node.floors += floor;
            self.add_extra(parent, floor as i64);
        }
        Ok(handle)
    }

    fn vacancy(&mut self) -> NodeId {
        if let Some(index) = self.vacant.pop() {
            return NodeId { index, generation: self.nodes[index as usize].0 };
        }
        let index = u32::try_from(self.nodes.len()).expect("fewer than 2^32 pools in a tree");
        self.nodes.push((0, None));
        NodeId { index, generation: 0 }
    }

    /// The largest floor that every pool from `parent` upwards can promise now.
    fn largest_floor(&self, parent: NodeId) -> u64 {
        // Room that a floor at this level would find; a node's own floor is promised above already.
        let mut at = self.path(parent).collect::<Vec<_>>();
        at.reverse();
        let mut room = i64::MAX;
        for (_, node) in at {
            let reserved = node.reserved();
            let unused = (node.promised(reserved) - reserved).max(0);
            let from_above = if node.elastic() { i64::MAX } else { room.saturating_add(unused) };
            room = from_above.min(node.capacity() as i64 - reserved).max(0);
        }
        room as u64
    }

    /// Changes `extra` of `id` by `change`, and of its ancestors by what that makes of it.
    fn add_extra(&mut self, id: NodeId, change: i64) {
        let mut spread = change;
        let mut at = Some(id);
        while let Some(here) = at
            && spread != 0
        {
            let node = self.node_mut(here);
            let before = node.surplus();
            node.extra += spread;
            spread = node.surplus() - before;
            at = node.parent;
        }
    }

    /// The last handle of `id` is gone.
    pub(crate) fn detach(&mut self, id: NodeId) {
        self.node_mut(id).detached = true;
        self.remove_if_done(id);
    }

    fn remove_if_done(&mut self, id: NodeId) {
        let node = self.node(id);
        if !node.detached || node.held() > 0 {
            return;
        }
        // No children: each has a handle of its parent. No queue: each request has one of its pool.
        debug_assert!(node.children.is_empty() && node.queue.is_empty());
        let place = &mut self.nodes[id.index as usize];
        place.0 += 1;
        let Some(node) = place.1.take() else { return };
        self.live -= 1;
        if id != ROOT {
            self.vacant.push(id.index);
        }
        self.elastic.retain(|&other| other != id);
        if let Some(parent) = node.parent {
            let above = self.node_mut(parent);
            above.children.retain(|&child| child != id);
            above.floors -= node.floor;
            // Nothing is held, so the surplus is the floor.
            self.add_extra(parent, -node.surplus());
        }
        // The parent's handle must be dropped without the lock, so it leaves with the account.
        let Node { account, parent_handle, .. } = node;
        self.aftermath.dead.push((account, parent_handle));
    }

    pub(crate) fn is_flat(&self) -> bool {
        self.live == 1
    }
}

/// Grants and returns.
impl Book {
    /// Grants `bytes` of `id` at once, or queues the request for `waiter`, or refuses it.
    pub(crate) fn ask(
        &mut self,
        id: NodeId,
        bytes: u64,
        site: &Site,
        waiter: impl FnOnce(&Book) -> Option<Arc<Waiter>>,
    ) -> Asked {
        if let Some(end) = self.end_of(id) {
            return Asked::Refused(end.into());
        }
        if bytes == 0 {
            return Asked::Granted(0);
        }
        match self.obstacle(id, bytes) {
            Some(at) if self.node(at).unlimited() || bytes > MAX_BYTES => {
                return Asked::Refused(AcquireError::TooLarge {
                    requested_bytes: bytes,
                    held_bytes: self.node(at).held(),
                });
            }
            None if self.waiting == 0 || (self.is_flat() && self.node(id).overtaking) => {
                return Asked::Granted(self.grant(id, bytes, site));
            }
            _ => {}
        }
        let Some(waiter) = waiter(self) else { return Asked::Refused(AcquireError::TimedOut) };
        let ticket = self.enqueue(id, Arc::clone(&waiter));
        if !waiter.is_trial() {
            return Asked::Waits(ticket);
        }
        // Settled before the lock is let go: nobody sees a trial wait, and it keeps nobody from its turn.
        self.serve();
        match waiter.standing() {
            Standing::Granted(entry) => Asked::Granted(entry),
            Standing::Waiting | Standing::Ended => {
                self.dequeue(id, ticket);
                Asked::Refused(AcquireError::TimedOut)
            }
        }
    }

    /// Where on the way to the root a request for `bytes` of `id` does not fit, seen from `id`.
    pub(crate) fn obstacle(&self, id: NodeId, bytes: u64) -> Option<NodeId> {
        if bytes > MAX_BYTES {
            return Some(id);
        }
        // What the request would add to `reserved` of the node, and the floor it brings with it.
        let mut change = bytes as i64;
        let mut own_floor = 0;
        for (at, node) in self.path(id) {
            let held = node.held();
            let reserved = node.reserved();
            let fits = bytes <= node.capacity().saturating_sub(held)
                && (change <= 0 || reserved + change <= node.capacity() as i64);
            // Larger than it could ever be here, with the floors of others kept free: alone, then (C3).
            let others = if change > 0 { node.floors - own_floor } else { 0 };
            let alone = held == 0 && bytes > node.capacity().saturating_sub(others);
            if !fits && !alone {
                return Some(at);
            }
            change = node.promised(reserved + change) - node.promised(reserved);
            own_floor = node.floor;
        }
        None
    }

    /// Adds `bytes` to `id` and all above it; returns the ledger entry, or 0.
    pub(crate) fn grant(&mut self, id: NodeId, bytes: u64, site: &Site) -> u64 {
        self.shift(id, |account| account.grant_locked(bytes));
        let node = self.node_mut(id);
        node.account.audit.add(bytes as i64);
        node.ledger.open(bytes, site)
    }

    /// Takes `bytes` off `id` and all above it, and closes the ledger entry if it is not 0.
    pub(crate) fn release(&mut self, id: NodeId, bytes: u64, entry: u64) {
        self.shift(id, |account| account.release_locked(bytes));
        let node = self.node_mut(id);
        node.account.audit.add(-(bytes as i64));
        node.ledger.reduce(entry, bytes);
        self.remove_if_done(id);
    }

    /// Applies `change` to the accounts of `id` and all above it, and keeps `extra` true.
    fn shift(&mut self, id: NodeId, change: impl Fn(&Account)) {
        let mut spread = 0;
        let mut at = Some(id);
        while let Some(here) = at {
            let node = self.node_mut(here);
            let before = node.surplus();
            node.extra += spread;
            change(&node.account);
            spread = node.surplus() - before;
            at = node.parent;
            self.watch(here);
        }
    }

    /// Has the watches of `id` told if its level has changed.
    pub(crate) fn watch(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        let (held, capacity) = (node.held(), node.capacity());
        let waits = node.account.waiting() > 0;
        if node.watches.claim(held, capacity, waits) {
            self.aftermath.notify.push(id);
        }
    }
}

/// The queue.
impl Book {
    fn enqueue(&mut self, id: NodeId, waiter: Arc<Waiter>) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let trial = waiter.is_trial();
        let granted_before = self.granted_waiting;
        self.node_mut(id).queue.push(Queued { ticket, granted_before, waiter });
        self.waiting += 1;
        let mut below: Option<NodeId> = None;
        let mut at = Some(id);
        while let Some(here) = at {
            let node = self.node_mut(here);
            if let Some(child) = below
                && !node.busy.contains(&child)
            {
                node.busy.push(child);
            }
            node.waiting += 1;
            if !trial {
                node.account.add_waiting(true);
            }
            at = node.parent;
            below = Some(here);
            if !trial {
                self.watch(here);
            }
        }
        ticket
    }

    /// Takes a request out of the queue; `None` if it is no longer there.
    pub(crate) fn dequeue(&mut self, id: NodeId, ticket: Ticket) -> Option<Queued> {
        let queued = self.node_mut(id).queue.remove(ticket)?;
        self.waiting -= 1;
        let mut idle: Option<NodeId> = None;
        let mut at = Some(id);
        while let Some(here) = at {
            let node = self.node_mut(here);
            if let Some(child) = idle {
                node.busy.retain(|&other| other != child);
            }
            node.waiting -= 1;
            if !queued.waiter.is_trial() {
                node.account.add_waiting(false);
            }
            idle = (node.waiting == 0).then_some(here);
            at = node.parent;
            if !queued.waiter.is_trial() {
                self.watch(here);
            }
        }
        Some(queued)
    }

    /// Grants the request `ticket` of `id`, which fits, and has its waiter woken.
    pub(crate) fn grant_queued(&mut self, id: NodeId, ticket: Ticket) {
        let Some(queued) = self.dequeue(id, ticket) else { return };
        let Waiter { bytes, ref site, .. } = *queued.waiter;
        let entry = self.grant(id, bytes, site);
        self.granted_waiting = self.granted_waiting.wrapping_add(bytes);
        queued.waiter.grant(entry);
        self.aftermath.wake(queued.waiter);
    }

    /// Gives up the request `ticket` of `id`; `false` if it has been granted or ended meanwhile.
    pub(crate) fn cancel(&mut self, id: NodeId, ticket: Ticket) -> bool {
        self.dequeue(id, ticket).is_some()
    }

    /// Why `id` grants nothing any more, if so.
    pub(crate) fn end_of(&self, id: NodeId) -> Option<&End> {
        self.path(id).find_map(|(_, node)| node.end.as_ref())
    }

    /// Ends `top` and all below it; the first end stays.
    pub(crate) fn end(&mut self, top: NodeId, end: End) {
        self.node_mut(top).end.get_or_insert(end);
        self.refuse_waiting(top, |_| {});
    }

    /// Refuses those who wait in `top` and below it now; later requests are served as before.
    pub(crate) fn interrupt(&mut self, top: NodeId, cause: &Cause) {
        self.refuse_waiting(top, |waiter| waiter.interrupt(Arc::clone(cause)));
    }

    fn refuse_waiting(&mut self, top: NodeId, tell: impl Fn(&Waiter)) {
        for id in self.subtree(top) {
            let tickets: Vec<Ticket> =
                self.node(id).queue.iter().map(|queued| queued.ticket).collect();
            for ticket in tickets {
                let Some(queued) = self.dequeue(id, ticket) else { continue };
                tell(&queued.waiter);
                queued.waiter.end();
                self.aftermath.wake(queued.waiter);
            }
        }
    }

    pub(crate) fn resize(&mut self, id: NodeId, capacity: u64) {
        self.node(id).account.set_capacity(capacity);
        self.watch(id);
    }
}

/// Entering and leaving.
impl Book {
    pub(crate) fn stop_fast_path(&mut self) {
        if self.is_flat()
            && let Some(root) = self.get(ROOT)
        {
            root.account.stop_fast_path();
        }
    }

    pub(crate) fn start_fast_path(&mut self) {
        if !self.is_flat() {
            return;
        }
        let Some(root) = self.get(ROOT) else { return };
        if root.needs_lock() {
            return;
        }
        let (low, high) = root.watches.quiet_range(root.capacity());
        root.account.start_fast_path(high.min(root.capacity()), low);
    }

    /// What is to be done once the lock is let go; most of the time nothing.
    pub(crate) fn take_aftermath(&mut self) -> Option<Aftermath> {
        (!self.aftermath.is_empty()).then(|| std::mem::take(&mut self.aftermath))
    }
}

/// Checks.
impl Book {
    /// Checks what must hold whenever the lock is free.
    ///
    /// # Panics
    /// With the pool's name and figures, if it does not.
    pub(crate) fn audit_books(&self) {
        for (_, node) in &self.nodes {
            let Some(node) = node else { continue };
            let (mut below, mut extra, mut floors) = (0, 0, 0);
            for &child in &node.children {
                let child = self.node(child);
                below += child.held();
                extra += child.surplus();
                floors += child.floor;
            }
            let (name, held) = (&node.name, node.held());
            assert!(below <= held, "pool {name:?}: children hold {below} bytes, all of it {held}");
            let own = held - below;
            if let Some(sum) = node.account.audit.sum() {
                assert_eq!(
                    i128::from(own),
                    i128::from(sum),
                    "pool {name:?}: held is not granted less returned"
                );
            }
            let raw = node.account.raw();
            assert!(raw <= own, "pool {name:?}: {raw} raw bytes, but only {own} held");
            assert_eq!((extra, floors), (node.extra, node.floors), "pool {name:?}: promises");
            let listed = node.ledger.listed_bytes();
            assert!(
                listed <= own,
                "pool {name:?}: {listed} bytes in the ledger, but only {own} held"
            );
            assert!(node.account.peak() >= held, "pool {name:?}: the peak is below what is held");
            assert!(
                !node.detached || held > 0,
                "pool {name:?}: nothing refers to it, but it is still there"
            );
        }
        let next = self.next_to_grant();
        assert!(next.is_none(), "a request waits although it fits: {next:?}");
    }
}
