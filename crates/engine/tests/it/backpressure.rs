//! The write budget: held exactly, waited for, released by flushes.

use crate::support::{all, open, small};
use engine::{Error, Options, WriteOptions};
use std::time::{Duration, Instant};

const BUDGET: u64 = 1 << 20;

/// C5, C11: the budget is never passed, and waiting writers are released by the flush that they cause.
#[test]
fn many_writers_never_pass_the_budget_and_all_get_through() {
    let dir = tempfile::tempdir().unwrap();
    // The memtables could grow far beyond the budget: only the credits hold them.
    let db = open(dir.path(), &Options { write_buffer_size: 64 << 20, ..small() });
    std::thread::scope(|scope| {
        for writer in 0..8u32 {
            let db = &db;
            scope.spawn(move || {
                for i in 0..600u32 {
                    db.put(
                        [writer.to_be_bytes(), i.to_be_bytes()].concat(),
                        vec![writer as u8; 1000],
                    )
                    .unwrap();
                }
            });
        }
    });
    let stats = db.stats();
    assert!(stats.in_flight_peak_bytes <= BUDGET, "{stats:?}");
    assert!(stats.credit_waits > 0 && stats.flushes >= 4, "{stats:?}");
    assert_eq!(all(&db).len(), 4800);
    // C7: after a flush of everything all credits are back.
    db.flush().unwrap();
    wait_for_no_credits(&db);
}

fn wait_for_no_credits(db: &engine::Db) {
    let until = Instant::now() + Duration::from_secs(10);
    while db.stats().in_flight_bytes > 0 {
        assert!(Instant::now() < until, "credits are still held: {:?}", db.stats());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// C8: overwrites of one key pass through a small budget.
#[test]
fn a_hundred_thousand_overwrites_of_one_key_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    for i in 0..100_000u32 {
        db.put("hot", i.to_be_bytes()).unwrap();
    }
    assert_eq!(*db.get("hot").unwrap().unwrap(), 99_999u32.to_be_bytes());
    assert_eq!(all(&db).len(), 1);
    let stats = db.stats();
    assert!(stats.in_flight_peak_bytes <= BUDGET, "{stats:?}");
    assert!(stats.flushes > 3 && stats.flush_bytes < 100_000, "{stats:?}"); // R2
}

/// C2: with the budget off nobody waits, and use is still counted.
#[test]
fn with_the_budget_off_nobody_waits() {
    for budget in [None, Some(0)] {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { write_budget: budget, write_buffer_size: 64 << 20, ..small() };
        let db = open(dir.path(), &options);
        for i in 0..4000u32 {
            db.put(i.to_be_bytes(), [1; 1000]).unwrap();
        }
        let stats = db.stats();
        assert_eq!((stats.credit_waits, stats.write_budget), (0, None));
        assert!(stats.in_flight_bytes > 4_000_000, "{stats:?}");
    }
}

/// C3: a batch larger than the budget waits until everything else is flushed, and then goes through.
#[test]
fn an_oversized_batch_waits_its_turn_beside_small_ones() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &Options { write_buffer_size: 64 << 20, ..small() });
    std::thread::scope(|scope| {
        for writer in 0..3u32 {
            let db = &db;
            scope.spawn(move || {
                for i in 0..800u32 {
                    db.put([writer.to_be_bytes(), i.to_be_bytes()].concat(), [1; 500]).unwrap();
                }
            });
        }
        for large in 0..2u8 {
            let db = &db;
            scope.spawn(move || {
                for i in 0..4u8 {
                    db.put([b'L', large, i], vec![i; 3 * BUDGET as usize]).unwrap();
                }
            });
        }
    });
    assert_eq!(all(&db).len(), 3 * 800 + 2 * 4);
    db.flush().unwrap();
    wait_for_no_credits(&db);
}

/// C6: a close releases those who wait.
#[test]
fn a_close_releases_waiting_writers_with_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &Options { write_buffer_size: 64 << 20, ..small() });
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..6u32)
            .map(|writer| {
                let db = db.clone();
                scope.spawn(move || {
                    for i in 0u32.. {
                        if let Err(error) =
                            db.put([writer.to_be_bytes(), i.to_be_bytes()].concat(), [3; 2000])
                        {
                            assert!(matches!(error, Error::Closed), "{error:?}");
                            return i;
                        }
                    }
                    unreachable!()
                })
            })
            .collect();
        while db.stats().credit_waits < 3 {
            std::thread::yield_now();
        }
        db.clone().close().unwrap();
        for writer in writers {
            writer.join().unwrap();
        }
    });
}

/// C6: a deadline and `no_wait` bound the wait, and nothing of the batch is written.
#[test]
fn a_write_that_may_not_wait_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &Options { write_buffer_size: 64 << 20, ..small() });
    let no_wait = WriteOptions { no_wait: true, ..WriteOptions::default() };
    let batch = |i: u32, len: usize| {
        let mut batch = engine::WriteBatch::new();
        batch.put(i.to_be_bytes(), vec![0; len]);
        batch
    };
    let mut written = 0;
    let refused = loop {
        match db.write(batch(written, 2000), &no_wait) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100_000, "the budget never ran out");
    };
    assert!(matches!(refused, Error::WouldBlock { .. }), "{refused:?}");
    assert_eq!(refused.kind(), engine::ErrorKind::RetryLater);
    let past = WriteOptions { deadline: Some(Instant::now()), ..WriteOptions::default() };
    // Larger than the budget: it would have to wait for all to be flushed, and its time is up.
    db.put("held", "something").unwrap();
    let refused = db.write(batch(u32::MAX, 2 << 20), &past);
    assert!(matches!(refused, Err(Error::TimedOut { .. })), "{refused:?}");
    assert_eq!(all(&db).len(), written as usize + 1);
}
