//! Models of the memtable's concurrency, over its production code: interleavings, and every value that the memory model
//! lets a load return.
//!
//! Run by `RUSTFLAGS="--cfg loom" cargo test -p polder-memtable --release --test loom`.
//!
//! Under loom nodes have three slots, so that four entries split a leaf and ten an inner node. The nodes' numbers are
//! loom's atomics, laid out in the arena's mapped memory as in production; each node and each entry has a witness cell
//! that is written with its plain bytes and read when it is reached, so that loom sees one that is used before it is
//! published. What loom does not see: the plain bytes themselves, the mapping, and the directory of chunks, which is
//! made of the standard library's cells.
//!
//! The readers are in spawned threads and the writer in the one that loom runs first. Loom 0.7 remembers only the last
//! access to an atomic, and a writer's own load hides a reader's earlier one from its compare-and-swap: the other way
//! round it explores a single interleaving. Preemptions are bounded as each model says.
//!
//! Shown able to fail, by these changes to the tree: a version that always counts as unchanged (all but the two at the
//! right edge); no fence on a writer's way in, or before a reader's check (`..that_moves_entries`,
//! `..what_all_keys_share`); a latch left by a Relaxed store (all with a reader); a latch taken whatever its version is
//! (all of two writers who meet a leaf); an append that does not look at the last entry (`..at_the_right_edge`); a root that is not looked at again (`..split_of_the_root`, `..root_above_it`,
//! `two_writers_and_a_reader`); a parent that is not checked after its child's version was taken (`..root_above_it`);
//! a link stored Relaxed (`..split_of_the_root`); two first leaves (`..into_an_empty_table`); a sample that is not
//! looked at (`..what_all_keys_share`); a leaf given up before its parent knows of its split (`..split_of_the_root`); a
//! cursor's step without a check (`..that_moves_entries`). A reference to an
//! entry stored Relaxed is not among them: the fence on the way in covers it, and Release is there for those tools that
//! do not see fences.
#![cfg(loom)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base::{Cursor, InternalKeyRef, SeqNo, ValueKind};
use credit::Pool;
use loom::thread;
use memtable::{Chunk, Memtable, Reserved, Space};

fn model(preemptions: usize, run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 100_000;
    builder.preemption_bound = Some(preemptions);
    let explored = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&explored);
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        run();
    });
    let explored = explored.load(Ordering::Relaxed);
    println!("{explored} interleavings");
    assert!(explored > 10, "the model explores nothing");
}

/// A memtable and room for what is going to be put into it.
struct Bed {
    table: Arc<Memtable>,
    pool: Pool,
}

impl Bed {
    /// A memtable of these keys, put in one after the other.
    fn of(keys: &[&str]) -> Self {
        let bed = Self { table: Arc::new(Memtable::new(0)), pool: Pool::new(None) };
        for key in keys {
            let room = bed.room(key);
            put(&bed.table, room, key);
        }
        bed
    }

    fn room(&self, key: &str) -> Reserved {
        let mut space = Space::new();
        space.add(key.len(), key.len());
        loop {
            if let Some(reserved) = self.table.reserve(&space) {
                return reserved;
            }
            if let Some(bytes) = self.table.chunk_bytes_for(&space) {
                let permit = self.pool.try_acquire(bytes as u64).unwrap();
                self.table.add_chunk(Chunk::map(permit).unwrap());
            }
        }
    }

    /// Runs something else with the memtable beside this thread.
    fn beside(&self, run: impl FnOnce(&Memtable) + 'static) -> thread::JoinHandle<()> {
        let table = Arc::clone(&self.table);
        thread::spawn(move || run(&table))
    }

    /// These keys are there, in order, by every way to find them, and nothing else.
    fn check(self, keys: &[&str]) {
        for back in [false, true] {
            assert_eq!(walk(&self.table, back), keys);
        }
        for key in keys {
            assert!(has(&self.table, key), "{key} is not found");
        }
        drop(self.table);
        assert_eq!(self.pool.held_bytes(), 0);
    }
}

fn put(table: &Memtable, mut reserved: Reserved, key: &str) {
    let bytes = key.as_bytes();
    table.insert(&mut reserved, InternalKeyRef::new(bytes, SeqNo::new(1), ValueKind::Put), bytes);
}

fn has(table: &Memtable, key: &str) -> bool {
    let found = table.get(key.as_bytes(), SeqNo::MAX);
    found.inspect(|(_, value)| assert_eq!(*value, key.as_bytes())).is_some()
}

/// What a walk meets, forward or back, in the order of the table.
fn walk(table: &Memtable, back: bool) -> Vec<String> {
    let mut cursor = table.cursor();
    let mut met = Vec::new();
    if back { cursor.seek_to_last() } else { cursor.seek_to_first() }.unwrap();
    while cursor.is_valid() {
        assert_eq!(cursor.key().user_key, cursor.value());
        met.push(String::from_utf8(cursor.key().user_key.to_vec()).unwrap());
        if back { cursor.prev() } else { cursor.next() }.unwrap();
    }
    if back {
        met.reverse();
    }
    assert!(met.is_sorted(), "{met:?}");
    met
}

#[test]
fn two_writers_into_an_empty_table() {
    model(3, || {
        let bed = Bed::of(&[]);
        let (a, b) = (bed.room("a"), bed.room("b"));
        let other = bed.beside(|table| put(table, a, "a"));
        put(&bed.table, b, "b");
        assert!(has(&bed.table, "b"));
        other.join().unwrap();
        bed.check(&["a", "b"]);
    });
}

