//! The manifest as it is written: appended to, given up after a failure, replaced by a fresh one.
//!
//! Concurrency: all of it under the set's `writer` lock.

use base::FileNumber;
use base::sync::atomic::Ordering;
use vfs::ErrorKind;

use super::{ManifestOptions, ManifestStats, VersionSet};
use crate::edit::VersionEdit;
use crate::error::{ApplyError, Error};
use crate::files::FileName;
use crate::manifest::LiveManifest;
use crate::pointer::{self, PointError};
use crate::state::{State, TableIndex};

/// What the lock guards that serialises edits.
pub(super) struct Writer {
    /// The manifest to append to; `None` while what a restart would read is unknown.
    pub(super) manifest: Option<LiveManifest>,
    /// Manifests that a restart may still read, or that could not be removed yet.
    pub(super) stale: Vec<FileNumber>,
    /// The length at which the manifest is replaced.
    pub(super) replace_at: u64,
    pub(super) index: TableIndex,
    pub(super) stats: ManifestStats,
}

impl Writer {
    /// Makes `manifest`, which `CURRENT` durably names, the one to append to.
    pub(super) fn take_manifest(&mut self, manifest: LiveManifest, options: ManifestOptions) {
        self.replace_at = options.max_bytes.max(manifest.snapshot_len().saturating_mul(2));
        self.stats.bytes_written += manifest.len();
        self.stats.replacements += 1;
        let old = self.manifest.replace(manifest);
        self.stale.extend(old.map(|manifest| manifest.number()));
    }
}

impl<H> VersionSet<H> {
    /// Sees to it that there is a manifest that an edit may be appended to; the sound one stays if a longer one's
    /// replacement fails.
    pub(super) fn make_ready(&self, writer: &mut Writer, state: &State<H>) -> Result<(), Error> {
        let is_long = |manifest: &LiveManifest| manifest.len() >= writer.replace_at;
        if writer.manifest.as_ref().is_some_and(is_long) {
            match self.replace(writer, state) {
                Err(error) if writer.manifest.is_some() => {
                    tracing::warn!(%error, "the manifest could not be replaced by a shorter one; it grows on");
                    let len = writer.manifest.as_ref().map_or(0, LiveManifest::len);
                    writer.replace_at = len.saturating_add(self.options.max_bytes);
                }
                result => return result.map(drop),
            }
        }
        self.make_sound(writer, state).map(drop)
    }

    /// Sees to it that there is a manifest of this process that nothing failed on; its number.
    pub(super) fn make_sound(
        &self,
        writer: &mut Writer,
        state: &State<H>,
    ) -> Result<FileNumber, Error> {
        match &writer.manifest {
            Some(manifest) => Ok(manifest.number()),
            None => self.replace(writer, state),
        }
    }

    /// Appends the edit and syncs. On failure the manifest is given up.
    pub(super) fn append(&self, writer: &mut Writer, edit: &VersionEdit) -> Result<(), ApplyError> {
        let Some(mut manifest) = writer.manifest.take() else {
            unreachable!("a manifest was made ready under this lock");
        };
        let before = manifest.len();
        if let Err(error) = manifest.append(edit) {
            self.pins.withhold();
            writer.stale.push(manifest.number());
            return Err(ApplyError::InDoubt(error));
        }
        writer.stats.bytes_written += manifest.len() - before;
        writer.manifest = Some(manifest);
        Ok(())
    }

    /// Writes `state` to a fresh manifest and makes it the live one, durably. Answers its number.
    ///
    /// An error before `CURRENT` was touched leaves the old manifest live; a later one leaves none.
    fn replace(&self, writer: &mut Writer, state: &State<H>) -> Result<FileNumber, Error> {
        let number = self.new_file_number();
        let mut state = state.clone();
        state.next_file = FileNumber::new(self.next_file.load(Ordering::Relaxed));
        let written = LiveManifest::create(&*self.fs, &self.dir, number, &state)
            .map_err(PointError::Untouched)
            .and_then(|manifest| {
                pointer::point_to(&*self.fs, &self.dir, number).map(|()| manifest)
            });
        let manifest = match written {
            Ok(manifest) => manifest,
            Err(PointError::Untouched(error)) => {
                writer.stats.failed_replacements += 1;
                self.remove_manifest(number);
                return Err(error.into());
            }
            Err(PointError::Unknown(error)) => {
                writer.stats.failed_replacements += 1;
                self.pins.withhold();
                writer.stale.extend(writer.manifest.take().map(|manifest| manifest.number()));
                writer.stale.push(number);
                return Err(error.into());
            }
        };
        writer.take_manifest(manifest, self.options);
        writer.stale.retain(|&stale| !self.remove_manifest(stale));
        self.pins.hand_out();
        Ok(number)
    }

    /// Removes a manifest that no restart will read. One that stays is an orphan for the next start.
    fn remove_manifest(&self, number: FileNumber) -> bool {
        match self.fs.remove(&FileName::Manifest(number).path_in(&self.dir)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(%error, "a manifest that is no longer needed could not be removed");
                false
            }
            _ => true,
        }
    }
}
