//! `cargo xtask tidy`: the rules of the repository that the compiler does not know.
//!
//! Each rule is a small pure function from files (or packages) to findings; this file collects what
//! they look at and prints what they say. The tables of what is allowed are in `tables.rs` and
//! `layers.rs`.

mod docs;
mod layers;
mod paths;
mod rust;
mod scrub;
mod tables;
mod text;

use std::ffi::OsString;
use std::path::Path;

use crate::{Failure, workspace};
use scrub::Scrubbed;

/// A text file of the repository.
#[derive(Clone, Debug)]
struct File {
    /// Relative to the repository's root, with `/` between parts.
    path: String,
    text: String,
    /// Rust source taken apart; empty for other files.
    scrubbed: Scrubbed,
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        let rust = path.ends_with(".rs");
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            scrubbed: if rust { Scrubbed::new(text) } else { Scrubbed::default() },
        }
    }

    fn finding(&self, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, message: message.into() }
    }
}

/// Something that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    /// From 1; 0 if the whole file is meant.
    line: usize,
    message: String,
}

/// A rule for single files.
struct Rule {
    name: &'static str,
    about: &'static str,
    /// Whether it is for Rust files only.
    rust: bool,
    check: fn(&File) -> Vec<Finding>,
}

const fn for_rust(
    name: &'static str,
    about: &'static str,
    check: fn(&File) -> Vec<Finding>,
) -> Rule {
    Rule { name, about, rust: true, check }
}

/// The rules that look at one file at a time.
const RULES: &[Rule] = &[
    for_rust("size", "no Rust file has more than 600 lines", rust::size),
    for_rust("first-line", "a Rust file starts with `//!` and what it is for", rust::first_line),
    for_rust(
        "forbidden-call",
        "files, clocks, threads, locks and atomics only through vfs and base::sync",
        rust::forbidden_calls,
    ),
    for_rust("unsafe-file", "`unsafe` only in files that are listed", rust::unsafe_files),
    for_rust("safety", "every `unsafe` says why it is sound", rust::safety_comments),
    for_rust("forbid-unsafe", "every other crate forbids `unsafe`", rust::forbids_unsafe),
    for_rust("leftover", "nothing is marked as unfinished or ignored", rust::leftovers),
    Rule {
        name: "white-space",
        about: "no line ends in white space",
        rust: false,
        check: text::trailing_whitespace,
    },
    Rule {
        name: "machine-path",
        about: "no path of somebody's machine",
        rust: false,
        check: text::machine_paths,
    },
];

/// The rules that need to see more than one file, in the order in which `check` applies them.
const WIDE_RULES: &[(&str, &str)] = &[
    ("layers", "crates depend on each other only as the layers allow"),
    ("links", "links between documents lead somewhere"),
    ("requirement", "requirements that comments cite exist in docs/requirements.md"),
    ("exception", "every exception in the tables is needed"),
];

/// Runs the rules, or lists them.
pub(crate) fn run(args: &[OsString]) -> Result<(), Failure> {
    match args {
        [] => {
            println!("{}", check(&workspace::root())?);
            Ok(())
        }
        [list] if list == "--list" => {
            let narrow = RULES.iter().map(|rule| (rule.name, rule.about));
            for (name, about) in narrow.chain(WIDE_RULES.iter().copied()) {
                println!("{name:<15} {about}");
            }
            Ok(())
        }
        _ => Err(Failure::Usage("`tidy` has no option but --list".to_owned())),
    }
}

/// Checks the repository at `root`; returns a line for a summary.
pub(crate) fn check(root: &Path) -> Result<String, Failure> {
    let paths = workspace::files(root)?;
    let packages = workspace::packages(root)?;
    let files: Vec<_> =
        paths.iter().filter_map(|path| read(root, path).transpose()).collect::<Result<_, _>>()?;
    let mut findings = Vec::new();
    for file in &files {
        for rule in RULES.iter().filter(|rule| !rule.rust || file.path.ends_with(".rs")) {
            findings.extend((rule.check)(file).into_iter().map(|finding| (rule.name, finding)));
        }
    }
    for ((name, _), found) in WIDE_RULES.iter().zip(wide(&files, &paths, &packages)) {
        findings.extend(found.into_iter().map(|finding| (*name, finding)));
    }
    verdict(files.len(), findings)
}

