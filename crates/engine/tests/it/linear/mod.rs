//! Concurrent histories are linearizable: batches across column families, reads, snapshots and iterators, while
//! memtables are switched, flushed and compacted.
//!
//! Each round has keys of its own, so that its history is short enough to be checked on its own; the database, and what
//! goes on in it behind the rounds, is one. `POLDER_LINEAR_ROUNDS` plays more, `POLDER_LINEAR_SEED` others.

mod checker;

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use engine::{Db, Error, Family, FamilyId, Options, Snapshot, WriteBatch, WriteOptions};

use crate::support::{Random, open, small};
use checker::{Event, KEYS, Op, State, is_linearizable};

const THREADS: u64 = 4;
const OPS: usize = 7;
const HALF: usize = KEYS / 2;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

struct Round<'a> {
    db: &'a Db,
    other: &'a Family,
    number: u64,
    clock: &'a AtomicU64,
}

impl Round<'_> {
    fn family(&self, key: usize) -> FamilyId {
        if key < HALF { FamilyId::DEFAULT } else { self.other.id() }
    }

    fn key(&self, key: usize) -> [u8; 9] {
        let mut bytes = [key as u8; 9];
        bytes[..8].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }

    /// Runs `op` between two looks at the clock.
    fn timed<T>(&self, op: impl FnOnce() -> T) -> (T, u64, u64) {
        let call = self.clock.fetch_add(1, Ordering::SeqCst);
        let result = op();
        (result, call, self.clock.fetch_add(1, Ordering::SeqCst))
    }

    /// One operation; nothing if it was refused, which leaves no trace.
    fn act(&self, random: &mut Random, value: u32) -> Option<Event> {
        let key = random.below(KEYS as u64) as usize;
        match random.below(8) {
            0..=3 => self.write(random, key, value),
            4 | 5 => {
                let get = || match key < HALF {
                    true => self.db.get(self.key(key)),
                    false => self.other.get(self.key(key)),
                };
                let (found, call, returned) = self.timed(get);
                let seen = found.unwrap().map_or(0, |bytes| decode(&bytes));
                Some(Event { op: Op::Get(key, seen), call, returned })
            }
            6 => {
                // Its moment is that of its making, however late it is read.
                let (snapshot, call, returned) = self.timed(|| self.db.snapshot());
                std::thread::yield_now();
                let seen = self.by_gets(&snapshot);
                assert_eq!(self.by_ranges(&snapshot), seen, "a snapshot moved");
                Some(Event { op: Op::View(seen), call, returned })
            }
            _ => {
                let (iter, call, returned) =
                    self.timed(|| self.db.range(self.key(0)..=self.key(HALF - 1)).unwrap());
                let mut seen = [0; KEYS];
                for entry in iter {
                    let (key, value) = entry.unwrap();
                    seen[usize::from(key[8])] = decode(&value);
                }
                Some(Event { op: Op::Range(seen), call, returned })
            }
        }
    }

    fn write(&self, random: &mut Random, first: usize, value: u32) -> Option<Event> {
        let mut entries = vec![(first, value)];
        for key in 0..KEYS {
            if key != first && random.below(3) == 0 {
                entries.push((key, if random.below(4) == 0 { 0 } else { value }));
            }
        }
        let mut batch = WriteBatch::new();
        for &(key, value) in &entries {
            match value {
                0 => batch.delete_in(self.family(key), self.key(key)),
                // Long enough that memtables fill and switch while rounds go on.
                _ => batch.put_in(self.family(key), self.key(key), encode(value)),
            };
        }
        let options = WriteOptions {
            sync: random.below(40) == 0,
            no_wait: random.below(10) == 0,
            ..WriteOptions::default()
        };
        let (written, call, returned) = self.timed(|| self.db.write(&batch, &options));
        match written {
            Ok(()) => Some(Event { op: Op::Write(entries), call, returned }),
            Err(Error::WouldBlock { .. }) if options.no_wait => None,
            Err(error) => panic!("a write failed: {error}"),
        }
    }

    fn by_gets(&self, snapshot: &Snapshot) -> State {
        std::array::from_fn(|key| {
            let found = match key < HALF {
                true => snapshot.get(self.key(key)),
                false => snapshot.get_in(self.other, self.key(key)),
            };
            found.unwrap().map_or(0, |bytes| decode(&bytes))
        })
    }

    fn by_ranges(&self, snapshot: &Snapshot) -> State {
        let mut state = [0; KEYS];
        let low = snapshot.range(self.key(0)..self.key(HALF)).unwrap();
        let high = snapshot.range_in(self.other, self.key(HALF)..self.key(KEYS)).unwrap();
        for entry in low.chain(high.rev()) {
            let (key, value) = entry.unwrap();
            state[usize::from(key[8])] = decode(&value);
        }
        state
    }

    fn play(&self, seed: u64) -> Vec<Event> {
        let start = Barrier::new(THREADS as usize);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let start = &start;
                    scope.spawn(move || {
                        let mut random = Random::new(seed ^ (self.number * THREADS + thread) << 8);
                        start.wait();
                        (0..OPS)
                            .filter_map(|op| {
                                let value = 1 + thread as u32 * OPS as u32 + op as u32;
                                self.act(&mut random, value)
                            })
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        })
    }
}

/// The number, and what makes the value long.
fn encode(value: u32) -> Vec<u8> {
    let mut bytes = vec![value as u8; 600];
    bytes[..4].copy_from_slice(&value.to_be_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> u32 {
    assert!(bytes.len() == 600 && bytes[4..].iter().all(|&byte| byte == bytes[3]), "a torn value");
    u32::from_be_bytes(bytes[..4].try_into().expect("4 bytes"))
}

/// W4, R2, F4.
#[test]
fn concurrent_histories_can_be_put_in_order() {
    let rounds = number("POLDER_LINEAR_ROUNDS", 400);
    let seed = number("POLDER_LINEAR_SEED", 20_261_121);
    let dir = tempfile::tempdir().unwrap();
    let options =
        Options { write_buffer_size: 64 << 10, level0_file_num_compaction_trigger: 2, ..small() };
    let db = open(dir.path(), &options);
    let other = db.create_family("other").unwrap();
    let (clock, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                db.flush().unwrap();
            }
        });
        for number in 0..rounds {
            let round = Round { db: &db, other: &other, number, clock: &clock };
            let history = round.play(seed);
            if !is_linearizable(&history) {
                is_over.store(true, Ordering::Relaxed);
                panic!(
                    "no order explains round {number} of POLDER_LINEAR_SEED={seed}: {history:#?}"
                );
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let stats = db.stats();
    assert!(stats.flushes > 20 && stats.compactions > 5, "too little went on: {stats:?}");
}
