//! What only a real file system can show: blocks, signals avoided, other processes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use vfs::{ErrorKind, Fs, RealFs};

const LOCK_PATH_VARIABLE: &str = "POLDER_VFS_TEST_LOCK";

/// Not a test of its own: what the child process of the test below does.
#[test]
fn child_that_holds_a_lock() {
    let Some(path) = std::env::var_os(LOCK_PATH_VARIABLE) else { return };
    let _lock = RealFs::new().lock(Path::new(&path)).unwrap();
    println!("holds the lock");
    // Until the parent kills it, or dies itself and closes the pipe.
    std::io::stdin().lines().for_each(drop);
}

#[test]
fn a_lock_excludes_other_processes_and_ends_with_its_holder() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("LOCK");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "real::child_that_holds_a_lock", "--nocapture"])
        .env(LOCK_PATH_VARIABLE, &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("holds the lock")));

    let fs = RealFs::new();
    assert_eq!(fs.lock(&path).unwrap_err().kind(), ErrorKind::Locked);
    child.kill().unwrap();
    child.wait().unwrap();
    drop(fs.lock(&path).unwrap());
}

#[cfg(unix)]
#[test]
fn list_leaves_out_names_that_are_not_utf8_and_dangling_links() {
    use std::os::unix::ffi::OsStrExt;

    let dir = tempfile::tempdir().unwrap();
    let fs = RealFs::new();
    drop(fs.create(&dir.path().join("a")).unwrap());
    std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
    // Some file systems refuse such names; then there is nothing to leave out.
    let odd = dir.path().join(std::ffi::OsStr::from_bytes(b"odd\xFF"));
    if let Ok(file) = fs.create(&odd) {
        drop(file);
    }
    let names: Vec<_> = fs.list(dir.path()).unwrap().into_iter().map(|e| e.name).collect();
    assert_eq!(names, ["a"]);
}

#[cfg(target_os = "linux")]
mod linux {
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use vfs::{Access, MapSupport, Operation};

    fn allocated_bytes(path: &Path) -> u64 {
        std::fs::metadata(path).unwrap().blocks() * 512
    }

    /// Whether the directory of the test is on a file system that is known to do what is tested.
    fn is_known(fs: &RealFs, dir: &Path) -> bool {
        let known = fs.map_support(dir).unwrap() == MapSupport::Known;
        if !known {
            eprintln!("not tested: {} is not on ext4, xfs or tmpfs", dir.display());
        }
        known
    }

    #[test]
    fn allocate_takes_blocks_and_punch_hole_gives_them_back() {
        let dir = tempfile::tempdir().unwrap();
        let fs = RealFs::new();
        if !is_known(&fs, dir.path()) {
            return;
        }
        let path = dir.path().join("a");
        let file = fs.create(&path).unwrap();
        file.allocate(0, 1 << 20).unwrap();
        assert!(allocated_bytes(&path) >= 1 << 20);
        file.punch_hole(0, 1 << 19).unwrap();
        let left = allocated_bytes(&path);
        assert!((1 << 19..1 << 20).contains(&left), "{left} bytes left");
        assert_eq!(file.len().unwrap(), 1 << 20);
    }

    #[test]
    fn populate_reports_what_would_be_a_sigbus() {
        let dir = tempfile::tempdir().unwrap();
        let fs = RealFs::new();
        let file = fs.create(&dir.path().join("a")).unwrap();
        file.allocate(0, 1 << 20).unwrap();
        for access in [Access::Read, Access::ReadWrite] {
            let region = file.map(0, 1 << 20, access).unwrap();
            if let Err(error) = region.populate(0, 1 << 20) {
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
                eprintln!("not tested: this kernel cannot populate mappings");
                return;
            }
            file.set_len(1 << 19).unwrap();
            region.populate(0, 1 << 19).unwrap();
            let error = region.populate(1 << 19, 4096).unwrap_err();
            assert_eq!((error.kind(), error.operation()), (ErrorKind::Io, Operation::Populate));
            file.set_len(1 << 20).unwrap();
        }
    }

    #[test]
    fn a_full_file_system_is_no_space() {
        let fs = RealFs::new();
        let dir = Path::new("/dev/shm");
        let is_tmpfs = std::fs::read_to_string("/proc/mounts").is_ok_and(|mounts| {
            mounts.lines().any(|line| line.split(' ').skip(1).take(2).eq(["/dev/shm", "tmpfs"]))
        });
        let Some(dir) = is_tmpfs.then(|| tempfile::tempdir_in(dir).ok()).flatten() else {
            eprintln!("not tested: no tmpfs that is sure to have a limit");
            return;
        };
        let file = fs.create(&dir.path().join("a")).unwrap();
        // More than any machine has; tmpfs compares with its limit before it takes anything.
        let error = file.allocate(0, 1 << 50).unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::NoSpace, Operation::Allocate));
        assert_eq!(error.range(), Some((0, 1 << 50)));
    }

    #[test]
    fn ranges_past_what_the_system_counts_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let fs = RealFs::new();
        let file = fs.create(&dir.path().join("a")).unwrap();
        assert!(file.write_all_at(b"x", u64::MAX).is_err());
        assert!(file.read_at(&mut [0], u64::MAX).is_err());
        assert!(file.allocate(u64::MAX, 2).is_err());
        assert!(file.punch_hole(1, u64::MAX).is_err());
        assert!(file.sync_range(u64::MAX, 1, true).is_err());
        assert!(file.set_len(u64::MAX).is_err());
        assert!(file.is_empty().unwrap());
    }

    #[test]
    fn known_file_systems_are_known_by_their_number() {
        let fs = RealFs::new();
        assert_eq!(fs.map_support(Path::new("/proc")).unwrap(), MapSupport::Unknown);
    }
}
