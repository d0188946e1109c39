//! Which dropped things some live version still holds: extents of versions, reclaimed exactly when the last live
//! version inside them dies.
//!
//! A thing that was created at version *a* and dropped at version *b* belongs to the versions `[a, b)`, its extent. It
//! may be reclaimed as soon as no live version stands in its extent, and no sooner. One old version therefore keeps
//! only what it can itself reach; what came and went between two live versions, or after the newest, is free at once.
//!
//! Algorithm: a dropped thing is *parked* on the newest live version before *b*, or is free if there is none at or
//! after *a*. When a version dies, each thing parked on it has one place left to go: the live version before it, if
//! that is not before *a*; otherwise it is free. Nothing else is looked at.
//!
//! Invariants:
//! - a parked thing stands on the newest live version that is before its *b*, and that version is not before its *a*;
//! - every thing is live, parked, or forgotten; only [`Extents::retire`] and [`Extents::end`] make it forgotten, and
//!   each of them hands it out as free at that moment.
//!
//! Cost: each thing moved or freed costs O(log n) for n things parked. What moves from a dying version joins what is
//! parked on its predecessor, the smaller of the two sets being poured into the larger, so that among k things the
//! whole life of all versions moves each at most O(log k) times.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use crate::ids::VersionNumber;

#[cfg(test)]
mod tests;

/// The extents of a set of things, and the live versions that they are held against.
///
/// Pure bookkeeping: it does no I/O and takes no lock. `T` names a thing (a file number, a segment number).
///
/// ```
/// use version::{VersionNumber, reclaim::{Extents, Retired}};
///
/// let at = VersionNumber::new;
/// let mut extents = Extents::new();
/// extents.begin(at(1))?;
/// extents.add("table", at(1), 4096)?;
/// extents.begin(at(2))?; // version 2 does without the table
/// assert_eq!(extents.retire(&"table", at(2))?, Retired::Parked);
/// let mut free = Vec::new();
/// extents.end(at(1), &mut free)?;
/// assert_eq!(free, ["table"]);
/// # Ok::<(), version::reclaim::ReclaimError>(())
/// ```
#[derive(Debug)]
pub struct Extents<T> {
    /// The live versions, each with what is parked on it, by creation version.
    live: BTreeMap<VersionNumber, BTreeSet<(VersionNumber, T)>>,
    things: BTreeMap<T, Thing>,
    newest: VersionNumber,
    parked: Usage,
    /// Insertions into a live version's set, for the tests of cost.
    #[cfg(test)]
    moves: u64,
}

#[derive(Clone, Copy, Debug)]
struct Thing {
    created: VersionNumber,
    is_dropped: bool,
    bytes: u64,
}

/// How many things, and how many bytes they hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The number of things.
    pub count: u64,
    /// The sum of the bytes given for them.
    pub bytes: u64,
}

/// What became of a thing that was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "what is free has to be reclaimed by whoever dropped it"]
pub enum Retired {
    /// No live version holds it: it may be reclaimed now, and is forgotten here.
    Free,
    /// A live version holds it; [`Extents::end`] will hand it out.
    Parked,
}

/// A call that would free a thing twice, or free what is live. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReclaimError {
    /// The thing is not known: it was never added, or it was freed before.
    #[error("the thing to drop is not known: it was never added, or it has been freed already")]
    Unknown,
    /// The thing is known already.
    #[error("a thing of that name is already there")]
    AlreadyThere,
    /// The thing was dropped before and waits for its readers.
    #[error("the thing was dropped before and waits for its readers")]
    AlreadyDropped,
    /// A thing cannot be dropped at or before the version that created it.
    #[error("created at version {created}, it cannot be dropped at version {dropped}")]
    DroppedBeforeCreated {
        /// The thing's creation version.
        created: VersionNumber,
        /// The version at which it was to be dropped.
        dropped: VersionNumber,
    },
    /// A version that has not begun was named.
    #[error("version {version} has not begun; the newest is {newest}")]
    NotBegun {
        /// The version that was named.
        version: VersionNumber,
        /// The newest version that has begun.
        newest: VersionNumber,
    },
    /// Versions begin in ascending order.
    #[error("version {version} cannot begin after version {newest}")]
    OutOfOrder {
        /// The version that was to begin.
        version: VersionNumber,
        /// The newest version that has begun.
        newest: VersionNumber,
    },
    /// The version is not live: it has ended, or never began.
    #[error("version {version} is not live")]
    NotLive {
        /// The version that was to end.
        version: VersionNumber,
    },
}

