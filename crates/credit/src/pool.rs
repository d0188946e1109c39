//! The pool: bytes that may be held, granted in order of arrival.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::book::Book;
use crate::child::{ChildOptions, ChildUse, Reclaim};
use crate::error::{AcquireError, Cause, ChildError, TryAcquireError};
use crate::handle::Handle;
use crate::ledger::{Holder, Site, Waiting};
use crate::node::{End, Terms};
use crate::permit::Permit;
use crate::pressure::Pressure;
use crate::request::Request;
use crate::stats::PoolStats;
use crate::tree::Tree;
use crate::wait::Patience;
use crate::word::MAX_BYTES;

/// A pool of byte credits; clones are handles of the same account.
///
/// See the [crate's front page](crate) for the ideas and examples.
#[derive(Clone)]
pub struct Pool {
    pub(crate) handle: Handle,
}

/// Making pools.
impl Pool {
    /// The most bytes that one pool can count, 256 TiB less one.
    pub const BYTES_MAX: u64 = MAX_BYTES;

    /// Makes a pool of `capacity_bytes`; `None` or `Some(0)` is unlimited, but counted.
    ///
    /// A capacity above [`BYTES_MAX`](Pool::BYTES_MAX) is unlimited too.
    #[must_use]
    pub fn new(capacity_bytes: Option<u64>) -> Pool {
        Pool::root(capacity_bytes, false)
    }

    /// As [`new`](Pool::new), but a request that fits may pass those that wait for more.
    ///
    /// Throughput is higher when the pool is exhausted, and a large request can starve: only for
    /// requests of like size, or with deadlines.
    #[must_use]
    pub fn with_overtaking(capacity_bytes: Option<u64>) -> Pool {
        Pool::root(capacity_bytes, true)
    }

    fn root(capacity_bytes: Option<u64>, overtaking: bool) -> Pool {
        let tree = Arc::new(Tree::new());
        let terms = Terms {
            name: Arc::from("pool"),
            capacity: limit(capacity_bytes),
            floor: 0,
            weight: 1,
            reclaimer: None,
            overtaking,
        };
        let handle = tree.enter(|book| book.plant(&tree, None, terms));
        Pool { handle: handle.expect("a pool without a floor asks nothing of a parent") }
    }

    /// Makes a pool that draws from this one: what it holds, this one holds too.
    ///
    /// A pool with children has no fast path any more: each request takes one short lock that all
    /// pools of the tree share.
    ///
    /// # Errors
    /// [`ChildError`] if the floor cannot be promised; nothing has changed then.
    pub fn child(&self, name: &str, options: &ChildOptions) -> Result<Pool, ChildError> {
        self.plant(name, options, None)
    }

    /// Makes a child for an elastic holder, such as a cache.
    ///
    /// It may use what others' floors leave unused, and `reclaimer` is asked to give back what it holds
    /// beyond its own floor before anybody else has to wait.
    ///
    /// # Errors
    /// As [`child`](Pool::child).
    pub fn elastic_child(
        &self,
        name: &str,
        options: &ChildOptions,
        reclaimer: Arc<dyn Reclaim>,
    ) -> Result<Pool, ChildError> {
        self.plant(name, options, Some(reclaimer))
    }

    fn plant(
        &self,
        name: &str,
        options: &ChildOptions,
        reclaimer: Option<Arc<dyn Reclaim>>,
    ) -> Result<Pool, ChildError> {
        let capacity = limit(options.ceiling_bytes);
        let floor = options.floor_bytes;
        if floor > capacity {
            return Err(ChildError::FloorAboveCeiling {
                floor_bytes: floor,
                ceiling_bytes: capacity,
            });
        }
        let terms = Terms {
            name: Arc::from(name),
            capacity,
            floor,
            weight: options.weight.max(1),
            reclaimer,
            overtaking: false,
        };
        let tree = &self.handle.tree;
        let parent = self.handle.clone();
        let handle = tree.enter(|book| book.plant(tree, Some(parent), terms))?;
        Ok(Pool { handle })
    }
}

/// Acquiring.
impl Pool {
    /// Waits until `bytes` are granted, after all that came before.
    ///
    /// 0 bytes are granted at once. More than the capacity is granted when nothing else is held, and
    /// keeps everybody else out until it is returned.
    ///
    /// # Errors
    /// [`AcquireError::Closed`], [`AcquireError::Poisoned`] or [`AcquireError::TooLarge`].
    #[track_caller]
    #[inline]
    pub fn acquire(&self, bytes: u64) -> Result<Permit, AcquireError> {
        match self.grant_fast(bytes) {
            Some(permit) => Ok(permit),
            None => {
                let entry = self.acquire_slow(bytes)?;
                Ok(Permit::new(self.handle.stake(bytes, entry)))
            }
        }
    }

    /// Waits; the answer is what the caller makes the permit of, so that none has to pass through memory when there is
    /// no need to wait.
    #[track_caller]
    #[cold]
    #[inline(never)]
    fn acquire_slow(&self, bytes: u64) -> Result<u64, AcquireError> {
        self.request(bytes).run_slow(&Patience::Forever).map(Permit::into_entry)
    }

