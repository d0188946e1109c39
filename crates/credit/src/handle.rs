//! Who keeps an account alive: handles (pools) by count, and stakes (permits) by their very bytes.
//!
//! A permit that carried an `Arc` would cost two atomic operations more per acquire and release, on the
//! cache line that is contended anyway. It needs none, for the account already knows how much is held:
//! the account lives as long as it has a handle *or* holds bytes.
//!
//! Invariants
//! - An account is freed only by removing its node from the tree, under the tree's lock, when its last
//!   handle has detached (`Book::detach`) and nothing is held. Detaching sets `SLOW` for good, so that
//!   every later release takes the lock, and the one that brings held to 0 frees the account.
//! - A stake of more than 0 bytes is part of what is held. It may thus read the account until its
//!   bytes are returned, and not after. What the slow path needs afterwards (the lock) it keeps by an
//!   `Arc<Tree>` cloned before.
//! - Nothing makes a handle from a stake, so once the count has fallen to 0 it stays there.
//!
//! Rejected: a reference count beside the word (as `Arc` does), for the reason above; borrowing the
//! pool (as `tokio`'s plain permit does), because a permit has to move into the memtable that it pays for.
#![expect(unsafe_code, reason = "lifetime of the account; see the invariants above")]

use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::account::Account;
use crate::sync::Ordering;
use crate::tree::{NodeId, Tree};

/// One counted reference to an account.
#[derive(Debug)]
pub(crate) struct Handle(NonNull<Account>);

// SAFETY: a handle gives shared access to an `Account`, which is `Send + Sync` (checked below).
unsafe impl Send for Handle {}
// SAFETY: as for `Send`.
unsafe impl Sync for Handle {}

const _: () = {
    const fn shared_between_threads<T: Send + Sync>() {}
    shared_between_threads::<Account>();
};

impl Handle {
    /// Takes over the one handle that `account` was made with; its node in the tree holds the `Arc`.
    pub(crate) fn adopt(account: &Arc<Account>) -> Handle {
        Handle(NonNull::from(&**account))
    }

    /// Whether both refer to the same account.
    pub(crate) fn same(&self, other: &Handle) -> bool {
        self.0 == other.0
    }

    /// The bytes just granted by this account, as something that returns them.
    #[inline]
    pub(crate) fn stake(&self, bytes: u64, entry: u64) -> Stake {
        Stake { account: self.0, bytes, entry }
    }
}

impl Deref for Handle {
    type Target = Account;

    #[inline]
    fn deref(&self) -> &Account {
        // SAFETY: the account's node holds an `Arc` of it until the last handle has detached.
        let account = unsafe { self.0.as_ref() };
        account.audit.assert_alive();
        account
    }
}

impl Clone for Handle {
    fn clone(&self) -> Handle {
        self.handles.fetch_add(1, Ordering::Relaxed);
        Handle(self.0)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // AcqRel: what other handles did happens before the detaching.
        if self.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Still there: only the last handle detaches, and that is this one.
            let tree: Arc<Tree> = Arc::clone(&self.tree);
            let id = self.id;
            tree.enter(|book| book.detach(id));
        }
    }
}

/// An amount that is held in an account, and is returned exactly once.
#[derive(Debug)]
pub(crate) struct Stake {
    /// Valid while `bytes` is not 0.
    account: NonNull<Account>,
    bytes: u64,
    /// The entry in the ledger, or 0.
    entry: u64,
}

// SAFETY: a stake gives shared access to an `Account`, which is `Send + Sync` (checked above).
unsafe impl Send for Stake {}
// SAFETY: as for `Send`.
unsafe impl Sync for Stake {}

impl Stake {
    #[inline]
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn entry(&self) -> u64 {
        self.entry
    }

    /// The account, unless the stake is empty.
    #[inline]
    pub(crate) fn account(&self) -> Option<&Account> {
        if self.bytes == 0 {
            return None;
        }
        // SAFETY: these bytes are held, so the account is alive, and the borrow of `self` keeps them held.
        let account = unsafe { self.account.as_ref() };
        account.audit.assert_alive();
        Some(account)
    }

    /// Takes `bytes` out under the ledger entry `entry`, if there are as many.
    pub(crate) fn split(&mut self, bytes: u64, entry: u64) -> Option<Stake> {
        self.bytes = self.bytes.checked_sub(bytes)?;
        Some(Stake { account: self.account, bytes, entry })
    }

    /// Takes in all of `other`; gives it back if it is of another account.
    pub(crate) fn merge(&mut self, mut other: Stake) -> Result<(), Stake> {
        if other.bytes == 0 {
            return Ok(());
        }
        if self.bytes == 0 {
            std::mem::swap(self, &mut other);
            return Ok(());
        }
        if self.account != other.account {
            return Err(other);
        }
        // Both are part of what is held, so the sum is at most MAX_BYTES.
        self.bytes += std::mem::take(&mut other.bytes);
        Ok(())
    }

    /// Gives the bytes up without returning them.
    pub(crate) fn forget(mut self) -> u64 {
        std::mem::take(&mut self.bytes)
    }
}

impl Drop for Stake {
    #[inline]
    fn drop(&mut self) {
        let Some(account) = self.account() else { return };
        if account.audit.release_fast(account, self.bytes) {
            return;
        }
        release_slow(Arc::clone(&account.tree), account.id, self.bytes, self.entry);
    }
}

/// Kept out of line, so that a permit that is dropped where it was acquired never leaves the registers. It gets no
/// reference to the account, which it may free.
#[cold]
#[inline(never)]
fn release_slow(tree: Arc<Tree>, id: NodeId, bytes: u64, entry: u64) {
    tree.enter(|book| book.release(id, bytes, entry));
}
