//! What the tests share: opening, recovering, damaging.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::SegmentNumber;
use vfs::sim::{CrashOptions, SimFs, Survival};
use vfs::{Access, Fs};
use wal::{
    Error, LogBackend, LogStart, RecoverError, RecoverFrom, Recovered, RecoveryMode, Wal,
    WalOptions, recover, segment_file_name,
};

/// The directory of every simulated log.
pub const DIR: &str = "/";

/// Nothing is recorded about the log.
pub const NOTHING: SegmentNumber = SegmentNumber::new(0);

pub fn number(n: u64) -> SegmentNumber {
    SegmentNumber::new(n)
}

pub fn small() -> WalOptions {
    WalOptions {
        segment_bytes: 4096,
        backend: LogBackend::Positional,
        window_bytes: 16 << 10,
        spare_segments_max: 0,
        helper_threads: false,
        ..WalOptions::default()
    }
}

pub fn path(n: u64) -> PathBuf {
    Path::new(DIR).join(segment_file_name(number(n)))
}

/// A record as recovery gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    pub segment: u64,
    pub offset: u64,
    pub payload: Vec<u8>,
}

pub type Outcome = Result<(Vec<Read>, Recovered), Error>;

pub fn recover_at(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    from: impl Into<RecoverFrom>,
    mode: RecoveryMode,
) -> Outcome {
    let mut records = Vec::new();
    let mut visit = |segment: SegmentNumber, offset, payload: &[u8]| {
        records.push(Read { segment: segment.get(), offset, payload: payload.to_vec() });
        Ok::<(), Infallible>(())
    };
    match recover(fs, dir, from, mode, &mut visit) {
        Ok(recovered) => Ok((records, recovered)),
        Err(RecoverError::Log(error)) => Err(error),
        Err(RecoverError::Visitor(never)) => match never {},
    }
}

pub fn recover_sim(fs: &SimFs, from: SegmentNumber, mode: RecoveryMode) -> Outcome {
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    recover_at(&fs, Path::new(DIR), from, mode)
}

/// The payloads that a recovery of everything, to a point in time, gives.
pub fn payloads(fs: &SimFs) -> Vec<Vec<u8>> {
    let (records, _) = recover_sim(fs, NOTHING, RecoveryMode::PointInTime).expect("recovers");
    records.into_iter().map(|read| read.payload).collect()
}

pub fn create(fs: &SimFs, options: WalOptions, start: LogStart) -> Result<Wal, Error> {
    Wal::create(Arc::new(fs.clone()), Path::new(DIR), options, start)
}

/// A log on an empty disk.
pub fn fresh(options: WalOptions) -> (SimFs, Wal) {
    let fs = SimFs::new();
    let log = create(&fs, options, LogStart::fresh()).expect("is created");
    (fs, log)
}

/// Recovers and goes on.
pub fn reopen(fs: &SimFs, options: WalOptions) -> (Vec<Read>, Wal) {
    let (records, recovered) =
        recover_sim(fs, NOTHING, RecoveryMode::PointInTime).expect("recovers");
    (records, create(fs, options, recovered.start).expect("is created"))
}

/// The disk as a killed process leaves it.
pub fn killed(fs: &SimFs) -> SimFs {
    survived(fs, Survival::Everything)
}

/// The disk as it is when nothing survives that was not synced.
pub fn synced_only(fs: &SimFs) -> SimFs {
    survived(fs, Survival::Nothing)
}

fn survived(fs: &SimFs, survival: Survival) -> SimFs {
    fs.crash_with(CrashOptions { seed: 0, survival, tear_pages: true })
}

pub fn read_file(fs: &SimFs, path: &Path) -> Vec<u8> {
    let file = fs.open(path, Access::Read).expect("is there");
    let mut bytes = vec![0; file.len().expect("has a length") as usize];
    file.read_exact_at(&mut bytes, 0).expect("is read");
    bytes
}

pub fn write_file(fs: &SimFs, path: &Path, offset: u64, bytes: &[u8]) {
    let file = fs.open(path, Access::ReadWrite).expect("is there");
    file.write_all_at(bytes, offset).expect("is written");
}

pub fn truncate(fs: &SimFs, path: &Path, len: u64) {
    fs.open(path, Access::ReadWrite).expect("is there").set_len(len).expect("is cut");
}

/// A copy of the disk with one byte of a file changed.
pub fn flipped(fs: &SimFs, path: &Path, at: usize, mask: u8) -> SimFs {
    let fs = killed(fs);
    let byte = read_file(&fs, path)[at];
    write_file(&fs, path, at as u64, &[byte ^ mask]);
    fs
}
