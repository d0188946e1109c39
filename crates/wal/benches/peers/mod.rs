//! What the log is compared with.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex};

use vfs::{Access, Fs, MappedRegion, RealFs};

/// Bytes of a file.
const FILE_BYTES: u64 = 64 << 20;

/// Somebody who appends records.
pub trait Peer: Sync {
    /// On return the record survives the process.
    fn append(&self, record: &[u8]);

    /// On return the record survives a power cut.
    fn append_synced(&self, _record: &[u8]) {
        panic!("a peer of appends only");
    }

    /// What there is to say about how it went.
    fn note(&self) -> String {
        String::new()
    }
}

impl<P: Peer + Send> Peer for Arc<P> {
    fn append(&self, record: &[u8]) {
        (**self).append(record);
    }

    fn append_synced(&self, record: &[u8]) {
        (**self).append_synced(record);
    }
}

/// Makes a file and fills it, in small pieces.
fn filled(path: &Path) -> File {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).open(path).expect("there is room");
    for at in (0..FILE_BYTES).step_by(16 << 10) {
        file.write_all_at(&[0; 16 << 10], at).expect("there is room");
    }
    file.sync_all().expect("it is synced");
    file
}

/// Files that are used in turn: one that is left is synced by another thread before it comes again.
struct Turns<T> {
    leave: SyncSender<T>,
    ready: Mutex<Receiver<T>>,
}

impl<T: Send + 'static> Turns<T> {
    fn new(files: Vec<T>, sync: fn(&mut T)) -> Self {
        let (leave, left) = sync_channel::<T>(files.len());
        let (give, ready) = channel();
        for file in files {
            give.send(file).expect("it is received");
        }
        std::thread::spawn(move || {
            for mut file in left {
                sync(&mut file);
                if give.send(file).is_err() {
                    return;
                }
            }
        });
        Self { leave, ready: Mutex::new(ready) }
    }

    fn next(&self) -> T {
        self.ready.lock().expect("no panic").recv().expect("the other thread lives")
    }

    fn leave(&self, file: T) {
        self.leave.send(file).expect("the other thread lives");
    }
}

fn four(dir: &Path) -> Vec<Arc<File>> {
    (0..4).map(|i| Arc::new(filled(&dir.join(format!("{i}.log"))))).collect()
}

/// A positional write(2) a record, side by side, at a place that is taken under a lock.
pub struct Written {
    turns: Turns<Arc<File>>,
    tail: Mutex<(Arc<File>, u64)>,
}

impl Written {
    pub fn new(dir: &Path) -> Self {
        let turns = Turns::new(four(dir), |file| file.sync_data().expect("it is synced"));
        let tail = Mutex::new((turns.next(), 0));
        Self { turns, tail }
    }
}

impl Peer for Written {
    fn append(&self, record: &[u8]) {
        let (file, at) = {
            let mut tail = self.tail.lock().expect("no panic");
            if tail.1 + record.len() as u64 > FILE_BYTES {
                let next = self.turns.next();
                self.turns.leave(std::mem::replace(&mut tail.0, next));
                tail.1 = 0;
            }
            let at = tail.1;
            tail.1 += record.len() as u64;
            (Arc::clone(&tail.0), at)
        };
        file.write_all_at(record, at).expect("there is room");
    }
}

/// A `BufWriter` behind a lock that is flushed after each record.
pub struct Buffered {
    turns: Turns<Arc<File>>,
    tail: Mutex<(BufWriter<Arc<File>>, u64)>,
}

impl Buffered {
    pub fn new(dir: &Path) -> Self {
        let turns = Turns::new(four(dir), |file| file.sync_data().expect("it is synced"));
        let tail = Mutex::new((BufWriter::new(turns.next()), 0));
        Self { turns, tail }
    }
}

impl Peer for Buffered {
    fn append(&self, record: &[u8]) {
        let mut tail = self.tail.lock().expect("no panic");
        if tail.1 + record.len() as u64 > FILE_BYTES {
            let mut next = self.turns.next();
            next.seek(SeekFrom::Start(0)).expect("it is ours");
            let left = std::mem::replace(&mut tail.0, BufWriter::new(next));
            self.turns.leave(left.into_inner().expect("it is flushed"));
            tail.1 = 0;
        }
        tail.1 += record.len() as u64;
        tail.0.write_all(record).expect("there is room");
        tail.0.flush().expect("there is room");
    }
}

/// A mapped file: unmapped before it is synced, mapped anew when it comes again.
struct MappedFile {
    file: Arc<dyn vfs::File>,
    region: Option<MappedRegion>,
}

