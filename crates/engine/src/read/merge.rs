//! One cursor over many: the entries of all children in order.
//!
//! Algorithm: of each valid child eight bytes of its key are kept beside it as a number, those behind what all keys began
//! with when the cursor was placed. After a step of the child on top the least of the numbers is looked for, all of them
//! one after the other: with the few children that there are, and no branch that depends on the data, that is less than
//! the mistaken guesses of a heap. Only where two are the same the keys are compared. A child that is alone is not
//! compared at all. A child that stands ahead of a table that it has not read is read when it comes to the top.
//!
//! Invariants: `live` holds the valid children, each with its key's number; the one on top comes first in the direction of
//! travel, and is not ahead of what it has read. A child given earlier comes first among equal entries. When the direction
//! changes, every child is placed anew. Keys only move away from where the cursor was placed: one that does not begin with
//! `prefix` any more lies behind all that do, and has the greatest number.

use base::{Cursor, InternalKey, InternalKeyRef};
use bytes::Bytes;
use sstable::TableCursor;

use crate::error::Error;
pub(crate) use crate::read::child::Child;
use crate::read::child::{never, on_child};
use crate::read::scan::Source;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Backward,
}

/// A valid child and its key's number: the lesser comes first, in either direction.
#[derive(Clone, Copy)]
struct Runner {
    number: u64,
    child: usize,
}

/// The entries of all children in order.
pub(crate) struct MergeCursor {
    children: Vec<Child>,
    live: Vec<Runner>,
    /// Where in `live` the child stands that comes first.
    top: usize,
    /// What all keys begin with.
    prefix: Vec<u8>,
    direction: Direction,
}

impl MergeCursor {
    pub(crate) fn new(children: Vec<Child>) -> Self {
        let live = Vec::with_capacity(children.len());
        Self { children, live, top: 0, prefix: Vec::new(), direction: Direction::Forward }
    }

    /// From the next seek on, only what lies at or above `lower` and below `upper` is wanted. More may be met.
    pub(crate) fn set_bounds(&mut self, lower: Option<Bytes>, upper: Option<Bytes>) {
        self.live.clear();
        for child in &mut self.children {
            if let Child::Level(cursor) = child {
                cursor.set_bounds(lower.clone(), upper.clone());
            }
        }
    }

    /// What the blocks take that its children keep, those of each counted as `usual_bytes` at least.
    pub(crate) fn block_bytes(&self, usual_bytes: usize) -> usize {
        let of_table = |child: &Child| child.table().map_or(0, TableCursor::kept_bytes);
        self.children.iter().map(|child| of_table(child).max(usual_bytes)).sum()
    }

    /// The table that it stands in, if no other child has anything left: to be walked as long as it lasts, and told of by
    /// [`Self::alone_has_moved`].
    #[inline]
    pub(crate) fn alone(&mut self) -> Option<&mut TableCursor> {
        match (&self.live[..], self.direction) {
            ([alone], Direction::Forward) => self.children[alone.child].inside(),
            _ => None,
        }
    }

    /// The table that is alone was moved, upwards.
    pub(crate) fn alone_has_moved(&mut self) -> Result<(), Error> {
        if let Some(alone) = self.live.first()
            && let Child::Level(cursor) = &mut self.children[alone.child]
        {
            cursor.follow(Direction::Forward);
            self.follow_top();
        }
        self.settle()
    }

    #[inline]
    fn top(&self) -> &Child {
        &self.children[self.live[self.top].child]
    }

    /// The number of a child's key.
    #[inline]
    fn number(&self, child: usize) -> u64 {
        let key = self.children[child].key().user_key;
        let rest = if self.prefix.is_empty() { Some(key) } else { key.strip_prefix(&*self.prefix) };
        match (rest, self.direction) {
            (Some(rest), Direction::Forward) => first_bytes(rest),
            (Some(rest), Direction::Backward) => !first_bytes(rest),
            (None, _) => u64::MAX,
        }
    }

