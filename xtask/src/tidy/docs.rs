//! Rules for the documents: links between files resolve, cited requirements exist.

use std::collections::BTreeSet;

use super::{File, Finding};

/// The document that numbers the requirements.
pub(super) const REQUIREMENTS: &str = "docs/requirements.md";

/// The chapters of the requirements: the letters that a requirement's number can start with.
const CHAPTERS: &[char] = &['C', 'W', 'R', 'L', 'F'];

/// Every relative link of a Markdown file leads to a file or folder of the repository, and to a
/// heading in it where it names one.
pub(super) fn links(file: &File, files: &[File], all_paths: &[String]) -> Vec<Finding> {
    if !file.path.ends_with(".md") {
        return Vec::new();
    }
    let broken = |link: &Link| {
        let why = broken_link(file, &link.target, files, all_paths)?;
        Some(file.finding(link.line, format!("link to `{}`: {why}", link.target)))
    };
    markdown_links(&file.text).iter().filter_map(broken).collect()
}

fn broken_link(file: &File, target: &str, files: &[File], paths: &[String]) -> Option<String> {
    // Other sites, and items of the Rust documentation, which rustdoc checks.
    if target.contains("://") || target.starts_with("mailto:") || target.contains("::") {
        return None;
    }
    if target.starts_with('/') {
        return Some("is absolute; say it relative to this file".to_owned());
    }
    let (path, heading) = target.split_once('#').map_or((target, None), |(p, h)| (p, Some(h)));
    let path = match path {
        "" => file.path.clone(),
        path => match join(&file.path, path) {
            Some(path) => path,
            None => return Some("leaves the repository".to_owned()),
        },
    };
    let folder = format!("{path}/");
    let exists =
        path.is_empty() || paths.iter().any(|known| *known == path || known.starts_with(&folder));
    if !exists {
        return Some(format!("there is no `{path}` in the repository"));
    }
    let heading = heading?;
    let text = if path == file.path {
        &file.text
    } else {
        &files.iter().find(|other| other.path == path && path.ends_with(".md"))?.text
    };
    (!anchors(text).contains(heading)).then(|| format!("`{path}` has no heading `#{heading}`"))
}

/// `link` as seen from the folder of `from`, or `None` if it leaves the repository.
fn join(from: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[derive(Debug, PartialEq, Eq)]
struct Link {
    line: usize,
    target: String,
}

/// The lines of a Markdown text outside fenced blocks, with inline code blanked.
fn prose(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return None;
        }
        let mut inline = false;
        let mut blanked = String::with_capacity(line.len());
        for c in line.chars() {
            inline ^= c == '`';
            blanked.push(if inline || c == '`' { ' ' } else { c });
        }
        (!fenced).then_some((index + 1, blanked))
    })
}

/// Inline links `[text](target)` and definitions `[name]: target`.
fn markdown_links(text: &str) -> Vec<Link> {
    let mut links = Vec::new();
    for (line, text) in prose(text) {
        let mut rest = text.as_str();
        while let Some(start) = rest.find("](") {
            rest = &rest[start + 2..];
            let end = rest.find(')').unwrap_or(rest.len());
            let target = rest[..end].split_whitespace().next().unwrap_or_default();
            links.push(Link { line, target: target.trim_matches(['<', '>']).to_owned() });
        }
        let definition = text.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
        if let Some((_, target)) = definition {
            let target = target.split_whitespace().next().unwrap_or_default();
            links.push(Link { line, target: target.to_owned() });
        }
    }
    links
}

/// The anchors of a text's headings, as the usual renderers make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let mut anchors = BTreeSet::new();
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        let title = line.trim_start_matches('#');
        if fenced || title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let kept = |c: char| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            c if c.is_alphanumeric() => c.to_lowercase().next(),
            _ => None,
        };
        anchors.insert(title.trim().chars().filter_map(kept).collect());
    }
    anchors
}

/// Every requirement that a comment in Rust code cites (`// C4`, `// C1, W3: why`) exists.
pub(super) fn cited_requirements(file: &File, known: &BTreeSet<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for comment in &file.scrubbed.comments {
        for id in citation(&comment.text).into_iter().filter(|id| !known.contains(id)) {
            let message = format!("cites requirement {id}, which {REQUIREMENTS} does not have");
            findings.push(file.finding(comment.line, message));
        }
    }
    findings
}

