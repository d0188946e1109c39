//! Reads one key, or many at once: memtables, then level 0, each newest first, then one table a deeper level.

use base::sync::Instant;
use base::{FamilyId, SeqNo, ValueKind};
use bytes::Bytes;
use sstable::{FoundRef, ReadBlocks};

use crate::error::Error;
use crate::read::batch::{COPIED_BYTES_MAX, charged};
use crate::read::scan::check_deadline;
use crate::shared::Shared;
use crate::tables::{FamilyLevels, TableFile};

/// How keys are read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GetHow {
    /// The sequence number that the reader stands at; `None`: now.
    pub(crate) at: Option<SeqNo>,
    pub(crate) blocks: ReadBlocks,
    pub(crate) deadline: Option<Instant>,
}

/// A value where it was found, to be looked at or kept.
#[derive(Clone, Copy)]
pub(crate) enum Lent<'a> {
    Memtable(&'a [u8]),
    Table(FoundRef<'a>),
}

impl<'a> Lent<'a> {
    /// The value.
    #[inline]
    pub(crate) fn bytes(self) -> &'a [u8] {
        match self {
            Self::Memtable(value) => value,
            Self::Table(found) => found.value,
        }
    }

    /// The value as a handle: a copy if it is small or in a memtable, else one that keeps its block, charged for that.
    #[inline]
    pub(crate) fn handle(self, shared: &Shared) -> Bytes {
        match self {
            Self::Table(found) if found.value.len() >= COPIED_BYTES_MAX => {
                charged(found.pin(), found.pinned_bytes(), &shared.budget.pinned)
            }
            _ => Bytes::copy_from_slice(self.bytes()),
        }
    }
}

/// One key of many that are looked up together.
struct Wanted<'a> {
    key: &'a [u8],
    /// Where the caller has it.
    position: usize,
    is_done: bool,
}

impl AsRef<[u8]> for Wanted<'_> {
    fn as_ref(&self) -> &[u8] {
        self.key
    }
}

impl Shared {
    /// What `take` makes of the value of `key` in `family`; `None` if it has none.
    #[inline]
    pub(crate) fn get<T>(
        &self,
        family: FamilyId,
        key: &[u8],
        how: &GetHow,
        take: impl FnOnce(Lent<'_>) -> T,
    ) -> Result<Option<T>, Error> {
        self.health.check_open()?;
        let (view, visible) = self.view_now();
        let at = how.at.unwrap_or(visible);
        let (memtables, levels) = view.family(family)?;
        for memtable in memtables {
            if let Some((found, value)) = memtable.get(key, at) {
                return Ok(live(found.kind).then(|| take(Lent::Memtable(value))));
            }
        }
        let mut take = Some(take);
        let mut asked = 0;
        for file in levels.tables_for(key) {
            check_deadline(how.deadline)?;
            let reader = self.tables.reader(file)?;
            let found = reader.get_map(key, at, &how.blocks, |found| {
                let take = take.take().filter(|_| live(found.kind))?;
                Some(take(Lent::Table(found)))
            })?;
            asked += 1;
            if let Some(value) = found {
                self.pay_for_get(levels, key, asked);
                return Ok(value);
            }
        }
        self.pay_for_get(levels, key, asked);
        Ok(None)
    }

    /// Gives the value of each of `keys` that has one to `each`, with the key's position, as of one moment. Each table is
    /// asked for all that it may hold at once, in ascending order, so keys that lie close together share the work.
    pub(crate) fn multi_get<K: AsRef<[u8]>>(
        &self,
        family: FamilyId,
        keys: &[K],
        how: &GetHow,
        each: &mut dyn FnMut(usize, Lent<'_>),
    ) -> Result<(), Error> {
        self.health.check_open()?;
        let (view, visible) = self.view_now();
        let at = how.at.unwrap_or(visible);
        let (memtables, levels) = view.family(family)?;
        let wanted = |(position, key)| Wanted { key, position, is_done: false };
        let mut pending: Vec<Wanted<'_>> =
            keys.iter().map(AsRef::as_ref).enumerate().map(wanted).collect();
        pending.sort_unstable_by_key(|wanted| wanted.key);
        for memtable in memtables {
            pending.retain(|wanted| match memtable.get(wanted.key, at) {
                Some((found, value)) => {
                    if live(found.kind) {
                        each(wanted.position, Lent::Memtable(value));
                    }
                    false
                }
                None => true,
            });
        }
        let mut many = Many { shared: self, at, how, each, places: Vec::new() };
        many.ask_levels(levels, &mut pending)
    }
}

/// A look-up of many keys on its way through the tables.
struct Many<'a> {
    shared: &'a Shared,
    at: SeqNo,
    how: &'a GetHow,
    each: &'a mut dyn FnMut(usize, Lent<'_>),
    /// Those that one table had, by their places among what it was asked for.
    places: Vec<usize>,
}

impl Many<'_> {
    fn ask_levels(
        &mut self,
        levels: &FamilyLevels,
        pending: &mut Vec<Wanted<'_>>,
    ) -> Result<(), Error> {
        for level in 0..levels.depth() {
            let mut from = 0;
            let is_last = level + 1 == levels.depth();
            for (at, file) in levels.level(level).iter().enumerate() {
                // The tables of a deeper level follow one another, as the keys do.
                let rest = if level == 0 { 0 } else { from };
                let first = &*file.meta.smallest.user_key;
                let last = &*file.meta.largest.user_key;
                let start = rest + pending[rest..].partition_point(|wanted| wanted.key < first);
                let end = start + pending[start..].partition_point(|wanted| wanted.key <= last);
                let count = self.ask(file, &mut pending[start..end])?;
                if !is_last || (level == 0 && at + 1 < levels.level(0).len()) {
                    self.shared.pay_for_gets(file, end - start - count);
                }
                from = end;
                if level == 0 {
                    pending.retain(|wanted| !wanted.is_done);
                } else if end == pending.len() {
                    break;
                }
            }
            pending.retain(|wanted| !wanted.is_done);
            if pending.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Asks one table; how many of the keys it had.
    fn ask(&mut self, file: &TableFile, wanted: &mut [Wanted<'_>]) -> Result<usize, Error> {
        if wanted.is_empty() {
            return Ok(0);
        }
        check_deadline(self.how.deadline)?;
        let reader = self.shared.tables.reader(file)?;
        self.places.clear();
        reader.multi_get(&*wanted, self.at, &self.how.blocks, |place, found| {
            self.places.push(place);
            if live(found.kind) {
                (self.each)(wanted[place].position, Lent::Table(found));
            }
        })?;
        for &place in &self.places {
            wanted[place].is_done = true;
        }
        Ok(self.places.len())
    }
}

/// Whether the newest version of a key is a value.
#[inline]
fn live(kind: ValueKind) -> bool {
    kind == ValueKind::Put
}
