//! Insert, get and scan of the memtable beside other sorted maps, with criterion.
//!
//! `cargo bench -p polder-memtable --bench memtable` for the figures of one thread and 100,000 entries; the example
//! `compare` has more entries, more threads, and rounds that interleave the maps.

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main,
};

mod rivals;

use rivals::{Crossbeam, Locked, Polder, Rival, Workload, shuffled};

const ENTRIES: usize = 100_000;
const VALUE: [u8; 100] = [7; 100];

fn fill<R: Rival>(keys: &rivals::Keys) -> R {
    let map = R::new();
    for at in 0..keys.len() {
        map.insert(keys.at(at), at as u64, &VALUE);
    }
    map
}

fn one<R: Rival>(group: &mut BenchmarkGroup<'_, WallTime>, workload: Workload) {
    let keys = workload.keys(ENTRIES);
    group.throughput(Throughput::Elements(ENTRIES as u64));
    group.bench_function(format!("insert, {}", R::NAME), |b| {
        b.iter_batched(|| (), |()| fill::<R>(&keys), BatchSize::PerIteration);
    });
    let map = fill::<R>(&keys);
    group.bench_function(format!("get, {}", R::NAME), |b| {
        b.iter(|| {
            for turn in 0..ENTRIES as u64 {
                black_box(map.get(keys.at(shuffled(turn, ENTRIES as u64) as usize)));
            }
        });
    });
    group.bench_function(format!("scan, {}", R::NAME), |b| b.iter(|| black_box(map.scan())));
}

fn maps(criterion: &mut Criterion) {
    for workload in Workload::ALL {
        let mut group = criterion.benchmark_group(workload.to_string());
        group.sample_size(10).measurement_time(Duration::from_secs(2));
        one::<Polder>(&mut group, workload);
        one::<Crossbeam>(&mut group, workload);
        one::<Locked>(&mut group, workload);
        group.finish();
    }
}

criterion_group!(benches, maps);
criterion_main!(benches);
