//! The memory budget: the block cache, open tables, and what readers keep.

use crate::support::{all, open, small};
use engine::{Compression, Db, Error, Options};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use vfs::Operation;
use vfs::sim::SimFs;

fn key(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

/// Writes `keys` values of 400 bytes and flushes them, a table for each `each`.
fn fill(db: &Db, keys: u32, each: u32) {
    for number in 0..keys {
        db.put(key(number), [number as u8; 400]).unwrap();
        if number % each == each - 1 {
            db.flush().unwrap();
        }
    }
    db.flush().unwrap();
}

fn check(db: &Db, keys: u32) {
    for number in 0..keys {
        assert_eq!(db.get(key(number)).unwrap().as_deref(), Some(&[number as u8; 400][..]));
    }
}

/// C12, C13: the cache takes what writes do not need, and a write gets it back without waiting for a flush.
#[test]
fn a_write_gets_its_memory_from_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        memory_budget: Some(12 << 20),
        write_budget: Some(8 << 20),
        write_buffer_size: 8 << 20,
        wal_window_bytes: 256 << 10,
        wal_segment_bytes: 16 << 20,
        block_cache_bytes: None,
        compression: engine::Compression::None,
        ..small()
    };
    let db = open(dir.path(), &options);
    fill(&db, 30_000, 10_000);
    db.compact().unwrap();
    (0..3).for_each(|_| check(&db, 30_000));
    let stats = db.stats();
    assert!(stats.block_cache_bytes > 8 << 20, "the cache has what writes leave: {stats:?}");
    assert!(stats.block_cache_bytes <= stats.block_cache_charged_bytes, "{stats:?}");
    assert!(stats.memory_bytes <= 12 << 20, "{stats:?}");
    for number in 0..16_000 {
        db.put(key(number), [number as u8; 400]).unwrap();
    }
    let stats = db.stats();
    assert!(stats.in_flight_bytes > 6 << 20, "{stats:?}");
    assert_eq!((stats.credit_waits, stats.flushes), (0, 3), "{stats:?}");
    assert!(stats.block_cache_charged_bytes < 5 << 20, "{stats:?}");
    assert!(stats.memory_bytes <= 12 << 20, "{stats:?}");
    check(&db, 30_000);
}

/// C13: many tables are read with a few of them open at a time, and each is found again.
#[test]
fn a_few_readers_serve_many_tables() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        max_open_tables: 8,
        level0_file_num_compaction_trigger: 1000,
        level0_slowdown_writes_trigger: 2000,
        level0_stop_writes_trigger: 3000,
        ..small()
    };
    let db = open(dir.path(), &options);
    fill(&db, 100 * 10, 10);
    assert_eq!(db.stats().levels[0].tables, 100);
    let open_files = || {
        let fds = std::fs::read_dir("/proc/self/fd").unwrap();
        let targets = fds.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
        targets
            .filter(|to| to.starts_with(dir.path()) && to.extension().is_some_and(|e| e == "sst"))
            .count()
    };
    for round in 0..3 {
        check(&db, 1000);
        assert!(db.stats().open_tables <= 8, "round {round}: {:?}", db.stats());
        assert!((1..=8).contains(&open_files()), "round {round}: {}", open_files());
    }
    // An iterator needs all of them at once, and gives them back.
    assert_eq!(all(&db).len(), 1000);
    check(&db, 1000);
    assert!(db.stats().open_tables <= 8, "{:?}", db.stats());
    assert!(db.stats().table_reader_bytes > 0);
}

/// C13: the buffers of flush and compaction are charged while they work, and no longer.
#[test]
fn jobs_are_charged_while_they_work() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    let is_done = std::sync::atomic::AtomicBool::new(false);
    let most = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                most = most.max(db.stats().job_bytes);
            }
            most
        });
        fill(&db, 20_000, 500);
        db.compact().unwrap();
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        watcher.join().unwrap()
    });
    assert!((64 << 10..=16 << 20).contains(&most), "{most}");
    assert_eq!(db.stats().job_bytes, 0);
}

