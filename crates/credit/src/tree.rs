//! The lock that all pools of one tree share, and what is done after it is let go.
//!
//! Concurrency
//! - One mutex guards everything but the account words: queues, children, ledgers, ends. Nothing runs
//!   under it that a user wrote: wakers, reclaimers and pressure callbacks run after it is let go, so it
//!   is a leaf in every lock order.
//! - [`Tree::enter`] stops the fast path of a flat pool, lets the caller change the book, serves
//!   whoever fits then, and starts the fast path again if nothing needs the lock. A pool with children
//!   or a parent has no fast path: its grants touch several accounts, and one lock of some 20 ns is
//!   cheaper than a chain of atomics that may have to be undone.

use std::sync::Arc;

use crate::account::Account;
use crate::book::Book;
use crate::handle::Handle;
use crate::pressure;
use crate::sync::{AtomicUsize, Mutex, Ordering};
use crate::wait::Waiter;

/// The lock of a tree of pools; a flat pool is a tree of one.
#[derive(Debug)]
pub(crate) struct Tree {
    book: Mutex<Book>,
    /// Elastic pools in this tree, to be read without the lock: without any, nobody is asked to reclaim.
    elastic: AtomicUsize,
}

/// Names a node in the tree for as long as it lives; never reused for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// The first node of a tree, and the last to go.
pub(crate) const ROOT: NodeId = NodeId { index: 0, generation: 0 };

/// What changes under the lock leave to be done without it.
#[derive(Debug, Default)]
pub(crate) struct Aftermath {
    /// Most of the time there is one: no allocation under the lock for it.
    first_to_wake: Option<Arc<Waiter>>,
    wake: Vec<Arc<Waiter>>,
    pub(crate) notify: Vec<NodeId>,
    /// Accounts that left the tree, each with its parent's handle: dropping that may take the lock.
    pub(crate) dead: Vec<(Arc<Account>, Option<Handle>)>,
}

impl Tree {
    pub(crate) fn new() -> Tree {
        Tree { book: Mutex::new(Book::new()), elastic: AtomicUsize::new(0) }
    }

    /// Whether anybody here can be asked to give bytes back.
    pub(crate) fn has_elastic(&self) -> bool {
        self.elastic.load(Ordering::Relaxed) > 0
    }

    /// Runs `change` under the lock, serves those who fit then, and wakes them without the lock.
    pub(crate) fn enter<R>(&self, change: impl FnOnce(&mut Book) -> R) -> R {
        let (result, aftermath) = {
            let mut book = self.book.lock();
            book.stop_fast_path();
            let result = change(&mut book);
            book.serve();
            book.start_fast_path();
            self.elastic.store(book.elastic.len(), Ordering::Relaxed);
            (result, book.take_aftermath())
        };
        if let Some(aftermath) = aftermath {
            aftermath.run(self);
        }
        result
    }

    /// Runs `look` under the lock, with the fast path stopped meanwhile.
    pub(crate) fn inspect<R>(&self, look: impl FnOnce(&Book) -> R) -> R {
        self.inspect_mut(|book| look(book))
    }

    /// As [`enter`](Tree::enter), for changes that let nobody fit and wake nobody.
    pub(crate) fn inspect_mut<R>(&self, change: impl FnOnce(&mut Book) -> R) -> R {
        let mut book = self.book.lock();
        book.stop_fast_path();
        let result = change(&mut book);
        book.start_fast_path();
        result
    }
}

impl Aftermath {
    pub(crate) fn is_empty(&self) -> bool {
        self.first_to_wake.is_none() && self.notify.is_empty() && self.dead.is_empty()
    }

    pub(crate) fn wake(&mut self, waiter: Arc<Waiter>) {
        match self.first_to_wake {
            None => self.first_to_wake = Some(waiter),
            Some(_) => self.wake.push(waiter),
        }
    }

    fn run(self, tree: &Tree) {
        for waiter in self.first_to_wake.into_iter().chain(self.wake) {
            waiter.wake();
        }
        for id in self.notify {
            pressure::deliver(tree, id);
        }
        for (account, parent) in self.dead {
            bury(account);
            drop(parent);
        }
    }
}

/// Frees an account whose node has left the tree.
#[cfg(not(loom))]
fn bury(account: Arc<Account>) {
    drop(account);
}

/// In the models the memory stays, so that a use after the end is seen and not undefined.
#[cfg(loom)]
fn bury(account: Arc<Account>) {
    account.audit.set_freed();
    std::mem::forget(account);
}
