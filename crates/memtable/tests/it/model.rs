//! Any history of inserts, reads and cursor moves, against a `BTreeMap`.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};

use base::{Cursor, InternalKey, InternalKeyRef, MAX_KEY_BYTES, SeqNo, ValueKind};
use memtable::Space;
use proptest::prelude::*;

use crate::support::Fixture;

type Model = BTreeMap<InternalKey, Vec<u8>>;

/// A key out of a family that is hard to tell apart: stems that others share, and short tails.
fn any_key() -> impl Strategy<Value = Vec<u8>> {
    let stem = prop_oneof![
        4 => Just(0usize),
        2 => Just(7),
        3 => Just(8),
        2 => Just(9),
        2 => Just(16),
        2 => Just(40),
        1 => Just(MAX_KEY_BYTES - 3),
    ];
    // 0 and 255 in tails: keys that differ only in trailing zeros, and the greatest bytes.
    let tail = prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(b'k'), Just(255)], 0..=3);
    (stem, tail).prop_map(|(stem, tail)| {
        let mut key = vec![b'k'; stem];
        key.extend(tail);
        key
    })
}

fn any_internal_key() -> impl Strategy<Value = InternalKey> {
    let seq = prop_oneof![8 => 0u64..24, 1 => Just(SeqNo::MAX.get()), 1 => 0..=SeqNo::MAX.get()];
    (any_key(), seq, 0u8..4).prop_map(|(user_key, seq, kind)| InternalKey {
        user_key: user_key.into(),
        seq: SeqNo::new(seq),
        kind: ValueKind::try_from(kind).unwrap(),
    })
}

#[derive(Clone, Debug)]
enum Step {
    /// Room is reserved for all, then they are inserted: the flag says in which direction.
    Insert(Vec<(InternalKey, usize)>, bool),
    Get(Vec<u8>, u64),
    First,
    Last,
    Seek(InternalKey),
    SeekForPrev(InternalKey),
    Next,
    Prev,
}

fn any_step() -> impl Strategy<Value = Step> {
    let value_len = prop_oneof![40 => 0usize..40, 4 => 100usize..5_000, 1 => 15_000usize..400_000];
    prop_oneof![
        8 => (prop::collection::vec((any_internal_key(), value_len), 1..6), any::<bool>())
            .prop_map(|(entries, reversed)| Step::Insert(entries, reversed)),
        // Enough to split leaves: 64 and more with the same first bytes are common then.
        1 => (prop::collection::vec((any_internal_key(), 0usize..20), 30..160), any::<bool>())
            .prop_map(|(entries, reversed)| Step::Insert(entries, reversed)),
        4 => (any_key(), prop_oneof![0u64..26, Just(SeqNo::MAX.get())]).prop_map(|(key, at)| Step::Get(key, at)),
        1 => Just(Step::First),
        1 => Just(Step::Last),
        2 => any_internal_key().prop_map(Step::Seek),
        2 => any_internal_key().prop_map(Step::SeekForPrev),
        5 => Just(Step::Next),
        5 => Just(Step::Prev),
    ]
}

/// A value that says which entry it belongs to.
fn value_of(key: &InternalKey, len: usize) -> Vec<u8> {
    let salt = key.seq.get() as u8 ^ (key.user_key.len() as u8) ^ ((key.kind as u8) << 6);
    let mut value = vec![salt; len];
    for (at, byte) in value.iter_mut().take(256).enumerate() {
        *byte ^= at as u8;
    }
    value
}

fn insert(
    fixture: &Fixture,
    model: &mut Model,
    entries: Vec<(InternalKey, usize)>,
    reversed: bool,
) {
    let mut fresh: Vec<(InternalKey, Vec<u8>)> = Vec::new();
    let mut space = Space::new();
    for (key, len) in entries {
        if !model.contains_key(&key) {
            let value = value_of(&key, len);
            space.add(key.user_key.len(), value.len());
            model.insert(key.clone(), value.clone());
            fresh.push((key, value));
        }
    }
    if reversed {
        fresh.reverse();
    }
    let mut reserved = fixture.reserve(&space);
    for (key, value) in &fresh {
        fixture.table.insert(&mut reserved, key.as_ref(), value);
    }
}

/// Where the model's cursor goes.
fn moved(model: &Model, at: Option<&InternalKey>, step: &Step) -> Option<InternalKey> {
    let found = match (step, at) {
        (Step::First, _) => model.first_key_value(),
        (Step::Last, _) => model.last_key_value(),
        (Step::Seek(target), _) => model.range((Included(target), Unbounded)).next(),
        (Step::SeekForPrev(target), _) => model.range((Unbounded, Included(target))).next_back(),
        (Step::Next, Some(at)) => model.range((Excluded(at), Unbounded)).next(),
        (Step::Prev, Some(at)) => model.range((Unbounded, Excluded(at))).next_back(),
        _ => None,
    };
    found.map(|(key, _)| key.clone())
}

fn apply(cursor: &mut impl Cursor<Error = std::convert::Infallible>, step: &Step) {
    let done = match step {
        Step::First => cursor.seek_to_first(),
        Step::Last => cursor.seek_to_last(),
        Step::Seek(target) => cursor.seek(target.as_ref()),
        Step::SeekForPrev(target) => cursor.seek_for_prev(target.as_ref()),
        Step::Next if cursor.is_valid() => cursor.next(),
        Step::Prev if cursor.is_valid() => cursor.prev(),
        _ => Ok(()),
    };
    done.unwrap();
}

