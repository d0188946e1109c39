//! The bytes of the format, pinned by a file that says what each of them is.

use vfs::Fs;
use vfs::sim::SimFs;
use wal::{LogBackend, RecoveryMode, Tail, WalOptions};

use crate::kit::*;

/// Lines of hexadecimal bytes; what stands behind `#` is for people; `= FILE` begins a file.
const GOLDEN: &str = include_str!("../golden/segments.hex");

/// The log that the golden file shows.
fn write(backend: LogBackend) -> SimFs {
    let (fs, log) = fresh(WalOptions { backend, ..small() });
    log.maintain();
    let end = log.append(&[b"po", b"lder"]).unwrap();
    log.sync(end).unwrap();
    log.append(&[]).unwrap();
    drop(log.reserve(3).unwrap());
    log.roll().unwrap();
    log.maintain();
    let end = log.append(&[b"dike"]).unwrap();
    log.sync(end).unwrap();
    assert_eq!(log.stats().windows_mapped > 0, backend == LogBackend::Mapped);
    log.close().unwrap();
    fs
}

fn golden() -> Vec<(u64, Vec<u8>)> {
    let mut files: Vec<(u64, Vec<u8>)> = Vec::new();
    for line in GOLDEN.lines() {
        let line = line.split('#').next().unwrap().trim();
        if let Some(name) = line.strip_prefix("= ") {
            let number = wal::parse_segment_file_name(name).unwrap();
            files.push((number.get(), Vec::new()));
        } else {
            let bytes = line.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap());
            if let Some((_, file)) = files.last_mut() {
                file.extend(bytes);
            }
        }
    }
    files
}

#[test]
fn the_bytes_are_those_of_the_golden_file() {
    for backend in [LogBackend::Positional, LogBackend::Mapped] {
        let fs = write(backend);
        for (number, mut expected) in golden() {
            let found = read_file(&fs, &path(number));
            expected.resize(4096, 0);
            let differs = found.iter().zip(&expected).position(|(a, b)| a != b);
            assert_eq!(
                (differs, found.len()),
                (None, expected.len()),
                "segment {number}, {backend:?}: {:02x?}",
                &found[..200]
            );
        }
        assert_eq!(fs.list(std::path::Path::new(DIR)).unwrap().len(), golden().len());
    }
}

#[test]
fn the_golden_file_is_read() {
    let fs = SimFs::new();
    for (number, bytes) in golden() {
        fs.create(&path(number)).unwrap().write_all_at(&bytes, 0).unwrap();
    }
    let (records, recovered) =
        recover_sim(&fs, number(1), RecoveryMode::AbsoluteConsistency).unwrap();
    let found: Vec<_> = records.iter().map(|r| (r.segment, r.offset, &r.payload[..])).collect();
    assert_eq!(found, [(1, 128, &b"polder"[..]), (1, 146, b""), (2, 128, b"dike")]);
    assert_eq!(recovered.tail, Tail::Clean);
}
