//! The workloads that write.

use std::time::Duration;

use kit::random::{below, mix};
use kit::zipf::Zipf;
use kit::{Error, Result};

use crate::engines::Engine;
use crate::keys::{Key, Shuffle, Values, key};
use crate::measure::{Measured, run, share};
use crate::workload::{BATCH, Database, SURVIVES, Workload};

/// Everything follows from it.
const SEED: u64 = 0x5eed;

/// Keys that are looked up after a workload that writes, for each thread.
const LOOKED_UP: u64 = 2_000;

/// What is written and read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load<'a> {
    /// The workload.
    pub(crate) workload: Workload,
    /// Threads that make its calls.
    pub(crate) threads: u64,
    /// Keys to choose from.
    pub(crate) keys: u64,
    /// The value of each key.
    pub(crate) values: &'a Values,
    /// The most time that the measured part takes.
    pub(crate) limit: Duration,
}

/// Which key each operation is about.
#[derive(Debug)]
pub(crate) struct Chooser {
    sequential: bool,
    zipf: Option<Zipf>,
    threads: u64,
    keys: u64,
}

impl Chooser {
    /// The choice that a workload makes.
    pub(crate) fn new(load: &Load<'_>) -> Self {
        let is_zipf = matches!(load.workload, Workload::Overwrite | Workload::ReadZipf);
        Self {
            sequential: load.workload == Workload::FillSeq,
            zipf: is_zipf.then(|| Zipf::new(load.keys)),
            threads: load.threads,
            keys: load.keys,
        }
    }

    /// The number of the key of operation `index` of `thread`.
    pub(crate) fn number(&self, thread: u64, index: u64) -> u64 {
        if self.sequential {
            return index * self.threads + thread;
        }
        let random = mix(mix(SEED ^ mix(thread)) ^ index);
        match &self.zipf {
            // Scattered, or the most used keys would all lie at the beginning.
            Some(zipf) => below(mix(zipf.rank(random) ^ SEED), self.keys),
            None => below(random, self.keys),
        }
    }
}

/// Runs a workload that writes, and looks up afterwards what it has written if `looks_up`.
pub(crate) fn write(engine: &dyn Engine, load: &Load<'_>, looks_up: bool) -> Result<Measured> {
    if load.workload == Workload::Overwrite {
        self::load(engine, Database::Full, load.keys, load.values)?;
        settle(engine)?;
    }
    let chooser = Chooser::new(load);
    let calls = load.workload.calls(load.keys);
    let batch = if load.workload == Workload::Batch100 { BATCH } else { 1 };
    let measured = run(load.threads, load.limit, |thread, meter| {
        let mut records: Vec<(Key, Option<&[u8]>)> = Vec::new();
        for call in 0..share(calls, load.threads, thread) {
            if batch == 1 {
                let number = chooser.number(thread, call);
                engine.put(&key(number), load.values.of(number))?;
            } else {
                records.clear();
                records.extend((call * batch..(call + 1) * batch).map(|index| {
                    let number = chooser.number(thread, index);
                    (key(number), Some(load.values.of(number)))
                }));
                engine.write_batch(&records)?;
            }
            if !meter.done(batch) {
                break;
            }
        }
        Ok(())
    })?;
    if looks_up {
        for (thread, made) in (0..).zip(&measured.made) {
            let written = made * batch;
            let step = (written / LOOKED_UP).max(1) as usize;
            for index in (0..written).step_by(step) {
                check(engine, chooser.number(thread, index), load.values)?;
            }
        }
    }
    Ok(measured)
}

/// Looks up a key that must be there, and compares its value.
pub(crate) fn check(engine: &dyn Engine, number: u64, values: &Values) -> Result<()> {
    let mut is_right = false;
    let is_there = engine.get(&key(number), &mut |value| is_right = value == values.of(number))?;
    match (is_there, is_right) {
        (true, true) => Ok(()),
        (true, false) => Err(format!("key {number} has a wrong value").into()),
        (false, _) => Err(format!("key {number} is missing").into()),
    }
}

/// Loads a database: all keys in random order, and then the deletes if it has any.
pub(crate) fn load(
    engine: &dyn Engine,
    database: Database,
    keys: u64,
    values: &Values,
) -> Result<()> {
    let written = Shuffle::new(keys, SEED);
    batches((0..keys).map(|at| written.at(at)), engine, |number| Some(values.of(number)))?;
    if database == Database::Deleted { delete(engine, keys) } else { Ok(()) }
}

