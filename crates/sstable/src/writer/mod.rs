//! Writing a table from entries in order.
//!
//! Data blocks go out as they fill, and so do the partitions of filter and index that lead to them, each behind its
//! blocks; what stays in memory until the end is the top index alone. Then follow properties, top index and footer.
//!
//! With helpers ([`TableWriter::with_helpers`]) a data block that is cut goes to them first, with what the index and the
//! filter have to know of it, and into the file when it comes back, in its turn; which partition it belongs to is known
//! only then. So the file is the same, byte for byte, as without.
//!
//! Invariants: a separator, the key of an index entry, is at or above every key of its block and below the first key
//! of the next one. Where the two blocks hold different user keys it is a short user key with sequence number 0, so
//! that every version of a user key that a read may ask for lies on one side of it; where the versions of one user key
//! go on in the next block it is the last key itself.

mod flight;
mod output;

use crate::block::build::BlockBuilder;
use crate::error::Error;
use crate::filter::{self, FilterBuilder};
use crate::format::{BlockKind, FOOTER_BYTES, Footer, Handle};
use crate::helpers::{CompressionHelpers, Finished};
use crate::keys;
use crate::options::{Compression, TableOptions};
use crate::properties::Properties;
use base::{Cursor, InternalKey, InternalKeyRef, MAX_KEY_BYTES, MAX_VALUE_BYTES, SeqNo, ValueKind};
use flight::Flight;
pub(crate) use output::BUFFER_BYTES;
use output::Output;
use std::fmt;
use std::sync::Arc;
use vfs::File;

/// Writes one table into a file. A writer that is dropped before [`TableWriter::finish`] leaves a file that is not a
/// table; its owner removes it.
pub struct TableWriter {
    output: Output,
    options: TableOptions,
    data: BlockBuilder,
    index: BlockBuilder,
    top: BlockBuilder,
    filter: FilterBuilder,
    /// Of the data block that is being filled.
    cut: Cut,
    /// Blocks that helpers compress.
    flight: Option<Flight>,
    /// A block with one large entry that is in the file, but not yet in the index.
    alone: Option<Handle>,
    /// The last key that was added.
    last: KeyBuffer,
    /// The key of the last entry of `index`.
    separator: KeyBuffer,
    /// An index entry's value while it is put together.
    handles: Vec<u8>,
    properties: Properties,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSummary {
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// Entries of every kind.
    pub entries: u64,
    /// Deletes and range deletes among them.
    pub tombstones: u64,
    /// Bytes of all user keys.
    pub raw_key_bytes: u64,
    /// Bytes of all values.
    pub raw_value_bytes: u64,
    /// The first key.
    pub smallest: InternalKey,
    /// The last key.
    pub largest: InternalKey,
    /// The least sequence number of any entry.
    pub min_seq: SeqNo,
    /// The greatest sequence number of any entry.
    pub max_seq: SeqNo,
}

/// Why entries of a cursor were not all written.
#[derive(Debug, thiserror::Error)]
pub enum WriteAllError<E> {
    /// The cursor failed; what was written until then is in order.
    #[error("cannot read the entries that a table is written from")]
    Cursor(#[source] E),
    /// The table failed, as [`TableWriter::add`] does.
    #[error(transparent)]
    Table(#[from] Error),
}

impl fmt::Debug for TableWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableWriter")
            .field("path", &self.output.path())
            .field("entries", &self.properties.entries)
            .finish_non_exhaustive()
    }
}

impl TableWriter {
    /// A writer into `file`, which must be empty. The options are checked, and the file touched, by later calls.
    #[must_use]
    pub fn new(file: Arc<dyn File>, options: TableOptions) -> Self {
        Self {
            output: Output::new(file, &options),
            data: BlockBuilder::new(options.restart_interval),
            index: BlockBuilder::new(1),
            top: BlockBuilder::new(1),
            filter: FilterBuilder::new(options.filter_bits_per_key),
            cut: Cut::default(),
            flight: None,
            alone: None,
            last: KeyBuffer::default(),
            separator: KeyBuffer::default(),
            handles: Vec::new(),
            properties: Properties::new(&options),
            options,
        }
    }

