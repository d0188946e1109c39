//! How a table is written and scanned.

use crate::error::Error;

/// How blocks are compressed. A block that would not shrink by an eighth is stored as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4: cheap enough to be always on.
    #[default]
    Lz4,
    /// Zstandard: smaller, and several times dearer to read.
    Zstd {
        /// Zstandard's level: -7 to 22, higher is smaller and slower to write; 3 is a good choice.
        level: i32,
    },
}

impl Compression {
    /// The number that stands for it in the format.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Lz4 => 1,
            Self::Zstd { .. } => 2,
        }
    }

    pub(crate) fn level(self) -> i32 {
        match self {
            Self::Zstd { level } => level,
            Self::None | Self::Lz4 => 0,
        }
    }

    /// Whether a block takes long enough to be worth handing to another thread: with Zstandard.
    #[must_use]
    pub fn is_slow(self) -> bool {
        matches!(self, Self::Zstd { .. })
    }

    pub(crate) fn from_parts(code: u64, level: i32) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            1 => Some(Self::Lz4),
            2 => Some(Self::Zstd { level }),
            _ => None,
        }
    }
}

/// How a table is written. A table can be read whatever it was written with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableOptions {
    /// A data block is closed before it would grow past this, uncompressed; an entry that is larger has a block of
    /// its own. 256 to 16 MiB, default 16 KiB: smaller blocks make point reads cheaper and files larger.
    pub block_bytes: usize,
    /// A partition of index and filter is closed when either has grown to about this. 64 to 16 MiB, default 16 KiB.
    pub partition_bytes: usize,
    /// Every so many entries a key is stored in full. 1 to 4096, default 16: smaller makes seeks cheaper and files
    /// larger.
    pub restart_interval: usize,
    /// How blocks are compressed. Default LZ4.
    pub compression: Compression,
    /// Bits that the filter has for each user key; 0 is no filter. At most 64, default 10: about one in a hundred
    /// look-ups for a key that is not there reads a data block all the same.
    pub filter_bits_per_key: u32,
    /// After how many bytes written the operating system is asked to start writing them to the disk, so that the
    /// sync at the end is not one burst; 0 is never. Default 1 MiB.
    pub bytes_per_sync: u64,
    /// Whether to wait each time until those bytes have been written. Default false.
    pub strict_bytes_per_sync: bool,
    /// A number that differs from file to file, such as the file's own, and goes into every block's checksum: what
    /// another table left on the disk is then not taken for a block of this one. Default 0.
    pub checksum_salt: u64,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self {
            block_bytes: 16 << 10,
            partition_bytes: 16 << 10,
            restart_interval: 16,
            compression: Compression::default(),
            filter_bits_per_key: 10,
            bytes_per_sync: 1 << 20,
            strict_bytes_per_sync: false,
            checksum_salt: 0,
        }
    }
}

impl TableOptions {
    /// The most bytes of memory that a writer's buffers hold ([`TableWriter::buffered_bytes`]) while it writes entries of
    /// up to `entry_bytes` (user key and value) into `partitions` partitions; one holds about as many bytes of blocks as
    /// `partition_bytes` of index lead to, or of filter cover. What Zstandard itself needs comes on top: a megabyte
    /// or two at low levels, hundreds at the highest.
    ///
    /// [`TableWriter::buffered_bytes`]: crate::TableWriter::buffered_bytes
    #[must_use]
    pub fn buffered_bytes_max(&self, entry_bytes: usize, partitions: usize) -> usize {
        // An entry with its header, and what a block has beside its entries.
        const AROUND_BYTES: usize = 512;
        let key_bytes = entry_bytes.min(base::MAX_KEY_BYTES);
        let block = self.block_bytes.max(entry_bytes + AROUND_BYTES);
        let index = self.partition_bytes + key_bytes + AROUND_BYTES;
        let top = partitions.saturating_mul(key_bytes + AROUND_BYTES / 8);
        // So many keys fill a filter; then the block that is being written is still taken.
        let bits = self.filter_bits_per_key as usize;
        let keys = (self.partition_bytes * 8).checked_div(bits).map_or(0, |n| n + block / 4);
        let hashes = (keys + block / 4) * size_of::<u64>();
        let filter = hashes + keys * bits / 8 + 2 * AROUND_BYTES;
        let compressed = match self.compression {
            Compression::None => 0,
            Compression::Lz4 | Compression::Zstd { .. } => block + block / 8 + (64 << 10),
        };
        // Payloads, and once more the entries and restarts that they are made from, in buffers that double when they grow.
        let payloads = 2 * (block + index + top);
        2 * (payloads + filter + compressed + 3 * key_bytes + crate::writer::BUFFER_BYTES)
    }