    /// Takes `bytes` if they are free and nobody waits for them.
    ///
    /// # Errors
    /// [`TryAcquireError::WouldBlock`] if it would have to wait, and as [`acquire`](Pool::acquire).
    #[track_caller]
    #[inline]
    pub fn try_acquire(&self, bytes: u64) -> Result<Permit, TryAcquireError> {
        match self.grant_fast(bytes) {
            Some(permit) => Ok(permit),
            None => Ok(self.request(bytes).run_trial_and_plead()?),
        }
    }

    /// As [`acquire`](Pool::acquire), but waits at most for `timeout`.
    ///
    /// # Errors
    /// [`AcquireError::TimedOut`], and as [`acquire`](Pool::acquire).
    #[track_caller]
    pub fn acquire_timeout(&self, bytes: u64, timeout: Duration) -> Result<Permit, AcquireError> {
        self.request(bytes).acquire_timeout(timeout)
    }

    /// As [`acquire`](Pool::acquire), but waits at most until `deadline`.
    ///
    /// What is free at once is granted also when the deadline has passed.
    ///
    /// # Errors
    /// [`AcquireError::TimedOut`], and as [`acquire`](Pool::acquire).
    #[track_caller]
    pub fn acquire_deadline(&self, bytes: u64, deadline: Instant) -> Result<Permit, AcquireError> {
        self.request(bytes).acquire_deadline(deadline)
    }

    /// Begins a request, to which a label for the ledger can be added.
    #[track_caller]
    #[inline]
    pub fn request(&self, bytes: u64) -> Request<'_> {
        Request { pool: self, bytes, site: Site { location: Location::caller(), label: None } }
    }

    /// Grants without the lock, if that is possible.
    #[inline]
    pub(crate) fn grant_fast(&self, bytes: u64) -> Option<Permit> {
        let handle = &self.handle;
        (bytes > 0 && handle.audit.grant_fast(handle, bytes))
            .then(|| Permit::new(handle.stake(bytes, 0)))
    }

    /// Returns bytes that [`Permit::forget`] took out of a permit.
    ///
    /// # Panics
    /// If more is returned than was forgotten: the caller's account is wrong.
    pub fn release_raw(&self, bytes: u64) {
        if let Err(raw) = self.handle.take_raw(bytes) {
            panic!("{bytes} raw bytes released, but only {raw} are held");
        }
        drop(self.handle.stake(bytes, 0));
    }
}

/// Changing a pool in use.
impl Pool {
    /// Changes the capacity (a child's ceiling), also below what is held: then nothing is granted until
    /// enough has come back. `None` or `Some(0)` is unlimited.
    pub fn resize(&self, capacity_bytes: Option<u64>) {
        self.handle.tree.enter(|book| book.resize(self.handle.id, limit(capacity_bytes)));
    }

    /// Ends this pool and those below: who waits and who asks gets [`AcquireError::Closed`]. Permits
    /// stay valid. Closing twice, or after [`poison`](Pool::poison), changes nothing.
    pub fn close(&self) {
        self.handle.tree.enter(|book| book.end(self.handle.id, End::Closed));
    }

    /// As [`close`](Pool::close), with [`AcquireError::Poisoned`] and `cause`. The first end stays.
    pub fn poison(&self, cause: Cause) {
        self.handle.tree.enter(|book| book.end(self.handle.id, End::Poisoned(cause)));
    }

    /// Refuses all who wait now, here and below, with [`AcquireError::Interrupted`] and `cause`, and stays open: for an
    /// owner who finds that what would free credits is failing. Those who ask later wait as ever.
    pub fn interrupt(&self, cause: Cause) {
        self.handle.tree.enter(|book| book.interrupt(self.handle.id, &cause));
    }

    /// Calls `callback` whenever the bytes held cross one of `thresholds` (fractions of the capacity),
    /// and when requests begin or cease to wait; for an owner that wants to free something in time.
    ///
    /// It runs on the thread that caused the change, without a lock of the pool and never on two threads
    /// at once; changes that come meanwhile are told afterwards, by the same thread, the last one always.
    /// It may use the pool, but must not wait for credits. A level is left 1/64 of the capacity below
    /// its threshold. Watches stay as long as the pool, and one that owns a handle of the pool keeps it for
    /// ever: give it a weak reference to what owns the pool.
    pub fn on_pressure(
        &self,
        thresholds: &[f64],
        callback: impl Fn(Pressure) + Send + Sync + 'static,
    ) {
        self.handle.tree.enter(|book| {
            book.node_mut(self.handle.id).watches.add(thresholds, Arc::new(callback));
            book.watch(self.handle.id);
        });
    }

    /// Turns the ledger of holders on or off. While it is on every request takes the lock and is
    /// listed; permits granted before are not.
    pub fn set_ledger(&self, on: bool) {
        self.handle.tree.inspect_mut(|book| book.node_mut(self.handle.id).ledger.set(on));
    }
}

