//! Real data: the files of a directory. Key = path relative to it, value = contents.
//!
//! Contents are read when they are written and again when they are verified, so that no more than
//! one file per thread is in memory. A checksum of each file as it was written is kept: a file that
//! changes during the run is told apart from a database that does not give back what it was given.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Action, Expected, Operations, Source};
use crate::Result;
use crate::random::checksum;

/// The regular files below a directory.
#[derive(Debug)]
pub(crate) struct Directory {
    root: PathBuf,
    files: Arc<[SourceFile]>,
    /// Symbolic links, sockets and the like, which are left out.
    skipped: u64,
    threads: usize,
}

#[derive(Debug)]
struct SourceFile {
    key: Vec<u8>,
    path: PathBuf,
    /// Checksum of what was written; 0 before that.
    written: AtomicU64,
}

impl Directory {
    /// Lists the files below `root`, to be written by `threads` threads.
    ///
    /// # Errors
    /// If a directory cannot be read: the message names it.
    pub(crate) fn new(root: &Path, threads: usize) -> Result<Self> {
        let mut files = Vec::new();
        let skipped = list(root, Vec::new(), &mut files)?;
        files.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { root: root.to_owned(), files: files.into(), skipped, threads: threads.max(1) })
    }
}

fn list(folder: &Path, prefix: Vec<u8>, files: &mut Vec<SourceFile>) -> Result<u64> {
    let cannot = |error| format!("cannot list {}: {error}", folder.display());
    let mut skipped = 0;
    for entry in fs::read_dir(folder).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let kind = entry.file_type().map_err(cannot)?;
        let mut key = prefix.clone();
        key.extend_from_slice(entry.file_name().as_encoded_bytes());
        if kind.is_dir() {
            key.push(b'/');
            skipped += list(&entry.path(), key, files)?;
        } else if kind.is_file() {
            files.push(SourceFile { key, path: entry.path(), written: AtomicU64::new(0) });
        } else {
            skipped += 1;
        }
    }
    Ok(skipped)
}

/// Reads a file into `value`, replacing what is in it.
fn read(path: &Path, value: &mut Vec<u8>) -> Result<()> {
    use std::io::Read;
    value.clear();
    let read = fs::File::open(path).and_then(|mut file| file.read_to_end(value));
    read.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(())
}

impl Source for Directory {
    fn describe(&self) -> String {
        let left_out = match self.skipped {
            0 => String::new(),
            skipped => format!(" ({skipped} links and special files left out)"),
        };
        let (files, root, threads) = (self.files.len(), self.root.display(), self.threads);
        format!("{files} files of {root}{left_out}, {threads} threads")
    }

    fn operations(&self) -> Option<u64> {
        Some(self.files.len() as u64)
    }

    fn writers(&mut self) -> Result<Vec<Box<dyn Operations>>> {
        let writer = |thread| {
            let files = Arc::clone(&self.files);
            Box::new(Writer { files, next: thread, step: self.threads }) as Box<dyn Operations>
        };
        Ok((0..self.threads).map(writer).collect())
    }

    fn expected(&mut self) -> Result<Box<dyn Expected + '_>> {
        Ok(Box::new(Files { files: &self.files, next: 0 }))
    }
}

struct Writer {
    files: Arc<[SourceFile]>,
    next: usize,
    step: usize,
}

impl Operations for Writer {
    fn next(&mut self, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<Option<Action>> {
        let Some(file) = self.files.get(self.next) else { return Ok(None) };
        self.next += self.step;
        read(&file.path, value)?;
        file.written.store(checksum(1, value), Ordering::Relaxed);
        key.clone_from(&file.key);
        Ok(Some(Action::Put))
    }
}

struct Files<'a> {
    files: &'a [SourceFile],
    next: usize,
}

impl Expected for Files<'_> {
    fn next(&mut self, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<bool> {
        let Some(file) = self.files.get(self.next) else { return Ok(false) };
        self.next += 1;
        read(&file.path, value)?;
        if checksum(1, value) != file.written.load(Ordering::Relaxed) {
            let path = file.path.display();
            return Err(format!("{path} changed during the run: nothing can be proved").into());
        }
        key.clone_from(&file.key);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use crate::source::tests::check_source;

    fn sample() -> Scratch {
        let scratch = Scratch::new(None).expect("scratch");
        let root = scratch.path();
        fs::create_dir_all(root.join("a/b")).expect("create");
        for (name, contents) in
            [("a.txt", "1"), ("a/b/c", "two\ttabs\n"), ("a/empty", ""), ("z", "zz")]
        {
            fs::write(root.join(name), contents).expect("write");
        }
        scratch
    }

    #[test]
    fn files_are_written_under_their_relative_paths() {
        let scratch = sample();
        for threads in [0, 1, 3, 9] {
            let mut source = Directory::new(scratch.path(), threads).expect("list");
            let keys: Vec<_> =
                source.files.iter().map(|f| String::from_utf8_lossy(&f.key).into_owned()).collect();
            // Byte order: `.` sorts before `/`.
            assert_eq!(keys, ["a.txt", "a/b/c", "a/empty", "z"]);
            assert_eq!(check_source(&mut source), 4);
        }
    }

    #[test]
    fn a_source_that_changes_is_not_the_databases_fault() {
        let scratch = sample();
        let mut source = Directory::new(scratch.path(), 1).expect("list");
        check_source(&mut source);
        fs::write(scratch.path().join("a/empty"), "no longer").expect("write");
        let mut expected = source.expected().expect("expected");
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let error = loop {
            match expected.next(&mut key, &mut value) {
                Ok(true) => {}
                Ok(false) => panic!("the change was not seen"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("empty changed during the run"), "{error}");
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let error = Directory::new(Path::new("no/such/folder"), 1).expect_err("missing");
        assert!(error.to_string().contains("no/such/folder"), "{error}");
    }
}
