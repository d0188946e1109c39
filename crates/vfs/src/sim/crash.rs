//! What a crash leaves: the choice among what was not synced.

use super::rng::Rng;

/// How a simulated crash treats what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrashOptions {
    /// Decides what survives; the same seed leaves the same disk.
    pub seed: u64,
    /// What survives of what was not synced.
    pub survival: Survival,
    /// Whether the 512-byte sectors of a page survive each for itself, instead of all together.
    pub tear_pages: bool,
}

impl CrashOptions {
    /// A random part survives, pages torn: what [`SimFs::crash_clone`](super::SimFs::crash_clone)
    /// does.
    pub fn new(seed: u64) -> Self {
        CrashOptions { seed, survival: Survival::Random, tear_pages: true }
    }
}

/// Which part of what was not synced survives a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    /// Nothing: the disk as of the last syncs.
    Nothing,
    /// Everything: as when only the process dies.
    Everything,
    /// Each page, length and directory entry in any of the states that it had since it was synced.
    /// Some files are kept or lost as a whole, and at times the entries up to a moment, as a journal
    /// leaves them.
    Random,
}

/// The seeded choice. Each file and the directory take one [`Choice`] of their own.
pub(super) struct Chooser {
    rng: Rng,
    survival: Survival,
    tear_pages: bool,
}

/// How one file's, or the directories', unsynced changes are treated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    Nothing,
    Everything,
    /// Each by itself.
    Each,
    /// All up to some moment (the directories', as a journal leaves them).
    Prefix,
}

impl Chooser {
    pub(super) fn new(options: CrashOptions) -> Self {
        let CrashOptions { seed, survival, tear_pages } = options;
        Chooser { rng: Rng::new(seed), survival, tear_pages }
    }

    pub(super) fn choice(&mut self) -> Choice {
        match self.survival {
            Survival::Nothing => Choice::Nothing,
            Survival::Everything => Choice::Everything,
            Survival::Random => match self.rng.up_to(7) {
                0 => Choice::Nothing,
                1 => Choice::Everything,
                2 | 3 => Choice::Prefix,
                _ => Choice::Each,
            },
        }
    }

    /// How many of `pending` changes to one thing reached the disk.
    pub(super) fn survivors(&mut self, choice: Choice, pending: usize) -> usize {
        match choice {
            Choice::Nothing => 0,
            Choice::Everything => pending,
            Choice::Each | Choice::Prefix => self.rng.up_to(pending),
        }
    }

    pub(super) fn coin(&mut self) -> bool {
        self.rng.coin()
    }

    pub(super) fn tears_pages(&self) -> bool {
        self.tear_pages
    }
}