/// Prints the findings; without any, the rules are kept.
fn verdict(files: usize, mut findings: Vec<(&str, Finding)>) -> Result<String, Failure> {
    if findings.is_empty() {
        return Ok(format!("{files} files keep the rules"));
    }
    findings.sort_by(|(_, a), (_, b)| (&a.path, a.line).cmp(&(&b.path, b.line)));
    for (rule, Finding { path, line, message }) in &findings {
        println!("{path}:{line}: [{rule}] {message}");
    }
    let count = findings.len();
    Err(Failure::new(format!(
        "{count} findings; `cargo xtask tidy --list` says what the rules are"
    )))
}

/// What the rules of [`WIDE_RULES`] find, in that order.
fn wide(
    files: &[File],
    paths: &[String],
    packages: &[workspace::Package],
) -> [Vec<Finding>; WIDE_RULES.len()] {
    let links = files.iter().flat_map(|file| docs::links(file, files, paths)).collect();
    let requirements = match files.iter().find(|file| file.path == docs::REQUIREMENTS) {
        Some(document) => {
            let known = docs::requirement_ids(&document.text);
            files.iter().flat_map(|file| docs::cited_requirements(file, &known)).collect()
        }
        None => vec![Finding {
            path: docs::REQUIREMENTS.to_owned(),
            line: 0,
            message: "is missing; the tests cite its rows".to_owned(),
        }],
    };
    [layers::layers(packages), links, requirements, rust::stale_exceptions(files)]
}

/// Reads a file if it is text by its name; `None` for others.
fn read(root: &Path, path: &str) -> Result<Option<File>, Failure> {
    if !is_text(path) {
        return Ok(None);
    }
    let bytes = std::fs::read(root.join(path))
        .map_err(|error| Failure::new(format!("cannot read {path}: {error}")))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(File::new(path, &text))),
        Err(_) => Err(Failure::new(format!("{path} has the name of a text file and is not UTF-8"))),
    }
}

fn is_text(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    let known = ["rs", "md", "toml", "sh", "yml", "yaml", "json", "py"];
    extension.is_some_and(|extension| known.contains(&extension)) || path == ".ci/run"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_files_are_told_by_their_names() {
        for path in ["a/b.rs", "README.md", ".ci/run", ".cargo/config.toml"] {
            assert!(is_text(path), "{path}");
        }
        for path in ["Cargo.lock", "golden.bin", "LICENSE-MIT", "rs"] {
            assert!(!is_text(path), "{path}");
        }
    }

    #[test]
    fn one_finding_fails_the_check() {
        assert!(verdict(1, Vec::new()).is_ok());
        let finding = File::new("a.rs", "").finding(1, "is wrong");
        assert!(matches!(verdict(1, vec![("rule", finding)]), Err(Failure::Failed(_))));
    }

    #[test]
    fn without_the_requirements_nothing_passes() {
        let [_, _, requirement, _] = wide(&[], &[], &[]);
        assert_eq!(requirement.len(), 1);
    }

    #[test]
    fn broken_links_and_unknown_requirements_reach_the_findings() {
        let files = [
            File::new(docs::REQUIREMENTS, "| C1 | One. |\n[a](none.md)\n"),
            File::new("crates/wal/tests/it/main.rs", "//! x\n// C1\n// C2\n"),
        ];
        let paths: Vec<_> = files.iter().map(|file| file.path.clone()).collect();
        let [layers, links, requirement, _] = wide(&files, &paths, &[]);
        assert!(layers.is_empty());
        assert_eq!(links.len(), 1);
        assert_eq!(requirement.iter().map(|finding| finding.line).collect::<Vec<_>>(), [3]);
    }
}
