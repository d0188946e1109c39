//! The blocks of one part of the cache: which goes when room is needed.
//!
//! Algorithm: three queues, first in, first out. What is new enters a small one, a tenth of the room. What is asked for
//! twice more before it gets to that one's front moves to the main one, where whoever was asked for since goes round again;
//! what goes from the small one leaves a note of its key, and if it comes back while the note is there it enters the main
//! one at once. So a scan that reads everything once passes through the small queue and leaves the rest alone. Index and
//! filter partitions enter the main queue, and go round [`ROUNDS_MAX`] times before they go.
//!
//! Invariants: `bytes` is the sum of the entries' weights; every entry stands in exactly one queue, once.
//!
//! Source: Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

/// The file's number and where in it the block begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) file: u64,
    pub(super) offset: u64,
}

impl Key {
    /// The number by which the key is found.
    #[inline]
    pub(super) fn hash(self) -> u64 {
        let mut hasher = Mix::default();
        std::hash::Hash::hash(&self, &mut hasher);
        hasher.finish()
    }
}

/// Mixes two numbers well enough for a table of block addresses: a wide multiplication each, folded.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mix(u64);

impl Hasher for Mix {
    #[inline]
    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.0 ^ number ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

/// How often an entry that is in use goes round before it goes.
const ROUNDS_MAX: u8 = 3;
/// So many entries' room is not worth giving back.
const SPARE_ENTRIES: usize = 64;
/// The part of the room that new entries have: one in so many.
const SMALL_PART: u64 = 10;

struct Entry<V> {
    block: V,
    weight: u64,
    /// How often it was asked for, up to [`ROUNDS_MAX`].
    uses: u8,
    is_main: bool,
    is_data: bool,
}

/// What an entry takes beside its block: its place in the map, which may be half empty, and in a queue; the note that it
/// leaves, in a queue and a set; the counters of its allocation.
pub(super) const fn entry_bytes<V>() -> u64 {
    (2 * size_of::<(Key, Entry<V>)>() + size_of::<Key>() + 4 * size_of::<u64>() + 48) as u64
}

type Build = BuildHasherDefault<Mix>;

/// See the module's text.
pub(super) struct Shard<V> {
    entries: HashMap<Key, Entry<V>, Build>,
    small: VecDeque<Key>,
    small_bytes: u64,
    main: VecDeque<Key>,
    bytes: u64,
    /// The notes of what has gone, oldest first.
    gone: VecDeque<u64>,
    notes: HashSet<u64, Build>,
    pub(super) hits: u64,
    /// Those of data blocks.
    pub(super) data_hits: u64,
    pub(super) misses: u64,
}

impl<V> Default for Shard<V> {
    fn default() -> Self {
        Self {
            entries: HashMap::default(),
            small: VecDeque::new(),
            small_bytes: 0,
            main: VecDeque::new(),
            bytes: 0,
            gone: VecDeque::new(),
            notes: HashSet::default(),
            hits: 0,
            data_hits: 0,
            misses: 0,
        }
    }
}

impl<V: Clone> Shard<V> {
    /// What its entries take.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    #[inline]
    pub(super) fn get(&mut self, key: Key) -> Option<V> {
        match self.entries.get_mut(&key) {
            Some(entry) => {
                if entry.uses < ROUNDS_MAX {
                    entry.uses += 1;
                }
                self.hits += 1;
                self.data_hits += u64::from(entry.is_data);
                Some(entry.block.clone())
            }
            None => {
                self.misses += 1;
                None
            }
        }
    }

    /// Takes `block` in, which takes `weight`; a block that is there already stays.
    pub(super) fn insert(&mut self, key: Key, block: V, weight: u64, is_data: bool) {
        if self.entries.contains_key(&key) {
            return;
        }
        let is_main = !is_data || self.notes.contains(&key.hash());
        let uses = if is_data { 0 } else { ROUNDS_MAX };
        if is_main {
            self.main.push_back(key);
        } else {
            self.small.push_back(key);
            self.small_bytes += weight;
        }
        self.bytes += weight;
        self.entries.insert(key, Entry { block, weight, uses, is_main, is_data });
    }

    /// Lets entries go until they take no more than `room`; they are added to `out`, to be dropped without the lock.
    pub(super) fn evict_to(&mut self, room: u64, out: &mut Vec<V>) {
        while self.bytes > room {
            let evicted = if self.small_bytes > room / SMALL_PART || self.main.is_empty() {
                self.evict_small()
            } else {
                self.evict_main()
            };
            out.extend(evicted);
        }
    }

    /// Lets the entries of a file go that is no more; they are added to `out`.
    pub(super) fn forget(&mut self, file: u64, out: &mut Vec<V>) {
        let Self { entries, small, main, small_bytes, bytes, .. } = self;
        let mut stays = |key: &Key, of_queue: &mut u64| {
            if key.file != file {
                return true;
            }
            if let Some(entry) = entries.remove(key) {
                *bytes -= entry.weight;
                *of_queue += entry.weight;
                out.push(entry.block);
            }
            false
        };
        let mut of_small = 0;
        small.retain(|key| stays(key, &mut of_small));
        *small_bytes -= of_small;
        main.retain(|key| stays(key, &mut 0));
    }

    /// Gives back the memory of map and queues that its entries are not charged with, once that is much. Called after many
    /// have gone for good.
    pub(super) fn trim(&mut self) {
        let len = self.entries.len();
        if self.entries.capacity() <= 3 * len + SPARE_ENTRIES {
            return;
        }
        self.forget_to(len);
        let room = len + len / 2;
        self.entries.shrink_to(room);
        self.notes.shrink_to(room);
        self.small.shrink_to(room);
        self.main.shrink_to(room);
        self.gone.shrink_to(room);
    }

    fn evict_small(&mut self) -> Option<V> {
        let key = self.small.pop_front()?;
        let entry = self.entries.get_mut(&key)?;
        self.small_bytes -= entry.weight;
        if entry.uses > 1 {
            entry.uses = 0;
            entry.is_main = true;
            self.main.push_back(key);
            return None;
        }
        self.note(key);
        self.remove(key)
    }

    /// How many entries map and queues have room for.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        let queues = [self.small.capacity(), self.main.capacity(), self.gone.capacity()];
        let maps = [self.entries.capacity(), self.notes.capacity()];
        queues.into_iter().chain(maps).max().unwrap_or(0)
    }

    fn evict_main(&mut self) -> Option<V> {
        let key = self.main.pop_front()?;
        let entry = self.entries.get_mut(&key)?;
        debug_assert!(entry.is_main, "an entry stands in the queue that it says");
        if entry.uses > 0 {
            entry.uses -= 1;
            self.main.push_back(key);
            return None;
        }
        self.remove(key)
    }

    fn remove(&mut self, key: Key) -> Option<V> {
        let entry = self.entries.remove(&key)?;
        self.bytes -= entry.weight;
        Some(entry.block)
    }

    /// Remembers that `key` was here, as many as there are entries.
    fn note(&mut self, key: Key) {
        let hash = key.hash();
        if self.notes.insert(hash) {
            self.gone.push_back(hash);
        }
        self.forget_to(self.entries.len());
    }

    /// Lets the oldest notes go until there are no more than `most`.
    fn forget_to(&mut self, most: usize) {
        while self.gone.len() > most {
            if let Some(oldest) = self.gone.pop_front() {
                self.notes.remove(&oldest);
            }
        }
    }
}
