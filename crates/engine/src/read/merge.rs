//! One cursor over many: the entries of all children in order.
//!
//! Algorithm: the valid children stand in a heap, the one that comes first in the direction of travel on top. After a step
//! of the top child only the better of the two below it is looked at, once: as long as the top one stays ahead of that
//! one nothing is moved, so a child that is ahead by a whole run costs one comparison a step, and a child that is alone
//! none. Comparisons look at the first eight bytes of the keys, kept beside the child, and at the keys only where those
//! are the same. A child that stands ahead of a table that it has not read is read when it comes to the top.
//!
//! Invariants: `heap` holds the valid children, each with its key's first bytes; the one on top is not ahead of what it
//! has read. A child given earlier comes first among
//! equal entries. When the direction changes, every child is placed anew.

use std::cmp::Ordering;
use std::convert::Infallible;

use base::{Cursor, InternalKey, InternalKeyRef};
use bytes::Bytes;
use memtable::OwnedCursor;
use sstable::TableCursor;

use crate::error::Error;
use crate::read::level::LevelCursor;

/// A source of sorted entries.
pub(crate) enum Child {
    Memtable(OwnedCursor),
    Table(TableCursor),
    Level(LevelCursor),
}

fn never<T>(result: Result<T, Infallible>) -> Result<T, Error> {
    match result {
        Ok(value) => Ok(value),
        Err(impossible) => match impossible {},
    }
}

macro_rules! on_child {
    ($child:expr, $cursor:ident => $call:expr) => {
        match $child {
            Child::Memtable($cursor) => never($call),
            Child::Table($cursor) => $call.map_err(Error::from),
            Child::Level($cursor) => $call,
        }
    };
}

impl Child {
    #[inline]
    fn is_valid(&self) -> bool {
        match self {
            Self::Memtable(cursor) => cursor.is_valid(),
            Self::Table(cursor) => cursor.is_valid(),
            Self::Level(cursor) => cursor.is_valid(),
        }
    }

