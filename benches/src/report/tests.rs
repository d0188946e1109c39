//! The arithmetic of the report, its fields, and how it looks.

use super::*;
use crate::latency::histogram;

fn outcome() -> Outcome {
    let mut latency = histogram().expect("histogram");
    // 1 µs, 2 µs, …, 1000 µs.
    (1..=1000).for_each(|micros| latency.saturating_record(micros * 1000));
    let mut stats = Stats::default();
    stats.write_budget = Some(16 << 20);
    stats.in_flight_peak_bytes = 15 << 20;
    (stats.log_bytes, stats.flush_bytes, stats.compaction_bytes) = (1000, 600, 400);
    stats.credit_waits = 3;
    stats.credit_wait = Duration::from_millis(1500);
    Outcome {
        arguments: "--keys 1000".to_owned(),
        load: "a load".to_owned(),
        batch: 1,
        sync: false,
        write_buffer_bytes: 1 << 20,
        ingested: Ingested {
            operations: 1000,
            user_bytes: 4_000_000,
            time: Duration::from_secs(2),
            latency: latency.clone(),
        },
        flush_time: Duration::from_secs(1),
        compaction_time: Duration::from_secs(2),
        reopen_time: Duration::from_millis(10),
        peaks: Peaks {
            samples: 5,
            in_flight: 14 << 20,
            heap: 40 << 20,
            anonymous: Some(50 << 20),
            file: None,
            resident: Some(60 << 20),
        },
        heap_allocator_peak: 30 << 20,
        heap_start: 1 << 20,
        stats,
        sent_to_storage: None,
        verified: Verified {
            records: 900,
            problems: 0,
            told: Vec::new(),
            bytes: 90,
            checksum: 7,
            checksum_expected: 7,
            scan_time: Duration::from_secs(1),
            point_reads: 10,
            point_time: Duration::from_secs(2),
            point_latency: latency,
        },
    }
}

#[test]
fn rates_and_amplification_are_worked_out() {
    let outcome = outcome();
    assert_eq!(outcome.operations_per_second(), 500.0);
    assert_eq!(outcome.sustained_per_second(), 200.0);
    assert_eq!(outcome.megabytes_per_second(), 2.0);
    assert_eq!(outcome.written_to_disk(), 2000);
    assert_eq!(outcome.write_amplification(), 0.0005);
    assert_eq!(outcome.heap_peak(), 40 << 20);
    let mut exact = outcome.clone();
    exact.heap_allocator_peak = 50 << 20;
    assert_eq!(exact.heap_peak(), 50 << 20);
    exact.stats.in_flight_peak_bytes = 60 << 20;
    assert_eq!(exact.heap_peak(), 60 << 20);
    assert_eq!(rate(5, Duration::ZERO), 0.0);
}

#[test]
fn the_object_is_flat_and_has_every_field() {
    let object = outcome().json();
    for name in [
        "operations",
        "operations_per_second",
        "megabytes_per_second",
        "latency_micros_p50",
        "latency_micros_p99",
        "latency_micros_p999",
        "latency_micros_p9999",
        "latency_micros_max",
        "budget_bytes",
        "in_flight_peak_bytes",
        "heap_peak_bytes",
        "resident_anonymous_peak_bytes",
        "resident_peak_bytes",
        "written_to_disk_bytes",
        "write_amplification",
        "credit_wait_seconds",
        "verified_records",
    ] {
        assert!(object.get(name).is_some_and(Value::is_number), "{name}");
    }
    assert_eq!(object["verified"], json!(true));
    assert_eq!(object["credit_wait_seconds"], json!(1.5));
    assert_eq!(object["resident_file_peak_bytes"], Value::Null);
    assert!(object.values().all(|value| !value.is_object() && !value.is_array()));
}

#[test]
fn latencies_are_in_microseconds() {
    let object = outcome().json();
    for (name, expected) in [("p50", 500.0), ("p99", 990.0), ("p9999", 1000.0), ("max", 1000.0)] {
        let value = object[&format!("latency_micros_{name}")].as_f64().expect("number");
        assert!((value / expected - 1.0).abs() < 0.002, "{name}: {value}");
    }
}

#[test]
fn a_failed_verification_stands_out() {
    let mut outcome = outcome();
    assert!(
        outcome.table().contains("verified             yes: 900 records"),
        "{}",
        outcome.table()
    );
    outcome.verified.problems = 1;
    outcome.verified.told = vec!["missing: key \"a\"".to_owned()];
    let table = outcome.table();
    assert!(table.contains("NO: 1 problems") && table.contains("missing: key"), "{table}");
    assert_eq!(outcome.json()["verified"], json!(false));
    outcome.verified.problems = 0;
    outcome.verified.checksum = 8;
    assert_eq!(outcome.json()["verified"], json!(false));
}
