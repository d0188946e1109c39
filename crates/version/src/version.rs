//! A version, and what keeps its files from being reclaimed.
//!
//! A [`Version`] is pinned by holding its `Arc`. When the last hold goes, wherever that happens, the version dies: what
//! only it held joins the reclaimable tables and whoever removes files is woken (R3).
//!
//! Concurrency: the one lock here, [`Pins`], is held for the bookkeeping alone, O(log n) for each table that moves or is
//! freed, never during I/O and never while a handle is dropped. It is a leaf: no other lock is taken under it.

use std::fmt;

use base::sync::{Arc, Mutex};
use base::{FamilyId, FileNumber, LogPlace, SegmentNumber, SeqNo};

use crate::ids::VersionNumber;
use crate::levels::{Family, FamilyLevels, SharedTable};
use crate::reclaim::{Extents, ReclaimError, Retired, Usage};
use crate::state::{Changes, State};

/// What the database consists of after an edit: families, their tables, and where the log begins. Immutable.
///
/// While an `Arc` of it is held, none of its tables becomes reclaimable.
pub struct Version<H> {
    pub(crate) state: State<H>,
    pins: Arc<Pins>,
}

impl<H> Version<H> {
    /// The version's number.
    #[must_use]
    pub fn number(&self) -> VersionNumber {
        self.state.number
    }

    /// The family with this id, if the version has it.
    #[must_use]
    pub fn family(&self, family: FamilyId) -> Option<&Family<H>> {
        self.state.families.get(&family).map(|family| &**family)
    }

    /// The family of this name, if the version has it. Looks at all families.
    #[must_use]
    pub fn family_named(&self, name: &str) -> Option<&Family<H>> {
        self.families().find(|family| family.name() == name)
    }

    /// The tables of the family with this id, if the version has it.
    #[must_use]
    pub fn levels(&self, family: FamilyId) -> Option<&FamilyLevels<H>> {
        self.family(family).map(Family::levels)
    }

    /// All families, by id.
    pub fn families(&self) -> impl Iterator<Item = &Family<H>> {
        self.state.families.values().map(|family| &**family)
    }

    /// The tables of all families.
    pub fn tables(&self) -> impl Iterator<Item = &SharedTable<H>> {
        self.state.tables()
    }

    /// The first log segment that may hold entries which are in no table.
    #[must_use]
    pub fn log_from(&self) -> SegmentNumber {
        self.state.log_from
    }

    /// The place up to which (exclusive) the log was known to be on stable storage. What stands before it and is still
    /// needed has to be there.
    #[must_use]
    pub fn log_durable(&self) -> LogPlace {
        self.state.log_durable
    }

    /// The greatest sequence number that an edit has named. The log may hold greater ones.
    #[must_use]
    pub fn last_seq(&self) -> SeqNo {
        self.state.last_seq
    }
}

impl<H> fmt::Debug for Version<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Version")
            .field("number", &self.number())
            .field("log_from", &self.log_from())
            .field("last_seq", &self.last_seq())
            .field("families", &self.state.families)
            .finish()
    }
}

impl<H> Drop for Version<H> {
    fn drop(&mut self) {
        // The handles go before the files are given up: some systems do not remove a file that is open.
        drop(std::mem::take(&mut self.state.families));
        self.pins.version_died(self.state.number);
    }
}

/// Called when tables have become reclaimable.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// A live version and what waits for its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveVersion {
    /// The version's number.
    pub number: VersionNumber,
    /// How many dropped tables will move to an older version, or be free, when it dies.
    pub waiting: usize,
}

/// What is pinned by versions that are not the current one, and what waits to be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PinReport {
    /// The live versions, oldest first; the last one is the current version.
    pub live: Vec<LiveVersion>,
    /// Dropped tables that some live version holds, and the lengths of their files.
    pub pinned: Usage,
    /// Tables that nothing holds and [`VersionSet::take_reclaimable`](crate::VersionSet::take_reclaimable) has not
    /// handed out.
    pub reclaimable: usize,
}

