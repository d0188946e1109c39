//! The arrows between the crates: which package may depend on which.

use super::Finding;
use crate::workspace::{Dependency, Package};

/// The packages that stand on the ground.
const GROUND: &[&str] = &["polder-base", "polder-vfs", "polder-credit"];

/// The parts of the engine, which stand on the ground and not on each other.
const PARTS: &[&str] = &["polder-wal", "polder-memtable", "polder-sstable", "polder-version"];

/// What stands on everything above.
const ENGINE: &str = "polder-engine";

/// What stands on the engine alone: programs, examples, integrations.
const PROGRAMS: &[&str] = &["polder-bench", "polder-cli", "polder-examples"];

/// What stands on nothing of the workspace.
const TOOLS: &[&str] = &["xtask"];

/// The package whose test kit may be used by any crate's tests (but `polder-credit`'s, which has no
/// dependency on the workspace whatever).
const TEST_KIT: &str = "polder-vfs";

/// The packages that `package` may depend on, or `None` if the tables do not know it.
fn allowed(package: &str) -> Option<Vec<&'static str>> {
    if GROUND.contains(&package) || TOOLS.contains(&package) {
        Some(Vec::new())
    } else if PARTS.contains(&package) {
        Some(GROUND.to_vec())
    } else if package == ENGINE {
        Some([GROUND, PARTS].concat())
    } else if PROGRAMS.contains(&package) {
        Some(vec![ENGINE])
    } else {
        None
    }
}

/// One finding for every arrow that the layers do not allow.
pub(super) fn layers(packages: &[Package]) -> Vec<Finding> {
    packages.iter().flat_map(package_arrows).collect()
}

fn package_arrows(package: &Package) -> Vec<Finding> {
    let manifest = format!("{}/Cargo.toml", package.folder);
    let finding = |message: String| Finding { path: manifest.clone(), line: 0, message };
    let Some(allowed) = allowed(&package.name) else {
        let name = &package.name;
        return vec![finding(format!(
            "package `{name}` has no place in the layers; give it one in xtask/src/tidy/layers.rs"
        ))];
    };
    let wrong = |dependency: &&Dependency| {
        let test_kit =
            dependency.dev && dependency.package == TEST_KIT && package.name != "polder-credit";
        dependency.local && !test_kit && !allowed.contains(&dependency.package.as_str())
    };
    let message = |dependency: &Dependency| {
        let (name, on) = (&package.name, &dependency.package);
        let kind = if dependency.dev { "in its tests, " } else { "" };
        let list = if allowed.is_empty() { "nothing of it".to_owned() } else { allowed.join(", ") };
        finding(format!("{name} must not stand on {on}: {kind}of the workspace it may use {list}"))
    };
    package.dependencies.iter().filter(wrong).map(message).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, on: &[(&str, bool)]) -> Package {
        let dependencies = on.iter().map(|&(package, dev)| Dependency {
            package: package.to_owned(),
            dev,
            local: package.starts_with("polder-"),
        });
        Package {
            name: name.to_owned(),
            folder: format!("crates/{name}"),
            dependencies: dependencies.collect(),
        }
    }

    fn findings(name: &str, on: &[(&str, bool)]) -> usize {
        layers(&[package(name, on)]).len()
    }

    #[test]
    fn arrows_down_are_allowed() {
        assert_eq!(findings("polder-base", &[("bytes", false)]), 0);
        assert_eq!(findings("polder-wal", &[("polder-base", false), ("polder-vfs", true)]), 0);
        assert_eq!(findings("polder-engine", &[("polder-wal", false), ("polder-vfs", true)]), 0);
        assert_eq!(findings("polder-bench", &[("polder-engine", false)]), 0);
        assert_eq!(findings("polder-base", &[("polder-vfs", true)]), 0);
    }

    #[test]
    fn every_other_arrow_is_found() {
        assert_eq!(findings("polder-base", &[("polder-vfs", false)]), 1);
        assert_eq!(findings("polder-credit", &[("polder-vfs", true)]), 1);
        assert_eq!(findings("polder-wal", &[("polder-memtable", false)]), 1);
        assert_eq!(findings("polder-wal", &[("polder-sstable", true)]), 1);
        assert_eq!(findings("polder-vfs", &[("polder-engine", false)]), 1);
        assert_eq!(findings("polder-bench", &[("polder-vfs", false)]), 1);
        assert_eq!(findings("xtask", &[("polder-base", false)]), 1);
        assert_eq!(findings("polder-new", &[]), 1);
    }
}