impl MappedFile {
    fn map(&mut self) {
        let region = self.file.map(0, FILE_BYTES as usize, Access::ReadWrite);
        self.region = Some(region.expect("it is mapped"));
    }
}

/// A lock around a copy into a mapped file.
pub struct MappedCopy {
    turns: Turns<MappedFile>,
    tail: Mutex<(MappedFile, usize)>,
}

impl MappedCopy {
    pub fn new(dir: &Path) -> Self {
        drop(four(dir));
        let open = |i: i32| {
            let path = dir.join(format!("{i}.log"));
            let file = RealFs::new().open(&path, Access::ReadWrite).expect("it is there");
            MappedFile { file, region: None }
        };
        let turns = Turns::new((0..4).map(open).collect(), |mapped| {
            mapped.region = None;
            mapped.file.sync_data().expect("it is synced");
        });
        let mut first = turns.next();
        first.map();
        Self { turns, tail: Mutex::new((first, 0)) }
    }
}

impl Peer for MappedCopy {
    fn append(&self, record: &[u8]) {
        let mut tail = self.tail.lock().expect("no panic");
        if tail.1 + record.len() > FILE_BYTES as usize {
            let mut next = self.turns.next();
            next.map();
            self.turns.leave(std::mem::replace(&mut tail.0, next));
            tail.1 = 0;
        }
        let region = tail.0.region.as_ref().expect("it was mapped");
        // SAFETY: under the lock, nobody else accesses the region.
        unsafe { region.write(tail.1, record) }.expect("it is within the region");
        tail.1 += record.len();
    }
}

/// Plain group commit on a zero-filled file: what came meanwhile is written and synced by one, for all. With more than
/// one slot rounds overlap, each on an open file description of its own, and become durable in their order.
pub struct Grouped {
    slots: Vec<File>,
    state: Mutex<Group>,
    done: Condvar,
}

#[derive(Default)]
struct Group {
    at: u64,
    pending: Vec<u8>,
    /// Rounds that were begun; what comes now belongs to the next one.
    begun: u64,
    /// Rounds that are durable, and so are all before them.
    durable: u64,
    /// Rounds that ended before an earlier one did.
    ended: Vec<u64>,
    /// Slots that no round has.
    free: Vec<usize>,
}

impl Grouped {
    pub fn new(dir: &Path, slots: usize) -> Self {
        let path = dir.join("0.log");
        drop(filled(&path));
        let open = |_| OpenOptions::new().write(true).open(&path).expect("it is there");
        let state = Group { free: (0..slots).collect(), ..Group::default() };
        Self {
            slots: (0..slots).map(open).collect(),
            state: Mutex::new(state),
            done: Condvar::new(),
        }
    }
}

impl Peer for Grouped {
    fn append(&self, record: &[u8]) {
        self.append_synced(record);
    }

    fn append_synced(&self, record: &[u8]) {
        let mut state = self.state.lock().expect("no panic");
        state.pending.extend_from_slice(record);
        let round = state.begun + 1;
        while state.durable < round {
            let slot = if state.begun < round { state.free.pop() } else { None };
            let Some(slot) = slot else {
                state = self.done.wait(state).expect("no panic");
                continue;
            };
            let bytes = std::mem::take(&mut state.pending);
            state.begun = round;
            if state.at + bytes.len() as u64 > FILE_BYTES {
                state.at = 0;
            }
            let at = state.at;
            state.at += bytes.len() as u64;
            drop(state);
            self.slots[slot].write_all_at(&bytes, at).expect("there is room");
            self.slots[slot].sync_data().expect("it is synced");
            state = self.state.lock().expect("no panic");
            state.free.push(slot);
            state.ended.push(round);
            while let Some(next) = state.ended.iter().position(|&ended| ended == state.durable + 1)
            {
                state.ended.swap_remove(next);
                state.durable += 1;
            }
            self.done.notify_all();
        }
    }
}

/// The device: one record, one sync, on a zero-filled file.
pub struct Raw {
    file: File,
    at: Mutex<u64>,
}

impl Raw {
    pub fn new(dir: &Path) -> Self {
        Self { file: filled(&dir.join("0.log")), at: Mutex::new(0) }
    }
}

impl Peer for Raw {
    fn append(&self, record: &[u8]) {
        self.append_synced(record);
    }

    fn append_synced(&self, record: &[u8]) {
        let mut at = self.at.lock().expect("no panic");
        self.file.write_all_at(record, *at).expect("there is room");
        self.file.sync_data().expect("it is synced");
        *at = (*at + record.len() as u64) % (FILE_BYTES - 4096);
    }
}
