//! The state of the simulated disk, behind one lock: files, names, space, locks, power, faults.
//! What happens to the bytes of a file is in `bytes`.
//!
//! Invariants: `used_pages` is the sum of the allocated pages of all files that have a name or a
//! handle. A file is forgotten once it has neither and no crash can bring it back.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::content::{Content, PAGE_BYTES};
use super::crash::{Chooser, CrashOptions};
use super::fault::{Effect, Fault, power_off};
use super::names::{Ino, Names, ROOT};
use crate::error::Operation;
use crate::fs::{DirEntry, MapSupport, Metadata};

#[derive(Debug)]
pub(super) struct Disk {
    names: Names,
    files: BTreeMap<Ino, Inode>,
    next_ino: Ino,
    capacity_pages: Option<u64>,
    pub(super) used_pages: u64,
    locks: BTreeSet<Ino>,
    pub(super) map_support: MapSupport,
    pub(super) operations: u64,
    pub(super) power_off_at: Option<u64>,
    powered: bool,
    pub(super) faults: Vec<Fault>,
    pub(super) faults_hit: u64,
}

#[derive(Debug)]
pub(super) struct Inode {
    pub(super) content: Content,
    /// One at most, but after a crash between the two halves of a rename.
    names: usize,
    handles: usize,
}

impl Disk {
    pub(super) fn new() -> Self {
        Disk::with(Names::new(), BTreeMap::new(), ROOT + 1)
    }

    fn with(names: Names, files: BTreeMap<Ino, Inode>, next_ino: Ino) -> Self {
        let used_pages = files.values().map(|file| file.content.allocated_pages()).sum();
        Disk {
            names,
            files,
            next_ino,
            capacity_pages: None,
            used_pages,
            locks: BTreeSet::new(),
            map_support: MapSupport::Known,
            operations: 0,
            power_off_at: None,
            powered: true,
            faults: Vec::new(),
            faults_hit: 0,
        }
    }

    /// The disk as it is found after a crash now.
    pub(super) fn crash(&self, options: CrashOptions) -> Disk {
        let mut chooser = Chooser::new(options);
        let (names, mut survivors) = self.names.crash(&mut chooser);
        survivors.sort_unstable();
        let mut files: BTreeMap<Ino, Inode> = BTreeMap::new();
        for ino in survivors {
            if let Some(file) = files.get_mut(&ino) {
                file.names += 1;
            } else if let Some(file) = self.files.get(&ino) {
                let content = file.content.crash(&mut chooser);
                files.insert(ino, Inode { content, names: 1, handles: 0 });
            }
        }
        let mut disk = Disk::with(names, files, self.next_ino);
        disk.capacity_pages = self.capacity_pages;
        disk.map_support = self.map_support;
        disk
    }

    pub(super) fn cut_power(&mut self) {
        self.powered = false;
    }

    pub(super) fn set_capacity(&mut self, bytes: Option<u64>) {
        self.capacity_pages = bytes.map(|bytes| bytes / PAGE_BYTES as u64);
    }

    /// Begins an operation: counts it if it changes something, and meets power cut and faults.
    /// An effect that is a plain failure is returned as one.
    pub(super) fn begin(
        &mut self,
        operation: Operation,
        path: &Path,
        mutating: bool,
    ) -> io::Result<Option<Effect>> {
        if mutating && self.powered {
            self.powered = self.power_off_at.is_none_or(|number| self.operations + 1 < number);
            self.operations += u64::from(self.powered);
        }
        if !self.powered {
            return Err(power_off());
        }
        let mut effect = None;
        for fault in &mut self.faults {
            // Every fault counts what it sees, whether or not another one strikes too.
            effect = fault.meet(operation, path, mutating).or(effect);
        }
        self.faults_hit += u64::from(effect.is_some());
        match effect {
            Some(effect @ Effect::Fail(_)) => Err(effect.error()),
            effect => Ok(effect),
        }
    }

    /// [`begin`](Disk::begin) for operations that only plain failures fit.
    pub(super) fn begin_plain(
        &mut self,
        operation: Operation,
        path: &Path,
        mutating: bool,
    ) -> io::Result<()> {
        match self.begin(operation, path, mutating)? {
            Some(effect) => Err(effect.error()),
            None => Ok(()),
        }
    }

