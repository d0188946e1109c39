//! Tells code from comments and literals in Rust source, so that the rules look at the right one.
//!
//! Invariant: the masked code has the same length in bytes as the source and the same line breaks,
//! so that an offset or a line number means the same in both.

/// A comment, without its `//` or `/*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Comment {
    /// The line it starts on, from 1.
    pub(super) line: usize,
    /// Its text; a block comment may have several lines.
    pub(super) text: String,
}

/// Source text taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scrubbed {
    /// The source with every comment and the inside of every literal turned to spaces.
    pub(super) code: String,
    /// All comments, in order.
    pub(super) comments: Vec<Comment>,
    /// For each line (from 0) whether it belongs to an item under `#[cfg(test)]`.
    pub(super) test_lines: Vec<bool>,
}

impl Scrubbed {
    /// Takes `source` apart. Never fails: what cannot be understood counts as code.
    pub(super) fn new(source: &str) -> Self {
        let mut scrubber = Scrubber { source, at: 0, line: 1, code: Vec::new(), comments: vec![] };
        scrubber.run();
        // Only whole characters are copied or blanked, so this is valid UTF-8.
        let code = String::from_utf8_lossy(&scrubber.code).into_owned();
        let test_lines = test_lines(&code);
        Self { code, comments: scrubber.comments, test_lines }
    }

    /// Whether line `line` (from 1) is compiled for tests only.
    pub(super) fn is_test_line(&self, line: usize) -> bool {
        line.checked_sub(1).and_then(|index| self.test_lines.get(index)).copied().unwrap_or(false)
    }
}

struct Scrubber<'a> {
    source: &'a str,
    at: usize,
    line: usize,
    code: Vec<u8>,
    comments: Vec<Comment>,
}

impl Scrubber<'_> {
    fn run(&mut self) {
        while let Some(next) = self.rest().chars().next() {
            let rest = self.rest();
            if rest.starts_with("//") {
                self.line_comment();
            } else if rest.starts_with("/*") {
                self.block_comment();
            } else if next == '"' {
                self.literal(1, '"');
            } else if next == '\'' && char_literal(rest) {
                self.literal(1, '\'');
            } else if let Some((prefix, hashes)) = raw_string(rest) {
                self.raw(prefix, hashes);
            } else {
                self.keep(next.len_utf8());
            }
        }
    }

    fn rest(&self) -> &str {
        &self.source[self.at..]
    }

    /// Copies the next `bytes` to the code.
    fn keep(&mut self, bytes: usize) {
        let text = &self.source[self.at..self.at + bytes];
        self.line += text.matches('\n').count();
        self.code.extend_from_slice(text.as_bytes());
        self.at += bytes;
    }

    /// Turns the next `bytes` to spaces; line breaks stay.
    fn blank(&mut self, bytes: usize) {
        let text = &self.source.as_bytes()[self.at..self.at + bytes];
        self.line += text.iter().filter(|&&byte| byte == b'\n').count();
        self.code.extend(text.iter().map(|&byte| if byte == b'\n' { b'\n' } else { b' ' }));
        self.at += bytes;
    }

    fn line_comment(&mut self) {
        let end = self.rest().find('\n').unwrap_or(self.rest().len());
        let text = self.rest()[2..end].to_owned();
        self.comments.push(Comment { line: self.line, text });
        self.blank(end);
    }

    fn block_comment(&mut self) {
        let rest = self.rest().as_bytes();
        let (mut end, mut depth) = (2, 1);
        while depth > 0 && end < rest.len() {
            if rest[end..].starts_with(b"/*") {
                (end, depth) = (end + 2, depth + 1);
            } else if rest[end..].starts_with(b"*/") {
                (end, depth) = (end + 2, depth - 1);
            } else {
                end += 1;
            }
        }
        let inside = end.saturating_sub(2).max(2);
        let text = self.rest().get(2..inside).unwrap_or_default().to_owned();
        self.comments.push(Comment { line: self.line, text });
        self.blank(end);
    }

    /// A literal with escapes, whose opening takes `opening` bytes.
    fn literal(&mut self, opening: usize, quote: char) {
        self.keep(opening);
        let mut end = 0;
        let mut escaped = false;
        for (position, next) in self.rest().char_indices() {
            end = position;
            if !escaped && next == quote {
                self.blank(end);
                self.keep(quote.len_utf8());
                return;
            }
            escaped = !escaped && next == '\\';
            end += next.len_utf8();
        }
        self.blank(end);
    }

    /// A raw string: `prefix` bytes up to and with its first quote, closed by a quote and `hashes`.
    fn raw(&mut self, prefix: usize, hashes: usize) {
        self.keep(prefix);
        let close = format!("\"{}", "#".repeat(hashes));
        match self.rest().find(&close) {
            Some(end) => {
                self.blank(end);
                self.keep(close.len());
            }
            None => self.blank(self.rest().len()),
        }
    }
}