/// Looking.
impl Pool {
    /// Bytes held now, by permits, raw amounts and pools below; one atomic load.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.handle.held()
    }

    /// The most bytes ever held at once, exact.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        self.handle.peak()
    }

    /// Requests that wait now, here or in pools below; one atomic load.
    #[must_use]
    pub fn waiters(&self) -> usize {
        self.handle.waiting()
    }

    /// The capacity (a child's ceiling); `None` is unlimited. One atomic load.
    #[must_use]
    pub fn capacity_bytes(&self) -> Option<u64> {
        capacity(self.handle.capacity())
    }

    /// What is left of this pool's own capacity; `None` if it is unlimited, 0 while more is held.
    /// Pools above may have less.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        let held = self.held_bytes();
        self.capacity_bytes().map(|capacity| capacity.saturating_sub(held))
    }

    /// The part of the capacity that is held; 0 if it is unlimited, above 1 while more is held.
    #[must_use]
    pub fn used_fraction(&self) -> f64 {
        let held = self.held_bytes();
        self.capacity_bytes().map_or(0.0, |capacity| held as f64 / capacity as f64)
    }

    /// Counters and distribution of waiting times.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.handle.tree.inspect(|book| {
            let node = book.node(self.handle.id);
            let waits = node.account.waits.read();
            PoolStats {
                acquisitions: node.account.grants(),
                waits: waits.waits,
                waits_refused: waits.refused,
                wait_total: waits.total,
                wait_max: waits.max,
                wait_times: waits.times,
                peak_bytes: node.account.peak(),
                held_bytes: node.held(),
                raw_bytes: node.account.raw(),
                capacity_bytes: capacity(node.capacity()),
                waiters: node.account.waiting(),
            }
        })
    }

    /// The permits held, the largest first; empty unless the [ledger](Pool::set_ledger) is on.
    #[must_use]
    pub fn holders(&self) -> Vec<Holder> {
        self.handle.tree.inspect(|book| book.node(self.handle.id).ledger.holders())
    }

    /// The requests that wait here and in pools below, in order of arrival, and what they wait for.
    #[must_use]
    pub fn waiting(&self) -> Vec<Waiting> {
        self.handle.tree.inspect(|book| book.waiting_below(self.handle.id))
    }

    /// The pools that draw from this one directly, in order of their making.
    #[must_use]
    pub fn children(&self) -> Vec<ChildUse> {
        self.handle.tree.inspect(|book| {
            let children = &book.node(self.handle.id).children;
            children.iter().map(|&id| ChildUse::of(book.node(id))).collect()
        })
    }

    /// Bytes that waiting requests lack and an elastic holder in this pool is asked for; 0 when nobody
    /// waits. A cache whose entries were pinned when it was asked looks here when they become free.
    #[must_use]
    pub fn wanted_bytes(&self) -> u64 {
        self.handle.tree.inspect(|book| book.wanted(self.handle.id))
    }

    /// Checks the account of the whole tree: what was issued is held or free, children and parents
    /// agree, nobody waits who would fit. Exact also while the pool is in use. The independent sum of
    /// grants and returns is compared in builds with debug assertions only.
    ///
    /// # Panics
    /// If the account is wrong, naming the pool.
    pub fn check_conservation(&self) {
        self.handle.tree.inspect(Book::audit_books);
    }

    /// Checks that nothing is held; for the end of a test or of a service.
    ///
    /// # Panics
    /// If bytes are held, naming who holds them if the [ledger](Pool::set_ledger) was on.
    #[track_caller]
    pub fn assert_all_returned(&self) {
        let (held, raw) = (self.held_bytes(), self.handle.raw());
        if held == 0 {
            return;
        }
        let mut report = String::new();
        for Holder { bytes, since, location, label, thread } in self.holders() {
            let label = label.unwrap_or("a permit");
            let thread = thread.as_deref().unwrap_or("unnamed");
            let age = since.elapsed();
            report += &format!(
                "\n  {bytes} bytes by {label} from {location}, thread {thread}, for {age:?}"
            );
        }
        for child in self.children().iter().filter(|child| child.held_bytes > 0) {
            report += &format!("\n  {} bytes by the pool {:?}", child.held_bytes, child.name);
        }
        panic!("{held} bytes are still held, {raw} of them raw:{report}");
    }
}

impl PartialEq for Pool {
    /// Whether both are handles of the same account.
    fn eq(&self, other: &Pool) -> bool {
        self.handle.same(&other.handle)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("held_bytes", &self.held_bytes())
            .field("capacity_bytes", &self.capacity_bytes())
            .field("waiters", &self.waiters())
            .finish_non_exhaustive()
    }
}

/// What a capacity given from outside means inside.
fn limit(capacity_bytes: Option<u64>) -> u64 {
    capacity_bytes.filter(|&bytes| bytes > 0).map_or(MAX_BYTES, |bytes| bytes.min(MAX_BYTES))
}

/// What a capacity inside means outside.
pub(crate) fn capacity(limit: u64) -> Option<u64> {
    (limit < MAX_BYTES).then_some(limit)
}
