//! Acquire and release beside the alternatives, interleaved in one run.
//!
//! `cargo bench -p polder-credit --bench pool` measures with criterion what one thread pays.
//! `cargo bench -p polder-credit --bench contended` measures several threads.

use std::sync::{Condvar, Mutex};

use credit::{ChildOptions, Pool};
use criterion::{Criterion, criterion_group, criterion_main};

const BYTES: u64 = 64;

/// The design of the source: a counter under a mutex, and a condition variable.
struct Monitor {
    free: Mutex<u64>,
    returned: Condvar,
}

impl Monitor {
    fn acquire(&self, bytes: u64) {
        let free = self.free.lock().expect("no panic");
        let mut free = self.returned.wait_while(free, |free| *free < bytes).expect("no panic");
        *free -= bytes;
    }

    fn release(&self, bytes: u64) {
        *self.free.lock().expect("no panic") += bytes;
        self.returned.notify_all();
    }
}

fn uncontended(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("uncontended acquire and release");
    let flat = Pool::new(Some(1 << 20));
    group.bench_function("credit, flat", |b| b.iter(|| drop(flat.acquire(BYTES))));

    let watched = Pool::new(Some(1 << 20));
    watched.on_pressure(&[0.5], |_| {});
    group.bench_function("credit, flat, watched", |b| b.iter(|| drop(watched.acquire(BYTES))));

    let listed = Pool::new(Some(1 << 20));
    listed.set_ledger(true);
    group.bench_function("credit, flat, with ledger", |b| b.iter(|| drop(listed.acquire(BYTES))));

    let parent = Pool::new(Some(1 << 20));
    let child = parent.child("child", &ChildOptions::default()).expect("no floor");
    group.bench_function("credit, child", |b| b.iter(|| drop(child.acquire(BYTES))));
    let grandchild = child.child("grandchild", &ChildOptions::default()).expect("no floor");
    group.bench_function("credit, grandchild", |b| b.iter(|| drop(grandchild.acquire(BYTES))));

    let tokio = tokio::sync::Semaphore::new(1 << 20);
    group.bench_function("tokio Semaphore", |b| {
        b.iter(|| drop(tokio.try_acquire_many(BYTES as u32)));
    });
    let monitor = Monitor { free: Mutex::new(1 << 20), returned: Condvar::new() };
    group.bench_function("std Mutex+Condvar", |b| {
        b.iter(|| {
            monitor.acquire(BYTES);
            monitor.release(BYTES);
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_millis(600))
        .sample_size(20);
    targets = uncontended
}
criterion_main!(benches);
