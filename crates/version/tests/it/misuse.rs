//! Wrong places and damaged files: an error that names the file and what to do, and never an empty database.

use std::path::Path;
use std::sync::Arc;

use version::{Error, ManifestOptions, VersionSet};
use vfs::sim::SimFs;
use vfs::{Access, Fs};

use crate::support::*;

/// A database with two tables.
fn sample() -> SimFs {
    let fs = SimFs::new();
    let set = create(&fs, ManifestOptions::default()).unwrap();
    flush(&fs, &set, 3);
    flush(&fs, &set, 4);
    fs
}

fn write(fs: &SimFs, name: &str, bytes: &[u8]) {
    let path = dir().join(name);
    if fs.exists(&path).unwrap() {
        fs.remove(&path).unwrap();
    }
    fs.create(&path).unwrap().write_all_at(bytes, 0).unwrap();
}

/// What opening says. It changes nothing, and neither does creating where there was something.
fn refusal(fs: &SimFs) -> (Error, String) {
    let before = fs.files();
    let error = recover(fs, ManifestOptions::default()).unwrap_err();
    assert!(fs.files() == before, "the files were changed");
    let text = error.to_string();
    (error, text)
}

#[test]
fn where_there_is_no_database_there_is_no_database() {
    let fs = SimFs::new();
    assert!(matches!(refusal(&fs).0, Error::NoDatabase { .. }));
    fs.create_dir_all(dir()).unwrap();
    fs.create(&dir().join("notes.txt")).unwrap();
    let (error, text) = refusal(&fs);
    assert!(matches!(error, Error::NoDatabase { .. }));
    assert_eq!(text, "there is no database in /db: it holds no file named CURRENT");
    create(&fs, ManifestOptions::default()).unwrap();
    let error = create(&fs, ManifestOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "there is a database in /db already");
    assert!(matches!(error, Error::Exists { .. }));
}

#[test]
fn a_file_in_the_place_of_the_directory_is_named() {
    let fs = SimFs::new();
    fs.create(Path::new(DIR)).unwrap();
    let errors =
        [recover(&fs, ManifestOptions::default()), create(&fs, ManifestOptions::default())];
    for error in errors.map(|result| result.err().unwrap()) {
        assert!(matches!(&error, Error::File(_)) && error.to_string().contains("/db"), "{error}");
    }
}

#[test]
fn a_database_without_its_current_is_neither_opened_nor_created_anew() {
    let fs = sample();
    fs.remove(&dir().join("CURRENT")).unwrap();
    let (error, text) = refusal(&fs);
    assert!(matches!(error, Error::LostCurrent { .. }), "{text}");
    assert!(
        text.starts_with("/db holds 000003.sst, a file of a database, but CURRENT is missing"),
        "{text}"
    );
    let before = fs.files();
    assert!(matches!(create(&fs, ManifestOptions::default()), Err(Error::LostCurrent { .. })));
    assert!(fs.files() == before);
}

/// Before the first table and log segment: the manifest itself says that the creation was complete.
#[test]
fn a_manifest_with_edits_is_not_taken_for_an_unfinished_creation() {
    let fs = SimFs::new();
    let set = create(&fs, ManifestOptions::default()).unwrap();
    set.apply(version::VersionEdit::default(), vec![]).unwrap();
    drop(set);
    fs.remove(&dir().join("CURRENT")).unwrap();
    assert!(matches!(create(&fs, ManifestOptions::default()), Err(Error::LostCurrent { .. })));
}

#[test]
fn a_current_that_names_no_manifest_is_damaged() {
    for bytes in
        [&b""[..], b"garbage", b"MANIFEST-000001\n", b"MANIFEST-000001 00000000\n", &[0xff; 100]]
    {
        let fs = sample();
        write(&fs, "CURRENT", bytes);
        let (error, text) = refusal(&fs);
        assert!(matches!(error, Error::Current { .. }), "{text}");
        assert!(text.starts_with("/db/CURRENT is damaged: expected a manifest's name"), "{text}");
        assert!(matches!(create(&fs, ManifestOptions::default()), Err(Error::Exists { .. })));
    }
}

