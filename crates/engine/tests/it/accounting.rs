//! The account of unflushed bytes: what is charged is what the memtables hold, whatever has happened.

use std::time::{Duration, Instant};

use crate::support::{Random, open, small};
use engine::{Db, Error, Options, WriteBatch, WriteOptions};

/// What is charged and what the memtables have mapped, once they agree; at rest they have to, soon.
fn at_rest(db: &Db) -> u64 {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let stats = db.stats();
        if stats.in_flight_bytes == stats.memtable_bytes {
            return stats.memtable_bytes;
        }
        assert!(Instant::now() < until, "charged without being held: {stats:?}");
        std::thread::yield_now();
    }
}

/// One writer's part of a history: puts, deletes, batches over families, some too large for the budget, some that do not
/// want to wait, and readers that stay open for a while.
fn write(db: &Db, families: &[engine::Family], mut random: Random) {
    let mut held = Vec::new();
    for _ in 0..150 {
        let mut batch = WriteBatch::new();
        let most = if random.below(40) == 0 { 1500 } else { 8 };
        for _ in 0..=random.below(most) {
            let key = random.below(2000).to_be_bytes();
            let family = families[random.below(2) as usize].id();
            if random.below(5) == 0 {
                batch.delete_in(family, key);
            } else {
                batch.put_in(family, key, vec![7; random.below(1500) as usize]);
            }
        }
        let options = WriteOptions {
            disable_wal: random.below(6) == 0,
            no_wait: random.below(6) == 0,
            deadline: (random.below(6) == 0).then(|| Instant::now() + Duration::from_millis(1)),
            ..WriteOptions::default()
        };
        match db.write(&batch, &options) {
            Ok(()) | Err(Error::WouldBlock { .. } | Error::TimedOut { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        match random.below(30) {
            0 => held.push(db.snapshot()),
            1 => held.clear(),
            2 => {
                let mut some = db.iter().unwrap();
                assert!(some.by_ref().take(3).all(|entry| entry.is_ok()));
            }
            _ => {}
        }
    }
}

/// C7. Made to fail by: a permit that is not split exactly, a chunk that stays with a writer that gave up, a memtable that
/// a finished flush forgets.
#[test]
fn after_any_history_what_is_charged_is_what_the_memtables_hold() {
    for seed in 0..6 {
        let dir = tempfile::tempdir().unwrap();
        let write_buffer_size = if seed % 2 == 0 { 128 << 10 } else { 64 << 20 };
        let db = open(dir.path(), &Options { write_buffer_size, ..small() });
        let families =
            [db.family(engine::DEFAULT_FAMILY).unwrap(), db.create_family("other").unwrap()];
        let mut random = Random::new(seed);
        for _ in 0..4 {
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    let (db, families, random) = (&db, &families, Random::new(random.next()));
                    scope.spawn(move || write(db, families, random));
                }
            });
            assert!(at_rest(&db) <= 1 << 20, "the budget, of which at rest nobody holds more");
        }
        db.flush().unwrap();
        assert_eq!(at_rest(&db), 0, "seed {seed}");
        let stats = db.stats();
        assert!(stats.flushes > 3 && stats.credit_waits > 0, "{stats:?}");
    }
}