fn check_position(
    cursor: &impl Cursor,
    model: &Model,
    at: Option<&InternalKey>,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(cursor.is_valid(), at.is_some());
    if let Some(at) = at {
        prop_assert_eq!(cursor.key(), at.as_ref());
        prop_assert!(cursor.value() == model[at], "another entry's value");
    }
    Ok(())
}

fn check_get(
    fixture: &Fixture,
    model: &Model,
    user_key: &[u8],
    at: u64,
) -> Result<(), TestCaseError> {
    let at = SeqNo::new(at);
    let newest = InternalKeyRef::seek_at(user_key, at).to_owned();
    let expected = model.range((Included(newest), Unbounded)).next();
    let expected = expected.filter(|(key, _)| *key.user_key == *user_key);
    let found = fixture.table.get(user_key, at);
    prop_assert_eq!(found.map(|(key, _)| key), expected.map(|(key, _)| key.as_ref()));
    prop_assert!(found.map(|(_, value)| value) == expected.map(|(_, value)| value.as_slice()));
    Ok(())
}

fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let fixture = Fixture::new(None);
    let mut model = Model::new();
    let mut borrowed = fixture.table.cursor();
    let mut owned = fixture.table.owned_cursor();
    let mut at: Option<InternalKey> = None;
    for step in steps {
        match step {
            Step::Insert(entries, reversed) => insert(&fixture, &mut model, entries, reversed),
            Step::Get(user_key, seq) => check_get(&fixture, &model, &user_key, seq)?,
            step => {
                at = moved(&model, at.as_ref(), &step);
                apply(&mut borrowed, &step);
                apply(&mut owned, &step);
            }
        }
        // Also after inserts: a cursor stays where it was.
        check_position(&borrowed, &model, at.as_ref())?;
        check_position(&owned, &model, at.as_ref())?;
        fixture.check_account();
    }
    check_whole(&fixture, &model)
}

/// Both directions, end to end.
fn check_whole(fixture: &Fixture, model: &Model) -> Result<(), TestCaseError> {
    prop_assert_eq!(fixture.table.entries(), model.len() as u64);
    prop_assert_eq!(fixture.table.is_empty(), model.is_empty());
    let mut cursor = fixture.table.cursor();
    apply(&mut cursor, &Step::First);
    for key in model.keys() {
        check_position(&cursor, model, Some(key))?;
        apply(&mut cursor, &Step::Next);
    }
    check_position(&cursor, model, None)?;
    apply(&mut cursor, &Step::Last);
    for key in model.keys().rev() {
        check_position(&cursor, model, Some(key))?;
        apply(&mut cursor, &Step::Prev);
    }
    check_position(&cursor, model, None)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_history_agrees_with_the_model(steps in prop::collection::vec(any_step(), 1..60)) {
        run(steps)?;
    }
}

/// Many keys that share their first `shared` bytes, several versions each, inserted in no order.
fn shared_prefix(shared: usize) {
    let mut entries = Vec::new();
    for number in 0..300u32 {
        for version in 0..3 {
            let mut user_key = vec![b'p'; shared];
            user_key.extend(number.wrapping_mul(2_654_435_761).to_be_bytes());
            let seq = SeqNo::new(u64::from((number * 31 + version * 7) % 1_000));
            entries.push((InternalKey { user_key: user_key.into(), seq, kind: ValueKind::Put }, 5));
        }
    }
    let (fixture, mut model) = (Fixture::new(None), Model::new());
    for group in entries.chunks(7) {
        insert(&fixture, &mut model, group.to_vec(), false);
    }
    check_whole(&fixture, &model).unwrap();
    for key in model.keys() {
        for at in [key.seq.get().saturating_sub(1), key.seq.get(), key.seq.get() + 1] {
            check_get(&fixture, &model, &key.user_key, at).unwrap();
        }
    }
}

#[test]
fn keys_that_share_their_first_bytes() {
    for shared in [0, 3, 4, 7, 8, 9, 16, 40] {
        shared_prefix(shared);
    }
}

#[test]
fn the_largest_key_and_a_huge_value() {
    let fixture = Fixture::new(None);
    let key = vec![0xff; MAX_KEY_BYTES];
    let value = vec![7; 64 << 20];
    fixture.put(&key, SeqNo::MAX.get(), ValueKind::Put, &value);
    fixture.put(b"", 0, ValueKind::Delete, b"");
    let (found, read) = fixture.table.get(&key, SeqNo::MAX).unwrap();
    assert_eq!((found.seq, found.user_key.len()), (SeqNo::MAX, MAX_KEY_BYTES));
    assert!(read == value);
    let (found, read) = fixture.table.get(b"", SeqNo::ZERO).unwrap();
    assert_eq!((found.kind, read), (ValueKind::Delete, &b""[..]));
    // What is charged is little more than what it takes: a large entry does not get a whole ordinary chunk on top.
    assert!(fixture.table.charged_bytes() < value.len() + key.len() + (64 << 10));
    fixture.check_account();
}