/// The requirements' numbers in the first column of the tables of `text`.
pub(super) fn requirement_ids(text: &str) -> BTreeSet<String> {
    let first_cell = |line: &str| {
        let cell = line.trim().strip_prefix('|')?.split('|').next()?.trim();
        is_id(cell).then(|| cell.to_owned())
    };
    text.lines().filter_map(first_cell).collect()
}

/// The numbers at the start of a comment, if it is a citation: numbers parted by commas, `and` or
/// a dash, then the comment's end or a mark. (`L0` is a level of the tree, not a requirement.)
fn citation(comment: &str) -> Vec<String> {
    let text = comment.trim_start_matches(['/', '!', '*']).trim();
    let mut ids = Vec::new();
    let mut rest = text;
    loop {
        let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        if !is_id(&rest[..end]) {
            return Vec::new();
        }
        ids.push(rest[..end].to_owned());
        rest = &rest[end..];
        let parted = [", ", " and ", "–", "-", "/"].iter().find_map(|by| rest.strip_prefix(by));
        match parted.filter(|after| starts_with_id(after)) {
            Some(after) => rest = after,
            None => break,
        }
    }
    let ends =
        rest.is_empty() || rest.starts_with([':', '.', ',', ';', '(']) || rest.starts_with(" (");
    if ends { ids } else { Vec::new() }
}

fn starts_with_id(text: &str) -> bool {
    let end = text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
    is_id(&text[..end])
}

fn is_id(text: &str) -> bool {
    text.strip_prefix(CHAPTERS).is_some_and(|number| {
        (1..=2).contains(&number.len())
            && number.bytes().all(|digit| digit.is_ascii_digit())
            && !number.starts_with('0')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(path: &str, text: &str) -> usize {
        let files = [
            File::new("docs/a.md", "# One, two: `three`\n```\n# not a heading\n```\n"),
            File::new("README.md", "# Polder\n"),
        ];
        let paths: Vec<_> =
            ["README.md", "docs/a.md", "docs/format/log.md"].map(str::to_owned).to_vec();
        links(&File::new(path, text), &files, &paths).len()
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        for text in [
            "[a](a.md) [b](../README.md#polder) [c](format) [d](format/log.md)",
            "[a](a.md#one-two-three \"title\")",
            "[x](https://example.org/a.md), [y](mailto:a@b), [z](crate::Pool)",
            "`[not](a-link.md)`\n```\n[not](a-link.md)\n```",
            "[a]: a.md",
        ] {
            assert_eq!(broken("docs/b.md", text), 0, "{text}");
        }
        assert_eq!(broken("docs/b.rs", "[a](none.md)"), 0);
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        for text in [
            "[a](none.md)",
            "[a](a.md#none)",
            "[a](a.md#not-a-heading)",
            "[a](/docs/a.md)",
            "[a]: none.md",
            "[a](#none)",
            "[a](../../README.md)",
        ] {
            assert_eq!(broken("docs/b.md", text), 1, "{text}");
        }
        assert_eq!(broken("docs/b.md", "[a](none.md) and [b](form)"), 2);
    }

    #[test]
    fn requirements_are_read_from_their_tables() {
        let text =
            "| id | requirement |\n|---|---|\n| C1 | One. C9 |\n| C12 | Two. |\nC3\n| L0 |x|";
        let ids: Vec<_> = requirement_ids(text).into_iter().collect();
        assert_eq!(ids, ["C1", "C12"]);
    }

    #[test]
    fn a_cited_requirement_that_does_not_exist_is_found() {
        let known: BTreeSet<_> = ["C1", "C2", "W4", "L1"].map(str::to_owned).into();
        let cited = |text: &str| {
            let file = File::new("crates/wal/tests/it/main.rs", text);
            cited_requirements(&file, &known).len()
        };
        assert_eq!(cited("// C9"), 1);
        assert_eq!(cited("fn f() {} // C1, W5: both"), 1);
        assert_eq!(cited("/// R1 and R2."), 2);
        assert_eq!(cited("// C1–C3 (all)"), 1);
        for text in
            ["// C1", "// C1, C2: x", "// C1/W4.", "// L0 is newest", "// F1 score", "\"C9\""]
        {
            assert_eq!(cited(text), 0, "{text}");
        }
    }
}
