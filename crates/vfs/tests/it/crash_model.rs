//! Random histories against a model: what was synced survives every crash, what was not is in one
//! of the states that it went through, and the same seed leaves the same disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use vfs::sim::SimFs;
use vfs::{Access, File, Fs};

const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
enum Step {
    Create(usize),
    Remove(usize),
    Rename(usize, usize),
    Write(usize, u16, u16),
    MapWrite(usize, u16),
    SetLen(usize, u16),
    PunchHole(usize, u16, u16),
    Sync(usize),
    SyncDir,
    /// Goes on with the disk that a crash leaves.
    Crash(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let name = || 0..NAMES.len();
    let offset = || 0..13_000u16;
    prop_oneof![
        4 => name().prop_map(Step::Create),
        1 => name().prop_map(Step::Remove),
        2 => (name(), name()).prop_map(|(from, to)| Step::Rename(from, to)),
        8 => (name(), offset(), 1..5000u16).prop_map(|(n, at, len)| Step::Write(n, at, len)),
        4 => (name(), offset()).prop_map(|(n, at)| Step::MapWrite(n, at)),
        2 => (name(), offset()).prop_map(|(n, len)| Step::SetLen(n, len)),
        1 => (name(), offset(), 1..9000u16).prop_map(|(n, at, len)| Step::PunchHole(n, at, len)),
        4 => name().prop_map(Step::Sync),
        3 => Just(Step::SyncDir),
        1 => any::<u64>().prop_map(Step::Crash),
    ]
}

/// A file: its open handle, and every content that it had since its last sync, oldest first.
struct Model {
    file: Arc<dyn File>,
    states: Vec<Vec<u8>>,
}

/// Every file ever created, and for each name all that it referred to since the directory's last
/// sync, oldest first.
struct World {
    fs: SimFs,
    files: Vec<Model>,
    names: BTreeMap<usize, Vec<Option<usize>>>,
    fill: u8,
}

fn path(name: usize) -> PathBuf {
    Path::new("/db").join(NAMES[name])
}

impl World {
    fn new() -> Self {
        let fs = SimFs::new();
        fs.create_dir_all(Path::new("/db")).unwrap();
        let names = (0..NAMES.len()).map(|name| (name, vec![None])).collect();
        World { fs, files: Vec::new(), names, fill: 0 }
    }

    fn named(&self, name: usize) -> Option<usize> {
        self.names[&name].last().copied().flatten()
    }

    fn refer(&mut self, name: usize, file: Option<usize>) {
        self.names.get_mut(&name).unwrap().push(file);
    }

    /// Changes a file's content, by the closure in the model and by the caller on the disk.
    fn change(&mut self, name: usize, model: impl FnOnce(&mut Vec<u8>)) -> Option<Arc<dyn File>> {
        let file = &mut self.files[self.names[&name].last().copied().flatten()?];
        let mut next = file.states.last().unwrap().clone();
        model(&mut next);
        file.states.push(next);
        Some(Arc::clone(&file.file))
    }

    fn apply(&mut self, step: &Step) {
        self.fill = self.fill.wrapping_add(1).max(1);
        let fill = self.fill;
        match *step {
            Step::Create(name) => {
                let created = self.fs.create(&path(name));
                assert_eq!(created.is_ok(), self.named(name).is_none());
                if let Ok(file) = created {
                    self.files.push(Model { file, states: vec![Vec::new()] });
                    self.refer(name, Some(self.files.len() - 1));
                }
            }
            Step::Remove(name) => {
                assert_eq!(self.fs.remove(&path(name)).is_ok(), self.named(name).is_some());
                self.refer(name, None);
            }
            Step::Rename(from, to) => {
                let renamed = self.fs.rename(&path(from), &path(to));
                assert_eq!(renamed.is_ok(), self.named(from).is_some());
                if renamed.is_ok() && from != to {
                    self.refer(to, self.named(from));
                    self.refer(from, None);
                }
            }
            Step::Write(name, at, len) => {
                let (at, len) = (usize::from(at), usize::from(len));
                let file = self.change(name, |bytes| {
                    bytes.resize(bytes.len().max(at + len), 0);
                    bytes[at..at + len].fill(fill);
                });
                if let Some(file) = file {
                    file.write_all_at(&vec![fill; len], at as u64).unwrap();
                }
            }
            Step::MapWrite(name, at) => self.map_write(name, usize::from(at)),
            Step::SetLen(name, len) => {
                if let Some(file) = self.change(name, |bytes| bytes.resize(usize::from(len), 0)) {
                    file.set_len(u64::from(len)).unwrap();
                }
            }
            Step::PunchHole(name, at, len) => {
                let (at, len) = (usize::from(at), usize::from(len));
                let file = self.change(name, |bytes| {
                    let end = bytes.len();
                    bytes[at.min(end)..(at + len).min(end)].fill(0);
                });
                if let Some(file) = file {
                    file.punch_hole(at as u64, len as u64).unwrap();
                }
            }
            Step::Sync(name) => {
                if let Some(file) = self.named(name) {
                    let file = &mut self.files[file];
                    file.file.sync_data().unwrap();
                    file.states = vec![file.states.pop().unwrap()];
                }
            }
            Step::SyncDir => {
                self.fs.sync_dir(Path::new("/db")).unwrap();
                self.names.values_mut().for_each(|history| {
                    *history = vec![history.last().copied().flatten()];
                });
            }
            Step::Crash(seed) => self.crash(seed),
        }
    }

