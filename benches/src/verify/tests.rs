//! Every way in which a database can be wrong is seen.

use std::collections::BTreeMap;

use super::*;

type Records = Vec<(Vec<u8>, Vec<u8>)>;
type Map = BTreeMap<Vec<u8>, Vec<u8>>;

struct Fixed<'a>(std::slice::Iter<'a, (Vec<u8>, Vec<u8>)>);

impl Expected for Fixed<'_> {
    fn next(&mut self, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<bool> {
        let Some(record) = self.0.next() else { return Ok(false) };
        key.clone_from(&record.0);
        value.clone_from(&record.1);
        Ok(true)
    }
}

fn records(count: usize) -> Records {
    (0..count).map(|n| (format!("key{n:05}").into_bytes(), vec![n as u8; n % 50])).collect()
}

/// Verifies a database whose scan yields `found` and whose single reads see `map`.
fn outcome(found: &Records, map: &Map, expected: &Records) -> Verified {
    let phase = Phase::start("test", None);
    let scan = found.iter().cloned().map(Ok);
    let get = |key: &[u8]| Ok(map.get(key).cloned());
    verify(scan, get, &mut Fixed(expected.iter()), &phase).expect("verify")
}

fn scanned(found: &Records, expected: &Records) -> Verified {
    outcome(found, &expected.iter().cloned().collect(), expected)
}

#[test]
fn a_database_that_is_right_is_proved() {
    for count in [0, 1, 1000] {
        let all = records(count);
        let verified = scanned(&all, &all);
        assert!(verified.is_proved(), "{:?}", verified.told);
        assert_eq!(verified.records, count as u64);
        // Each key and, beside it, one that does not exist.
        assert_eq!(verified.point_reads, 2 * count as u64);
        assert_eq!(verified.point_latency.len(), 2 * count as u64);
    }
}

#[test]
fn each_fault_of_a_scan_is_seen_and_told() {
    let all = records(100);
    let change = |change: &dyn Fn(&mut Records)| {
        let mut found = all.clone();
        change(&mut found);
        let verified = scanned(&found, &all);
        assert!(!verified.is_proved());
        assert_ne!(verified.checksum, verified.checksum_expected);
        (verified.problems, verified.records, verified.told.join("; "))
    };
    let (problems, records, told) = change(&|found| drop(found.remove(99)));
    assert_eq!((problems, records), (1, 99));
    assert!(told.contains("missing: key \"key00099\""), "{told}");

    let (problems, records, told) = change(&|found| drop(found.drain(..3)));
    assert_eq!((problems, records), (3, 97));
    assert!(told.contains("missing: key \"key00000\""), "{told}");

    let extra = (b"key00050x".to_vec(), Vec::new());
    let (problems, _, told) = change(&|found| found.insert(51, extra.clone()));
    assert_eq!(problems, 1);
    assert!(told.contains("unexpected: key \"key00050x\""), "{told}");

    let (problems, _, told) = change(&|found| found[70].1[3] ^= 1);
    assert_eq!(problems, 1);
    assert!(told.contains("wrong value of key \"key00070\""), "{told}");
    assert!(told.contains("differ from byte 3 on"), "{told}");

    let (problems, _, told) = change(&|found| found[70].1.push(0));
    assert_eq!(problems, 1);
    assert!(told.contains("21 bytes for 20"), "{told}");

    let (_, _, told) = change(&|found| found.swap(10, 11));
    assert!(told.contains("out of order: key \"key00010\""), "{told}");

    let (problems, _, told) = change(&|found| found.insert(5, found[5].clone()));
    assert!(problems >= 1 && told.contains("out of order: key \"key00005\""), "{told}");
}

#[test]
fn each_fault_of_a_single_read_is_seen() {
    let all = records(100);
    let right: Map = all.iter().cloned().collect();
    let change = |change: &dyn Fn(&mut Map)| {
        let mut map = right.clone();
        change(&mut map);
        let verified = outcome(&all, &map, &all);
        assert!(!verified.is_proved());
        assert_eq!(verified.problems, 1);
        verified.told.join("; ")
    };
    let key = b"key00042".to_vec();
    let told = change(&|map| drop(map.remove(&key)));
    assert!(told.contains("missing or wrong: key \"key00042\""), "{told}");
    let told = change(&|map| drop(map.insert(key.clone(), vec![1])));
    assert!(told.contains("missing or wrong: key \"key00042\""), "{told}");
    let told = change(&|map| drop(map.insert(b"key00042\0".to_vec(), vec![1])));
    assert!(told.contains("unexpected: key \"key00042\\x00\""), "{told}");
}

#[test]
fn neighbours_that_exist_are_not_asked_for() {
    let all: Records = (0..4).map(|zeros| (vec![0; zeros], vec![7])).collect();
    let verified = scanned(&all, &all);
    assert!(verified.is_proved(), "{:?}", verified.told);
    // Only the last key's neighbour does not exist.
    assert_eq!(verified.point_reads, 5);
}

#[test]
fn errors_of_the_database_are_problems() {
    let all = records(3);
    let phase = Phase::start("test", None);
    let scan = [Ok(all[0].clone()), Err("block damaged".into())].into_iter();
    let get = |_: &[u8]| Result::<Option<Vec<u8>>>::Err("table gone".into());
    let verified = verify(scan, get, &mut Fixed(all.iter()), &phase).expect("verify");
    assert!(!verified.is_proved());
    let told = verified.told.join("; ");
    assert!(told.contains("block damaged") && told.contains("table gone"), "{told}");
}

#[test]
fn the_sample_is_bounded_and_reaches_all_parts() {
    let mut sample = Sample::default();
    let count = SAMPLE * 4;
    for n in 0..count {
        sample.offer(&(n as u64).to_be_bytes(), b"");
    }
    assert_eq!(sample.picks.len(), SAMPLE);
    let late = (count as u64 / 2).to_be_bytes().to_vec();
    let from_second_half = sample.picks.iter().filter(|pick| pick.key >= late).count();
    assert!((SAMPLE * 4 / 10..SAMPLE * 6 / 10).contains(&from_second_half), "{from_second_half}");
}
