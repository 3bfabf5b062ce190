//! The line while it is typed: where it ends, and what Tab makes of it.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rustyline::completion::{Completer, Pair};
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

use super::commands::COMMANDS;
use super::keys::lock;

/// Names that Tab completes, beside the commands.
#[derive(Debug, Default)]
pub struct Completions {
    /// References of models.
    pub models: Vec<String>,
    /// Names of sessions.
    pub sessions: Vec<String>,
    /// The folder that `@path` begins in.
    pub folder: PathBuf,
}

/// Names of files that Tab offers at most.
const FILES: usize = 200;

impl Completions {
    /// Where the word at the end of `line` begins, and what it can be.
    pub fn of(&self, line: &str) -> (usize, Vec<String>) {
        let Some(word) = line.strip_prefix('/') else { return self.files(line) };
        let Some((name, argument)) = word.split_once(' ') else {
            let names = COMMANDS.iter().map(|command| command.name);
            let fitting = names.filter(|name| name.starts_with(word)).map(|name| format!("{name} "));
            return (1, fitting.collect());
        };
        let argument = argument.trim_start();
        let words: Vec<String> = match name {
            "model" => self.models.clone(),
            "sessions" => self.sessions.clone(),
            "think" => ["off", "low", "medium", "high", "show", "hide"].map(str::to_owned).to_vec(),
            "approve" => ["ask", "edits", "all", "none"].map(str::to_owned).to_vec(),
            _ => Vec::new(),
        };
        let fitting = words.into_iter().filter(|word| word.starts_with(argument)).collect();
        (line.len() - argument.len(), fitting)
    }

    /// The files that the `@path` at the end of `line` can be.
    fn files(&self, line: &str) -> (usize, Vec<String>) {
        let nothing = (line.len(), Vec::new());
        let Some(at) = line.rfind('@') else { return nothing };
        let written = &line[at + 1..];
        let begins = line[..at].chars().next_back().is_none_or(char::is_whitespace);
        if !begins || written.replace("\\ ", "").contains(char::is_whitespace) {
            return nothing;
        }
        let (folder, begun) =
            written.rsplit_once('/').map_or(("", written), |(f, b)| (&written[..=f.len()], b));
        let unescape = |text: &str| text.replace("\\ ", " ");
        let begun = unescape(begun);
        let entries = std::fs::read_dir(self.folder.join(unescape(folder))).into_iter().flatten().flatten();
        let name = |entry: std::fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            let hidden = name.starts_with('.') && !begun.starts_with('.');
            let fits = name.starts_with(&begun) && !hidden && !name.contains(char::is_control);
            let end = if entry.path().is_dir() { "/" } else { "" };
            fits.then(|| format!("{}{end}", name.replace(' ', "\\ ")))
        };
        let mut names: Vec<String> = entries.filter_map(name).collect();
        names.sort();
        names.truncate(FILES);
        (at + 1 + folder.len(), names)
    }
}

/// True where the text ends with this line: no backslash at its end, no code block open. A command is
/// always one line.
pub fn is_complete(text: &str) -> bool {
    let fences = text.lines().filter(|line| line.trim_start().starts_with("```")).count();
    let command = text.starts_with('/');
    command || (fences.is_multiple_of(2) && !text.ends_with('\\'))
}

/// The text without the backslashes that continued its lines outside of code blocks.
pub fn joined(text: &str) -> String {
    let mut code = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        code ^= line.trim_start().starts_with("```");
        let continued = line.strip_suffix('\\').filter(|_| !code);
        lines.push(continued.unwrap_or(line));
    }
    lines.join("\n")
}

/// What the line editor asks while the user types.
pub struct Typing {
    completions: Arc<Mutex<Completions>>,
    /// The line as it was last seen: Ctrl-C takes it away, and it is not to be lost.
    line: RefCell<String>,
}

impl Typing {
    pub fn new(completions: Arc<Mutex<Completions>>) -> Self {
        Self { completions, line: RefCell::default() }
    }

    /// The line that was taken away.
    pub fn line(&self) -> String {
        self.line.borrow().clone()
    }
}

impl Helper for Typing {}

impl rustyline::highlight::Highlighter for Typing {}

impl Hinter for Typing {
    type Hint = String;

    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        line.clone_into(&mut self.line.borrow_mut());
        None
    }
}

impl Validator for Typing {
    fn validate(&self, ctx: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if is_complete(ctx.input()) {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

impl Completer for Typing {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, words) = lock(&self.completions).of(&line[..pos]);
        let pair = |word: String| Pair { display: word.trim_end().to_owned(), replacement: word };
        Ok((start, words.into_iter().map(pair).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_text_ends() {
        for whole in ["a", "a\\\nb", "```\nx\n```", "a `b`", "/help\\", "  ```js\nx\n  ```"] {
            assert!(is_complete(whole), "{whole:?}");
        }
        for open in ["a\\", "```", "see:\n```rust\nfn main() {}", "```\na\n```\nb\\"] {
            assert!(!is_complete(open), "{open:?}");
        }
    }

    #[test]
    fn continued_lines_lose_their_backslash() {
        assert_eq!(joined("a\\\nb"), "a\nb");
        assert_eq!(joined("```\nx \\\ny\n```\nb\\"), "```\nx \\\ny\n```\nb");
    }

    #[test]
    fn commands_and_their_words_are_completed() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.txt", "a b.txt", ".hidden", "sub/c.txt"] {
            std::fs::create_dir_all(folder.path().join("sub")).unwrap();
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let completions = Completions {
            models: vec!["vllm/a".into()],
            sessions: vec!["notes".into()],
            folder: folder.path().to_owned(),
        };
        let table: [(&str, usize, &[&str]); 12] = [
            ("/mo", 1, &["model "]),
            ("/s", 1, &["status ", "stop ", "sessions ", "show "]),
            ("/model v", 7, &["vllm/a"]),
            ("/think h", 7, &["high", "hide"]),
            ("/sessions ", 10, &["notes"]),
            ("/undo x", 6, &[]),
            ("hello", 5, &[]),
            ("see @a", 5, &["a.txt", "a\\ b.txt"]),
            ("see @", 5, &["a.txt", "a\\ b.txt", "sub/"]),
            ("@sub/", 5, &["c.txt"]),
            ("@.h", 1, &[".hidden"]),
            ("me@a", 4, &[]),
        ];
        for (line, start, words) in table {
            assert_eq!(
                completions.of(line),
                (start, words.iter().map(|w| (*w).to_owned()).collect()),
                "{line}"
            );
        }
    }
}
