//! The versions of one database: the current one, the manifest that makes it durable, and what may be reclaimed.
//!
//! Algorithm of [`VersionSet::apply`]: check the edit against the current version, append it to the manifest, sync,
//! install the new version. If the manifest cannot take it (none has been written yet by this process, an earlier write
//! or sync failed, it has grown long), a fresh one with a snapshot of the current version is made durable first.
//!
//! Invariants:
//! - a version is installed only after the edit that makes it is durable in the manifest that `CURRENT` durably names;
//! - while it is unknown what a restart would read (after a failed write, sync or rename, and between recovery and the
//!   first fresh manifest), no table is handed out to be removed, and no manifest that it may read is removed.
//!
//! Concurrency: `writer` serialises edits and is held during I/O. Readers never take it: they load the current version.
//! A version that dies takes the lock of its pins alone (see [`crate::version`]). Lock order: `writer`, then pins.

use std::fmt;
use std::path::{Path, PathBuf};

use base::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use base::sync::{Arc, ArcCell, Mutex};
use base::{FamilyId, FileNumber, SegmentNumber, SeqNo};
use vfs::Fs;

use crate::edit::VersionEdit;
use crate::error::{ApplyError, Error};
use crate::files::{FIRST_MANIFEST, LiveFiles};
use crate::levels::Family;
use crate::manifest::{LiveManifest, Tail};
use crate::pointer::{self, PointError};
use crate::state::{EditError, State, TableIndex};
use crate::table::TableMeta;
use crate::version::{PinReport, Pins, Version, Wake};

mod directory;
mod writer;

use directory::{clear_unfinished, read_database, sync_ancestors};
use writer::Writer;

/// How the manifest is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManifestOptions {
    /// A manifest longer than this, in bytes, and than twice its snapshot, is replaced by a fresh one with the next edit.
    /// Default 4 MiB. Longer ones make recovery slower, shorter ones are rewritten more often.
    pub max_bytes: u64,
}

impl Default for ManifestOptions {
    fn default() -> Self {
        Self { max_bytes: 4 << 20 }
    }
}

/// What was found when the database was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The manifest that was read.
    pub manifest: FileNumber,
    /// How it ended.
    pub tail: Tail,
    /// The edits in it, its snapshot left out.
    pub edits: u64,
}

/// What was written since the database was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ManifestStats {
    /// Bytes written to manifests.
    pub bytes_written: u64,
    /// Bytes of the live manifest; 0 while there is none that may be appended to.
    pub live_bytes: u64,
    /// Edits that were applied.
    pub edits: u64,
    /// Fresh manifests that were made durable, the first one included.
    pub replacements: u64,
    /// Attempts at that which failed.
    pub failed_replacements: u64,
}

/// The versions of one database. `H` is what its user attaches to each table file.
///
/// It does not lock the directory: whoever opens a database holds its `LOCK` first.
pub struct VersionSet<H> {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    options: ManifestOptions,
    /// The next file number and family id. Relaxed: they are only counted up, and reach others by the edits' lock.
    next_file: AtomicU64,
    next_family: AtomicU32,
    /// Files below this number were there when the database was opened.
    first_new: FileNumber,
    recovery: Option<Recovery>,
    writer: Mutex<Writer>,
    current: ArcCell<Version<H>>,
    pins: Arc<Pins>,
}

impl<H> VersionSet<H> {
    /// Creates a database in `dir`, which is created if need be, with the default family and nothing in it. Once this
    /// has returned, the creation is durable.
    ///
    /// A crash, or an error, leaves either a whole database or nothing that counts as one, so that it can be created
    /// again. No log segment or table may be made before this has returned: they would look like a database that has
    /// lost its `CURRENT`.
    ///
    /// `wake` is called when tables have become reclaimable; see [`VersionSet::recover`].
    ///
    /// # Errors
    /// [`Error::Exists`]: open it instead. [`Error::LostCurrent`]: there was one; nothing is changed.
    /// [`Error::File`]: try again once the cause is gone.
    pub fn create(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: ManifestOptions,
        wake: Wake,
    ) -> Result<Self, Error> {
        fs.create_dir_all(dir)?;
        sync_ancestors(&*fs, dir)?;
        clear_unfinished(&*fs, dir)?;
        let first_new = FileNumber::new(FIRST_MANIFEST.get() + 1);
        let state = State::first(first_new);
        let manifest = LiveManifest::create(&*fs, dir, FIRST_MANIFEST, &state)?;
        pointer::point_to(&*fs, dir, FIRST_MANIFEST).map_err(|error| match error {
            PointError::Untouched(error) | PointError::Unknown(error) => error,
        })?;
        let set = Self::new(fs, dir, options, wake, state, first_new, TableIndex::default());
        set.writer.lock().take_manifest(manifest, options);
        Ok(set)
    }

