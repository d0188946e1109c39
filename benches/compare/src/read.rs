//! The workloads that read. Each checks everything that it reads: a value byte for byte, the keys of
//! a scan one by one. An engine that reads wrong ends the measurement with an error.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kit::{Error, Result};

use crate::engines::Engine;
use crate::keys::{Key, Values, key, missing_key, number};
use crate::measure::{Measured, Meter, run, share};
use crate::workload::{BATCH, Database, SCAN, SURVIVES, Workload};
use crate::write::{Chooser, Load, check};

/// How long `readseq` goes on scanning; one scan of a small database is soon over.
const SCANNED_FOR: Duration = Duration::from_secs(1);

/// Reads without measuring: everything once in order, and a quarter of the keys at random, other
/// ones each time, so that what fits is in the caches. Twice, and between that the engine is left
/// alone until it does nothing any more: some compact for what was read, and their caches know
/// nothing of the new files.
pub(crate) fn warm(engine: &dyn Engine, load: &Load<'_>, database: Database) -> Result<()> {
    read_some(engine, load, database, 0)?;
    crate::write::wait_until_quiet()?;
    read_some(engine, load, database, 1)
}

fn read_some(engine: &dyn Engine, load: &Load<'_>, database: Database, time: u64) -> Result<()> {
    scan_all(engine, load, database)?;
    let random = Load { workload: Workload::ReadRandom, ..*load };
    let chooser = Chooser::new(&random);
    let some = load.keys / 4;
    for index in time * some..(time + 1) * some {
        let number = chooser.number(u64::MAX, index);
        if database == Database::Full || crate::write::survives(number) {
            check(engine, number, load.values)?;
        }
    }
    Ok(())
}

/// Runs a workload that reads.
pub(crate) fn read(engine: &dyn Engine, load: &Load<'_>) -> Result<Measured> {
    let chooser = Chooser::new(load);
    let calls = load.workload.calls(load.keys);
    run(load.threads, load.limit, |thread, meter| {
        let own = share(calls, load.threads, thread);
        match load.workload {
            Workload::ReadMissing => read_missing(engine, &chooser, thread, own, meter),
            Workload::ColdSeq => {
                meter.done(scan_all(engine, load, Database::Full)?);
                Ok(())
            }
            Workload::ReadSeq => {
                let start = Instant::now();
                while meter.done(scan_all(engine, load, Database::Full)?)
                    && start.elapsed() < SCANNED_FOR
                {}
                Ok(())
            }
            Workload::SeekRandom => scans(engine, load, &chooser, (thread, own, 1), 1, meter),
            Workload::Scan100 | Workload::ColdScan100 => {
                scans(engine, load, &chooser, (thread, own, SCAN), 1, meter)
            }
            Workload::ScanDeleted | Workload::ScanDeletedNow => {
                scans(engine, load, &chooser, (thread, own, SCAN), SURVIVES, meter)
            }
            Workload::MultiGet => multi_get(engine, load.values, &chooser, (thread, own), meter),
            _ => {
                for index in 0..own {
                    check(engine, chooser.number(thread, index), load.values)?;
                    if !meter.done(1) {
                        break;
                    }
                }
                Ok(())
            }
        }
    })
}

fn read_missing(
    engine: &dyn Engine,
    chooser: &Chooser,
    thread: u64,
    calls: u64,
    meter: &mut Meter,
) -> Result<()> {
    for index in 0..calls {
        let number = chooser.number(thread, index);
        if engine.get(&missing_key(number), &mut |_| ())? {
            return Err(format!("a key behind {number} that nobody wrote is there").into());
        }
        if !meter.done(1) {
            break;
        }
    }
    Ok(())
}

/// Scans of so many records each from a random key on; of `step` keys, the first is there.
fn scans(
    engine: &dyn Engine,
    load: &Load<'_>,
    chooser: &Chooser,
    (thread, calls, records): (u64, u64, u64),
    step: u64,
    meter: &mut Meter,
) -> Result<()> {
    for call in 0..calls {
        let from = chooser.number(thread, call);
        let mut walk = Walk::new(from, load.keys, step);
        let mut each = |key: &[u8], value: &[u8]| walk.step(key, value, load.values);
        let found = match records {
            1 => u64::from(engine.seek(&key(from), &mut each)?),
            _ => engine.scan(&key(from), records, &mut each)?,
        };
        walk.finish(found, records)?;
        if !meter.done(1) {
            break;
        }
    }
    Ok(())
}

fn multi_get(
    engine: &dyn Engine,
    values: &Values,
    chooser: &Chooser,
    (thread, calls): (u64, u64),
    meter: &mut Meter,
) -> Result<()> {
    let (mut numbers, mut keys) = (Vec::<u64>::new(), Vec::<Key>::new());
    for call in 0..calls {
        numbers.clear();
        numbers.extend((call * BATCH..(call + 1) * BATCH).map(|n| chooser.number(thread, n)));
        keys.clear();
        keys.extend(numbers.iter().map(|number| key(*number)));
        let mut right = 0;
        engine.multi_get(&keys, &mut |at, value| {
            right += u64::from(numbers.get(at).is_some_and(|&number| value == values.of(number)));
        })?;
        if right != BATCH {
            return Err(format!("multi_get: {right} of {BATCH} values are right").into());
        }
        if !meter.done(BATCH) {
            break;
        }
    }
    Ok(())
}

