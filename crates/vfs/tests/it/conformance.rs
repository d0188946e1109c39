//! What every `Fs` must do; each test runs on the real file system and on the simulated one.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use vfs::{Access, Error, ErrorKind, File, Fs, Operation};

macro_rules! on_both {
    ($($name:ident,)*) => {
        mod real {
            $(#[test]
            fn $name() {
                let dir = tempfile::tempdir().unwrap();
                super::$name(&vfs::RealFs::new(), dir.path());
            })*
        }
        mod simulated {
            use vfs::Fs as _;

            $(#[test]
            fn $name() {
                let fs = vfs::sim::SimFs::new();
                let dir = std::path::Path::new("/tests/dir");
                fs.create_dir_all(dir).unwrap();
                super::$name(&fs, dir);
            })*
        }
    };
}

on_both! {
    create_is_exclusive_and_starts_empty,
    open_needs_a_file,
    reads_stop_at_the_end,
    writes_extend_and_leave_holes,
    parts_are_written_one_behind_the_other,
    a_durable_write_is_a_write,
    writing_nothing_does_nothing,
    read_handles_refuse_every_change,
    handles_share_one_content,
    allocate_extends_and_keeps_content,
    set_len_cuts_and_extends_with_zeros,
    punched_holes_read_as_zeros,
    syncs_succeed_on_what_exists,
    rename_replaces,
    rename_moves_between_directories,
    rename_needs_a_source,
    removed_files_stay_readable_through_handles,
    list_is_sorted_and_tells_lengths,
    create_dir_all_is_nested_and_idempotent,
    exists_and_metadata,
    locks_exclude_each_other,
    free_space_is_known,
    mapped_writes_and_file_writes_are_the_same_bytes,
    mappings_check_their_range,
    mappings_for_reading_refuse_writes,
    mappings_outlive_their_handle,
    mapped_ranges_populate_and_flush,
    threads_write_disjoint_mapped_ranges,
}