/// C13: a compaction is charged with the blocks that it reads, be they as large as they are, and not with readahead, which
/// is the page cache's.
#[test]
fn a_compaction_is_charged_with_the_blocks_that_it_reads() {
    const TABLES: u32 = 30;
    for (value, least, most) in
        [(100, TABLES << 12, TABLES << 14), (50_000, TABLES * 50_000, TABLES * 60_000)]
    {
        let fs = SimFs::new();
        let options = Options {
            level0_file_num_compaction_trigger: 1000,
            level0_slowdown_writes_trigger: 2000,
            level0_stop_writes_trigger: 3000,
            max_bytes_for_level_base: 64 << 20,
            write_buffer_size: 1 << 20,
            write_budget: Some(4 << 20),
            block_size: 4 << 10,
            compression: Compression::None,
            ..small()
        };
        let db = Db::open_on(Arc::new(fs.clone()), "/db", options).unwrap();
        for table in 0..TABLES {
            for key in 0..4u32 {
                db.put((key * TABLES + table).to_be_bytes(), vec![1; value]).unwrap();
            }
            db.flush().unwrap();
        }
        assert_eq!(db.stats().levels[0].tables, u64::from(TABLES));
        let charged = Arc::new(AtomicU64::new(0));
        let (seen, own) = (Arc::clone(&charged), db.clone());
        // Its first table is made when all inputs have been looked into.
        fs.set_hook(Some(Arc::new(move |operation, path| {
            if operation == Operation::Create && path.extension().is_some_and(|end| end == "sst") {
                seen.fetch_max(own.stats().job_bytes, Ordering::Relaxed);
            }
        })));
        db.compact().unwrap();
        fs.set_hook(None);
        let charged = charged.load(Ordering::Relaxed);
        let (least, most) = (u64::from(least), u64::from(most) + (128 << 10));
        assert!((least..most).contains(&charged), "{charged} for values of {value} bytes");
        assert_eq!(db.stats().job_bytes, 0);
    }
}

/// C13: what open tables take is charged, and goes with them.
#[test]
fn readers_are_charged_as_long_as_they_are_open() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    fill(&db, 1000, 500);
    check(&db, 1000);
    let before = db.stats();
    assert!(before.open_tables > 0 && before.table_reader_bytes > 0, "{before:?}");
    for number in 0..1000 {
        db.delete(key(number)).unwrap();
    }
    db.compact().unwrap();
    let after = db.stats();
    assert_eq!((after.open_tables, after.table_reader_bytes), (0, 0), "{after:?}");
}

/// C3, C13: a batch that the budget could never hold is refused, not waited for; one that it could hold goes through.
#[test]
fn what_the_budget_can_never_hold_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        memory_budget: Some(8 << 20),
        wal_window_bytes: 256 << 10,
        wal_segment_bytes: 32 << 20,
        ..small()
    };
    let db = open(dir.path(), &options);
    let refused = db.put("large", vec![1; 20 << 20]).unwrap_err();
    assert!(matches!(refused, Error::BatchTooLarge { .. }), "{refused}");
    db.put("fits", vec![2; 4 << 20]).unwrap();
    assert_eq!(db.get("fits").unwrap().unwrap().len(), 4 << 20);
    assert_eq!(db.get("large").unwrap(), None);
}

/// A batch that a larger budget let in is there under a smaller one.
#[test]
fn what_a_larger_budget_let_in_comes_back_under_a_smaller_one() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &Options { wal_segment_bytes: 32 << 20, ..small() });
    db.put("large", vec![3; 16 << 20]).unwrap();
    let copied = crate::support::copy(dir.path());
    drop(db);
    let smaller = Options { memory_budget: Some(8 << 20), wal_window_bytes: 256 << 10, ..small() };
    let db = open(copied.path(), &smaller);
    assert_eq!(db.get("large").unwrap().unwrap(), vec![3; 16 << 20]);
}

