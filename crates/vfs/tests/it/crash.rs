//! What a simulated crash keeps and what it may lose, case by case.

use std::collections::BTreeSet;
use std::path::Path;

use vfs::sim::{CrashOptions, SimFs, Survival, is_power_off};
use vfs::{Access, Fs};

const SEEDS: std::ops::Range<u64> = 0..200;

fn path(name: &str) -> std::path::PathBuf {
    Path::new("/db").join(name)
}

/// A disk with an empty, durable directory `/db`.
fn disk() -> SimFs {
    let fs = SimFs::new();
    fs.create_dir_all(Path::new("/db")).unwrap();
    fs
}

fn content(fs: &SimFs, name: &str) -> Option<Vec<u8>> {
    fs.files().into_iter().find(|(found, _)| *found == path(name)).map(|(_, bytes)| bytes)
}

/// Every content of a file that some seed leaves; `None` is its absence.
fn outcomes(fs: &SimFs, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    SEEDS.map(|seed| content(&fs.crash_clone(seed), name)).collect()
}

fn set(contents: &[Option<&[u8]>]) -> BTreeSet<Option<Vec<u8>>> {
    contents.iter().map(|content| content.map(<[u8]>::to_vec)).collect()
}

#[test]
fn a_file_needs_its_own_sync_and_its_directorys() {
    let fs = disk();
    let file = fs.create(&path("a")).unwrap();
    file.write_all_at(b"content", 0).unwrap();
    file.sync_all().unwrap();
    assert_eq!(outcomes(&fs, "a"), set(&[None, Some(b"content")]), "synced, but has no name yet");
    fs.sync_dir(Path::new("/db")).unwrap();
    assert_eq!(outcomes(&fs, "a"), set(&[Some(b"content")]));

    let file = fs.create(&path("b")).unwrap();
    file.write_all_at(b"other", 0).unwrap();
    fs.sync_dir(Path::new("/db")).unwrap();
    // The length and the bytes come back each for itself.
    assert_eq!(outcomes(&fs, "b"), set(&[Some(b""), Some(b"other"), Some(&[0; 5])]));
}

#[test]
fn a_removal_needs_the_directorys_sync() {
    let fs = disk();
    fs.create(&path("a")).unwrap().sync_all().unwrap();
    fs.sync_dir(Path::new("/db")).unwrap();
    fs.remove(&path("a")).unwrap();
    assert_eq!(outcomes(&fs, "a"), set(&[None, Some(b"")]));
    fs.sync_dir(Path::new("/db")).unwrap();
    assert_eq!(outcomes(&fs, "a"), set(&[None]));
}

#[test]
fn a_directorys_sync_covers_no_other() {
    let fs = disk();
    fs.create_dir_all(&path("below")).unwrap();
    fs.create(&path("a")).unwrap();
    fs.create(&path("below/b")).unwrap();
    fs.sync_dir(&path("below")).unwrap();
    assert_eq!(outcomes(&fs, "a"), set(&[None, Some(b"")]));
    assert_eq!(outcomes(&fs, "below/b"), set(&[Some(b"")]));
}

#[test]
fn a_file_that_came_and_went_may_come_back() {
    let fs = disk();
    fs.create(&path("a")).unwrap().write_all_at(b"x", 0).unwrap();
    fs.remove(&path("a")).unwrap();
    assert_eq!(outcomes(&fs, "a"), set(&[None, Some(b""), Some(b"x"), Some(b"\0")]));
    for seed in SEEDS {
        let after = fs.crash_clone(seed);
        for entry in after.list(Path::new("/db")).unwrap() {
            after.open(&path(&entry.name), Access::Read).unwrap();
        }
    }
}

#[test]
fn a_synced_file_is_not_lost_by_what_happens_to_its_old_name() {
    let create_and_remove = |fs: &SimFs| {
        fs.create(&path("a")).unwrap();
        fs.remove(&path("a")).unwrap();
    };
    let rename_over = |fs: &SimFs| {
        fs.create(&path("tmp")).unwrap();
        fs.rename(&path("tmp"), &path("a")).unwrap();
    };
    for reuse_name in [&create_and_remove as &dyn Fn(&SimFs), &rename_over] {
        let fs = disk();
        let file = fs.create(&path("a")).unwrap();
        file.write_all_at(b"one", 0).unwrap();
        file.sync_all().unwrap();
        fs.sync_dir(Path::new("/db")).unwrap();
        fs.rename(&path("a"), &path("b")).unwrap();
        reuse_name(&fs);
        for seed in SEEDS {
            let files = fs.crash_clone(seed).files();
            assert!(files.iter().any(|(_, bytes)| bytes == b"one"), "seed {seed}: {files:?}");
        }
    }
}

