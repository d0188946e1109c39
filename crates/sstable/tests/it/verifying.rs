//! Verification finds what checksums cannot: tables whose bytes are those written, but whose writer was wrong.

use crate::common::*;
use crate::largest;
use base::{Cursor, SeqNo, ValueKind};
use sstable::{Compression, Corruption, Error, Table, TableOptions};
use std::sync::Arc;

fn faults(table: &Arc<Table>) -> Vec<Corruption> {
    let mut faults = Vec::new();
    let seen = table.verify_all(&mut |error| match error {
        Error::Corrupt(corruption) => faults.push(*corruption),
        other => panic!("{other:?}"),
    });
    assert_eq!(seen.faults as usize, faults.len());
    assert_eq!(table.verify().is_err(), !faults.is_empty());
    faults
}

fn sample() -> (Vec<u8>, Vec<Entry>) {
    let entries: Vec<_> =
        (0..200u64).map(|n| put(format!("key{n:05}"), 1000 + n, vec![n as u8; 20])).collect();
    let options = TableOptions { compression: Compression::None, ..tiny_options() };
    (table_bytes(options, &entries), entries)
}

#[test]
fn a_sound_table_has_no_faults_and_all_is_looked_at() {
    let (bytes, entries) = sample();
    let table = open(&bytes).unwrap();
    let seen = table.verify_all(&mut |error| panic!("{error}"));
    let properties = table.properties();
    assert_eq!(seen.entries, entries.len() as u64);
    assert_eq!(seen.blocks, properties.data_blocks + 2 * properties.partitions + 2);
    assert_eq!(properties.raw_key_bytes, 200 * 8);
    assert_eq!((properties.min_seq.get(), properties.max_seq.get()), (1000, 1199));
    assert_eq!(properties.smallest, key(b"key00000", 1000, ValueKind::Put));
    assert_eq!(properties.largest, key(b"key00199", 1199, ValueKind::Put));
}

/// Each damaged block is reported, not only the first.
#[test]
fn every_fault_is_reported() {
    let (mut bytes, _) = sample();
    let damaged: Vec<_> =
        blocks(&bytes).into_iter().filter(|block| block.2 == 1).step_by(7).collect();
    for &(start, ..) in &damaged {
        bytes[start + 5] ^= 1;
    }
    let faults = faults(&open(&bytes).unwrap());
    let data = Some(sstable::BlockKind::Data);
    let offsets: Vec<_> = faults.iter().map(|fault| fault.offset as usize).collect();
    assert!(damaged.len() > 2);
    assert_eq!(offsets, damaged.iter().map(|block| block.0).collect::<Vec<_>>());
    assert!(faults.iter().all(|fault| fault.block == data && fault.found.contains("checksum")));
}

/// Makes the checksum of the block that ends at `end` fit its contents again, as a faulty writer would have.
fn reseal(bytes: &mut [u8], start: usize, end: usize) {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[start..end - 4]);
    crc.update(&(start as u64).to_le_bytes());
    crc.update(&0u64.to_le_bytes());
    bytes[end - 4..end].copy_from_slice(&crc.finalize().to_le_bytes());
}

/// Where the blocks of `bytes` begin and end, found by their checksums alone.
fn blocks(bytes: &[u8]) -> Vec<(usize, usize, u8)> {
    let mut blocks = Vec::new();
    let mut start = 0;
    for end in 0..bytes.len() - 72 {
        if end >= start + 10 {
            let mut copy = bytes[start..=end].to_vec();
            let len = copy.len();
            let mut whole = vec![0; start];
            whole.append(&mut copy);
            reseal(&mut whole, start, start + len);
            if whole[start..] == bytes[start..=end] {
                blocks.push((start, end + 1, bytes[end - 5]));
                start = end + 1;
            }
        }
    }
    assert_eq!(start, bytes.len() - 72);
    blocks
}

