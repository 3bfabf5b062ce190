//! Function length, `unsafe`, and lines per crate, from the text of the Rust files.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Non-test lines of Rust per crate. Raising one takes a page in docs/decisions.
const BUDGET: &[(&str, usize)] = &[
    ("openai", 3_000),
    ("protocol", 1_000),
    ("config", 3_500),
    ("chat", 8_000),
    ("client", 5_000),
    ("store", 2_000),
    ("agent", 4_000),
    ("tools", 5_500),
    ("tui", 4_000),
    ("kernels", 6_000),
    ("engine", 9_000),
    ("server", 5_500),
    ("cli", 10_000),
];

/// Where `unsafe` may stand: the kernels, and the one file that maps model files into memory.
const UNSAFE_ALLOWED: &[&str] = &["crates/kernels/src/", "crates/engine/src/formats/mmap.rs"];

const LONGEST_FUNCTION: usize = 100;

/// What the source files gave.
pub struct Report {
    /// One line each, with file and line.
    pub findings: Vec<String>,
    /// Crate, its non-test lines, its budget.
    pub lines: Vec<(String, usize, usize)>,
}

/// Reads every Rust file under `crates/` and `xtask/`.
pub fn check(root: &Path) -> Result<Report> {
    let mut report = Report { findings: Vec::new(), lines: Vec::new() };
    for (name, budget) in BUDGET {
        let folder = root.join("crates").join(name);
        if !folder.exists() {
            continue;
        }
        let mut lines = 0;
        for file in rust_files(&folder)? {
            lines += check_file(root, &file, &mut report.findings)?;
        }
        if lines > *budget {
            report.findings.push(format!("crates/{name}: {lines} lines, over its budget of {budget}"));
        }
        report.lines.push(((*name).to_owned(), lines, *budget));
    }
    for file in rust_files(&root.join("xtask"))? {
        check_file(root, &file, &mut report.findings)?;
    }
    Ok(report)
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                if path.file_name().is_some_and(|n| n != "target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Adds the findings of one file and returns how many of its lines count for the budget.
fn check_file(root: &Path, file: &Path, findings: &mut Vec<String>) -> Result<usize> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    let shown = file.strip_prefix(root).unwrap_or(file).to_string_lossy().replace('\\', "/");
    let code = blank_out(&text);
    let product = !["/tests/", "/benches/", "/examples/", "/tests.rs"].iter().any(|p| shown.contains(p));
    for (line, length, name) in functions(&code) {
        if length > LONGEST_FUNCTION {
            findings.push(format!(
                "{shown}:{line}: function `{name}` has {length} lines, more than {LONGEST_FUNCTION}"
            ));
        }
    }
    let allowed = UNSAFE_ALLOWED.iter().any(|p| shown.starts_with(p));
    // That each block says why it is sound is clippy's to hold (`undocumented_unsafe_blocks`).
    for (index, line) in code.lines().enumerate() {
        let stands = has_word(line, "unsafe") && !line.contains("unsafe_");
        if stands && !allowed {
            findings.push(format!("{shown}:{}: `unsafe` may not stand here", index + 1));
        }
    }
    let count = code.lines().filter(|l| !l.trim().is_empty()).count();
    Ok(if product { count - test_lines(&code) } else { 0 })
}

fn has_word(line: &str, word: &str) -> bool {
    let bytes = line.as_bytes();
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    line.match_indices(word).any(|(at, _)| {
        let before = at.checked_sub(1).is_none_or(|i| !is_word(bytes[i]));
        let after = bytes.get(at + word.len()).is_none_or(|b| !is_word(*b));
        before && after
    })
}

/// The text with comments, strings and character literals replaced by spaces; newlines stay.
fn blank_out(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        let end = match chars[i] {
            '/' if chars.get(i + 1) == Some(&'/') => line_end(&chars, i),
            '/' if chars.get(i + 1) == Some(&'*') => comment_end(&chars, i),
            '"' => string_end(&chars, i),
            'r' if raw_hashes(&chars, i).is_some() => raw_end(&chars, i),
            '\'' => char_end(&chars, i),
            _ => i,
        };
        if end == i {
            out.push(chars[i]);
            i += 1;
        } else {
            out.extend(chars[i..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            i = end;
        }
    }
    out
}

fn line_end(chars: &[char], from: usize) -> usize {
    chars[from..].iter().position(|c| *c == '\n').map_or(chars.len(), |n| from + n)
}

fn comment_end(chars: &[char], from: usize) -> usize {
    let mut depth = 0;
    let mut i = from;
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            break;
        }
    }
    i.min(chars.len())
}

