//! A write-ahead log: concurrent appends, grouped syncs, exact recovery.
#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod backend;
mod error;
mod format;
mod helper;
mod log;
mod options;
mod position;
mod prepare;
mod reader;
mod recover;
mod reservation;
mod roll;
mod segments;
mod stats;
mod sync;
mod tail;
mod wal;
mod window;

pub use error::{AppendError, Error, Failure, NeededBy, RecoverError, ReserveError};
pub use format::{
    FORMAT_VERSION, SEGMENT_HEADER_BYTES, parse_segment_file_name, segment_file_name,
};
pub use options::{
    LogBackend, LogStart, MAX_RECORD_BYTES, Predecessor, SegmentInfo, SegmentState, WalOptions,
};
pub use position::LogPosition;
pub use reader::{LogReader, LogRecord, ReadUpTo};
pub use recover::{Damage, RecoverFrom, Recovered, RecoveryMode, Tail, Visit, recover, secure};
pub use reservation::Reservation;
pub use segments::RetireReport;
pub use stats::WalStats;
pub use wal::Wal;
