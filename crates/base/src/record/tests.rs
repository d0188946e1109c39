//! Tests of the framing: what is written is read, and nothing else.

use super::*;
use proptest::prelude::*;
use std::convert::Infallible;

const SALT: u32 = 9;

fn read_from(file: &[u8]) -> impl FnMut(u64, &mut [u8]) -> Result<usize, Infallible> + '_ {
    |at, buf| {
        let rest = file.get(at as usize..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}

fn append(file: &mut Vec<u8>, payload: &[u8], vouched: u32) {
    let offset = file.len() as u64;
    let len = framed_len(offset, payload.len()) as usize;
    let start = file.len();
    file.resize(start + len, 0xEE);
    let (a, b) = payload.split_at(payload.len() / 3);
    encode(&mut file[start..], offset, SALT, vouched, &[a, &[], b]);
}

fn read_all(file: &[u8]) -> (Vec<Vec<u8>>, Stop) {
    let mut reader = RecordReader::new(SALT, 0, read_from(file));
    let mut records = Vec::new();
    loop {
        match reader.next_record().unwrap() {
            Ok(record) => records.push(record.payload.to_vec()),
            Err(stop) => return (records, stop),
        }
    }
}

fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let sizes = prop_oneof![
        4 => 0usize..300,
        2 => (BLOCK_BYTES - 40)..(BLOCK_BYTES + 40),
        1 => 0usize..4 * BLOCK_BYTES,
    ];
    prop::collection::vec((sizes, any::<u8>()), 0..12)
        .prop_map(|list| list.into_iter().map(|(len, byte)| vec![byte; len]).collect())
}

proptest! {
    #[test]
    fn what_is_written_is_read(payloads in payloads()) {
        let mut file = Vec::new();
        for payload in &payloads {
            append(&mut file, payload, 0);
        }
        let (records, stop) = read_all(&file);
        prop_assert_eq!(&records, &payloads);
        prop_assert_eq!((stop.good_until, stop.reason), (file.len() as u64, Reason::End));
    }

    #[test]
    fn the_length_is_what_the_chunks_add_up_to(offset in 0u64..3 * BLOCK_BYTES as u64, len in 0usize..200_000) {
        let last = pieces(offset, len).last().unwrap();
        prop_assert_eq!(framed_len(offset, len), (last.header + HEADER_BYTES + last.payload.len()) as u64);
        prop_assert_eq!(last.payload.end, len);
    }

    #[test]
    fn a_truncated_file_gives_a_prefix(payloads in payloads(), cut in any::<prop::sample::Index>()) {
        let mut file = Vec::new();
        for payload in &payloads {
            append(&mut file, payload, 0);
        }
        let cut = cut.index(file.len() + 1);
        let (records, stop) = read_all(&file[..cut]);
        prop_assert!(payloads.starts_with(&records));
        prop_assert!(stop.good_until <= cut as u64);
        if cut < file.len() {
            prop_assert!(records.len() < payloads.len());
        }
    }

    #[test]
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..2000)) {
        let (records, _) = read_all(&noise);
        prop_assert!(records.is_empty());
    }
}

#[test]
fn every_flipped_byte_is_seen() {
    let mut file = Vec::new();
    for len in [0usize, 1, 40, 200] {
        append(&mut file, &vec![len as u8; len], 0);
    }
    let (whole, _) = read_all(&file);
    for at in 0..file.len() {
        for bit in [0x01, 0x80] {
            let mut damaged = file.clone();
            damaged[at] ^= bit;
            let (records, stop) = read_all(&damaged);
            assert!(whole.starts_with(&records) && records.len() < whole.len(), "flip at {at}");
            assert_ne!(stop.reason, Reason::End, "flip at {at}");
        }
    }
}

#[test]
fn another_salt_reads_nothing() {
    let mut file = Vec::new();
    append(&mut file, b"old", 0);
    let mut reader = RecordReader::new(SALT + 1, 0, read_from(&file));
    assert!(matches!(
        reader.next_record().unwrap(),
        Err(Stop { reason: Reason::Checksum { .. }, .. })
    ));
}

#[test]
fn an_aborted_place_is_passed_over_whatever_it_holds() {
    let mut file = Vec::new();
    append(&mut file, b"before", 0);
    let offset = file.len() as u64;
    let len = 3 * BLOCK_BYTES;
    file.resize(file.len() + framed_len(offset, len) as usize, 0xAB);
    for (at, header) in abort(offset, len, SALT, 0) {
        file[at as usize..at as usize + HEADER_BYTES].copy_from_slice(&header);
    }
    append(&mut file, b"after", 0);
    assert_eq!(read_all(&file).0, [b"before".to_vec(), b"after".to_vec()]);
}

#[test]
fn resync_finds_the_next_record_behind_damage_and_what_it_vouches_for() {
    let mut file = Vec::new();
    append(&mut file, &[1; 100], 0);
    let damaged = file.len();
    append(&mut file, &vec![2; 2 * BLOCK_BYTES], 0);
    append(&mut file, b"found again", 4242);
    file[damaged + 20] ^= 1;
    let mut reader = RecordReader::new(SALT, 0, read_from(&file));
    assert_eq!(reader.next_record().unwrap().unwrap().payload, [1; 100]);
    let stop = reader.next_record().unwrap().unwrap_err();
    assert_eq!((stop.offset, stop.good_until), (damaged as u64, damaged as u64));
    assert!(reader.resync(stop.offset).unwrap());
    assert_eq!(reader.next_record().unwrap().unwrap().payload, b"found again");
    assert_eq!(reader.vouched(), 4242);
    assert!(!reader.resync(file.len() as u64).unwrap());
}

