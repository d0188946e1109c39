//! Single calls, and that what they do outlives closing.

use crate::support::{all, open, small};
use engine::{Db, Options, WriteBatch, WriteOptions};

#[test]
fn what_is_put_is_got_until_it_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &Options::default());
    assert_eq!(db.get("k").unwrap(), None);
    db.put("k", "v1").unwrap();
    db.put("k", "v2").unwrap();
    assert_eq!(db.get("k").unwrap().as_deref(), Some(&b"v2"[..])); // W4: one reads what one wrote
    db.delete("k").unwrap();
    db.delete("never there").unwrap();
    assert_eq!(db.get("k").unwrap(), None);
    assert!(all(&db).is_empty());
}

#[test]
fn keys_and_values_of_every_length_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let lengths = [0usize, 1, 7, 8, 9, 100, 4095, 4096, 32 << 10, 65_535];
    let key = |len: usize| vec![b'k'; len];
    let value = |len: usize| (0..len * 3).map(|i| (i % 251) as u8).collect::<Vec<_>>();
    let db = open(dir.path(), &small());
    for len in lengths {
        db.put(key(len), value(len)).unwrap();
    }
    let check = |db: &Db| {
        for len in lengths {
            assert!(db.get(key(len)).unwrap().unwrap() == value(len), "length {len}");
        }
        assert_eq!(all(db).len(), lengths.len());
    };
    check(&db);
    db.flush().unwrap();
    check(&db);
    db.compact().unwrap();
    check(&db);
    db.close().unwrap();
    check(&open(dir.path(), &small()));
}

#[test]
fn a_value_of_many_megabytes_passes_through_every_part() {
    let dir = tempfile::tempdir().unwrap();
    let value: Vec<u8> = (0..5_000_000u32).flat_map(u32::to_le_bytes).collect();
    let db = open(dir.path(), &small());
    db.put("large", &value).unwrap(); // C3: larger than the whole budget
    assert!(db.get("large").unwrap().unwrap() == value);
    db.close().unwrap();
    let db = open(dir.path(), &small());
    assert!(db.get("large").unwrap().unwrap() == value);
    db.compact().unwrap();
    assert!(db.get("large").unwrap().unwrap() == value);
    assert_eq!(all(&db), [(b"large".to_vec(), value)]);
}

#[test]
fn a_batch_is_applied_in_order_and_an_empty_one_does_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &Options::default());
    db.write(WriteBatch::new(), &WriteOptions::default()).unwrap();
    assert_eq!(db.stats().batches, 0);
    let mut batch = WriteBatch::new();
    batch.put("a", "1").put("b", "2").delete("a").put("c", "3").put("b", "4");
    db.write(&batch, &WriteOptions { sync: true, ..WriteOptions::default() }).unwrap();
    assert_eq!(all(&db), [(b"b".to_vec(), b"4".to_vec()), (b"c".to_vec(), b"3".to_vec())]);
    let stats = db.stats();
    assert_eq!((stats.batches, stats.visible_seq), (1, 5)); // W7: one number an entry
    assert!(stats.log_syncs > 0);
}

#[test]
fn dropping_the_last_handle_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &Options::default());
    let other = db.clone();
    db.put("k", "v").unwrap();
    drop(db);
    other.put("l", "w").unwrap();
    drop(other);
    assert_eq!(all(&open(dir.path(), &Options::default())).len(), 2);
}

#[test]
fn after_a_close_every_call_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &Options::default());
    db.put("k", "v").unwrap();
    let (other, snapshot, mut iter) = (db.clone(), db.snapshot(), db.iter().unwrap());
    db.close().unwrap();
    assert!(matches!(other.put("k", "w"), Err(engine::Error::Closed)));
    assert!(matches!(other.get("k"), Err(engine::Error::Closed)));
    assert!(matches!(other.flush(), Err(engine::Error::Closed)));
    assert!(matches!(snapshot.get("k"), Err(engine::Error::Closed)));
    assert!(matches!(iter.next(), Some(Err(engine::Error::Closed))));
    assert!(iter.next().is_none());
    // The directory is free, though handles are left.
    assert!(open(dir.path(), &Options::default()).get("k").unwrap().is_some());
}
