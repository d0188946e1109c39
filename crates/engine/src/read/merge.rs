//! One cursor over many: the entries of all children in order.
//!
//! Invariants: `heap` holds the valid children, the one that comes first in the direction of travel on top. A child
//! given earlier comes first among equal entries. When the direction changes, every child is placed anew.

use std::cmp::Ordering;
use std::convert::Infallible;

use base::{Cursor, InternalKey, InternalKeyRef};
use bytes::Bytes;
use memtable::MemtableCursor;
use sstable::TableCursor;

use crate::error::Error;
use crate::read::level::LevelCursor;

/// A source of sorted entries.
pub(crate) enum Child<'a> {
    Memtable(MemtableCursor<'a>),
    Table(TableCursor),
    Level(LevelCursor<'a>),
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

impl Child<'_> {
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

    /// The value as a handle of its own: from a table without a copy.
    fn value_bytes(&self) -> Bytes {
        match self {
            Self::Memtable(cursor) => Bytes::copy_from_slice(cursor.value()),
            Self::Table(cursor) => cursor.value_bytes(),
            Self::Level(cursor) => cursor.value_bytes(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

/// The entries of all children in order.
pub(crate) struct MergeCursor<'a> {
    children: Vec<Child<'a>>,
    heap: Vec<usize>,
    direction: Direction,
}

impl<'a> MergeCursor<'a> {
    pub(crate) fn new(children: Vec<Child<'a>>) -> Self {
        let heap = Vec::with_capacity(children.len());
        Self { children, heap, direction: Direction::Forward }
    }

    /// The value it stands on, as a handle of its own.
    pub(crate) fn value_bytes(&self) -> Bytes {
        self.top().value_bytes()
    }

    fn top(&self) -> &Child<'a> {
        &self.children[self.heap[0]]
    }

    /// Whether child `a` comes before child `b` in the direction of travel.
    #[inline]
    fn comes_first(&self, a: usize, b: usize) -> bool {
        let order = self.children[a].key().cmp(&self.children[b].key());
        let order = if self.direction == Direction::Forward { order } else { order.reverse() };
        match order {
            Ordering::Less => true,
            Ordering::Equal => a < b,
            Ordering::Greater => false,
        }
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let mut first = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if child < self.heap.len() && self.comes_first(self.heap[child], self.heap[first]) {
                    first = child;
                }
            }
            if first == at {
                return;
            }
            self.heap.swap(at, first);
            at = first;
        }
    }

    fn rebuild(&mut self, direction: Direction) {
        self.direction = direction;
        self.heap.clear();
        self.heap.extend((0..self.children.len()).filter(|&i| self.children[i].is_valid()));
        for at in (0..self.heap.len() / 2).rev() {
            self.sift_down(at);
        }
    }

    /// After the top child was moved: puts it where it belongs.
    fn settle_top(&mut self) {
        if !self.top().is_valid() {
            self.heap.swap_remove(0);
        }
        self.sift_down(0);
    }

    /// Runs `place` on every child; on a failure the cursor is not valid.
    fn place_all(
        &mut self,
        direction: Direction,
        place: impl Fn(&mut Child<'a>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.heap.clear();
        for child in &mut self.children {
            place(child)?;
        }
        self.rebuild(direction);
        Ok(())
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

    fn step(&mut self, direction: Direction) -> Result<(), Error> {
        if self.direction != direction {
            return self.turn(direction);
        }
        let top = self.heap[0];
        let moved = match direction {
            Direction::Forward => on_child!(&mut self.children[top], c => c.next()),
            Direction::Backward => on_child!(&mut self.children[top], c => c.prev()),
        };
        if let Err(error) = moved {
            self.heap.clear();
            return Err(error);
        }
        self.settle_top();
        Ok(())
    }
}

impl Cursor for MergeCursor<'_> {
    type Error = Error;

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

    fn next(&mut self) -> Result<(), Error> {
        self.step(Direction::Forward)
    }

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
