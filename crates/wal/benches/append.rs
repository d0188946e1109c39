//! Appending, syncing and recovering, against other ways to do it, in one interleaved run that prints ratios:
//! `cargo bench -p polder-wal --bench append [append] [latency] [durable] [recovery] [seconds=0.4] [rounds=3]
//! [threads=1]`.
//!
//! Every contender writes to files of 64 MiB, filled before, that are synced by another thread when they are left, and
//! then used again: what a log does in use. Ratios are medians over the rounds; more is better for the log.

mod peers;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base::SegmentNumber;
use peers::{Buffered, Grouped, MappedCopy, Peer, Raw, Written};
use wal::{LogBackend, LogStart, RecoveryMode, Wal, WalOptions};

const SEGMENT_BYTES: u64 = 64 << 20;

/// The log as a contender, with somebody beside it who flushes what is logged and retires it.
struct Log {
    wal: Arc<Wal>,
}

impl Log {
    fn new(dir: &Path, backend: LogBackend) -> Self {
        // Like the others it makes what it leaves durable, which by default it does not as long as nobody asks.
        let options = WalOptions {
            backend,
            segment_bytes: SEGMENT_BYTES,
            unsynced_bytes_max: 0,
            ..WalOptions::default()
        };
        let fs = Arc::new(vfs::RealFs::new());
        let wal =
            Arc::new(Wal::create(fs, dir, options, LogStart::fresh()).expect("there is room"));
        let retired = Arc::downgrade(&wal);
        std::thread::spawn(move || {
            while let Some(wal) = retired.upgrade() {
                wal.retire_before(wal.current_segment()).expect("it is retired");
                drop(wal);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let log = Self { wal };
        // Past the small segments that a log begins with, and until files are used again.
        while log.wal.stats().segments_recycled == 0 {
            log.append(&[7; 8000]);
        }
        log
    }
}

impl Peer for Log {
    fn append(&self, record: &[u8]) {
        self.wal.append(&[record]).expect("there is room");
    }

    fn append_synced(&self, record: &[u8]) {
        self.wal.append_synced(&[record]).expect("there is room");
    }

    fn note(&self) -> String {
        let s = self.wal.stats();
        let made = s.segments_created + s.segments_recycled;
        format!(
            "segments {made}, {} of retired files, {} made by a writer, records without a window {} of {}",
            s.segments_recycled, s.segments_unprepared, s.unmapped_records, s.records
        )
    }
}

/// What the arguments ask for.
struct Asked {
    parts: Vec<String>,
    time: Duration,
    rounds: usize,
    threads: Option<usize>,
}

impl Asked {
    fn read() -> Self {
        let mut asked =
            Self { parts: Vec::new(), time: Duration::from_millis(400), rounds: 3, threads: None };
        for argument in std::env::args().skip(1) {
            if let Some(seconds) = argument.strip_prefix("seconds=") {
                asked.time = Duration::from_secs_f64(seconds.parse().expect("a number"));
            } else if let Some(rounds) = argument.strip_prefix("rounds=") {
                asked.rounds = rounds.parse().expect("a number");
            } else if let Some(threads) = argument.strip_prefix("threads=") {
                asked.threads = Some(threads.parse().expect("a number"));
            } else if !argument.starts_with('-') {
                asked.parts.push(argument);
            }
        }
        asked
    }

    fn threads(&self, all: [usize; 4]) -> impl Iterator<Item = usize> {
        let only = self.threads;
        all.into_iter().filter(move |threads| only.is_none_or(|only| only == *threads))
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|asked| asked == part)
    }
}

/// Records a second that `threads` append for `time`.
fn rate(threads: usize, time: Duration, append: &(dyn Fn() + Sync)) -> f64 {
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    let counts: u64 = std::thread::scope(|scope| {
        let run = || {
            let mut count = 0u64;
            while !stop.load(Ordering::Relaxed) {
                append();
                count += 1;
            }
            count
        };
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        handles.into_iter().map(|handle| handle.join().expect("no panic")).sum()
    });
    counts as f64 / start.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

type Peers = Vec<(&'static str, Box<dyn Peer>)>;

/// Prints one row: the log's figure, and its ratio to each other contender's.
fn row(what: &str, peers: &Peers, figures: &[Vec<f64>], unit: &str) {
    let own = median(figures[0].clone());
    print!("{what:<24} {own:>11.0} {unit}");
    for (at, (name, _)) in peers.iter().enumerate().skip(1) {
        let ratios = figures[0].iter().zip(&figures[at]).map(|(a, b)| a / b).collect();
        print!("  {:>6.2} x {name}", median(ratios));
    }
    println!();
}

fn append(asked: &Asked, dir: &dyn Fn(&str) -> PathBuf) {
    let peers: Peers = vec![
        ("mapped log", Box::new(Log::new(&dir("mapped"), LogBackend::Mapped))),
        ("written log", Box::new(Log::new(&dir("written"), LogBackend::Positional))),
        ("write(2)", Box::new(Written::new(&dir("write")))),
        ("BufWriter+flush", Box::new(Buffered::new(&dir("buffered")))),
        ("mutex+mapped copy", Box::new(MappedCopy::new(&dir("copy")))),
    ];
    println!("appends a second: the mapped log's, and its ratio to the others'");
    for len in [140usize, 64 << 10] {
        let mut alone = 0.0;
        for threads in asked.threads([1, 2, 4, 8]) {
            let mut figures = vec![Vec::new(); peers.len()];
            for _ in 0..asked.rounds {
                for (at, (_, peer)) in peers.iter().enumerate() {
                    let record = vec![0x5A; len];
                    figures[at].push(rate(threads, asked.time, &|| peer.append(&record)));
                }
            }
            row(&format!("{len} B, {threads} threads"), &peers, &figures, "/s");
            let own = median(figures[0].clone());
            if threads == 1 {
                alone = own;
            } else if alone > 0.0 {
                println!("{:>24} {:>11.2} of one thread's total", "", own / alone);
            }
        }
    }
    peers.iter().take(2).for_each(|(name, peer)| println!("{name}: {}", peer.note()));
}

fn latency(asked: &Asked, dir: &dyn Fn(&str) -> PathBuf) {
    let peers: Peers = vec![
        ("mapped log", Box::new(Log::new(&dir("mapped"), LogBackend::Mapped))),
        ("write(2)", Box::new(Written::new(&dir("write")))),
    ];
    println!("\nlatency of one 140 B append in microseconds, 1 thread (both with the clock's own)");
    for round in 0..asked.rounds {
        for (name, peer) in &peers {
            let mut times = Vec::with_capacity(8 << 20);
            let end = Instant::now() + 2 * asked.time;
            loop {
                let start = Instant::now();
                peer.append(&[0x5A; 140]);
                times.push(start.elapsed().as_nanos() as u32);
                if start > end || times.len() == times.capacity() {
                    break;
                }
            }
            times.sort_unstable();
            let at =
                |share: f64| f64::from(times[((times.len() - 1) as f64 * share) as usize]) / 1e3;
            println!(
                "round {round} {name:<12} p50 {:>7.2} p99 {:>7.2} p99.9 {:>8.2} p99.99 {:>8.2} max {:>9.1} of {}",
                at(0.5),
                at(0.99),
                at(0.999),
                at(0.9999),
                at(1.0),
                times.len()
            );
        }
    }
}

/// Bytes written to all disks since the start, from `/proc/diskstats`.
fn bytes_written() -> u64 {
    let stats = std::fs::read_to_string("/proc/diskstats").unwrap_or_default();
    let sectors = stats.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let name = fields.nth(2)?;
        let is_disk = ["vd", "sd", "nvme", "xvd"].iter().any(|start| name.starts_with(start));
        is_disk.then(|| fields.nth(6)?.parse::<u64>().ok()).flatten()
    });
    sectors.sum::<u64>() * 512
}

fn durable(asked: &Asked, dir: &dyn Fn(&str) -> PathBuf) {
    let log = Arc::new(Log::new(&dir("durable"), LogBackend::Mapped));
    let peers: Peers = vec![
        ("mapped log", Box::new(Arc::clone(&log))),
        ("group commit", Box::new(Grouped::new(&dir("grouped"), 1))),
        ("the same, two rounds at a time", Box::new(Grouped::new(&dir("overlapped"), 2))),
        ("raw pwrite+fdatasync", Box::new(Raw::new(&dir("raw")))),
    ];
    println!("\ndurable 140 B appends a second: the log's, and its ratio to the others'");
    for threads in asked.threads([1, 4, 16, 64]) {
        let mut figures = vec![Vec::new(); peers.len()];
        let mut a_sync = Vec::new();
        for _ in 0..asked.rounds {
            for (at, (_, peer)) in peers.iter().enumerate() {
                let (bytes, syncs) = (bytes_written(), log.wal.stats().syncs);
                let threads = if at == 3 { 1 } else { threads };
                figures[at].push(rate(threads, asked.time, &|| peer.append_synced(&[0x5A; 140])));
                if at == 0 {
                    let syncs = log.wal.stats().syncs - syncs;
                    a_sync.push((bytes_written() - bytes) as f64 / syncs as f64);
                }
            }
        }
        row(&format!("{threads} threads"), &peers, &figures, "/s");
        println!("{:>24} {:>11.0} B to the disks a sync", "", median(a_sync));
    }
}

fn recovery(dir: &dyn Fn(&str) -> PathBuf) {
    println!("\nrecovery, from the page cache");
    for len in [140usize, 4096] {
        let dir = dir(&format!("recovery-{len}"));
        let fs: Arc<dyn vfs::Fs> = Arc::new(vfs::RealFs::new());
        let options = WalOptions { segment_bytes: SEGMENT_BYTES, ..WalOptions::default() };
        let wal =
            Wal::create(Arc::clone(&fs), &dir, options, LogStart::fresh()).expect("there is room");
        while wal.live_bytes() < 256 << 20 {
            wal.append(&[&vec![0x5A; len]]).expect("there is room");
        }
        wal.close().expect("it is closed");
        let start = Instant::now();
        let mut bytes = 0u64;
        let mut visit = |_: SegmentNumber, _: u64, payload: &[u8]| {
            bytes += payload.len() as u64;
            Ok::<(), std::convert::Infallible>(())
        };
        let from = SegmentNumber::new(1);
        let mode = RecoveryMode::PointInTime;
        let recovered = wal::recover(&fs, &dir, from, mode, &mut visit).expect("it is good");
        let read: u64 = recovered.start.existing.iter().map(|info| info.bytes).sum();
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "records of {len} B: {:.0} MB/s of log, {} records",
            read as f64 / seconds / 1e6,
            recovered.records
        );
    }
}

fn main() {
    let asked = Asked::read();
    let scratch =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("wal-{}", std::process::id()));
    let made = AtomicU64::new(0);
    let dir = |name: &str| {
        let number = made.fetch_add(1, Ordering::Relaxed);
        let dir = scratch.join(format!("{number}-{name}"));
        std::fs::create_dir_all(&dir).expect("there is room");
        dir
    };
    if asked.parts.iter().any(|part| part == "solo") {
        // For a profiler.
        let log = Log::new(&dir("solo"), LogBackend::Mapped);
        let threads = asked.threads.unwrap_or(1);
        println!("{:.0} /s", rate(threads, asked.time, &|| log.append(&[0x5A; 140])));
        println!("{} {:?}", log.note(), log.wal.stats());
    }
    if asked.wants("append") {
        append(&asked, &dir);
    }
    if asked.wants("latency") {
        latency(&asked, &dir);
    }
    if asked.wants("durable") {
        durable(&asked, &dir);
    }
    if asked.wants("recovery") {
        recovery(&dir);
    }
    std::fs::remove_dir_all(&scratch).expect("it is ours");
}
