//! The format does not change by accident: tables that were written once are read, and written again alike.

use crate::common::*;
use base::ValueKind;
use sstable::{Compression, TableOptions};
use std::path::PathBuf;
use vfs::{Access, Fs, RealFs};

fn entries() -> Vec<Entry> {
    let mut entries = vec![
        (key(b"", 9, ValueKind::Put), b"the empty key".to_vec()),
        (key(b"apple", 7, ValueKind::Put), b"red".to_vec()),
        (key(b"apple", 3, ValueKind::Merge), b"+1".to_vec()),
        (key(b"apricot", 300, ValueKind::Delete), Vec::new()),
        (key(b"banana", 8, ValueKind::RangeDelete), b"cherry".to_vec()),
    ];
    entries.extend((0..30u64).map(|n| put(format!("date/{n:03}"), 1000 + n, vec![b'd'; 12])));
    entries
}

fn options(compression: Compression) -> TableOptions {
    TableOptions {
        compression,
        partition_bytes: 100,
        checksum_salt: 0x0102_0304_0506_0708,
        ..tiny_options()
    }
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

#[test]
fn tables_of_version_2_are_read() {
    for name in ["v2-none.sst", "v2-lz4.sst", "v2-zstd.sst"] {
        let table = open(&read(name)).unwrap();
        table.verify().unwrap();
        assert_eq!(forward(&mut table.cursor()).unwrap(), entries(), "{name}");
    }
}

/// If this fails, the format has changed: give it a new version and new files, which this test leaves in the target
/// folder's `tmp`.
#[test]
fn tables_of_version_2_are_written() {
    for (name, compression) in [
        ("v2-lz4.sst", Compression::Lz4),
        ("v2-zstd.sst", Compression::Zstd { level: 3 }),
        ("v2-none.sst", Compression::None),
    ] {
        let bytes = table_bytes(options(compression), &entries());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let fs = RealFs::new();
        if fs.exists(&path).unwrap() {
            fs.remove(&path).unwrap();
        }
        fs.create(&path).unwrap().write_all_at(&bytes, 0).unwrap();
        // The compression libraries may find a shorter form one day, so only the plain one must be equal.
        let must_be_equal = compression == Compression::None;
        assert!(!must_be_equal || bytes == read(name), "{} differs from {name}", path.display());
    }
}

fn read(name: &str) -> Vec<u8> {
    read_all(&*RealFs::new().open(&golden(name), Access::Read).unwrap())
}
