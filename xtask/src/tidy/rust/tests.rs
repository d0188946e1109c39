//! Each rule for Rust files sees what it forbids, and leaves alone what it allows.

use super::*;

fn file(path: &str, text: &str) -> File {
    File::new(path, text)
}

/// The lines on which `rule` finds something.
fn lines(rule: fn(&File) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
    rule(&file(path, text)).into_iter().map(|finding| finding.line).collect()
}

const WAL: &str = "crates/wal/src/lib.rs";

#[test]
fn a_file_of_601_lines_is_too_long() {
    assert!(lines(size, WAL, &"//\n".repeat(600)).is_empty());
    assert_eq!(lines(size, WAL, &"//\n".repeat(601)), [601]);
}

#[test]
fn the_first_line_says_what_the_file_is_for() {
    assert!(lines(first_line, WAL, "//! The log.\n").is_empty());
    for text in ["", "//!\n//! Late.", "// The log.", "\n//! The log.", "use a;\n"] {
        assert_eq!(lines(first_line, WAL, text), [1], "{text:?}");
    }
}

#[test]
fn forbidden_calls_are_found_however_they_are_imported() {
    let text = "//! x\nuse std::{fs, time::Instant};\nuse std::thread as t;\n\
                use std::sync::{Arc, Mutex};\nfn f() {\n    t::spawn(g);\n    Instant::now();\n}\n";
    assert_eq!(lines(forbidden_calls, WAL, text), [2, 4, 6, 7]);
    // The import is the finding, not each use of it.
    assert_eq!(lines(forbidden_calls, WAL, "use std::sync::Mutex;\nMutex::new(1);"), [1]);
    assert_eq!(lines(forbidden_calls, WAL, "x::<std::sync::Mutex<u8>>(loom::model(f))"), [1, 1]);
    assert_eq!(lines(forbidden_calls, WAL, "use std::sync::*;"), [1]);
    assert_eq!(lines(forbidden_calls, WAL, "use std::sync::atomic::{AtomicU8, Ordering};"), [1]);
}

#[test]
fn what_is_allowed_somewhere_is_allowed_only_there() {
    let text = "use std::fs;";
    assert!(lines(forbidden_calls, "crates/vfs/src/real/linux.rs", text).is_empty());
    assert_eq!(lines(forbidden_calls, "crates/base/src/sync/mod.rs", text), [1]);
    let text = "use std::sync::Mutex;";
    assert!(lines(forbidden_calls, "crates/base/src/sync/mod.rs", text).is_empty());
    assert!(lines(forbidden_calls, "crates/vfs/src/sim/disk.rs", text).is_empty());
    assert_eq!(lines(forbidden_calls, "crates/vfs/src/map.rs", text), [1]);
}

#[test]
fn tests_comments_strings_and_other_sources_are_free() {
    for path in ["crates/wal/tests/it/main.rs", "crates/wal/src/log/tests.rs", "xtask/src/x.rs"] {
        assert!(lines(forbidden_calls, path, "use std::fs;").is_empty(), "{path}");
    }
    for text in [
        "// std::fs::read",
        "const A: &str = \"std::fs\";",
        "#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n",
        "use base::sync::Instant;\nfn f() { Instant::now(); }",
        "use std::sync::atomic::Ordering;",
        "use std::sync::Arc;",
        "use std::fsx;",
        "#[cfg(loom)]\nfn loom() {}",
        "use std::time::{Duration, Instant};",
    ] {
        assert!(lines(forbidden_calls, WAL, text).is_empty(), "{text}");
    }
}

#[test]
fn unsafe_needs_a_place_on_the_list() {
    assert_eq!(lines(unsafe_files, WAL, "//! x\nfn f() { unsafe { g() } }"), [2]);
    assert!(lines(unsafe_files, "crates/wal/tests/it/map.rs", "unsafe { g() }").is_empty());
    assert!(lines(unsafe_files, WAL, "#![forbid(unsafe_code)] // unsafe\n\"unsafe\"").is_empty());
    for exception in UNSAFE_FILES {
        assert!(lines(unsafe_files, exception.path, "unsafe { g() }").is_empty());
    }
}

#[test]
fn unsafe_needs_a_safety_comment() {
    for text in [
        "let a = unsafe { g() };",
        "// SAFETY: for another statement.\nlet b = 1;\nlet a = unsafe { g() };",
        "// SAFETY: apart\n\nlet a = unsafe { g() };",
        "unsafe impl Send for A {}",
        "let a = unsafe\n{ g() };",
        "let s = \"SAFETY: in a string\";\nunsafe { g() };",
    ] {
        assert_eq!(lines(safety_comments, WAL, text).len(), 1, "{text}");
    }
    for text in [
        "// SAFETY: fine.\nlet a = unsafe { g() };",
        "// SAFETY: fine,\n// in two lines.\n#[expect(x)]\nlet a = unsafe { g() };",
        "// SAFETY: fine.\nlet a =\n    unsafe { g() };",
        "let a = unsafe { g() }; // SAFETY: fine.",
        "// SAFETY: fine.\nunsafe impl Send for A {}",
        "unsafe fn f() {}",
        "unsafe_code()",
    ] {
        assert!(lines(safety_comments, WAL, text).is_empty(), "{text}");
    }
}

#[test]
fn a_crate_without_unsafe_forbids_it() {
    assert_eq!(lines(forbids_unsafe, "crates/none/src/lib.rs", "//! x"), [1]);
    assert_eq!(lines(forbids_unsafe, "crates/none/src/lib.rs", "#![deny(unsafe_code)]"), [1]);
    assert_eq!(lines(forbids_unsafe, "crates/none/src/main.rs", "// #![forbid(unsafe_code)]"), [1]);
    let forbidding = "//! x\n#![forbid(unsafe_code)]";
    assert!(lines(forbids_unsafe, "crates/none/src/lib.rs", forbidding).is_empty());
    assert!(lines(forbids_unsafe, "crates/none/src/log.rs", "//! x").is_empty());
    assert!(lines(forbids_unsafe, "benches/src/main.rs", "//! x").is_empty());
}

#[test]
fn leftovers_are_found() {
    for text in [
        "fn f() { todo!() }",
        "unimplemented!(\"later\")",
        "// FIXME: later",
        "/* TODO */",
        "/// XXX",
        "#[ignore]\nfn f() {}",
        "#[ignore = \"slow\"]",
    ] {
        assert_eq!(lines(leftovers, WAL, text), [1], "{text}");
    }
    for text in ["let todo = 1;", "\"FIXME\"", "// XXXL", "fn ignore() {}", "mastodon!()"] {
        assert!(lines(leftovers, WAL, text).is_empty(), "{text}");
    }
}

#[test]
fn an_exception_that_nothing_needs_is_found() {
    let listed = BAN_EXCEPTIONS.len() + UNSAFE_FILES.len();
    assert_eq!(stale_exceptions(&[]).len(), listed);
    let one = UNSAFE_FILES[0].path;
    assert_eq!(stale_exceptions(&[file(one, "unsafe { g() }")]).len(), listed - 1);
    assert_eq!(stale_exceptions(&[file(one, "fn f() {}")]).len(), listed);
}