/// Deletes all keys but those that survive, in random order.
pub(crate) fn delete(engine: &dyn Engine, keys: u64) -> Result<()> {
    let deleted = Shuffle::new(keys, SEED + 1);
    let numbers = (0..keys).map(|at| deleted.at(at)).filter(|number| !survives(*number));
    batches(numbers, engine, |_| None)
}

/// Whether the deletes leave this key.
pub(crate) fn survives(number: u64) -> bool {
    number.is_multiple_of(SURVIVES)
}

fn batches<'a>(
    mut numbers: impl Iterator<Item = u64>,
    engine: &dyn Engine,
    value: impl Fn(u64) -> Option<&'a [u8]>,
) -> Result<()> {
    let mut records = Vec::new();
    loop {
        records.clear();
        records.extend(numbers.by_ref().take(BATCH as usize).map(|n| (key(n), value(n))));
        if records.is_empty() {
            return Ok(());
        }
        engine.write_batch(&records)?;
    }
}

/// Flushes, and waits until the process has nothing to do any more, whatever the engine's threads
/// are about: until it has used almost no processor time for a while.
pub(crate) fn settle(engine: &dyn Engine) -> Result<()> {
    engine.flush()?;
    wait_until_quiet()
}

/// Waits until this process, whose caller does nothing, needs hardly any processor time.
pub(crate) fn wait_until_quiet() -> Result<()> {
    const LOOK: Duration = Duration::from_millis(100);
    const QUIET_LOOKS: u32 = 4;
    const LOOKS_MAX: u32 = 1200;
    let (mut quiet, mut before) = (0, crate::process::cpu_seconds());
    for _ in 0..LOOKS_MAX {
        std::thread::sleep(LOOK);
        let now = crate::process::cpu_seconds();
        let used = now.zip(before).map_or(0.0, |(now, before)| now - before);
        quiet = if used < LOOK.as_secs_f64() / 5.0 { quiet + 1 } else { 0 };
        if quiet == QUIET_LOOKS {
            return Ok(());
        }
        before = now;
    }
    Err(Error::from("the engine was still busy after two minutes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chooser(workload: Workload, threads: u64, keys: u64) -> Chooser {
        let values = Values::new(0);
        Chooser::new(&Load { workload, threads, keys, values: &values, limit: Duration::ZERO })
    }

    #[test]
    fn fillseq_takes_each_key_once_over_all_threads() {
        let (threads, keys) = (3, 10);
        let chooser = chooser(Workload::FillSeq, threads, keys);
        let mut numbers = Vec::new();
        for thread in 0..threads {
            let own: Vec<_> =
                (0..share(keys, threads, thread)).map(|i| chooser.number(thread, i)).collect();
            assert!(own.is_sorted());
            numbers.extend(own);
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..keys).collect::<Vec<_>>());
    }

    #[test]
    fn random_keys_cover_the_range_and_threads_differ() {
        let chooser = chooser(Workload::FillRandom, 2, 1000);
        let mut counts = vec![0; 1000];
        (0..100_000).for_each(|index| counts[chooser.number(0, index) as usize] += 1);
        assert!(counts.iter().all(|count| (50..200).contains(count)));
        assert!((0..100).any(|index| chooser.number(0, index) != chooser.number(1, index)));
        assert!((0..100).all(|index| chooser.number(1, index) == chooser.number(1, index)));
    }

    #[test]
    fn zipf_keys_are_skewed_and_scattered() {
        let chooser = chooser(Workload::Overwrite, 1, 10_000);
        let mut counts = vec![0_u32; 10_000];
        (0..100_000).for_each(|index| counts[chooser.number(0, index) as usize] += 1);
        let hottest = counts.iter().enumerate().max_by_key(|(_, count)| **count);
        // Rank 0 takes about a tenth of 10,000 ranks, and does not lie at the beginning.
        assert!(hottest.is_some_and(|(number, &count)| count > 8_000 && number > 100));
    }

    #[test]
    fn a_tenth_survives() {
        assert_eq!((0..1000).filter(|number| survives(*number)).count(), 100);
    }
}
