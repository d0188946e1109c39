//! Edits to bytes and back, and what is refused.

use base::{InternalKey, InternalKeyRef, LogPlace, ValueKind};
use proptest::prelude::*;

use super::*;
use crate::testing::table;

fn seqs() -> impl Strategy<Value = SeqNo> {
    (0..=SeqNo::MAX.get()).prop_map(SeqNo::new)
}

fn families() -> impl Strategy<Value = FamilyId> {
    any::<u32>().prop_map(FamilyId::new)
}

fn keys() -> impl Strategy<Value = InternalKey> {
    (prop::collection::vec(any::<u8>(), 0..40), seqs(), 0u8..4).prop_map(|(key, seq, kind)| {
        InternalKeyRef::new(&key, seq, ValueKind::try_from(kind).unwrap()).to_owned()
    })
}

fn tables() -> impl Strategy<Value = TableMeta> {
    (any::<[u64; 3]>(), 1u64.., any::<prop::sample::Index>(), [keys(), keys()], [seqs(), seqs()])
        .prop_map(|([number, file_bytes, created], entries, tombstones, mut keys, mut seqs)| {
            keys.sort();
            seqs.sort();
            let [smallest, largest] = keys;
            TableMeta {
                number: FileNumber::new(number),
                file_bytes,
                entries,
                tombstones: tombstones.index(usize::MAX) as u64 % entries,
                smallest,
                largest,
                min_seq: seqs[0],
                max_seq: seqs[1],
                created: VersionNumber::new(created),
            }
        })
}

prop_compose! {
    fn edits()(
        added_families in prop::collection::vec((families(), "\\PC{1,20}"), 0..3),
        dropped_families in prop::collection::vec(families(), 0..3),
        added_tables in prop::collection::vec((families(), 0..LEVELS_MAX, tables()), 0..4),
        removed_tables in prop::collection::vec((families(), 0..LEVELS_MAX, any::<u64>()), 0..4),
        log_from in any::<Option<u64>>(),
        log_durable in any::<Option<(u64, u64)>>(),
        flushed_seq in prop::collection::vec((families(), seqs()), 0..3),
        next_file in any::<Option<u64>>(),
        last_seq in prop::option::of(seqs()),
        next_family in prop::option::of(families()),
        version in any::<Option<u64>>(),
    ) -> VersionEdit {
        VersionEdit {
            added_families,
            dropped_families,
            added_tables,
            removed_tables: removed_tables
                .into_iter()
                .map(|(family, level, number)| (family, level, FileNumber::new(number)))
                .collect(),
            log_from: log_from.map(SegmentNumber::new),
            log_durable: log_durable.map(|(segment, offset)| LogPlace {
                segment: SegmentNumber::new(segment),
                offset,
            }),
            flushed_seq,
            next_file: next_file.map(FileNumber::new),
            last_seq,
            next_family,
            version: version.map(VersionNumber::new),
        }
    }
}

fn encoded(edit: &VersionEdit) -> Vec<u8> {
    let mut bytes = Vec::new();
    edit.encode_to(&mut bytes);
    bytes
}

proptest! {
    #[test]
    fn edits_round_trip(edit in edits()) {
        prop_assert_eq!(VersionEdit::decode(&encoded(&edit)), Ok(edit));
    }

    #[test]
    fn a_cut_edit_is_refused_or_lacks_its_last_fields(edit in edits(), at in any::<prop::sample::Index>()) {
        let bytes = encoded(&edit);
        let cut = at.index(bytes.len());
        match VersionEdit::decode(&bytes[..cut]) {
            // The framing's checksums keep such an edit from being met.
            Ok(less) => prop_assert_eq!(encoded(&less), &bytes[..cut]),
            Err(DecodeError::Truncated { at }) => prop_assert!(at <= cut),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), edit in edits(), at: usize, to: u8) {
        let _answer = VersionEdit::decode(&bytes);
        if let Some(first) = bytes.first_mut() {
            *first = FORMAT_VERSION;
        }
        let _answer = VersionEdit::decode(&bytes);
        let mut damaged = encoded(&edit);
        let at = at % damaged.len();
        damaged[at] = to;
        let _answer = VersionEdit::decode(&damaged);
    }
}

fn refusal(bytes: &[u8]) -> String {
    VersionEdit::decode(bytes).unwrap_err().to_string()
}

#[test]
fn what_is_unknown_or_wrong_is_named_with_its_place() {
    let cases: [(&[u8], &str); 13] = [
        (&[], "the edit is cut off at its byte 0"),
        (&[2], "the edit has format version 2, this program reads 1"),
        (&[1, 99, 0], "the edit has a field of the unknown kind 99 at its byte 1"),
        (&[1, 0x80], "the edit is cut off at its byte 1"),
        (&[1, 2, 5, 1], "the edit is cut off at its byte 2"),
        (
            &[1, 2, 1, 7, 2, 1, 8],
            "the field \"next file\" at byte 4 of the edit stands there twice",
        ),
        (
            &[1, 2, 2, 7, 7],
            "the field \"next file\" at byte 1 of the edit is wrong: bytes are left over",
        ),
        (&[1, 2, 0], "the field \"next file\" at byte 1 of the edit is wrong: it is cut off"),
        (
            &[1, 10, 3, 0, 16, 1],
            "the field \"removed table\" at byte 1 of the edit is wrong: there is no such level",
        ),
        (
            &[1, 6, 2, 1, 0],
            "the field \"added family\" at byte 1 of the edit is wrong: a family's name has 1 to 255 bytes",
        ),
        (
            &[1, 6, 3, 1, 1, 0xff],
            "the field \"added family\" at byte 1 of the edit is wrong: a family's name is UTF-8",
        ),
        (
            &[1, 4, 9, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1],
            "the field \"last sequence number\" at byte 1 of the edit is wrong: a sequence number has 56 bits",
        ),
        (
            &[1, 9, 8, 0, 0, 1, 1, 1, 0, 1, 9],
            "the field \"added table\" at byte 1 of the edit is wrong: not an internal key",
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(refusal(bytes), expected);
    }
}

#[test]
fn a_table_that_cannot_be_is_refused() {
    let good = table(7, "b", "c", 5);
    type Spoil = fn(&mut TableMeta);
    let faults: [(&str, Spoil); 4] = [
        ("its smallest key is above its largest", |t| t.smallest.user_key = (*b"d").into()),
        ("its least sequence number is above its greatest", |t| t.min_seq = SeqNo::new(6)),
        ("it has no entries", |t| t.entries = 0),
        ("it has more tombstones than entries", |t| t.tombstones = 11),
    ];
    for (fault, break_it) in faults {
        let mut meta = good.clone();
        break_it(&mut meta);
        assert_eq!(meta.fault(), Some(fault));
        let edit =
            VersionEdit { added_tables: vec![(FamilyId::DEFAULT, 0, meta)], ..Default::default() };
        assert!(refusal(&encoded(&edit)).ends_with(fault));
    }
    assert_eq!(good.fault(), None);
}
