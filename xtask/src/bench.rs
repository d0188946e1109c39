//! `cargo xtask bench`: builds the benchmark in release mode and runs it.

use std::ffi::OsString;

use crate::{Failure, workspace};

/// Builds and runs `polder-bench` with `args`, in the caller's working directory, so that relative
/// paths among the arguments mean what they say.
pub(crate) fn run(args: &[OsString]) -> Result<(), Failure> {
    let manifest = workspace::root().join("Cargo.toml");
    let status = workspace::cargo()
        .args(["run", "--release", "--package", "polder-bench", "--manifest-path"])
        .arg(manifest)
        .arg("--")
        .args(args)
        .status()
        .map_err(|error| Failure::new(format!("cannot run cargo: {error}")))?;
    if status.success() {
        return Ok(());
    }
    // The benchmark (or the compiler) has said what is wrong.
    Err(Failure::Exit(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}
