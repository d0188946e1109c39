//! The simulated directories: what readers see, what is durable, and the changes between.
//!
//! Invariants: `current` is `durable` with all pending changes applied, in order. A directory is a
//! key of both, and never goes away. There are no hard links, but for a file that a crash
//! has left under both names of a rename from one directory to another.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::crash::{Choice, Chooser};

/// Number of a file or directory, never used twice on one disk.
pub(super) type Ino = u64;

pub(super) const ROOT: Ino = 0;

type Tree = BTreeMap<Ino, BTreeMap<String, Ino>>;

#[derive(Debug)]
pub(super) struct Names {
    current: Tree,
    durable: Tree,
    pending: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Link {
        dir: Ino,
        name: String,
        ino: Ino,
    },
    Unlink {
        dir: Ino,
        name: String,
    },
    /// Within one directory, where it is atomic.
    Rename {
        dir: Ino,
        from: String,
        to: String,
        ino: Ino,
    },
}

impl Change {
    fn dir(&self) -> Ino {
        match self {
            Change::Link { dir, .. } | Change::Unlink { dir, .. } | Change::Rename { dir, .. } => {
                *dir
            }
        }
    }

    /// The file or directory that gets a name.
    fn named(&self) -> Option<Ino> {
        match self {
            Change::Link { ino, .. } | Change::Rename { ino, .. } => Some(*ino),
            Change::Unlink { .. } => None,
        }
    }

    /// The names that it changes, with their directory.
    fn names(&self) -> impl Iterator<Item = (Ino, &str)> {
        let (first, second) = match self {
            Change::Link { name, .. } | Change::Unlink { name, .. } => (name, None),
            Change::Rename { from, to, .. } => (from, Some(to)),
        };
        [Some(first), second].into_iter().flatten().map(|name| (self.dir(), name.as_str()))
    }

    fn apply(&self, tree: &mut Tree) {
        let names = tree.entry(self.dir()).or_default();
        match self {
            Change::Link { name, ino, .. } => {
                names.insert(name.clone(), *ino);
            }
            Change::Unlink { name, .. } => {
                names.remove(name);
            }
            Change::Rename { from, to, ino, .. } => {
                names.remove(from);
                names.insert(to.clone(), *ino);
            }
        }
    }
}

/// The names on the way to a path, from the root. A relative path starts there too.
fn components(path: &Path) -> io::Result<Vec<&str>> {
    let utf8 = |name: &'_ OsStr| name.to_str().is_some();
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) if utf8(name) => names.extend(name.to_str()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            Component::Normal(_) | Component::ParentDir => {
                let message = "the simulation has neither \"..\" nor names that are not UTF-8";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
        }
    }
    Ok(names)
}

impl Names {
    pub(super) fn new() -> Self {
        let root = Tree::from([(ROOT, BTreeMap::new())]);
        Names { current: root.clone(), durable: root, pending: Vec::new() }
    }

    pub(super) fn is_dir(&self, ino: Ino) -> bool {
        self.current.contains_key(&ino)
    }

    fn walk(&self, names: &[&str]) -> io::Result<Ino> {
        names.iter().try_fold(ROOT, |at, name| {
            let dir = self.current.get(&at).ok_or(io::ErrorKind::NotADirectory)?;
            Ok(*dir.get(*name).ok_or(io::ErrorKind::NotFound)?)
        })
    }

    /// The file or directory at `path`.
    pub(super) fn find(&self, path: &Path) -> io::Result<Ino> {
        self.walk(&components(path)?)
    }

    /// The directory that holds `path`, the name in it, and what has that name now.
    pub(super) fn find_entry(&self, path: &Path) -> io::Result<(Ino, String, Option<Ino>)> {
        let names = components(path)?;
        let (name, dir) = names.split_last().ok_or(io::ErrorKind::InvalidInput)?;
        let dir = self.walk(dir)?;
        let entries = self.current.get(&dir).ok_or(io::ErrorKind::NotADirectory)?;
        Ok((dir, (*name).to_owned(), entries.get(*name).copied()))
    }

