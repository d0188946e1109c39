//! One manifest file: a header, a snapshot of a state, and the edits since.
//!
//! Format: `docs/format/manifest.md`. Records in the framing of [`base::record`], salted with the manifest's number. The
//! header says how many records the snapshot after it has. Each edit's chunks vouch for all bytes before the edit, since
//! an edit is appended only after the one before it was synced.
//!
//! Invariants:
//! - nobody reads a manifest whose snapshot is not durable: `CURRENT` names it only after its sync;
//! - after a failed write or sync nothing is appended to a manifest any more, and a manifest that was found on disk is
//!   never appended to.

use std::path::{Path, PathBuf};

use base::record::{Reason, RecordReader, Stop, encode, framed_len};
use base::sync::Arc;
use base::{FamilyId, FileNumber, LogPlace};
use vfs::{Access, ErrorKind, File, Fs};

use crate::edit::{DecodeError, FORMAT_VERSION, VersionEdit};
use crate::error::Error;
use crate::files::FileName;
use crate::ids::VersionNumber;
use crate::state::{EditError, State, TableIndex};

#[cfg(test)]
mod tests;

/// What a manifest's first record begins with.
const MAGIC: &[u8; 8] = b"PolderMF";

/// Magic, format version, manifest number, number of the snapshot's records.
const HEADER_LEN: usize = 8 + 1 + 8 + 4;

/// How many tables one record of a snapshot describes: at some 100 bytes a table, records stay near 64 KiB.
const TABLES_PER_RECORD: usize = 512;

/// The salt of a manifest's records.
fn salt(manifest: FileNumber) -> u32 {
    // The low half: manifests 2^32 numbers apart are never on one disk together.
    manifest.get() as u32
}

/// A manifest that this process wrote, open for appending.
#[derive(Debug)]
pub(crate) struct LiveManifest {
    file: Arc<dyn File>,
    number: FileNumber,
    len: u64,
    snapshot_len: u64,
}

impl LiveManifest {
    /// Writes a new manifest that holds `state`, and makes its content durable, but not its directory entry.
    pub fn create<H>(
        fs: &dyn Fs,
        dir: &Path,
        number: FileNumber,
        state: &State<H>,
    ) -> vfs::Result<Self> {
        let file = fs.create(&FileName::Manifest(number).path_in(dir))?;
        let mut manifest = Self { file, number, len: 0, snapshot_len: 0 };
        let edits = snapshot(state);
        let mut header = Vec::with_capacity(HEADER_LEN);
        header.extend_from_slice(MAGIC);
        header.push(FORMAT_VERSION);
        header.extend_from_slice(&number.get().to_le_bytes());
        header.extend_from_slice(&(edits.len() as u32).to_le_bytes());
        manifest.write(&header, 0)?;
        let mut payload = Vec::new();
        for edit in edits {
            payload.clear();
            edit.encode_to(&mut payload);
            manifest.write(&payload, 0)?;
        }
        manifest.file.sync_all()?;
        manifest.snapshot_len = manifest.len;
        Ok(manifest)
    }

    /// Appends an edit and makes it durable. After an error nothing may be appended any more.
    pub fn append(&mut self, edit: &VersionEdit) -> vfs::Result<()> {
        let mut payload = Vec::new();
        edit.encode_to(&mut payload);
        self.write(&payload, u32::try_from(self.len).unwrap_or(u32::MAX))?;
        self.file.sync_data()
    }

    fn write(&mut self, payload: &[u8], vouched: u32) -> vfs::Result<()> {
        let mut framed = vec![0; framed_len(self.len, payload.len()) as usize];
        encode(&mut framed, self.len, salt(self.number), vouched, &[payload]);
        self.file.write_all_at(&framed, self.len)?;
        self.len += framed.len() as u64;
        Ok(())
    }

    pub fn number(&self) -> FileNumber {
        self.number
    }

    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of the header and the snapshot.
    pub fn snapshot_len(&self) -> u64 {
        self.snapshot_len
    }
}

