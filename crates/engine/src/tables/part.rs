//! One part of the cache, under one lock: blocks and records, which share its room.
//!
//! Blocks serve scans, and readers of keys that lie close together. Records serve readers of single keys: the same memory
//! holds a hundred times as many of those that are asked for. While there is room a block that was read is kept. When there
//! is none, a point read keeps its record alone, unless its block was among the last few that were wanted and not there.
//!
//! Algorithm: records may have so many sixteenths of the room ([`Part::aim`]). Every [`PERIOD`] look-ups it is asked which
//! of the two had more hits for its bytes since, and that one gets a sixteenth more.

use crate::tables::records::{CHUNK_BYTES, RECORD_BYTES_MAX, RecordKey, Records, record_bytes};
use crate::tables::shard::{Key, Shard};

/// Look-ups between two looks at who has more hits.
const PERIOD: u32 = 512;
const SIXTEENTHS: u64 = 16;
/// What a hit of a record is worth, against one of a block: no search follows it.
const RECORD_HIT_WORTH: u64 = 2;
/// How many blocks that were wanted last are remembered.
const WANTED: usize = 8;

/// See the module's text.
pub(super) struct Part<V> {
    blocks: Shard<V>,
    records: Records,
    /// The sixteenths of the room that records may have, from 1 to 15.
    aim: u64,
    lookups: u32,
    block_hits_before: u64,
    record_hits_before: u64,
    pub(super) record_hits: u64,
    /// Hashes of blocks that point reads wanted and that were not there.
    wanted: [u64; WANTED],
    next_wanted: usize,
}

impl<V> Default for Part<V> {
    fn default() -> Self {
        Self {
            blocks: Shard::default(),
            records: Records::default(),
            aim: SIXTEENTHS / 2,
            lookups: 0,
            block_hits_before: 0,
            record_hits_before: 0,
            record_hits: 0,
            wanted: [0; WANTED],
            next_wanted: 0,
        }
    }
}

impl<V: Clone> Part<V> {
    /// What blocks and records take.
    #[inline]
    pub(super) fn bytes(&self) -> u64 {
        self.blocks.bytes() + self.records.bytes()
    }

    pub(super) fn record_bytes(&self) -> u64 {
        self.records.bytes()
    }

    /// Look-ups of blocks that found theirs, and those that did not.
    pub(super) fn looked_up(&self) -> (u64, u64) {
        (self.blocks.hits, self.blocks.misses)
    }

    #[inline]
    pub(super) fn block(&mut self, key: Key) -> Option<V> {
        self.count();
        self.blocks.get(key)
    }

    /// Copies the value of a record to `into`; its trailer.
    #[inline]
    pub(super) fn record(&mut self, key: RecordKey<'_>, into: &mut Vec<u8>) -> Option<u64> {
        self.count();
        let found = self.records.get(key, into);
        self.record_hits += u64::from(found.is_some());
        found
    }

    #[inline]
    fn count(&mut self) {
        self.lookups += 1;
        if self.lookups == PERIOD {
            self.weigh();
        }
    }

    #[cold]
    fn weigh(&mut self) {
        self.lookups = 0;
        let block_hits = self.blocks.data_hits - self.block_hits_before;
        let record_hits = self.record_hits - self.record_hits_before;
        (self.block_hits_before, self.record_hits_before) =
            (self.blocks.data_hits, self.record_hits);
        // Hits for bytes, compared by multiplying across; what holds nearly nothing says nothing.
        let (blocks, records) = (self.blocks.bytes(), self.records.bytes());
        let least = (blocks + records) / (2 * SIXTEENTHS) + 1;
        let for_records =
            u128::from(record_hits * RECORD_HIT_WORTH) * u128::from(blocks.max(least));
        let for_blocks = u128::from(block_hits) * u128::from(records.max(least));
        if for_records > for_blocks + for_blocks / 4 {
            self.aim = (self.aim + 1).min(SIXTEENTHS - 1);
        } else if for_blocks > for_records + for_records / 4 {
            self.aim = (self.aim - 1).max(1);
        }
    }

    /// What records may have of `share`: never so little that nothing could be learned from them.
    fn for_records(&self, share: u64) -> u64 {
        let least = (2 * CHUNK_BYTES as u64).min(share / 2);
        (share * self.aim / SIXTEENTHS).max(least)
    }

    /// Whether the block of `key`, which takes `weight`, is to be kept, a point read having found it nowhere.
    pub(super) fn wants(&mut self, key: Key, weight: u64, share: u64) -> bool {
        if self.bytes() + weight <= share {
            return true;
        }
        let hash = key.hash();
        if let Some(place) = self.wanted.iter().position(|&wanted| wanted == hash) {
            self.wanted[place] = 0;
            return true;
        }
        self.wanted[self.next_wanted] = hash;
        self.next_wanted = (self.next_wanted + 1) % WANTED;
        false
    }

    /// Takes a block in, which takes `weight`, within a room of `share`; what goes for it is added to `out`.
    pub(super) fn insert_block(
        &mut self,
        key: Key,
        block: V,
        (weight, is_data): (u64, bool),
        share: u64,
        out: &mut Vec<V>,
    ) {
        if weight > share {
            return;
        }
        let most = self.for_records(share);
        while self.bytes() + weight > share
            && (self.records.bytes() > most || self.records.bytes() + weight > share)
            && self.records.shrink()
        {}
        self.blocks.insert(key, block, weight, is_data);
        self.blocks.evict_to(share.saturating_sub(self.records.bytes()), out);
    }

    /// How much more memory the record would take; 0 if it has room in what is held already.
    pub(super) fn record_growth(&self, key: RecordKey<'_>, value: &[u8]) -> u64 {
        self.records.growth(record_bytes(key, value))
    }

    /// Takes a record in, within a room of `share`; what goes for it is added to `out`. `false` when it is none for the
    /// records: too large, or there is no room.
    pub(super) fn insert_record(
        &mut self,
        key: RecordKey<'_>,
        (trailer, value): (u64, &[u8]),
        share: u64,
        out: &mut Vec<V>,
    ) -> bool {
        let bytes = record_bytes(key, value);
        if bytes > RECORD_BYTES_MAX {
            return false;
        }
        let mut growth = self.records.growth(bytes);
        if growth > 0 && self.bytes() + growth > share {
            let most = self.for_records(share);
            if self.records.bytes() + growth <= most {
                self.blocks.evict_to(share - self.records.bytes() - growth, out);
            } else {
                self.records.turn();
                growth = self.records.growth(bytes);
                if growth > 0 && self.bytes() + growth > share {
                    return false;
                }
            }
        }
        self.records.insert(key, trailer, value);
        true
    }

    /// Lets the blocks of a table go that is no more. Its records, which nobody will ask for, go when the clock comes to
    /// them.
    pub(super) fn forget(&mut self, file: u64, out: &mut Vec<V>) {
        self.blocks.forget(file, out);
        self.blocks.trim();
    }

    /// Gives way until no more than `share` is taken; blocks that go are added to `out`.
    pub(super) fn shrink_to(&mut self, share: u64, out: &mut Vec<V>) {
        let most = self.for_records(share);
        while self.bytes() > share && self.records.bytes() > most && self.records.shrink() {}
        self.blocks.evict_to(share.saturating_sub(self.records.bytes()), out);
        self.blocks.trim();
    }
}
