//! How tables are compressed: level by level.

use crate::support::{open, small};
use engine::vfs::{self, Access, Fs};
use engine::{Compression, Db, Options};
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
    assert_eq!(crate::support::all(&db).len(), 300);
    db.compact().unwrap();
    assert_eq!(crate::support::all(&db).len(), 300);
    db.close().unwrap();
    assert_eq!(found(dir.path()).into_values().next(), Some(vec![Compression::Lz4]));
}
