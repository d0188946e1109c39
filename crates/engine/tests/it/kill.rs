//! A process that writes is killed at random moments; what it had acknowledged must be there when it is opened again.
//!
//! The test starts its own binary again as the child. `POLDER_KILL_ROUNDS` sets how many rounds are played (default
//! 50), `POLDER_KILL_SEED` replays the operations and the delays of an earlier run.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine::{Db, Family, WriteBatch, WriteOptions};

use crate::support::{Random, small};

const WRITERS: u64 = 3;
const KEYS: u64 = 300;
const OTHER: &str = "other";
const CHILD_DIR: &str = "POLDER_KILL_CHILD_DIR";
const CHILD_FROM: &str = "POLDER_KILL_CHILD_FROM";
const CHILD_SEED: &str = "POLDER_KILL_CHILD_SEED";

/// One change of one writer's keys; `None` deletes.
type Change = (Vec<u8>, Option<Vec<u8>>);

/// What the `index`-th batch of a writer does, and whether it asks for a sync. The same for parent and child.
fn operation(seed: u64, writer: u64, index: u64) -> (Vec<Change>, bool) {
    let mut random = Random::new(seed ^ (writer << 56) ^ index.wrapping_mul(0x1234_5678_9ABC_DEF1));
    let changes = (0..1 + random.below(6)).map(|_| {
        let key = format!("{writer}/{:04}", random.below(KEYS)).into_bytes();
        if random.below(4) == 0 {
            return (key, None);
        }
        let len = match random.below(50) {
            0 => random.below(40_000),
            n => n * 4,
        };
        let mut value = format!("{index}:").into_bytes();
        value.resize(value.len() + len as usize, (index % 251) as u8);
        (key, Some(value))
    });
    let changes = changes.collect();
    (changes, random.below(16) == 0)
}

fn marker(writer: u64) -> Vec<u8> {
    format!("{writer}/~marker").into_bytes()
}

/// The child: writes until it is killed. Does nothing when it runs as an ordinary test.
#[test]
fn child_entry() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let seed: u64 = std::env::var(CHILD_SEED).unwrap().parse().unwrap();
    let from: Vec<u64> =
        std::env::var(CHILD_FROM).unwrap().split(',').map(|n| n.parse().unwrap()).collect();
    let db = Db::open(&dir, small()).unwrap();
    let other = db.family(OTHER).or_else(|_| db.create_family(OTHER)).unwrap();
    std::thread::scope(|scope| {
        for (writer, from) in (0..).zip(from) {
            let (db, other) = (&db, &other);
            scope.spawn(move || write_for_ever(db, other, seed, writer, from));
        }
    });
}

fn write_for_ever(db: &Db, other: &Family, seed: u64, writer: u64, from: u64) {
    for index in from.. {
        let (changes, is_synced) = operation(seed, writer, index);
        let mut batch = WriteBatch::new();
        batch.put(marker(writer), index.to_string());
        for (key, value) in changes {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            };
        }
        batch.put_in(other, marker(writer), index.to_string());
        let options = WriteOptions { sync: is_synced, ..WriteOptions::default() };
        db.write(&batch, &options).unwrap();
        // One write call: the acknowledgement is out before the next batch begins.
        std::io::stdout().write_all(format!("ack {writer} {index}\n").as_bytes()).unwrap();
    }
}

