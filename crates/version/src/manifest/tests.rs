//! Manifests to bytes and back, and what every kind of damage to them does.

use std::path::Path;

use base::record::BLOCK_BYTES;
use base::{SegmentNumber, SeqNo};
use vfs::sim::SimFs;

use super::*;
use crate::levels::Family;
use crate::testing::{key, table};

const DIR: &str = "/";
const NUMBER: FileNumber = FileNumber::new(3);

/// A manifest with a snapshot of `tables` tables, to which edits that add one table each were appended; where each of
/// its parts ends, the snapshot first; and its bytes.
struct Sample {
    bytes: Vec<u8>,
    ends: Vec<u64>,
    states: Vec<String>,
}

fn sample(tables: u64, edits: u64) -> Sample {
    let fs = SimFs::new();
    let mut state = State::first(FileNumber::new(1_000_000));
    state.families.insert(FamilyId::new(5), Arc::new(Family::new(FamilyId::new(5), "five")));
    state.next_family = FamilyId::new(6);
    let mut index = TableIndex::default();
    let added = (1..=tables).map(|number| {
        let (family, key) = (FamilyId::new((number % 2 * 5) as u32), format!("{number:09}"));
        (family, (number % 3) as u32, table(number, &key, &key, 2))
    });
    let edit = VersionEdit {
        added_tables: added.collect(),
        flushed_seq: vec![(FamilyId::new(5), SeqNo::new(7))],
        log_from: Some(SegmentNumber::new(4)),
        last_seq: Some(SeqNo::new(8)),
        version: state.number.next(),
        ..VersionEdit::default()
    };
    index.commit(&state.apply(&edit, &index, vec![(); tables as usize]).unwrap());
    let mut manifest = LiveManifest::create(&fs, Path::new(DIR), NUMBER, &state).unwrap();
    let mut sample = Sample { bytes: Vec::new(), ends: vec![manifest.len()], states: vec![] };
    sample.states.push(format!("{state:?}"));
    for number in 0..edits {
        let added = table(500_000 + number, "k", "k", 100 + number);
        let edit = VersionEdit {
            added_tables: vec![(FamilyId::DEFAULT, 0, added)],
            version: state.number.next(),
            ..VersionEdit::default()
        };
        index.commit(&state.apply(&edit, &index, vec![()]).unwrap());
        manifest.append(&edit).unwrap();
        sample.ends.push(manifest.len());
        sample.states.push(format!("{state:?}"));
    }
    sample.bytes = vec![0; manifest.len() as usize];
    manifest.file.read_exact_at(&mut sample.bytes, 0).unwrap();
    assert_eq!(manifest.file.len().unwrap(), manifest.len());
    sample
}

fn read_bytes(bytes: &[u8]) -> Result<Contents, Error> {
    let fs = SimFs::new();
    let file = fs.create(&FileName::Manifest(NUMBER).path_in(Path::new(DIR))).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    read(&fs, Path::new(DIR), NUMBER)
}

#[test]
fn what_is_written_is_read() {
    for (tables, edits) in [(0, 0), (0, 5), (511, 1), (512, 0), (513, 3), (3000, 2)] {
        let sample = sample(tables, edits);
        let contents = read_bytes(&sample.bytes).unwrap();
        assert_eq!(format!("{:?}", contents.state), *sample.states.last().unwrap());
        assert_eq!((contents.tail, contents.edits), (Tail::Clean, edits));
    }
}

/// K: whatever byte is damaged, what is read is an error that names the place, or what stood before an edit that nothing
/// vouches for.
#[test]
fn every_flipped_bit_is_an_error_or_a_torn_tail() {
    let sample = sample(3, 3);
    let last_edit = sample.ends[2];
    for at in 0..sample.bytes.len() {
        for bit in 0..8 {
            let mut damaged = sample.bytes.clone();
            damaged[at] ^= 1 << bit;
            let place = format!("bit {bit} of byte {at}");
            match read_bytes(&damaged) {
                Ok(contents) => {
                    assert!(at as u64 >= last_edit, "{place}");
                    assert_eq!(format!("{:?}", contents.state), sample.states[2], "{place}");
                    let torn =
                        matches!(contents.tail, Tail::Torn { offset, .. } if offset == last_edit);
                    assert!(torn, "{place}: {:?}", contents.tail);
                }
                Err(Error::Damaged { offset, .. }) => {
                    assert!((at as u64) < last_edit, "{place}");
                    assert!(offset <= at as u64, "{place}: reported at {offset}");
                }
                Err(other) => panic!("{place}: {other}"),
            }
        }
    }
}

#[test]
fn every_truncation_is_an_error_or_a_torn_tail() {
    let sample = sample(3, 3);
    for len in 0..sample.bytes.len() as u64 {
        let whole = sample.ends.iter().filter(|&&end| end <= len).count();
        match read_bytes(&sample.bytes[..len as usize]) {
            Ok(contents) => {
                assert_eq!(format!("{:?}", contents.state), sample.states[whole - 1]);
                assert_eq!(contents.tail == Tail::Clean, sample.ends.contains(&len), "{len}");
            }
            Err(error) => {
                assert_eq!(whole, 0, "{len}: {error}");
                assert!(matches!(error, Error::Damaged { .. }), "{error}");
            }
        }
    }
}

