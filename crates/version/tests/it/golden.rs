//! The format, pinned: a manifest and its `CURRENT` are what the annotated golden file says, and are read as that.

use base::{FamilyId, FileNumber, SeqNo};
use version::{ManifestOptions, VersionEdit};
use vfs::Fs;
use vfs::sim::SimFs;

use crate::support::*;

const GOLDEN: &str = include_str!("golden/manifest.txt");

/// The bytes of one file in the golden file: what stands in hexadecimal before `#`, after a line `== name`.
fn golden(name: &str) -> Vec<u8> {
    let section = GOLDEN.split("\n== ").find(|section| section.starts_with(name)).expect(name);
    let mut bytes = Vec::new();
    for line in section.lines().skip(1) {
        let hex = line.split('#').next().unwrap_or_default();
        bytes.extend(hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect(line)));
    }
    bytes
}

/// Every field of the format, once.
fn write_sample(fs: &SimFs) -> Set {
    let set = create(fs, ManifestOptions::default()).unwrap();
    let (upper, lower) = (new_table(fs, &set, 3), new_table(fs, &set, 300));
    let family = set.new_family_id();
    let edit = VersionEdit {
        added_families: vec![(family, "cats".to_owned())],
        added_tables: vec![(DEFAULT, 0, upper.clone()), (family, 2, lower)],
        log_from: log(7),
        flushed_seq: vec![(DEFAULT, SeqNo::new(3))],
        last_seq: Some(SeqNo::new(300)),
        ..VersionEdit::default()
    };
    set.apply(edit, vec![2, 3]).unwrap();
    let edit = VersionEdit { dropped_families: vec![family], ..remove(0, &upper) };
    set.apply(edit, vec![]).unwrap();
    set
}

fn file(fs: &SimFs, name: &str) -> Vec<u8> {
    let files = fs.files();
    let found = files.into_iter().find(|(path, _)| path.ends_with(name));
    found.expect(name).1
}

fn hex(bytes: &[u8]) -> String {
    let lines = bytes
        .chunks(16)
        .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_is_written_is_what_the_golden_file_says() {
    let fs = SimFs::new();
    write_sample(&fs);
    for name in ["MANIFEST-000001", "CURRENT"] {
        assert_eq!(hex(&file(&fs, name)), hex(&golden(name)), "{name}");
    }
}

#[test]
fn what_the_golden_file_says_is_read() {
    let fs = SimFs::new();
    fs.create_dir_all(dir()).unwrap();
    for name in ["MANIFEST-000001", "CURRENT"] {
        fs.create(&dir().join(name)).unwrap().write_all_at(&golden(name), 0).unwrap();
    }
    let set = recover(&fs, ManifestOptions::default()).unwrap();
    let written = write_sample(&SimFs::new());
    assert_eq!(fingerprint(&set.current()), fingerprint(&written.current()));
    assert_eq!(set.new_file_number(), FileNumber::new(4));
    assert_eq!(set.new_family_id(), FamilyId::new(2));
    assert_eq!(set.recovery().unwrap().edits, 2);
}