/// What the parent knows: per writer the next index, and the keys that it should hold.
struct Expected {
    seed: u64,
    next: Vec<u64>,
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Expected {
    fn new(seed: u64) -> Self {
        Self { seed, next: vec![0; WRITERS as usize], entries: BTreeMap::new() }
    }

    fn apply(&mut self, writer: u64, index: u64) {
        let (changes, _) = operation(self.seed, writer, index);
        for (key, value) in changes {
            match value {
                Some(value) => self.entries.insert(key, value),
                None => self.entries.remove(&key),
            };
        }
        self.entries.insert(marker(writer), index.to_string().into_bytes());
        self.next[writer as usize] = index + 1;
    }

    /// Checks the database against what was acknowledged, and takes over a batch that was written and not yet
    /// acknowledged.
    fn check(&mut self, dir: &Path, acknowledged: &[Option<u64>], is_closed: bool) {
        let db = Db::open(dir, small()).expect("the database opens after the kill");
        let other = db.family(OTHER).or_else(|_| db.create_family(OTHER)).unwrap();
        let read = |value: Option<engine::Bytes>| -> Option<u64> {
            value.map(|v| std::str::from_utf8(&v).unwrap().parse().unwrap())
        };
        for writer in 0..WRITERS {
            let here = read(db.get(marker(writer)).unwrap());
            assert_eq!(
                here,
                read(other.get(marker(writer)).unwrap()),
                "writer {writer}: half a batch is there"
            );
            let acknowledged =
                acknowledged[writer as usize].or_else(|| self.next[writer as usize].checked_sub(1));
            assert!(
                here >= acknowledged,
                "writer {writer}: {acknowledged:?} was acknowledged, {here:?} is there"
            );
            let last_possible = acknowledged.map_or(0, |index| index + 1);
            assert!(
                here.is_none_or(|index| index <= last_possible),
                "writer {writer}: {here:?} was never written"
            );
            for index in self.next[writer as usize]..here.map_or(0, |index| index + 1) {
                self.apply(writer, index);
            }
        }
        let found: BTreeMap<Vec<u8>, Vec<u8>> = db
            .iter()
            .unwrap()
            .map(|entry| entry.map(|(k, v)| (k.to_vec(), v.to_vec())).unwrap())
            .collect();
        for (key, value) in &self.entries {
            let shown = String::from_utf8_lossy(key);
            assert!(found.contains_key(key), "{shown} is missing");
            assert!(found[key] == *value, "{shown} has another value");
        }
        for key in found.keys() {
            assert!(
                self.entries.contains_key(key),
                "{} is back from the dead",
                String::from_utf8_lossy(key)
            );
        }
        let mut backward: Vec<_> = db.iter().unwrap().rev().map(|entry| entry.unwrap().0).collect();
        backward.reverse();
        assert!(backward.iter().eq(found.keys()), "backward shows other keys than forward");
        if is_closed {
            db.close().unwrap();
        }
    }
}

fn start_child(dir: &Path, expected: &Expected) -> Child {
    let from: Vec<String> = expected.next.iter().map(u64::to_string).collect();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child_entry", "--nocapture", "--test-threads=1"])
        .env(CHILD_DIR, dir)
        .env(CHILD_SEED, expected.seed.to_string())
        .env(CHILD_FROM, from.join(","))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Lets the child run for `delay` after its first acknowledgement (or from its start), kills it, and says what it had
/// acknowledged.
fn run_and_kill(mut child: Child, delay: Duration, from_start: bool) -> Vec<Option<u64>> {
    let stdout = child.stdout.take().unwrap();
    let is_started = std::sync::Arc::new(AtomicBool::new(false));
    let started = std::sync::Arc::clone(&is_started);
    let reader = std::thread::spawn(move || {
        let mut acknowledged = vec![None; WRITERS as usize];
        for line in BufReader::new(stdout).lines() {
            let line = line.unwrap();
            // The test harness prints a line of its own, without an end, before the first.
            let Some((_, line)) = line.rsplit_once("ack") else { continue };
            let mut words = line.split_whitespace();
            if let (Some(writer), Some(index)) = (words.next(), words.next()) {
                started.store(true, Ordering::Relaxed);
                acknowledged[writer.parse::<usize>().unwrap()] =
                    Some(index.parse::<u64>().unwrap());
            }
        }
        acknowledged
    });
    while !from_start && !is_started.load(Ordering::Relaxed) && child.try_wait().unwrap().is_none()
    {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(delay);
    let ended = child.try_wait().unwrap();
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        ended.is_none(),
        "the child ended by itself: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    reader.join().unwrap()
}

/// W4, C9, K: nothing acknowledged is lost by a kill, batches are whole, nothing deleted is back.
#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let number = |name: &str| std::env::var(name).ok().map(|n| n.parse::<u64>().expect("a number"));
    let rounds = number("POLDER_KILL_ROUNDS").unwrap_or(50);
    let seed = number("POLDER_KILL_SEED")
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64);
    println!("replay with POLDER_KILL_SEED={seed} POLDER_KILL_ROUNDS={rounds}");
    let root = tempfile::tempdir().unwrap();
    let mut random = Random::new(seed);
    let mut expected = Expected::new(seed);
    let mut dir: PathBuf = root.path().join("0");
    let mut batches = 0;
    for round in 0..rounds {
        if round % 20 == 19 {
            // A new database now and then, so that its creation is interrupted too.
            batches += expected.next.iter().sum::<u64>();
            std::fs::remove_dir_all(&dir).unwrap();
            dir = root.path().join(round.to_string());
            expected = Expected::new(random.next());
        }
        let from_start = random.below(4) == 0;
        let delay = Duration::from_micros(random.below(if from_start { 30_000 } else { 150_000 }));
        let acknowledged = run_and_kill(start_child(&dir, &expected), delay, from_start);
        expected.check(&dir, &acknowledged, random.below(2) == 0);
    }
    batches += expected.next.iter().sum::<u64>();
    println!("{rounds} rounds, {batches} batches: nothing lost, nothing back");
    assert!(batches > rounds, "the child hardly wrote anything: the test shows nothing");
}
