//! Telling an owner that its pool fills up, before it is full.
//!
//! Concurrency: a pool's watches are claimed under the lock by whoever sees a level change, and told
//! without the lock until each level is the one last told. So one thread at a time tells them, in order;
//! levels that came and went in between are skipped, and the last one is never missed.

use std::fmt;
use std::sync::Arc;

use crate::book::Book;
use crate::tree::{NodeId, Tree};

/// How full a pool is, as told to a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pressure {
    /// How many of the watch's thresholds are reached; one more than there are while requests wait.
    pub level: usize,
    /// The level told before.
    pub level_before: usize,
    /// Bytes held.
    pub held_bytes: u64,
    /// The capacity; `None` is unlimited.
    pub capacity_bytes: Option<u64>,
    /// Requests that wait.
    pub waiters: usize,
}

/// The watches of one pool.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    list: Vec<Watch>,
    /// A thread is telling them, or has been charged to.
    claimed: bool,
}

/// A registered callback and its thresholds.
struct Watch {
    /// Fractions of the capacity, ascending.
    thresholds: Vec<f64>,
    told: usize,
    callback: Callback,
}

type Callback = Arc<dyn Fn(Pressure) + Send + Sync>;

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Watch { thresholds, told, callback: _ } = self;
        f.debug_struct("Watch")
            .field("thresholds", thresholds)
            .field("told", told)
            .finish_non_exhaustive()
    }
}

/// A level is left only when this part of the capacity has been given back below its threshold, so that
/// a pool that hovers at one does not call back at every request.
const HYSTERESIS: f64 = 1.0 / 64.0;

impl Watch {
    /// Bytes at which level `index + 1` is reached.
    fn rises_at(&self, index: usize, capacity: u64) -> u64 {
        let bytes = (self.thresholds[index] * capacity as f64).ceil();
        (bytes as u64).max(1)
    }

    /// Bytes below which level `index + 1` is left.
    fn falls_below(&self, index: usize, capacity: u64) -> u64 {
        let slack = (HYSTERESIS * capacity as f64) as u64;
        self.rises_at(index, capacity).saturating_sub(slack).max(1)
    }

    fn level(&self, held: u64, capacity: u64, waits: bool) -> usize {
        let top = self.thresholds.len();
        if waits {
            return top + 1;
        }
        let mut level = self.told.min(top);
        while level < top && held >= self.rises_at(level, capacity) {
            level += 1;
        }
        while level > 0 && held < self.falls_below(level - 1, capacity) {
            level -= 1;
        }
        level
    }

    /// The held bytes, lowest and highest, between which the level told stays true.
    fn quiet_range(&self, capacity: u64) -> (u64, u64) {
        let level = self.told.min(self.thresholds.len());
        let low = if level > 0 { self.falls_below(level - 1, capacity) } else { 0 };
        let high = if level < self.thresholds.len() {
            self.rises_at(level, capacity) - 1
        } else {
            u64::MAX
        };
        (low, high)
    }
}

impl Watches {
    pub(crate) fn add(&mut self, thresholds: &[f64], callback: Callback) {
        let mut thresholds: Vec<f64> = thresholds.iter().copied().filter(|t| *t > 0.0).collect();
        thresholds.sort_by(f64::total_cmp);
        self.list.push(Watch { thresholds, told: 0, callback });
    }

    /// Whether a level has changed and the caller is to have it told.
    pub(crate) fn claim(&mut self, held: u64, capacity: u64, waits: bool) -> bool {
        if self.claimed || self.list.is_empty() {
            return false;
        }
        self.claimed =
            self.list.iter().any(|watch| watch.level(held, capacity, waits) != watch.told);
        self.claimed
    }

    /// The held bytes, lowest and highest, between which all levels told stay true.
    pub(crate) fn quiet_range(&self, capacity: u64) -> (u64, u64) {
        self.list.iter().fold((0, u64::MAX), |(low, high), watch| {
            let (own_low, own_high) = watch.quiet_range(capacity);
            (low.max(own_low), high.min(own_high))
        })
    }
}

/// Tells the watches of `id`, which the caller has claimed, until each has heard its present level.
pub(crate) fn deliver(tree: &Tree, id: NodeId) {
    // If a callback panics, the watches must not stay claimed for ever.
    let unclaim = Unclaim { tree, id };
    while let Some((pressure, callback)) = tree.inspect_mut(|book| next_to_tell(book, id)) {
        callback(pressure);
    }
    std::mem::forget(unclaim);
}

/// What is to be told next; without anything, the watches are given free.
fn next_to_tell(book: &mut Book, id: NodeId) -> Option<(Pressure, Callback)> {
    let node = book.get_mut(id)?;
    let (held, capacity, waiters) = (node.held(), node.capacity(), node.account.waiting());
    let capacity_bytes = (!node.unlimited()).then_some(capacity);
    for watch in &mut node.watches.list {
        let level = watch.level(held, capacity, waiters > 0);
        let level_before = std::mem::replace(&mut watch.told, level);
        if level != level_before {
            let pressure =
                Pressure { level, level_before, held_bytes: held, capacity_bytes, waiters };
            return Some((pressure, Arc::clone(&watch.callback)));
        }
    }
    node.watches.claimed = false;
    None
}

struct Unclaim<'a> {
    tree: &'a Tree,
    id: NodeId,
}

impl Drop for Unclaim<'_> {
    fn drop(&mut self) {
        self.tree.inspect_mut(|book| {
            if let Some(node) = book.get_mut(self.id) {
                node.watches.claimed = false;
            }
        });
    }
}