/// Every byte of a block of each kind changed, with a checksum that fits: nothing panics, reads give answers or
/// errors; and where verification has no complaint, all reads agree with each other (other values, for instance).
#[test]
fn a_block_that_was_written_wrong_never_makes_a_panic() {
    let (good, entries) = sample();
    let (mut passed, mut refused) = (0, 0);
    for kind in 1..=5 {
        let &(start, end, _) = blocks(&good).iter().find(|block| block.2 == kind).unwrap();
        for at in start..end - 4 {
            for mask in [0x01, 0xff] {
                let mut bytes = good.clone();
                bytes[at] ^= mask;
                reseal(&mut bytes, start, end);
                let Ok(table) = open(&bytes) else { continue };
                let ((forward, backward, within, gets, faults), largest) =
                    largest::allocation(|| {
                        let gets =
                            entries.iter().map(|(key, _)| table.get(&key.user_key, SeqNo::MAX));
                        let gets: Vec<_> = gets.collect();
                        let mut cursor = table.cursor();
                        for (key, _) in entries.iter().step_by(5) {
                            // From a place that can be read, often next to it, to one that perhaps cannot.
                            if cursor.seek(key.as_ref()).is_err() {
                                assert!(!cursor.is_valid());
                            }
                        }
                        let (ascending, descending) = (forward(&mut cursor), backward(&mut cursor));
                        let bound = |place: usize| entries[place].0.user_key.to_vec().into();
                        cursor.set_bounds(Some(bound(50)), Some(bound(150)));
                        let within = [forward(&mut cursor), backward(&mut cursor)];
                        (ascending, descending, within, gets, faults(&table))
                    });
                assert!(largest < 256 << 10, "{largest} bytes for byte {at} ^ {mask:02x}");
                if !faults.is_empty() {
                    refused += 1;
                    continue;
                }
                passed += 1;
                let all = forward.unwrap();
                let is_within = |(key, _): &&Entry| {
                    (&entries[50].0.user_key..&entries[150].0.user_key).contains(&&key.user_key)
                };
                for some in within.map(Result::unwrap) {
                    assert!(some.iter().filter(is_within).eq(all.iter().filter(is_within)));
                }
                assert!(all == backward.unwrap() && all.len() == entries.len());
                for (entry, get) in all.iter().zip(gets) {
                    let found = get.unwrap().map(|found| (found.seq, found.value.to_vec()));
                    let is_same_key =
                        entries.iter().any(|(key, _)| key.user_key == entry.0.user_key);
                    assert!(!is_same_key || found == Some((entry.0.seq, entry.1.clone())));
                }
            }
        }
    }
    assert!(passed > 0 && refused > 2 * passed, "{passed} pass, {refused} do not");
}

/// How many restarts a block has. Behind the count stands the trailer.
fn restarts(block: &[u8]) -> usize {
    block[block.len() - 10 - 4] as usize
}

/// Where a block says of its restarts where they are. Behind it: common bytes and their length, the count.
fn places(block: &[u8]) -> usize {
    let common_len = block.len() - 10 - 5;
    common_len - block[common_len] as usize - 8 * restarts(block)
}

/// Where a block's first entry begins.
fn first_entry(block: &[u8]) -> usize {
    let at = places(block);
    u16::from_le_bytes([block[at], block[at + 1]]).into()
}

#[test]
fn indexes_filters_and_counts_that_do_not_fit_the_entries_are_reported() {
    let (good, _) = sample();
    let blocks = blocks(&good);
    let fault_after = |kind: u8, change: &dyn Fn(&mut [u8])| {
        let &(start, end, _) = blocks.iter().find(|block| block.2 == kind).unwrap();
        let mut bytes = good.clone();
        change(&mut bytes[start..end]);
        reseal(&mut bytes, start, end);
        let faults = faults(&open(&bytes).unwrap());
        assert!(!faults.is_empty());
        faults[0].clone()
    };
    // A filter without a bit knows none of its keys.
    let fault = fault_after(4, &|block| block[..64].fill(0));
    assert!(fault.expected.contains("every key of its partition"), "{fault}");
    // The first property's value: how many entries there are.
    let fault = fault_after(5, &|block| block[2] ^= 1);
    assert!(fault.expected.contains("properties"), "{fault}");
    // The last byte of the last restart's prefix.
    let fault = fault_after(1, &|block| block[places(block) - 1] ^= 1);
    assert!(fault.expected.contains("prefix"), "{fault}");
    // A byte of the first key: it is then above the next.
    let fault = fault_after(1, &|block| block[first_entry(block) + 3] = b'l');
    assert!(fault.expected.contains("ascending") || fault.expected.contains("prefix"), "{fault}");
    // Where the second restart's value is, in a data block and in an index.
    let fault = fault_after(1, &|block| block[places(block) + 8 + 4] -= 1);
    assert!(fault.expected.contains("restarts that are entries"), "{fault}");
    let fault = fault_after(2, &|block| block[places(block) + 8 + 4] -= 1);
    assert!(fault.expected.contains("index entries in order"), "{fault}");
    // The length of the last value: a byte is left over. The entry's end is a key's last byte, two of the number, a tag.
    let fault = fault_after(1, &|block| {
        let entries_end = places(block) - 8 * restarts(block);
        assert_eq!(block[entries_end - 5], 20);
        block[entries_end - 5] -= 1;
    });
    assert!(fault.expected.contains("values up to the first entry"), "{fault}");
}