    /// Finds what all keys begin with now, and the numbers from there on.
    fn renumber(&mut self) {
        self.prefix.clear();
        if let [first, others @ ..] = &self.live[..] {
            let first = self.children[first.child].key().user_key;
            let begins = |key: &[u8]| first.iter().zip(key).take_while(|(a, b)| a == b).count();
            let shared =
                others.iter().map(|other| begins(self.children[other.child].key().user_key));
            // Whole words: the next keys will begin with a little less.
            let shared = shared.min().unwrap_or(0) / WORD_BYTES * WORD_BYTES;
            self.prefix.extend_from_slice(&first[..shared]);
        }
        for at in 0..self.live.len() {
            self.live[at].number = self.number(self.live[at].child);
        }
    }

    /// Finds the child that comes first.
    #[inline]
    fn pick(&mut self) {
        let (mut top, mut least, mut is_tied) = (0, u64::MAX, false);
        for (at, runner) in self.live.iter().enumerate() {
            is_tied |= runner.number == least;
            top = if runner.number < least { at } else { top };
            least = least.min(runner.number);
        }
        self.top = top;
        if is_tied {
            self.pick_by_keys();
        }
    }

    /// As [`Self::pick`], where numbers may be the same.
    #[cold]
    #[inline(never)]
    fn pick_by_keys(&mut self) {
        let least = |live: &[Runner]| live.iter().map(|runner| runner.number).min();
        if least(&self.live) == Some(u64::MAX) && !self.prefix.is_empty() {
            // None begins with the prefix any more.
            self.renumber();
        }
        let least = least(&self.live);
        let tied = (0..self.live.len()).filter(|&at| Some(self.live[at].number) == least);
        self.top = tied.reduce(|a, b| if self.comes_first(b, a) { b } else { a }).unwrap_or(0);
    }

    /// Whether `a` of `live` comes before `b` by their keys.
    fn comes_first(&self, a: usize, b: usize) -> bool {
        let (a, b) = (self.live[a].child, self.live[b].child);
        let order = self.children[a].key().cmp(&self.children[b].key());
        let order = if self.direction == Direction::Forward { order } else { order.reverse() };
        order.then(a.cmp(&b)).is_lt()
    }

    fn rebuild(&mut self, direction: Direction) {
        self.direction = direction;
        self.live.clear();
        for (child, cursor) in self.children.iter().enumerate() {
            if cursor.is_valid() {
                self.live.push(Runner { number: 0, child });
            }
        }
        self.renumber();
        self.pick();
    }

    /// The child on top was moved: finds the one that comes first now.
    #[inline]
    fn follow_top(&mut self) {
        let child = self.live[self.top].child;
        if !self.children[child].is_valid() {
            self.live.swap_remove(self.top);
        } else if self.live.len() > 1 {
            self.live[self.top].number = self.number(child);
        } else {
            return;
        }
        self.pick();
    }

    /// Sees to it that the child on top stands in what it has read.
    #[inline]
    fn settle(&mut self) -> Result<(), Error> {
        match self.live.get(self.top) {
            Some(top) if self.children[top.child].is_ahead() => self.load_top(),
            _ => Ok(()),
        }
    }

    #[cold]
    #[inline(never)]
    fn load_top(&mut self) -> Result<(), Error> {
        while let Some(top) = self.live.get(self.top)
            && let Child::Level(cursor) = &mut self.children[top.child]
            && cursor.is_ahead()
        {
            if let Err(error) = cursor.load() {
                self.live.clear();
                return Err(error);
            }
            self.follow_top();
        }
        Ok(())
    }

    /// Runs `place` on every child; on a failure the cursor is not valid.
    fn place_all(
        &mut self,
        direction: Direction,
        place: impl Fn(&mut Child) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.live.clear();
        for child in &mut self.children {
            place(child)?;
        }
        self.rebuild(direction);
        self.settle()
    }

