//! The texts that a config was read from, and places in them.

use std::ops::Range;
use std::path::{Path, PathBuf};

/// A stretch of one source text: bytes `start..end` of file number `file`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub file: usize,
    pub start: usize,
    pub end: usize,
}

/// One file's text, without a byte order mark.
#[derive(Debug)]
pub(crate) struct Source {
    pub path: PathBuf,
    pub text: String,
    /// What must not be shown, sorted; see [`crate::redact`].
    pub masks: Vec<Range<usize>>,
}

impl Source {
    pub fn new(path: &Path, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            text: text.strip_prefix('\u{feff}').unwrap_or(text).to_owned(),
            masks: Vec::new(),
        }
    }
}

/// All files of one config; the first is the main one.
#[derive(Debug, Default)]
pub(crate) struct Sources(pub Vec<Source>);

/// A place in a file, with the line it stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// The line, with keys and other secrets masked, at most 100 characters of it.
    pub excerpt: String,
    /// The part of `excerpt` that is meant, in characters.
    pub marked: Range<usize>,
}

/// Characters of an excerpt at most.
const WIDTH: usize = 100;

impl Sources {
    /// Whether anything in the span must not be shown.
    pub fn is_masked(&self, span: Span) -> bool {
        let source = &self.0[span.file];
        source.masks.iter().any(|mask| mask.start < span.end && span.start < mask.end)
    }

    pub fn place(&self, span: Span) -> Place {
        let source = &self.0[span.file];
        let text = source.text.as_str();
        let start = floor(text, span.start);
        let end = floor(text, span.end).max(start);
        let (line, line_start) = line_of(text, start);
        let line_end = text[line_start..].find(['\n', '\r']).map_or(text.len(), |n| line_start + n);
        let (excerpt, marked) = excerpt(text, line_start..line_end, start..end.min(line_end), &source.masks);
        let (excerpt, marked) = window(&excerpt, marked);
        Place {
            file: source.path.clone(),
            line,
            column: text[line_start..start].chars().count() + 1,
            excerpt,
            marked,
        }
    }
}

fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The number of the line on which the byte `at` stands, counted from 1, and where it begins.
pub(crate) fn line_of(text: &str, at: usize) -> (usize, usize) {
    let bytes = text.as_bytes();
    let (mut line, mut start) = (1, 0);
    for n in 0..at {
        let lone_return = bytes[n] == b'\r' && bytes.get(n + 1) != Some(&b'\n');
        if bytes[n] == b'\n' || lone_return {
            line += 1;
            start = n + 1;
        }
    }
    (line, start)
}

/// The line with masked stretches as `"***"` and control characters as blanks, and the mark's
/// place in it.
fn excerpt(
    text: &str,
    line: Range<usize>,
    mark: Range<usize>,
    masks: &[Range<usize>],
) -> (String, Range<usize>) {
    let mut shown = String::new();
    let mut width = 0;
    let mut marked = None..None;
    let mut masked_until = 0;
    for (offset, c) in text[line.clone()].char_indices() {
        let at = line.start + offset;
        if at >= mark.start && marked.start.is_none() {
            marked.start = Some(width);
        }
        if at >= masked_until
            && let Some(mask) = masks.iter().find(|mask| mask.contains(&at))
        {
            shown.push_str("\"***\"");
            width += 5;
            masked_until = mask.end;
        }
        if at >= masked_until {
            shown.push(if c.is_control() { ' ' } else { c });
            width += 1;
        }
        if at + c.len_utf8() >= mark.end && marked.end.is_none() {
            marked.end = Some(width);
        }
    }
    let start = marked.start.unwrap_or(width);
    let end = marked.end.unwrap_or(width).max(start + 1);
    (shown, start..end)
}

/// At most [`WIDTH`] characters around the mark.
fn window(line: &str, marked: Range<usize>) -> (String, Range<usize>) {
    let chars: Vec<char> = line.trim_end().chars().collect();
    if chars.len() <= WIDTH {
        return (chars.into_iter().collect(), marked);
    }
    let room = WIDTH.saturating_sub(marked.len()) / 2;
    let from = marked.start.saturating_sub(room).min(chars.len() - WIDTH);
    let to = from + WIDTH;
    let mut shown: String = chars[from..to].iter().collect();
    let mut shift = 0;
    if from > 0 {
        shown.insert(0, '…');
        shift = 1;
    }
    if to < chars.len() {
        shown.push('…');
    }
    let start = marked.start - from + shift;
    (shown, start..(marked.end.min(to) - from + shift).max(start + 1))
}