#[test]
fn two_writers_one_of_whom_splits_the_leaf() {
    model(3, || {
        let bed = Bed::of(&["b", "d"]);
        let (a, c) = (bed.room("a"), bed.room("c"));
        // The first fills the leaf, the second splits it: whoever that is.
        let other = bed.beside(|table| put(table, a, "a"));
        put(&bed.table, c, "c");
        assert!(has(&bed.table, "c"));
        other.join().unwrap();
        bed.check(&["a", "b", "c", "d"]);
    });
}

#[test]
fn two_writers_split_two_leaves_under_one_root() {
    model(2, || {
        let bed = Bed::of(&["b", "d", "f", "h", "j", "l"]);
        let (c, k) = (bed.room("c"), bed.room("k"));
        let other = bed.beside(|table| put(table, c, "c"));
        put(&bed.table, k, "k");
        other.join().unwrap();
        bed.check(&["b", "c", "d", "f", "h", "j", "k", "l"]);
    });
}

/// Both ways to begin, which loom does not find by itself here.
#[test]
fn two_writers_at_the_right_edge() {
    for other_first in [false, true] {
        model(2, move || {
            // The rightmost leaf has one entry, and room for both.
            let bed = Bed::of(&["a", "b", "c", "d"]);
            let (e, f) = (bed.room("e"), bed.room("f"));
            let other = bed.beside(|table| put(table, f, "f"));
            if other_first {
                thread::yield_now();
            }
            put(&bed.table, e, "e");
            other.join().unwrap();
            bed.check(&["a", "b", "c", "d", "e", "f"]);
        });
    }
}

/// What a reader must find beside an insert of `new` into a table of `keys`: all of these, and once it has met the
/// new one, it stays.
fn reader_beside(
    preemptions: usize,
    keys: &'static [&'static str],
    new: &'static str,
    read: fn(&Memtable, &[&str], &str),
) {
    model(preemptions, move || {
        let bed = Bed::of(keys);
        let room = bed.room(new);
        let reader = bed.beside(move |table| read(table, keys, new));
        put(&bed.table, room, new);
        reader.join().unwrap();
        let mut all = keys.to_vec();
        all.push(new);
        all.sort_unstable();
        bed.check(&all);
    });
}

fn get_each(table: &Memtable, keys: &[&str], new: &str) {
    let seen = has(table, new);
    for key in [keys[0], keys[keys.len() / 2], keys[keys.len() - 1]] {
        assert!(has(table, key), "{key} is lost");
    }
    assert!(!seen || has(table, new));
}

fn walk_over(table: &Memtable, keys: &[&str], new: &str, back: bool) {
    let seen = has(table, new);
    let mut met = walk(table, back);
    assert!(!seen || met.iter().any(|key| key == new));
    met.retain(|key| key != new);
    assert_eq!(met, keys);
}

fn walk_forward(table: &Memtable, keys: &[&str], new: &str) {
    walk_over(table, keys, new, false);
}

fn walk_back(table: &Memtable, keys: &[&str], new: &str) {
    walk_over(table, keys, new, true);
}

#[test]
fn a_reader_beside_an_insert_that_moves_entries() {
    reader_beside(3, &["b", "c"], "a", get_each);
    reader_beside(3, &["b", "c"], "a", walk_forward);
    reader_beside(3, &["b", "c"], "a", walk_back);
}

#[test]
fn a_reader_beside_a_split_of_the_root() {
    reader_beside(3, &["a", "b", "d"], "c", get_each);
    reader_beside(2, &["a", "b", "d"], "c", walk_forward);
    reader_beside(2, &["a", "b", "d"], "c", walk_back);
}

#[test]
fn a_reader_beside_a_split_of_leaf_and_root_above_it() {
    const KEYS: &[&str] = &["a", "b", "c", "d", "e", "g", "h", "i", "j"];
    reader_beside(1, KEYS, "f", get_each);
    reader_beside(1, KEYS, "k", get_each);
    reader_beside(1, KEYS, "f", walk_forward);
    reader_beside(1, KEYS, "f", walk_back);
}

/// The keys share their first ten bytes, which the prefixes leave out, until one comes that does not.
#[test]
fn a_reader_beside_a_change_of_what_all_keys_share() {
    const KEYS: &[&str] = &["0123456789b", "0123456789c"];
    reader_beside(3, KEYS, "0123a", get_each);
    reader_beside(2, KEYS, "0123a", walk_forward);
    reader_beside(2, KEYS, "0123a", walk_back);
    const FULL: &[&str] = &["0123456789b", "0123456789c", "0123456789d"];
    reader_beside(1, FULL, "0123a", get_each);
}

#[test]
fn two_writers_and_a_reader() {
    model(1, || {
        let bed = Bed::of(&["b", "d"]);
        let (a, c) = (bed.room("a"), bed.room("c"));
        let writer = bed.beside(|table| put(table, a, "a"));
        let reader = bed.beside(|table| {
            let seen = has(table, "c");
            assert!(has(table, "b") && has(table, "d"));
            assert!(!seen || has(table, "c"));
        });
        put(&bed.table, c, "c");
        writer.join().unwrap();
        reader.join().unwrap();
        bed.check(&["a", "b", "c", "d"]);
    });
}
