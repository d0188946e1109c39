//! Writes of tasks: they wait as threads' writes do, without a thread, and can be dropped.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use engine::limiter::{LimiterOptions, RateLimiter};
use engine::{Compression, Db, Error, Options, WriteBatch, WriteOptions};

use crate::support::{all, open, small};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Polls all of them in turn on this one thread until they are done.
fn block_on_all(futures: Vec<std::pin::Pin<Box<dyn Future<Output = ()> + '_>>>) {
    let mut open = futures;
    block_on(std::future::poll_fn(move |context| {
        open.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if open.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }));
}

fn is_send<T: Send>(value: T) -> T {
    value
}

/// C5, C6: many more tasks than threads pass a budget that is a fraction of what they write.
#[test]
fn tasks_on_one_thread_pass_the_budget_together() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &Options { write_buffer_size: 64 << 20, ..small() });
    let task = |number: u32| {
        let db = db.clone();
        is_send(async move {
            for i in 0..100u32 {
                let key = [number.to_be_bytes(), i.to_be_bytes()].concat();
                db.put_async(key, [1; 1000]).await.unwrap();
            }
        })
    };
    let tasks: Vec<_> = (0..64).map(|number| Box::pin(task(number)) as _).collect();
    block_on_all(tasks);
    let stats = db.stats();
    assert!(stats.credit_waits > 0 && stats.in_flight_peak_bytes <= 1 << 20, "{stats:?}");
    assert_eq!(all(&db).len(), 6400);
}

/// A database whose budget is used up by a batch that nothing can flush yet.
fn full(db: &Db) {
    for i in 0..900u32 {
        db.put(i.to_be_bytes(), [0; 1000]).unwrap();
    }
}

/// C6: deadlines and refusals are those of threads.
#[test]
fn a_deadline_that_has_passed_and_no_wait_are_obeyed() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &Options { write_buffer_size: 64 << 20, ..small() });
    full(&db);
    let mut batch = WriteBatch::new();
    batch.put(b"large", vec![0; 900 << 10]);
    let no_wait = WriteOptions { no_wait: true, ..WriteOptions::default() };
    let error = block_on(db.write_async(&batch, &no_wait)).unwrap_err();
    assert!(matches!(error, Error::WouldBlock { .. }), "{error:?}");
    full(&db);
    let soon = WriteOptions { deadline: Some(Instant::now()), ..WriteOptions::default() };
    match block_on(db.write_async(&batch, &soon)) {
        Err(Error::TimedOut { .. }) => assert_eq!(db.get("large").unwrap(), None),
        other => panic!("{other:?}"),
    }
    let later = Instant::now() + Duration::from_secs(60);
    let patient = WriteOptions { deadline: Some(later), ..WriteOptions::default() };
    block_on(db.write_async(&batch, &patient)).unwrap();
    assert_eq!(db.get("large").unwrap().unwrap().len(), 900 << 10);
}

/// C6, C7: a write that is dropped while it waits leaves neither a trace nor its place in the line.
#[test]
fn a_dropped_write_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &Options { write_buffer_size: 64 << 20, ..small() });
    let mut batch = WriteBatch::new();
    batch.put(b"large", vec![0; 900 << 10]);
    let mut dropped = 0;
    for _ in 0..20 {
        full(&db);
        let options = WriteOptions::default();
        let mut write = Box::pin(db.write_async(&batch, &options));
        let mut context = Context::from_waker(Waker::noop());
        if write.as_mut().poll(&mut context).is_pending() {
            dropped += 1;
            drop(write);
            assert_eq!(db.get("large").unwrap(), None);
            break;
        }
        let mut delete = WriteBatch::new();
        delete.delete(b"large");
        db.write(&delete, &WriteOptions::default()).unwrap();
    }
    assert_eq!(dropped, 1, "no write had to wait");
    // Those behind it go on.
    full(&db);
    db.flush().unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while db.stats().in_flight_bytes > 0 {
        assert!(Instant::now() < until, "credits are still held: {:?}", db.stats());
        std::thread::yield_now();
    }
}

