//! The program from outside: small runs of the whole job, and what wrong use is answered with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// An empty directory of this test's own.
fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("polder-bench-it").join(test);
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("remove what an earlier run left");
    }
    fs::create_dir_all(&folder).expect("create");
    folder
}

/// Runs the program with these arguments, split at spaces.
fn bench(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_polder-bench"))
        .args(arguments.split_whitespace())
        .output()
        .expect("start the program")
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// Runs the program with `--json` and returns the result, which must be one flat object.
fn result(test: &str, arguments: &str) -> Value {
    let file = folder(test).join("result.json");
    let output = bench(&format!("{arguments} --json {}", file.display()));
    assert!(output.status.success(), "{arguments}: {}", said(&output));
    let json: Value = serde_json::from_slice(&fs::read(&file).expect("read")).expect("JSON");
    let object = json.as_object().expect("an object");
    assert!(object.values().all(|value| !value.is_object() && !value.is_array()));
    json
}

#[test]
fn every_kind_of_load_is_written_and_verified() {
    for (number, arguments) in [
        "--distribution sequential",
        "--distribution random --deletes 10 --threads 3",
        "--distribution zipfian --deletes 20 --batch 7",
        "--distribution random --threads 1 --key-size 3 --value-size 0",
        "--value-size 20KiB --keys 500 --write-buffer-size 256KiB --compression zstd",
        "--sync --keys 50 --batch 5",
        "--keys 0",
    ]
    .iter()
    .enumerate()
    {
        let keys = if arguments.contains("--keys") { "" } else { "--keys 4000 " };
        let json = result(&format!("load{number}"), &format!("{keys}{arguments}"));
        assert_eq!(json["verified"], true, "{arguments}");
        assert_eq!(json["verification_problems"], 0, "{arguments}");
        let operations = json["operations"].as_u64().expect("operations");
        let records = json["verified_records"].as_u64().expect("records");
        assert!(records <= operations, "{arguments}");
        if arguments.contains("sequential") {
            assert_eq!((operations, records), (4000, 4000));
        }
        // Without `--sync` the log is not synced for a write, but may be for a flush.
        let is_synced = json["log_syncs"].as_u64() > Some(0);
        assert!(is_synced || !arguments.contains("--sync"), "{arguments}");
        assert_eq!(operations > 0, json["write_amplification"].as_f64() > Some(0.0), "{arguments}");
    }
}

#[test]
fn the_same_seed_ends_in_the_same_content() {
    let checksum = |test: &str, seed| {
        let arguments = format!("--keys 3000 --deletes 15 --seed {seed}");
        result(test, &arguments)["verified_checksum"].clone()
    };
    assert_eq!(checksum("seed1", 5), checksum("seed2", 5));
    assert_ne!(checksum("seed1", 5), checksum("seed2", 6));
}

#[test]
fn the_budget_is_the_engines_unless_given() {
    // C10
    let budget = |test: &str, more: &str| {
        result(test, &format!("--keys 100 {more}"))["budget_bytes"].clone()
    };
    assert_eq!(budget("budget1", ""), 64 << 20);
    assert_eq!(budget("budget2", "--budget 16MiB"), 16 << 20);
    assert_eq!(budget("budget3", "--budget -1"), 0);
}

#[test]
fn the_peak_in_flight_stays_within_the_budget() {
    // C11
    let load = "--keys 20000 --value-size 500 --budget 2MiB --write-buffer-size 1MiB";
    let json = result("peak", load);
    let peak = json["in_flight_peak_bytes"].as_u64().expect("peak");
    assert!(peak > 0 && peak <= 2 << 20, "{peak}");
    assert!(json["heap_peak_bytes"].as_u64() >= Some(peak / 2), "{json}");
}

#[test]
fn a_directory_comes_back_byte_for_byte() {
    let input = folder("directory-input");
    fs::create_dir_all(input.join("deep/er")).expect("create");
    fs::write(input.join("empty"), "").expect("write");
    fs::write(input.join("deep/er/file"), [0, 255, 10, 13, 9]).expect("write");
    for number in 0..200_u32 {
        let contents: Vec<u8> = (0..number * 97).map(|at| (at ^ number) as u8).collect();
        fs::write(input.join(format!("deep/{number}.bin")), contents).expect("write");
    }
    let kept = folder("directory-database").join("database");
    let arguments = format!("--input {} --path {}", input.display(), kept.display());
    let json = result("directory", &arguments);
    assert_eq!(json["verified"], true);
    assert_eq!(json["verified_records"], 202);
    assert_eq!(json["operations"], 202);
    // A directory that was named is kept, and not used a second time.
    assert!(fs::read_dir(&kept).expect("kept").next().is_some());
    let output = bench(&arguments);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("is not empty"), "{}", said(&output));
}

#[test]
fn the_lines_of_a_file_come_back() {
    let input = folder("lines-input").join("lines");
    let lines: String = (0..5000).map(|n| format!("key{}\tvalue {n}\n", n % 777)).collect();
    fs::write(&input, lines).expect("write");
    let json = result("lines", &format!("--input {}", input.display()));
    assert_eq!((&json["operations"], &json["verified_records"]), (&5000.into(), &777.into()));
    assert_eq!(json["verified"], true);
}

#[test]
fn a_comparison_runs_twice_and_shows_both() {
    // The options of the front page's example, with a small load.
    let json = result(
        "compare",
        "--compare-budget --budget 16MiB --keys 2000 --value-size 1KiB --compression zstd:9 \
         --max-write-buffer-number 1000 --level0-slowdown 100000 --level0-stop 200000 \
         --block-cache 4MiB",
    );
    assert_eq!(json["budget_on_budget_bytes"], 16 << 20);
    assert_eq!(json["budget_off_budget_bytes"], 0);
    assert_eq!(json["budget_on_verified"], true);
    assert_eq!(json["budget_off_verified"], true);
    let output = bench("--compare-budget --budget off");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
}

#[test]
fn wrong_use_is_answered_with_what_is_wrong() {
    let no_tab = folder("no-tab").join("lines");
    fs::write(&no_tab, "no tab here\n").expect("write");
    for (arguments, code, part) in [
        ("--keys many", 2, "--keys"),
        ("--input x --keys 5", 2, "--keys"),
        ("--write-buffer-size 16M", 2, "KiB"),
        ("--input no/such/file", 1, "no/such/file"),
        ("--keys 300 --key-size 1", 1, "--key-size"),
        ("--write-buffer-size 1", 1, "write_buffer_size"),
        (&format!("--input {}", no_tab.display()), 1, ":1: no tab"),
        ("--keys 10 --json no/such/folder/x.json", 1, "no/such/folder/x.json"),
    ] {
        let output = bench(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments}: {}", said(&output));
        assert!(said(&output).contains(part), "{arguments}: {}", said(&output));
    }
}

#[test]
fn the_result_stands_on_standard_output_and_progress_elsewhere() {
    let output = bench("--keys 1000");
    let table = String::from_utf8_lossy(&output.stdout);
    for part in ["operations/s", "p99.99", "in flight, peak", "amplification", "verified  "] {
        assert!(table.contains(part), "{part} in {table}");
    }
    assert!(!table.contains("done in"), "{table}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("done in"));
}