    #[inline]
    fn key(&self) -> InternalKeyRef<'_> {
        match self {
            Self::Memtable(cursor) => cursor.key(),
            Self::Table(cursor) => cursor.key(),
            Self::Level(cursor) => cursor.key(),
        }
    }

    #[inline]
    fn value(&self) -> &[u8] {
        match self {
            Self::Memtable(cursor) => cursor.value(),
            Self::Table(cursor) => cursor.value(),
            Self::Level(cursor) => cursor.value(),
        }
    }

    #[inline]
    fn entry(&self) -> (InternalKeyRef<'_>, &[u8]) {
        match self {
            Self::Memtable(cursor) => (cursor.key(), cursor.value()),
            Self::Table(cursor) => (cursor.key(), cursor.value()),
            Self::Level(cursor) => (cursor.key(), cursor.value()),
        }
    }

    /// Whether it stands where it has not read yet.
    #[inline]
    fn is_ahead(&self) -> bool {
        match self {
            Self::Level(cursor) => cursor.is_ahead(),
            _ => false,
        }
    }

    /// The table that it walks, if it is one.
    fn table(&self) -> Option<&TableCursor> {
        match self {
            Self::Memtable(_) => None,
            Self::Table(cursor) => Some(cursor),
            Self::Level(cursor) => cursor.table(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Backward,
}

/// A valid child and the first bytes of its key.
#[derive(Clone, Copy)]
struct Runner {
    first: u64,
    child: usize,
}

/// The entries of all children in order.
pub(crate) struct MergeCursor {
    children: Vec<Child>,
    heap: Vec<Runner>,
    /// Where in the heap the better of the two below the top one stands; 0 while that is not known.
    second: usize,
    direction: Direction,
}

impl MergeCursor {
    pub(crate) fn new(children: Vec<Child>) -> Self {
        let heap = Vec::with_capacity(children.len());
        Self { children, heap, second: 0, direction: Direction::Forward }
    }

    /// What the blocks take that its children stand in, each counted as `usual_bytes` at least.
    pub(crate) fn block_bytes(&self, usual_bytes: usize) -> usize {
        let of_table = |child: &Child| child.table().map_or(0, TableCursor::block_bytes);
        self.children.iter().map(|child| of_table(child).max(usual_bytes)).sum()
    }

    /// The value it stands on, as a handle that keeps its block in memory, and what that takes; `None` where there is no
    /// block.
    pub(crate) fn value_bytes(&self) -> Option<(Bytes, usize)> {
        self.top().table().map(|cursor| (cursor.value_bytes(), cursor.block_bytes()))
    }

    /// The key and value that it stands on, while it is valid.
    #[inline]
    pub(crate) fn entry(&self) -> Option<(InternalKeyRef<'_>, &[u8])> {
        let top = self.heap.first()?;
        Some(self.children[top.child].entry())
    }

    #[inline]
    fn top(&self) -> &Child {
        &self.children[self.heap[0].child]
    }

    fn runner(&self, child: usize) -> Runner {
        Runner { first: first_bytes(self.children[child].key().user_key), child }
    }

    /// Whether `a` comes before `b` in the direction of travel.
    #[inline]
    fn comes_first(&self, a: Runner, b: Runner) -> bool {
        let order = a.first.cmp(&b.first);
        let order =
            if order == Ordering::Equal { self.whole_order(a.child, b.child) } else { order };
        let order = if self.direction == Direction::Forward { order } else { order.reverse() };
        match order {
            Ordering::Less => true,
            Ordering::Equal => a.child < b.child,
            Ordering::Greater => false,
        }
    }

    fn whole_order(&self, a: usize, b: usize) -> Ordering {
        self.children[a].key().cmp(&self.children[b].key())
    }

    /// The better of the two below `at`, if there is any.
    #[inline]
    fn better_below(&self, at: usize) -> Option<usize> {
        let (left, right) = (2 * at + 1, 2 * at + 2);
        match (self.heap.get(left), self.heap.get(right)) {
            (Some(&a), Some(&b)) => Some(if self.comes_first(b, a) { right } else { left }),
            (Some(_), None) => Some(left),
            _ => None,
        }
    }

    fn sift_down(&mut self, mut at: usize) {
        while let Some(below) = self.better_below(at) {
            if !self.comes_first(self.heap[below], self.heap[at]) {
                return;
            }
            self.heap.swap(at, below);
            at = below;
        }
    }

    fn rebuild(&mut self, direction: Direction) {
        self.direction = direction;
        self.heap.clear();
        for child in 0..self.children.len() {
            if self.children[child].is_valid() {
                let runner = self.runner(child);
                self.heap.push(runner);
            }
        }
        for at in (0..self.heap.len() / 2).rev() {
            self.sift_down(at);
        }
        self.second = 0;
    }

    /// Puts the top child where it belongs after it was moved.
    #[inline]
    fn sink_top(&mut self) {
        let child = self.heap[0].child;
        if !self.children[child].is_valid() {
            self.heap.swap_remove(0);
            self.sift_down(0);
            self.second = 0;
            return;
        }
        if self.heap.len() == 1 {
            return;
        }
        self.heap[0] = self.runner(child);
        if self.second == 0 {
            self.second = self.better_below(0).unwrap_or(0);
        }
        if self.comes_first(self.heap[self.second], self.heap[0]) {
            self.heap.swap(0, self.second);
            self.sift_down(self.second);
            self.second = 0;
        }
    }

    /// Sees to it that the child on top stands in what it has read.
    #[inline]
    fn settle(&mut self) -> Result<(), Error> {
        match self.heap.first() {
            Some(top) if self.children[top.child].is_ahead() => self.load_top(),
            _ => Ok(()),
        }
    }

    #[cold]
    fn load_top(&mut self) -> Result<(), Error> {
        while let Some(top) = self.heap.first()
            && let Child::Level(cursor) = &mut self.children[top.child]
            && cursor.is_ahead()
        {
            if let Err(error) = cursor.load() {
                self.heap.clear();
                return Err(error);
            }
            self.sink_top();
        }
        Ok(())
    }

    /// Runs `place` on every child; on a failure the cursor is not valid.
    fn place_all(
        &mut self,
        direction: Direction,
        place: impl Fn(&mut Child) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.heap.clear();
        for child in &mut self.children {
            place(child)?;
        }
        self.rebuild(direction);
        self.settle()
    }

    /// Turns round: every child is placed just past the current entry in the new direction.
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
        let top = self.heap[0].child;
        let moved = match direction {
            Direction::Forward => on_child!(&mut self.children[top], c => c.next()),
            Direction::Backward => on_child!(&mut self.children[top], c => c.prev()),
        };
        if let Err(error) = moved {
            self.heap.clear();
            return Err(error);
        }
        self.sink_top();
        self.settle()
    }
}

/// The first eight bytes of `key` as a number that orders as they do; a shorter key has zeros behind it.
#[inline]
fn first_bytes(key: &[u8]) -> u64 {
    match key.first_chunk::<8>() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let mut padded = [0; 8];
            padded[..key.len()].copy_from_slice(key);
            u64::from_be_bytes(padded)
        }
    }
}

impl Cursor for MergeCursor {
    type Error = Error;

    #[inline]
    fn is_valid(&self) -> bool {
        !self.heap.is_empty()
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
