//! One of the sources that a merge reads from.

use std::convert::Infallible;

use base::{Cursor, InternalKeyRef};
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

pub(crate) fn never<T>(result: Result<T, Infallible>) -> Result<T, Error> {
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
    pub(crate) fn is_valid(&self) -> bool {
        match self {
            Self::Memtable(cursor) => cursor.is_valid(),
            Self::Table(cursor) => cursor.is_valid(),
            Self::Level(cursor) => cursor.is_valid(),
        }
    }

    #[inline]
    pub(crate) fn key(&self) -> InternalKeyRef<'_> {
        match self {
            Self::Memtable(cursor) => cursor.key(),
            Self::Table(cursor) => cursor.key(),
            Self::Level(cursor) => cursor.key(),
        }
    }

    #[inline]
    pub(crate) fn value(&self) -> &[u8] {
        match self {
            Self::Memtable(cursor) => cursor.value(),
            Self::Table(cursor) => cursor.value(),
            Self::Level(cursor) => cursor.value(),
        }
    }

    #[inline]
    pub(crate) fn entry(&self) -> (InternalKeyRef<'_>, &[u8]) {
        match self {
            Self::Memtable(cursor) => (cursor.key(), cursor.value()),
            Self::Table(cursor) => (cursor.key(), cursor.value()),
            Self::Level(cursor) => (cursor.key(), cursor.value()),
        }
    }

    /// Whether it stands where it has not read yet.
    #[inline]
    pub(crate) fn is_ahead(&self) -> bool {
        match self {
            Self::Level(cursor) => cursor.is_ahead(),
            _ => false,
        }
    }

    /// Whether it is valid, and not ahead of what it has read.
    #[inline]
    pub(crate) fn is_inside(&self) -> bool {
        match self {
            Self::Memtable(cursor) => cursor.is_valid(),
            Self::Table(cursor) => cursor.is_valid(),
            Self::Level(cursor) => cursor.is_inside(),
        }
    }

    /// The cursor in the table that it stands in, if it is one of several.
    #[inline]
    pub(crate) fn inside(&mut self) -> Option<&mut TableCursor> {
        match self {
            Self::Level(cursor) => cursor.inside(),
            _ => None,
        }
    }

    /// The table that it walks, if it is one.
    pub(crate) fn table(&self) -> Option<&TableCursor> {
        match self {
            Self::Memtable(_) => None,
            Self::Table(cursor) => Some(cursor),
            Self::Level(cursor) => cursor.table(),
        }
    }
}

pub(crate) use on_child;
