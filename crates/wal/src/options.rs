//! What a log is created with: options, and where recovery says that it starts.

use std::time::Duration;

use base::SegmentNumber;

use crate::error::Error;
use crate::format::SEGMENT_HEADER_BYTES;

/// The longest payload of one record, in bytes (inclusive): 2 GiB. Its chunks then fit a segment whose offsets are
/// 32-bit numbers on disk.
pub const MAX_RECORD_BYTES: usize = 1 << 31;

/// How records get to their segment. The bytes on disk are the same, and so is what they survive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogBackend {
    /// Mapped where the file system is known to be good for it ([`vfs::MapSupport`]), else positional.
    #[default]
    Auto,
    /// Small records that are not synced at once are stored into mapped memory, without a system call. Whatever cannot
    /// be mapped is written. A page that the system cannot give any more (a file that was cut, a file system gone
    /// read-only, copy-on-write with a full disk) ends the process, as a kill does.
    Mapped,
    /// One positional write a record.
    Positional,
}

/// Options of a [`Wal`](crate::Wal). All may differ from one opening to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalOptions {
    /// The size of a segment file; 64 MiB by default, from 4 KiB to 2 GiB. The first ones are smaller: 4 MiB, then twice
    /// the size of the one before. A record that does not fit gets a segment as large as it needs. Larger segments are
    /// rolled less often and returned to the file system in larger pieces.
    pub segment_bytes: u64,
    /// How many records may be reserved and not yet covered by the contiguously filled part of the log; 4096 by
    /// default, a power of two from 2 to 2^20. More only help when a writer is descheduled while others go on.
    pub open_records_max: usize,
    /// How records get to their segment; [`LogBackend::Auto`] by default.
    pub backend: LogBackend,
    /// The most bytes of segments that are mapped at a time, those that wait for their turn included; 16 MiB by default,
    /// from 16 KiB to 4 GiB. In use when the back-end is mapped.
    pub window_bytes: u64,
    /// How many files of retired segments are kept to become further ones; 2 by default, at most 64. 0: none, and a
    /// torn tail is always told from a clean end (see [`Tail::Unsealed`](crate::Tail::Unsealed)).
    pub spare_segments_max: usize,
    /// Make what was appended durable in the background, every so often; `None` by default: when somebody asks for it,
    /// and when more than `unsynced_bytes_max` wait.
    pub sync_interval: Option<Duration>,
    /// The most bytes of segments that were left, and are not retired, that wait to be made durable while nobody asks for
    /// a sync; 256 MiB by default. What goes beyond is synced in the background. A segment that is retired before is
    /// never synced. 0: each segment when it is left.
    pub unsynced_bytes_max: u64,
    /// Whether the log runs threads of its own, for what is done off the way of an append; true by default. Without
    /// them call [`Wal::maintain`](crate::Wal::maintain), or leave it to those who append.
    pub helper_threads: bool,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            open_records_max: 4096,
            backend: LogBackend::Auto,
            window_bytes: 16 << 20,
            spare_segments_max: 2,
            sync_interval: None,
            unsynced_bytes_max: 256 << 20,
            helper_threads: true,
        }
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
        if !(16 << 10..=4 << 30).contains(&self.window_bytes) {
            return invalid("window_bytes", self.window_bytes, "from 16 KiB to 4 GiB");
        }
        if self.spare_segments_max > 64 {
            return invalid("spare_segments_max", self.spare_segments_max as u64, "at most 64");
        }
        if self.sync_interval.is_some_and(|interval| interval.is_zero()) {
            return invalid("sync_interval", 0, "longer than 0");
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