impl<T: Ord + Clone + Debug> Default for Extents<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Ord + Clone + Debug> Extents<T> {
    /// No version, no thing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            live: BTreeMap::new(),
            things: BTreeMap::new(),
            newest: VersionNumber::ZERO,
            parked: Usage::default(),
            #[cfg(test)]
            moves: 0,
        }
    }

    /// Makes `version`, newer than every one before it, live.
    ///
    /// # Errors
    /// [`ReclaimError::OutOfOrder`] when it is not newer.
    pub fn begin(&mut self, version: VersionNumber) -> Result<(), ReclaimError> {
        if version <= self.newest {
            return Err(ReclaimError::OutOfOrder { version, newest: self.newest });
        }
        self.newest = version;
        self.live.insert(version, BTreeSet::new());
        Ok(())
    }

    /// Adds a thing that came into being with version `created`, which has begun, and holds `bytes`.
    ///
    /// # Errors
    /// [`ReclaimError::AlreadyThere`] when it is known, [`ReclaimError::NotBegun`] when `created` lies ahead.
    pub fn add(
        &mut self,
        thing: T,
        created: VersionNumber,
        bytes: u64,
    ) -> Result<(), ReclaimError> {
        if created > self.newest {
            return Err(ReclaimError::NotBegun { version: created, newest: self.newest });
        }
        if self.things.contains_key(&thing) {
            return Err(ReclaimError::AlreadyThere);
        }
        self.things.insert(thing, Thing { created, is_dropped: false, bytes });
        Ok(())
    }

    /// Drops a thing: version `dropped`, which has begun, and all later ones do without it.
    ///
    /// # Errors
    /// [`ReclaimError::Unknown`], [`ReclaimError::AlreadyDropped`], [`ReclaimError::DroppedBeforeCreated`] and
    /// [`ReclaimError::NotBegun`] refuse a second drop and one that makes no sense; the thing stays as it is.
    pub fn retire(&mut self, thing: &T, dropped: VersionNumber) -> Result<Retired, ReclaimError> {
        if dropped > self.newest {
            return Err(ReclaimError::NotBegun { version: dropped, newest: self.newest });
        }
        let known = self.things.get_mut(thing).ok_or(ReclaimError::Unknown)?;
        if known.is_dropped {
            return Err(ReclaimError::AlreadyDropped);
        }
        let created = known.created;
        if dropped <= created {
            return Err(ReclaimError::DroppedBeforeCreated { created, dropped });
        }
        let holder = self.live.range_mut(..dropped).next_back();
        match holder.filter(|(version, _)| **version >= created) {
            Some((_, parked)) => {
                known.is_dropped = true;
                self.parked.count += 1;
                self.parked.bytes += known.bytes;
                parked.insert((created, thing.clone()));
                #[cfg(test)]
                {
                    self.moves += 1;
                }
                Ok(Retired::Parked)
            }
            None => {
                self.things.remove(thing);
                Ok(Retired::Free)
            }
        }
    }

    /// Ends a live version: nothing holds it any more. What only it held is appended to `free` and forgotten here.
    ///
    /// # Errors
    /// [`ReclaimError::NotLive`] when it is not live; nothing is freed.
    pub fn end(&mut self, version: VersionNumber, free: &mut Vec<T>) -> Result<(), ReclaimError> {
        let mut orphaned = self.live.remove(&version).ok_or(ReclaimError::NotLive { version })?;
        let mut heir = self.live.range_mut(..version).next_back();
        // The youngest things are the ones that the version before cannot hold.
        let oldest_freed = heir.as_ref().map(|(heir, _)| **heir);
        while let Some((created, thing)) = orphaned.pop_last() {
            if oldest_freed.is_some_and(|heir| created <= heir) {
                orphaned.insert((created, thing));
                break;
            }
            if let Some(known) = self.things.remove(&thing) {
                self.parked.count -= 1;
                self.parked.bytes -= known.bytes;
            }
            free.push(thing);
        }
        if let Some((_, parked)) = &mut heir {
            if parked.len() < orphaned.len() {
                std::mem::swap(*parked, &mut orphaned);
            }
            #[cfg(test)]
            {
                self.moves += orphaned.len() as u64;
            }
            parked.extend(orphaned);
        }
        Ok(())
    }

    /// Whether a thing of this name is live or parked here.
    #[must_use]
    pub fn contains(&self, thing: &T) -> bool {
        self.things.contains_key(thing)
    }

    /// All things that are live or parked, ascending.
    pub fn things(&self) -> impl Iterator<Item = &T> {
        self.things.keys()
    }

    /// What has been dropped and is still held by a live version.
    #[must_use]
    pub fn parked(&self) -> Usage {
        self.parked
    }

    /// The live versions, oldest first, each with the number of things that wait for its end.
    pub fn live(&self) -> impl Iterator<Item = (VersionNumber, usize)> {
        self.live.iter().map(|(version, parked)| (*version, parked.len()))
    }
}
