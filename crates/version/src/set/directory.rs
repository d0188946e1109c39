//! What stands in a database's directory before there is a set: an unfinished creation, or a database to be read.
//!
//! Invariant: reading a database writes nothing. Before a creation only what an unfinished one left is removed.

use std::collections::HashMap;
use std::path::Path;

use base::FileNumber;
use vfs::{DirEntry, ErrorKind, Fs};

use super::Recovery;
use crate::error::Error;
use crate::files::{FIRST_MANIFEST, FileName, Presence, presence};
use crate::manifest;
use crate::pointer;
use crate::state::State;

/// Makes the entries of `dir` and of the directories above it durable. An earlier creation may have made them and failed,
/// or been killed, before it could sync them, and one that exists tells nobody whether it would survive.
pub(super) fn sync_ancestors(fs: &dyn Fs, dir: &Path) -> Result<(), Error> {
    for ancestor in dir.ancestors().skip(1) {
        let is_relative_root = ancestor.as_os_str().is_empty();
        match fs.sync_dir(if is_relative_root { Path::new(".") } else { ancestor }) {
            // Who may not even read a directory did not make it, nor can do anything for it.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            result => result?,
        }
    }
    Ok(())
}

/// Makes sure that a database can be created in `dir`, and removes what an interrupted creation left there.
pub(super) fn clear_unfinished(fs: &dyn Fs, dir: &Path) -> Result<(), Error> {
    let entries = fs.list(dir)?;
    let lost =
        |found: FileName| Error::LostCurrent { dir: dir.to_owned(), found: found.to_string() };
    match presence(names(&entries)) {
        Presence::Absent => Ok(()),
        Presence::Database => Err(Error::Exists { dir: dir.to_owned() }),
        Presence::Damaged(found) => Err(lost(found)),
        Presence::Unfinished => {
            let first = FileName::Manifest(FIRST_MANIFEST);
            if !names(&entries).any(|name| name == first.to_string()) {
                return Ok(());
            }
            // A creation appends no edit. A manifest with one belonged to a database.
            if manifest::read(fs, dir, FIRST_MANIFEST).is_ok_and(|contents| contents.edits > 0) {
                return Err(lost(first));
            }
            Ok(fs.remove(&first.path_in(dir))?)
        }
    }
}

fn names(entries: &[DirEntry]) -> impl Iterator<Item = &str> {
    entries.iter().filter(|entry| !entry.is_dir).map(|entry| entry.name.as_str())
}

/// Reads the database in `dir`: how, what, and the first file number that nothing there has.
pub(super) fn read_database(
    fs: &dyn Fs,
    dir: &Path,
) -> Result<(Recovery, State<()>, FileNumber), Error> {
    let entries = match fs.list(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Error::NoDatabase { dir: dir.to_owned() });
        }
        other => other?,
    };
    match presence(names(&entries)) {
        Presence::Absent | Presence::Unfinished => {
            return Err(Error::NoDatabase { dir: dir.to_owned() });
        }
        Presence::Damaged(found) => {
            return Err(Error::LostCurrent { dir: dir.to_owned(), found: found.to_string() });
        }
        Presence::Database => {}
    }
    let manifest = pointer::read(fs, dir)?;
    let contents = manifest::read(fs, dir, manifest)?;
    check_tables(dir, manifest, &contents.state, &entries)?;
    // Above every number seen, so that no new file meets one that an interrupted job left. A number in the upper half
    // was never handed out, and will not be.
    let seen = names(&entries).filter_map(FileName::parse).filter_map(|file| match file {
        FileName::Manifest(number) | FileName::Table(number) => Some(number.get()),
        _ => None,
    });
    let above = seen.filter(|&number| number <= u64::MAX / 2).max().map_or(0, |number| number + 1);
    let first_new = FileNumber::new(above.max(contents.state.next_file.get()));
    let recovery = Recovery { manifest, tail: contents.tail, edits: contents.edits };
    Ok((recovery, contents.state, first_new))
}

/// Whether each table is there, with the length that the manifest says.
fn check_tables(
    dir: &Path,
    manifest: FileNumber,
    state: &State<()>,
    entries: &[DirEntry],
) -> Result<(), Error> {
    let lengths: HashMap<&str, u64> =
        entries.iter().map(|entry| (entry.name.as_str(), entry.len)).collect();
    for table in state.tables() {
        let name = FileName::Table(table.meta.number).to_string();
        let path = dir.join(&name);
        let manifest = FileName::Manifest(manifest).to_string();
        let expected = table.meta.file_bytes;
        match lengths.get(name.as_str()) {
            None => return Err(Error::TableMissing { path, manifest }),
            Some(&found) if found != expected => {
                return Err(Error::TableLength { path, manifest, expected, found });
            }
            Some(_) => {}
        }
    }
    Ok(())
}
