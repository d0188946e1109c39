//! What a writer refuses, what it asks of the file system, and what it leaves behind.

use crate::common::*;
use crate::recorder::{Call, Recorder};
use base::{Cursor, InternalKeyRef, MAX_KEY_BYTES, MAX_VALUE_BYTES, SeqNo, ValueKind};
use sstable::{Compression, Error, Table, TableOptions, TableWriter, WriteAllError};
use std::path::Path;
use std::sync::Arc;
use vfs::sim::{Effect, Fault, SimFs};
use vfs::{Access, File, Fs};

const PATH: &str = "/table";

fn new_file() -> (SimFs, Arc<dyn File>) {
    let fs = SimFs::new();
    let file = fs.create(Path::new(PATH)).unwrap();
    (fs, file)
}

#[test]
fn keys_out_of_order_are_refused_and_the_writer_goes_on() {
    let (_fs, file) = new_file();
    let mut writer = TableWriter::new(Arc::clone(&file), tiny_options());
    let add = |writer: &mut TableWriter, key: &[u8], seq, kind| {
        writer.add(InternalKeyRef::new(key, SeqNo::new(seq), kind), b"v")
    };
    add(&mut writer, b"b", 5, ValueKind::Put).unwrap();
    for (key, seq, kind) in [
        (&b"a"[..], 9, ValueKind::Put),
        (b"", 9, ValueKind::Put),
        (b"b", 5, ValueKind::Put),
        (b"b", 6, ValueKind::Put),
        (b"b", 5, ValueKind::Merge),
    ] {
        let error = add(&mut writer, key, seq, kind).unwrap_err();
        assert!(matches!(error, Error::OutOfOrder { .. }), "{error:?}");
        assert!(error.to_string().contains("after \"b\" at 5"), "{error}");
    }
    add(&mut writer, b"b", 5, ValueKind::Delete).unwrap();
    add(&mut writer, b"b", 4, ValueKind::RangeDelete).unwrap();
    let error = add(&mut writer, &vec![b'x'; MAX_KEY_BYTES + 1], 1, ValueKind::Put).unwrap_err();
    assert!(matches!(error, Error::KeyTooLong { found: 65_536 }));
    assert_eq!(writer.entries(), 3);
    let summary = writer.finish().unwrap();
    assert_eq!((summary.entries, summary.tombstones), (3, 2));
    assert_eq!((summary.min_seq, summary.max_seq), (SeqNo::new(4), SeqNo::new(5)));
    assert_eq!(summary.smallest, key(b"b", 5, ValueKind::Put));
    assert_eq!(summary.largest, key(b"b", 4, ValueKind::RangeDelete));
    assert_eq!(summary.file_bytes, file.len().unwrap());
    assert_eq!(forward(&mut open(&read_all(&*file)).unwrap().cursor()).unwrap().len(), 3);
}

#[test]
fn a_value_above_the_limit_is_refused() {
    let (_fs, file) = new_file();
    let mut writer = TableWriter::new(file, TableOptions::default());
    // Never touched, so the pages are never there.
    let value = vec![0; MAX_VALUE_BYTES + 1];
    let error = writer.add(InternalKeyRef::seek_at(b"k", SeqNo::ZERO), &value).unwrap_err();
    assert!(matches!(error, Error::ValueTooLarge { .. }));
}

#[test]
fn a_table_without_entries_or_with_impossible_options_or_in_a_used_file_is_refused() {
    let (_fs, file) = new_file();
    let error = TableWriter::new(Arc::clone(&file), TableOptions::default()).finish().unwrap_err();
    assert!(matches!(error, Error::Empty { .. }));
    let entry = [put(b"k", 1, b"v")];
    let bad = |change: fn(&mut TableOptions)| {
        let mut options = TableOptions::default();
        change(&mut options);
        options
    };
    for (name, options) in [
        ("block_bytes", bad(|o| o.block_bytes = 0)),
        ("partition_bytes", bad(|o| o.partition_bytes = usize::MAX)),
        ("restart_interval", bad(|o| o.restart_interval = 0)),
        ("filter_bits_per_key", bad(|o| o.filter_bits_per_key = 65)),
        ("compression level", bad(|o| o.compression = Compression::Zstd { level: 23 })),
    ] {
        let error = write(Arc::clone(&file), options, &entry).unwrap_err();
        assert!(matches!(error, Error::InvalidOption { .. }));
        assert!(error.to_string().contains(name), "{error}");
    }
    assert_eq!(file.len().unwrap(), 0);
    file.write_all_at(b"something", 0).unwrap();
    let error = write(Arc::clone(&file), TableOptions::default(), &entry).unwrap_err();
    assert!(matches!(error, Error::NotEmpty { found: 9, .. }));
    assert_eq!(read_all(&*file), b"something");
}

