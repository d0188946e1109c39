//! Damaged files: whatever byte is wrong, a reader says so or answers rightly.

use crate::common::*;
use crate::largest;
use base::{Cursor, SeqNo, ValueKind};
use sstable::{Compression, Error, ReadBlocks, ScanOptions, Table, TableOptions};
use std::sync::Arc;

/// A table with several blocks and partitions, of every entry kind.
fn small_table(compression: Compression) -> (Vec<Entry>, Vec<u8>) {
    let mut entries = Vec::new();
    for n in 0..26u64 {
        let user_key = format!("key/{:04}", n / 2 * 3);
        let kind = ValueKind::try_from((n % 7).min(3) as u8).unwrap();
        let value = format!("value of {n} ").repeat((n % 5) as usize);
        entries.push((key(user_key.as_bytes(), 100 - n % 2, kind), value.into_bytes()));
    }
    let options = TableOptions { compression, checksum_salt: 42, ..tiny_options() };
    let bytes = table_bytes(options, &entries);
    (entries, bytes)
}

/// Reads everything in every way. Whatever is answered must be right; says whether any read failed.
fn reads_rightly_or_fails(table: &Arc<Table>, entries: &[Entry]) -> bool {
    let mut failures = 0;
    let mut note = |error: &Error| {
        assert!(error.is_corruption(), "{error:?}");
        failures += 1;
    };
    for all in [forward(&mut table.cursor()), backward(&mut table.cursor())] {
        match all {
            Ok(all) => assert!(all == entries, "a scan gave other entries"),
            Err(error) => note(&error),
        }
    }
    for (key, value) in entries {
        match table.get(&key.user_key, key.seq) {
            Ok(found) => {
                let found = found.expect("a key is lost");
                assert_eq!(
                    (found.seq, found.kind, &found.value[..]),
                    (key.seq, key.kind, &value[..])
                );
            }
            Err(error) => note(&error),
        }
        match table.get(&[&key.user_key[..], b"?"].concat(), SeqNo::MAX) {
            Ok(found) => assert_eq!(found, None),
            Err(error) => note(&error),
        }
    }
    failures > 0
}

// K
#[test]
fn every_flipped_byte_is_found() {
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd { level: 3 }] {
        let (entries, good) = small_table(compression);
        assert!(!reads_rightly_or_fails(&open(&good).unwrap(), &entries));
        for at in 0..good.len() {
            for mask in [0x01, 0x80] {
                let mut bytes = good.clone();
                bytes[at] ^= mask;
                let (checked, largest) = largest::allocation(|| {
                    let table = open(&bytes)?;
                    let verified = table.verify_all(&mut |error| assert!(error.is_corruption()));
                    Ok((verified.faults, reads_rightly_or_fails(&table, &entries)))
                });
                match checked {
                    Ok((faults, read_failed)) => {
                        assert!(faults > 0, "byte {at} ^ {mask:02x} passes verification");
                        assert!(read_failed, "byte {at} ^ {mask:02x} is read");
                    }
                    Err(error) => assert!(Error::is_corruption(&error), "byte {at}: {error:?}"),
                }
                assert!(largest < 64 << 10, "{largest} bytes for byte {at} ^ {mask:02x}");
            }
        }
    }
}

/// Without checksums whatever stands in a data block is taken for what it says: other entries, an error, never more.
#[test]
fn any_flipped_byte_is_harmless_without_checksums() {
    let how = ReadBlocks { verify_checksums: false, ..ReadBlocks::DEFAULT };
    let scan = ScanOptions { verify_checksums: false, ..ScanOptions::DEFAULT };
    let mut unnoticed = 0;
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd { level: 3 }] {
        let (entries, good) = small_table(compression);
        for at in 0..good.len() {
            for mask in [0x01, 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[at] ^= mask;
                let (read, largest) = largest::allocation(|| -> Result<bool, Error> {
                    let table = open(&bytes)?;
                    let mut cursor = table.cursor_with(scan);
                    let mut is_same = forward(&mut cursor)? == entries;
                    is_same &= backward(&mut cursor)? == entries;
                    for (key, _) in &entries {
                        cursor.seek(key.as_ref())?;
                        cursor.seek_for_prev(key.as_ref())?;
                        is_same &= table.get_with(&key.user_key, key.seq, &how)?.is_some();
                    }
                    Ok(is_same)
                });
                match read {
                    Ok(is_same) => unnoticed += u64::from(!is_same),
                    Err(error) => assert!(error.is_corruption(), "byte {at}: {error:?}"),
                }
                // What is claimed of 131,072 bytes that Zstandard can have said in a few is made room for.
                assert!(largest < 16 << 20, "{largest} bytes for byte {at} ^ {mask:02x}");
            }
        }
    }
    assert!(unnoticed > 100, "{unnoticed} wrong answers, as was asked for");
}

