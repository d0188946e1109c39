//! Edits against states: what is refused, and what the accepted ones do.

use super::*;
use crate::testing::table;

const DEFAULT: FamilyId = FamilyId::DEFAULT;

/// A state with tables 1 and 2 in level 1 and 3 in level 0 of the default family, 4 in level 0 of family 1.
fn sample() -> (State<u64>, TableIndex) {
    let mut state = State::first(FileNumber::new(20));
    state.next_family = FamilyId::new(3);
    let mut index = TableIndex::default();
    let edit = VersionEdit {
        added_families: vec![(FamilyId::new(1), "one".to_owned())],
        added_tables: vec![
            (DEFAULT, 1, table(1, "a", "c", 1)),
            (DEFAULT, 1, table(2, "d", "f", 2)),
            (DEFAULT, 0, table(3, "a", "z", 9)),
            (FamilyId::new(1), 0, table(4, "a", "z", 8)),
        ],
        log_from: Some(SegmentNumber::new(5)),
        last_seq: Some(SeqNo::new(9)),
        flushed_seq: vec![(DEFAULT, SeqNo::new(9))],
        ..following(&state)
    };
    let changes = state.apply(&edit, &index, vec![1, 2, 3, 4]).unwrap();
    index.commit(&changes);
    (state, index)
}

fn following<H>(state: &State<H>) -> VersionEdit {
    VersionEdit { version: state.number.next(), ..VersionEdit::default() }
}

fn places(state: &State<u64>) -> Vec<(u32, usize, u64, u64)> {
    let mut places = Vec::new();
    for (id, family) in &state.families {
        for (level, tables) in family.levels.levels().enumerate() {
            places.extend(tables.iter().map(|t| (id.get(), level, t.meta.number.get(), t.handle)));
        }
    }
    places
}

#[test]
fn tables_come_go_and_move() {
    let (mut state, mut index) = sample();
    let before = state.clone();
    let moved = Arc::clone(&state.families[&DEFAULT].levels.level(1)[0]);
    let mut edit = VersionEdit {
        removed_tables: vec![(DEFAULT, 0, FileNumber::new(3))],
        added_tables: vec![(DEFAULT, 1, table(7, "g", "h", 9))],
        ..following(&state)
    };
    edit.move_table(DEFAULT, 1, 2, &moved.meta);
    assert_eq!((edit.added_tables.len(), edit.new_tables()), (2, 1));
    let changes = state.apply(&edit, &index, vec![7]).unwrap();
    index.commit(&changes);
    assert_eq!(places(&state), [(0, 1, 2, 2), (0, 1, 7, 7), (0, 2, 1, 1), (1, 0, 4, 4)]);
    assert_eq!(changes.dropped, [FileNumber::new(3)]);
    assert_eq!(index.places, TableIndex::of(&state).places);
    assert!(Arc::ptr_eq(&moved, &state.families[&DEFAULT].levels.level(2)[0]));
    // The version before is what it was, and shares what did not change.
    assert_eq!(places(&before), [(0, 0, 3, 3), (0, 1, 1, 1), (0, 1, 2, 2), (1, 0, 4, 4)]);
    let one = FamilyId::new(1);
    assert!(Arc::ptr_eq(&before.families[&one], &state.families[&one]));
}

