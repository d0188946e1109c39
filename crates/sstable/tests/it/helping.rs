//! Blocks that helpers compress: the same file, whoever compressed what and in whichever order they came back.

use crate::common::*;
use base::ValueKind;
use sstable::{Compression, CompressionHelpers, Error, TableOptions, TableSummary, TableWriter};
use std::path::Path;
use std::sync::Arc;
use vfs::sim::{Effect, Fault, SimFs};
use vfs::{File, Fs, Operation};

const PATH: &str = "/table";
const ZSTD: Compression = Compression::Zstd { level: 1 };

fn helpers(threads: usize) -> Arc<CompressionHelpers> {
    Arc::new(CompressionHelpers::start(threads).unwrap())
}

fn new_file() -> (SimFs, Arc<dyn File>) {
    let fs = SimFs::new();
    let file = fs.create(Path::new(PATH)).unwrap();
    (fs, file)
}

fn add_all(writer: &mut TableWriter, entries: &[Entry]) -> Result<(), Error> {
    entries.iter().try_for_each(|(key, value)| writer.add(key.as_ref(), value))
}

fn written(
    options: &TableOptions,
    helpers: &Arc<CompressionHelpers>,
    entries: &[Entry],
) -> (TableSummary, Vec<u8>) {
    let (_fs, file) = new_file();
    let mut writer = TableWriter::new(Arc::clone(&file), options.clone()).with_helpers(helpers);
    add_all(&mut writer, entries).unwrap();
    (writer.finish().unwrap(), read_all(&*file))
}

/// Bytes that compress to about a half, others for each `seed`.
fn half(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..len).map(|at| if at % 64 < 32 { byte() } else { b'x' }).collect()
}

/// Keys with versions that go on in the next blocks and partitions, values of all sizes, some larger than all that is in
/// flight, some that do not compress.
fn mixed() -> Vec<Entry> {
    let mut entries = Vec::new();
    for number in 0..200u64 {
        let len = match number % 50 {
            7 => 3000,
            20 => 70_000,
            33 if number == 133 => 1 << 20,
            _ => (number * 37 % 400) as usize,
        };
        let versions = if number % 40 == 3 { 60 } else { 1 + number % 3 };
        for version in (0..versions).rev() {
            let value = if number % 9 == 0 { half(version, len) } else { half(number, len) };
            let kind = if version % 5 == 4 { ValueKind::Delete } else { ValueKind::Put };
            entries.push((key(format!("key{number:05}").as_bytes(), version + 1, kind), value));
        }
    }
    entries
}

#[test]
fn the_file_is_the_same_with_and_without_helpers() {
    let entries = mixed();
    let zstd = |level| Compression::Zstd { level };
    let [none, one, three] = [0, 1, 3].map(helpers);
    for compression in [Compression::None, Compression::Lz4, zstd(-5), ZSTD, zstd(5)] {
        for (block_bytes, partition_bytes, filter_bits_per_key) in [
            (256, 64, 10),
            (256, 1000, 10),
            (1 << 10, 300, 0),
            (16 << 10, 512, 20),
            (100_000, 64, 5),
        ] {
            let options = TableOptions {
                compression,
                block_bytes,
                partition_bytes,
                filter_bits_per_key,
                checksum_salt: 7,
                ..TableOptions::default()
            };
            let expected = (
                write(new_file().1, options.clone(), &entries).unwrap(),
                table_bytes(options.clone(), &entries),
            );
            for helpers in [&none, &one, &three] {
                assert!(
                    written(&options, helpers, &entries) == expected,
                    "{helpers:?}, {options:?}"
                );
            }
            let table = open(&expected.1).unwrap();
            assert!(forward(&mut table.cursor()).unwrap() == entries);
            // Each version, past the filter of the partition that it is in; large blocks take their time.
            let looked_up = if block_bytes <= 1 << 10 { &entries[..] } else { &[] };
            for (key, value) in looked_up {
                let found = table.get(&key.user_key, key.seq).unwrap().expect("it is there");
                assert!(found.value == value[..] && found.kind == key.kind);
            }
        }
    }
}

/// A key whose versions go on in the next block is in each partition's filter once.
#[test]
fn a_key_that_goes_on_is_counted_once_in_each_filter() {
    let entries: Vec<_> = (0..3000).rev().map(|seq| put("key", seq, half(seq, 60))).collect();
    for (partition_bytes, threads) in [(1 << 20, 0), (1 << 20, 2), (200, 0), (200, 2)] {
        let options = TableOptions { partition_bytes, compression: ZSTD, ..tiny_options() };
        let (_, bytes) = written(&options, &helpers(threads), &entries);
        let table = open(&bytes).unwrap();
        let properties = table.properties();
        assert_eq!(properties.partitions > 1, partition_bytes == 200);
        // One line of 64 bytes, the filter's tail of two, and a trailer of ten.
        assert_eq!(properties.filter_stored_bytes, properties.partitions * 76);
    }
}