/// Each block is verified when it is first read from the mapping, by a scan or a point read, and no other for it.
#[test]
fn every_flipped_byte_is_found_in_a_mapped_file() {
    for compression in [Compression::None, Compression::Lz4] {
        let (entries, good) = small_table(compression);
        let (_dir, table) = open_mapped(&good, None);
        let table = table.unwrap();
        for _ in 0..2 {
            assert!(table.is_mapped() && !reads_rightly_or_fails(&table, &entries));
        }
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            let (_dir, table) = open_mapped(&bytes, None);
            match table {
                Ok(table) => {
                    assert!(reads_rightly_or_fails(&table, &entries), "byte {at} is read");
                    assert!(reads_rightly_or_fails(&table, &entries), "byte {at} is read again");
                }
                Err(error) => assert!(Error::is_corruption(&error), "byte {at}: {error:?}"),
            }
        }
    }
}

// K
#[test]
fn every_truncation_and_every_extension_is_found_at_open() {
    let (_, good) = small_table(Compression::Lz4);
    for len in 0..good.len() {
        let error = open(&good[..len]).unwrap_err();
        assert!(error.is_corruption(), "cut to {len}: {error:?}");
        assert!(error.to_string().contains("/table"), "{error}");
    }
    for more in [1, 100, 10_000] {
        assert!(open(&[&good[..], &vec![0; more]].concat()).unwrap_err().is_corruption());
        assert!(open(&[&vec![0; more], &good[..]].concat()).unwrap_err().is_corruption());
    }
    assert!(open(&[&good[..], &good[..]].concat()).unwrap_err().is_corruption());
}

/// A block that is whole but stands elsewhere, or comes from another file, is not taken.
#[test]
fn misplaced_blocks_are_found() {
    let entries: Vec<_> = (0..40).map(|n| put(format!("{n:02}"), 1, vec![b'v'; 100])).collect();
    let options = TableOptions { compression: Compression::None, ..tiny_options() };
    let good = table_bytes(options.clone(), &entries);
    let properties = open(&good).unwrap().properties().clone();
    assert_eq!(properties.data_stored_bytes % properties.data_blocks, 0, "blocks of one length");
    assert!(properties.data_blocks > properties.partitions, "the first two are adjacent");
    let block = (properties.data_stored_bytes / properties.data_blocks) as usize;
    let mut swapped = good.clone();
    let (left, right) = swapped.split_at_mut(block);
    left.swap_with_slice(&mut right[..block]);
    assert!(reads_rightly_or_fails(&open(&swapped).unwrap(), &entries));

    let other_salt = table_bytes(TableOptions { checksum_salt: 1, ..options }, &entries);
    assert_eq!(other_salt.len(), good.len());
    let mut foreign = good.clone();
    foreign[..block].copy_from_slice(&other_salt[..block]);
    assert_eq!(good[..block - 10], foreign[..block - 10]);
    let table = open(&foreign).unwrap();
    assert!(reads_rightly_or_fails(&table, &entries));
    assert_eq!(table.verify_all(&mut |_| {}).faults, 1);
}

#[test]
fn errors_say_file_place_and_remedy() {
    let (entries, mut bytes) = small_table(Compression::None);
    bytes[20] ^= 4;
    let table = open(&bytes).unwrap();
    let error = table.get(&entries[0].0.user_key, SeqNo::MAX).unwrap_err();
    let Error::Corrupt(corruption) = &error else { panic!("{error:?}") };
    assert_eq!(corruption.offset, 0);
    assert_eq!(corruption.block, Some(sstable::BlockKind::Data));
    let text = error.to_string();
    for part in ["/table", "data block", "offset 0", "checksum", "restore the file from a copy"] {
        assert!(text.contains(part), "{text}");
    }
    let len = bytes.len();
    for other in [0u32, 1, 3, u32::MAX] {
        bytes[len - 12..len - 8].copy_from_slice(&other.to_le_bytes());
        let error = open(&bytes).unwrap_err();
        assert!(
            matches!(error, Error::UnsupportedVersion { found, .. } if found == other),
            "{error:?}"
        );
        assert!(
            error
                .to_string()
                .contains(&format!("has format version {other}, this release reads version 2")),
            "{error}"
        );
    }
    let error = open(
        b"#!/bin/sh\nthis is no table at all, but it is longer than a footer would be. Yes.\n",
    );
    assert!(error.unwrap_err().to_string().contains("not a table"));
}