/// Damage that hides where the next record starts: the edits behind it still say that it was synced.
#[test]
fn damage_in_the_middle_is_found_wherever_the_next_edit_starts() {
    let sample = sample(3, 1500);
    let (from, to) = (sample.ends[1] as usize, sample.ends[2] as usize);
    for fill in [0x00, 0xff, 0x01] {
        let mut damaged = sample.bytes.clone();
        damaged[from..to].fill(fill);
        let error = read_bytes(&damaged).unwrap_err();
        assert!(
            matches!(error, Error::Damaged { offset, .. } if offset == from as u64),
            "{fill:#x}: {error}"
        );
    }
    // All but the last edit, across blocks.
    assert!(sample.bytes.len() > 2 * BLOCK_BYTES);
    let mut damaged = sample.bytes.clone();
    damaged[from..sample.ends[1499] as usize].fill(0);
    assert!(matches!(read_bytes(&damaged), Err(Error::Damaged { .. })));
}

/// An edit of several blocks that was cut down in the middle of being written: its later chunks may be there without
/// its first one.
#[test]
fn the_later_chunks_of_a_torn_edit_do_not_vouch_for_it() {
    let fs = SimFs::new();
    let state: State<()> = State::first(FileNumber::new(1_000_000));
    let mut manifest = LiveManifest::create(&fs, Path::new(DIR), NUMBER, &state).unwrap();
    let start = manifest.len();
    let mut edit = VersionEdit { version: state.number.next(), ..VersionEdit::default() };
    for number in 0..2000 {
        let mut meta = table(10 + number, "", "", number);
        meta.smallest = key(format!("{number:050}").as_bytes(), number);
        meta.largest = meta.smallest.clone();
        edit.added_tables.push((FamilyId::DEFAULT, 0, meta));
    }
    manifest.append(&edit).unwrap();
    assert!(manifest.len() > 4 * BLOCK_BYTES as u64);
    let mut bytes = vec![0; manifest.len() as usize];
    manifest.file.read_exact_at(&mut bytes, 0).unwrap();
    bytes[start as usize + 20] ^= 1;
    let contents = read_bytes(&bytes).unwrap();
    assert!(matches!(contents.tail, Tail::Torn { offset, .. } if offset == start));
    assert_eq!(contents.state.number, state.number);
}

#[test]
fn another_files_manifest_and_newer_formats_are_told() {
    let sample = sample(1, 1);
    let fs = SimFs::new();
    let dir = Path::new(DIR);
    let other = FileNumber::new(4);
    let file = fs.create(&FileName::Manifest(other).path_in(dir)).unwrap();
    file.write_all_at(&sample.bytes, 0).unwrap();
    assert!(matches!(read(&fs, dir, other), Err(Error::Damaged { offset: 0, .. })));
    let missing = read(&fs, dir, NUMBER).unwrap_err();
    assert!(matches!(missing, Error::ManifestMissing { .. }), "{missing}");

    let records = |payloads: &[&[u8]]| {
        let mut bytes = Vec::new();
        for payload in payloads {
            let offset = bytes.len();
            bytes.resize(offset + framed_len(offset as u64, payload.len()) as usize, 0);
            encode(&mut bytes[offset..], offset as u64, salt(NUMBER), 0, &[payload]);
        }
        read_bytes(&bytes).unwrap_err()
    };
    let newer = records(&[b"PolderMF\x02and whatever format 2 has"]);
    assert!(matches!(newer, Error::NewerFormat { found: 2, supported: 1, .. }), "{newer}");
    let header = |number: u64, records: u32| {
        [&MAGIC[..], &[1], &number.to_le_bytes(), &records.to_le_bytes()].concat()
    };
    let newer = records(&[&header(3, 1), &[2]]);
    assert!(matches!(newer, Error::NewerFormat { found: 2, supported: 1, .. }), "{newer}");
    let unknown = records(&[&header(3, 1), &[1, 77, 0]]);
    assert!(matches!(unknown, Error::Edit { offset: 33, .. }), "{unknown}");
    let version_2 = &[1, 1, 1, 2];
    let cases: [(&[&[u8]], &str); 8] = [
        (&[b"PolderMF"], "a header without a format version"),
        (&[b"PolderMF\x01"], "a header of 9 bytes"),
        (&[b"NotOurs!\x01"], "a record without a manifest's first bytes"),
        (&[&header(4, 1)], "the number 4"),
        (&[&header(3, 1)], "the file ends here"),
        (&[&header(3, 1), &[1]], "the version 0"),
        (&[&header(3, 2), version_2, &[1, 1, 1, 3]], "the version 3"),
        (
            &[&header(3, 1), version_2],
            "expected a snapshot with the default family, found: one without",
        ),
    ];
    for (payloads, found) in cases {
        let error = records(payloads);
        assert!(
            matches!(error, Error::Damaged { .. }) && error.to_string().contains(found),
            "{error}"
        );
    }
    let default_family: &[u8] = &[1, 1, 1, 2, 3, 1, 1, 6, 3, 0, 1, b'd'];
    let misfit = records(&[&header(3, 1), default_family, &[1, 1, 1, 4]]);
    assert!(
        matches!(misfit, Error::Misfit { source: EditError::OutOfOrder { .. }, .. }),
        "{misfit}"
    );
}