    /// Turns round: every child is placed just past the current entry in the new direction.
    #[cold]
    fn turn(&mut self, direction: Direction) -> Result<(), Error> {
        let here: InternalKey = self.key().to_owned();
        self.place_all(direction, |child| {
            let target = here.as_ref();
            match direction {
                Direction::Forward => on_child!(child, c => c.seek(target))?,
                Direction::Backward => on_child!(child, c => c.seek_for_prev(target))?,
            }
            while child.is_valid() && child.key() == target {
                match direction {
                    Direction::Forward => on_child!(child, c => c.next())?,
                    Direction::Backward => on_child!(child, c => c.prev())?,
                }
            }
            Ok(())
        })
    }

    #[inline]
    fn step(&mut self, direction: Direction) -> Result<(), Error> {
        if self.direction != direction {
            return self.turn(direction);
        }
        let top = self.live[self.top].child;
        let moved = match direction {
            Direction::Forward => on_child!(&mut self.children[top], c => c.next()),
            Direction::Backward => on_child!(&mut self.children[top], c => c.prev()),
        };
        if let Err(error) = moved {
            self.live.clear();
            return Err(error);
        }
        // One that is alone and stays in its table is the usual one, and stays on top.
        if self.live.len() == 1 && self.children[top].is_inside() {
            return Ok(());
        }
        self.follow_top();
        self.settle()
    }
}

const WORD_BYTES: usize = 8;

/// The first eight bytes of `key` as a number that orders as they do; a shorter key has zeros behind it.
#[inline]
fn first_bytes(key: &[u8]) -> u64 {
    match key.first_chunk::<WORD_BYTES>() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let mut padded = [0; WORD_BYTES];
            padded[..key.len()].copy_from_slice(key);
            u64::from_be_bytes(padded)
        }
    }
}

impl Source for MergeCursor {
    #[inline]
    fn entry(&self) -> Option<(InternalKeyRef<'_>, &[u8])> {
        let top = self.live.get(self.top)?;
        Some(self.children[top.child].entry())
    }

    fn value_handle(&self) -> Option<(Bytes, usize)> {
        self.top().table().map(|cursor| (cursor.value_bytes(), cursor.block_bytes()))
    }
}

impl Cursor for MergeCursor {
    type Error = Error;

    #[inline]
    fn is_valid(&self) -> bool {
        !self.live.is_empty()
    }

    fn seek_to_first(&mut self) -> Result<(), Error> {
        self.place_all(Direction::Forward, |child| on_child!(child, c => c.seek_to_first()))
    }

    fn seek_to_last(&mut self) -> Result<(), Error> {
        self.place_all(Direction::Backward, |child| on_child!(child, c => c.seek_to_last()))
    }

    fn seek(&mut self, target: InternalKeyRef<'_>) -> Result<(), Error> {
        self.place_all(Direction::Forward, |child| on_child!(child, c => c.seek(target)))
    }

    fn seek_for_prev(&mut self, target: InternalKeyRef<'_>) -> Result<(), Error> {
        self.place_all(Direction::Backward, |child| on_child!(child, c => c.seek_for_prev(target)))
    }

    #[inline]
    fn next(&mut self) -> Result<(), Error> {
        self.step(Direction::Forward)
    }

    #[inline]
    fn prev(&mut self) -> Result<(), Error> {
        self.step(Direction::Backward)
    }

    #[inline]
    fn key(&self) -> InternalKeyRef<'_> {
        self.top().key()
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.top().value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{SeqNo, ValueKind};
    use credit::Pool;
    use memtable::{Chunk, Memtable, Space};
    use proptest::prelude::*;
    use std::sync::Arc;

    /// An entry of child `child`, and its key as bytes.
    type Entry = (Vec<u8>, u64, usize);

