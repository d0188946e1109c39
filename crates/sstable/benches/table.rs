//! Point reads, scans and writing of one table of 500,000 entries, 16-byte keys and 100-byte values, in the page cache.
//!
//! `cargo bench -p polder-sstable --bench table -- --quick`

use base::{Cursor, FileNumber, InternalKeyRef, SeqNo, ValueKind};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use sstable::{
    Block, BlockCache, BlockCacheHandle, Compression, CompressionHelpers, FoundRef, ReadBlocks,
    ScanOptions, Table, TableOptions, TableWriter,
};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use vfs::{Access, File, Fs, RealFs};

const ENTRIES: u64 = 500_000;
const VALUE_BYTES: usize = 100;

#[derive(Clone)]
struct ByBytes;

impl Weighter<(FileNumber, u64), Block> for ByBytes {
    fn weight(&self, _: &(FileNumber, u64), block: &Block) -> u64 {
        block.memory_bytes() as u64
    }
}

struct QuickCache(Cache<(FileNumber, u64), Block, ByBytes>);

impl BlockCache for QuickCache {
    fn get(&self, table: FileNumber, offset: u64) -> Option<Block> {
        self.0.get(&(table, offset))
    }
    fn insert(&self, table: FileNumber, offset: u64, block: Block) {
        self.0.insert((table, offset), block);
    }
    fn keep(&self, _: usize) -> bool {
        true
    }
}

fn cache(table: u64, bytes: u64) -> BlockCacheHandle {
    let cache = Arc::new(QuickCache(Cache::with_weighter(20_000, bytes, ByBytes)));
    BlockCacheHandle { cache, table: FileNumber::new(table) }
}

/// A sequence of numbers without visible order, the same on each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn user_key(number: u64) -> [u8; 16] {
    let mut key = *b"user000000000000";
    let mut rest = number;
    for digit in key.iter_mut().rev().take(12) {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

/// Half of a value compresses well.
fn value(random: &mut Random) -> [u8; VALUE_BYTES] {
    let mut value = [b'v'; VALUE_BYTES];
    for word in value[..VALUE_BYTES / 2].chunks_mut(8) {
        word.copy_from_slice(&random.next().to_le_bytes()[..word.len()]);
    }
    value
}

fn write(file: Arc<dyn File>, compression: Compression, entries: u64) -> u64 {
    let options = TableOptions { compression, ..TableOptions::default() };
    write_with(file, options, entries, user_key)
}

fn write_with(
    file: Arc<dyn File>,
    options: TableOptions,
    entries: u64,
    user_key: impl Fn(u64) -> [u8; 16],
) -> u64 {
    fill(TableWriter::new(file, options), entries, user_key)
}

fn fill(mut writer: TableWriter, entries: u64, user_key: impl Fn(u64) -> [u8; 16]) -> u64 {
    let mut random = Random(88_172_645_463_325_252);
    for number in 0..entries {
        let user_key = user_key(number * 2);
        let key = InternalKeyRef::new(&user_key, SeqNo::new(number + 1), ValueKind::Put);
        writer.add(key, &value(&mut random)).expect("keys ascend");
    }
    writer.finish().expect("the disk has room").file_bytes
}

fn reading(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let fs = RealFs::new();
    let compressions = [
        ("none", Compression::None),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd { level: 3 }),
    ];
    for (name, compression) in compressions {
        let path = dir.path().join(name);
        write(fs.create(&path).expect("a new file"), compression, ENTRIES);
        let open = |cache| {
            let file = fs.open(&path, Access::Read).expect("the file just written");
            Arc::new(Table::open(file, cache).expect("a table"))
        };
        point_reads(
            criterion,
            name,
            &open(Some(cache(1, 256 << 20))),
            &open(Some(cache(1, 4 << 20))),
        );
        scans(criterion, name, &open(None), &open(Some(cache(1, 256 << 20))));
    }
}

fn point_reads(criterion: &mut Criterion, name: &str, cached: &Table, uncached: &Table) {
    let mut group = criterion.benchmark_group("get");
    let mut random = Random(1);
    for (which, table) in [("cached", cached), ("4 MiB cache", uncached)] {
        for (what, odd) in [("hit", 0), ("miss", 1)] {
            group.bench_function(format!("{what}, {which}, {name}"), |bencher| {
                bencher.iter(|| {
                    let key = user_key(random.next() % ENTRIES * 2 + odd);
                    let found = table.get(black_box(&key), SeqNo::MAX).expect("a sound table");
                    assert_eq!(found.is_some(), odd == 0);
                });
            });
        }
    }
}

