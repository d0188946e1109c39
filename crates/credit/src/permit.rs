//! A permit: bytes that somebody holds.

use std::panic::Location;

use crate::handle::Stake;

/// Bytes held in a [`Pool`](crate::Pool); they go back when the permit is dropped, exactly once.
///
/// A permit is owned: it may be stored beside what it pays for, moved between threads, split and
/// merged. It keeps its pool's account alive. A permit of 0 bytes holds nothing and costs nothing.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once holds nothing"]
pub struct Permit {
    stake: Stake,
}

impl Permit {
    #[inline]
    pub(crate) fn new(stake: Stake) -> Permit {
        Permit { stake }
    }

    /// Takes the permit apart without returning its bytes: its entry in the ledger, or 0.
    pub(crate) fn into_entry(self) -> u64 {
        let Permit { stake } = self;
        let entry = stake.entry();
        stake.forget();
        entry
    }

    /// The bytes this permit holds.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> u64 {
        self.stake.bytes()
    }

    /// Takes `bytes` out into a permit of their own; `None`, and no change, if fewer are held.
    #[track_caller]
    pub fn split(&mut self, bytes: u64) -> Option<Permit> {
        let location = Location::caller();
        let mut entry = 0;
        if self.stake.entry() != 0
            && bytes <= self.bytes()
            && let Some(account) = self.stake.account()
        {
            entry = account.tree.inspect_mut(|book| {
                book.node_mut(account.id).ledger.split(self.stake.entry(), bytes, location)
            });
        }
        self.stake.split(bytes, entry).map(Permit::new)
    }

    /// Takes the bytes of `other` into this permit. An empty permit becomes the other one.
    ///
    /// # Panics
    /// If both hold bytes and these are of different pools.
    pub fn merge(&mut self, other: Permit) {
        let Permit { stake } = other;
        if self.bytes() > 0
            && stake.entry() != 0
            && let Some(account) = stake.account()
        {
            let (from, to) = (stake.entry(), self.stake.entry());
            account.tree.inspect_mut(|book| {
                book.node_mut(account.id).ledger.merge(from, to, stake.bytes());
            });
        }
        if let Err(foreign) = self.stake.merge(stake) {
            drop(foreign);
            panic!("permits of different pools cannot be merged");
        }
    }

    /// Gives back all but `to_bytes`, which settles an estimate that was too high. No effect if no more
    /// than that is held.
    pub fn shrink(&mut self, to_bytes: u64) {
        let surplus = self.bytes().saturating_sub(to_bytes);
        // The entry of the whole is reduced when the part goes back under its number.
        drop(self.stake.split(surplus, self.stake.entry()));
    }

    /// Gives the bytes up without returning them, for those who keep their account by hand: they stay
    /// held until [`Pool::release_raw`](crate::Pool::release_raw) returns them. Returns the amount.
    ///
    /// A pool all of whose handles are dropped while raw amounts are out is never freed.
    #[must_use = "the amount is what has to be released later"]
    pub fn forget(self) -> u64 {
        let Permit { stake } = self;
        if let Some(account) = stake.account() {
            account.add_raw(stake.bytes());
            if stake.entry() != 0 {
                account.tree.inspect_mut(|book| {
                    book.node_mut(account.id).ledger.reduce(stake.entry(), stake.bytes());
                });
            }
        }
        stake.forget()
    }
}