/// What a compressor makes of a block does not depend on the blocks before it, in whichever thread they were.
#[test]
fn compressors_have_no_memory() {
    let entries: Vec<_> =
        (0..25).map(|n| put(format!("{n:04}"), n, half(n, (n as usize * 7919) % 90_000))).collect();
    let helpers = helpers(2);
    for level in [1, 3, 5, 7, 9, 13, 19] {
        let options = TableOptions {
            compression: Compression::Zstd { level },
            block_bytes: 64 << 10,
            ..TableOptions::default()
        };
        let expected = table_bytes(options.clone(), &entries);
        assert!(written(&options, &helpers, &entries).1 == expected, "level {level}");
    }
}

#[test]
fn many_writers_share_the_helpers_and_outlive_them() {
    let helpers = helpers(2);
    let entries = mixed();
    let options = TableOptions { compression: ZSTD, ..tiny_options() };
    let expected = table_bytes(options.clone(), &entries);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert!(written(&options, &helpers, &entries).1 == expected));
        }
        // The writers are at it, or not yet, or have finished.
        helpers.stop();
    });
    assert!(written(&options, &helpers, &entries).1 == expected, "nobody helps any more");
    helpers.stop();
}

/// Wherever a writer is left off, nothing of it stays: its helpers serve the next one.
#[test]
fn a_writer_that_is_dropped_leaves_nothing_behind() {
    let helpers = helpers(1);
    let entries: Vec<_> = (0..60).map(|n| put(format!("{n:04}"), n, half(n, 300))).collect();
    let options = TableOptions { compression: ZSTD, ..tiny_options() };
    let expected = table_bytes(options.clone(), &entries);
    for count in 0..=entries.len() {
        let (_fs, file) = new_file();
        let mut writer =
            TableWriter::new(Arc::clone(&file), options.clone()).with_helpers(&helpers);
        add_all(&mut writer, &entries[..count]).unwrap();
        drop(writer);
        assert_eq!(Arc::strong_count(&file), 1);
        assert!(written(&options, &helpers, &entries).1 == expected);
    }
    let helpers = Arc::into_inner(helpers).expect("no writer and no thread holds them");
    drop(helpers);
}

/// Every call on the file fails once, with the disk full.
#[test]
fn a_failure_at_any_call_is_an_error_with_blocks_in_flight_too() {
    let helpers = helpers(2);
    let entries: Vec<_> = (0..4000).map(|n| put(format!("{n:08}"), n, half(n, 500))).collect();
    let options = TableOptions {
        compression: ZSTD,
        bytes_per_sync: 1 << 18,
        strict_bytes_per_sync: true,
        ..TableOptions::default()
    };
    let (fs, file) = new_file();
    let mut writer = TableWriter::new(Arc::clone(&file), options.clone()).with_helpers(&helpers);
    add_all(&mut writer, &entries).unwrap();
    writer.finish().unwrap();
    let expected = read_all(&*file);
    let operations = fs.operations();
    let mut hit = Vec::new();
    for nth in 1..operations {
        for effect in [Effect::NO_SPACE, Effect::IO] {
            let (fs, file) = new_file();
            fs.inject(Fault::any(effect).nth(nth));
            let mut writer = TableWriter::new(file, options.clone()).with_helpers(&helpers);
            let error = match add_all(&mut writer, &entries) {
                Err(error) => {
                    let (key, value) = &entries[entries.len() - 1];
                    let again = writer.add(key.as_ref(), value).unwrap_err();
                    assert!(matches!(again, Error::WriterFailed { .. }), "{again:?}");
                    assert!(matches!(writer.finish(), Err(Error::WriterFailed { .. })));
                    error
                }
                Ok(()) => writer.finish().unwrap_err(),
            };
            let Error::Io { source, .. } = error else { panic!("{error:?}") };
            let is_full = source.kind() == vfs::ErrorKind::NoSpace;
            assert_eq!(is_full, matches!(effect, Effect::NO_SPACE), "{source:?}");
            hit.push(source.operation());
        }
    }
    for operation in [Operation::Write, Operation::SyncRange, Operation::SyncAll] {
        assert!(hit.contains(&operation), "{operation:?} never failed: {hit:?}");
    }
    assert!(written(&options, &helpers, &entries).1 == expected);
}

#[test]
fn what_is_in_flight_is_counted_and_bounded() {
    for (threads, level) in [(1, 1), (4, 3)] {
        let helpers = helpers(threads);
        let compression = Compression::Zstd { level };
        let options = TableOptions { compression, ..TableOptions::default() };
        let alone = options.buffered_bytes_max(400_010, 40);
        let most = alone + helpers.buffered_bytes_max(&options);
        // What the library takes, once for each thread that works on the table.
        let library = (threads + 2) << 20;
        let mut writer = TableWriter::new(new_file().1, options.clone()).with_helpers(&helpers);
        let mut held = 0;
        for number in 0..6000u64 {
            let len = if number % 1000 == 999 { 400_000 } else { 400 };
            let (key, value) = put(format!("{number:010}"), number, half(number, len));
            writer.add(key.as_ref(), &value).unwrap();
            held = held.max(writer.buffered_bytes());
            assert!(writer.buffered_bytes() <= most + library, "{held} of {most}");
        }
        // The blocks that wait, and what is to become of each.
        assert!(held > 400_000 + 2 * 4 * (threads + 1) * (16 << 10), "{held}");
        let estimate = writer.file_bytes();
        let exact = writer.finish().unwrap().file_bytes;
        assert!(estimate >= exact && estimate < exact + (2 << 20), "{estimate} for {exact}");
    }
}
