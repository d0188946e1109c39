//! Rules for every text file: spaces at line ends, and paths of somebody's machine.

use super::{File, Finding};

/// First folders of absolute paths that exist on one machine and not on the next.
const MACHINE_FOLDERS: &[&str] =
    &["home", "Users", "root", "work", "workspace", "workspaces", "tmp", "mnt", "media"];

/// No line ends in spaces or a carriage return.
pub(super) fn trailing_whitespace(file: &File) -> Vec<Finding> {
    let lines = file.text.split('\n').enumerate();
    lines
        .filter(|(_, line)| line.ends_with(char::is_whitespace))
        .map(|(index, _)| file.finding(index + 1, "ends in white space"))
        .collect()
}

/// No absolute path of a developer's machine is written down.
pub(super) fn machine_paths(file: &File) -> Vec<Finding> {
    let lines = file.text.lines().enumerate();
    let found = lines.filter_map(|(index, line)| Some((index + 1, machine_path(line)?)));
    found
        .map(|(line, path)| file.finding(line, format!("names a path of one machine: `{path}`")))
        .collect()
}

fn machine_path(line: &str) -> Option<&str> {
    let path_character = |c: char| c.is_alphanumeric() || "._-/~\\".contains(c);
    for (start, _) in line.match_indices('/') {
        // Only an absolute path counts, not the middle of a relative one or of an address.
        if line[..start]
            .ends_with(|c: char| path_character(c) || matches!(c, '}' | ')' | '>' | '*'))
        {
            continue;
        }
        let path = &line[start..];
        let end = path.find(|c: char| !path_character(c)).unwrap_or(path.len());
        let first = path[1..end].split('/').next().unwrap_or_default();
        if MACHINE_FOLDERS.contains(&first) && path[1..end].contains('/') {
            return Some(&path[..end]);
        }
    }
    let windows = line.find(concat!(":\\", "Users\\"))?;
    line.get(windows.saturating_sub(1)..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(rule: fn(&File) -> Vec<Finding>, text: &str) -> Vec<usize> {
        rule(&File::new("docs/x.md", text)).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn spaces_at_line_ends_are_found() {
        assert_eq!(lines(trailing_whitespace, "a\nb \n\tc\nd\t\ne\r\n"), [2, 4, 5]);
        assert!(lines(trailing_whitespace, " a\n\nb\n").is_empty());
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        for folder in MACHINE_FOLDERS {
            let text = format!("see `/{folder}/me/x`\nor \"/{folder}/you\"");
            assert_eq!(lines(machine_paths, &text), [1, 2], "{text}");
        }
        assert_eq!(lines(machine_paths, &["open C:", "Users", "me"].join("\\")), [1]);
        for text in [
            "`/proc/self/io`, /dev/null",
            "crates/tmp/x, ./work/y, ../home/z, {dir}/tmp/x",
            "https://example.org/home/x",
            "either/or, tmp/x, 1/root/2, the root /",
            "/homely/x and /tmp alone",
        ] {
            assert!(lines(machine_paths, text).is_empty(), "{text}");
        }
    }
}