fn content(fs: &dyn Fs, path: &Path) -> Vec<u8> {
    let file = fs.open(path, Access::Read).unwrap();
    let mut bytes = vec![0xEE; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn with_content(fs: &dyn Fs, path: &Path, bytes: &[u8]) -> Arc<dyn File> {
    let file = fs.create(path).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

/// Asserts the kind, the operation and the path of an error.
#[track_caller]
fn assert_error<T>(result: vfs::Result<T>, kind: ErrorKind, operation: Operation, path: &Path) {
    let error: Error = match result {
        Ok(_) => panic!("{operation} {} should have failed", path.display()),
        Err(error) => error,
    };
    assert_eq!((error.kind(), error.operation()), (kind, operation), "{error}");
    assert_eq!(error.path(), path);
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
}

fn create_is_exclusive_and_starts_empty(fs: &dyn Fs, dir: &Path) {
    let path = dir.join("a");
    let file = fs.create(&path).unwrap();
    assert_eq!(file.path(), path);
    assert!(file.is_empty().unwrap());
    file.write_all_at(b"kept", 0).unwrap();
    assert_error(fs.create(&path), ErrorKind::AlreadyExists, Operation::Create, &path);
    assert_eq!(content(fs, &path), b"kept");

    let orphan = dir.join("missing/a");
    assert_error(fs.create(&orphan), ErrorKind::NotFound, Operation::Create, &orphan);
}

fn open_needs_a_file(fs: &dyn Fs, dir: &Path) {
    let path = dir.join("a");
    for access in [Access::Read, Access::ReadWrite] {
        assert_error(fs.open(&path, access), ErrorKind::NotFound, Operation::Open, &path);
        assert_error(fs.open(dir, access), ErrorKind::InvalidInput, Operation::Open, dir);
    }
    drop(fs.create(&path).unwrap());
    let below = path.join("b");
    let result = fs.open(&below, Access::Read);
    assert_error(result, ErrorKind::InvalidInput, Operation::Open, &below);
}

fn reads_stop_at_the_end(fs: &dyn Fs, dir: &Path) {
    let path = dir.join("a");
    let bytes: Vec<u8> = (0..10_000u32).map(|i| (i % 251) as u8).collect();
    let file = with_content(fs, &path, &bytes);

    let mut buf = [0; 6000];
    assert_eq!(file.read_at(&mut buf, 1000).unwrap(), 6000);
    assert_eq!(buf, bytes[1000..7000]);
    assert_eq!(file.read_at(&mut buf, 9000).unwrap(), 1000);
    assert_eq!(buf[..1000], bytes[9000..]);
    assert_eq!(file.read_at(&mut buf, 10_000).unwrap(), 0);
    assert_eq!(file.read_at(&mut buf, 1 << 40).unwrap(), 0);
    assert_eq!(file.read_at(&mut [], 0).unwrap(), 0);

    let result = file.read_exact_at(&mut buf, 9000);
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    assert_eq!(error.range(), Some((9000, 6000)));
    assert!(error.io_error().to_string().contains("found 1000"), "{}", error.io_error());

    file.will_read(1000, 5000);
    file.will_read(1 << 40, u64::MAX);
    file.will_read(0, 0);
    let mut grown = b"before".to_vec();
    file.read_exact_onto(&mut grown, 3000, 500).unwrap();
    file.read_exact_onto(&mut grown, 0, 500).unwrap();
    file.read_exact_onto(&mut grown, 10, 9990).unwrap();
    assert_eq!(grown[..6], *b"before");
    assert_eq!(grown[6..], [&bytes[500..3500], &bytes[9990..]].concat());
    let error = file.read_exact_onto(&mut grown, 6000, 9000).unwrap_err();
    assert_eq!(grown.len(), 3016, "a failed read leaves what was there");
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    assert_eq!(error.range(), Some((9000, 6000)));
    assert!(error.io_error().to_string().contains("found 1000"), "{}", error.io_error());
}

fn writes_extend_and_leave_holes(fs: &dyn Fs, dir: &Path) {
    let path = dir.join("a");
    let file = fs.create(&path).unwrap();
    file.write_all_at(b"tail", 9000).unwrap();
    file.write_all_at(b"head", 4094).unwrap();
    assert_eq!(file.len().unwrap(), 9004);
    let mut expected = vec![0; 9004];
    expected[9000..].copy_from_slice(b"tail");
    expected[4094..4098].copy_from_slice(b"head");
    assert_eq!(content(fs, &path), expected);
    file.write_all_at(b"EA", 4095).unwrap();
    expected[4095..4097].copy_from_slice(b"EA");
    assert_eq!(content(fs, &path), expected);
}

fn parts_are_written_one_behind_the_other(fs: &dyn Fs, dir: &Path) {
    let path = dir.join("a");
    let file = with_content(fs, &path, b"abc");
    // More than a system takes at a time, empty ones among them.
    let bytes: Vec<u8> = (0..5000u32).map(|i| (i % 251) as u8).collect();
    let mut parts: Vec<_> = bytes.chunks(2).map(IoSlice::new).collect();
    for at in [0, 0, 7, 1000, 2000] {
        parts.insert(at, IoSlice::new(&[]));
    }
    file.write_parts_at(&mut parts, 2).unwrap();
    let mut expected = b"ab".to_vec();
    expected.extend(&bytes);
    assert_eq!(content(fs, &path), expected);

    let many = vec![0; 3000];
    let mut parts: Vec<_> = many.iter().map(|_: &u8| IoSlice::new(&[])).collect();
    file.write_parts_at(&mut parts, 9000).unwrap();
    assert_eq!(content(fs, &path).len(), expected.len(), "nothing was to be written");
}

fn a_durable_write_is_a_write(fs: &dyn Fs, dir: &Path) {
    let path = dir.join("a");
    let file = with_content(fs, &path, b"abcdef");
    file.write_durable_at(b"xyz", 4).unwrap();
    assert_eq!(content(fs, &path), b"abcdxyz");
}

fn writing_nothing_does_nothing(fs: &dyn Fs, dir: &Path) {
    let file = fs.create(&dir.join("a")).unwrap();
    file.write_all_at(&[], 500).unwrap();
    file.write_parts_at(&mut [], 500).unwrap();
    file.write_parts_at(&mut [IoSlice::new(&[])], 500).unwrap();
    file.write_durable_at(&[], 500).unwrap();
    file.allocate(500, 0).unwrap();
    file.punch_hole(500, 0).unwrap();
    file.sync_range(500, 0, true).unwrap();
    assert_eq!(file.len().unwrap(), 0);
}

fn read_handles_refuse_every_change(fs: &dyn Fs, dir: &Path) {
    use Operation::{Allocate, Map, PunchHole, SetLen, Write};

    let path = dir.join("a");
    with_content(fs, &path, b"content");
    let file = fs.open(&path, Access::Read).unwrap();
    let denied = ErrorKind::PermissionDenied;
    assert_error(file.write_all_at(b"x", 0), denied, Write, &path);
    assert_error(file.write_parts_at(&mut [IoSlice::new(b"x")], 0), denied, Write, &path);
    assert_error(file.write_durable_at(b"x", 0), denied, Write, &path);
    assert_error(file.allocate(0, 10_000), denied, Allocate, &path);
    assert_error(file.set_len(1), denied, SetLen, &path);
    assert_error(file.punch_hole(0, 7), denied, PunchHole, &path);
    assert_error(file.map(0, 7, Access::ReadWrite), denied, Map, &path);
    assert_eq!(content(fs, &path), b"content");
}

fn handles_share_one_content(fs: &dyn Fs, dir: &Path) {
    let path = dir.join("a");
    let first = with_content(fs, &path, b"one");
    let second = fs.open(&path, Access::ReadWrite).unwrap();
    second.write_all_at(b" two", 3).unwrap();
    let mut buf = [0; 7];
    first.read_exact_at(&mut buf, 0).unwrap();
    assert_eq!(&buf, b"one two");
}

fn allocate_extends_and_keeps_content(fs: &dyn Fs, dir: &Path) {
    let path = dir.join("a");
    let file = with_content(fs, &path, b"content");
    file.allocate(0, 100_000).unwrap();
    assert_eq!(file.len().unwrap(), 100_000);
    file.allocate(0, 10).unwrap();
    assert_eq!(file.len().unwrap(), 100_000, "never shortens");
    let bytes = content(fs, &path);
    assert_eq!(&bytes[..7], b"content");
    assert!(bytes[7..].iter().all(|byte| *byte == 0));
}

fn set_len_cuts_and_extends_with_zeros(fs: &dyn Fs, dir: &Path) {
    let path = dir.join("a");
    let file = with_content(fs, &path, &[7; 10_000]);
    file.set_len(5000).unwrap();
    assert_eq!(content(fs, &path), [7; 5000]);
    file.set_len(10_000).unwrap();
    let bytes = content(fs, &path);
    assert_eq!(bytes[..5000], [7; 5000]);
    assert_eq!(bytes[5000..], [0; 5000], "what was cut off does not come back");
    file.set_len(0).unwrap();
    assert!(file.is_empty().unwrap());
}

fn punched_holes_read_as_zeros(fs: &dyn Fs, dir: &Path) {
    let path = dir.join("a");
    let file = with_content(fs, &path, &[7; 20_000]);
    if let Err(error) = file.punch_hole(1000, 10_000) {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        return;
    }
    let bytes = content(fs, &path);
    assert_eq!(bytes.len(), 20_000);
    assert!(bytes[..1000].iter().chain(&bytes[11_000..]).all(|byte| *byte == 7));
    assert!(bytes[1000..11_000].iter().all(|byte| *byte == 0));
}

fn syncs_succeed_on_what_exists(fs: &dyn Fs, dir: &Path) {
    let path = dir.join("a");
    let file = with_content(fs, &path, &[7; 10_000]);
    file.sync_range(0, 10_000, false).unwrap();
    file.sync_range(0, 10_000, true).unwrap();
    file.sync_data().unwrap();
    file.sync_all().unwrap();
    fs.sync_dir(dir).unwrap();
    let missing = dir.join("missing");
    assert_error(fs.sync_dir(&missing), ErrorKind::NotFound, Operation::SyncDir, &missing);
    assert_error(fs.sync_dir(&path), ErrorKind::InvalidInput, Operation::SyncDir, &path);
}

fn rename_replaces(fs: &dyn Fs, dir: &Path) {
    let (from, to) = (dir.join("tmp"), dir.join("CURRENT"));
    let old = with_content(fs, &to, b"old");
    let new = with_content(fs, &from, b"new");
    fs.rename(&from, &to).unwrap();
    assert!(!fs.exists(&from).unwrap());
    assert_eq!(content(fs, &to), b"new");

    let mut buf = [0; 3];
    old.read_exact_at(&mut buf, 0).unwrap();
    assert_eq!(&buf, b"old", "a replaced file lives on in its handles");
    new.write_all_at(b"NEW", 0).unwrap();
    assert_eq!(content(fs, &to), b"NEW", "a handle follows its file");
    assert_eq!(fs.list(dir).unwrap().len(), 1);

    fs.rename(&to, &to).unwrap();
    assert_eq!(content(fs, &to), b"NEW", "renaming to the same name does nothing");
}

fn rename_moves_between_directories(fs: &dyn Fs, dir: &Path) {
    let (from, to) = (dir.join("a"), dir.join("archive/b"));
    fs.create_dir_all(&dir.join("archive")).unwrap();
    with_content(fs, &from, b"content");
    fs.rename(&from, &to).unwrap();
    assert!(!fs.exists(&from).unwrap());
    assert_eq!(content(fs, &to), b"content");
}

fn rename_needs_a_source(fs: &dyn Fs, dir: &Path) {
    let (from, to) = (dir.join("a"), dir.join("b"));
    let error = fs.rename(&from, &to).unwrap_err();
    assert_eq!(error.target(), Some(to.as_path()));
    assert_error(fs.rename(&from, &to), ErrorKind::NotFound, Operation::Rename, &from);
    with_content(fs, &from, b"content");
    let to = dir.join("missing/b");
    assert_error(fs.rename(&from, &to), ErrorKind::NotFound, Operation::Rename, &from);
    assert_eq!(content(fs, &from), b"content");
}

fn removed_files_stay_readable_through_handles(fs: &dyn Fs, dir: &Path) {
    let path = dir.join("a");
    let file = with_content(fs, &path, b"content");
    fs.remove(&path).unwrap();
    assert!(!fs.exists(&path).unwrap());
    let mut buf = [0; 7];
    file.read_exact_at(&mut buf, 0).unwrap();
    assert_eq!(&buf, b"content");
    file.sync_all().unwrap();
    assert_error(fs.remove(&path), ErrorKind::NotFound, Operation::Remove, &path);

    with_content(fs, &path, b"other");
    file.read_exact_at(&mut buf, 0).unwrap();
    assert_eq!(&buf, b"content", "a new file of that name is another one");
    assert!(fs.remove(dir).is_err(), "not a file");
    assert!(fs.exists(dir).unwrap());
}

fn list_is_sorted_and_tells_lengths(fs: &dyn Fs, dir: &Path) {
    for (name, len) in [("b", 5000), ("a", 0), ("10", 3), ("9", 1)] {
        with_content(fs, &dir.join(name), &vec![1; len]);
    }
    fs.create_dir_all(&dir.join("c")).unwrap();
    with_content(fs, &dir.join("c/inner"), b"x");
    let entries = fs.list(dir).unwrap();
    let entries: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.len, e.is_dir)).collect();
    let expected =
        [("10", 3, false), ("9", 1, false), ("a", 0, false), ("b", 5000, false), ("c", 0, true)];
    assert_eq!(entries, expected);
    let missing = dir.join("missing");
    assert_error(fs.list(&missing), ErrorKind::NotFound, Operation::List, &missing);
    let file = dir.join("a");
    assert_error(fs.list(&file), ErrorKind::InvalidInput, Operation::List, &file);
}

fn create_dir_all_is_nested_and_idempotent(fs: &dyn Fs, dir: &Path) {
    let deep = dir.join("x/y/z");
    fs.create_dir_all(&deep).unwrap();
    fs.create_dir_all(&deep).unwrap();
    with_content(fs, &deep.join("a"), b"content");
    fs.create_dir_all(&deep).unwrap();
    assert_eq!(content(fs, &deep.join("a")), b"content");

    let below_file = deep.join("a/b");
    let error = fs.create_dir_all(&below_file).unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidInput, Operation::CreateDir));
    let file = deep.join("a");
    assert_error(fs.create_dir_all(&file), ErrorKind::InvalidInput, Operation::CreateDir, &file);
}

