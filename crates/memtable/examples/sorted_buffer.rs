//! A sorted buffer that several threads fill at once and that never holds more than its limit: `memtable` and `credit`
//! alone, no engine.
//!
//! `cargo run --release -p polder-memtable --example sorted_buffer -- [limit in KiB] [entries a thread]`
//!
//! Writers wait when the buffer is full; a thread then takes it away, walks it in order, and lets go of it, which gives
//! the bytes back. This is a log-structured store's write path without the store.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use base::{Cursor, InternalKeyRef, SeqNo, ValueKind};
use credit::Pool;
use memtable::{Chunk, MapError, Memtable, Space};

const WRITERS: u64 = 2;

/// The buffer that is being filled, and the limit that it shares with those that are being emptied.
struct Buffer {
    pool: Pool,
    /// A buffer is taken away when it holds this much, so that the next is filled while it is emptied.
    bytes_max: usize,
    current: Mutex<Arc<Memtable>>,
    next_seq: AtomicU64,
    is_done: AtomicBool,
}

impl Buffer {
    fn new(limit_bytes: u64) -> Self {
        Self {
            pool: Pool::new(Some(limit_bytes)),
            bytes_max: limit_bytes as usize / 4,
            current: Mutex::new(Arc::new(Memtable::new(0))),
            next_seq: AtomicU64::new(1),
            is_done: AtomicBool::new(false),
        }
    }

    fn current(&self) -> Arc<Memtable> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts an entry in; waits while the limit is reached.
    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), MapError> {
        let mut space = Space::new();
        space.add(key.len(), value.len());
        loop {
            let table = self.current();
            if let Some(mut reserved) = table.reserve(&space) {
                let seq = SeqNo::new(self.next_seq.fetch_add(1, Ordering::Relaxed));
                table.insert(&mut reserved, InternalKeyRef::new(key, seq, ValueKind::Put), value);
                return Ok(());
            }
            if let Some(bytes) = table.chunk_bytes_for(&space) {
                // Nothing is held while waiting, not even the buffer: it may be the one to be emptied.
                drop(table);
                let permit = self.pool.acquire(bytes as u64).expect("the pool is never closed");
                self.current().add_chunk(Chunk::map(permit)?);
            }
        }
    }

    /// Takes the buffer away if it is full, or whatever it holds once nobody writes any more.
    fn take(&self) -> Option<Arc<Memtable>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = current.charged_bytes() >= self.bytes_max
            || self.pool.waiters() > 0
            || self.is_done.load(Ordering::Acquire);
        let is_worth_it = is_due && current.charged_bytes() > 0;
        is_worth_it.then(|| std::mem::replace(&mut *current, Arc::new(Memtable::new(0))))
    }
}

/// Empties full buffers until the writers are done; how many entries there were, in how many buffers.
fn empty(buffer: &Buffer) -> (u64, u64) {
    let (mut entries, mut buffers) = (0, 0);
    loop {
        let was_done = buffer.is_done.load(Ordering::Acquire);
        match buffer.take() {
            Some(mut table) => {
                // A writer that still has it is about to be through.
                let table = loop {
                    match Arc::try_unwrap(table) {
                        Ok(table) => break table,
                        Err(shared) => table = shared,
                    }
                    thread::yield_now();
                };
                let mut cursor = table.cursor();
                let Ok(()) = cursor.seek_to_first();
                while cursor.is_valid() {
                    entries += 1;
                    let Ok(()) = cursor.next();
                }
                buffers += 1;
            }
            None if was_done => return (entries, buffers),
            None => thread::yield_now(),
        }
    }
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let mut number = |default| words.next().map_or(Some(default), |word| word.parse::<u64>().ok());
    let (Some(limit_kib @ 256..), Some(each)) = (number(4_096), number(200_000)) else {
        eprintln!("sorted_buffer [limit in KiB, at least 256] [entries a thread]");
        return ExitCode::from(2);
    };
    let buffer = Buffer::new(limit_kib << 10);
    let (entries, buffers) = thread::scope(|scope| {
        let buffer = &buffer;
        let emptying = scope.spawn(move || empty(buffer));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn(move || {
                    for i in 0..each {
                        let key = (i * WRITERS + writer).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                        buffer.put(&key.to_be_bytes(), &[0; 100])?;
                    }
                    Ok::<(), MapError>(())
                })
            })
            .collect();
        for writer in writers {
            writer.join().expect("a writer panicked").expect("the system has memory");
        }
        buffer.is_done.store(true, Ordering::Release);
        emptying.join().expect("the emptying thread panicked")
    });
    println!(
        "{entries} of {} entries in {buffers} sorted buffers; limit {limit_kib} KiB, peak {} KiB, held now {} B",
        each * WRITERS,
        buffer.pool.peak_bytes() >> 10,
        buffer.pool.held_bytes(),
    );
    assert_eq!(entries, each * WRITERS);
    assert!(buffer.pool.peak_bytes() <= limit_kib << 10);
    assert_eq!(buffer.pool.held_bytes(), 0);
    ExitCode::SUCCESS
}
