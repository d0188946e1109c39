//! A random workload, and what must be on the disk after it was cut short.

use base::SegmentNumber;
use vfs::sim::SimFs;
use wal::{
    AppendError, Error, LogBackend, RecoveryMode, Reservation, ReserveError, Wal, WalOptions,
    WalStats,
};

use crate::kit::*;

/// A small generator of random numbers; the same seed gives the same ones.
#[derive(Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// What became of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Acknowledged.
    Filled,
    /// Given up, or its writer was told that it is not in the log.
    Gone,
    /// Its writer was told nothing, or that the log has failed.
    Unknown,
}

struct Item {
    segment: u64,
    payload: Vec<u8>,
    fate: Fate,
}

/// All reservations in their order, and what was promised about them.
pub struct History {
    items: Vec<Item>,
    /// So many of the items are promised to survive a power cut.
    durable: usize,
    /// Where recovery begins: recorded elsewhere.
    from: SegmentNumber,
    next: u64,
    options: WalOptions,
    /// Hardly anything is synced.
    is_lazy: bool,
    /// What the last log did.
    pub stats: WalStats,
}

/// How much must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// What was synced.
    Synced,
    /// What was acknowledged.
    Acknowledged,
}

/// Why a run ended early: the log has failed, or the disk is gone.
pub struct Ended;

/// Every way for a record to its segment, with files that are used once and with files that are used again; the last with
/// segments of several blocks, so that records of several chunks, too, stand in files that are used again.
pub fn variants() -> [WalOptions; 5] {
    let with = |backend, spare_segments_max, unsynced_bytes_max| WalOptions {
        open_records_max: 8,
        backend,
        spare_segments_max,
        unsynced_bytes_max,
        ..small()
    };
    [
        with(LogBackend::Positional, 0, 0),
        with(LogBackend::Positional, 2, 1 << 20),
        with(LogBackend::Mapped, 0, 1 << 20),
        with(LogBackend::Mapped, 2, 10_000),
        WalOptions { segment_bytes: 40 << 10, ..with(LogBackend::Mapped, 2, 1 << 20) },
    ]
}

impl History {
    pub fn new(options: &WalOptions, is_lazy: bool) -> Self {
        let options = options.clone();
        Self {
            items: Vec::new(),
            durable: 0,
            from: NOTHING,
            next: 0,
            options,
            is_lazy,
            stats: WalStats::default(),
        }
    }

    /// Recovers, checks what is there, opens, and runs `steps` random operations, until something fails for good.
    pub fn generation(
        &mut self,
        fs: &SimFs,
        rng: &mut Rng,
        steps: u64,
        what: &str,
    ) -> Result<(), Ended> {
        let mode = RecoveryMode::PointInTime;
        let (records, recovered) = match recover_sim(fs, self.from, mode) {
            Ok(found) => found,
            Err(Error::Fs(_)) => return Err(Ended),
            Err(other) => panic!("{what}: {other}"),
        };
        self.check(&records, Promise::Synced, what);
        self.settle(records);
        let log = create(fs, self.options.clone(), recovered.start).map_err(|_| Ended)?;
        if self.from == NOTHING {
            self.from = log.current_segment();
        }
        for _ in 0..steps {
            self.step(&log, rng)?;
        }
        self.stats = log.stats();
        match rng.below(2) {
            0 => {
                log.close().map_err(|_| Ended)?;
                self.durable = self.items.len();
            }
            _ => drop(log),
        }
        Ok(())
    }

    fn step(&mut self, log: &Wal, rng: &mut Rng) -> Result<(), Ended> {
        match rng.below(22) {
            20 | 21 => {
                log.maintain();
                if is_failed(log) { Err(Ended) } else { Ok(()) }
            }
            0..=8 => self.write(log, rng, 1, false),
            9..=12 => self.write(log, rng, 1, !self.is_lazy),
            13..=15 => self.write(log, rng, 4, !self.is_lazy && rng.clone().below(2) == 0),
            16 if self.is_lazy && rng.below(4) > 0 => self.write(log, rng, 1, false),
            16 => self.sync(log, self.items.len()),
            17 | 18 => over(log.roll()),
            _ => {
                // The caller records, durably, where recovery begins, before it retires what is before: at a segment that
                // was in use.
                let mut used: Vec<u64> = self.items.iter().map(|item| item.segment).collect();
                used.push(log.current_segment().get());
                used.retain(|&segment| segment >= self.from.get());
                self.from = number(used[rng.below(used.len() as u64) as usize]);
                over(log.retire_before(self.from).map(drop))
            }
        }
    }