#[test]
fn a_writer_fed_by_a_cursor_writes_the_same_table() {
    let entries: Vec<_> = (0..500).map(|n| put(format!("{n:05}"), n, b"value")).collect();
    let bytes = table_bytes(tiny_options(), &entries);
    let mut cursor = open(&bytes).unwrap().cursor();
    let (_fs, file) = new_file();
    let mut writer = TableWriter::new(Arc::clone(&file), tiny_options());
    assert_eq!(writer.write_all(&mut cursor).unwrap(), 0, "it stands nowhere yet");
    cursor.seek_to_first().unwrap();
    assert_eq!(writer.write_all(&mut cursor).unwrap(), 500);
    writer.finish().unwrap();
    assert_eq!(read_all(&*file), bytes);

    let (_fs, file) = new_file();
    let mut writer = TableWriter::new(file, tiny_options());
    let mut bytes = bytes;
    bytes[2000] ^= 1;
    let mut cursor = open(&bytes).unwrap().cursor();
    cursor.seek_to_first().unwrap();
    let error = writer.write_all(&mut cursor).unwrap_err();
    assert!(matches!(error, WriteAllError::Cursor(Error::Corrupt(_))), "{error:?}");
    cursor.seek_to_first().unwrap();
    let error = writer.write_all(&mut cursor).unwrap_err();
    assert!(matches!(error, WriteAllError::Table(Error::OutOfOrder { .. })), "{error:?}");
}

#[test]
fn the_estimate_of_the_files_length_is_near() {
    let (_fs, file) = new_file();
    let options = TableOptions { compression: Compression::None, ..TableOptions::default() };
    let mut writer = TableWriter::new(Arc::clone(&file), options);
    assert_eq!(writer.file_bytes(), 0);
    for n in 0..20_000u64 {
        let key = format!("{n:012}");
        writer.add(InternalKeyRef::seek_at(key.as_bytes(), SeqNo::new(n)), &[7; 90]).unwrap();
    }
    let estimate = writer.file_bytes();
    let exact = writer.finish().unwrap().file_bytes;
    assert!(estimate.abs_diff(exact) < exact / 100, "{estimate} for {exact}");
}

// L3
#[test]
fn the_file_is_handed_to_the_disk_as_it_is_written() {
    let entries: Vec<_> = (0..40_000).map(|n| put(format!("{n:08}"), n, [n as u8; 100])).collect();
    for (bytes_per_sync, strict) in [(0, false), (512 << 10, false), (1 << 20, true)] {
        let (_fs, file) = new_file();
        let file = Recorder::new(file);
        let options = TableOptions {
            compression: Compression::None,
            bytes_per_sync,
            strict_bytes_per_sync: strict,
            ..TableOptions::default()
        };
        let summary = write(Arc::clone(&file) as _, options, &entries).unwrap();
        let (mut written, mut handed_over) = (0, 0);
        let calls = file.take();
        for &call in &calls {
            match call {
                Call::Write { offset, len } => {
                    assert_eq!(offset, written);
                    written += len;
                    assert!(
                        bytes_per_sync == 0 || written - handed_over < bytes_per_sync + (256 << 10)
                    );
                }
                Call::SyncRange { offset, len, wait } => {
                    assert_eq!((offset, wait), (handed_over, strict));
                    assert!(len >= bytes_per_sync);
                    handed_over += len;
                    assert_eq!(handed_over, written);
                }
                Call::SyncAll | Call::Read { .. } | Call::WillRead { .. } => {}
            }
        }
        assert_eq!(written, summary.file_bytes);
        assert_eq!(handed_over > 0, bytes_per_sync > 0);
        assert!(bytes_per_sync == 0 || written - handed_over < bytes_per_sync);
        assert_eq!(calls.last(), Some(&Call::SyncAll));
    }
}

#[test]
fn after_any_failure_there_is_an_error_and_no_table() {
    let entries: Vec<_> = (0..10_000).map(|n| put(format!("{n:08}"), n, [n as u8; 100])).collect();
    let options = TableOptions {
        compression: Compression::None,
        bytes_per_sync: 1 << 18,
        strict_bytes_per_sync: true,
        ..TableOptions::default()
    };
    let (fs, file) = new_file();
    write(file, options.clone(), &entries).unwrap();
    let operations = fs.operations();
    assert!(operations > 8);
    for nth in 2..=operations {
        let fs = SimFs::new();
        let file = fs.create(Path::new(PATH)).unwrap();
        fs.inject(Fault::any(Effect::NO_SPACE).nth(nth - 1));
        let mut writer = TableWriter::new(file, options.clone());
        let mut failed = None;
        for (key, value) in &entries {
            if let Err(error) = writer.add(key.as_ref(), value) {
                failed = Some(error);
                break;
            }
        }
        let error = match failed {
            Some(error) => {
                let again = writer.add(InternalKeyRef::seek_at(b"z", SeqNo::MAX), b"").unwrap_err();
                assert!(matches!(again, Error::WriterFailed { .. }), "{again:?}");
                assert!(matches!(writer.finish().unwrap_err(), Error::WriterFailed { .. }));
                error
            }
            None => writer.finish().unwrap_err(),
        };
        let Error::Io { source, .. } = error else { panic!("{error:?}") };
        assert_eq!(source.kind(), vfs::ErrorKind::NoSpace);
    }
}