#[test]
fn a_rename_within_a_directory_is_atomic() {
    let fs = disk();
    for (name, bytes) in [("CURRENT", b"old"), ("tmp", b"new")] {
        let file = fs.create(&path(name)).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file.sync_all().unwrap();
    }
    fs.sync_dir(Path::new("/db")).unwrap();
    fs.rename(&path("tmp"), &path("CURRENT")).unwrap();
    assert_eq!(outcomes(&fs, "CURRENT"), set(&[Some(b"old"), Some(b"new")]));
    for seed in SEEDS {
        let after = fs.crash_clone(seed);
        let renamed = content(&after, "CURRENT").unwrap() == b"new";
        assert_eq!(content(&after, "tmp").is_none(), renamed, "both names or neither change");
    }
    fs.sync_dir(Path::new("/db")).unwrap();
    assert_eq!(outcomes(&fs, "CURRENT"), set(&[Some(b"new")]));
}

#[test]
fn a_file_renamed_twice_has_one_name() {
    let fs = disk();
    fs.create(&path("a")).unwrap().sync_all().unwrap();
    fs.sync_dir(Path::new("/db")).unwrap();
    fs.rename(&path("a"), &path("b")).unwrap();
    fs.rename(&path("b"), &path("c")).unwrap();
    let names = |seed| fs.crash_clone(seed).list(Path::new("/db")).unwrap();
    let seen: BTreeSet<_> = SEEDS.map(names).collect();
    let seen: Vec<Vec<_>> =
        seen.iter().map(|names| names.iter().map(|e| e.name.as_str()).collect()).collect();
    assert_eq!(seen, [["a"], ["b"], ["c"]]);
}

#[test]
fn a_rename_between_directories_needs_the_new_one_synced_first() {
    let fs = disk();
    fs.create_dir_all(&path("archive")).unwrap();
    let file = fs.create(&path("a")).unwrap();
    file.write_all_at(b"content", 0).unwrap();
    file.sync_all().unwrap();
    fs.sync_dir(Path::new("/db")).unwrap();
    fs.rename(&path("a"), &path("archive/b")).unwrap();

    // The wrong order can lose the file.
    let wrong = fs.crash_with(CrashOptions { survival: Survival::Everything, ..options(0) });
    assert!(content(&wrong, "archive/b").is_some());
    let lost = SEEDS.filter(|seed| fs.crash_clone(*seed).files().is_empty()).count();
    assert!(lost > 0);

    fs.sync_dir(&path("archive")).unwrap();
    for seed in SEEDS {
        let after = fs.crash_clone(seed);
        assert_eq!(content(&after, "archive/b").as_deref(), Some(b"content".as_slice()));
        // Both names may be there, and removing one leaves the other.
        if after.exists(&path("a")).unwrap() {
            after.remove(&path("a")).unwrap();
            after.sync_dir(Path::new("/db")).unwrap();
            assert_eq!(content(&after, "archive/b").as_deref(), Some(b"content".as_slice()));
            assert_eq!(after.used_bytes(), 4096);
        }
    }
    fs.sync_dir(Path::new("/db")).unwrap();
    assert_eq!(outcomes(&fs, "a"), set(&[None]));
}

fn options(seed: u64) -> CrashOptions {
    CrashOptions::new(seed)
}

#[test]
fn created_directories_are_durable() {
    let fs = SimFs::new();
    fs.create_dir_all(Path::new("/x/y/z")).unwrap();
    for seed in SEEDS {
        assert!(fs.crash_clone(seed).exists(Path::new("/x/y/z")).unwrap());
    }
}

#[test]
fn unsynced_bytes_come_in_any_state_since_the_last_sync() {
    let fs = disk();
    let file = fs.create(&path("a")).unwrap();
    fs.sync_dir(Path::new("/db")).unwrap();
    file.write_all_at(b"0", 0).unwrap();
    file.sync_data().unwrap();
    for step in [b"1", b"2", b"3"] {
        file.write_all_at(step, 0).unwrap();
    }
    assert_eq!(outcomes(&fs, "a"), set(&[Some(b"0"), Some(b"1"), Some(b"2"), Some(b"3")]));
    file.sync_data().unwrap();
    assert_eq!(outcomes(&fs, "a"), set(&[Some(b"3")]));
}

