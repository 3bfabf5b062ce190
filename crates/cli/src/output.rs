//! What is printed: stdout is the answer or the JSON, stderr everything else.

use std::io::{self, Write};

use crate::exit::{Code, Failure, Outcome};

/// Writes to stdout and flushes. A reader that went away is no failure of the command.
pub fn answer(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(e) => Err(Failure::new(Code::Failed, format!("cannot write to standard output: {e}"))),
        Ok(()) => Ok(()),
    }
}

/// One line of JSON on stdout.
pub fn json(value: &impl serde::Serialize) -> Outcome {
    let text = serde_json::to_string_pretty(value).map_err(|e| Failure::new(Code::Failed, e))?;
    answer(&(text + "\n"))
}

/// A line on stderr. That stderr is gone must not stop the command.
pub fn say(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Text without an end of line on stderr, for prompts and progress.
pub fn prompt(text: impl std::fmt::Display) {
    let mut err = io::stderr().lock();
    let _ = write!(err, "{text}").and_then(|()| err.flush());
}

/// Rows in columns, the columns as wide as their widest cell.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `1 model`, `2 models`.
pub fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// A number of tokens as people write it: `812`, `32,768`.
pub fn tokens(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Text from a model or a file, for a terminal: see [`harmless`].
pub fn printable(text: &str) -> String {
    text.chars().filter_map(harmless).collect()
}

/// A character as a terminal may get it: control characters other than line breaks and tabs, and
/// characters that turn the direction of text around, are shown as U+FFFD, so that nothing steers the
/// terminal or shows a command as another one. A carriage return is left out.
pub fn harmless(c: char) -> Option<char> {
    match c {
        '\n' | '\t' => Some(c),
        '\r' => None,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => Some('\u{fffd}'),
        c if c.is_control() => Some('\u{fffd}'),
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["model".into(), "window".into()], vec!["vllm/é".into(), "1".into()]];
        assert_eq!(table(&rows), "model   window\nvllm/é  1\n");
    }

    #[test]
    fn tokens_are_grouped() {
        assert_eq!(
            [0, 812, 1000, 32_768, 1_048_576].map(tokens),
            ["0", "812", "1,000", "32,768", "1,048,576"]
        );
    }
}