#[test]
fn a_missing_or_truncated_manifest_is_named() {
    let fs = sample();
    fs.remove(&dir().join("MANIFEST-000001")).unwrap();
    let (error, text) = refusal(&fs);
    assert!(matches!(error, Error::ManifestMissing { .. }), "{text}");
    assert!(
        text.starts_with("/db/MANIFEST-000001, the manifest that CURRENT names, is missing"),
        "{text}"
    );
    for len in [0, 5, 40] {
        let fs = sample();
        fs.open(&dir().join("MANIFEST-000001"), Access::ReadWrite).unwrap().set_len(len).unwrap();
        let (error, text) = refusal(&fs);
        assert!(matches!(error, Error::Damaged { .. }), "{text}");
        assert!(text.starts_with("/db/MANIFEST-000001 is damaged at offset "), "{text}");
    }
}

#[test]
fn a_missing_table_and_one_of_another_length_are_named() {
    let fs = sample();
    let path = dir().join("000003.sst");
    fs.open(&path, Access::ReadWrite).unwrap().set_len(5).unwrap();
    let (error, text) = refusal(&fs);
    assert!(matches!(error, Error::TableLength { expected: 4, found: 5, .. }), "{text}");
    assert_eq!(
        text,
        "/db/000003.sst has 5 bytes, MANIFEST-000001 says 4: restore it from a backup"
    );
    fs.remove(&path).unwrap();
    let (error, text) = refusal(&fs);
    assert!(matches!(error, Error::TableMissing { .. }), "{text}");
    assert_eq!(
        text,
        "/db/000003.sst, a table that MANIFEST-000001 lists, is missing: restore it from a backup"
    );
}

#[test]
fn an_error_of_the_handles_maker_is_passed_on() {
    let fs = sample();
    #[derive(Debug)]
    enum Mine {
        Version,
        Table(u64),
    }
    impl From<Error> for Mine {
        fn from(_: Error) -> Self {
            Self::Version
        }
    }
    let open = |dir: &Path| {
        VersionSet::<u64>::recover(
            Arc::new(fs.clone()),
            dir,
            ManifestOptions::default(),
            no_wake(),
            |table| Err(Mine::Table(table.number.get())),
        )
        .unwrap_err()
    };
    assert!(matches!(open(dir()), Mine::Table(3)));
    assert!(matches!(open(Path::new("/elsewhere")), Mine::Version));
}

/// A file that an interrupted job left does not meet the first new one.
#[test]
fn new_numbers_are_above_every_number_in_the_directory() {
    let fs = sample();
    write(&fs, "000900.sst", b"left over");
    write(&fs, "MANIFEST-000901", b"left over");
    write(&fs, "18446744073709551615.sst", b"not one of ours");
    let set = recover(&fs, ManifestOptions::default()).unwrap();
    assert_eq!(set.new_file_number().get(), 902);
    remove_orphans(&fs, &set).unwrap();
    fs.remove(&dir().join("18446744073709551615.sst")).unwrap();
    assert_no_leak(&fs, &set);
}

/// The same on a real disk.
#[test]
fn the_real_file_system_keeps_it_too() {
    let place = tempfile::tempdir().unwrap();
    let fs: Arc<dyn Fs> = Arc::new(vfs::RealFs::new());
    let dir = place.path().join("a/b");
    let options = short();
    let set = Set::create(Arc::clone(&fs), &dir, options, no_wake()).unwrap();
    for id in 1..30 {
        let table = meta(set.new_file_number(), id);
        let file = fs.create(&version::FileName::Table(table.number).path_in(&dir)).unwrap();
        file.write_all_at(&vec![1; id as usize], 0).unwrap();
        set.apply(add(0, &table), vec![table.number.get()]).unwrap();
    }
    assert!(set.stats().replacements >= 2);
    let before = fingerprint(&set.current());
    drop(set);
    let set =
        Set::recover(Arc::clone(&fs), &dir, options, no_wake(), |t| Ok::<_, Error>(t.number.get()));
    let set = set.unwrap();
    assert_eq!(fingerprint(&set.current()), before);
    set.secure().unwrap();
    let manifests = fs.list(&dir).unwrap();
    assert_eq!(manifests.iter().filter(|entry| entry.name.starts_with("MANIFEST")).count(), 1);
}
