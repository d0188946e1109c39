//! Any directory of segments is read without a panic, and what it holds is bounded by its size: the log's reader, in all
//! modes, and going on after it.
//!
//! The input is a list of files: a byte for the file's number (its low bits) and for how it is made (the high ones), two
//! bytes of length, then its content. A file can be taken as it is; or as the changes to a good segment (a place and a
//! byte each), with the checksum of its header or link made right afterwards.
#![no_main]

use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use base::SegmentNumber;
use libfuzzer_sys::fuzz_target;
use vfs::Fs;
use vfs::sim::SimFs;
use wal::{LogBackend, LogStart, RecoveryMode, Wal, WalOptions, recover, segment_file_name};

const FILE_BYTES: usize = 4096;

fn options() -> WalOptions {
    WalOptions {
        segment_bytes: FILE_BYTES as u64,
        backend: LogBackend::Mapped,
        window_bytes: 16 << 10,
        helper_threads: false,
        ..WalOptions::default()
    }
}

fn path(number: u64) -> std::path::PathBuf {
    Path::new("/").join(segment_file_name(SegmentNumber::new(number)))
}

/// Three segments of a good log, the last of a recycled file.
fn good() -> &'static [Vec<u8>] {
    static GOOD: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    GOOD.get_or_init(|| {
        let fs = SimFs::new();
        let log = Wal::create(Arc::new(fs.clone()), Path::new("/"), options(), LogStart::fresh())
            .expect("a simulated disk has room");
        for segment in 0..3u8 {
            for record in 0..4u8 {
                log.append_synced(&[&vec![segment; usize::from(record) * 40]])
                    .expect("it is written");
            }
            log.append(&[b"unsynced"]).expect("it is written");
            if segment < 2 {
                log.roll().expect("there is room");
            }
        }
        fs.files().into_iter().map(|(_, bytes)| bytes).collect()
    })
}

/// Makes the checksum of the 64 bytes at `at` right.
fn seal(file: &mut [u8], at: usize) {
    if file.len() >= at + 64 {
        let crc = crc(&file[at..at + 60]);
        file[at + 60..at + 64].copy_from_slice(&crc.to_le_bytes());
    }
}

/// CRC-32 (IEEE), bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

fn content(how: u8, number: u64, bytes: &[u8]) -> Vec<u8> {
    if how & 0x80 == 0 {
        return bytes.to_vec();
    }
    let good = good();
    let mut file = good[(number as usize + good.len() - 1) % good.len()].clone();
    for change in bytes.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % file.len();
        file[at] = change[2];
    }
    if how & 0x40 != 0 {
        seal(&mut file, 0);
    }
    if how & 0x20 != 0 {
        seal(&mut file, 64);
    }
    file
}

fn read(fs: &Arc<dyn Fs>, from: u64, mode: RecoveryMode) -> Option<wal::Recovered> {
    let mut bytes = 0;
    let mut visit = |_: SegmentNumber, _: u64, payload: &[u8]| {
        bytes += payload.len();
        Ok::<(), Infallible>(())
    };
    let recovered = recover(fs, Path::new("/"), SegmentNumber::new(from), mode, &mut visit).ok()?;
    assert_eq!(recovered.bytes, bytes as u64);
    let held: u64 = recovered.start.existing.iter().map(|info| info.file_bytes).sum();
    assert!(recovered.bytes <= held, "more was read than there is");
    Some(recovered)
}

fuzz_target!(|data: &[u8]| {
    let fs = SimFs::new();
    let mut rest = data;
    while let [how, low, high, tail @ ..] = rest {
        let number = u64::from(how & 7) + 1;
        let len =
            usize::from(u16::from_le_bytes([*low, *high])).min(tail.len()).min(4 * FILE_BYTES);
        let (bytes, behind) = tail.split_at(len);
        rest = behind;
        if let Ok(file) = fs.create(&path(number)) {
            file.write_all_at(&content(*how, number, bytes), 0).expect("there is room");
        }
    }
    let fs: Arc<dyn Fs> = Arc::new(fs);
    for from in [0, 1, 2] {
        read(&fs, from, RecoveryMode::SkipDamaged);
        read(&fs, from, RecoveryMode::AbsoluteConsistency);
        if let Some(recovered) = read(&fs, from, RecoveryMode::PointInTime) {
            // Read again it is the same; and what is appended after it is found behind it.
            let again = read(&fs, from, RecoveryMode::PointInTime);
            assert_eq!(again.as_ref(), Some(&recovered));
            let log = Wal::create(Arc::clone(&fs), Path::new("/"), options(), recovered.start)
                .expect("it goes on");
            log.append_synced(&[b"next"]).expect("it is written");
            drop(log);
            let longer = read(&fs, from, RecoveryMode::PointInTime).expect("it is a good log");
            assert_eq!(longer.records, recovered.records + 1);
            return;
        }
    }
});
