//! Finds the paths that Rust code names, with its imports resolved.
//!
//! `use std::{thread, time::Instant as T};` followed by `thread::spawn(f)` and `T::now()` yields
//! `std::thread::spawn` and `std::time::Instant::now`, however the imports are grouped or renamed.
//! Imports are taken to hold for the whole file, and glob imports are not looked into (a glob of a
//! forbidden module is itself reported, as `std::thread::*`).

use std::collections::HashMap;

/// A path that is named somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedPath {
    /// The line, from 1.
    pub(super) line: usize,
    /// The path from its crate on, such as `std::thread::spawn`.
    pub(super) path: String,
    /// The imported path that it was reached through, such as `std::thread`.
    pub(super) through: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Token<'a> {
    line: usize,
    text: &'a str,
}

/// Every path of two and more names in `code` (comments and literals already blanked), and every
/// import of any length; imports first.
pub(super) fn named_paths(code: &str) -> Vec<NamedPath> {
    let tokens = tokens(code);
    let mut imports = Imports::default();
    let mut uses = Vec::new();
    let mut at = 0;
    let mut expressions = Vec::new();
    while at < tokens.len() {
        if tokens[at].text == "use" {
            at = imports.tree(&tokens, at + 1, &mut Vec::new());
        } else if is_name(tokens[at].text) {
            let (path, next) = path_at(&tokens, at);
            if path.len() > 1 {
                expressions.push((tokens[at].line, path));
            }
            at = next;
        } else {
            at += 1;
        }
    }
    for (line, path) in &imports.paths {
        uses.push(NamedPath { line: *line, path: imports.resolve(path), through: None });
    }
    for (line, path) in expressions {
        let imported = imports.names.contains_key(&path[0]);
        let through = imported.then(|| imports.resolve(&path[..1]));
        uses.push(NamedPath { line, path: imports.resolve(&path), through });
    }
    uses
}

#[derive(Default)]
struct Imports {
    /// Every imported path.
    paths: Vec<(usize, Vec<String>)>,
    /// What a name in this file stands for.
    names: HashMap<String, Vec<String>>,
}

impl Imports {
    /// Reads a use tree that starts at token `at`, under `prefix`; returns the token behind it.
    fn tree(&mut self, tokens: &[Token<'_>], mut at: usize, prefix: &mut Vec<String>) -> usize {
        let depth = prefix.len();
        while let Some(token) = tokens.get(at) {
            match token.text {
                "::" => at += 1,
                "{" => {
                    at += 1;
                    while tokens.get(at).is_some_and(|token| !matches!(token.text, "}" | ";")) {
                        let next = self.tree(tokens, at, prefix);
                        let comma = tokens.get(next).is_some_and(|token| token.text == ",");
                        at = if comma || next == at { next + 1 } else { next };
                    }
                    at += 1;
                    break;
                }
                name if name == "*" || is_name(name) => {
                    prefix.push(name.to_owned());
                    at += 1;
                    if tokens.get(at).is_some_and(|token| token.text == "::") {
                        continue;
                    }
                    at = self.leaf(tokens, at, token.line, prefix);
                    break;
                }
                _ => break,
            }
        }
        prefix.truncate(depth);
        at
    }

    /// The end of one imported path; `at` is the token behind it, perhaps `as`.
    fn leaf(&mut self, tokens: &[Token<'_>], at: usize, line: usize, path: &[String]) -> usize {
        let mut path = path.to_vec();
        if path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let renamed = tokens.get(at).is_some_and(|token| token.text == "as");
        let alias = if renamed { tokens.get(at + 1).map(|token| token.text) } else { None };
        let name = alias.or(path.last().map(String::as_str)).map(str::to_owned);
        if let Some(name) = name {
            self.names.insert(name, path.clone());
            self.paths.push((line, path));
        }
        if renamed { at + 2 } else { at }
    }

    fn resolve(&self, path: &[String]) -> String {
        let mut path = path.to_vec();
        // Imports may build on imports; four steps are more than anybody writes.
        for _ in 0..4 {
            match path.first().and_then(|first| self.names.get(first)) {
                Some(full) if full[..] != path[..full.len().min(path.len())] => {
                    path.splice(..1, full.iter().cloned());
                }
                _ => break,
            }
        }
        if let Some(first) = path.first_mut()
            && (first == "core" || first == "alloc")
        {
            "std".clone_into(first);
        }
        path.join("::")
    }
}

/// The path `a::b::c` that starts at token `at`, and the token behind it.
fn path_at(tokens: &[Token<'_>], mut at: usize) -> (Vec<String>, usize) {
    let mut path = vec![tokens[at].text.to_owned()];
    at += 1;
    while let [separator, name, ..] = tokens.get(at..).unwrap_or_default()
        && separator.text == "::"
        && is_name(name.text)
    {
        path.push(name.text.to_owned());
        at += 2;
    }
    (path, at)
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Splits code into names, `::` and single other characters.
fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    for (index, text) in code.lines().enumerate() {
        let line = index + 1;
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if first.is_alphanumeric() || first == '_' {
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            let (text, after) = rest.split_at(length);
            tokens.push(Token { line, text });
            rest = after.trim_start();
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(code: &str) -> Vec<String> {
        named_paths(code).into_iter().map(|named| named.path).collect()
    }

    #[test]
    fn imports_are_followed_through_groups_and_renames() {
        let code = "use std::{fs, thread, time::{self, Instant as T}};\nfn f() {\n    \
                    thread::spawn(g); T::now(); time::SystemTime::now(); fs::read(p);\n}";
        let found = found(code);
        for path in [
            "std::fs",
            "std::thread::spawn",
            "std::time::Instant::now",
            "std::time::SystemTime::now",
            "std::fs::read",
        ] {
            assert!(found.contains(&path.to_owned()), "{path} in {found:?}");
        }
        assert!(!found.iter().any(|path| path.contains("T::now")));
    }

    #[test]
    fn globs_core_and_leading_colons_are_seen() {
        assert!(found("use std::thread::*;").contains(&"std::thread::*".to_owned()));
        assert!(found("core::sync::atomic::AtomicU8::new(1)")[0].starts_with("std::sync::atomic"));
        assert!(found("use ::std::fs;").contains(&"std::fs".to_owned()));
    }

    #[test]
    fn names_of_other_crates_are_left_alone() {
        let found =
            found("use base::sync::{Mutex, thread};\nthread::spawn_named(f);\nMutex::new(1);");
        assert!(found.contains(&"base::sync::thread::spawn_named".to_owned()), "{found:?}");
        assert!(found.contains(&"base::sync::Mutex::new".to_owned()));
        assert!(!found.iter().any(|path| path.starts_with("std")));
    }

    #[test]
    fn lines_are_told_and_odd_code_ends() {
        let named = named_paths("use std::fs;\n\nfs::read(x); y; std::thread::park();");
        let path = |line, path: &str, through: Option<&str>| NamedPath {
            line,
            path: path.to_owned(),
            through: through.map(str::to_owned),
        };
        assert_eq!(
            named,
            [
                path(1, "std::fs", None),
                path(3, "std::fs::read", Some("std::fs")),
                path(3, "std::thread::park", None)
            ]
        );
        // Broken or unusual code must not loop or panic.
        for code in
            ["use", "use ;", "use {", "use a::{b, {c}};", "use a::{,};", "use r#a;", "use a as"]
        {
            named_paths(code);
        }
    }
}