    /// Has data blocks compressed by `helpers`, where that takes longer than handing them over, while the next ones are
    /// built. The file is the same as without them. To be called before the first entry.
    #[must_use]
    pub fn with_helpers(mut self, helpers: &Arc<CompressionHelpers>) -> Self {
        let is_worth_it = helpers.threads() > 0 && self.options.compression.is_slow();
        self.flight = is_worth_it.then(|| Flight::new(helpers, &self.options));
        self
    }

    /// Appends an entry, whose key must come after the one before it.
    ///
    /// # Errors
    /// [`Error::OutOfOrder`], [`Error::KeyTooLong`], [`Error::ValueTooLarge`]: this entry was refused, the writer can
    /// go on. [`Error::InvalidOption`]: nothing can be written with these options. After any other error the file
    /// cannot be completed: drop the writer and remove the file.
    pub fn add(&mut self, key: InternalKeyRef<'_>, value: &[u8]) -> Result<(), Error> {
        self.output.check_usable()?;
        if key.user_key.len() > MAX_KEY_BYTES {
            return Err(Error::KeyTooLong { found: key.user_key.len() });
        }
        if value.len() > MAX_VALUE_BYTES {
            return Err(Error::ValueTooLarge { found: value.len() });
        }
        if self.properties.entries == 0 {
            self.options.validate()?;
            self.output.start(&self.options)?;
            self.properties.smallest = key.to_owned();
        } else if key <= self.last.as_ref() {
            return Err(Error::OutOfOrder {
                previous: Box::new(self.last.as_ref().to_owned()),
                key: Box::new(key.to_owned()),
            });
        }
        let is_full = |data: &BlockBuilder| {
            !data.is_empty() && data.size_with(key, value) > self.options.block_bytes
        };
        if self.alone.is_some() || is_full(&self.data) {
            self.cut_block(Some(key.user_key))?;
        }
        if self.data.is_empty() && self.goes_alone(value) {
            let behind = self.data.behind(key, value.len());
            self.alone = Some(self.output.write_parts(BlockKind::Data, [value, behind])?);
            self.data.clear();
        } else {
            self.data.add(key, value);
        }
        if self.filter.is_on() {
            let is_new = key.user_key != self.last.user_key;
            if self.cut.hashes.is_empty() {
                self.cut.goes_on = !is_new;
            }
            if is_new || self.cut.hashes.is_empty() {
                self.cut.hashes.push(filter::hash(key.user_key));
            }
        }
        self.properties.count(key, value.len());
        self.last.set(key);
        Ok(())
    }

    /// Whether a value is written past the block's buffer, in a block that nothing else would fit into anyway.
    fn goes_alone(&self, value: &[u8]) -> bool {
        value.len() >= self.options.block_bytes && self.options.compression == Compression::None
    }

    /// Appends the entries of `cursor` from where it stands to its end, and says how many they were.
    ///
    /// # Errors
    /// [`WriteAllError::Cursor`] when the cursor fails, [`WriteAllError::Table`] as [`TableWriter::add`].
    pub fn write_all<C: Cursor>(&mut self, cursor: &mut C) -> Result<u64, WriteAllError<C::Error>> {
        let before = self.properties.entries;
        while cursor.is_valid() {
            self.add(cursor.key(), cursor.value())?;
            cursor.next().map_err(WriteAllError::Cursor)?;
        }
        Ok(self.properties.entries - before)
    }

    /// The bytes of all blocks that are complete, written or about to be: never falls, and ends as the file's length.
    #[must_use]
    pub fn sealed_bytes(&self) -> u64 {
        self.output.offset()
    }

