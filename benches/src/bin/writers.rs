//! Writers beside writers: more threads than cores, and small writes with a large one among them.
//!
//! `cargo run --release -p polder-bench --bin writers [-- ROUNDS MILLIS]`
//!
//! Everything is measured in turn, round after round, each on a new database; medians over the rounds are printed.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use engine::{Db, MeasureWrites, Options, WriteBatch, WriteOptions};
use hdrhistogram::Histogram;
use polder_bench::latency::{histogram, record};
use polder_bench::scratch::Scratch;
use polder_bench::table::{Row, table};
use polder_bench::{Result, describe};

/// Entries of a large batch; with its values some 4 MiB.
const LARGE_ENTRIES: u64 = 64;
const LARGE_VALUE_BYTES: usize = 64 << 10;

/// What is measured at a time.
#[derive(Clone, Copy)]
struct Cell {
    threads: usize,
    sync: bool,
    with_large: bool,
}

/// What one measurement found.
struct Found {
    writes_per_second: f64,
    calls: Histogram<u64>,
    /// Of the time of all writes, the part spent waiting until those before were visible.
    publish_share: f64,
    /// The mean of that wait.
    publish_wait: Duration,
}

fn options() -> Options {
    // Room for everything that is written in one measurement: what is looked at is the writers.
    Options {
        memory_budget: None,
        write_budget: Some(1 << 30),
        write_buffer_size: 256 << 20,
        wal_segment_bytes: 64 << 20,
        ..Options::default()
    }
}

fn measure(cell: Cell, time: Duration) -> Result<Found> {
    let scratch = Scratch::new(None)?;
    let db = Db::open(scratch.path(), options())?;
    let (stop, writes) = (AtomicBool::new(false), AtomicU64::new(0));
    let begun = Instant::now();
    let (calls, publish, total) = thread::scope(|scope| -> Result<_> {
        let small: Vec<_> = (0..cell.threads)
            .map(|thread| {
                let (db, stop, writes) = (&db, &stop, &writes);
                scope.spawn(move || write_small(db, thread as u64, cell.sync, stop, writes))
            })
            .collect();
        let large = cell.with_large.then(|| scope.spawn(|| write_large(&db, &stop)));
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        let mut calls = histogram()?;
        let (mut publish, mut total) = (Duration::ZERO, Duration::ZERO);
        for thread in small {
            let (own, times) = thread.join().map_err(|_| "a writer panicked")??;
            calls.add(own)?;
            publish += times.publish;
            total += times.total();
        }
        if let Some(large) = large {
            large.join().map_err(|_| "the large writer panicked")??;
        }
        Ok((calls, publish, total))
    })?;
    let count = writes.load(Ordering::Relaxed);
    let found = Found {
        writes_per_second: count as f64 / begun.elapsed().as_secs_f64(),
        calls,
        publish_share: publish.as_secs_f64() / total.as_secs_f64().max(f64::MIN_POSITIVE),
        publish_wait: publish / u32::try_from(count.max(1))?,
    };
    db.close()?;
    Ok(found)
}

fn write_small(
    db: &Db,
    thread: u64,
    sync: bool,
    stop: &AtomicBool,
    writes: &AtomicU64,
) -> Result<(Histogram<u64>, engine::WriteTimes)> {
    let mut calls = histogram()?;
    let measuring = MeasureWrites::begin();
    let options = WriteOptions { sync, ..WriteOptions::default() };
    let mut batch = WriteBatch::new();
    let mut number = 0u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        // Spread over the key space, and no two alike.
        let key = (number << 8 | thread).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        batch.clear();
        batch.put([key.to_be_bytes(), thread.to_be_bytes()].concat(), [7; 100]);
        let since = Instant::now();
        db.write(&batch, &options)?;
        record(&mut calls, since.elapsed());
    }
    writes.fetch_add(number, Ordering::Relaxed);
    Ok((calls, measuring.times()))
}

fn write_large(db: &Db, stop: &AtomicBool) -> Result<()> {
    let value = vec![9; LARGE_VALUE_BYTES];
    let mut batch = WriteBatch::new();
    for entry in 0..LARGE_ENTRIES {
        batch.put([u64::MAX.to_be_bytes(), entry.to_be_bytes()].concat(), &value);
    }
    while !stop.load(Ordering::Relaxed) {
        db.write(&batch, &WriteOptions::default())?;
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn median<T: PartialOrd + Copy>(mut values: Vec<T>) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).expect("no measurement is a NaN"));
    values[values.len() / 2]
}

/// Measures `cells` in turn and prints them; rates are compared with the first one's.
fn print(title: &str, cells: &[(String, Cell)], rounds: usize, time: Duration) -> Result<()> {
    let mut found: Vec<Vec<Found>> = cells.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for turn in 0..cells.len() {
            let at = (turn + round) % cells.len();
            found[at].push(measure(cells[at].1, time)?);
        }
    }
    let heads =
        ["", "writes/s", "x first", "p50 us", "p99 us", "p99.9 us", "publish wait us", "publish %"];
    let mut rows = vec![Row::Cells(heads.map(str::to_owned).to_vec())];
    for (at, (name, _)) in cells.iter().enumerate() {
        let of = |part: &dyn Fn(&Found) -> f64| median(found[at].iter().map(part).collect());
        let ratios = found[at].iter().zip(&found[0]);
        let ratio =
            median(ratios.map(|(a, b)| a.writes_per_second / b.writes_per_second).collect());
        let micros = |rank: f64| of(&|f| f.calls.value_at_quantile(rank) as f64 / 1e3);
        rows.push(Row::Cells(vec![
            name.clone(),
            format!("{:.0}", of(&|f| f.writes_per_second)),
            format!("{ratio:.2}"),
            format!("{:.2}", micros(0.5)),
            format!("{:.1}", micros(0.99)),
            format!("{:.1}", micros(0.999)),
            format!("{:.2}", of(&|f| f.publish_wait.as_secs_f64() * 1e6)),
            format!("{:.0}", of(&|f| f.publish_share * 100.0)),
        ]));
    }
    println!("\n{title}\n\n{}", table(&rows));
    Ok(())
}

fn run() -> Result<()> {
    let numbers: Vec<u64> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let rounds = numbers.first().map_or(3, |&rounds| rounds.max(1) as usize);
    let time = Duration::from_millis(numbers.get(1).copied().unwrap_or(1000));
    let cell = |threads, sync, with_large| Cell { threads, sync, with_large };
    let cores = thread::available_parallelism()?.get();
    let threads: Vec<_> = [1, cores, 2 * cores, 4 * cores]
        .map(|threads| (format!("{threads} threads"), cell(threads, false, false)))
        .into();
    print(&format!("Small writes on {cores} cores"), &threads, rounds, time)?;
    for (sync, name) in [(false, "not synced"), (true, "synced")] {
        let cells = [
            ("alone".to_owned(), cell(100, sync, false)),
            ("with a 4 MiB batch every 50 ms".to_owned(), cell(100, sync, true)),
        ];
        print(&format!("100 small writers, {name}"), &cells, rounds, time)?;
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("writers: {}", describe(&*error));
            std::process::ExitCode::FAILURE
        }
    }
}
