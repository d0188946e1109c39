//! Says what to install where LevelDB's library is wanted and is not there.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_LEVELDB").is_none() {
        return;
    }
    // The compiler prints the full path of a library that it finds, and the bare name otherwise.
    let found = ["libleveldb.so", "libleveldb.a", "libleveldb.dylib"].iter().any(|name| {
        let printed = Command::new("cc").arg(format!("-print-file-name={name}")).output();
        printed.is_ok_and(|printed| printed.stdout.starts_with(b"/"))
    });
    if !found {
        println!(
            "cargo::error=LevelDB's library was not found: install libleveldb-dev, or leave out leveldb"
        );
    }
}