    /// About how long the file would be if it were finished now; what is not yet written counts uncompressed.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        if self.properties.entries == 0 {
            return 0;
        }
        let more = self.cut.hashes.len();
        let filter = if self.filter.is_on() { self.filter.size_with(more) } else { 0 };
        let in_flight = self.flight.as_ref().map_or(0, Flight::raw_bytes);
        let pending = in_flight + self.data.size() + self.index.size() + self.top.size() + filter;
        self.output.offset() + (pending + FOOTER_BYTES) as u64
    }

    /// Bytes of memory that the writer's buffers hold now: finished blocks that are not written yet, the block and
    /// the partitions that are being filled, the top index so far, blocks that helpers have, and what the compressors
    /// work in, theirs too.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        let blocks = self.data.memory_bytes() + self.index.memory_bytes() + self.top.memory_bytes();
        let keys = self.last.user_key.capacity() + self.separator.user_key.capacity();
        blocks
            + self.filter.memory_bytes()
            + self.cut.memory_bytes()
            + self.flight.as_ref().map_or(0, Flight::memory_bytes)
            + self.output.memory_bytes()
            + keys
            + self.handles.capacity()
    }

    /// How many data blocks have been filled, whether they are in the file or not: what [`TableWriter::buffered_bytes`]
    /// says changes most when this does.
    #[must_use]
    pub fn data_blocks(&self) -> u64 {
        self.properties.data_blocks
    }

    /// How many entries have been added.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.properties.entries
    }

    /// Writes what is left and syncs the file. The directory entry is its owner's to sync.
    ///
    /// # Errors
    /// [`Error::Empty`] when no entry was added. After any error the file is not a table: remove it.
    pub fn finish(mut self) -> Result<TableSummary, Error> {
        self.output.check_usable()?;
        if self.properties.entries == 0 {
            return Err(Error::Empty { path: self.output.path().to_path_buf() });
        }
        self.cut_block(None)?;
        while self.place_oldest()? {}
        if !self.index.is_empty() {
            self.cut_partition()?;
        }
        self.properties.largest = self.last.as_ref().to_owned();
        let encoded = self.properties.encode();
        let properties = self.output.write_block(BlockKind::Properties, &encoded, false)?;
        let top_index = self.output.write_block(BlockKind::TopIndex, self.top.finish(), false)?;
        let file_bytes = self.output.offset() + FOOTER_BYTES as u64;
        let footer = Footer {
            top_index,
            properties,
            range_deletes: Handle::NONE,
            file_bytes,
            salt: self.options.checksum_salt,
        };
        self.output.finish(&footer.encode())?;
        let properties = self.properties;
        Ok(TableSummary {
            file_bytes,
            entries: properties.entries,
            tombstones: properties.tombstones(),
            raw_key_bytes: properties.raw_key_bytes,
            raw_value_bytes: properties.raw_value_bytes,
            smallest: properties.smallest,
            largest: properties.largest,
            min_seq: properties.min_seq,
            max_seq: properties.max_seq,
        })
    }

    /// Ends the data block, which goes into the file, or to the helpers; `next` is the user key that the next block begins
    /// with.
    fn cut_block(&mut self, next: Option<&[u8]>) -> Result<(), Error> {
        self.properties.data_blocks += 1;
        let mut cut = std::mem::take(&mut self.cut);
        cut.separator.separate(&self.last, next);
        if let Some(handle) = self.alone.take() {
            self.place(handle, u64::from(handle.len), &mut cut)?;
        } else {
            // Taken out while its payload is written; lost with a writer that has failed.
            let empty = BlockBuilder::new(self.options.restart_interval);
            let mut data = std::mem::replace(&mut self.data, empty);
            self.write_data(data.finish(), &mut cut)?;
            data.clear();
            self.data = data;
        }
        cut.clear();
        self.cut = cut;
        Ok(())
    }

    fn write_data(&mut self, raw: &[u8], cut: &mut Cut) -> Result<(), Error> {
        while self.flight.as_ref().is_some_and(|flight| !flight.has_room(raw.len())) {
            self.place_oldest()?;
        }
        match &mut self.flight {
            Some(flight) if flight.takes(raw.len()) => {
                flight.send(raw, cut);
                Ok(())
            }
            _ => {
                let handle = self.output.write_block(BlockKind::Data, raw, true)?;
                self.place(handle, raw.len() as u64, cut)
            }
        }
    }

    /// Writes the oldest block that is in flight, when it has come back; `false` when there is none.
    fn place_oldest(&mut self) -> Result<bool, Error> {
        let Some((finished, mut cut)) = self.flight.as_mut().and_then(Flight::collect) else {
            return Ok(false);
        };
        let Finished { buffers, len } = finished;
        let compressed = len.map(|len| len.map(|len| &buffers.out[..len]));
        let handle = self.output.write_compressed(BlockKind::Data, &buffers.raw, compressed)?;
        self.place(handle, buffers.raw.len() as u64, &mut cut)?;
        if let Some(flight) = &mut self.flight {
            flight.keep(buffers, cut);
        }
        Ok(true)
    }

    /// Enters a data block that is in the file, or in the buffer before it, into index and filter.
    fn place(&mut self, handle: Handle, raw_bytes: u64, cut: &mut Cut) -> Result<(), Error> {
        self.properties.data_raw_bytes += raw_bytes;
        self.properties.data_stored_bytes += handle.stored_bytes() as u64;
        // A key that the partition has from the block before is not counted twice.
        let known = usize::from(cut.goes_on && !self.filter.is_empty());
        self.filter.extend(cut.hashes.get(known..).unwrap_or_default());
        std::mem::swap(&mut self.separator, &mut cut.separator);
        self.handles.clear();
        handle.put(&mut self.handles);
        self.index.add(self.separator.as_ref(), &self.handles);
        let filter_bytes = if self.filter.is_on() { self.filter.size() } else { 0 };
        if self.index.size().max(filter_bytes) >= self.options.partition_bytes {
            self.cut_partition()?;
        }
        Ok(())
    }

    /// Writes the partitions of filter and index and enters them into the top index.
    fn cut_partition(&mut self) -> Result<(), Error> {
        let mut filter = Handle::NONE;
        if self.filter.is_on() {
            filter = self.output.write_block(BlockKind::Filter, self.filter.finish(), false)?;
            self.properties.filter_stored_bytes += filter.stored_bytes() as u64;
        }
        let index = self.output.write_block(BlockKind::Index, self.index.finish(), true)?;
        self.properties.index_stored_bytes += index.stored_bytes() as u64;
        self.properties.partitions += 1;
        self.index.clear();
        self.handles.clear();
        index.put(&mut self.handles);
        filter.put(&mut self.handles);
        self.top.add(self.separator.as_ref(), &self.handles);
        Ok(())
    }
}

