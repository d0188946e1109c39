//! Names, presence and orphans, from names alone.

use proptest::prelude::*;

use super::*;

fn file_names() -> impl Strategy<Value = FileName> {
    prop_oneof![
        Just(FileName::Current),
        Just(FileName::CurrentTemporary),
        Just(FileName::Lock),
        any::<u64>().prop_map(|n| FileName::Manifest(FileNumber::new(n))),
        any::<u64>().prop_map(|n| FileName::Table(FileNumber::new(n))),
        any::<u64>().prop_map(|n| FileName::Log(SegmentNumber::new(n))),
    ]
}

proptest! {
    #[test]
    fn names_round_trip(file in file_names()) {
        prop_assert_eq!(FileName::parse(&file.to_string()), Some(file));
    }

    #[test]
    fn what_parses_prints_as_it_was(name in "(MANIFEST-)?[+0-9]{0,8}(\\.sst|\\.log|\\.tmp)?") {
        if let Some(file) = FileName::parse(&name) {
            prop_assert_eq!(file.to_string(), name);
        }
    }
}

#[test]
fn other_spellings_are_not_ours() {
    for name in [
        "",
        "7.sst",
        "0000007.sst",
        "+00007.sst",
        "000007.SST",
        "000007.sst.bak",
        "current",
        "LOCK ",
        "MANIFEST-",
        "MANIFEST-1",
        "MANIFEST-000001.tmp",
        "99999999999999999999999.sst",
        "a.log",
    ] {
        assert_eq!(FileName::parse(name), None, "{name:?}");
    }
}

#[test]
fn a_database_that_lost_current_is_never_taken_for_an_empty_place() {
    assert_eq!(presence([]), Presence::Absent);
    assert_eq!(presence(["LOCK", "notes.txt"]), Presence::Absent);
    assert_eq!(presence(["LOCK", "MANIFEST-000001", "CURRENT.tmp"]), Presence::Unfinished);
    assert_eq!(presence(["000001.log", "CURRENT", "MANIFEST-000001"]), Presence::Database);
    for lost in ["MANIFEST-000002", "000003.sst", "000001.log"] {
        for names in [vec![lost, "MANIFEST-000001", "CURRENT.tmp"], vec!["MANIFEST-000001", lost]] {
            assert_eq!(presence(names), Presence::Damaged(FileName::parse(lost).unwrap()));
        }
    }
}

// R5: the live manifest, its pointer and the lock are never freed; nor is what is not ours or being written.
#[test]
fn orphans_are_what_nothing_needs_and_nothing_else() {
    let live = LiveFiles {
        manifest: FileNumber::new(5),
        tables: [2, 4].map(FileNumber::new).into(),
        log_from: SegmentNumber::new(3),
        first_new: FileNumber::new(10),
    };
    let names = [
        "000001.sst",
        "000002.log",
        "000002.sst",
        "000003.log",
        "000004.sst",
        "000009.log",
        "000009.sst",
        "000010.sst",
        "CURRENT",
        "CURRENT.tmp",
        "LOCK",
        "MANIFEST-000004",
        "MANIFEST-000005",
        "MANIFEST-000006",
        "MANIFEST-000011",
        "photo.jpg",
        "1.sst",
    ];
    let found: Vec<String> = orphans(names, &live).iter().map(FileName::to_string).collect();
    assert_eq!(
        found,
        ["000001.sst", "000002.log", "000009.sst", "MANIFEST-000004", "MANIFEST-000006"]
    );
}