fn exists_and_metadata(fs: &dyn Fs, dir: &Path) {
    let path = dir.join("a");
    assert!(!fs.exists(&path).unwrap());
    assert_error(fs.metadata(&path), ErrorKind::NotFound, Operation::Metadata, &path);
    with_content(fs, &path, b"content");
    assert!(fs.exists(&path).unwrap());
    let metadata = fs.metadata(&path).unwrap();
    assert_eq!((metadata.len, metadata.is_dir), (7, false));
    let metadata = fs.metadata(dir).unwrap();
    assert_eq!((metadata.len, metadata.is_dir), (0, true));
}

fn locks_exclude_each_other(fs: &dyn Fs, dir: &Path) {
    let path = dir.join("LOCK");
    let lock = fs.lock(&path).unwrap();
    assert_eq!(lock.path(), path);
    assert!(fs.exists(&path).unwrap());
    assert_error(fs.lock(&path), ErrorKind::Locked, Operation::Lock, &path);
    assert_error(fs.lock(&path), ErrorKind::Locked, Operation::Lock, &path);
    let other = fs.lock(&dir.join("OTHER")).unwrap();
    drop(lock);
    let lock = fs.lock(&path).unwrap();
    drop((lock, other));
    assert!(fs.exists(&path).unwrap(), "the file stays");
}