    pub(super) fn file(&mut self, ino: Ino) -> io::Result<&mut Inode> {
        self.files.get_mut(&ino).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    // Names.

    pub(super) fn create(&mut self, path: &Path) -> io::Result<Ino> {
        self.begin_plain(Operation::Create, path, true)?;
        let (dir, name, existing) = self.names.find_entry(path)?;
        match existing {
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
            None => Ok(self.create_entry(dir, name, 1)),
        }
    }

    fn create_entry(&mut self, dir: Ino, name: String, handles: usize) -> Ino {
        let ino = self.next_ino;
        self.next_ino += 1;
        self.files.insert(ino, Inode { content: Content::new(), names: 1, handles });
        self.names.link(dir, name, ino);
        ino
    }

    pub(super) fn open(&mut self, path: &Path) -> io::Result<Ino> {
        self.begin_plain(Operation::Open, path, false)?;
        let ino = self.names.find(path)?;
        if self.names.is_dir(ino) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        self.file(ino)?.handles += 1;
        Ok(ino)
    }

    /// One more handle to an open file.
    pub(super) fn retain(&mut self, ino: Ino) -> io::Result<()> {
        self.file(ino)?.handles += 1;
        Ok(())
    }

    /// One handle less.
    pub(super) fn release(&mut self, ino: Ino) {
        if let Some(file) = self.files.get_mut(&ino) {
            file.handles -= 1;
            self.let_go(ino);
        }
    }

    /// Creates one directory, durably, unless it exists.
    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        let found = self.names.find(path);
        self.begin_plain(Operation::CreateDir, path, found.is_err())?;
        match found {
            Ok(ino) if self.names.is_dir(ino) => return Ok(()),
            Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let (dir, name, _) = self.names.find_entry(path)?;
        self.names.link_dir(dir, name, self.next_ino);
        self.next_ino += 1;
        self.sync_dir(path.parent().unwrap_or(path))
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        self.begin_plain(Operation::SyncDir, path, true)?;
        let dir = self.names.find(path)?;
        self.names.entries(dir)?;
        self.names.sync_dir(dir);
        let names = &self.names;
        self.files.retain(|ino, file| file.names + file.handles > 0 || names.may_survive(*ino));
        Ok(())
    }

    pub(super) fn list(&mut self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.begin_plain(Operation::List, path, false)?;
        let entries = self.names.entries(self.names.find(path)?)?;
        let entry = |(name, ino): (&String, &Ino)| {
            let Metadata { len, is_dir } = self.stat(*ino);
            DirEntry { name: name.clone(), len, is_dir }
        };
        Ok(entries.iter().map(entry).collect())
    }

    fn stat(&self, ino: Ino) -> Metadata {
        let len = self.files.get(&ino).map_or(0, |file| file.content.len());
        Metadata { len, is_dir: self.names.is_dir(ino) }
    }

    pub(super) fn metadata(&mut self, path: &Path) -> io::Result<Metadata> {
        self.begin_plain(Operation::Metadata, path, false)?;
        Ok(self.stat(self.names.find(path)?))
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.begin_plain(Operation::Rename, from, true)?;
        let (from_dir, from_name, source) = self.names.find_entry(from)?;
        let source = source.ok_or(io::ErrorKind::NotFound)?;
        let (to_dir, to_name, target) = self.names.find_entry(to)?;
        if self.names.is_dir(source) || target.is_some_and(|ino| self.names.is_dir(ino)) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if target == Some(source) {
            return Ok(());
        }
        self.names.rename((from_dir, from_name), (to_dir, to_name), source);
        if let Some(replaced) = target {
            self.lose_name(replaced)?;
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.begin_plain(Operation::Remove, path, true)?;
        let (dir, name, ino) = self.names.find_entry(path)?;
        let ino = ino.ok_or(io::ErrorKind::NotFound)?;
        if self.names.is_dir(ino) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        self.names.unlink(dir, name);
        self.lose_name(ino)
    }

    fn lose_name(&mut self, ino: Ino) -> io::Result<()> {
        self.file(ino)?.names -= 1;
        self.let_go(ino);
        Ok(())
    }

    /// Frees the space of a file without name and handles.
    fn let_go(&mut self, ino: Ino) {
        let Some(file) = self.files.get(&ino) else { return };
        if file.names + file.handles > 0 {
            return;
        }
        self.used_pages -= file.content.allocated_pages();
        if !self.names.may_survive(ino) {
            self.files.remove(&ino);
        }
    }

    // Locks and space.

    pub(super) fn lock(&mut self, path: &Path) -> io::Result<Ino> {
        let missing = matches!(self.names.find_entry(path), Ok((_, _, None)));
        self.begin_plain(Operation::Lock, path, missing)?;
        let (dir, name, existing) = self.names.find_entry(path)?;
        let ino = existing.unwrap_or_else(|| self.create_entry(dir, name, 0));
        if self.names.is_dir(ino) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        match self.locks.insert(ino) {
            true => Ok(ino),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    pub(super) fn unlock(&mut self, ino: Ino) {
        self.locks.remove(&ino);
    }

    pub(super) fn free_space(&mut self, path: &Path) -> io::Result<u64> {
        self.begin_plain(Operation::FreeSpace, path, false)?;
        self.names.find(path)?;
        Ok(self.free_pages().saturating_mul(PAGE_BYTES as u64))
    }

    pub(super) fn map_support(&mut self, path: &Path) -> io::Result<MapSupport> {
        self.begin_plain(Operation::MapSupport, path, false)?;
        self.names.find(path)?;
        Ok(self.map_support)
    }

    pub(super) fn free_pages(&self) -> u64 {
        self.capacity_pages.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used_pages))
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.used_pages * PAGE_BYTES as u64
    }

    /// Every file's path and content, as readers see them.
    pub(super) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let content = |ino| {
            let file: &Inode = self.files.get(&ino)?;
            let mut bytes = vec![0; file.content.len() as usize];
            file.content.read(0, &mut bytes);
            Some(bytes)
        };
        let names = self.names.files().into_iter();
        names.filter_map(|(path, ino)| Some((path, content(ino)?))).collect()
    }
}
