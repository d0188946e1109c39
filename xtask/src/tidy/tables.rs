//! The tables of the rules: what is forbidden where, and each exception with its reason.
//!
//! An exception that nothing needs any more is itself a finding, so that the tables stay short.

/// A path that code must not name outside the places made for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ban {
    /// The path and everything below it.
    pub(super) path: &'static str,
    /// Starts of the files that may use it.
    pub(super) allowed: &'static [&'static str],
    /// What to use instead.
    pub(super) instead: &'static str,
}

/// Where the operating system's file system may be touched.
const FILES: &[&str] = &["crates/vfs/src/"];

/// Where clocks, threads, locks and atomics may come from the standard library: the two layers that
/// tests replace by a model, and the simulated file system, which is no part of a model.
const SYNC: &[&str] = &["crates/base/src/sync", "crates/credit/src/sync", "crates/vfs/src/sim"];

const USE_VFS: &str = "go through vfs::Fs, so that the simulated file system sees it";
const USE_SYNC: &str =
    "go through base::sync (credit: its own `sync`), so that loom and a scheduler can drive it";

const fn files(path: &'static str) -> Ban {
    Ban { path, allowed: FILES, instead: USE_VFS }
}

const fn sync(path: &'static str) -> Ban {
    Ban { path, allowed: SYNC, instead: USE_SYNC }
}

/// What code outside tests must not name.
pub(super) const BANS: &[Ban] = &[
    files("std::fs"),
    files("std::os::unix::fs"),
    files("std::os::windows::fs"),
    files("rustix::fs"),
    sync("std::time::Instant::now"),
    sync("std::time::SystemTime::now"),
    sync("std::thread::spawn"),
    sync("std::thread::scope"),
    sync("std::thread::sleep"),
    sync("std::thread::park"),
    sync("std::thread::park_timeout"),
    sync("std::thread::yield_now"),
    sync("std::thread::Builder"),
    sync("std::sync::Mutex"),
    sync("std::sync::RwLock"),
    sync("std::sync::Condvar"),
    sync("std::sync::Barrier"),
    sync("std::sync::mpsc"),
    sync("std::sync::atomic"),
    sync("parking_lot"),
    sync("crossbeam_utils::sync"),
    sync("crossbeam_utils::thread"),
    sync("loom"),
    sync("shuttle"),
];

/// Below a forbidden path, and still allowed everywhere.
pub(super) const HARMLESS: &[&str] = &["std::sync::atomic::Ordering"];

/// A file that may do what a rule forbids.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exception {
    /// The file.
    pub(super) path: &'static str,
    /// Why it may.
    pub(super) reason: &'static str,
}

const fn exception(path: &'static str, reason: &'static str) -> Exception {
    Exception { path, reason }
}

/// Files outside tests that may name a forbidden path.
pub(super) const BAN_EXCEPTIONS: &[Exception] = &[
    exception(
        "crates/credit/src/audit.rs",
        "a second account that only debug builds keep, and none of them under loom",
    ),
    exception(
        "crates/memtable/src/atomic.rs",
        "atomics in raw memory have to be plain words, which shuttle's are not",
    ),
    exception(
        "crates/credit/src/limiter/clock.rs",
        "the clock that the limiter is given, which tests replace by one that stands still",
    ),
    exception(
        "crates/memtable/src/chunk.rs",
        "a counter for reports has to be a static, which loom's atomics cannot be",
    ),
    exception(
        "crates/memtable/src/table.rs",
        "a source of numbers has to be a static, which loom's atomics cannot be",
    ),
    exception(
        "crates/memtable/src/entry.rs",
        "a cell that is there under loom only, so that loom sees the plain bytes of an entry",
    ),
    exception(
        "crates/memtable/src/tree/node.rs",
        "a cell that is there under loom only, so that loom sees the plain bytes of a node",
    ),
];

/// Files outside tests that may contain `unsafe`. Every other one must not, and a crate with none of
/// them says `#![forbid(unsafe_code)]`.
pub(super) const UNSAFE_FILES: &[Exception] = &[
    exception("benches/compare/src/engines/leveldb.rs", "LevelDB's C interface"),
    exception("benches/compare/src/engines/lmdb.rs", "opening a memory map, and without syncs"),
    exception("benches/src/heap.rs", "a global allocator that counts: the trait is unsafe"),
    exception("crates/base/src/prefetch.rs", "an instruction that fetches a cache line"),
    exception(
        "crates/credit/src/handle.rs",
        "a permit of one word: the bytes held keep the account alive, not a second count",
    ),
    exception("crates/engine/src/tables/mapped.rs", "says that table files do not change"),
    exception(
        "crates/memtable/src/arena.rs",
        "rooms cut out of mapped memory move between threads",
    ),
    exception("crates/memtable/src/arena/directory.rs", "addresses of chunks are shared"),
    exception("crates/memtable/src/arena/slots.rs", "slots in mapped memory move between threads"),
    exception("crates/memtable/src/cursor.rs", "a cursor owns the table that its place lies in"),
    exception("crates/memtable/src/entry.rs", "the layout of an entry in arena memory"),
    exception(
        "crates/memtable/src/table.rs",
        "writes entries into rooms that were reserved for them",
    ),
    exception("crates/memtable/src/tree/insert.rs", "takes references to entries on trust"),
    exception("crates/memtable/src/tree/link.rs", "pointers between nodes in arena memory"),
    exception("crates/memtable/src/tree/mod.rs", "follows references that inserts have stored"),
    exception("crates/sstable/src/table/mapped.rs", "values that lie in a mapped file"),
    exception("crates/vfs/src/map.rs", "mapped files are touched through raw pointers only"),
    exception("crates/vfs/src/real/linux.rs", "mapping a file, and advice on the mapping"),
    exception("crates/vfs/src/real/portable.rs", "mapping a file where Linux's calls are missing"),
    exception("crates/wal/src/backend/mapped.rs", "stores records into mapped segments"),
];