fn scans(criterion: &mut Criterion, name: &str, uncached: &Arc<Table>, cached: &Arc<Table>) {
    let mut group = criterion.benchmark_group("scan");
    group.throughput(Throughput::Elements(ENTRIES));
    group.sample_size(10);
    for (readahead, readahead_bytes) in
        [("", 256 << 10), (" 64K", 64 << 10), (" 1M", 1 << 20), (" off", 0)]
    {
        let options = ScanOptions { readahead_bytes, ..ScanOptions::default() };
        group.bench_function(format!("forward, readahead{readahead}, {name}"), |bencher| {
            bencher.iter(|| {
                let mut cursor = uncached.cursor_with(options);
                let mut bytes = 0;
                cursor.seek_to_first().expect("a sound table");
                while cursor.is_valid() {
                    bytes += cursor.key().user_key.len() + cursor.value().len();
                    cursor.next().expect("a sound table");
                }
                black_box(bytes)
            });
        });
    }
    group.bench_function(format!("backward, {name}"), |bencher| {
        bencher.iter(|| {
            let mut cursor = uncached.cursor();
            let mut bytes = 0;
            cursor.seek_to_last().expect("a sound table");
            while cursor.is_valid() {
                bytes += cursor.key().user_key.len() + cursor.value().len();
                cursor.prev().expect("a sound table");
            }
            black_box(bytes)
        });
    });
    group.bench_function(format!("forward, cached, {name}"), |bencher| {
        bencher.iter(|| {
            let mut cursor = cached.cursor();
            let mut bytes = 0;
            cursor.seek_to_first().expect("a sound table");
            while cursor.is_valid() {
                bytes += cursor.key().user_key.len() + cursor.value().len();
                cursor.next().expect("a sound table");
            }
            black_box(bytes)
        });
    });
    group.throughput(Throughput::Elements(100));
    let mut random = Random(2);
    let mut cursor = cached.cursor();
    group.bench_function(format!("seek and 100 entries, cached, {name}"), |bencher| {
        bencher.iter(|| {
            let key = user_key(random.next() % ENTRIES * 2);
            cursor.seek(InternalKeyRef::seek_at(&key, SeqNo::MAX)).expect("a sound table");
            for _ in 0..100 {
                if cursor.is_valid() {
                    black_box(cursor.value());
                    cursor.next().expect("a sound table");
                }
            }
        });
    });
}

fn writing(criterion: &mut Criterion) {
    const WRITTEN: u64 = 100_000;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let fs = RealFs::new();
    let mut group = criterion.benchmark_group("write");
    group.throughput(Throughput::Elements(WRITTEN));
    group.sample_size(10);
    for (name, compression) in [
        ("none", Compression::None),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd { level: 3 }),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || new_file(&fs, &dir.path().join(name)),
                |file| write(file, compression, WRITTEN),
                BatchSize::PerIteration,
            );
        });
    }
}

/// Zstandard by the writer alone, and with helpers.
fn helping(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (fs, path) = (RealFs::new(), dir.path().join("helped"));
    let mut group = criterion.benchmark_group("write/helped");
    group.sample_size(10).throughput(Throughput::Elements(ENTRIES));
    for level in [-3, 1, 3, 9] {
        for threads in [0, 1, 2] {
            let helpers = Arc::new(CompressionHelpers::start(threads).expect("threads"));
            let compression = Compression::Zstd { level };
            let options = TableOptions { compression, ..TableOptions::default() };
            group.bench_function(format!("zstd{level}/{threads}"), |bencher| {
                let write = |file| {
                    let writer = TableWriter::new(file, options.clone()).with_helpers(&helpers);
                    fill(writer, ENTRIES, user_key)
                };
                bencher.iter_batched(|| new_file(&fs, &path), write, BatchSize::PerIteration);
            });
        }
    }
}

fn new_file(fs: &RealFs, path: &Path) -> Arc<dyn File> {
    if fs.exists(path).expect("a readable directory") {
        fs.remove(path).expect("a writable directory");
    }
    fs.create(path).expect("a new file")
}