/// The state as edits that make it out of nothing, each of a bounded number of tables.
fn snapshot<H>(state: &State<H>) -> Vec<VersionEdit> {
    let version = Some(state.number);
    let mut edits = vec![VersionEdit {
        added_families: state.families.iter().map(|(id, f)| (*id, f.name().to_owned())).collect(),
        flushed_seq: state.families.iter().map(|(id, family)| (*id, family.flushed_seq)).collect(),
        log_from: Some(state.log_from),
        log_durable: Some(state.log_durable).filter(|place| *place != LogPlace::default()),
        next_file: Some(state.next_file),
        last_seq: Some(state.last_seq),
        next_family: Some(state.next_family),
        version,
        ..VersionEdit::default()
    }];
    let mut part = VersionEdit { version, ..VersionEdit::default() };
    for (id, family) in &state.families {
        for (level, tables) in family.levels.levels().enumerate() {
            for table in tables {
                part.added_tables.push((*id, level as u32, table.meta.clone()));
                if part.added_tables.len() == TABLES_PER_RECORD {
                    let next = VersionEdit { version, ..VersionEdit::default() };
                    edits.push(std::mem::replace(&mut part, next));
                }
            }
        }
    }
    if !part.added_tables.is_empty() {
        edits.push(part);
    }
    edits
}

/// How a manifest that was read ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tail {
    /// With its last edit.
    Clean,
    /// With bytes that are not a whole edit: one that was being written when the process or machine stopped, and was
    /// never acknowledged. It was left out.
    Torn {
        /// Where the whole edits end.
        offset: u64,
        /// What stands there.
        reason: Reason,
    },
}

/// What a manifest says.
#[derive(Debug)]
pub(crate) struct Contents {
    pub state: State<()>,
    pub tail: Tail,
    /// The edits after the snapshot.
    pub edits: u64,
}

/// Reads a manifest that `CURRENT` names.
pub(crate) fn read(fs: &dyn Fs, dir: &Path, number: FileNumber) -> Result<Contents, Error> {
    let path = FileName::Manifest(number).path_in(dir);
    let file = fs.open(&path, Access::Read).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::ManifestMissing { path: path.clone() },
        _ => Error::File(error),
    })?;
    let reader = RecordReader::new(salt(number), 0, |at, buf: &mut [u8]| file.read_at(buf, at));
    let mut replay =
        Replay { path: &path, reader, state: State::nothing(), index: TableIndex::default() };
    let records = replay.header(number)?;
    replay.snapshot(records)?;
    let mut edits = 0;
    let stop = loop {
        match replay.next_edit()? {
            Ok((offset, edit)) => replay.apply(offset, &edit, State::apply)?,
            Err(stop) => break stop,
        }
        edits += 1;
    };
    let tail = replay.tail(stop)?;
    Ok(Contents { state: replay.state, tail, edits })
}

/// A manifest being read.
struct Replay<'a, R> {
    path: &'a Path,
    reader: RecordReader<R>,
    state: State<()>,
    index: TableIndex,
}

type Change = fn(
    &mut State<()>,
    &VersionEdit,
    &TableIndex,
    Vec<()>,
) -> Result<crate::state::Changes, EditError>;

