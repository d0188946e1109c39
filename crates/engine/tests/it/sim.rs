//! A database on a simulated disk, and the history that says what may be found in it.
//!
//! A [`Session`] writes seeded batches to two column families and notes which were acknowledged, and which of those must
//! outlive a power cut. What a restart finds must be the state after a whole number of batches: so nothing is there in
//! part, nothing is missing in the middle, and nothing that was deleted or overwritten is back.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::{Random, backend, chain};
use engine::{
    Db, Error, ErrorKind, Family, FamilyId, Iter, Options, Snapshot, WriteBatch, WriteOptions,
};
use vfs::Fs;
use vfs::sim::SimFs;

pub const DIR: &str = "/db";
const OTHER: &str = "other";
const KEYS: u64 = 40;

pub type Map = BTreeMap<Vec<u8>, Vec<u8>>;
/// What the default family and the other one hold.
pub type State = [Map; 2];

/// The smallest sizes there are, so that a few hundred kilobytes pass through every part of the engine.
pub fn tiny() -> Options {
    Options {
        write_budget: Some(256 << 10),
        write_buffer_size: 64 << 10,
        max_write_buffer_number: 3,
        wal_segment_bytes: 256 << 10,
        wal_backend: backend(),
        wal_window_bytes: 64 << 10,
        target_file_size_base: 64 << 10,
        max_bytes_for_level_base: 64 << 10,
        level0_file_num_compaction_trigger: 2,
        block_cache_bytes: Some(64 << 10),
        block_size: 1 << 10,
        bytes_per_sync: 16 << 10,
        ..Options::default()
    }
}

/// One entry of a batch; no value: a deletion.
#[derive(Clone, Debug)]
pub struct Change {
    pub family: usize,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

/// All batches, in order.
#[derive(Clone, Default)]
pub struct History {
    batches: Vec<Vec<Change>>,
    /// So many were acknowledged; at most one more was sent, and its fate is unknown.
    pub acknowledged: usize,
    /// So many must be there after a power cut.
    pub durable: usize,
    /// Whether the creation of the other family was acknowledged.
    has_other: bool,
}

fn apply(state: &mut State, batch: &[Change]) {
    for Change { family, key, value } in batch {
        match value {
            Some(value) => state[*family].insert(key.clone(), value.clone()),
            None => state[*family].remove(key),
        };
    }
}

/// The batch that a value came from.
fn origin(value: &[u8]) -> String {
    String::from_utf8_lossy(&value[..value.len().min(12)]).into_owned()
}

/// What a value says about itself, for messages.
fn difference(expected: &State, found: &State) -> String {
    let mut text = String::new();
    for (name, (expected, found)) in ["default", OTHER].iter().zip(expected.iter().zip(found)) {
        let keys: std::collections::BTreeSet<_> = expected.keys().chain(found.keys()).collect();
        for key in keys {
            let (e, f) = (expected.get(key), found.get(key));
            if e != f {
                let show = |v: Option<&Vec<u8>>| v.map_or("nothing".to_owned(), |v| origin(v));
                let key = String::from_utf8_lossy(key);
                text += &format!("\n  {name}/{key}: expected {}, found {}", show(e), show(f));
            }
        }
    }
    text
}

impl History {
    pub fn len(&self) -> usize {
        self.batches.len()
    }

    pub fn state_after(&self, count: usize) -> State {
        let mut state = State::default();
        self.batches[..count].iter().for_each(|batch| apply(&mut state, batch));
        state
    }

    /// How many batches, `least` or more, made the state that was found: the most, where the last ones changed nothing.
    ///
    /// # Panics
    /// When it is the state after no such number.
    pub fn locate(&self, found: &State, least: usize, what: &str) -> usize {
        let mut state = self.state_after(least);
        let mut at = (state == *found).then_some(least);
        for count in least + 1..=self.len() {
            apply(&mut state, &self.batches[count - 1]);
            if state == *found {
                at = Some(count);
            }
        }
        at.unwrap_or_else(|| {
            panic!(
                "{what}: what was found is the state after none of {least}..={} batches ({} acknowledged); \
                 against {least}:{}\nagainst {}:{}",
                self.len(),
                self.acknowledged,
                difference(&self.state_after(least), found),
                self.acknowledged,
                difference(&self.state_after(self.acknowledged), found),
            )
        })
    }