    /// Checks every option against its limits.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] names the first that is outside.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse =
            |option, found: String, allowed| Err(Error::InvalidOption { option, found, allowed });
        if !(256..=16 << 20).contains(&self.block_bytes) {
            return refuse("block_bytes", self.block_bytes.to_string(), "256 to 16777216");
        }
        if !(64..=16 << 20).contains(&self.partition_bytes) {
            return refuse("partition_bytes", self.partition_bytes.to_string(), "64 to 16777216");
        }
        if !(1..=4096).contains(&self.restart_interval) {
            return refuse("restart_interval", self.restart_interval.to_string(), "1 to 4096");
        }
        if self.filter_bits_per_key > 64 {
            return refuse("filter_bits_per_key", self.filter_bits_per_key.to_string(), "0 to 64");
        }
        if let Compression::Zstd { level } = self.compression
            && !(-7..=22).contains(&level)
        {
            return refuse("compression level", level.to_string(), "-7 to 22");
        }
        Ok(())
    }
}

/// How a point read gets its data blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadBlocks {
    /// Whether data blocks that had to be read from the file are put into the cache. Default true. Partitions of index
    /// and filter always are.
    pub fill_cache: bool,
    /// Whether the checksum of a data block that is read from the file is verified. Default true. Without, damage
    /// may go unseen and a wrong value be returned, though never memory be touched that is not the block's; such a
    /// block is not put into the cache. Partitions of index and filter, and compressed blocks that do not decompress,
    /// are found out all the same.
    pub verify_checksums: bool,
}

impl ReadBlocks {
    /// The default, as a constant.
    pub const DEFAULT: Self = Self { fill_cache: true, verify_checksums: true };

    /// Whether what is read goes into the cache.
    pub(crate) fn may_fill(self) -> bool {
        self.fill_cache && self.verify_checksums
    }
}

impl Default for ReadBlocks {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How a cursor reads its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanOptions {
    /// Whether data blocks that had to be read from the file are put into the cache. Default true; a scan over
    /// everything, such as a compaction, does better with false.
    pub fill_cache: bool,
    /// Whether the checksums of data blocks that are read from the file are verified. Default true; see
    /// [`ReadBlocks::verify_checksums`].
    pub verify_checksums: bool,
    /// Whether a block of a file that is mapped into memory is verified, if blocks are, although it was before: who makes
    /// something lasting of what it reads, such as a compaction, does well with true. Default false.
    pub verify_again: bool,
    /// When a scan goes on from block to block, how many bytes ahead at most the system is told to read from the disk
    /// into its page cache; 0 is none. Default 256 KiB. The cursor itself holds one block, whatever this is.
    pub readahead_bytes: usize,
}

impl ScanOptions {
    /// The default, as a constant.
    pub const DEFAULT: Self = Self {
        fill_cache: true,
        verify_checksums: true,
        verify_again: false,
        readahead_bytes: 256 << 10,
    };

    pub(crate) fn blocks(&self) -> ReadBlocks {
        ReadBlocks { fill_cache: self.fill_cache, verify_checksums: self.verify_checksums }
    }
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self::DEFAULT
    }
}