fn string_end(chars: &[char], from: usize) -> usize {
    let mut i = from + 1;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

/// For `r"`, `r#"`, … at `from`: the number of hashes. A raw identifier or a plain `r` gives none.
fn raw_hashes(chars: &[char], from: usize) -> Option<usize> {
    let ident = |c: &char| c.is_alphanumeric() || *c == '_';
    if from > 0 && ident(&chars[from - 1]) && chars[from - 1] != 'b' {
        return None;
    }
    let hashes = chars[from + 1..].iter().take_while(|c| **c == '#').count();
    (chars.get(from + 1 + hashes) == Some(&'"')).then_some(hashes)
}

fn raw_end(chars: &[char], from: usize) -> usize {
    let hashes = raw_hashes(chars, from).unwrap_or(0);
    let mut i = from + hashes + 2;
    while i < chars.len() {
        let closes =
            chars[i] == '"' && chars[i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
        if closes {
            return i + 1 + hashes;
        }
        i += 1;
    }
    chars.len()
}

/// The end of a character literal; a lifetime is left as it is.
fn char_end(chars: &[char], from: usize) -> usize {
    match (chars.get(from + 1), chars.get(from + 2)) {
        (Some('\\'), _) => chars[from + 3..].iter().position(|c| *c == '\'').map_or(from, |n| from + n + 4),
        (Some(_), Some('\'')) => from + 3,
        _ => from,
    }
}

/// First line, length in lines and name of every function with a body.
fn functions(code: &str) -> Vec<(usize, usize, String)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        if let Some(end) = body_end(&lines, start, line.find("fn ").unwrap_or(0)) {
            found.push((start + 1, end - start + 1, name));
        }
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let at = line.match_indices("fn ").map(|(i, _)| i).find(|i| {
        i.checked_sub(1).is_none_or(|b| line.as_bytes()[b] == b' ' || line.as_bytes()[b] == b'(')
    })?;
    let name: String =
        line[at + 3..].trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// The line on which the body that begins after column `from` of line `start` is closed.
fn body_end(lines: &[&str], start: usize, from: usize) -> Option<usize> {
    let (mut braces, mut others, mut opened) = (0i32, 0i32, false);
    for (index, line) in lines.iter().enumerate().skip(start) {
        let text = if index == start { &line[from..] } else { line };
        for c in text.chars() {
            match c {
                '{' => (braces, opened) = (braces + 1, true),
                '}' => braces -= 1,
                '(' | '[' => others += 1,
                ')' | ']' => others -= 1,
                ';' if !opened && others == 0 => return None,
                _ => {}
            }
            if opened && braces == 0 {
                return Some(index);
            }
        }
    }
    None
}

/// Non-blank lines inside `#[cfg(test)] mod … { … }`.
fn test_lines(code: &str) -> usize {
    let lines: Vec<&str> = code.lines().collect();
    let mut count = 0;
    let mut index = 0;
    while index < lines.len() {
        if lines[index].trim() == "#[cfg(test)]" {
            let end = body_end(&lines, index, 0).unwrap_or(index);
            count += lines[index..=end].iter().filter(|l| !l.trim().is_empty()).count();
            index = end;
        }
        index += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_blank() {
        let code =
            blank_out("a /* unsafe /* x */ */ b // unsafe\n\"unsafe \\\" {\" c r#\"unsafe\"# '{' '\\'' 'x");
        assert!(!code.contains("unsafe") && !code.contains('{'));
        assert!(code.contains('a') && code.contains('b') && code.contains('c') && code.contains("'x"));
        assert_eq!(code.lines().count(), 2);
    }

    #[test]
    fn functions_are_measured_from_their_first_to_their_last_line() {
        let code = "trait T {\n fn none(&self) -> [u8; 3];\n}\nfn two(\n) {\n if x {\n }\n}\n";
        assert_eq!(functions(code), vec![(4, 5, "two".to_owned())]);
    }

    #[test]
    fn test_modules_are_not_counted() {
        assert_eq!(test_lines("fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\nfn c() {}\n"), 4);
    }

    #[test]
    fn a_word_is_not_a_part_of_one() {
        assert!(has_word("let x = unsafe {", "unsafe") && !has_word("unsafe_code", "unsafe"));
    }
}
