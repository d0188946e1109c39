//! The reading back: the whole database against what must be in it.
//!
//! A scan and the expected records are walked side by side, as in a merge. Every key must come in
//! ascending order and exactly once, nothing may be missing, nothing may be there that should not,
//! and each value must be the expected one byte for byte; a checksum over all that was read must be
//! that over all that was expected. A sample of the keys is
//! then read one by one, together with keys that do not exist.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::progress::Phase;
use crate::random::{below, checksum, mix};
use crate::source::Expected;
use crate::{Result, describe, latency};

/// How many keys are read one by one.
const SAMPLE: usize = 50_000;

/// How many problems are described; all are counted.
const PROBLEMS_TOLD: usize = 10;

/// The longest key that still has a neighbour of one byte more.
const NEIGHBOUR_KEY_MAX: usize = u16::MAX as usize - 1;

/// What was found.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    /// Records that were as expected.
    pub(crate) records: u64,
    /// Everything that was not.
    pub(crate) problems: u64,
    /// The first of them in words.
    pub(crate) told: Vec<String>,
    /// Bytes of keys and values that were read.
    pub(crate) bytes: u64,
    /// Checksum over every key and value that was read, in order.
    pub(crate) checksum: u64,
    /// The same over what was expected.
    pub(crate) checksum_expected: u64,
    /// How long the scan took, the comparison included.
    pub(crate) scan_time: Duration,
    /// Reads of single keys, half of them (where possible) of keys that do not exist.
    pub(crate) point_reads: u64,
    /// How long these took.
    pub(crate) point_time: Duration,
    /// Nanoseconds of each.
    pub(crate) point_latency: Histogram<u64>,
}

impl Verified {
    fn new() -> Result<Self> {
        Ok(Self {
            records: 0,
            problems: 0,
            told: Vec::new(),
            bytes: 0,
            checksum: 0,
            checksum_expected: 0,
            scan_time: Duration::ZERO,
            point_reads: 0,
            point_time: Duration::ZERO,
            point_latency: latency::histogram()?,
        })
    }

    /// Whether everything was as expected.
    pub(crate) fn is_proved(&self) -> bool {
        self.problems == 0 && self.checksum == self.checksum_expected
    }

    fn problem(&mut self, what: impl FnOnce() -> String) {
        self.problems += 1;
        if self.told.len() < PROBLEMS_TOLD {
            self.told.push(what());
        }
    }
}

/// A key to be read by itself.
#[derive(Clone, Debug)]
struct Pick {
    key: Vec<u8>,
    value_checksum: u64,
    /// Whether the key with a zero byte behind it is expected to exist as well.
    neighbour: bool,
}

/// Walks `found` and `expected` side by side, then reads a sample by `get`.
///
/// # Errors
/// If the expected records cannot be made. What is wrong with the database is no error here, but
/// counted and told.
pub(crate) fn verify<K: AsRef<[u8]>, V: AsRef<[u8]>, G: AsRef<[u8]>>(
    found: impl Iterator<Item = Result<(K, V)>>,
    get: impl Fn(&[u8]) -> Result<Option<G>>,
    expected: &mut dyn Expected,
    phase: &Phase,
) -> Result<Verified> {
    let mut verified = Verified::new()?;
    let start = Instant::now();
    let mut sample = Sample::default();
    walk(found, expected, &mut verified, &mut sample, phase)?;
    verified.scan_time = start.elapsed();
    let start = Instant::now();
    read_sample(get, &sample.picks, &mut verified);
    verified.point_time = start.elapsed();
    Ok(verified)
}