#[test]
fn a_dropped_family_takes_its_tables_along() {
    let (mut state, mut index) = sample();
    let edit = VersionEdit {
        dropped_families: vec![FamilyId::new(1)],
        added_families: vec![(FamilyId::new(2), "one".to_owned())],
        ..following(&state)
    };
    let changes = state.apply(&edit, &index, vec![]).unwrap();
    index.commit(&changes);
    assert_eq!(changes.dropped, [FileNumber::new(4)]);
    assert!(!index.contains(FileNumber::new(4)));
    assert_eq!(state.families.keys().map(|id| id.get()).collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn the_version_number_has_to_follow() {
    let (state, index) = sample();
    for version in [None, Some(state.number), Some(VersionNumber::new(4))] {
        let edit = VersionEdit { version, ..VersionEdit::default() };
        let refused = state.clone().apply(&edit, &index, vec![]).unwrap_err();
        assert_eq!(
            refused,
            EditError::OutOfOrder { expected: VersionNumber::new(3), found: version }
        );
    }
}

// R5: what does not fit is refused, whatever it is.
#[test]
fn edits_that_do_not_fit_are_refused() {
    type Spoil = fn(&mut VersionEdit);
    let cases: Vec<(&str, Spoil)> = vec![
        ("table 1 is there already", |e| e.added_tables.push((DEFAULT, 0, table(1, "a", "b", 9)))),
        ("table 8 is there already", |e| {
            e.added_tables.extend([0, 1].map(|level| (DEFAULT, level, table(8, "x", "y", 9))));
        }),
        ("there is no table 9 in level 0 of family 0 to remove", |e| {
            e.removed_tables.push((DEFAULT, 0, FileNumber::new(9)));
        }),
        ("there is no table 1 in level 0 of family 0 to remove", |e| {
            e.removed_tables.push((DEFAULT, 0, FileNumber::new(1)));
        }),
        ("there is no table 1 in level 1 of family 1 to remove", |e| {
            e.removed_tables.push((FamilyId::new(1), 1, FileNumber::new(1)));
        }),
        ("there is no table 1 in level 1 of family 0 to remove", |e| {
            e.removed_tables.extend([(DEFAULT, 1, FileNumber::new(1)); 2]);
        }),
        ("tables 2 and 8 of level 1 overlap", |e| {
            e.added_tables.push((DEFAULT, 1, table(8, "f", "g", 9)));
        }),
        ("table 20 has a number that was not handed out; the next one is 20", |e| {
            e.added_tables.push((DEFAULT, 0, table(20, "f", "g", 9)));
        }),
        ("table 8 cannot be in level 16: the deepest is 15", |e| {
            e.added_tables.push((DEFAULT, 16, table(8, "f", "g", 9)));
        }),
        ("table 8 cannot be added: its smallest key is above its largest", |e| {
            e.added_tables.push((DEFAULT, 0, table(8, "g", "f", 9)));
        }),
        ("table 8 cannot be added: its creation version is not one of this database's", |e| {
            let meta = TableMeta { created: VersionNumber::new(4), ..table(8, "f", "g", 9) };
            e.added_tables.push((DEFAULT, 0, meta));
        }),
        ("table 1 cannot be added: a table that moves keeps its family and its figures", |e| {
            e.move_table(DEFAULT, 1, 2, &TableMeta { file_bytes: 1, ..table(1, "a", "c", 1) });
        }),
        ("table 1 cannot be added: a table that moves keeps its family and its figures", |e| {
            e.removed_tables.push((DEFAULT, 1, FileNumber::new(1)));
            e.added_tables.push((FamilyId::new(1), 1, table(1, "a", "c", 1)));
        }),
        ("there is no family 7", |e| {
            e.added_tables.push((FamilyId::new(7), 0, table(8, "f", "g", 9)));
        }),
        ("there is no family 7", |e| e.flushed_seq.push((FamilyId::new(7), SeqNo::new(1)))),
        ("there is no family 7", |e| e.dropped_families.push(FamilyId::new(7))),
        ("the default family cannot be dropped", |e| e.dropped_families.push(DEFAULT)),
        ("family 2 cannot be added under the name \"one\": another family has that name", |e| {
            e.added_families.push((FamilyId::new(2), "one".to_owned()));
        }),
        ("family 1 cannot be added under the name \"two\": another family has that id", |e| {
            e.added_families.push((FamilyId::new(1), "two".to_owned()));
        }),
        ("family 3 cannot be added under the name \"two\": its id was not handed out", |e| {
            e.added_families.push((FamilyId::new(3), "two".to_owned()));
        }),
        ("family 2 cannot be added under the name \"\": a name has 1 to 255 bytes", |e| {
            e.added_families.push((FamilyId::new(2), String::new()));
        }),
        ("the first log segment cannot go back from 5 to 4", |e| {
            e.log_from = Some(SegmentNumber::new(4));
        }),
        ("the last sequence number cannot go back from 9 to 8", |e| {
            e.last_seq = Some(SeqNo::new(8));
        }),
        ("the next file number cannot go back from 20 to 19", |e| {
            e.next_file = Some(FileNumber::new(19));
        }),
        ("the next family id cannot go back from 3 to 2", |e| {
            e.next_family = Some(FamilyId::new(2));
        }),
        ("a family's flushed sequence number cannot go back from 9 to 8", |e| {
            e.flushed_seq.push((DEFAULT, SeqNo::new(8)));
        }),
    ];
    let (state, index) = sample();
    for (expected, spoil) in cases {
        let mut edit = following(&state);
        spoil(&mut edit);
        let handles = vec![0; edit.new_tables()];
        let refused = state.clone().apply(&edit, &index, handles).unwrap_err();
        assert_eq!(refused.to_string(), expected);
    }
    let edit = VersionEdit {
        added_tables: vec![(DEFAULT, 0, table(8, "f", "g", 9))],
        ..following(&state)
    };
    let refused = state.clone().apply(&edit, &index, vec![]).unwrap_err();
    assert_eq!(refused, EditError::Handles { expected: 1, found: 0 });
}