    /// Reserves `count` records, fills them in another order, gives some up, and syncs if asked.
    fn write(&mut self, log: &Wal, rng: &mut Rng, count: usize, sync: bool) -> Result<(), Ended> {
        let mut open = Vec::new();
        for _ in 0..count {
            let len = match rng.below(16) {
                0 if rng.below(4) == 0 => 16_000 + rng.below(60_000),
                0 => rng.below(9000),
                1..=3 => 8 + rng.below(1500),
                _ => 8 + rng.below(120),
            };
            let reservation = match self.reserve(log, len.max(8) as usize, open.is_empty()) {
                Ok(Some(reservation)) => reservation,
                Ok(None) => break,
                Err(ended) => {
                    open.into_iter()
                        .for_each(|(_, reservation)| drop::<Reservation<'_>>(reservation));
                    return Err(ended);
                }
            };
            open.push((self.items.len() - 1, reservation));
        }
        while !open.is_empty() {
            let (item, reservation) = open.swap_remove(rng.below(open.len() as u64) as usize);
            let gives_up = rng.below(8) == 0;
            self.items[item].fate = if gives_up {
                drop(reservation);
                if is_failed(log) { Fate::Unknown } else { Fate::Gone }
            } else {
                let payload = &self.items[item].payload;
                let (a, b) = payload.split_at(payload.len() / 2);
                let filled = if sync {
                    reservation.fill_to_sync(&[a, b])
                } else {
                    reservation.fill(&[a, b])
                };
                match filled {
                    Ok(()) => Fate::Filled,
                    Err(AppendError::NotAppended(_)) => Fate::Gone,
                    Err(AppendError::Failed(_)) => Fate::Unknown,
                }
            };
        }
        if is_failed(log) {
            return Err(Ended);
        }
        if sync { self.sync(log, self.items.len()) } else { Ok(()) }
    }

    /// Reserves and adds an item; `None` when there is no room and the caller may not wait for it.
    fn reserve<'a>(
        &mut self,
        log: &'a Wal,
        len: usize,
        may_wait: bool,
    ) -> Result<Option<Reservation<'a>>, Ended> {
        loop {
            match log.reserve(len) {
                Ok(reservation) => {
                    let mut payload = self.next.to_le_bytes().to_vec();
                    payload.resize(len, self.next as u8);
                    self.next += 1;
                    let segment = reservation.segment().get();
                    self.items.push(Item { segment, payload, fate: Fate::Unknown });
                    return Ok(Some(reservation));
                }
                Err(ReserveError::NeedsRoom) if !may_wait => return Ok(None),
                Err(ReserveError::NeedsRoom) => match log.make_room(len) {
                    Ok(()) => {}
                    Err(Error::Fs(_)) => return Ok(None),
                    Err(_) => return Err(Ended),
                },
                Err(_) => return Err(Ended),
            }
        }
    }

    fn sync(&mut self, log: &Wal, items: usize) -> Result<(), Ended> {
        over(log.sync(log.filled()))?;
        self.durable = self.durable.max(items);
        Ok(())
    }

    /// Checks that these records are a prefix of the history, and that what was promised is among them.
    pub fn check(&self, records: &[Read], promise: Promise, what: &str) {
        let mut expected =
            self.items.iter().enumerate().filter(|(_, item)| item.segment >= self.from.get());
        for read in records {
            loop {
                let Some((_, item)) = expected.next() else {
                    panic!("{what}: a record came back that does not belong: {read:?}");
                };
                if item.payload == read.payload {
                    assert_ne!(item.fate, Fate::Gone, "{what}: a record that was given up is back");
                    break;
                }
                assert_ne!(item.fate, Fate::Filled, "{what}: a record is missing before {read:?}");
            }
        }
        for (at, item) in expected {
            if item.fate == Fate::Unknown && promise == Promise::Acknowledged {
                break;
            }
            let promised = at < self.durable || promise == Promise::Acknowledged;
            assert!(
                !promised || item.fate != Fate::Filled,
                "{what}: record {at} of segment {} is lost, {} were durable",
                item.segment,
                self.durable
            );
        }
    }

    /// Takes what a recovery found, and made durable, as the whole truth.
    fn settle(&mut self, records: Vec<Read>) {
        let item =
            |read: Read| Item { segment: read.segment, payload: read.payload, fate: Fate::Filled };
        self.items = records.into_iter().map(item).collect();
        self.durable = self.items.len();
    }

    /// Recovers the disk and checks it.
    pub fn check_disk(&self, fs: &SimFs, promise: Promise, what: &str) {
        match recover_sim(fs, self.from, RecoveryMode::PointInTime) {
            Ok((records, _)) => self.check(&records, promise, what),
            Err(error) => panic!("{what}: {error}"),
        }
    }
}

fn is_failed(log: &Wal) -> bool {
    matches!(log.reserve(usize::MAX), Err(ReserveError::Failed(_)))
}

/// Errors of the file system alone are no end: the operation was refused.
fn over(result: Result<(), Error>) -> Result<(), Ended> {
    match result {
        Ok(()) | Err(Error::Fs(_)) => Ok(()),
        Err(_) => Err(Ended),
    }
}