fn free_space_is_known(fs: &dyn Fs, dir: &Path) {
    assert!(fs.free_space(dir).unwrap() > 0);
    fs.map_support(dir).unwrap();
    let missing = dir.join("missing");
    assert_error(fs.free_space(&missing), ErrorKind::NotFound, Operation::FreeSpace, &missing);
    assert_error(fs.map_support(&missing), ErrorKind::NotFound, Operation::MapSupport, &missing);
}

fn mapped_writes_and_file_writes_are_the_same_bytes(fs: &dyn Fs, dir: &Path) {
    let path = dir.join("a");
    let file = with_content(fs, &path, &[b'.'; 10_000]);
    // An offset that is no multiple of any page size.
    let region = file.map(4000, 5000, Access::ReadWrite).unwrap();
    assert_eq!((region.len(), region.file_offset(), region.is_empty()), (5000, 4000, false));
    // SAFETY: this thread alone uses the mapping.
    unsafe {
        region.write(0, b"first").unwrap();
        region.write(90, b"across a page").unwrap();
        region.write(4996, b"last").unwrap();
        region.write(5000, b"").unwrap();
    }
    let bytes = content(fs, &path);
    assert_eq!(&bytes[3999..4006], b".first.");
    assert_eq!(&bytes[4089..4104], b".across a page.");
    assert_eq!(&bytes[8995..9001], b".last.");

    file.write_all_at(b"FIRST", 4000).unwrap();
    let mut buf = [0; 6];
    // SAFETY: as above.
    unsafe { region.read(0, &mut buf).unwrap() };
    assert_eq!(&buf, b"FIRST.");
}