impl<R: FnMut(u64, &mut [u8]) -> vfs::Result<usize>> Replay<'_, R> {
    fn damaged(&self, offset: u64, expected: &'static str, found: impl ToString) -> Error {
        Error::Damaged { path: self.path.to_owned(), offset, expected, found: found.to_string() }
    }

    /// The number of records that the snapshot has.
    fn header(&mut self, number: FileNumber) -> Result<u32, Error> {
        const EXPECTED: &str = "the header of a manifest";
        let header = match self.reader.next_record()? {
            Ok(record) => record.payload.to_vec(),
            Err(stop) => return Err(self.damaged(stop.offset, EXPECTED, stop.reason)),
        };
        let Some((MAGIC, rest)) = header.split_first_chunk::<8>() else {
            return Err(self.damaged(0, EXPECTED, "a record without a manifest's first bytes"));
        };
        // The format version is looked at before anything that it may have changed.
        let Some((&format, rest)) = rest.split_first() else {
            return Err(self.damaged(0, EXPECTED, "a header without a format version"));
        };
        if format != FORMAT_VERSION {
            let path = self.path.to_owned();
            return Err(Error::NewerFormat { path, found: format, supported: FORMAT_VERSION });
        }
        let Ok::<[u8; 12], _>([a, b, c, d, e, f, g, h, records @ ..]) = rest.try_into() else {
            let found = format!("a header of {} bytes", header.len());
            return Err(self.damaged(0, "a header of 21 bytes", found));
        };
        let found = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        if found != number.get() {
            return Err(self.damaged(0, "the file's own number", format!("the number {found}")));
        }
        Ok(u32::from_le_bytes(records))
    }

    /// Reads the snapshot, all of which was durable before anybody could look for it.
    fn snapshot(&mut self, records: u32) -> Result<(), Error> {
        for record in 0..records {
            let (offset, edit) = match self.next_edit()? {
                Ok(found) => found,
                Err(stop) => {
                    let expected = "a record of the snapshot that the manifest begins with";
                    return Err(self.damaged(stop.offset, expected, stop.reason));
                }
            };
            let number = edit.version.unwrap_or_default();
            let is_first = record == 0;
            if number == VersionNumber::ZERO || !(is_first || number == self.state.number) {
                let found = format!("the version {number}");
                return Err(self.damaged(offset, "the snapshot's version number", found));
            }
            self.state.number = number;
            self.apply(offset, &edit, State::change)?;
        }
        if !self.state.families.contains_key(&FamilyId::DEFAULT) {
            return Err(self.damaged(0, "a snapshot with the default family", "one without"));
        }
        Ok(())
    }

    /// The next whole record, which must be an edit, or where and why there is none.
    fn next_edit(&mut self) -> Result<Result<(u64, VersionEdit), Stop>, Error> {
        let record = match self.reader.next_record()? {
            Ok(record) => record,
            Err(stop) => return Ok(Err(stop)),
        };
        let offset = record.offset;
        let path = || -> PathBuf { self.path.to_owned() };
        match VersionEdit::decode(record.payload) {
            Ok(edit) => Ok(Ok((offset, edit))),
            Err(DecodeError::FormatVersion { found }) if found > FORMAT_VERSION => {
                Err(Error::NewerFormat { path: path(), found, supported: FORMAT_VERSION })
            }
            Err(source) => Err(Error::Edit { path: path(), offset, source }),
        }
    }

    /// Tells a torn tail from damage: the last edit may be one that nobody was told of, unless a later chunk says that
    /// more than what is before that edit was durable when it was written. The chunks of the edit itself say just that
    /// much, whatever became of its first one.
    fn tail(&mut self, stop: Stop) -> Result<Tail, Error> {
        if stop.reason == Reason::End {
            return Ok(Tail::Clean);
        }
        self.reader.survey(stop.good_until)?;
        if u64::from(self.reader.vouched()) > stop.good_until {
            let expected = "an edit, for a later one was written after it was synced";
            return Err(self.damaged(stop.offset, expected, stop.reason));
        }
        Ok(Tail::Torn { offset: stop.good_until, reason: stop.reason })
    }

    fn apply(&mut self, offset: u64, edit: &VersionEdit, change: Change) -> Result<(), Error> {
        let handles = vec![(); edit.new_tables()];
        let changes = change(&mut self.state, edit, &self.index, handles)
            .map_err(|source| Error::Misfit { path: self.path.to_owned(), offset, source })?;
        self.index.commit(&changes);
        Ok(())
    }
}