/// Scans the whole database; how many records there are.
fn scan_all(engine: &dyn Engine, load: &Load<'_>, database: Database) -> Result<u64> {
    let step = if database == Database::Full { 1 } else { SURVIVES };
    let mut walk = Walk::new(0, load.keys, step);
    let records = engine.scan(&key(0), u64::MAX, &mut |key, value| {
        walk.step(key, value, load.values);
    })?;
    walk.finish(records, u64::MAX)?;
    Ok(records)
}

/// Follows a scan and knows what must come.
#[derive(Debug)]
struct Walk {
    /// The number of the key that must come next.
    next: u64,
    /// Keys from here on do not exist.
    end: u64,
    step: u64,
    left: u64,
    wrong: u64,
}

impl Walk {
    fn new(from: u64, end: u64, step: u64) -> Self {
        let next = from.next_multiple_of(step);
        let left = end.saturating_sub(next).div_ceil(step);
        Self { next, end, step, left, wrong: 0 }
    }

    fn step(&mut self, key: &[u8], value: &[u8], values: &Values) {
        let is_right = number(key) == Some(self.next) && value == values.of(self.next);
        self.wrong += u64::from(!is_right || self.next >= self.end);
        self.next += self.step;
    }

    /// The scan has ended after so many records, of `asked` at most.
    fn finish(&self, found: u64, asked: u64) -> Result<()> {
        let expected = self.left.min(asked);
        if found != expected || self.wrong > 0 {
            let wrong = self.wrong;
            return Err(Error::from(format!(
                "a scan found {found} records for {expected}, {wrong} of them wrong"
            )));
        }
        Ok(())
    }
}

/// What the writer beside the readers has done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paced {
    /// Writes per second that it was to make.
    pub(crate) asked: f64,
    /// Writes per second that it has made.
    pub(crate) made: f64,
}

/// Runs `readrandom` beside one writer that overwrites keys at `rate` a second.
pub(crate) fn read_while_writing(
    engine: &dyn Engine,
    load: &Load<'_>,
    rate: u64,
) -> Result<(Measured, Paced)> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| paced_writer(engine, load, rate, &stop));
        let measured = read(engine, load);
        stop.store(true, Ordering::Relaxed);
        let made = writer.join().map_err(|_| Error::from("the writer panicked"))??;
        Ok((measured?, Paced { asked: rate as f64, made }))
    })
}

/// Writes at a fixed rate until `stop`; writes per second that were made.
fn paced_writer(engine: &dyn Engine, load: &Load<'_>, rate: u64, stop: &AtomicBool) -> Result<f64> {
    // Often enough to be even, seldom enough to leave the readers their processor.
    const TURN: Duration = Duration::from_millis(2);
    let chooser = Chooser::new(&Load { workload: Workload::FillRandom, ..*load });
    let (start, mut made) = (Instant::now(), 0);
    while !stop.load(Ordering::Relaxed) {
        let due = due(start.elapsed(), rate);
        while made < due && !stop.load(Ordering::Relaxed) {
            let number = chooser.number(u64::MAX - 1, made);
            engine.put(&key(number), load.values.of(number))?;
            made += 1;
        }
        std::thread::sleep(TURN);
    }
    Ok(made as f64 / start.elapsed().as_secs_f64().max(1e-9))
}

/// Writes that a rate asks for after so much time.
fn due(time: Duration, rate: u64) -> u64 {
    (time.as_secs_f64() * rate as f64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walked(from: u64, step: u64, records: &[(u64, u64)], asked: u64) -> Result<()> {
        let values = Values::new(20);
        let mut walk = Walk::new(from, 100, step);
        for &(number, value) in records {
            walk.step(&key(number), values.of(value), &values);
        }
        walk.finish(records.len() as u64, asked)
    }

    #[test]
    fn a_scan_must_find_each_key_in_order() {
        assert!(walked(5, 1, &[(5, 5), (6, 6)], 2).is_ok());
        assert!(walked(98, 1, &[(98, 98), (99, 99)], 10).is_ok());
        assert!(walked(11, 10, &[(20, 20), (30, 30)], 2).is_ok());
        assert!(walked(91, 10, &[], 5).is_ok());
        for wrong in [
            &[(5, 5), (7, 7)][..],
            &[(5, 6), (6, 6)],
            &[(6, 6), (5, 5)],
            &[(5, 5)],
            &[(5, 5), (6, 6), (7, 7)],
        ] {
            assert!(walked(5, 1, wrong, 2).is_err(), "{wrong:?}");
        }
        assert!(walked(99, 1, &[(99, 99), (100, 100)], 2).is_err());
    }

    #[test]
    fn the_writer_is_due_by_the_clock() {
        assert_eq!(due(Duration::from_millis(500), 1000), 500);
        assert_eq!(due(Duration::ZERO, 1000), 0);
    }
}