    /// Opens the database in `dir`: `CURRENT`, the manifest that it names, and whether the tables that it lists are
    /// there with the right lengths. `make_handle` is then called once for each table. Nothing is written.
    ///
    /// Remove no file before [`VersionSet::secure`] or [`VersionSet::apply`] has made a fresh manifest durable: what was
    /// read may not be, if it was written just before the process ended, and a crash would bring back the state before.
    ///
    /// `wake` is called when tables have become reclaimable, by whichever thread dropped the last hold on a version, a
    /// reader's or one inside [`VersionSet::apply`]. It must be quick, must not block, and must not call this set: set
    /// a flag and notify whoever removes files.
    ///
    /// # Errors
    /// [`Error::NoDatabase`]: there is none. All others name the file at fault and what to do; `make_handle`'s error
    /// is passed on.
    pub fn recover<E: From<Error>>(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: ManifestOptions,
        wake: Wake,
        mut make_handle: impl FnMut(&TableMeta) -> Result<H, E>,
    ) -> Result<Self, E> {
        let (recovery, found, first_new) = read_database(&*fs, dir)?;
        let index = TableIndex::of(&found);
        let state = found.map(|table| make_handle(&table.meta))?;
        let mut set = Self::new(fs, dir, options, wake, state, first_new, index);
        set.writer.lock().stale.push(recovery.manifest);
        set.recovery = Some(recovery);
        Ok(set)
    }

    fn new(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: ManifestOptions,
        wake: Wake,
        state: State<H>,
        first_new: FileNumber,
        index: TableIndex,
    ) -> Self {
        let pins = Pins::new(wake);
        let next_family = AtomicU32::new(state.next_family.get());
        let stats = ManifestStats::default();
        let writer = Writer { manifest: None, stale: Vec::new(), replace_at: 0, index, stats };
        Self {
            fs,
            dir: dir.to_owned(),
            options,
            next_file: AtomicU64::new(first_new.get()),
            next_family,
            first_new,
            recovery: None,
            writer: Mutex::new(writer),
            current: ArcCell::new(pins.first_version(state)),
            pins,
        }
    }

    /// The current version, pinned as long as the answer is held. Takes no lock.
    #[must_use]
    pub fn current(&self) -> Arc<Version<H>> {
        Arc::clone(&self.current.load())
    }

    /// A number for a new table file, never used before in this database.
    #[must_use]
    pub fn new_file_number(&self) -> FileNumber {
        FileNumber::new(self.next_file.fetch_add(1, Ordering::Relaxed))
    }

    /// An id for a new family, never used before in this database.
    #[must_use]
    pub fn new_family_id(&self) -> FamilyId {
        FamilyId::new(self.next_family.fetch_add(1, Ordering::Relaxed))
    }

    /// [`Version::log_from`] of the current version.
    #[must_use]
    pub fn log_from(&self) -> SegmentNumber {
        self.current.load().log_from()
    }

    /// [`Version::last_seq`] of the current version.
    #[must_use]
    pub fn last_seq(&self) -> SeqNo {
        self.current.load().last_seq()
    }

    /// [`Family::flushed_seq`] of a family in the current version, if it has that family.
    #[must_use]
    pub fn flushed_seq(&self, family: FamilyId) -> Option<SeqNo> {
        self.current.load().family(family).map(Family::flushed_seq)
    }

    /// Ids and names of the families of the current version, by id.
    #[must_use]
    pub fn families(&self) -> Vec<(FamilyId, String)> {
        self.current.load().families().map(|f| (f.id(), f.name().to_owned())).collect()
    }

    /// What was found when the database was opened; `None` when it was created.
    #[must_use]
    pub fn recovery(&self) -> Option<&Recovery> {
        self.recovery.as_ref()
    }