    fn memtable(entries: &[&Entry]) -> Arc<Memtable> {
        let (pool, table) = (Pool::new(None), Arc::new(Memtable::new(0)));
        for (key, seq, child) in entries {
            let mut space = Space::new();
            space.add(key.len(), 1);
            let mut reserved = loop {
                if let Some(reserved) = table.reserve(&space) {
                    break reserved;
                }
                let bytes = table.chunk_bytes_for(&space).expect("it does not fit");
                let permit = pool.try_acquire(bytes as u64).expect("no limit");
                table.add_chunk(Chunk::map(permit).expect("memory"));
            };
            let key = InternalKeyRef::new(key, SeqNo::new(*seq), ValueKind::Put);
            table.insert(&mut reserved, key, &[*child as u8]);
        }
        table
    }

    /// Keys that begin alike for more than a word, differ early, are beginnings of one another, or end in zeros.
    fn any_key() -> impl Strategy<Value = Vec<u8>> {
        let long = (0..3u8, 0..3u8).prop_map(|(a, b)| [&[7; 17][..], &[a, 0, b]].concat());
        prop_oneof![
            long,
            (0..20usize).prop_map(|len| vec![7; len]),
            prop::collection::vec(prop::sample::select(vec![0u8, 7, 255]), 0..10),
        ]
    }

    #[derive(Clone, Debug)]
    enum Move {
        First,
        Last,
        Seek(Vec<u8>),
        SeekForPrev(Vec<u8>),
        Next(usize),
        Prev(usize),
    }

    fn any_move() -> impl Strategy<Value = Move> {
        prop_oneof![
            Just(Move::First),
            Just(Move::Last),
            any_key().prop_map(Move::Seek),
            any_key().prop_map(Move::SeekForPrev),
            (1..40usize).prop_map(Move::Next),
            (1..40usize).prop_map(Move::Prev),
        ]
    }

    proptest! {
        #[test]
        fn children_come_in_order_whichever_way(
            entries in prop::collection::btree_map((any_key(), 1..4u64), 0..6usize, 0..60),
            moves in prop::collection::vec(any_move(), 1..12),
        ) {
            let entries: Vec<Entry> =
                entries.into_iter().map(|((key, seq), child)| (key, seq, child)).collect();
            let children = (0..6).map(|child| {
                let own: Vec<_> = entries.iter().filter(|entry| entry.2 == child).collect();
                Child::Memtable(memtable(&own).owned_cursor())
            });
            let mut cursor = MergeCursor::new(children.collect());
            let mut sorted = entries.clone();
            sorted.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
            let middle = |key: &[u8]| sorted.partition_point(|e| (&e.0[..], 3 - e.1) < (key, 1));
            let mut place: Option<usize> = None;
            for movement in moves {
                let steps = match &movement {
                    Move::First => { cursor.seek_to_first()?; place = Some(0); 0 }
                    Move::Last => { cursor.seek_to_last()?; place = sorted.len().checked_sub(1); 0 }
                    Move::Seek(key) => {
                        cursor.seek(InternalKeyRef::seek_at(key, SeqNo::new(2)))?;
                        place = Some(middle(key));
                        0
                    }
                    Move::SeekForPrev(key) => {
                        cursor.seek_for_prev(InternalKeyRef::seek_at(key, SeqNo::new(2)))?;
                        place = middle(key).checked_sub(1);
                        0
                    }
                    Move::Next(steps) | Move::Prev(steps) => *steps,
                };
                for step in 0..=steps {
                    place = place.filter(|&at| at < sorted.len());
                    let found = cursor.entry().map(|(key, value)| {
                        (key.user_key.to_vec(), key.seq.get(), usize::from(value[0]))
                    });
                    prop_assert_eq!(found.as_ref(), place.map(|at| &sorted[at]));
                    let Some(at) = place else { break };
                    if step == steps {
                        break;
                    }
                    place = match movement {
                        Move::Next(_) => { cursor.next()?; Some(at + 1) }
                        _ => { cursor.prev()?; at.checked_sub(1) }
                    };
                }
            }
        }
    }
}
