//! The memtable from outside: against a model, under threads, and its account.

mod accounting;
mod concurrent;
mod model;
mod support;