/// C13: what a value keeps is its block as that was written, whatever the size of blocks is today.
#[test]
fn a_value_is_charged_with_the_block_that_it_keeps() {
    let dir = tempfile::tempdir().unwrap();
    let compression = engine::Compression::None;
    // One table, with one large block, whenever the threads run.
    let large = Options {
        block_size: 1 << 20,
        compression,
        memory_budget: None,
        write_budget: Some(8 << 20),
        write_buffer_size: 8 << 20,
        ..small()
    };
    let db = open(dir.path(), &large);
    for number in 0..128 {
        db.put(key(number), [number as u8; 8000]).unwrap();
    }
    db.flush().unwrap();
    db.close().unwrap();
    let db = open(dir.path(), &Options { block_size: 4 << 10, ..large });
    let value = db.get(key(5)).unwrap().unwrap();
    let pinned = db.stats().pinned_bytes;
    assert!(pinned > 100_000, "{pinned} for a block of up to 1 MiB");
    drop(value);
    let entry = db.iter().unwrap().next().unwrap().unwrap();
    assert!(db.stats().pinned_bytes > 100_000, "{:?}", db.stats());
    drop(entry);
    assert_eq!(db.stats().pinned_bytes, 0);
}

/// C13: an iterator that is left open before large values is charged with them, and keeps none that nobody has credits for.
#[test]
fn an_idle_iterator_is_charged_with_the_blocks_it_stands_in() {
    const LARGE: usize = 600_000;
    for (budget, is_kept) in [(None, true), (Some(8 << 20), false)] {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            memory_budget: budget,
            wal_window_bytes: 256 << 10,
            compression: engine::Compression::None,
            ..small()
        };
        let db = open(dir.path(), &options);
        for number in 0..6 {
            db.put(key(number), vec![number as u8; LARGE]).unwrap();
        }
        db.compact().unwrap();
        let mut iter = db.iter().unwrap();
        for number in 0..5 {
            let entry = iter.next().unwrap().unwrap();
            let pinned = db.stats().pinned_bytes;
            let around = |bytes: usize| bytes as u64..bytes as u64 + 100_000;
            // The value, and the block with the next one; within the budget only one of them at a time.
            let (with_value, alone) = if is_kept { (2 * LARGE, LARGE) } else { (LARGE, 0) };
            assert!(around(with_value).contains(&pinned), "{pinned} after {number} of {budget:?}");
            drop(entry);
            let idle = db.stats().pinned_bytes;
            assert!(around(alone).contains(&idle), "{idle} after {number} of {budget:?}");
            assert!(is_kept || idle == 0, "{idle} after {number}");
        }
        assert_eq!(iter.count(), 1);
        assert_eq!(db.stats().pinned_bytes, 0);
    }
}

/// C12, C13: the least of budgets, and none, serve every read.
#[test]
fn the_smallest_budget_serves_every_read() {
    for memory_budget in [Some(20 << 10), Some(64 << 10), None] {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            memory_budget,
            write_budget: None,
            wal_window_bytes: 16 << 10,
            block_cache_bytes: None,
            max_open_tables: 1,
            ..small()
        };
        let db = open(dir.path(), &options);
        fill(&db, 2000, 500);
        for _ in 0..2 {
            check(&db, 2000);
            let keys: Vec<_> = (0..2000).rev().map(key).collect();
            let found = db.multi_get(&keys, &engine::ReadOptions::default()).unwrap();
            assert!(found.iter().all(|value| value.as_ref().is_some_and(|v| v.len() == 400)));
            assert_eq!(all(&db).len(), 2000);
            assert_eq!(db.iter().unwrap().rev().count(), 2000);
            assert!(memory_budget.is_none_or(|most| db.stats().memory_bytes <= most + (4 << 20)));
            db.compact().unwrap();
        }
    }
}