    fn map_write(&mut self, name: usize, at: usize) {
        let Some(file) = self.named(name) else { return };
        let len = self.files[file].states.last().unwrap().len();
        if at >= len {
            return;
        }
        let (fill, part) = (self.fill, (len - at).min(700));
        let file = self.change(name, |bytes| bytes[at..at + part].fill(fill)).unwrap();
        let region = file.map(0, len, Access::ReadWrite).unwrap();
        // SAFETY: this thread alone uses the mapping.
        unsafe { region.write(at, &vec![fill; part]).unwrap() };
    }

    /// Reads every named file.
    fn read(fs: &SimFs) -> BTreeMap<usize, Vec<u8>> {
        let content = |name| {
            let file = fs.open(&path(name), Access::Read).ok()?;
            let mut bytes = vec![0; file.len().unwrap() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            Some((name, bytes))
        };
        (0..NAMES.len()).filter_map(content).collect()
    }

    /// Checks what readers see.
    fn check_current(&self) {
        let expected = (0..NAMES.len()).filter_map(|name| {
            Some((name, self.files[self.named(name)?].states.last().unwrap().clone()))
        });
        assert_eq!(World::read(&self.fs), expected.collect());
    }

    /// Checks the disk that a crash leaves.
    fn check_crashed(&self, after: &SimFs) {
        let found = World::read(after);
        for (name, history) in &self.names {
            let possible = match found.get(name) {
                None => history.contains(&None),
                Some(bytes) => history.iter().flatten().any(|file| {
                    let states = &self.files[*file].states;
                    states.iter().any(|state| state.len() == bytes.len())
                        && bytes.iter().enumerate().all(|(at, byte)| {
                            states.iter().any(|s| s.get(at).copied().unwrap_or(0) == *byte)
                        })
                }),
            };
            assert!(possible, "{} is as it never was", NAMES[*name]);
        }
    }

    /// Goes on with what the crash left, all of which is durable now.
    fn crash(&mut self, seed: u64) {
        let after = self.fs.crash_clone(seed);
        self.check_crashed(&after);
        let found = World::read(&after);
        self.files.clear();
        for name in 0..NAMES.len() {
            let file = found.get(&name).map(|bytes| {
                let file = after.open(&path(name), Access::ReadWrite).unwrap();
                self.files.push(Model { file, states: vec![bytes.clone()] });
                self.files.len() - 1
            });
            self.names.insert(name, vec![file]);
        }
        self.fs = after;
    }
}

proptest! {
    #[test]
    fn crashes_leave_only_what_was_there(steps in prop::collection::vec(step(), 1..60), seed in any::<u64>()) {
        let mut world = World::new();
        for step in &steps {
            world.apply(step);
            world.check_current();
        }
        for seed in (0..8).map(|i| seed.wrapping_add(i)) {
            world.check_crashed(&world.fs.crash_clone(seed));
        }
    }

    #[test]
    fn the_same_seed_leaves_the_same_disk(steps in prop::collection::vec(step(), 1..60), seed in any::<u64>()) {
        let run = || {
            let mut world = World::new();
            steps.iter().for_each(|step| world.apply(step));
            (world.fs.crash_clone(seed).files(), world.fs.operations(), world.fs)
        };
        let (first, second) = (run(), run());
        prop_assert_eq!(&first.0, &second.0);
        prop_assert_eq!(first.1, second.1);
        prop_assert_eq!(first.0, first.2.crash_clone(seed).files(), "a crash changes nothing");
    }
}

/// Tests that cannot fail are worth nothing: over many seeds a crash must really lose things.
#[test]
fn different_seeds_leave_different_disks() {
    let mut world = World::new();
    for step in [
        Step::Create(0),
        Step::Write(0, 0, 4999),
        Step::Sync(0),
        Step::SyncDir,
        Step::Write(0, 100, 4999),
        Step::Create(1),
        Step::Rename(0, 2),
    ] {
        world.apply(&step);
    }
    let disks: BTreeSet<_> = (0..100).map(|seed| world.fs.crash_clone(seed).files()).collect();
    assert!(disks.len() > 20, "{} disks", disks.len());
}