/// The live versions of a database and the tables that they hold.
pub(crate) struct Pins {
    state: Mutex<PinState>,
    wake: Wake,
}

struct PinState {
    extents: Extents<FileNumber>,
    ready: Vec<FileNumber>,
    /// Whether an edit may be on disk that needs tables which are free here: nothing is handed out until that is
    /// settled.
    is_withheld: bool,
}

impl Pins {
    /// No version yet.
    pub fn new(wake: Wake) -> Arc<Self> {
        let state = PinState { extents: Extents::new(), ready: Vec::new(), is_withheld: false };
        Arc::new(Self { state: Mutex::new(state), wake })
    }

    /// The first version of this process, with all its tables.
    pub fn first_version<H>(self: &Arc<Self>, state: State<H>) -> Arc<Version<H>> {
        let mut pins = self.state.lock();
        settle(pins.extents.begin(state.number));
        for table in state.tables() {
            let meta = &table.meta;
            settle(pins.extents.add(meta.number, meta.created, meta.file_bytes));
        }
        drop(pins);
        Arc::new(Version { state, pins: Arc::clone(self) })
    }

    /// The version of an edit that is durable. The one before it is still held by the caller.
    pub fn next_version<H>(
        self: &Arc<Self>,
        state: State<H>,
        changes: &Changes,
    ) -> Arc<Version<H>> {
        let mut pins = self.state.lock();
        let PinState { extents, ready, .. } = &mut *pins;
        settle(extents.begin(state.number));
        for table in &changes.added {
            settle(extents.add(table.number, table.created, table.bytes));
        }
        for number in &changes.dropped {
            if settle(extents.retire(number, state.number)) == Some(Retired::Free) {
                ready.push(*number);
            }
        }
        drop(pins);
        Arc::new(Version { state, pins: Arc::clone(self) })
    }

    fn version_died(&self, number: VersionNumber) {
        let mut pins = self.state.lock();
        let PinState { extents, ready, is_withheld } = &mut *pins;
        let before = ready.len();
        settle(extents.end(number, ready));
        let is_news = ready.len() > before && !*is_withheld;
        drop(pins);
        if is_news {
            (self.wake)();
        }
    }

    /// Whether a table of this number is live or pinned.
    pub fn knows(&self, number: FileNumber) -> bool {
        self.state.lock().extents.contains(&number)
    }

    /// Hands nothing out until [`Pins::hand_out`].
    pub fn withhold(&self) {
        self.state.lock().is_withheld = true;
    }

    /// Hands out what is free from now on.
    pub fn hand_out(&self) {
        let mut pins = self.state.lock();
        pins.is_withheld = false;
        let is_news = !pins.ready.is_empty();
        drop(pins);
        if is_news {
            (self.wake)();
        }
    }

    /// What is free, each table once.
    pub fn take_reclaimable(&self) -> Vec<FileNumber> {
        let mut pins = self.state.lock();
        if pins.is_withheld { Vec::new() } else { std::mem::take(&mut pins.ready) }
    }

    /// Every table that a live version holds.
    pub fn tables(&self) -> Vec<FileNumber> {
        self.state.lock().extents.things().copied().collect()
    }

    pub fn report(&self) -> PinReport {
        let pins = self.state.lock();
        let live = pins.extents.live().map(|(number, waiting)| LiveVersion { number, waiting });
        PinReport {
            live: live.collect(),
            pinned: pins.extents.parked(),
            reclaimable: pins.ready.len(),
        }
    }
}

impl fmt::Debug for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pins").field(&self.report()).finish()
    }
}

/// Edits are checked before they get here, so a refusal is a defect of this crate. A debug build stops; a release build
/// frees nothing, which leaves at worst a file to the next start's removal of orphans.
fn settle<T>(result: Result<T, ReclaimError>) -> Option<T> {
    debug_assert!(result.is_ok(), "a checked edit was refused: {:?}", result.as_ref().err());
    result.ok()
}
