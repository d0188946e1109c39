//! Rules for Rust files.

use super::paths::named_paths;
use super::tables::{BAN_EXCEPTIONS, BANS, Ban, Exception, HARMLESS, UNSAFE_FILES};
use super::{File, Finding};

/// Lines that a Rust file may have.
const LINES_MAX: usize = 600;

/// A file has at most [`LINES_MAX`] lines.
pub(super) fn size(file: &File) -> Vec<Finding> {
    let lines = file.text.lines().count();
    if lines <= LINES_MAX {
        return Vec::new();
    }
    vec![file.finding(lines, format!("has {lines} lines, {LINES_MAX} are allowed: split it"))]
}

/// A file starts with `//!` and what it is for.
pub(super) fn first_line(file: &File) -> Vec<Finding> {
    let said = file.text.lines().next().and_then(|line| line.strip_prefix("//!"));
    if said.is_some_and(|said| !said.trim().is_empty()) {
        return Vec::new();
    }
    vec![file.finding(1, "must start with a `//!` line that says what the file is for")]
}

/// Code outside tests names nothing that [`BANS`] forbids.
pub(super) fn forbidden_calls(file: &File) -> Vec<Finding> {
    if is_exempt(&file.path) || excepted(BAN_EXCEPTIONS, &file.path) {
        return Vec::new();
    }
    banned_paths(file)
}

/// The same without the exceptions of single files.
fn banned_paths(file: &File) -> Vec<Finding> {
    let banned = |path: &str| {
        let here = |ban: &&Ban| !ban.allowed.iter().any(|at| file.path.starts_with(at));
        BANS.iter().filter(here).find(|ban| names(ban, path))
    };
    let mut findings = Vec::new();
    for named in named_paths(&file.scrubbed.code) {
        // What comes in by a forbidden import has been found there.
        let known = named.through.as_deref().is_some_and(|through| banned(through).is_some());
        if known || file.scrubbed.is_test_line(named.line) {
            continue;
        }
        if let Some(ban) = banned(&named.path) {
            let message = format!("`{}` is forbidden here: {}", named.path, ban.instead);
            findings.push(file.finding(named.line, message));
        }
    }
    findings
}

/// Whether `path` is what `ban` forbids, something below it, or a glob that takes it in.
fn names(ban: &Ban, path: &str) -> bool {
    if HARMLESS.iter().any(|harmless| below(path, harmless)) {
        return false;
    }
    below(path, ban.path) || path.strip_suffix('*').is_some_and(|glob| ban.path.starts_with(glob))
}

fn below(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Tests, examples, benchmarks and this tool may call what they like.
fn is_exempt(path: &str) -> bool {
    path.starts_with("xtask/") || path.starts_with("benches/") || is_test_file(path)
}

/// Whether a file is compiled for tests, examples or benchmarks only.
fn is_test_file(path: &str) -> bool {
    let mut folders: Vec<_> = path.split('/').collect();
    let name = folders.pop().unwrap_or_default();
    let folder = |part: &&str| matches!(*part, "tests" | "examples" | "benches" | "fuzz");
    name == "tests.rs" || folders.iter().any(folder)
}

fn excepted(table: &[Exception], path: &str) -> bool {
    table.iter().any(|exception| exception.path == path)
}

/// Outside tests, `unsafe` stands only in the files of [`UNSAFE_FILES`].
pub(super) fn unsafe_files(file: &File) -> Vec<Finding> {
    if excepted(UNSAFE_FILES, &file.path) || is_test_file(&file.path) {
        return Vec::new();
    }
    let message = "`unsafe` in a file that is not on the list; avoid it, or give the file and the \
                   reason in xtask/src/tidy/tables.rs";
    unsafe_lines(file).first().map(|&line| file.finding(line, message)).into_iter().collect()
}

/// Every `unsafe` block and `unsafe impl` has a comment `SAFETY:` directly above it.
pub(super) fn safety_comments(file: &File) -> Vec<Finding> {
    let code: Vec<_> = file.scrubbed.code.lines().collect();
    let text: Vec<_> = file.text.lines().collect();
    let needs = |line: &usize| {
        // What follows the keyword may stand on the next line.
        let here = code[line - 1..].iter().take(2).copied().collect::<Vec<_>>().join(" ");
        word_positions(&here, "unsafe").into_iter().any(|position| {
            let after = here[position + "unsafe".len()..].trim_start();
            after.starts_with('{') || after.starts_with("impl")
        })
    };
    let lines = unsafe_lines(file).into_iter().filter(needs);
    lines
        .filter(|&line| !explained(&text, &code, line))
        .map(|line| file.finding(line, "`unsafe` without a `// SAFETY:` comment above it"))
        .collect()
}

/// Whether a comment with `SAFETY:` stands on `line`, or above the statement that `line` is in.
fn explained(text: &[&str], code: &[&str], line: usize) -> bool {
    let says = |line: usize| {
        let comment = text[line - 1].find("//").map_or("", |start| &text[line - 1][start..]);
        comment.contains("SAFETY:")
    };
    if says(line) {
        return true;
    }
    for above in (1..line).rev() {
        let code_above = code[above - 1].trim();
        if says(above) {
            return true;
        }
        let comment_or_attribute = code_above.is_empty() && !text[above - 1].trim().is_empty()
            || code_above.starts_with("#[");
        let statement_goes_on =
            !code_above.is_empty() && !code_above.ends_with([';', '{', '}', ',']);
        if !comment_or_attribute && !statement_goes_on {
            return false;
        }
    }
    false
}

fn unsafe_lines(file: &File) -> Vec<usize> {
    let lines = file.scrubbed.code.lines().enumerate();
    lines
        .filter(|(_, code)| !word_positions(code, "unsafe").is_empty())
        .map(|(index, _)| index + 1)
        .collect()
}

/// Where `word` stands in `text` as a whole word.
fn word_positions(text: &str, word: &str) -> Vec<usize> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let alone = |(position, _): &(usize, &str)| {
        !text[..*position].ends_with(part) && !text[position + word.len()..].starts_with(part)
    };
    text.match_indices(word).filter(alone).map(|(position, _)| position).collect()
}