fn mappings_check_their_range(fs: &dyn Fs, dir: &Path) {
    use Operation::{Map, MapFlush, MapRead, MapWrite, Populate};

    let path = dir.join("a");
    let file = with_content(fs, &path, &[0; 10_000]);
    let (read, write) = (Access::Read, Access::ReadWrite);
    assert_error(file.map(0, 0, write), ErrorKind::InvalidInput, Map, &path);
    for (offset, len) in [(0, 10_001), (9_999, 2), (10_000, 1), (u64::MAX, 1), (1, usize::MAX)] {
        assert_error(file.map(offset, len, read), ErrorKind::UnexpectedEof, Map, &path);
    }

    let region = file.map(100, 200, write).unwrap();
    let invalid = ErrorKind::InvalidInput;
    for (offset, len) in [(199, 2), (200, 1), (201, 0), (usize::MAX, 2)] {
        let mut bytes = vec![1; len];
        // SAFETY: this thread alone uses the mapping.
        unsafe {
            assert_error(region.write(offset, &bytes), invalid, MapWrite, &path);
            assert_error(region.read(offset, &mut bytes), invalid, MapRead, &path);
        }
        assert_error(region.populate(offset, len), invalid, Populate, &path);
        assert_error(region.flush_range(offset, len), invalid, MapFlush, &path);
    }
    assert!(content(fs, &path).iter().all(|byte| *byte == 0));
}

