//! The rate limiter: what passes it, that it slows, and that it strands nobody.

use std::sync::Arc;

use engine::limiter::{LimiterOptions, Priority, RateLimiter};
use engine::{Compression, Db, Options};

use crate::support::{Random, open, small};

/// Options under which everything that is due is compacted soon, with `limiter`.
fn limited(limiter: &Arc<RateLimiter>) -> Options {
    Options {
        rate_limiter: Some(Arc::clone(limiter)),
        level0_file_num_compaction_trigger: 2,
        compression: Compression::None,
        ..small()
    }
}

fn fill(db: &Db, batches: u64) {
    let mut random = Random::new(7);
    for _ in 0..batches {
        db.put(random.next().to_be_bytes(), random.next().to_be_bytes().repeat(128)).unwrap();
    }
}

#[test]
fn every_byte_of_background_work_passes_in_its_class() {
    // L2, F1
    let dir = tempfile::tempdir().unwrap();
    let limiter = Arc::new(RateLimiter::new(LimiterOptions::new(1 << 30)));
    let db = open(dir.path(), &limited(&limiter));
    fill(&db, 3000);
    db.flush().unwrap();
    db.compact().unwrap();
    let stats = db.stats();
    let passed = |class| limiter.stats(class).bytes;
    assert!(stats.flushes > 2 && stats.compaction_bytes > 2 << 20, "{stats:?}");
    assert_eq!(passed(Priority::Flush), stats.flush_bytes);
    assert_eq!(passed(Priority::LevelZero) + passed(Priority::Deep), stats.compaction_bytes);
    assert!(passed(Priority::LevelZero) > 0);
    assert!(passed(Priority::Log) >= 3000 * 1032 && passed(Priority::Log) < 3000 * 1100);
    assert_eq!(limiter.stats(Priority::Flush).waits, 0);
}

#[test]
fn compactions_write_no_faster_than_the_rate() {
    // L1
    let dir = tempfile::tempdir().unwrap();
    // What is asked for at a time is many bursts, so that some wait however slow the machine is.
    let limiter = Arc::new(RateLimiter::new(LimiterOptions::new(1 << 20)));
    let db = open(dir.path(), &limited(&limiter));
    // Two tables over the same keys, so that there is something to merge.
    for _ in 0..2 {
        fill(&db, 300);
        db.flush().unwrap();
    }
    db.wait_for_compaction().unwrap();
    let waits = limiter.stats(Priority::LevelZero).waits + limiter.stats(Priority::Deep).waits;
    assert!(waits > 0, "megabytes passed a burst of {} bytes at once", limiter.burst_bytes());
    let written = limiter.stats(Priority::LevelZero).bytes + limiter.stats(Priority::Deep).bytes;
    assert_eq!(written, db.stats().compaction_bytes);
}

#[test]
fn a_rate_of_nearly_nothing_strands_neither_writers_nor_a_close() {
    // C6, L2: flushes never wait, and a compaction that waits does not keep the engine from closing.
    let dir = tempfile::tempdir().unwrap();
    let limiter = Arc::new(RateLimiter::new(LimiterOptions::new(4 << 10)));
    let db = open(dir.path(), &limited(&limiter));
    fill(&db, 1000);
    db.flush().unwrap();
    db.close().unwrap();
    let db = open(dir.path(), &small());
    assert_eq!(db.iter().unwrap().count(), 1000);
}

#[test]
fn a_limiter_that_was_closed_limits_nothing_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let limiter = Arc::new(RateLimiter::new(LimiterOptions::new(1)));
    limiter.close();
    let db = open(dir.path(), &limited(&limiter));
    fill(&db, 1000);
    db.flush().unwrap();
    db.compact().unwrap();
    assert!(db.stats().compactions > 0);
    assert_eq!(db.iter().unwrap().count(), 1000);
}