/// The root of a crate without unsafe files says `#![forbid(unsafe_code)]`.
pub(super) fn forbids_unsafe(file: &File) -> Vec<Finding> {
    let Some(folder) = ["src/lib.rs", "src/main.rs"].iter().find_map(|root| {
        file.path.strip_suffix(root).filter(|folder| folder.is_empty() || folder.ends_with('/'))
    }) else {
        return Vec::new();
    };
    let listed = UNSAFE_FILES.iter().any(|exception| exception.path.starts_with(folder));
    if listed || file.scrubbed.code.contains("#![forbid(unsafe_code)]") {
        return Vec::new();
    }
    vec![file.finding(1, "a crate without unsafe files must say `#![forbid(unsafe_code)]`")]
}

/// Nothing is left for later: no unfinished code, no mark that says so, no test that does not run.
pub(super) fn leftovers(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, code) in file.scrubbed.code.lines().enumerate() {
        let dense: String = code.split_whitespace().collect();
        for macro_name in ["todo", "unimplemented"] {
            let called = word_positions(code, macro_name)
                .into_iter()
                .any(|position| code[position + macro_name.len()..].starts_with('!'));
            if called {
                findings
                    .push(file.finding(index + 1, format!("`{macro_name}!` is unfinished code")));
            }
        }
        if dense.contains("#[ignore]") || dense.contains("#[ignore=") {
            findings
                .push(file.finding(index + 1, "an ignored test tests nothing: run or remove it"));
        }
    }
    for comment in &file.scrubbed.comments {
        for mark in ["FIXME", "TODO", "XXX"] {
            if !word_positions(&comment.text, mark).is_empty() {
                let message =
                    format!("`{mark}` marks unfinished work: finish it, or name the limit");
                findings.push(file.finding(comment.line, message));
            }
        }
    }
    findings
}

/// Entries of the tables that no file needs any more.
pub(super) fn stale_exceptions(files: &[File]) -> Vec<Finding> {
    let stale = |exception: &Exception, needs: &dyn Fn(&File) -> bool| {
        let file = files.iter().find(|file| file.path == exception.path);
        (!file.is_some_and(needs)).then(|| Finding {
            path: exception.path.to_owned(),
            line: 0,
            message: format!(
                "does not need its exception ({}) in xtask/src/tidy/tables.rs: remove that",
                exception.reason
            ),
        })
    };
    let bans = BAN_EXCEPTIONS
        .iter()
        .filter_map(|exception| stale(exception, &|file| !banned_paths(file).is_empty()));
    let unsafes = UNSAFE_FILES
        .iter()
        .filter_map(|exception| stale(exception, &|file| !unsafe_lines(file).is_empty()));
    bans.chain(unsafes).collect()
}

#[cfg(test)]
mod tests;
