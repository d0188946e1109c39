//! `CURRENT`: the file that names the live manifest, and how it is made to name another one.
//!
//! Format: `docs/format/manifest.md`, "CURRENT". One line: the manifest's name, a space, and the CRC-32 of the name in
//! eight hexadecimal digits.

use std::path::Path;

use base::FileNumber;
use vfs::{Access, ErrorKind, Fs};

use crate::error::Error;
use crate::files::FileName;

/// More than any `CURRENT` has.
const BYTES_MAX: usize = 64;

/// Why `CURRENT` could not be made to name a manifest.
pub(crate) enum PointError {
    /// It names what it named.
    Untouched(vfs::Error),
    /// It names the one or the other, and which of them after a crash is unknown.
    Unknown(vfs::Error),
}

/// What `CURRENT` holds when it names `manifest`.
pub(crate) fn text(manifest: FileNumber) -> String {
    let name = FileName::Manifest(manifest).to_string();
    format!("{name} {:08x}\n", crc32fast::hash(name.as_bytes()))
}

fn parse(bytes: &[u8]) -> Option<FileNumber> {
    let line = std::str::from_utf8(bytes).ok()?;
    let (name, _) = line.split_once(' ')?;
    match FileName::parse(name)? {
        FileName::Manifest(number) if text(number) == line => Some(number),
        _ => None,
    }
}

/// The manifest that `CURRENT` in `dir` names.
pub(crate) fn read(fs: &dyn Fs, dir: &Path) -> Result<FileNumber, Error> {
    let path = FileName::Current.path_in(dir);
    let file = fs.open(&path, Access::Read)?;
    let mut bytes = [0u8; BYTES_MAX];
    let len = file.read_at(&mut bytes, 0)?;
    parse(&bytes[..len]).ok_or_else(|| {
        let found = String::from_utf8_lossy(&bytes[..len]).into_owned();
        Error::Current { path, found }
    })
}

/// Makes `CURRENT` in `dir` name `manifest`, whose content is durable.
///
/// The manifest's directory entry is made durable before the rename: the two are independent on disk, and a `CURRENT`
/// that names a manifest without an entry would be a database lost.
pub(crate) fn point_to(fs: &dyn Fs, dir: &Path, manifest: FileNumber) -> Result<(), PointError> {
    let temporary = FileName::CurrentTemporary.path_in(dir);
    prepare(fs, dir, &temporary, manifest).map_err(PointError::Untouched)?;
    // A failed rename is not known to have left the old name in place on every file system.
    fs.rename(&temporary, &FileName::Current.path_in(dir)).map_err(PointError::Unknown)?;
    fs.sync_dir(dir).map_err(PointError::Unknown)
}

fn prepare(fs: &dyn Fs, dir: &Path, temporary: &Path, manifest: FileNumber) -> vfs::Result<()> {
    match fs.remove(temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = fs.create(temporary)?;
    file.write_all_at(text(manifest).as_bytes(), 0)?;
    file.sync_all()?;
    fs.sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_the_manifest() {
        assert_eq!(text(FileNumber::new(7)), "MANIFEST-000007 b366fa16\n");
        for number in [1, 7, 1_000_000, u64::MAX] {
            let number = FileNumber::new(number);
            assert_eq!(parse(text(number).as_bytes()), Some(number));
            assert!(text(number).len() < BYTES_MAX);
        }
    }

    #[test]
    fn nothing_else_does() {
        let good = text(FileNumber::new(7));
        for at in 0..good.len() {
            assert_eq!(parse(&good.as_bytes()[..at]), None, "cut at {at}");
            for bit in 0..8 {
                let mut bytes = good.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                assert_eq!(parse(&bytes), None, "bit {bit} of byte {at} flipped");
            }
        }
        assert_eq!(parse(format!("{good}\n").as_bytes()), None);
        assert_eq!(parse(b"MANIFEST-000007\n"), None);
    }
}
