//! Reading a whole table and comparing all that it says of itself.

use super::{Partition, Table, data_handle, partitions_of};
use crate::block::Block;
use crate::block::iter::BlockIter;
use crate::error::{Error, Malformed, Shown};
use crate::filter;
use crate::format::{BlockKind, Handle};
use crate::properties::Properties;
use base::{InternalKey, InternalKeyRef};

/// What [`Table::verify_all`] looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Blocks that were read, good or bad.
    pub blocks: u64,
    /// Entries that were read.
    pub entries: u64,
    /// Faults that were reported.
    pub faults: u64,
}

impl Table {
    /// Reads every block of the file, past the cache, and checks checksums, the order of all keys, that index and
    /// filter lead to them, that blocks fill the file without a gap, and that the counts are right.
    ///
    /// # Errors
    /// The first fault; [`Table::verify_all`] reports every one.
    pub fn verify(&self) -> Result<(), Error> {
        let mut first = None;
        self.verify_all(&mut |fault| {
            first.get_or_insert(fault);
        });
        first.map_or(Ok(()), Err)
    }

    /// Does what [`Table::verify`] does, reports each fault and goes on after it with the next block.
    pub fn verify_all(&self, on_fault: &mut dyn FnMut(Error)) -> Verified {
        let mut walk = Walk {
            table: self,
            on_fault,
            seen: Verified::default(),
            next_offset: 0,
            last: None,
            bound: None,
            found: self.properties.uncounted(),
        };
        walk.run();
        walk.seen
    }
}

struct Walk<'a> {
    table: &'a Table,
    on_fault: &'a mut dyn FnMut(Error),
    seen: Verified,
    /// Where the next block must begin.
    next_offset: u64,
    last: Option<InternalKey>,
    /// The separator before the current block: all keys are above it.
    bound: Option<InternalKey>,
    /// The properties as they are counted anew.
    found: Properties,
}