fn mappings_for_reading_refuse_writes(fs: &dyn Fs, dir: &Path) {
    let path = dir.join("a");
    with_content(fs, &path, b"content");
    let file = fs.open(&path, Access::Read).unwrap();
    let region = file.map(0, 7, Access::Read).unwrap();
    let mut buf = [0; 7];
    // SAFETY: this thread alone uses the mapping.
    unsafe {
        region.read(0, &mut buf).unwrap();
        let result = region.write(0, b"x");
        assert_error(result, ErrorKind::PermissionDenied, Operation::MapWrite, &path);
    }
    assert_eq!(&buf, b"content");
}

fn mappings_outlive_their_handle(fs: &dyn Fs, dir: &Path) {
    let path = dir.join("a");
    let file = with_content(fs, &path, b"content");
    let region = file.map(0, 7, Access::ReadWrite).unwrap();
    drop(file);
    // SAFETY: this thread alone uses the mapping.
    unsafe { region.write(0, b"C").unwrap() };
    assert_eq!(content(fs, &path), b"Content");
    fs.remove(&path).unwrap();
    let mut buf = [0; 7];
    // SAFETY: as above.
    unsafe { region.read(0, &mut buf).unwrap() };
    assert_eq!(&buf, b"Content");
}

fn mapped_ranges_populate_and_flush(fs: &dyn Fs, dir: &Path) {
    let file = fs.create(&dir.join("a")).unwrap();
    file.allocate(0, 100_000).unwrap();
    for access in [Access::Read, Access::ReadWrite] {
        let region = file.map(10, 99_990, access).unwrap();
        for (offset, len) in [(0, 99_990), (50_000, 1), (3, 0)] {
            if let Err(error) = region.populate(offset, len) {
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            }
            region.flush_range(offset, len).unwrap();
        }
    }
}

fn threads_write_disjoint_mapped_ranges(fs: &dyn Fs, dir: &Path) {
    const PART: usize = 1001;
    let path = dir.join("a");
    let file = fs.create(&path).unwrap();
    file.allocate(0, 8 * PART as u64).unwrap();
    let region = file.map(0, 8 * PART, Access::ReadWrite).unwrap();
    std::thread::scope(|scope| {
        for part in 0..8 {
            let region = &region;
            scope.spawn(move || {
                for at in 0..PART {
                    // SAFETY: no other thread touches this part, and nobody reads.
                    unsafe { region.write(part * PART + at, &[part as u8 + 1]).unwrap() };
                }
            });
        }
    });
    let expected: Vec<u8> = (0..8 * PART).map(|at| (at / PART) as u8 + 1).collect();
    assert_eq!(content(fs, &path), expected);
}
