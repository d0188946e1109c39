//! What is written, and what must be there afterwards.
//!
//! A [`Source`] gives each writer thread its operations, and later the whole expected content in
//! key order. Each key belongs to one thread, so that the newest value of a key is that of the last
//! operation on it in this thread's order, however the threads are scheduled.

pub(crate) mod directory;
pub(crate) mod lines;
pub(crate) mod synthetic;

use crate::Result;

/// What one operation does to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Writes the value.
    Put,
    /// Deletes the key, whether it is there or not.
    Delete,
}

/// The operations of one writer thread, in order.
pub(crate) trait Operations: Send {
    /// Puts the next operation's key and value (empty for a delete) into the buffers, replacing
    /// what is in them; `None` after the last.
    fn next(&mut self, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<Option<Action>>;
}

/// The records that must be in the database, in ascending key order, each key once.
pub(crate) trait Expected {
    /// Puts the next record into the buffers, replacing what is in them; false after the last.
    fn next(&mut self, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<bool>;
}

/// A set of operations and what comes of them.
pub(crate) trait Source {
    /// A line that says what is written.
    fn describe(&self) -> String;

    /// How many operations there are, if that is known before they are made.
    fn operations(&self) -> Option<u64>;

    /// The operations of every writer thread.
    fn writers(&mut self) -> Result<Vec<Box<dyn Operations>>>;

    /// What must be there once all operations have been made.
    fn expected(&mut self) -> Result<Box<dyn Expected + '_>>;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Applies all operations to a map, the writers taking turns, and checks that what the source
    /// expects is what the map holds. Returns how many records that is.
    pub(super) fn check_source(source: &mut dyn Source) -> usize {
        let announced = source.operations();
        let mut map = BTreeMap::new();
        let (mut key, mut value, mut count) = (Vec::new(), Vec::new(), 0_u64);
        let mut writers = source.writers().expect("writers");
        while !writers.is_empty() {
            writers.retain_mut(|writer| {
                match writer.next(&mut key, &mut value).expect("operation") {
                    Some(Action::Put) => {
                        map.insert(key.clone(), value.clone());
                        count += 1;
                        true
                    }
                    Some(Action::Delete) => {
                        map.remove(&key);
                        count += 1;
                        true
                    }
                    None => false,
                }
            });
        }
        assert!(announced.is_none_or(|announced| announced == count));
        let mut expected = source.expected().expect("expected");
        let mut found = Vec::new();
        while expected.next(&mut key, &mut value).expect("record") {
            found.push((key.clone(), value.clone()));
        }
        assert_eq!(found, map.into_iter().collect::<Vec<_>>());
        found.len()
    }
}