fn walk<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    mut found: impl Iterator<Item = Result<(K, V)>>,
    expected: &mut dyn Expected,
    verified: &mut Verified,
    sample: &mut Sample,
    phase: &Phase,
) -> Result<()> {
    let (mut key, mut value) = (Vec::new(), Vec::new());
    let mut before: Option<K> = None;
    let mut take = |verified: &mut Verified| match found.next()? {
        Ok((key, value)) => {
            verified.bytes += (key.as_ref().len() + value.as_ref().len()) as u64;
            for part in [key.as_ref(), value.as_ref()] {
                verified.checksum = checksum(verified.checksum, part);
            }
            Some((key, value))
        }
        Err(error) => {
            verified.problem(|| format!("the scan ended with an error: {}", describe(&*error)));
            None
        }
    };
    let mut advance = |verified: &mut Verified, key: &mut Vec<u8>, value: &mut Vec<u8>| {
        let more = expected.next(key, value)?;
        if more {
            sample.offer(key, value);
            for part in [&*key, &*value] {
                verified.checksum_expected = checksum(verified.checksum_expected, part);
            }
        }
        Ok::<_, crate::Error>(more)
    };
    let mut record = take(verified);
    let mut more = advance(verified, &mut key, &mut value)?;
    loop {
        let order = match &record {
            Some((found, _)) if more => found.as_ref().cmp(&key),
            Some(_) => Ordering::Less,
            None if more => Ordering::Greater,
            None => return Ok(()),
        };
        if order == Ordering::Greater {
            verified.problem(|| format!("missing: {}", show(&key)));
            more = advance(verified, &mut key, &mut value)?;
            continue;
        }
        if let Some((found, content)) = record.take() {
            if before.as_ref().is_some_and(|before| before.as_ref() >= found.as_ref()) {
                verified.problem(|| format!("out of order: {}", show(found.as_ref())));
            }
            match order {
                Ordering::Equal => compare(found.as_ref(), content.as_ref(), &value, verified),
                _ => verified.problem(|| format!("unexpected: {}", show(found.as_ref()))),
            }
            before = Some(found);
        }
        if order == Ordering::Equal {
            more = advance(verified, &mut key, &mut value)?;
        }
        record = take(verified);
        if verified.records.is_multiple_of(1024) {
            phase.done(verified.records);
        }
    }
}

/// Compares a value that was read with the one that was written.
fn compare(key: &[u8], found: &[u8], expected: &[u8], verified: &mut Verified) {
    if found == expected {
        verified.records += 1;
        return;
    }
    verified.problem(|| {
        let at = found.iter().zip(expected).position(|(a, b)| a != b);
        let at = at.unwrap_or(found.len().min(expected.len()));
        let (read, written) = (found.len(), expected.len());
        format!(
            "wrong value of {}: {read} bytes for {written}, differ from byte {at} on",
            show(key)
        )
    });
}

/// A uniform sample of the expected records, of bounded size.
#[derive(Debug, Default)]
struct Sample {
    picks: Vec<Pick>,
    seen: u64,
    /// The pick that was taken at the last offer.
    last: Option<usize>,
}

impl Sample {
    fn offer(&mut self, key: &[u8], value: &[u8]) {
        if let Some(last) = self.last.take() {
            let pick = &mut self.picks[last];
            pick.neighbour = key.strip_prefix(pick.key.as_slice()) == Some(&[0]);
        }
        self.seen += 1;
        let pick =
            || Pick { key: key.to_vec(), value_checksum: checksum(0, value), neighbour: false };
        if self.picks.len() < SAMPLE {
            self.last = Some(self.picks.len());
            self.picks.push(pick());
            return;
        }
        // Reservoir sampling: record n stays with a probability of SAMPLE/n.
        let slot = below(mix(self.seen), self.seen) as usize;
        if slot < SAMPLE {
            self.picks[slot] = pick();
            self.last = Some(slot);
        }
    }
}

/// Reads every pick, and its neighbour if that must not exist.
fn read_sample<G: AsRef<[u8]>>(
    get: impl Fn(&[u8]) -> Result<Option<G>>,
    picks: &[Pick],
    verified: &mut Verified,
) {
    let timed = |key: &[u8], verified: &mut Verified| {
        let start = Instant::now();
        let got = get(key);
        latency::record(&mut verified.point_latency, start.elapsed());
        verified.point_reads += 1;
        got.unwrap_or_else(|error| {
            verified.problem(|| format!("reading {}: {}", show(key), describe(&*error)));
            None
        })
    };
    // In an order of their own: the sample is in key order, which would flatter the cache.
    let mut order: Vec<&Pick> = picks.iter().collect();
    order.sort_by_key(|pick| mix(pick.value_checksum ^ checksum(0, &pick.key)));
    for pick in order {
        let got = timed(&pick.key, verified);
        if got.map(|value| checksum(0, value.as_ref())) != Some(pick.value_checksum) {
            verified.problem(|| format!("read alone, missing or wrong: {}", show(&pick.key)));
        }
        if !pick.neighbour && pick.key.len() <= NEIGHBOUR_KEY_MAX {
            let neighbour = [&pick.key[..], &[0]].concat();
            if timed(&neighbour, verified).is_some() {
                verified.problem(|| format!("read alone, unexpected: {}", show(&neighbour)));
            }
        }
    }
}

/// A key for people: as text where it is text, its beginning if it is long.
fn show(key: &[u8]) -> String {
    let shown = &key[..key.len().min(80)];
    let dots = if shown.len() < key.len() { "…" } else { "" };
    format!("key \"{}{dots}\"", shown.escape_ascii())
}

#[cfg(test)]
mod tests;
