//! What the tasks know about the workspace: where it is, its packages, and the files that belong
//! to it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::Failure;

/// A package of the workspace and what it depends on, as `cargo metadata` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    /// Package name, such as `polder-wal`.
    pub(crate) name: String,
    /// The folder of its `Cargo.toml`, relative to the workspace's root, with `/` between parts.
    pub(crate) folder: String,
    /// Every dependency that it declares, of all kinds and for all platforms.
    pub(crate) dependencies: Vec<Dependency>,
}

/// One declared dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    /// The name of the package depended on (not the name it is imported under).
    pub(crate) package: String,
    /// Whether it is needed only by tests, examples and benches.
    pub(crate) dev: bool,
    /// Whether it is a package on this disk, and not one from a registry.
    pub(crate) local: bool,
}

/// The root folder of the workspace.
pub(crate) fn root() -> PathBuf {
    // `cargo run` sets the variable to where the package is now; the value that was compiled in
    // only serves a binary that is started by hand.
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or_else(|| package.clone(), Path::to_path_buf)
}

/// A call of the same cargo that runs this program.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The packages of the workspace, without asking the network.
pub(crate) fn packages(root: &Path) -> Result<Vec<Package>, Failure> {
    let metadata = |offline: bool| {
        let mut command = cargo();
        command.args(["metadata", "--no-deps", "--format-version", "1"]);
        if offline {
            command.arg("--offline");
        }
        command.current_dir(root).output()
    };
    // Without dependencies nothing has to be resolved, so offline is the normal case; the second
    // try serves a cargo that wants to write a lock file first.
    let output = match metadata(true) {
        Ok(output) if output.status.success() => output,
        _ => metadata(false)
            .map_err(|error| Failure::new(format!("cannot run `cargo metadata`: {error}")))?,
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("`cargo metadata` failed:\n{said}")));
    }
    let json: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| Failure::new(format!("`cargo metadata` printed no JSON: {error}")))?;
    parse_packages(&json)
        .ok_or_else(|| Failure::new("`cargo metadata` printed JSON of an unknown shape"))
}

/// Reads the packages out of the JSON of `cargo metadata --no-deps`.
pub(crate) fn parse_packages(json: &Value) -> Option<Vec<Package>> {
    let root = Path::new(json.get("workspace_root")?.as_str()?);
    json.get("packages")?.as_array()?.iter().map(|package| parse_package(package, root)).collect()
}

fn parse_package(json: &Value, root: &Path) -> Option<Package> {
    let manifest = Path::new(json.get("manifest_path")?.as_str()?);
    let folder = manifest.parent()?.strip_prefix(root).ok()?;
    let dependencies = json.get("dependencies")?.as_array()?.iter().map(|dependency| {
        Some(Dependency {
            package: dependency.get("name")?.as_str()?.to_owned(),
            dev: dependency.get("kind")?.as_str() == Some("dev"),
            local: dependency.get("path").is_some_and(|path| !path.is_null()),
        })
    });
    Some(Package {
        name: json.get("name")?.as_str()?.to_owned(),
        folder: slashed(folder),
        dependencies: dependencies.collect::<Option<_>>()?,
    })
}

/// The files of the repository, relative to its root, sorted: those that git tracks and those that
/// it would track (so that a new file is checked before it is committed). Without git: every file
/// outside `target` and `.git`.
pub(crate) fn files(root: &Path) -> Result<Vec<String>, Failure> {
    let listing = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output();
    let mut files = match listing {
        Ok(output) if output.status.success() => output
            .stdout
            .split(|&byte| byte == 0)
            .filter(|name| !name.is_empty())
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect(),
        _ => {
            let mut found = Vec::new();
            walk(root, root, &mut found)
                .map_err(|error| Failure::new(format!("cannot list the repository: {error}")))?;
            found
        }
    };
    files.sort();
    files.dedup();
    // A tracked file may have been deleted and not yet committed as such.
    files.retain(|file| root.join(file).is_file());
    Ok(files)
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if !matches!(entry.file_name().to_str(), Some("target" | ".git")) {
                walk(root, &path, found)?;
            }
        } else if let Ok(relative) = path.strip_prefix(root) {
            found.push(slashed(relative));
        }
    }
    Ok(())
}

/// A relative path with `/` between its parts on every platform.
fn slashed(path: &Path) -> String {
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read_with_kinds_and_folders() {
        let json = serde_json::json!({
            "workspace_root": "/w",
            "packages": [{
                "name": "polder-wal",
                "manifest_path": "/w/crates/wal/Cargo.toml",
                "dependencies": [
                    { "name": "polder-base", "kind": null, "path": "/w/crates/base" },
                    { "name": "polder-vfs", "kind": "dev", "path": "/w/crates/vfs" },
                    { "name": "bytes", "kind": null },
                ],
            }],
        });
        let dependency =
            |package: &str, dev, local| Dependency { package: package.to_owned(), dev, local };
        assert_eq!(
            parse_packages(&json),
            Some(vec![Package {
                name: "polder-wal".to_owned(),
                folder: "crates/wal".to_owned(),
                dependencies: vec![
                    dependency("polder-base", false, true),
                    dependency("polder-vfs", true, true),
                    dependency("bytes", false, false),
                ],
            }])
        );
        assert_eq!(parse_packages(&serde_json::json!({ "packages": [] })), None);
    }

    #[test]
    fn this_workspace_lists_itself_with_and_without_git() {
        let root = root();
        let packages = packages(&root).expect("cargo metadata of this workspace");
        assert!(packages.iter().any(|package| package.folder == "xtask"));
        let listed = files(&root).expect("files of this workspace");
        assert!(listed.iter().any(|file| file == "xtask/src/workspace.rs"));
        let mut walked = Vec::new();
        walk(&root, &root, &mut walked).expect("walk");
        assert!(walked.iter().any(|file| file == "xtask/src/workspace.rs"));
        assert!(!walked.iter().any(|file| file.starts_with("target/")));
    }
}
