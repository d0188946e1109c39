//! How tables are compressed: level by level.

use crate::faults::INJECTED;
use crate::support::{Random, all, chain, open, small};
use ::vfs::sim::{Effect, Fault, SimFs};
use engine::limiter::{LimiterOptions, Priority, RateLimiter};
use engine::vfs::{self, Access, Fs};
use engine::{Compression, Db, ErrorKind, Options};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use version::{FileName, ManifestOptions, VersionSet};

const ZSTD: Compression = Compression::Zstd { level: 3 };

/// The compressions that the tables of each level say in their properties; the database is closed.
fn found(dir: &Path) -> BTreeMap<usize, Vec<Compression>> {
    let fs: Arc<dyn Fs> = Arc::new(vfs::RealFs::new());
    let options = ManifestOptions::default();
    let versions: VersionSet<()> = VersionSet::recover::<version::Error>(
        Arc::clone(&fs),
        dir,
        options,
        Box::new(|| {}),
        |_| Ok(()),
    )
    .unwrap();
    let version = versions.current();
    let mut found: BTreeMap<usize, Vec<Compression>> = BTreeMap::new();
    for family in version.families() {
        for (level, tables) in family.levels().levels().enumerate() {
            for table in tables {
                let path = FileName::Table(table.meta.number).path_in(dir);
                let file = fs.open(&path, Access::Read).unwrap();
                let table = sstable::Table::open(file, None).unwrap();
                let properties = table.properties();
                let shrank = properties.data_stored_bytes < properties.data_raw_bytes;
                assert_eq!(shrank, properties.compression != Compression::None);
                let of_level = found.entry(level).or_default();
                if !of_level.contains(&properties.compression) {
                    of_level.push(properties.compression);
                }
            }
        }
    }
    found
}

/// Values that compress, over and over, and what is compacted of them.
fn fill(db: &Db, keys: impl Iterator<Item = u64>) {
    for key in keys {
        db.put(key.to_be_bytes(), key.to_be_bytes().repeat(64)).unwrap();
    }
}

/// A number that all others come before and after.
fn scattered(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// K: level 0, what it is compacted to, and the deepest level each have their own.
#[test]
fn each_level_is_compressed_in_its_own_way() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        compression_per_level: vec![Compression::None, Compression::Lz4],
        bottommost_compression: Some(ZSTD),
        target_file_size_base: 64 << 10,
        max_bytes_for_level_base: 64 << 10,
        ..small()
    };
    let db = open(dir.path(), &options);
    fill(&db, (0..20_000).map(scattered));
    db.flush().unwrap();
    db.wait_for_compaction().unwrap();
    fill(&db, (0..10).map(scattered));
    db.flush().unwrap();
    let levels = db.stats().levels;
    let used = levels.iter().filter(|level| level.tables > 0).count();
    db.close().unwrap();
    let found = found(dir.path());
    assert!(used >= 3 && found.len() == used, "{levels:?}");
    let mut expected: BTreeMap<_, _> =
        found.keys().map(|&level| (level, vec![Compression::Lz4])).collect();
    expected.insert(0, vec![Compression::None]);
    expected.insert(*found.keys().max().unwrap(), vec![ZSTD]);
    assert_eq!(found, expected);
}

/// A table that overlaps nothing is moved from level to level as it is, but not where that would leave it compressed as in
/// the level above.
#[test]
fn a_table_is_not_moved_to_where_it_would_be_compressed_otherwise() {
    for (bottommost_compression, written_again) in [(None, false), (Some(ZSTD), true)] {
        let dir = tempfile::tempdir().unwrap();
        let options =
            Options { bottommost_compression, level0_file_num_compaction_trigger: 1, ..small() };
        let db = open(dir.path(), &options);
        fill(&db, 0..3000);
        db.flush().unwrap();
        db.wait_for_compaction().unwrap();
        let stats = db.stats();
        assert_eq!(stats.compaction_bytes > 0, written_again, "{stats:?}");
        assert!(stats.compactions > 0, "{stats:?}");
        db.close().unwrap();
        let found: Vec<_> = found(dir.path()).into_values().collect();
        assert_eq!(found, [vec![bottommost_compression.unwrap_or(Compression::Lz4)]]);
    }
}

/// A database is opened with other compressions than it was written with, and everything is read.
#[test]
fn what_was_compressed_otherwise_before_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let kinds = [Compression::None, ZSTD, Compression::Lz4];
    for (round, &compression) in kinds.iter().enumerate() {
        let db = open(dir.path(), &Options { compression, ..small() });
        fill(&db, (round as u64 * 100..).take(100));
        db.flush().unwrap();
        db.close().unwrap();
    }
    let levels = found(dir.path());
    assert_eq!(
        levels.into_values().collect::<Vec<_>>(),
        [kinds.iter().rev().copied().collect::<Vec<_>>()]
    );
    let db = open(dir.path(), &small());
    assert_eq!(all(&db).len(), 300);
    db.compact().unwrap();
    assert_eq!(all(&db).len(), 300);
    db.close().unwrap();
    assert_eq!(found(dir.path()).into_values().next(), Some(vec![Compression::Lz4]));
}