/// C6: a close ends the waiting of tasks, too.
#[test]
fn a_close_releases_tasks_that_wait() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &Options { write_buffer_size: 64 << 20, ..small() });
    let writer = db.clone();
    let writing = std::thread::spawn(move || {
        block_on(async {
            for i in 0u32.. {
                if let Err(error) = writer.put_async(i.to_be_bytes(), [3; 2000]).await {
                    return error;
                }
            }
            unreachable!("the keys do not end")
        })
    });
    while db.stats().credit_waits < 3 {
        std::thread::yield_now();
    }
    db.close().unwrap();
    let error = writing.join().unwrap();
    assert!(matches!(error, Error::Closed), "{error:?}");
}

/// C6: a thread's write goes on beside a task's that waits and is not polled meanwhile.
#[test]
fn a_task_that_is_not_polled_strands_no_writer_of_its_thread() {
    let dir = tempfile::tempdir().unwrap();
    // Little enough that no task gets its chunk at once.
    let db = open(dir.path(), &Options { write_buffer_size: 64 << 20, ..small() });
    let mut batch = WriteBatch::new();
    batch.put(b"large", vec![0; 900 << 10]);
    let options = WriteOptions::default();
    let mut was_pending = false;
    for _ in 0..20 {
        full(&db);
        let mut write = Box::pin(db.write_async(&batch, &options));
        let is_pending = write.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending();
        // The chunk in use has room for these, so that they need no credits.
        db.put("small", [1; 10]).unwrap();
        if is_pending {
            was_pending = true;
            block_on(write).unwrap();
            break;
        }
    }
    assert!(was_pending, "no write had to wait");
    assert_eq!(db.get("large").unwrap().unwrap().len(), 900 << 10);
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// F4, C6: a task that has its credits and is not polled makes nobody flush: only who still waits does.
#[test]
fn a_task_with_credits_that_is_not_polled_seals_no_memtables() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &Options { write_buffer_size: 64 << 20, ..small() });
    let mut batch = WriteBatch::new();
    batch.put(b"large", vec![0; 800 << 10]);
    let options = WriteOptions::default();
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&woken));
    full(&db);
    let mut write = Box::pin(db.write_async(&batch, &options));
    assert!(write.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let until = Instant::now() + Duration::from_secs(10);
    let settle = |is_settled: &dyn Fn() -> bool| {
        while !is_settled() {
            assert!(Instant::now() < until, "{:?}", db.stats());
            std::thread::yield_now();
        }
    };
    settle(&|| woken.0.load(Ordering::Acquire) && db.stats().memtables == 1);
    let before = db.stats().flushes;
    for i in 0..10u32 {
        db.put(i.to_be_bytes(), [1; 10]).unwrap();
        settle(&|| db.stats().memtables == 1);
    }
    assert_eq!(db.stats().flushes - before, 0, "ten small writes were flushed one by one");
    block_on(write).unwrap();
}

/// L5: writes that are dropped while they are slowed are not waited for by those that come later.
#[test]
fn a_dropped_write_leaves_the_line_of_those_that_are_slowed() {
    let dir = tempfile::tempdir().unwrap();
    let limiter = Arc::new(RateLimiter::new(LimiterOptions::new(1 << 10)));
    let options = Options {
        rate_limiter: Some(limiter), // so slow that no compaction ends meanwhile
        level0_file_num_compaction_trigger: 4,
        level0_slowdown_writes_trigger: 8,
        delayed_write_rate: 16 << 10,
        compression: Compression::None,
        ..small()
    };
    let db = open(dir.path(), &options);
    for table in 0..4u8 {
        db.put([table; 1], vec![0; 50 << 10]).unwrap();
        db.put([255], []).unwrap();
        db.flush().unwrap();
    }
    let mut batch = WriteBatch::new();
    batch.put(b"large", vec![0; 100 << 10]);
    for _ in 0..100 {
        let options = WriteOptions::default();
        let mut write = Box::pin(db.write_async(&batch, &options));
        let polled = write.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "no write was slowed");
    }
    // The line of ten megabytes would be five minutes long.
    let mut batch = WriteBatch::new();
    batch.put(b"small", b"");
    let soon = Instant::now() + Duration::from_secs(30);
    let options = WriteOptions { deadline: Some(soon), ..WriteOptions::default() };
    db.write(&batch, &options).unwrap();
}