impl Walk<'_> {
    fn run(&mut self) {
        let footer = self.table.footer;
        if let Some(top) = self.read(footer.top_index, BlockKind::TopIndex) {
            self.index_shape(&top, footer.top_index);
            let partitions = partitions_of(&top);
            let partitions = self.sound(footer.top_index, BlockKind::TopIndex, partitions);
            for (number, partition) in partitions.iter().flatten().enumerate() {
                self.partition(&top, number, partition);
            }
        }
        self.follows(footer.properties, BlockKind::Properties);
        self.follows(footer.top_index, BlockKind::TopIndex);
        self.ends_at_footer();
        if self.read(footer.properties, BlockKind::Properties).is_some() && self.seen.faults == 0 {
            self.counts();
        }
    }

    fn report(&mut self, error: Error) {
        self.seen.faults += 1;
        (self.on_fault)(error);
    }

    fn fault(&mut self, handle: Handle, kind: BlockKind, malformed: Malformed) {
        let error = self.table.fetcher.damaged(handle.offset, kind)(malformed);
        self.report(error);
    }

    /// Takes what is good, reports what is not.
    fn sound<T>(
        &mut self,
        handle: Handle,
        kind: BlockKind,
        checked: Result<T, Malformed>,
    ) -> Option<T> {
        checked.map_err(|malformed| self.fault(handle, kind, malformed)).ok()
    }

    fn read(&mut self, handle: Handle, kind: BlockKind) -> Option<Block> {
        self.seen.blocks += 1;
        self.table.fetcher.read_block(handle, kind).map_err(|error| self.report(error)).ok()
    }

    /// Checks that the block at `handle` begins where the one before it ended.
    fn follows(&mut self, handle: Handle, kind: BlockKind) {
        if handle.offset != self.next_offset {
            let expected = "a block that begins where the one before it ends";
            let found = format_args!("one at {}", handle.offset);
            self.fault(handle, kind, Malformed::new(expected, found));
        }
        self.next_offset = handle.end().unwrap_or(u64::MAX);
    }

    fn ends_at_footer(&mut self) {
        let limit = self.table.fetcher.limit;
        if self.next_offset != limit {
            let malformed = Malformed::new(
                "blocks up to the footer",
                format_args!("their end at {}", self.next_offset),
            );
            let error = malformed.at(self.table.fetcher.file.path(), limit, None);
            self.report(error);
        }
    }

    /// Checks that every entry of an index is a restart, and that the prefixes fit.
    fn index_shape(&mut self, index: &Block, handle: Handle) {
        let checked = index.check_index().and_then(|()| index.check_prefixes());
        self.sound(handle, index.kind(), checked);
    }

    fn partition(&mut self, top: &Block, number: usize, partition: &Partition) {
        let filter = partition
            .filter
            .and_then(|handle| Some((handle, self.read(handle, BlockKind::Filter)?)));
        let place = partition.index;
        let Some(index) = self.read(place, BlockKind::Index) else {
            // Nothing leads to its data blocks; go on behind it.
            self.next_offset = place.end().unwrap_or(u64::MAX);
            self.bound = top.indexed(number).ok().map(|(key, _)| key.to_owned());
            return;
        };
        self.index_shape(&index, place);
        for entry in 0..index.restarts() {
            let found = data_handle(&index, entry)
                .and_then(|handle| Ok((handle, index.indexed(entry)?.0.to_owned())));
            if let Some((handle, separator)) = self.sound(place, BlockKind::Index, found) {
                self.follows(handle, BlockKind::Data);
                self.data(handle, &separator, filter.as_ref());
                self.bound = Some(separator);
            }
        }
        if let Some(handle) = partition.filter {
            self.follows(handle, BlockKind::Filter);
            self.found.filter_stored_bytes += handle.stored_bytes() as u64;
        }
        self.follows(place, BlockKind::Index);
        self.found.index_stored_bytes += place.stored_bytes() as u64;
        self.found.partitions += 1;
        let top_key = top.indexed(number).map(|(key, _)| key.to_owned());
        if top_key.ok() != self.bound {
            let expected = "the separator of the partition's last block";
            let malformed = Malformed::new(expected, format_args!("another in entry {number}"));
            self.fault(self.table.footer.top_index, BlockKind::TopIndex, malformed);
        }
    }

    fn data(&mut self, handle: Handle, separator: &InternalKey, filter: Option<&(Handle, Block)>) {
        let Some(block) = self.read(handle, BlockKind::Data) else { return };
        self.found.data_blocks += 1;
        self.found.data_raw_bytes += block.data().len() as u64;
        self.found.data_stored_bytes += handle.stored_bytes() as u64;
        self.sound(handle, BlockKind::Data, block.check_prefixes());
        let mut iter = BlockIter::new();
        let mut restart = 0;
        let mut values_end = 0;
        iter.set_block(block.clone());
        let mut moved = iter.seek_to_first();
        while moved.is_ok() && iter.is_valid() {
            let key = iter.key();
            self.entry(key, iter.value().len(), handle, separator);
            if let Some((place, filter)) = filter
                && !filter::may_contain(filter.data(), filter::hash(key.user_key))
            {
                let expected = "every key of its partition";
                let found = format_args!("none of {}", Shown(key.user_key));
                self.fault(*place, BlockKind::Filter, Malformed::new(expected, found));
            }
            if block.restart(restart).is_ok_and(|place| place == iter.place()) {
                restart += 1;
            }
            values_end = iter.place().value as usize + iter.value().len();
            moved = iter.next();
        }
        let is_whole = moved.is_err() || values_end == block.entries_start();
        self.sound(handle, BlockKind::Data, moved);
        if restart != block.restarts() {
            let expected = "restarts that are entries, in order";
            let malformed = Malformed::new(expected, format_args!("another, number {restart}"));
            self.fault(handle, BlockKind::Data, malformed);
        }
        if !is_whole {
            let expected = "values up to the first entry";
            let malformed = Malformed::new(expected, format_args!("their end at {values_end}"));
            self.fault(handle, BlockKind::Data, malformed);
        }
    }

    /// Looks at one entry of the data block at `handle`.
    fn entry(
        &mut self,
        key: InternalKeyRef<'_>,
        value_bytes: usize,
        handle: Handle,
        separator: &InternalKey,
    ) {
        let is_above =
            |bound: &Option<InternalKey>| bound.as_ref().is_none_or(|bound| bound.as_ref() < key);
        if !is_above(&self.last) || !is_above(&self.bound) || key > separator.as_ref() {
            let malformed = Malformed::new(
                "keys in strictly ascending order, within the index's separators",
                format_args!("{} at {}", Shown(key.user_key), key.seq),
            );
            self.fault(handle, BlockKind::Data, malformed);
        }
        self.seen.entries += 1;
        self.found.count(key, value_bytes);
        if self.last.is_none() {
            self.found.smallest = key.to_owned();
        }
        self.last = Some(key.to_owned());
    }

    /// Compares the properties with what was counted.
    fn counts(&mut self) {
        if let Some(last) = self.last.take() {
            self.found.largest = last;
        }
        if self.found != self.table.properties {
            let malformed = Malformed::new(
                "properties that are those of the entries",
                format_args!("others for {} entries", self.found.entries),
            );
            self.fault(self.table.footer.properties, BlockKind::Properties, malformed);
        }
    }
}