/// Tables whose blocks helpers compress are those that the jobs would have written alone.
#[test]
fn helpers_change_nothing_but_the_time() {
    let mut tables = Vec::new();
    for compression_threads in [0, 3] {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            compression: ZSTD,
            compression_threads: Some(compression_threads),
            write_buffer_size: 8 << 20,
            write_budget: Some(16 << 20),
            ..small()
        };
        let db = open(dir.path(), &options);
        fill(&db, (0..10_000).map(scattered));
        db.flush().unwrap();
        let stats = db.stats();
        assert_eq!((stats.flushes, stats.job_bytes), (1, 0), "{stats:?}");
        let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let is_table = |path: &std::path::PathBuf| path.extension().is_some_and(|e| e == "sst");
        tables
            .push(names.filter(is_table).map(|path| std::fs::read(path).unwrap()).next().unwrap());
        db.compact().unwrap();
        let stats = db.stats();
        assert!(stats.compaction_bytes > 100_000 && stats.job_bytes == 0, "{stats:?}");
        assert_eq!(db.verify(|fault| panic!("{fault}")).unwrap().entries, 10_000);
        db.close().unwrap();
        assert_eq!(found(dir.path()).into_values().collect::<Vec<_>>(), [vec![ZSTD]]);
    }
    assert!(tables[0] == tables[1]);
}

/// C9, L3: whichever call on a table's file fails, by a full disk too, the flush or compaction is tried again, what was
/// half written is gone, and so is the charge.
#[test]
fn a_table_that_fails_with_blocks_in_flight_is_removed() {
    for effect in [Effect::NO_SPACE, Effect::IO] {
        let mut hits = 0;
        for nth in 1.. {
            let fs = SimFs::new();
            let options = Options {
                compression: ZSTD,
                compression_threads: Some(2),
                bytes_per_sync: 16 << 10,
                write_buffer_size: 1 << 20,
                level0_file_num_compaction_trigger: 2,
                ..small()
            };
            let db = Db::open_on(Arc::new(fs.clone()), "/db", options).unwrap();
            fs.inject(Fault::any(effect).on_path(".sst").nth(nth));
            for _ in 0..2 {
                // What compresses by a quarter, so that a table takes several writes.
                let mut random = Random::new(nth);
                for key in 0..300u64 {
                    let value: Vec<u8> =
                        (0..300).flat_map(|_| (random.next() >> 16).to_be_bytes()).collect();
                    db.put(key.to_be_bytes(), value).unwrap();
                }
                while let Err(error) = db.flush() {
                    assert_eq!(error.kind(), ErrorKind::RetryLater, "{}", chain(&error));
                    assert!(chain(&error).contains(INJECTED), "{}", chain(&error));
                }
            }
            while let Err(error) = db.wait_for_compaction() {
                assert!(chain(&error).contains(INJECTED), "{}", chain(&error));
            }
            assert_eq!(all(&db).len(), 300);
            // The file of an input that was compacted away may be there a moment longer, or, when its removal is what
            // failed, until the next start.
            let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
            let stats = db.stats();
            let in_use: u64 = stats.levels.iter().map(|level| level.tables).sum();
            let count = || {
                fs.files()
                    .iter()
                    .filter(|(path, _)| path.extension().is_some_and(|e| e == "sst"))
                    .count() as u64
            };
            let removal_failed =
                || fs.faults_hit() > 0 && stats.flush_failures + stats.compaction_failures == 0;
            while count() != in_use && !removal_failed() {
                assert!(std::time::Instant::now() < until, "{} files, {stats:?}", count());
                std::thread::yield_now();
            }
            assert_eq!(db.stats().job_bytes, 0);
            db.close().unwrap();
            if fs.faults_hit() == 0 {
                break;
            }
            hits += 1;
        }
        assert!(hits > 20, "{hits}");
    }
}

/// L2, L3: what helpers compress passes the limiter in its class too, each byte once.
#[test]
fn every_byte_passes_the_limiter_with_helpers_too() {
    let dir = tempfile::tempdir().unwrap();
    let limiter = Arc::new(RateLimiter::new(LimiterOptions::new(1 << 30)));
    let options = Options {
        compression: ZSTD,
        compression_threads: Some(2),
        rate_limiter: Some(Arc::clone(&limiter)),
        level0_file_num_compaction_trigger: 2,
        ..small()
    };
    let db = open(dir.path(), &options);
    let mut random = Random::new(7);
    for _ in 0..2000 {
        let value: Vec<u8> = (0..100).flat_map(|_| (random.next() >> 16).to_be_bytes()).collect();
        db.put(random.next().to_be_bytes(), value).unwrap();
    }
    db.flush().unwrap();
    db.compact().unwrap();
    let stats = db.stats();
    let passed = |class| limiter.stats(class).bytes;
    assert!(stats.flushes > 2 && stats.compaction_bytes > 1 << 20, "{stats:?}");
    assert_eq!(passed(Priority::Flush), stats.flush_bytes);
    assert_eq!(passed(Priority::LevelZero) + passed(Priority::Deep), stats.compaction_bytes);
}
