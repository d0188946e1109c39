//! Several threads in one memtable: nothing is lost, nothing is seen in part or out of order.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};

use base::sync::Mutex;
use base::{Cursor, InternalKey, InternalKeyRef, SeqNo, ValueKind};
use memtable::{Memtable, Space};

use crate::support::{Fixture, Numbers};

const WRITERS: u64 = 4;

/// Keys that collide: few, sharing prefixes of 0, 8 and 16 bytes, so that writers meet in the same gaps.
fn key_of(number: u64) -> Vec<u8> {
    let mut key = vec![b's'; [0, 8, 16][(number % 3) as usize]];
    key.extend((number * 7919 % 257).to_be_bytes());
    key
}

fn value_of(user_key: &[u8], seq: u64) -> Vec<u8> {
    let mut value = seq.to_le_bytes().to_vec();
    value.extend(user_key);
    value.resize(8 + user_key.len() + (seq % 90) as usize, seq as u8);
    value
}

fn check_entry(key: InternalKeyRef<'_>, value: &[u8]) {
    assert!(value == value_of(key.user_key, key.seq.get()), "a torn entry at {key:?}");
}

/// Writes groups of entries until `groups` are in; gives what it wrote.
fn write(fixture: &Fixture, commit: &Mutex<u64>, groups: usize, seed: u64) -> Vec<InternalKey> {
    let mut numbers = Numbers(seed);
    let mut written = Vec::new();
    for _ in 0..groups {
        let keys: Vec<Vec<u8>> =
            (0..1 + numbers.below(4)).map(|_| key_of(numbers.below(400))).collect();
        // The commit lock: sequence numbers and room, taken together.
        let (first, mut reserved) = {
            let mut next = commit.lock();
            let first = *next;
            *next += keys.len() as u64;
            let mut space = Space::new();
            for (seq, key) in (first..).zip(&keys) {
                space.add(key.len(), value_of(key, seq).len());
            }
            (first, fixture.reserve(&space))
        };
        for (seq, user_key) in (first..).zip(&keys) {
            let key = InternalKeyRef::new(user_key, SeqNo::new(seq), ValueKind::Put);
            fixture.table.insert(&mut reserved, key, &value_of(user_key, seq));
            // Its own write is there at once.
            let (found, value) = fixture.table.get(user_key, key.seq).expect("just inserted");
            assert_eq!(found, key);
            check_entry(found, value);
            written.push(key.to_owned());
        }
    }
    written
}

/// Walks the table forward: order is strict, entries are whole, and their number never falls.
fn walk_forward(table: &Memtable, at_least: usize) -> usize {
    let mut cursor = table.cursor();
    cursor.seek_to_first().unwrap();
    let (mut before, mut met): (Option<InternalKey>, usize) = (None, 0);
    while cursor.is_valid() {
        check_entry(cursor.key(), cursor.value());
        assert!(before.as_ref().is_none_or(|before| before.as_ref() < cursor.key()));
        before = Some(cursor.key().to_owned());
        met += 1;
        cursor.next().unwrap();
    }
    assert!(met >= at_least, "{met} entries, there were {at_least}");
    met
}

/// As forward, from the end, and changing direction now and then.
fn walk_back(table: &Memtable, at_least: usize) -> usize {
    let mut cursor = table.cursor();
    cursor.seek_to_last().unwrap();
    let mut met = 0;
    while cursor.is_valid() {
        check_entry(cursor.key(), cursor.value());
        let here = cursor.key().to_owned();
        met += 1;
        cursor.prev().unwrap();
        if met % 64 == 0 && cursor.is_valid() {
            // Forward again: at most to where it came from, since something may have been put in between.
            cursor.next().unwrap();
            assert!(cursor.key() <= here.as_ref());
            cursor.seek(here.as_ref()).unwrap();
            assert_eq!(cursor.key(), here.as_ref());
            cursor.prev().unwrap();
        }
        assert!(!cursor.is_valid() || cursor.key() < here.as_ref());
    }
    assert!(met >= at_least, "{met} entries, there were {at_least}");
    met
}

fn stress(groups: usize, seed: u64) {
    let fixture = Fixture::new(None);
    let commit = Mutex::new(1);
    let done = AtomicBool::new(false);
    let start = Barrier::new(WRITERS as usize + 2);
    let read = |walk: fn(&Memtable, usize) -> usize| {
        start.wait();
        let mut met = 0;
        while !done.load(Ordering::Acquire) {
            met = walk(&fixture.table, met);
        }
    };
    let run = |writer: u64| {
        start.wait();
        write(&fixture, &commit, groups, seed * 31 + writer)
    };
    // Each is joined by its handle, which ThreadSanitizer understands, not by the end of the scope.
    let written: Vec<InternalKey> = thread::scope(|scope| {
        let (read, run) = (&read, &run);
        let readers = [walk_forward, walk_back]
            .map(|walk: fn(&Memtable, usize) -> usize| scope.spawn(move || read(walk)));
        let writers: Vec<_> =
            (1..=WRITERS).map(|writer| scope.spawn(move || run(writer))).collect();
        let results: Vec<_> = writers.into_iter().map(ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Release);
        for reader in readers {
            reader.join().expect("a reader failed");
        }
        results.into_iter().flat_map(|written| written.expect("a writer failed")).collect()
    });
    check_all(&fixture, &written);
}

/// Everything that was written is there, nothing else, in order, both ways.
fn check_all(fixture: &Fixture, written: &[InternalKey]) {
    let expected: BTreeMap<&InternalKey, ()> = written.iter().map(|key| (key, ())).collect();
    assert_eq!(expected.len(), written.len());
    assert_eq!(fixture.table.entries(), written.len() as u64);
    assert_eq!(walk_forward(&fixture.table, 0), written.len());
    assert_eq!(walk_back(&fixture.table, 0), written.len());
    let mut cursor = fixture.table.owned_cursor();
    cursor.seek_to_first().unwrap();
    for key in expected.keys() {
        assert_eq!(cursor.key(), key.as_ref());
        assert_eq!(
            fixture.table.get(&key.user_key, key.seq).map(|(found, _)| found),
            Some(key.as_ref())
        );
        cursor.next().unwrap();
    }
    assert!(!cursor.is_valid());
    fixture.check_account();
}

#[test]
fn writers_and_readers_at_once() {
    for seed in 1..=4 {
        stress(3_000, seed);
    }
}

/// Many short rounds, in which the writers start on an empty table: the first nodes of every level.
#[test]
fn writers_meet_in_an_empty_table() {
    for seed in 10..110 {
        stress(12, seed);
    }
}

#[test]
fn the_parts_can_be_moved_to_and_shared_between_threads() {
    fn both<T: Send + Sync>() {}
    fn send<T: Send>() {}
    both::<Memtable>();
    both::<memtable::MemtableCursor<'_>>();
    both::<memtable::OwnedCursor>();
    send::<memtable::Reserved>();
    send::<memtable::Chunk>();
}
