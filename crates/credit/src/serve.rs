//! Whose turn it is: order of arrival within a pool, fair shares between the children of one.
//!
//! The rule, level by level from the root:
//!
//! 1. Within a pool requests are served in order of arrival. Nobody passes the first one, unless the
//!    pool was made with `overtaking`.
//! 2. Between the children of a pool (its own requests count as one more child of weight 1) go first:
//!    requests within the child's floor, then *overdue* ones in order of arrival, then those of
//!    ordinary children, then those of elastic ones; among equals the child that has borrowed least for its weight
//!    (`held beyond floor / weight`), then the one that came first.
//! 3. Who is first but does not fit at this level keeps its place: nobody else passes it *here*. Who is
//!    held up further down (its own ceiling) holds up nobody here.
//!
//! A request is overdue once a whole capacity of the pool has been granted to others that waited, since
//! it came. Without that rule one that asks for more than its fair share could be passed for ever by siblings that
//! always stay below theirs. Every request is thus overtaken by a bounded number of bytes.
//!
//! Deciding is apart from doing: `next_to_grant` changes nothing, and the books' audit uses it to prove
//! that nobody waits needlessly.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::book::Book;
use crate::child::Reclaim;
use crate::node::Node;
use crate::queue::{Queued, Ticket};
use crate::tree::{NodeId, ROOT};

/// What a look into a part of the tree found.
enum Turn {
    Grant(NodeId, Ticket),
    /// The next in turn does not fit at this depth.
    Blocked(u32),
    Nobody,
}

/// The order of those who compete at one level; less goes first.
struct Rank {
    class: Class,
    borrowed: u64,
    weight: u32,
    ticket: Ticket,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    WithinFloor,
    Overdue,
    Ordinary,
    Elastic,
}

impl Rank {
    fn compare(&self, other: &Rank) -> Ordering {
        let shares = || {
            let mine = u128::from(self.borrowed) * u128::from(other.weight);
            mine.cmp(&(u128::from(other.borrowed) * u128::from(self.weight)))
        };
        self.class
            .cmp(&other.class)
            .then_with(|| if self.class == Class::Overdue { Ordering::Equal } else { shares() })
            .then_with(|| self.ticket.cmp(&other.ticket))
    }
}

impl Book {
    /// Grants in turn until the next one does not fit.
    pub(crate) fn serve(&mut self) {
        while let Some((id, ticket)) = self.next_to_grant() {
            self.grant_queued(id, ticket);
        }
    }

    /// The request that is to be granted next, if any fits.
    pub(crate) fn next_to_grant(&self) -> Option<(NodeId, Ticket)> {
        if self.waiting == 0 {
            return None;
        }
        match self.turn(ROOT) {
            Turn::Grant(id, ticket) => Some((id, ticket)),
            Turn::Blocked(_) | Turn::Nobody => None,
        }
    }

    fn turn(&self, id: NodeId) -> Turn {
        let node = self.node(id);
        if node.busy.is_empty() {
            return self.own_turn(id, node);
        }
        let mut rivals: Vec<(Rank, Option<NodeId>)> = Vec::with_capacity(node.busy.len() + 1);
        for &child in &node.busy {
            rivals.extend(self.rank_of_child(node, child).map(|rank| (rank, Some(child))));
        }
        rivals.extend(self.rank_of_own(node).map(|rank| (rank, None)));
        rivals.sort_by(|(a, _), (b, _)| a.compare(b));
        for (_, child) in rivals {
            let turn = match child {
                Some(child) => self.turn(child),
                None => self.own_turn(id, node),
            };
            match turn {
                Turn::Grant(..) => return turn,
                Turn::Blocked(depth) if depth < node.depth => return turn,
                Turn::Blocked(depth) if depth == node.depth && !node.overtaking => return turn,
                Turn::Blocked(_) | Turn::Nobody => {}
            }
        }
        Turn::Nobody
    }

    /// The first of the node's own queue, or the first that fits if overtaking is allowed.
    fn own_turn(&self, id: NodeId, node: &Node) -> Turn {
        let mut first_block = None;
        for queued in node.queue.iter() {
            match self.obstacle(id, queued.waiter.bytes) {
                None => return Turn::Grant(id, queued.ticket),
                Some(at) => {
                    let depth = self.node(at).depth;
                    first_block.get_or_insert(depth);
                    if !node.overtaking || depth < node.depth {
                        break;
                    }
                }
            }
        }
        first_block.map_or(Turn::Nobody, Turn::Blocked)
    }