    /// Forgets what a crash has taken: it must never come back.
    pub fn truncate(&mut self, count: usize) {
        self.batches.truncate(count);
        self.acknowledged = count;
        self.durable = count;
    }
}

/// A database on a simulated disk, while it is open and while it is not.
pub struct Session {
    pub fs: SimFs,
    pub options: Options,
    pub history: History,
    pub random: Random,
    /// Whether the other family is made by some step, and not by the first opening.
    pub makes_other_late: bool,
    db: Option<Db>,
    other: Option<Family>,
    snapshots: Vec<(Snapshot, State)>,
    /// Batches ever made, those that were taken back included.
    made: u64,
}

impl Session {
    pub fn new(seed: u64) -> Self {
        Self::on(SimFs::new(), History::default(), seed)
    }

    /// On a disk that holds what `history` says.
    pub fn on(fs: SimFs, history: History, seed: u64) -> Self {
        let made = history.len() as u64 + 1000 * seed;
        Self {
            fs,
            options: tiny(),
            history,
            random: Random::new(seed),
            makes_other_late: false,
            db: None,
            other: None,
            snapshots: Vec::new(),
            made,
        }
    }

    pub fn open(&mut self) -> Result<(), Error> {
        let fs: Arc<dyn Fs> = Arc::new(self.fs.clone());
        let db = noted(Db::open_on(fs, DIR, self.options.clone()))?;
        self.other = db.family(OTHER).ok();
        assert!(self.other.is_some() || !self.history.has_other, "a family is gone");
        self.db = Some(db);
        if self.other.is_some() || self.makes_other_late {
            return Ok(());
        }
        self.make_other().inspect_err(|_| self.abandon())
    }

    fn make_other(&mut self) -> Result<(), Error> {
        self.other = Some(noted(self.db().create_family(OTHER))?);
        self.history.has_other = true;
        Ok(())
    }

    pub fn is_open(&self) -> bool {
        self.db.is_some()
    }

    pub fn db(&self) -> &Db {
        self.db.as_ref().expect("the database is open")
    }

    /// Everything, by the iterators of both families.
    pub fn read(&self) -> Result<State, Error> {
        let other = self.other.as_ref().map(|other| collect(other.iter()?)).transpose()?;
        Ok([collect(self.db().iter()?)?, other.unwrap_or_default()])
    }