/// Sizes of blocks and distances of restarts: 1,000,000 entries of 16 and 100 bytes, not compressed, of which the cache
/// holds half, as in the engine's comparison.
fn shapes(criterion: &mut Criterion) {
    const ENTRIES: u64 = 1_000_000;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let fs = RealFs::new();
    for (block_kib, restart_interval, is_mapped) in [
        (16, 16, false),
        (16, 16, true),
        (8, 16, false),
        (4, 16, false),
        (4, 16, true),
        (4, 4, false),
    ] {
        let mapped = if is_mapped { ", mapped" } else { "" };
        let name = format!("{block_kib} KiB, restarts {restart_interval}{mapped}");
        let path = dir.path().join(&name);
        let options = TableOptions {
            compression: Compression::None,
            block_bytes: block_kib << 10,
            restart_interval,
            ..TableOptions::default()
        };
        let bytes = write_with(fs.create(&path).expect("a new file"), options, ENTRIES, key_bytes);
        let file = fs.open(&path, Access::Read).expect("the file just written");
        let cache = Some(cache(1, 64 << 20));
        // SAFETY: nobody else knows of the file.
        let mapped = || unsafe { Table::open_mapped(Arc::clone(&file), cache.clone()) };
        let opened =
            if is_mapped { mapped() } else { Table::open(Arc::clone(&file), cache.clone()) };
        let table = Arc::new(opened.expect("a table"));
        let properties = table.properties();
        println!(
            "{name}: file {bytes}, index {}, open table {} bytes",
            properties.index_stored_bytes,
            table.memory_bytes()
        );
        let mut group = criterion.benchmark_group("shape");
        let mut random = Random(1);
        let mut get = |count| {
            for _ in 0..count {
                let key = key_bytes(random.next() % ENTRIES * 2);
                let found = table.get(black_box(&key), SeqNo::MAX).expect("a sound table");
                assert!(found.is_some());
            }
        };
        get(1_000_000);
        group.bench_function(format!("get, {name}"), |bencher| bencher.iter(|| get(1)));
        let mut cursor = table.cursor();
        let mut random = Random(2);
        group.bench_function(format!("seek and 100 entries, {name}"), |bencher| {
            bencher.iter(|| {
                let key = key_bytes(random.next() % ENTRIES * 2);
                cursor.seek(InternalKeyRef::seek_at(&key, SeqNo::MAX)).expect("a sound table");
                for _ in 0..100 {
                    if cursor.is_valid() {
                        black_box(cursor.value());
                        cursor.next().expect("a sound table");
                    }
                }
            });
        });
        group.sample_size(10);
        group.bench_function(format!("forward, {name}"), |bencher| {
            bencher.iter(|| {
                let options = ScanOptions { fill_cache: false, ..ScanOptions::default() };
                let mut cursor = table.cursor_with(options);
                cursor.seek_to_first().expect("a sound table");
                while cursor.is_valid() {
                    black_box((cursor.key(), cursor.value()));
                    cursor.next().expect("a sound table");
                }
            });
        });
    }
}

/// Reads at random places of a table that no processor's cache holds, but the block cache does, or that is mapped: most
/// of their time goes into waiting for memory.
fn far(criterion: &mut Criterion) {
    const ENTRIES: u64 = 1_000_000;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let fs = RealFs::new();
    let mut group = criterion.benchmark_group("far");
    for restart_interval in [16, 8] {
        let path = dir.path().join(restart_interval.to_string());
        let options = TableOptions {
            compression: Compression::None,
            restart_interval,
            ..TableOptions::default()
        };
        write_with(fs.create(&path).expect("a new file"), options, ENTRIES, key_bytes);
        for is_mapped in [false, true] {
            let file = fs.open(&path, Access::Read).expect("the file just written");
            let opened = Table::open(file, Some(cache(1, 256 << 20))).expect("a table");
            // SAFETY: nobody else knows of the file.
            let table = Arc::new(if is_mapped { unsafe { opened.into_mapped() } } else { opened });
            let mut cursor = table.cursor();
            cursor.seek_to_first().expect("a sound table");
            while cursor.is_valid() {
                cursor.next().expect("a sound table");
            }
            let name = if is_mapped { "mapped" } else { "cached" };
            let mut random = Random(1);
            let mut key = || key_bytes(random.next() % ENTRIES * 2);
            group.bench_function(format!("get, {name}, restarts {restart_interval}"), |bencher| {
                bencher.iter(|| {
                    let last = |found: FoundRef<'_>| found.value.last().copied();
                    table.get_map(&key(), SeqNo::MAX, &ReadBlocks::DEFAULT, last)
                });
            });
            group.bench_function(format!("seek, {name}, restarts {restart_interval}"), |bencher| {
                bencher.iter(|| cursor.seek(InternalKeyRef::seek_at(&key(), SeqNo::MAX)));
            });
        }
    }
}

/// The keys of the engine's comparison: a number, and eight bytes that are always the same.
fn key_bytes(number: u64) -> [u8; 16] {
    let mut key = [b'k'; 16];
    key[..8].copy_from_slice(&number.to_be_bytes());
    key
}

criterion_group!(benches, reading, writing, helping, shapes, far);
criterion_main!(benches);