    fn rank_of_child(&self, parent: &Node, id: NodeId) -> Option<Rank> {
        let child = self.node(id);
        let first = self.oldest(id)?;
        let class = if child.held().saturating_add(first.waiter.bytes) <= child.floor {
            Class::WithinFloor
        } else {
            self.class(parent, first, child.elastic())
        };
        Some(Rank { class, borrowed: child.borrowed(), weight: child.weight, ticket: first.ticket })
    }

    fn rank_of_own(&self, node: &Node) -> Option<Rank> {
        let first = node.queue.first()?;
        let below: u64 = node.children.iter().map(|&child| self.node(child).held()).sum();
        let class = self.class(node, first, false);
        Some(Rank {
            class,
            borrowed: node.held().saturating_sub(below),
            weight: 1,
            ticket: first.ticket,
        })
    }

    fn class(&self, parent: &Node, first: &Queued, elastic: bool) -> Class {
        let passed = self.granted_waiting.wrapping_sub(first.granted_before);
        match (passed > parent.capacity(), elastic) {
            (true, _) => Class::Overdue,
            (false, false) => Class::Ordinary,
            (false, true) => Class::Elastic,
        }
    }

    /// The request that came first of all that wait at or below `id`.
    fn oldest(&self, id: NodeId) -> Option<&Queued> {
        let node = self.node(id);
        let below = node.busy.iter().filter_map(|&child| self.oldest(child));
        node.queue.first().into_iter().chain(below).min_by_key(|queued| queued.ticket)
    }
}

/// One elastic holder, and how many bytes it is to give back.
pub(crate) type Plea = (Arc<dyn Reclaim>, u64);

impl Book {
    /// Whom to ask for how much, so that a request for `bytes` of `id` need not wait.
    ///
    /// Those who have borrowed most for their weight are asked first, and nobody for what its floor
    /// promises it. A request that is itself elastic, beyond its floor, presses nobody: two caches
    /// would evict each other's entries in turn.
    pub(crate) fn pleas(&self, id: NodeId, bytes: u64, is_queued: bool) -> Vec<Plea> {
        if self.elastic.is_empty() {
            return Vec::new();
        }
        let Some(at) = self.obstacle(id, bytes) else { return Vec::new() };
        let borrows =
            |node: &Node| node.elastic() && node.held().saturating_add(bytes) > node.floor;
        if self.path(id).take_while(|(here, _)| *here != at).any(|(_, node)| borrows(node)) {
            return Vec::new();
        }
        let node = self.node(at);
        // Those before it in turn take what comes back first; so it may need all that it asks for anew.
        let ahead = self.queued_bytes(at).saturating_sub(if is_queued { bytes } else { 0 });
        let wanted = node.held().saturating_add(ahead).saturating_add(bytes);
        let mut short = wanted.saturating_sub(node.capacity()).min(bytes);
        let mut holders: Vec<&Node> = self
            .elastic
            .iter()
            .filter(|&&holder| self.is_within(holder, at))
            .map(|&holder| self.node(holder))
            .filter(|holder| holder.borrowed() > 0)
            .collect();
        holders.sort_by_key(|holder| {
            let share =
                u128::from(holder.borrowed()) * u128::from(u32::MAX) / u128::from(holder.weight);
            std::cmp::Reverse(share)
        });
        let mut pleas = Vec::new();
        for holder in holders {
            let part = short.min(holder.borrowed());
            if part > 0 {
                pleas.extend(holder.reclaimer.clone().map(|reclaimer| (reclaimer, part)));
                short -= part;
            }
        }
        pleas
    }

    /// What requests elsewhere in the tree lack, up to what `id` has borrowed.
    pub(crate) fn wanted(&self, id: NodeId) -> u64 {
        let node = self.node(id);
        let own = self.queued_bytes(id);
        let mut wanted = 0;
        for (at, above) in self.path(id).skip(1) {
            let others = self.queued_bytes(at).saturating_sub(own);
            let short = above.held().saturating_add(others).saturating_sub(above.capacity());
            wanted = wanted.max(short.min(others));
        }
        wanted.min(node.borrowed())
    }

    /// Bytes that wait at or below `id`.
    pub(crate) fn queued_bytes(&self, id: NodeId) -> u64 {
        let node = self.node(id);
        let own =
            node.queue.iter().fold(0u64, |sum, queued| sum.saturating_add(queued.waiter.bytes));
        node.busy.iter().fold(own, |sum, &child| sum.saturating_add(self.queued_bytes(child)))
    }
}
