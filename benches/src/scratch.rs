//! Where the database lives: a directory that is made for the run, and goes with it unless it was
//! chosen by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Result;

/// The database's directory.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    /// The directory `chosen`, which must be empty or not there, and is kept at the end; or a fresh
    /// one, which is removed.
    ///
    /// # Errors
    /// If `chosen` holds something or is not a directory; if no directory can be made.
    pub fn new(chosen: Option<&Path>) -> Result<Self> {
        let (path, keep) = match chosen {
            Some(path) => (path.to_owned(), true),
            None => (fresh(), false),
        };
        let cannot = |error| format!("cannot use {} for the database: {error}", path.display());
        fs::create_dir_all(&path).map_err(cannot)?;
        if fs::read_dir(&path).map_err(cannot)?.next().is_some() {
            return Err(format!("{} is not empty: name an empty directory", path.display()).into());
        }
        Ok(Self { path, keep })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it stays after the run.
    pub fn is_kept(&self) -> bool {
        self.keep
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// A directory for this run alone. Beside the program's build products if there are any, because
/// the system's directory for temporary files is often in memory, where a benchmark measures no disk.
fn fresh() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let base = build_folder().unwrap_or_else(std::env::temp_dir).join("polder-bench");
    sweep(&base);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    base.join(format!("{}-{number}", std::process::id()))
}

/// Cargo's target folder, if this program lies in one: it is marked by `CACHEDIR.TAG`.
fn build_folder() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let mut folders = program.ancestors().skip(1);
    folders.find(|folder| folder.join("CACHEDIR.TAG").is_file()).map(Path::to_path_buf)
}

/// Removes what runs have left behind that were ended by force. Only Linux tells which those are.
fn sweep(base: &Path) {
    if !Path::new("/proc/self").exists() {
        return;
    }
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.split_once('-')?.0.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            // A directory that cannot be removed now is met again by the next run.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_directory_is_removed_and_a_chosen_one_kept() {
        let scratch = Scratch::new(None).expect("fresh");
        let path = scratch.path().to_owned();
        let chosen = path.join("chosen");
        let kept = Scratch::new(Some(&chosen)).expect("chosen");
        assert!(kept.is_kept() && !scratch.is_kept());
        drop(kept);
        assert!(chosen.is_dir());
        fs::write(chosen.join("file"), "x").expect("write");
        let error = Scratch::new(Some(&chosen)).expect_err("not empty").to_string();
        assert!(error.contains("is not empty"), "{error}");
        assert!(Scratch::new(Some(&chosen.join("file"))).is_err());
        assert!(chosen.join("file").is_file());
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_dead_process_left_is_swept() {
        let scratch = Scratch::new(None).expect("fresh");
        let dead = scratch.path().join("4294967295-0");
        let alive = scratch.path().join(format!("{}-0", std::process::id()));
        let other = scratch.path().join("notes");
        for folder in [&dead, &alive, &other] {
            fs::create_dir(folder).expect("create");
        }
        sweep(scratch.path());
        let swept = Path::new("/proc/self").exists();
        assert!(alive.exists() && other.exists());
        assert_eq!(dead.exists(), !swept);
    }
}