    /// Applies an edit: once this has returned, the edit is durable and the version that it makes, which is returned,
    /// is the current one. Calls are served one after the other; each edit is checked against the version that it
    /// finds.
    ///
    /// `handles` are those of the new tables in the order of [`VersionEdit::added_tables`], none for tables that move.
    /// The new tables' files and directory entries must be durable. The counters, the version and the new tables'
    /// [`TableMeta::created`] are filled in here.
    ///
    /// # Errors
    /// See [`ApplyError`]; the current version stays what it was.
    pub fn apply(
        &self,
        mut edit: VersionEdit,
        handles: Vec<H>,
    ) -> Result<Arc<Version<H>>, ApplyError> {
        // Declared before the guard, so dropped after it: the version before may die here.
        let before;
        let mut writer = self.writer.lock();
        before = self.current();
        self.complete(&mut edit, &before.state)?;
        let mut state = before.state.clone();
        let changes = state.apply(&edit, &writer.index, handles)?;
        if let Some(table) = changes.added.iter().find(|table| self.pins.knows(table.number)) {
            return Err(EditError::TableExists { number: table.number }.into());
        }
        self.make_ready(&mut writer, &before.state).map_err(ApplyError::NotWritten)?;
        // A fresh manifest has taken a number itself, and says so: the edit must not go back behind that.
        let next_file = FileNumber::new(self.next_file.load(Ordering::Relaxed));
        state.next_file = next_file;
        edit.next_file = Some(next_file);
        self.append(&mut writer, &edit)?;
        writer.stats.edits += 1;
        writer.index.commit(&changes);
        let version = self.pins.next_version(state, &changes);
        self.current.store(Arc::clone(&version));
        Ok(version)
    }

    /// Makes sure that the current version is durable in a manifest of this process, and says which files it needs.
    ///
    /// To be called after recovery, before orphans are removed, and after an edit was left
    /// [in doubt](ApplyError::InDoubt), once it will not be tried again. Does no I/O when the manifest is sound.
    ///
    /// # Errors
    /// [`Error::File`] when a fresh manifest cannot be made durable: remove nothing, and try again later.
    pub fn secure(&self) -> Result<LiveFiles, Error> {
        let before;
        let mut writer = self.writer.lock();
        before = self.current();
        let manifest = self.make_sound(&mut writer, &before.state)?;
        Ok(LiveFiles {
            manifest,
            tables: self.pins.tables().into_iter().collect(),
            log_from: before.log_from(),
            first_new: self.first_new,
        })
    }

    /// The tables that no version holds any more and no restart will ask for: each is handed out once, to be removed
    /// by the caller. Takes a lock that is never held during I/O.
    #[must_use = "whoever takes a number removes the file; nobody else will before the next start"]
    pub fn take_reclaimable(&self) -> Vec<FileNumber> {
        self.pins.take_reclaimable()
    }

    /// What is pinned by versions older than the current one.
    #[must_use]
    pub fn pins(&self) -> PinReport {
        self.pins.report()
    }

    /// What was written to manifests since the database was opened. Waits for an edit that is being applied.
    #[must_use]
    pub fn stats(&self) -> ManifestStats {
        let writer = self.writer.lock();
        let live_bytes = writer.manifest.as_ref().map_or(0, LiveManifest::len);
        ManifestStats { live_bytes, ..writer.stats }
    }

    /// Fills in what the edit's maker does not know.
    fn complete(&self, edit: &mut VersionEdit, state: &State<H>) -> Result<(), EditError> {
        let version = state.number.next().ok_or(EditError::Exhausted(state.number))?;
        edit.version = Some(version);
        edit.next_file = Some(FileNumber::new(self.next_file.load(Ordering::Relaxed)));
        edit.next_family = Some(FamilyId::new(self.next_family.load(Ordering::Relaxed)));
        let moved = edit.moved();
        for (.., table) in &mut edit.added_tables {
            if !moved.contains(&table.number) {
                table.created = version;
            }
        }
        Ok(())
    }
}

impl<H> fmt::Debug for VersionSet<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VersionSet")
            .field("dir", &self.dir)
            .field("current", &self.current.load().number())
            .field("pins", &self.pins)
            .finish_non_exhaustive()
    }
}
