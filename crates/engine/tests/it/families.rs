//! Column families: keys of their own, batches across them.

use std::sync::Arc;

use crate::sim::DIR;
use crate::support::{chain, open, small};
use engine::{Db, Error, WriteBatch, WriteOptions};
use vfs::sim::SimFs;
use vfs::{Access, Fs};

#[test]
fn families_have_keys_of_their_own_and_are_listed_and_reopened() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    let users = db.create_family("users").unwrap();
    assert!(matches!(db.create_family("users"), Err(Error::FamilyExists { .. })));
    assert!(matches!(db.family("orders"), Err(Error::UnknownFamily { .. })));
    db.put("k", "default").unwrap();
    users.put("k", "users").unwrap();
    let mut batch = WriteBatch::new();
    batch.put("both", "1").put_in(&users, "both", "2").delete_in(&users, "k");
    db.write(&batch, &WriteOptions::default()).unwrap();
    for _ in 0..2 {
        assert_eq!(db.get("k").unwrap().unwrap(), "default");
        assert_eq!(users.get("k").unwrap(), None);
        assert_eq!(users.get("both").unwrap().unwrap(), "2");
        db.flush().unwrap();
    }
    drop(users);
    db.close().unwrap();

    let db = open(dir.path(), &small());
    assert_eq!(db.families(), ["default", "users"]);
    let users = db.family("users").unwrap();
    assert_eq!(users.get("both").unwrap().unwrap(), "2");
    assert_eq!(users.iter().unwrap().count(), 1);
    assert_eq!(db.family("default").unwrap().get("k").unwrap().unwrap(), "default");
}

#[test]
fn a_batch_for_a_family_that_does_not_exist_is_refused_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    let mut batch = WriteBatch::new();
    batch.put("k", "v").put_in(engine::FamilyId::new(77), "k", "v");
    let refused = db.write(&batch, &WriteOptions::default());
    assert!(matches!(refused, Err(Error::UnknownFamilyNumber { .. })));
    assert_eq!(db.get("k").unwrap(), None); // W1
    db.put("k", "w").unwrap();
}

/// W1, F5: what was written to several families is whole after a restart, whichever of them were flushed.
#[test]
fn families_that_are_flushed_at_different_times_are_recovered_together() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    let other = db.create_family("other").unwrap();
    for i in 0..3000u32 {
        let mut batch = WriteBatch::new();
        batch.put(i.to_be_bytes(), [7; 300]).put_in(&other, i.to_be_bytes(), [8; 3]);
        db.write(&batch, &WriteOptions::default()).unwrap();
    }
    assert!(db.stats().flushes > 0, "nothing was flushed: the test shows nothing");
    drop((db, other));
    let db = open(dir.path(), &small());
    assert_eq!(db.iter().unwrap().count(), 3000);
    assert_eq!(db.family("other").unwrap().iter().unwrap().count(), 3000);
}

/// W1: a batch over two families, of which one is flushed first and the log synced for it. The power goes at any moment
/// of that, and the part of the log that was synced is damaged later: nobody is given half of the batch.
#[test]
fn damage_to_what_a_flush_relies_on_never_leaves_half_a_batch() {
    let needle = b"the other half";
    let (mut refused, mut at) = (0, 0);
    loop {
        let fs = SimFs::new();
        let open = |fs: &SimFs| Db::open_on(Arc::new(fs.clone()), DIR, small());
        let db = open(&fs).unwrap();
        let other = db.create_family("other").unwrap();
        let mut batch = WriteBatch::new();
        batch.put("k", "a").put_in(&other, "k", needle);
        db.write(&batch, &WriteOptions::default()).unwrap();
        at += 1;
        fs.power_off_at(fs.operations() + at);
        let is_whole = db.flush().is_ok();
        drop((db, other));
        let cut = fs.crash_clone(at);
        for (path, bytes) in cut.files() {
            let place = bytes.windows(needle.len()).position(|window| window == needle);
            if let Some(place) = place.filter(|_| path.extension().is_some_and(|e| e == "log")) {
                let file = cut.open(&path, Access::ReadWrite).unwrap();
                file.write_all_at(b"T", place as u64).unwrap();
            }
        }
        match open(&cut) {
            Ok(db) => {
                let other = db.family("other").unwrap().get("k").unwrap();
                assert_eq!(db.get("k").unwrap().is_some(), other.is_some(), "cut at {at}");
            }
            Err(error) => {
                let text = chain(&error);
                assert!(text.contains("the log was on stable storage up to"), "{at}: {text}");
                refused += 1;
            }
        }
        if is_whole {
            break;
        }
    }
    assert!(refused > 0 && at > 10, "{refused} of {at}: nothing was shown");
}

/// F6: a family that is written to once does not keep the log for ever.
#[test]
fn an_idle_family_does_not_pin_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &small());
    let idle = db.create_family("idle").unwrap();
    idle.put("k", "v").unwrap();
    for i in 0..40_000u32 {
        db.put(i.to_be_bytes(), [1; 500]).unwrap();
    }
    let stats = db.stats();
    assert!(stats.log_bytes > 20 << 20, "{stats:?}");
    assert!(stats.log_live_bytes < 8 << 20, "{stats:?}");
    assert_eq!(idle.get("k").unwrap().unwrap(), "v");
}
