//! The order within levels, and what is found in them.

use proptest::prelude::*;

use super::*;
use crate::testing::{shared, table};

fn levels(tables: &[(usize, u64, &str, &str, u64)]) -> FamilyLevels<()> {
    let mut levels = FamilyLevels { levels: Vec::new() };
    for &(level, number, first, last, seq) in tables {
        levels.add(level, vec![shared(table(number, first, last, seq))]).unwrap();
    }
    levels
}

fn numbers<'a>(tables: impl IntoIterator<Item = &'a SharedTable<()>>) -> Vec<u64> {
    tables.into_iter().map(|table| table.meta.number.get()).collect()
}

#[test]
fn level_0_is_newest_first_and_deeper_ones_are_by_key() {
    let levels = levels(&[
        (0, 5, "a", "z", 10),
        (0, 9, "a", "z", 30),
        (0, 7, "a", "z", 30),
        (0, 8, "a", "z", 20),
        (2, 3, "p", "q", 1),
        (2, 2, "a", "b", 2),
        (2, 4, "c", "o", 3),
    ]);
    assert_eq!(numbers(levels.level(0)), [9, 7, 8, 5]);
    assert_eq!(numbers(levels.level(1)), []);
    assert_eq!(numbers(levels.level(2)), [2, 4, 3]);
    assert_eq!(numbers(levels.level(3)), []);
    assert_eq!((levels.depth(), levels.bytes(0), levels.bytes(1)), (3, 4000, 0));
    assert_eq!(numbers(levels.tables()), [9, 7, 8, 5, 2, 4, 3]);
}

// R5
#[test]
fn a_user_key_in_two_tables_of_a_deeper_level_is_refused() {
    for (first, last) in [("c", "d"), ("a", "a"), ("0", "9z"), ("b", "bb"), ("0", "z")] {
        let mut levels = levels(&[(1, 1, "a", "c", 5), (0, 9, "a", "z", 9)]);
        let added = levels.add(1, vec![shared(table(2, first, last, 7))]);
        let overlaps = first <= "c" && "a" <= last;
        assert_eq!(added.is_err(), overlaps, "{first}..{last}");
    }
}

#[test]
fn a_level_that_becomes_empty_is_forgotten() {
    let mut levels = levels(&[(0, 1, "a", "c", 5), (3, 2, "a", "c", 4)]);
    assert_eq!(numbers(&levels.remove(3, &[FileNumber::new(2)].into())), [2]);
    assert_eq!(levels.depth(), 1);
    assert_eq!(numbers(&levels.remove(3, &[FileNumber::new(2)].into())), []);
}

proptest! {
    /// Against looking at every table.
    #[test]
    fn bisection_finds_what_a_scan_finds(
        cuts in prop::collection::btree_set(0u8..60, 0..24),
        level0 in prop::collection::vec((0u8..60, 0u8..60), 0..5),
        ends in (0u8..62, 0u8..62),
    ) {
        let name = |n: u8| format!("{n:02}");
        let mut levels = FamilyLevels { levels: Vec::new() };
        let cuts: Vec<u8> = cuts.into_iter().collect();
        for (number, pair) in cuts.chunks(2).enumerate() {
            let (first, last) = (name(pair[0]), name(pair[pair.len() - 1]));
            levels.add(1, vec![shared(table(number as u64, &first, &last, 1))]).unwrap();
        }
        for (number, (a, b)) in level0.into_iter().enumerate() {
            let (first, last) = (name(a.min(b)), name(a.max(b)));
            levels.add(0, vec![shared(table(100 + number as u64, &first, &last, number as u64))]).unwrap();
        }
        let (first, last) = (name(ends.0.min(ends.1)), name(ends.0.max(ends.1)));
        let (first, last) = (first.as_bytes(), last.as_bytes());
        for level in 0..3 {
            let scan = levels.level(level).iter().filter(|table| table.meta.overlaps(first, last));
            prop_assert_eq!(numbers(levels.overlapping(level, first, last)), numbers(scan));
        }
        let scan = levels.tables().filter(|table| table.meta.overlaps(first, first));
        prop_assert_eq!(numbers(levels.tables_for(first)), numbers(scan));
    }
}