#[test]
fn many_unsynced_changes_of_a_page_are_bounded_and_keep_their_ends() {
    let fs = disk();
    let file = fs.create(&path("a")).unwrap();
    fs.sync_dir(Path::new("/db")).unwrap();
    file.write_all_at(&0u32.to_le_bytes(), 0).unwrap();
    file.sync_data().unwrap();
    for step in 1..10_000u32 {
        file.write_all_at(&step.to_le_bytes(), 0).unwrap();
    }
    let outcomes = outcomes(&fs, "a");
    assert!(outcomes.contains(&Some(0u32.to_le_bytes().to_vec())));
    assert!(outcomes.contains(&Some(9_999u32.to_le_bytes().to_vec())));
    assert!(outcomes.len() > 10);

    let file = fs.create(&path("b")).unwrap();
    for at in 0..1000 {
        file.write_all_at(b"x", at).unwrap();
    }
    let everything = CrashOptions { survival: Survival::Everything, ..options(0) };
    assert_eq!(content(&fs.crash_with(everything), "b").unwrap(), [b'x'; 1000]);
}

#[test]
fn pages_tear_at_sectors_only_where_asked() {
    let fs = disk();
    let file = fs.create(&path("a")).unwrap();
    fs.sync_dir(Path::new("/db")).unwrap();
    file.write_all_at(&[1; 8192], 0).unwrap();
    file.sync_data().unwrap();
    file.write_all_at(&[2; 8192], 0).unwrap();

    let torn_within = |unit: usize, tear_pages: bool| {
        let torn = |seed| {
            let after = fs.crash_with(CrashOptions { tear_pages, ..options(seed) });
            let bytes = content(&after, "a").unwrap();
            bytes.chunks(unit).any(|part| part.iter().any(|byte| *byte != part[0]))
        };
        SEEDS.filter(|seed| torn(*seed)).count()
    };
    assert_eq!(torn_within(512, true), 0);
    assert!(torn_within(4096, true) > 50);
    assert_eq!(torn_within(4096, false), 0);
    assert!(torn_within(8192, false) > 20, "pages survive each for itself");
}

#[test]
fn nothing_and_everything_are_the_two_ends() {
    let fs = disk();
    let file = fs.create(&path("a")).unwrap();
    file.write_all_at(b"synced", 0).unwrap();
    file.sync_data().unwrap();
    fs.sync_dir(Path::new("/db")).unwrap();
    let before = fs.files();
    file.write_all_at(&[7; 20_000], 100).unwrap();
    fs.create(&path("b")).unwrap();
    for seed in 0..20 {
        let end = |survival| fs.crash_with(CrashOptions { survival, ..options(seed) }).files();
        assert_eq!(end(Survival::Nothing), before);
        assert_eq!(end(Survival::Everything), fs.files());
    }
}

#[test]
fn mapped_stores_are_unsynced_writes() {
    let fs = disk();
    let file = fs.create(&path("a")).unwrap();
    file.allocate(0, 8192).unwrap();
    file.sync_all().unwrap();
    fs.sync_dir(Path::new("/db")).unwrap();
    let region = file.map(0, 8192, Access::ReadWrite).unwrap();
    let operations = fs.operations();
    // SAFETY: this thread alone uses the mapping.
    unsafe {
        region.write(0, &[1]).unwrap();
        region.write(4096, &[1]).unwrap();
    }
    assert_eq!(fs.operations(), operations + 2, "each store can be crashed at");
    let pages = |fs: &SimFs| {
        let bytes = content(fs, "a").unwrap();
        (bytes[0], bytes[4096])
    };
    let seen: BTreeSet<_> = SEEDS.map(|seed| pages(&fs.crash_clone(seed))).collect();
    assert_eq!(seen, BTreeSet::from([(0, 0), (0, 1), (1, 0), (1, 1)]));
    region.flush_range(4096, 1).unwrap();
    let seen: BTreeSet<_> = SEEDS.map(|seed| pages(&fs.crash_clone(seed))).collect();
    assert_eq!(seen, BTreeSet::from([(0, 1), (1, 1)]), "the flushed page stays");
    drop(region);
    file.sync_data().unwrap();
    let seen: BTreeSet<_> = SEEDS.map(|seed| pages(&fs.crash_clone(seed))).collect();
    assert_eq!(seen, BTreeSet::from([(1, 1)]), "a sync of the file covers it");
}