    /// The entries of a directory, by name.
    pub(super) fn entries(&self, dir: Ino) -> io::Result<&BTreeMap<String, Ino>> {
        self.current.get(&dir).ok_or_else(|| io::ErrorKind::NotADirectory.into())
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.current);
        self.pending.push(change);
    }

    pub(super) fn link(&mut self, dir: Ino, name: String, ino: Ino) {
        self.change(Change::Link { dir, name, ino });
    }

    pub(super) fn link_dir(&mut self, dir: Ino, name: String, ino: Ino) {
        self.current.insert(ino, BTreeMap::new());
        self.durable.insert(ino, BTreeMap::new());
        self.link(dir, name, ino);
    }

    pub(super) fn unlink(&mut self, dir: Ino, name: String) {
        self.change(Change::Unlink { dir, name });
    }

    pub(super) fn rename(&mut self, from: (Ino, String), to: (Ino, String), ino: Ino) {
        if from.0 == to.0 {
            self.change(Change::Rename { dir: from.0, from: from.1, to: to.1, ino });
        } else {
            // Two directories, two syncs: each half survives for itself.
            self.link(to.0, to.1, ino);
            self.unlink(from.0, from.1);
        }
    }

    /// Makes the changes to `dir` durable.
    pub(super) fn sync_dir(&mut self, dir: Ino) {
        self.pending.retain(|change| {
            let keep = change.dir() != dir;
            if !keep {
                change.apply(&mut self.durable);
            }
            keep
        });
    }

    /// Whether a crash can still bring the file back.
    pub(super) fn may_survive(&self, ino: Ino) -> bool {
        self.durable.values().any(|dir| dir.values().any(|entry| *entry == ino))
            || self.pending.iter().any(|change| change.named() == Some(ino))
    }

    /// The pending changes that survive a crash, in order. Those of one name survive in order: a
    /// change needs all earlier ones of the names that it changes, or it would overwrite what is
    /// still there. Those of different names are independent.
    fn survivors(&self, choice: Choice, chooser: &mut Chooser) -> Vec<&Change> {
        if choice != Choice::Each {
            let count = chooser.survivors(choice, self.pending.len());
            return self.pending.iter().take(count).collect();
        }
        let mut needed = BTreeSet::new();
        let mut survivors = Vec::new();
        for change in self.pending.iter().rev() {
            if chooser.coin() || change.names().any(|name| needed.contains(&name)) {
                needed.extend(change.names());
                survivors.push(change);
            }
        }
        survivors.reverse();
        survivors
    }

    /// The directories that a crash leaves, and the files that are in them.
    pub(super) fn crash(&self, chooser: &mut Chooser) -> (Names, Vec<Ino>) {
        let choice = chooser.choice();
        let mut tree = self.durable.clone();
        for change in self.survivors(choice, chooser) {
            change.apply(&mut tree);
        }

        let mut reached = Tree::new();
        let mut files = Vec::new();
        let mut dirs = vec![ROOT];
        while let Some(dir) = dirs.pop() {
            let entries = tree.remove(&dir).unwrap_or_default();
            for ino in entries.values() {
                if self.is_dir(*ino) { dirs.push(*ino) } else { files.push(*ino) }
            }
            reached.insert(dir, entries);
        }
        (Names { current: reached.clone(), durable: reached, pending: Vec::new() }, files)
    }

    /// Every file with its path, by path.
    pub(super) fn files(&self) -> Vec<(PathBuf, Ino)> {
        let mut files = Vec::new();
        let mut dirs = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, dir)) = dirs.pop() {
            for (name, ino) in self.current.get(&dir).into_iter().flatten() {
                let path = path.join(name);
                if self.is_dir(*ino) { dirs.push((path, *ino)) } else { files.push((path, *ino)) }
            }
        }
        files.sort_unstable();
        files
    }
}