/// A footer whose checksum fits, but which says what cannot be: refused, and nothing is allocated for it.
#[test]
fn impossible_footers_are_refused() {
    let (good, _) = sample();
    let refused = |at: usize, field: &[u8]| {
        let mut bytes = good.clone();
        let footer = bytes.len() - 72;
        bytes[footer + at..][..field.len()].copy_from_slice(field);
        let mut crc = crc32fast::Hasher::new();
        crc.update(&bytes[footer..footer + 56]);
        crc.update(&bytes[footer + 60..]);
        bytes[footer + 56..footer + 60].copy_from_slice(&crc.finalize().to_le_bytes());
        let (opened, largest) = largest::allocation(|| open(&bytes));
        assert!(largest < 64 << 10, "{largest} bytes");
        opened.map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(refused(44, &0u64.to_le_bytes()), Ok(()), "the salt is 0 anyway");
    for (at, field, part) in [
        (8, &0x7fff_ffff_u32.to_le_bytes()[..], "a block that ends before the footer"),
        (20, &u32::MAX.to_le_bytes(), "a block that ends before the footer"),
        (12, &u64::MAX.to_le_bytes(), "a block that ends before the footer"),
        (32, &10u32.to_le_bytes(), "no block of range tombstones"),
        (36, &1u64.to_le_bytes(), "a file as long as it was written"),
        (44, &1u64.to_le_bytes(), "checksum"),
        (52, &1u32.to_le_bytes(), "no feature flags"),
    ] {
        let error = refused(at, field).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}

/// A whole block of one kind in the place of another.
#[test]
fn a_block_of_another_kind_is_refused() {
    let (good, _) = sample();
    for (start, end, kind) in blocks(&good) {
        for other in (0..7).filter(|&other| other != kind) {
            let mut bytes = good.clone();
            bytes[end - 6] = other;
            reseal(&mut bytes, start, end);
            let error = open(&bytes).and_then(|table| table.verify()).unwrap_err().to_string();
            assert!(error.contains(&format!("kind code {other}")), "{error}");
        }
    }
}

/// A filter partition that the top index does not name: no read misses it, but the file holds what it should not.
#[test]
fn blocks_that_nothing_leads_to_are_reported() {
    let (mut bytes, _) = sample();
    let blocks = blocks(&bytes);
    let &(filter, filter_end, _) = blocks.iter().rfind(|block| block.2 == 4).unwrap();
    let &(top, top_end, _) = blocks.iter().find(|block| block.2 == 3).unwrap();
    let len = (filter_end - filter - 10) as u8;
    let handle = [filter as u8 | 0x80, (filter >> 7) as u8 | 0x80, (filter >> 14) as u8, len];
    let handle =
        if filter < 1 << 14 { vec![handle[0], handle[1] & 0x7f, len] } else { handle.into() };
    let at = top + bytes[top..top_end].windows(handle.len()).position(|w| w == handle).unwrap();
    // Offset 0, in as many bytes, and length 0 stand for "none".
    bytes[at..at + handle.len() - 2].fill(0x80);
    bytes[at + handle.len() - 2..at + handle.len()].fill(0);
    reseal(&mut bytes, top, top_end);
    let table = open(&bytes).unwrap();
    assert_eq!(forward(&mut table.cursor()).unwrap().len(), 200);
    let faults = faults(&table);
    assert!(faults[0].expected.contains("begins where the one before it ends"), "{}", faults[0]);
}
