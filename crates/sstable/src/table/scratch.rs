//! A buffer that each thread keeps for the values of records that its point reads find in the cache.

use std::cell::Cell;

thread_local! {
    static VALUE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends `with` the thread's buffer, or another one if that is lent already or the thread is ending.
#[inline]
pub(super) fn with_value<T>(with: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut buffer = VALUE.try_with(Cell::take).unwrap_or_default();
    let made = with(&mut buffer);
    // A thread that is ending keeps nothing: the buffer goes.
    VALUE.try_with(|place| place.set(buffer)).unwrap_or_default();
    made
}
