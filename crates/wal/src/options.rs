//! What a log is created with: options, and where recovery says that it starts.

use base::SegmentNumber;

use crate::error::Error;
use crate::format::SEGMENT_HEADER_BYTES;

/// The longest payload of one record, in bytes (inclusive): 2 GiB. Its chunks then fit a segment whose offsets are
/// 32-bit numbers on disk.
pub const MAX_RECORD_BYTES: usize = 1 << 31;

/// Options of a [`Wal`](crate::Wal). All may differ from one opening to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalOptions {
    /// The size that a segment file is allocated with; 64 MiB by default, from 4 KiB to 2 GiB. A record that does not
    /// fit gets a segment as large as it needs. Larger segments are rolled less often and returned to the file system
    /// in larger pieces.
    pub segment_bytes: u64,
    /// How many records may be reserved and not yet covered by the contiguously filled part of the log; 4096 by
    /// default, a power of two from 2 to 2^20. More only help when a writer is descheduled while others go on.
    pub open_records_max: usize,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, open_records_max: 4096 }
    }
}

impl WalOptions {
    /// Checks the bounds that are given at each option.
    ///
    /// # Errors
    /// [`Error::InvalidOption`], which names the option: correct it.
    pub fn validate(&self) -> Result<(), Error> {
        let invalid = |option, found, bounds| Err(Error::InvalidOption { option, found, bounds });
        if !(4096..=2 << 30).contains(&self.segment_bytes) {
            return invalid("segment_bytes", self.segment_bytes, "from 4 KiB to 2 GiB");
        }
        let open = self.open_records_max;
        if !open.is_power_of_two() || !(2..=1 << 20).contains(&open) {
            return invalid("open_records_max", open as u64, "a power of two from 2 to 2^20");
        }
        Ok(())
    }
}

/// Where a new [`Wal`](crate::Wal) starts; [`recover`](crate::recover) says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStart {
    /// The number of the first segment: above any that was seen in the directory.
    pub segment: SegmentNumber,
    /// The segment that the first one continues, and where that one ends. What stands behind that place is cut off
    /// once the first segment's header is durable. `None`: there is nothing before.
    pub predecessor: Option<Predecessor>,
    /// The segment files that are there already, oldest first.
    pub existing: Vec<SegmentInfo>,
}

impl LogStart {
    /// The start of a log in a directory that never held one.
    #[must_use]
    pub const fn fresh() -> Self {
        Self { segment: SegmentNumber::new(1), predecessor: None, existing: Vec::new() }
    }
}

/// The segment before another one, and its exact end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Predecessor {
    /// Its number.
    pub segment: SegmentNumber,
    /// The offset in its file at which its last record ends (exclusive); at least [`SEGMENT_HEADER_BYTES`].
    pub end_offset: u64,
}

impl Predecessor {
    /// The end of a segment without records.
    #[must_use]
    pub const fn empty(segment: SegmentNumber) -> Self {
        Self { segment, end_offset: SEGMENT_HEADER_BYTES }
    }
}

/// A segment file that recovery found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number.
    pub number: SegmentNumber,
    /// What it is to the log.
    pub state: SegmentState,
    /// Bytes of its header and whole records; 0 when it was not read.
    pub bytes: u64,
    /// Its length in the directory, unused room included.
    pub file_bytes: u64,
}

/// What a segment file is to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentState {
    /// Its records were read: it stays until [`retire_before`](crate::Wal::retire_before) passes it.
    Live,
    /// Its number is below the one that recovery was to begin at: nothing in it is needed.
    Obsolete,
    /// It does not belong to the log: its creation was cut short by a crash, or what it continues was lost with the
    /// end of its predecessor. The next [`Wal`](crate::Wal) removes it once it has a durable segment of its own.
    Discarded,
}
