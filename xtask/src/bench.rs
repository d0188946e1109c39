//! `cargo xtask bench`: builds the benchmark in release mode and runs it; with `--compare`, the
//! comparison with other engines.

use std::ffi::OsString;

use crate::{Failure, workspace};

/// The option that asks for the comparison with other engines.
const COMPARE: &str = "--compare";

/// The comparison's package, a workspace of its own.
const COMPARE_FOLDER: &str = "benches/compare";

/// Another engine: the feature that builds it, and what it needs beyond a Rust toolchain.
struct Peer {
    name: &'static str,
    needs: &'static str,
    is_default: bool,
}

const PEERS: [Peer; 5] = [
    Peer {
        name: "rocksdb",
        needs: "a C++ compiler, clang and libclang (Debian: `apt-get install clang libclang-dev cmake`); the \
                first build takes about half an hour on two cores",
        is_default: true,
    },
    Peer { name: "fjall", needs: "nothing else", is_default: true },
    Peer {
        name: "leveldb",
        needs: "LevelDB's library (Debian: `apt-get install libleveldb-dev`)",
        is_default: true,
    },
    Peer { name: "redb", needs: "nothing else", is_default: false },
    Peer { name: "lmdb", needs: "a C compiler", is_default: false },
];

/// Builds and runs the benchmark, or the comparison, with `args`, in the caller's working directory,
/// so that relative paths among the arguments mean what they say.
pub(crate) fn run(args: &[OsString]) -> Result<(), Failure> {
    if args.iter().any(|arg| arg == COMPARE) { compare(args) } else { job(args) }
}

fn job(args: &[OsString]) -> Result<(), Failure> {
    let mut command = workspace::cargo();
    let manifest = workspace::root().join("Cargo.toml");
    command.args(["run", "--release", "--package", "polder-bench", "--manifest-path"]);
    command.arg(manifest).arg("--").args(args);
    finish(command.status())
}

fn compare(args: &[OsString]) -> Result<(), Failure> {
    let args: Vec<_> = args.iter().filter(|arg| *arg != COMPARE).cloned().collect();
    let peers = peers(&args);
    let names: Vec<_> = peers.iter().map(|peer| peer.name).collect();
    let folder = workspace::root().join(COMPARE_FOLDER);
    let cargo = |task: &str| {
        let mut command = workspace::cargo();
        // Cargo would look for the flags in the caller's folders only.
        command.arg("--config").arg(folder.join(".cargo/config.toml"));
        command.args([task, "--release", "--features", &names.join(","), "--manifest-path"]);
        command.arg(folder.join("Cargo.toml"));
        command
    };
    let built = cargo("build").status();
    if !built.as_ref().is_ok_and(std::process::ExitStatus::success) {
        eprintln!("xtask: the comparison could not be built. What its engines need:");
        for Peer { name, needs, .. } in peers {
            eprintln!("  {name:<8} {needs}");
        }
        eprintln!("`--engines polder,fjall` compares those two alone; name what you can build.");
        return finish(built);
    }
    finish(cargo("run").arg("--").args(args).status())
}

/// The other engines that `--engines` names; without it, those that are compared by default.
fn peers(args: &[OsString]) -> Vec<&'static Peer> {
    let args: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
    let given = |at: usize| match args[at].strip_prefix("--engines") {
        Some("") => args.get(at + 1).map(ToString::to_string),
        Some(joined) => joined.strip_prefix('=').map(str::to_owned),
        None => None,
    };
    let named: Vec<_> = (0..args.len()).filter_map(given).collect();
    let is_wanted = |peer: &&Peer| match named.as_slice() {
        [] => peer.is_default,
        lists => lists.iter().any(|list| list.split(',').any(|name| name.trim() == peer.name)),
    };
    PEERS.iter().filter(is_wanted).collect()
}

/// Hands on the exit code of a program that has said itself what is wrong.
fn finish(status: std::io::Result<std::process::ExitStatus>) -> Result<(), Failure> {
    let status = status.map_err(|error| Failure::new(format!("cannot run cargo: {error}")))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::Exit(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(line: &str) -> Vec<&'static str> {
        let args: Vec<_> = line.split_whitespace().map(OsString::from).collect();
        peers(&args).iter().map(|peer| peer.name).collect()
    }

    #[test]
    fn only_the_engines_that_are_named_are_built() {
        assert_eq!(names("--quick"), ["rocksdb", "fjall", "leveldb"]);
        assert_eq!(names("--engines polder,fjall --quick"), ["fjall"]);
        assert_eq!(names("--engines=lmdb,polder"), ["lmdb"]);
        assert!(names("--engines polder,plain-write").is_empty());
        // The program itself says what is missing.
        assert_eq!(names("--engines"), ["rocksdb", "fjall", "leveldb"]);
    }

    #[test]
    fn the_comparison_has_a_feature_for_each_engine() {
        let manifest = workspace::root().join(COMPARE_FOLDER).join("Cargo.toml");
        let manifest = std::fs::read_to_string(manifest).expect("the comparison's manifest");
        for peer in PEERS {
            assert!(manifest.contains(&format!("\n{} = [", peer.name)), "{}", peer.name);
        }
    }
}
