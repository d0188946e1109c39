//! Every engine of this build does what the workloads take for granted.

use super::*;
use crate::keys::{Values, key, missing_key};

fn config(sync: bool) -> Config {
    Config {
        write_buffer_bytes: 1 << 20,
        cache_bytes: 1 << 20,
        sync,
        memory_budget: None,
        mmap_reads: false,
    }
}

fn folder(name: &str) -> kit::scratch::Scratch {
    let scratch = kit::scratch::Scratch::new(None).expect(name);
    std::fs::create_dir_all(scratch.path()).expect("create");
    scratch
}

fn built() -> impl Iterator<Item = EngineName> {
    EngineName::ALL.into_iter().filter(|name| name.is_built() && name.runs(Workload::ReadRandom))
}

#[test]
fn names_are_read_back() {
    for engine in EngineName::ALL {
        assert_eq!(engine.name().parse(), Ok(engine));
        assert!(!engine.configuration(&config(false)).is_empty());
    }
    assert!("level".parse::<EngineName>().is_err());
}

#[test]
fn an_engine_that_is_not_built_says_how_to_get_it() {
    let folder = folder("missing");
    for engine in EngineName::ALL.into_iter().filter(|engine| !engine.is_built()) {
        let error = engine.open(folder.path(), &config(false)).err().expect("not built");
        assert!(error.to_string().contains(&format!("--features {engine}")), "{error}");
    }
}

#[test]
fn baselines_write_and_cannot_read() {
    assert!(!EngineName::PlainWrite.runs(Workload::ReadRandom));
    assert!(!EngineName::GroupCommit.runs(Workload::FillSeq));
    for name in [EngineName::PlainWrite, EngineName::GroupCommit] {
        let folder = folder(name.name());
        let engine = name.open(&folder.path().join("db"), &config(true)).expect("open");
        engine.put(b"key", b"value").expect("put");
        engine.write_batch(&[(key(1), Some(b"one")), (key(2), None)]).expect("batch");
        assert!(engine.get(b"key", &mut |_| ()).is_err());
        engine.close().expect("close");
        assert!(std::fs::metadata(folder.path().join("db/log")).expect("log").len() > 0);
    }
}

#[test]
fn group_commits_of_many_threads_all_return() {
    let folder = folder("group");
    let engine = EngineName::GroupCommit.open(&folder.path().join("db"), &config(true));
    let engine = engine.expect("open");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..20).for_each(|n| engine.put(&key(n), b"x").expect("put")));
        }
    });
}

#[test]
fn what_was_written_is_read_back_in_every_way() {
    let values = Values::new(50);
    for name in built() {
        let folder = folder(name.name());
        let path = folder.path().join("db");
        let engine = name.open(&path, &config(false)).expect("open");
        for number in 0..50 {
            engine.put(&key(number), values.of(number)).expect("put");
        }
        let batch: Vec<_> =
            (50..100).map(|number| (key(number), Some(values.of(number)))).collect();
        engine.write_batch(&batch).expect("batch");
        engine.write_batch(&[(key(7), None), (key(99), None)]).expect("deletes");
        engine.flush().expect("flush");
        engine.close().expect("close");

        let engine = name.open(&path, &config(true)).expect("open again");
        let mut found = Vec::new();
        assert!(engine.get(&key(60), &mut |value| found = value.to_vec()).expect("get"), "{name}");
        assert_eq!(found, values.of(60), "{name}");
        for absent in [key(7), missing_key(7), key(100)] {
            assert!(!engine.get(&absent, &mut |_| panic!("{name}")).expect("get"), "{name}");
        }
        let mut seen = Vec::new();
        let keys = [key(98), key(7), key(0)];
        engine.multi_get(&keys, &mut |at, value| seen.push((at, value.to_vec()))).expect("multi");
        seen.sort();
        assert_eq!(seen, [(0, values.of(98).to_vec()), (2, values.of(0).to_vec())], "{name}");
        let mut seen = Vec::new();
        let records = engine.scan(&key(5), 3, &mut |key, value| {
            seen.push((crate::keys::number(key).expect("number"), value.to_vec()));
        });
        assert_eq!(records.expect("scan"), 3, "{name}");
        let expected = [5, 6, 8].map(|number| (number, values.of(number).to_vec()));
        assert_eq!(seen, expected, "{name}");
        assert_eq!(engine.scan(&key(0), u64::MAX, &mut |_, _| ()).expect("scan"), 98, "{name}");
        assert!(!engine.seek(&key(99), &mut |_, _| ()).expect("seek"), "{name}");
        engine.put(&key(100), b"synced").expect("a synced put");
        engine.compact().expect("compact");
        assert!(engine.get(&key(100), &mut |_| ()).expect("get"), "{name}");
        engine.close().expect("close");
    }
}