/// Whether `rest`, which starts with `'`, starts a character literal and not a lifetime.
fn char_literal(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => true,
        (Some(_), Some(after)) => after == '\'',
        _ => false,
    }
}

/// If `rest` starts a raw string: the bytes up to and with its first quote, and its `#`s.
fn raw_string(rest: &str) -> Option<(usize, usize)> {
    let letters = ["br", "cr", "r"].into_iter().find(|letters| rest.starts_with(letters))?;
    let after = &rest[letters.len()..];
    let hashes = after.bytes().take_while(|&byte| byte == b'#').count();
    after[hashes..].starts_with('"').then_some((letters.len() + hashes + 1, hashes))
}

/// Marks the lines of every item under `#[cfg(test)]` or `#[cfg(all(test, …))]`.
fn test_lines(code: &str) -> Vec<bool> {
    let mut marked = vec![false; code.lines().count()];
    for opening in ["#[cfg(test)]", "#[cfg(all(test,"] {
        for (start, _) in code.match_indices(opening) {
            let first = code[..start].matches('\n').count();
            let last = first + code[start..item_end(code, start)].matches('\n').count();
            marked.iter_mut().take(last + 1).skip(first).for_each(|line| *line = true);
        }
    }
    marked
}

/// Where the item ends whose attributes start at `start`: behind its `;` or its closing brace.
fn item_end(code: &str, start: usize) -> usize {
    let mut depth = 0_usize;
    for (position, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return position + 1;
                }
            }
            b';' if depth == 0 => return position + 1,
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(source: &str) -> String {
        let scrubbed = Scrubbed::new(source);
        assert_eq!(scrubbed.code.len(), source.len(), "{source}");
        assert_eq!(scrubbed.code.matches('\n').count(), source.matches('\n').count());
        scrubbed.code
    }

    #[test]
    fn comments_are_blanked_and_kept_apart() {
        let source = "let a; // one é\n/* two /* nested */ \n end */ let b;\n/// doc\nfn f() {}";
        let scrubbed = Scrubbed::new(source);
        assert!(!scrubbed.code.contains("one") && !scrubbed.code.contains("nested"));
        assert!(scrubbed.code.contains("let b;") && scrubbed.code.contains("fn f() {}"));
        let comments: Vec<_> =
            scrubbed.comments.iter().map(|c| (c.line, c.text.as_str())).collect();
        assert_eq!(comments, [(1, " one é"), (2, " two /* nested */ \n end "), (4, "/ doc")]);
    }

    #[test]
    fn literals_are_blanked_and_lifetimes_are_not() {
        assert_eq!(code(r#"f("a // b", x)"#), r#"f("      ", x)"#);
        assert_eq!(code(r#"f("\"x", y)"#), r#"f("   ", y)"#);
        assert_eq!(code("g('\"', '\\'', 'é', &'a str)"), "g(' ', '  ', '  ', &'a str)");
        assert_eq!(code("r#\"std \" fs\"# + br\"x\" + bar"), "r#\"        \"# + br\" \" + bar");
        assert_eq!(code("'\\u{7d}'"), "'      '");
        assert_eq!(code("\"unclosed"), "\"        ");
        assert_eq!(code("/* unclosed"), "           ");
    }

    #[test]
    fn items_under_cfg_test_are_found_and_nothing_after_them() {
        let source = "fn a() {}\n#[cfg(test)]\n#[path = \"x\"]\nmod tests {\n  fn b() { {} }\n}\n\
                      fn c() {}\n#[cfg(test)]\nuse x::[u8; 3];\nfn d() {}\n\
                      #[cfg(any(test, feature = \"sim\"))]\nfn e() {}";
        let scrubbed = Scrubbed::new(source);
        let marked: Vec<_> = (1..=12).filter(|&line| scrubbed.is_test_line(line)).collect();
        assert_eq!(marked, [2, 3, 4, 5, 6, 8, 9]);
    }
}