#[test]
fn a_durable_write_covers_its_own_bytes_alone() {
    let fs = disk();
    let file = fs.create(&path("a")).unwrap();
    file.allocate(0, 8192).unwrap();
    file.sync_all().unwrap();
    fs.sync_dir(Path::new("/db")).unwrap();
    let before = fs.operations();
    file.write_all_at(&[1], 4096).unwrap();
    file.write_durable_at(&[1], 0).unwrap();
    assert_eq!(fs.operations(), before + 3, "a crash between the write and its sync is one, too");
    let pages = |fs: &SimFs| {
        let bytes = content(fs, "a").unwrap();
        (bytes[0], bytes[4096])
    };
    let seen: BTreeSet<_> = SEEDS.map(|seed| pages(&fs.crash_clone(seed))).collect();
    assert_eq!(seen, BTreeSet::from([(1, 0), (1, 1)]));
}

#[test]
fn write_back_of_a_range_makes_nothing_durable() {
    let fs = disk();
    let file = fs.create(&path("a")).unwrap();
    fs.sync_dir(Path::new("/db")).unwrap();
    file.write_all_at(b"x", 0).unwrap();
    file.sync_range(0, 1, true).unwrap();
    assert!(outcomes(&fs, "a").contains(&Some(Vec::new())));
}

#[test]
fn a_truncation_is_durable_only_when_synced() {
    let fs = disk();
    let file = fs.create(&path("a")).unwrap();
    file.write_all_at(b"long", 0).unwrap();
    file.sync_data().unwrap();
    fs.sync_dir(Path::new("/db")).unwrap();
    file.set_len(2).unwrap();
    assert!(outcomes(&fs, "a").contains(&Some(b"long".to_vec())));
    file.sync_data().unwrap();
    assert_eq!(outcomes(&fs, "a"), set(&[Some(b"lo")]));
}

#[test]
fn the_power_cut_comes_at_the_asked_operation_and_nothing_after_it_works() {
    fn workload(fs: &SimFs) -> vfs::Result<()> {
        let file = fs.create(&path("a"))?;
        file.write_all_at(b"1", 0)?;
        file.sync_data()?;
        fs.sync_dir(Path::new("/db"))?;
        fs.rename(&path("a"), &path("b"))?;
        fs.sync_dir(Path::new("/db"))?;
        let _lock = fs.lock(&path("LOCK"))?;
        fs.remove(&path("b"))
    }

    let fs = disk();
    let before = fs.operations();
    workload(&fs).unwrap();
    let after = fs.operations();
    assert_eq!(after - before, 8);
    for number in before + 1..=after {
        let fs = disk();
        fs.power_off_at(number);
        let error = workload(&fs).unwrap_err();
        assert!(is_power_off(&error), "{error}");
        assert_eq!(fs.operations(), number - 1);
        let file = path("a");
        let results = [
            fs.metadata(&file).map(drop),
            fs.open(&file, Access::Read).map(drop),
            fs.create_dir_all(Path::new("/db")),
            fs.list(Path::new("/db")).map(drop),
            fs.lock(&file).map(drop),
        ];
        assert!(results.iter().all(|result| result.as_ref().is_err_and(is_power_off)));
        // The disk is then as the operations before have left it.
        let everything = CrashOptions { survival: Survival::Everything, ..options(0) };
        let left = fs.crash_with(everything).files();
        assert_eq!(left, fs.files());
        assert!(fs.crash_clone(0).exists(Path::new("/db")).unwrap(), "its power is on");
    }

    let fs = disk();
    fs.power_off_at(1);
    assert!(is_power_off(&workload(&fs).unwrap_err()), "a number that is past");
    let fs = disk();
    let file = fs.create(&path("a")).unwrap();
    fs.power_off();
    assert!(is_power_off(&file.sync_all().unwrap_err()));
}

#[test]
fn locks_end_with_the_machine() {
    let fs = disk();
    let _lock = fs.lock(&path("LOCK")).unwrap();
    fs.sync_dir(Path::new("/db")).unwrap();
    fs.crash_clone(1).lock(&path("LOCK")).unwrap();
}

#[test]
fn an_unnamed_file_is_gone_after_a_crash() {
    let fs = disk();
    let file = fs.create(&path("a")).unwrap();
    file.write_all_at(&[1; 10_000], 0).unwrap();
    file.sync_all().unwrap();
    fs.sync_dir(Path::new("/db")).unwrap();
    fs.remove(&path("a")).unwrap();
    fs.sync_dir(Path::new("/db")).unwrap();
    assert!(fs.used_bytes() > 0, "the handle keeps it");
    for seed in SEEDS {
        let after = fs.crash_clone(seed);
        assert_eq!((after.files().len(), after.used_bytes()), (0, 0));
    }
    drop(file);
    assert_eq!(fs.used_bytes(), 0);
}