/// What index and filter have to know of a data block once its place is known.
#[derive(Default)]
struct Cut {
    /// The key of its entry in the index.
    separator: KeyBuffer,
    /// The hashes of its user keys, each once, if there is a filter.
    hashes: Vec<u64>,
    /// Whether its first user key is the last one of the block before.
    goes_on: bool,
}

impl Cut {
    /// Bytes that its buffers hold.
    fn memory_bytes(&self) -> usize {
        self.separator.user_key.capacity() + self.hashes.capacity() * size_of::<u64>()
    }

    /// Makes it that of an empty block; its memory is used again.
    fn clear(&mut self) {
        self.hashes.clear();
    }
}

/// An internal key whose memory is used again.
struct KeyBuffer {
    user_key: Vec<u8>,
    seq: SeqNo,
    kind: ValueKind,
}

impl Default for KeyBuffer {
    fn default() -> Self {
        Self { user_key: Vec::new(), seq: SeqNo::ZERO, kind: ValueKind::Delete }
    }
}

impl KeyBuffer {
    fn as_ref(&self) -> InternalKeyRef<'_> {
        InternalKeyRef::new(&self.user_key, self.seq, self.kind)
    }

    fn set(&mut self, key: InternalKeyRef<'_>) {
        self.user_key.clear();
        self.user_key.extend_from_slice(key.user_key);
        (self.seq, self.kind) = (key.seq, key.kind);
    }

    /// Becomes the separator between `last` and a block that begins with the user key `next`, or the end.
    fn separate(&mut self, last: &Self, next: Option<&[u8]>) {
        match next {
            Some(next) if next == last.user_key => return self.set(last.as_ref()),
            Some(next) => {
                self.user_key.clear();
                keys::separator(&last.user_key, next, &mut self.user_key);
            }
            None => self.set(last.as_ref()),
        }
        // The last place that a version of this user key can have.
        (self.seq, self.kind) = (SeqNo::ZERO, ValueKind::Delete);
    }
}