#[test]
fn zeros_are_unwritten_and_a_missing_end_is_truncated() {
    let mut file = Vec::new();
    append(&mut file, b"x", 0);
    file.resize(5000, 0);
    assert_eq!(read_all(&file).1.reason, Reason::Unwritten);
    let mut file = Vec::new();
    append(&mut file, &vec![7; BLOCK_BYTES], 0);
    file.truncate(BLOCK_BYTES);
    assert_eq!(read_all(&file).1.reason, Reason::Truncated);
}

#[test]
fn resync_goes_on_within_the_damaged_block() {
    let mut file = Vec::new();
    append(&mut file, &[1; 100], 0);
    append(&mut file, &[2; 100], 0);
    append(&mut file, &[3; 100], 77);
    file[HEADER_BYTES / 2] ^= 0xFF;
    let mut reader = RecordReader::new(SALT, 0, read_from(&file));
    let stop = reader.next_record().unwrap().unwrap_err();
    assert!(reader.resync(stop.offset).unwrap());
    assert_eq!(reader.next_record().unwrap().unwrap().payload, [2; 100]);
    assert_eq!(reader.next_record().unwrap().unwrap().payload, [3; 100]);
}

#[test]
fn a_survey_sees_what_stands_behind_and_what_it_vouches_for() {
    let mut file = Vec::new();
    append(&mut file, &[1; 100], 0);
    let behind = file.len() as u64;
    append(&mut file, &vec![2; 3 * BLOCK_BYTES], 112);
    append(&mut file, &[3; 10], 4242);
    file.resize(6 * BLOCK_BYTES, 0);
    let mut reader = RecordReader::new(SALT, 0, read_from(&file));
    assert_eq!(reader.survey(behind + 1).unwrap(), Survey { written: true, chunks: 4 });
    assert_eq!(reader.vouched(), 4242);
    let mut reader = RecordReader::new(SALT, 0, read_from(&file));
    let survey = reader.survey(5 * BLOCK_BYTES as u64).unwrap();
    assert_eq!(survey, Survey { written: false, chunks: 0 });
    assert_eq!(reader.vouched(), 0);
}

/// What stands in order is found wherever damage ends; a chunk in the middle of a block far behind, which no chunk leads
/// to, is old content where there can be such.
#[test]
fn among_old_content_every_byte_is_tried_near_the_end_only() {
    let chunk_at = |offset: usize, vouched, is_used: bool| {
        let mut file = vec![0xEE; 5 * BLOCK_BYTES];
        let len = framed_len(offset as u64, 10) as usize;
        encode(&mut file[offset..offset + len], offset as u64, SALT, vouched, &[&[1; 10]]);
        let mut reader = RecordReader::new(SALT, 100, read_from(&file));
        if is_used {
            reader.expect_old_content();
        }
        (reader.survey(100).unwrap().chunks, reader.vouched())
    };
    for found in [333, 2 * BLOCK_BYTES - 50, 3 * BLOCK_BYTES, 4 * BLOCK_BYTES] {
        assert_eq!(chunk_at(found, 77, true), (1, 77), "{found}");
    }
    for old in [2 * BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 1000] {
        assert_eq!(chunk_at(old, 77, true), (0, 0), "{old}");
        assert_eq!(chunk_at(old, 77, false), (1, 77), "{old}");
    }
    // From chunk to chunk within a block, and over its end.
    let mut file = vec![0xEE; 3 * BLOCK_BYTES];
    for payload in [20, BLOCK_BYTES, 30] {
        append(&mut file, &vec![2; payload], 0);
    }
    let mut reader = RecordReader::new(SALT, 0, read_from(&file));
    reader.expect_old_content();
    assert_eq!(reader.survey(0).unwrap().chunks, 4);
}

#[test]
fn a_copy_of_the_file_inside_a_payload_is_not_taken_for_chunks() {
    let mut inner = Vec::new();
    append(&mut inner, &[1; 100], 0);
    append(&mut inner, &[2; 100], 100);
    let mut file = Vec::new();
    append(&mut file, &inner, 0);
    file[0] ^= 1;
    let mut reader = RecordReader::new(SALT, 0, read_from(&file));
    assert_eq!(reader.survey(0).unwrap(), Survey { written: true, chunks: 0 });
    assert_eq!(reader.vouched(), 0);
    assert!(!reader.resync(0).unwrap());
}

#[test]
fn an_error_of_emit_ends_encoding() {
    let mut calls = 0;
    let done = encode_with(0, SALT, 0, &[&[0; 3 * BLOCK_BYTES]], |_| {
        calls += 1;
        if calls == 2 { Err("full") } else { Ok(()) }
    });
    assert_eq!((done, calls), (Err("full"), 2));
}