#[test]
fn a_finished_table_survives_every_crash_and_an_unfinished_one_is_never_taken_for_whole() {
    let entries: Vec<_> = (0..300).map(|n| put(format!("{n:08}"), n, [n as u8; 100])).collect();
    let (fs, file) = new_file();
    fs.sync_dir(Path::new("/")).unwrap();
    let mut writer = TableWriter::new(file, tiny_options());
    for (key, value) in &entries {
        writer.add(key.as_ref(), value).unwrap();
    }
    let reopen =
        |fs: &SimFs| sstable::Table::open(fs.open(Path::new(PATH), Access::Read).unwrap(), None);
    for seed in 0..20 {
        assert!(reopen(&fs.crash_clone(seed)).unwrap_err().is_corruption());
    }
    writer.finish().unwrap();
    for seed in 0..20 {
        let table = Arc::new(reopen(&fs.crash_clone(seed)).unwrap());
        assert!(forward(&mut table.cursor()).unwrap() == entries);
    }
}

#[test]
fn a_writer_says_what_its_buffers_hold() {
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd { level: 3 }] {
        let file = SimFs::new().create(Path::new("/table")).unwrap();
        let options = TableOptions { compression, ..TableOptions::default() };
        let at_most = options.buffered_bytes_max(111, 10);
        let mut writer = TableWriter::new(file, options);
        let before = writer.buffered_bytes();
        let mut most = 0;
        for (key, value) in &crate::reading::numbered(30_000, 100) {
            writer.add(key.as_ref(), value).unwrap();
            most = most.max(writer.buffered_bytes());
        }
        assert!(before < 1 << 10, "{before} bytes before the first entry");
        // 3.5 MB were written; what is held does not grow with them.
        assert!((256 << 10..2 << 20).contains(&most), "{most} bytes, {compression:?}");
        let of_library = if matches!(compression, Compression::Zstd { .. }) { 2 << 20 } else { 0 };
        assert!(most <= at_most + of_library && at_most < 2 << 20, "{most} of {at_most} bytes");
        writer.add(put(b"z", 1, b"").0.as_ref(), &vec![1; 3 << 20]).unwrap();
        // What is not compressed is written from where it stands.
        let is_held = writer.buffered_bytes() > 3 << 20;
        assert_eq!(is_held, compression != Compression::None);
    }
}

/// Written from where they stand or gathered in buffers, large values make the same file: all of them are in blocks of
/// their own, and the index leads to each.
#[test]
fn large_values_are_written_from_where_they_stand() {
    let lens = [0, 100, 32 << 10, (32 << 10) - 1, 40_000, 70_000, 9, 9, 300_000, 1 << 20, 5];
    for block_bytes in [256, 16 << 10, 64 << 10, 1 << 20] {
        let mut entries = Vec::new();
        for (n, len) in lens.iter().enumerate() {
            // Two versions of each key, so that a large value is followed by its own key too.
            for seq in [2, 1] {
                entries.push(put(format!("key{n:02}"), seq, vec![n as u8 + seq as u8; *len]));
            }
        }
        let options = TableOptions {
            compression: Compression::None,
            partition_bytes: 100,
            block_bytes,
            ..TableOptions::default()
        };
        let (fs, file) = new_file();
        let recorder = Recorder::new(Arc::clone(&file));
        let mut writer = TableWriter::new(Arc::clone(&recorder) as _, options);
        for (key, value) in &entries {
            let before = writer.buffered_bytes();
            writer.add(key.as_ref(), value).unwrap();
            if value.len() >= block_bytes.max(300_000) {
                assert_eq!(writer.sealed_bytes(), file.len().unwrap(), "it waits in a buffer");
                assert!(writer.buffered_bytes() < before + 100_000, "a large value is held");
            }
        }
        let summary = writer.finish().unwrap();
        assert_eq!(summary.file_bytes, file.len().unwrap());
        let table = Table::open(fs.open(Path::new(PATH), Access::Read).unwrap(), None).unwrap();
        table.verify().unwrap();
        assert!(forward(&mut Arc::new(table).cursor()).unwrap() == entries);
    }
}
