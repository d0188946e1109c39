//! Who holds how much since when, and who waits why.
//!
//! Waiting requests are always known. Holders are listed only while the pool's ledger is on, since each
//! grant and return then takes the lock.

use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::Arc;
use std::thread::Thread;
use std::time::Instant;

use crate::book::Book;
use crate::node::Node;
use crate::tree::NodeId;

/// Where and by whom a request was made.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) location: &'static Location<'static>,
    pub(crate) label: Option<&'static str>,
}

/// One permit that is held.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Holder {
    /// The bytes it holds.
    pub bytes: u64,
    /// When they were granted, or split off.
    pub since: Instant,
    /// The call that asked for them.
    pub location: &'static Location<'static>,
    /// The request's label, if it had one.
    pub label: Option<&'static str>,
    /// The thread that was granted them or, for those that waited, that returned them to it.
    pub thread: Option<String>,
}

/// One request that waits.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Waiting {
    /// The pool that was asked.
    pub pool: Arc<str>,
    /// The bytes it asks for.
    pub bytes: u64,
    /// Since when it waits.
    pub since: Instant,
    /// The call that asks.
    pub location: &'static Location<'static>,
    /// The request's label, if it has one.
    pub label: Option<&'static str>,
    /// What it waits for.
    pub reason: WaitReason,
}

/// Why a request waits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitReason {
    /// It would fit, but others come before it.
    Turn,
    /// This pool, the one that was asked or one it draws from, has too little free.
    Full {
        /// The pool's name.
        pool: Arc<str>,
    },
}

/// The holders of one pool; empty while it is off.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    on: bool,
    /// Never reused, also not when the ledger is turned off and on again: 0 is no entry.
    last: u64,
    entries: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    bytes: u64,
    since: Instant,
    site: Site,
    thread: Thread,
}

impl Ledger {
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// Turns the ledger on, or off, which empties it.
    pub(crate) fn set(&mut self, on: bool) {
        self.on = on;
        if !on {
            self.entries.clear();
        }
    }

    /// Lists `bytes` if the ledger is on; returns the entry or 0.
    pub(crate) fn open(&mut self, bytes: u64, site: &Site) -> u64 {
        if !self.on {
            return 0;
        }
        self.last += 1;
        let entry = Entry {
            bytes,
            since: crate::sync::now(),
            site: site.clone(),
            thread: std::thread::current(),
        };
        self.entries.insert(self.last, entry);
        self.last
    }

    /// Takes `bytes` off `entry`, which goes when it is empty; no effect if it is not listed.
    pub(crate) fn reduce(&mut self, entry: u64, bytes: u64) {
        if let Some(listed) = self.entries.get_mut(&entry) {
            listed.bytes = listed.bytes.saturating_sub(bytes);
            if listed.bytes == 0 {
                self.entries.remove(&entry);
            }
        }
    }

    /// Moves `bytes` from `from` to a new entry like it; returns that, or 0 if `from` is not listed.
    pub(crate) fn split(
        &mut self,
        from: u64,
        bytes: u64,
        location: &'static Location<'static>,
    ) -> u64 {
        let Some(label) = self.entries.get(&from).map(|listed| listed.site.label) else { return 0 };
        self.reduce(from, bytes);
        self.open(bytes, &Site { location, label })
    }

    /// Moves `bytes` from `from` to `to`; those that were not listed stay unlisted.
    pub(crate) fn merge(&mut self, from: u64, to: u64, bytes: u64) {
        if !self.entries.contains_key(&from) {
            return;
        }
        self.reduce(from, bytes);
        if let Some(listed) = self.entries.get_mut(&to) {
            listed.bytes = listed.bytes.saturating_add(bytes);
        }
    }

    pub(crate) fn listed_bytes(&self) -> u64 {
        self.entries.values().map(|entry| entry.bytes).sum()
    }

    pub(crate) fn holders(&self) -> Vec<Holder> {
        let mut holders: Vec<Holder> = self
            .entries
            .values()
            .map(|entry| Holder {
                bytes: entry.bytes,
                since: entry.since,
                location: entry.site.location,
                label: entry.site.label,
                thread: entry.thread.name().map(str::to_owned),
            })
            .collect();
        holders.sort_by_key(|holder| std::cmp::Reverse(holder.bytes));
        holders
    }
}

impl Book {
    /// The requests that wait at or below `top`, in order of arrival.
    pub(crate) fn waiting_below(&self, top: NodeId) -> Vec<Waiting> {
        let mut found = Vec::new();
        for id in self.subtree(top) {
            let node: &Node = self.node(id);
            for queued in node.queue.iter() {
                let waiter = &queued.waiter;
                let reason = match self.obstacle(id, waiter.bytes) {
                    None => WaitReason::Turn,
                    Some(at) => WaitReason::Full { pool: Arc::clone(&self.node(at).name) },
                };
                let waiting = Waiting {
                    pool: Arc::clone(&node.name),
                    bytes: waiter.bytes,
                    since: waiter.since,
                    location: waiter.site.location,
                    label: waiter.site.label,
                    reason,
                };
                found.push((queued.ticket, waiting));
            }
        }
        found.sort_by_key(|(ticket, _)| *ticket);
        found.into_iter().map(|(_, waiting)| waiting).collect()
    }
}