    /// Whether all that was acknowledged, and nothing else, is read: by iterators, and key by key.
    pub fn check(&self) -> Result<(), Error> {
        let expected = self.history.state_after(self.history.acknowledged);
        let found = noted(self.read())?;
        assert!(found == expected, "what is read differs:{}", difference(&expected, &found));
        for key in (0..KEYS).map(key) {
            let other = self.other.as_ref().map(|other| noted(other.get(&key))).transpose()?;
            let found = [noted(self.db().get(&key))?, other.flatten()];
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found.as_deref(), expected.get(&key).map(Vec::as_slice));
            }
        }
        Ok(())
    }

    /// One seeded step.
    pub fn step(&mut self) -> Result<(), Error> {
        match self.random.below(100) {
            0..3 => self.flush(),
            3..5 => self.compact(),
            5..8 if self.snapshots.len() < 3 => {
                let state = self.history.state_after(self.history.acknowledged);
                self.snapshots.push((self.db().snapshot(), state));
                Ok(())
            }
            8..12 if !self.snapshots.is_empty() => {
                let at = self.random.below(self.snapshots.len() as u64) as usize;
                let (snapshot, expected) = self.snapshots.swap_remove(at);
                let other = self.other.as_ref();
                let other =
                    other.map(|other| collect(snapshot.range_in::<&[u8]>(other, ..)?)).transpose();
                let default = snapshot.iter().and_then(collect);
                let found = [noted(default)?, noted(other)?.unwrap_or_default()];
                assert!(found == expected, "a snapshot moved:{}", difference(&expected, &found));
                Ok(())
            }
            12..15 => self.check(),
            15..20 if self.other.is_none() => self.make_other(),
            _ => {
                let is_synced = self.random.below(6) == 0;
                self.write_some(is_synced)
            }
        }
    }

    /// A seeded batch.
    pub fn write_some(&mut self, is_synced: bool) -> Result<(), Error> {
        self.made += 1;
        let (made, random) = (self.made, &mut self.random);
        let families = 1 + u64::from(self.other.is_some());
        let batch = (0..1 + random.below(5))
            .map(|_| Change {
                family: random.below(families) as usize,
                key: key(random.below(KEYS)),
                value: (random.below(4) > 0).then(|| {
                    let len = match random.below(40) {
                        0..2 => 9000 + random.below(30_000),
                        2..9 => random.below(4000),
                        _ => random.below(200),
                    };
                    value(made, len as usize)
                }),
            })
            .collect();
        self.write(batch, is_synced)
    }

    /// A batch; its place in the history follows from what the write says.
    pub fn write(&mut self, changes: Vec<Change>, is_synced: bool) -> Result<(), Error> {
        let mut batch = WriteBatch::new();
        let other = self.other.as_ref().map_or(FamilyId::DEFAULT, FamilyId::from);
        for Change { family, key, value } in &changes {
            match (family, value) {
                (0, Some(value)) => batch.put(key, value),
                (0, None) => batch.delete(key),
                (_, Some(value)) => batch.put_in(other, key, value),
                (_, None) => batch.delete_in(other, key),
            };
        }
        self.history.batches.push(changes);
        let options = WriteOptions { sync: is_synced, ..WriteOptions::default() };
        match noted(self.db().write(&batch, &options)) {
            Ok(()) => {
                let (len, history) = (self.history.len(), &mut self.history);
                assert_eq!(len, history.acknowledged + 1, "a write went on after one in doubt");
                history.acknowledged = len;
                history.durable = if is_synced { len } else { history.durable };
                Ok(())
            }
            Err(error) => {
                // The promise of `Db::write`: nothing was written, or nobody knows and writing ends.
                match error.kind() {
                    ErrorKind::RetryLater => drop(self.history.batches.pop()),
                    ErrorKind::ReadOnly => {}
                    kind => panic!("a write fails with the kind {kind:?}: {}", chain(&error)),
                }
                Err(error)
            }
        }
    }

    pub fn flush(&mut self) -> Result<(), Error> {
        noted(self.db().flush())?;
        self.history.durable = self.history.acknowledged;
        Ok(())
    }

    pub fn compact(&mut self) -> Result<(), Error> {
        noted(self.db().compact())?;
        self.history.durable = self.history.acknowledged;
        Ok(())
    }

    pub fn close(&mut self) -> Result<(), Error> {
        self.other = None;
        let db = self.db.take().expect("the database is open");
        let closed = noted(db.close());
        self.snapshots.clear();
        closed?;
        self.history.durable = self.history.acknowledged;
        Ok(())
    }

    /// Lets go of all handles, whatever state the engine is in.
    pub fn abandon(&mut self) {
        self.snapshots.clear();
        self.other = None;
        self.db = None;
    }

    /// After an opening without faults: writes go on, a restart agrees, and no file and no credit leaks.
    pub fn settle(&mut self) {
        let what = "after a restart without faults";
        self.check().expect(what);
        self.write_some(true).expect(what);
        self.close().expect(what);
        self.open().expect(what);
        self.check().expect(what);
        self.write_some(false).expect(what);
        self.compact().expect(what);
        self.check().expect(what);
        self.check_leaks();
    }

    /// Whether the files are those that are needed, and all credits are back. Nothing must be in memory.
    pub fn check_leaks(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let stats = self.db().stats();
            let tables = stats.levels.iter().map(|level| level.tables).sum::<u64>() as usize;
            let entries = self.fs.list(Path::new(DIR)).expect("there are no faults");
            let count = |part: &str| entries.iter().filter(|e| e.name.contains(part)).count();
            let found = [count("MANIFEST-"), count(".log"), count(".sst"), entries.len()];
            // CURRENT and LOCK besides.
            let logs = 1 + stats.log_spare_files as usize;
            if found == [1, logs, tables, tables + 3 + logs] && stats.in_flight_bytes == 0 {
                return;
            }
            // Files are removed by a thread of their own.
            let names: Vec<_> = entries.iter().map(|entry| &entry.name).collect();
            assert!(Instant::now() < until, "{tables} tables are live: {names:?}, {stats:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// `result`; whatever an error says, it is not that a thread panicked.
pub fn noted<T>(result: Result<T, Error>) -> Result<T, Error> {
    if let Err(error) = &result {
        let text = chain(error);
        assert!(!text.contains("panicked"), "{text}");
    }
    result
}

fn collect(entries: Iter) -> Result<Map, Error> {
    entries.map(|entry| entry.map(|(k, v)| (k.to_vec(), v.to_vec()))).collect()
}

pub fn key(number: u64) -> Vec<u8> {
    format!("key-{number:02}").into_bytes()
}

/// A value that says which batch it came from.
pub fn value(batch: u64, len: usize) -> Vec<u8> {
    let mut value = format!("{batch:08}").into_bytes();
    let mut filler = Random::new(batch);
    // Half of it compresses.
    value.extend((0..len).map(|i| if i % 2 == 0 { filler.next() as u8 } else { b'.' }));
    value
}
