//! Scripted faults, limited space, and the hook of the simulated file system.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use vfs::sim::{CrashOptions, Effect, Fault, SimFs, Survival, is_injected, is_power_off};
use vfs::{Access, Error, ErrorKind, File, Fs, MapSupport, Operation};

fn disk_with_file(bytes: &[u8]) -> (SimFs, Arc<dyn File>) {
    let fs = SimFs::new();
    let file = fs.create(Path::new("/a.log")).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.sync_all().unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    (fs, file)
}

fn read(file: &dyn File) -> Vec<u8> {
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// The content of `/a.log` if nothing unsynced survives.
fn durable(fs: &SimFs) -> Vec<u8> {
    let options = CrashOptions { survival: Survival::Nothing, ..CrashOptions::new(0) };
    read(&*fs.crash_with(options).open(Path::new("/a.log"), Access::Read).unwrap())
}

#[track_caller]
fn assert_injected(error: &Error, kind: ErrorKind) {
    assert_eq!(error.kind(), kind, "{error}");
    assert!(is_injected(error) && !is_power_off(error));
}

#[test]
fn the_nth_matching_operation_fails_so_many_times() {
    let (fs, file) = disk_with_file(b"");
    let other = fs.create(Path::new("/b.sst")).unwrap();
    fs.inject(Fault::new(Operation::Write, Effect::NO_SPACE).on_path(".log").nth(2).times(2));
    let mut results = Vec::new();
    for _ in 0..5 {
        other.write_all_at(b"x", 0).unwrap();
        file.sync_data().unwrap();
        results.push(file.write_all_at(b"x", 0));
    }
    let failed: Vec<_> = results.iter().map(Result::is_err).collect();
    assert_eq!(failed, [false, true, true, false, false]);
    assert_injected(results[1].as_ref().unwrap_err(), ErrorKind::NoSpace);
    assert_eq!(fs.faults_hit(), 2);
}

#[test]
fn a_failed_operation_does_nothing() {
    let (fs, file) = disk_with_file(b"content");
    let io = |operation| fs.inject(Fault::new(operation, Effect::IO));
    let (a, b) = (Path::new("/a.log"), Path::new("/b"));
    let before = fs.files();
    let region = file.map(0, 7, Access::ReadWrite).unwrap();

    io(Operation::Create);
    assert_injected(&fs.create(b).unwrap_err(), ErrorKind::Io);
    io(Operation::Rename);
    assert_injected(&fs.rename(a, b).unwrap_err(), ErrorKind::Io);
    io(Operation::Remove);
    assert_injected(&fs.remove(a).unwrap_err(), ErrorKind::Io);
    io(Operation::Lock);
    assert_injected(&fs.lock(b).unwrap_err(), ErrorKind::Io);
    io(Operation::Allocate);
    assert_injected(&file.allocate(0, 9000).unwrap_err(), ErrorKind::Io);
    io(Operation::SetLen);
    assert_injected(&file.set_len(0).unwrap_err(), ErrorKind::Io);
    io(Operation::MapWrite);
    // SAFETY: this thread alone uses the mapping.
    assert_injected(&unsafe { region.write(0, b"x") }.unwrap_err(), ErrorKind::Io);
    io(Operation::Map);
    assert_injected(&file.map(0, 1, Access::Read).unwrap_err(), ErrorKind::Io);
    io(Operation::Populate);
    assert_injected(&region.populate(0, 1).unwrap_err(), ErrorKind::Io);
    assert_eq!(fs.files(), before);
    assert_eq!(fs.faults_hit(), 9);

    file.write_all_at(b"CONTENT", 0).unwrap();
    io(Operation::SyncData);
    assert_injected(&file.sync_data().unwrap_err(), ErrorKind::Io);
    assert_eq!(durable(&fs), b"content");
    file.sync_data().unwrap();
    assert_eq!(durable(&fs), b"CONTENT", "this failure has kept the pages dirty");
}

#[test]
fn any_mutating_operation_can_be_met() {
    let workload = |fs: &SimFs| -> vfs::Result<()> {
        let file = fs.create(Path::new("/a"))?;
        file.len()?;
        file.write_all_at(b"x", 0)?;
        file.sync_all()?;
        fs.sync_dir(Path::new("/"))?;
        fs.remove(Path::new("/a"))
    };
    let fs = SimFs::new();
    workload(&fs).unwrap();
    let mut met = Vec::new();
    for number in 1..=fs.operations() {
        let fs = SimFs::new();
        fs.inject(Fault::any(Effect::IO).nth(number));
        met.push(workload(&fs).unwrap_err().operation());
    }
    use Operation::{Create, Remove, SyncAll, SyncDir, Write};
    assert_eq!(met, [Create, Write, SyncAll, SyncDir, Remove]);
}

#[test]
fn a_short_write_leaves_its_first_bytes() {
    let (fs, file) = disk_with_file(b"......");
    let failure = io::ErrorKind::StorageFull;
    fs.inject(Fault::new(Operation::Write, Effect::ShortWrite { written: 3, failure }));
    assert_injected(&file.write_all_at(b"abcdef", 1).unwrap_err(), ErrorKind::NoSpace);
    assert_eq!(read(&*file), b".abc..");
    assert_eq!(durable(&fs), b"......");
}

#[test]
fn a_failed_sync_marks_pages_clean_and_the_next_one_lies() {
    let (fs, file) = disk_with_file(&[b'.'; 8192]);
    file.write_all_at(b"lost", 0).unwrap();
    fs.inject(Fault::new(Operation::SyncData, Effect::FailSync));
    assert_injected(&file.sync_data().unwrap_err(), ErrorKind::Io);
    file.write_all_at(b"kept", 4096).unwrap();
    file.sync_data().unwrap();
    assert_eq!(&read(&*file)[..4], b"lost", "readers still see it");
    assert_eq!(&durable(&fs)[..4], b"....", "but it was never written");
    assert_eq!(&durable(&fs)[4096..4100], b"kept");
    let survives = |seed| {
        let after = fs.crash_clone(seed);
        read(&*after.open(Path::new("/a.log"), Access::Read).unwrap())[..4] == *b"lost"
    };
    let survivals = (0..100).filter(|seed| survives(*seed)).count();
    assert!((10..90).contains(&survivals), "it may have been written in part: {survivals}");

    // Written again, it is dirty again.
    file.write_all_at(b"L", 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(&durable(&fs)[..4], b"Lost");
}

#[test]
fn a_failed_write_back_of_a_range_is_told_once() {
    let (fs, file) = disk_with_file(&[b'.'; 8192]);
    file.write_all_at(&[b'x'; 8192], 0).unwrap();
    fs.inject(Fault::new(Operation::SyncRange, Effect::FailSync));
    assert_injected(&file.sync_range(0, 4096, true).unwrap_err(), ErrorKind::Io);
    file.sync_data().unwrap();
    let durable = durable(&fs);
    assert!(durable[..4096].iter().all(|byte| *byte == b'.'));
    assert!(durable[4096..].iter().all(|byte| *byte == b'x'));
}

#[test]
fn a_read_can_flip_one_bit() {
    let (fs, file) = disk_with_file(&[0; 10]);
    fs.inject(Fault::new(Operation::Read, Effect::FlipBit(83)));
    let mut expected = [0; 10];
    expected[0] = 1 << 3; // 83 modulo 80.
    assert_eq!(read(&*file), expected);
    assert_eq!(read(&*file), [0; 10], "the disk has kept the right one");
}

#[test]
fn faults_can_be_taken_back() {
    let (fs, file) = disk_with_file(b"");
    fs.inject(Fault::new(Operation::Write, Effect::IO).times(u64::MAX));
    file.write_all_at(b"x", 0).unwrap_err();
    fs.clear_faults();
    file.write_all_at(b"x", 0).unwrap();
}

#[test]
fn a_full_disk_refuses_what_needs_blocks() {
    let (fs, file) = disk_with_file(b"x");
    fs.set_capacity(Some(10 * 4096));
    let free = || fs.free_space(Path::new("/")).unwrap();
    assert_eq!((free(), fs.used_bytes()), (9 * 4096, 4096));
    file.allocate(0, 4 * 4096).unwrap();
    assert_eq!(free(), 6 * 4096);

    let hog = fs.create(Path::new("/hog")).unwrap();
    assert_eq!(hog.allocate(0, 7 * 4096).unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(hog.len().unwrap(), 0);
    hog.write_all_at(&[1; 6 * 4096], 0).unwrap();
    assert_eq!(free(), 0);
    assert_eq!(hog.write_all_at(&[1], 6 * 4096).unwrap_err().kind(), ErrorKind::NoSpace);
    file.write_all_at(&[1; 4 * 4096], 0).unwrap();
    hog.write_all_at(&[2; 4096], 100).unwrap();

    hog.punch_hole(1, 3 * 4096).unwrap();
    assert_eq!(free(), 2 * 4096, "only whole pages are freed");
    hog.set_len(5 * 4096 + 1).unwrap();
    assert_eq!(free(), 2 * 4096);
    hog.set_len(5 * 4096).unwrap();
    assert_eq!(free(), 3 * 4096);
    fs.remove(Path::new("/hog")).unwrap();
    assert_eq!(free(), 3 * 4096, "an open handle keeps the blocks");
    drop(hog);
    assert_eq!(free(), 6 * 4096);
    file.sync_all().unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    for seed in 0..20 {
        assert_eq!(fs.crash_clone(seed).free_space(Path::new("/")).unwrap(), 6 * 4096);
    }
}

#[test]
fn replacing_a_file_frees_its_blocks() {
    let (fs, file) = disk_with_file(&[1; 4096]);
    drop(file);
    fs.create(Path::new("/new")).unwrap().write_all_at(&[1; 8192], 0).unwrap();
    assert_eq!(fs.used_bytes(), 3 * 4096);
    fs.rename(Path::new("/new"), Path::new("/a.log")).unwrap();
    assert_eq!(fs.used_bytes(), 2 * 4096);
}

#[test]
fn a_store_that_would_be_a_sigbus_is_an_error_and_populate_finds_it() {
    let (fs, file) = disk_with_file(b"x");
    file.set_len(2 * 4096).unwrap();
    let region = file.map(0, 2 * 4096, Access::ReadWrite).unwrap();
    fs.set_capacity(Some(4096));
    // SAFETY: this thread alone uses the mapping.
    unsafe {
        region.write(0, b"y").unwrap();
        let error = region.write(4096, b"y").unwrap_err();
        assert!(error.io_error().to_string().contains("SIGBUS"), "{}", error.io_error());
    }
    assert!(region.populate(4096, 1).is_err());
    region.populate(0, 4096).unwrap();
    fs.set_capacity(None);
    region.populate(4096, 1).unwrap();
    assert_eq!(fs.used_bytes(), 2 * 4096, "populating takes the block");

    file.set_len(4096).unwrap();
    // SAFETY: as above.
    unsafe {
        assert!(region.write(4096, b"y").is_err());
        assert!(region.read(4095, &mut [0; 2]).is_err());
    }
    assert!(region.populate(4096, 1).is_err());
}

#[test]
fn absurd_lengths_are_refused() {
    let (_fs, file) = disk_with_file(b"x");
    for result in [
        file.write_all_at(b"x", u64::MAX),
        file.write_all_at(b"x", 1 << 60),
        file.allocate(1, u64::MAX),
        file.set_len(1 << 60),
        file.punch_hole(1, u64::MAX),
    ] {
        result.unwrap_err();
    }
    file.sync_range(1, u64::MAX, true).unwrap();
    assert_eq!(read(&*file), b"x");
}

#[test]
fn the_hook_sees_every_operation_and_may_hold_it() {
    let (fs, file) = disk_with_file(b"x");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let slept_micros = Arc::new(AtomicU64::new(0));
    let (log, clock) = (Arc::clone(&seen), Arc::clone(&slept_micros));
    fs.set_hook(Some(Arc::new(move |operation, path: &Path| {
        // A simulated clock: a sync takes its time without any sleep.
        if operation == Operation::SyncData {
            clock.fetch_add(500, Ordering::Relaxed);
        }
        log.lock().unwrap().push((operation, path.to_path_buf()));
    })));
    file.write_all_at(b"y", 0).unwrap();
    file.sync_data().unwrap();
    fs.list(Path::new("/")).unwrap();
    fs.set_hook(None);
    file.sync_data().unwrap();
    let expected = [
        (Operation::Write, "/a.log".into()),
        (Operation::SyncData, "/a.log".into()),
        (Operation::List, "/".into()),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
    assert_eq!(slept_micros.load(Ordering::Relaxed), 500);
}

#[test]
fn threads_share_the_disk() {
    let fs = SimFs::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let fs = &fs;
            scope.spawn(move || {
                for number in 0..50 {
                    let path = format!("/{thread}-{number}");
                    let file = fs.create(Path::new(&path)).unwrap();
                    file.write_all_at(path.as_bytes(), 0).unwrap();
                    file.sync_all().unwrap();
                }
            });
        }
        for seed in 0..20 {
            for (path, bytes) in fs.crash_clone(seed).files() {
                // Named before it was written; each byte is there or not.
                let path = path.to_str().unwrap();
                assert!(bytes.is_empty() || bytes.len() == path.len());
            }
        }
    });
    assert_eq!(fs.operations(), 4 * 50 * 3);
    let files = fs.files();
    assert_eq!(files.len(), 200);
    assert!(files.iter().all(|(path, bytes)| path.to_str().unwrap().as_bytes() == bytes));
}

#[test]
fn map_support_can_be_chosen() {
    let fs = SimFs::new();
    let root = Path::new("/");
    assert_eq!(fs.map_support(root).unwrap(), MapSupport::Known);
    fs.set_map_support(MapSupport::Unknown);
    assert_eq!(fs.crash_clone(0).map_support(root).unwrap(), MapSupport::Unknown);
}

#[test]
fn of_two_faults_the_last_added_decides() {
    let (fs, file) = disk_with_file(b"");
    fs.inject(Fault::new(Operation::Write, Effect::IO).times(2));
    fs.inject(Fault::new(Operation::Write, Effect::NO_SPACE));
    assert_injected(&file.write_all_at(b"x", 0).unwrap_err(), ErrorKind::NoSpace);
    assert_injected(&file.write_all_at(b"x", 0).unwrap_err(), ErrorKind::Io);
    file.write_all_at(b"x", 0).unwrap();
}
