//! The two streams of the chat. The answer goes to stdout, everything else to stderr; on a terminal
//! both are one page, so that blank lines and the one passing line are kept in order here.

use std::io::{self, Write};

use unicode_width::UnicodeWidthChar;

use super::markdown::Look;
use super::style::Style;
use super::wrap::{Wrap, in_style};
use crate::env::Surroundings;

/// Columns of running text at most: longer lines are hard to read.
const TEXT: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

/// What a piece of the page is; a blank line stands between two kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Answer,
    Thought,
    Tool,
    Word,
}

/// Where the chat writes.
#[derive(Debug)]
pub struct Screen {
    /// stdout is a terminal.
    answer_is_shown: bool,
    answer_styled: bool,
    /// Both streams are terminals: a page that a person reads.
    page: bool,
    styled: bool,
    /// A line may be written over.
    passing: bool,
    /// What waits while a line is being typed.
    held: Option<Vec<(Stream, Kind, String)>>,
    /// Ends of line at the end of the page, two at most.
    ends: usize,
    kind: Option<Kind>,
    /// A passing line is on the screen.
    passes: bool,
    /// Nobody reads stdout any more.
    gone: bool,
}

impl Screen {
    pub fn new(surroundings: &Surroundings) -> Self {
        let dumb = surroundings.is_dumb();
        let shown = surroundings.stdout_is_terminal;
        Self {
            answer_is_shown: shown,
            answer_styled: surroundings.may_style_stdout() && !dumb,
            page: shown && surroundings.stderr_is_terminal,
            styled: surroundings.may_style_stderr() && !dumb,
            passing: surroundings.can_ask() && !dumb,
            held: None,
            ends: 2,
            kind: None,
            passes: false,
            gone: false,
        }
    }

    /// How answers are shown now.
    pub fn look(&self) -> Look {
        if self.answer_is_shown {
            Look::Lines { width: self.width(), styled: self.answer_styled }
        } else {
            Look::Source
        }
    }

    /// Columns for text.
    pub fn width(&self) -> usize {
        let size = rustix::termios::tcgetwinsize(rustix::stdio::stderr());
        let columns = size.map_or(0, |size| usize::from(size.ws_col));
        if columns == 0 { 80 } else { columns.min(TEXT) }
    }

    /// Whether words beside the answer may be styled.
    pub fn styled(&self) -> bool {
        self.styled
    }

    /// Whether a line may be written over.
    pub fn passing(&self) -> bool {
        self.passing
    }

    /// True when nobody reads the answers any more.
    pub fn gone(&self) -> bool {
        self.gone
    }

    /// Text of the answer, laid out already.
    pub fn answer(&mut self, text: &str) {
        self.piece(Stream::Out, Kind::Answer, text);
    }

    /// Text beside the answer, laid out already.
    pub fn beside(&mut self, kind: Kind, text: &str) {
        self.piece(Stream::Err, kind, text);
    }

    fn piece(&mut self, stream: Stream, kind: Kind, text: &str) {
        if text.is_empty() {
            return;
        }
        match &mut self.held {
            Some(held) => held.push((stream, kind, text.to_owned())),
            None => {
                self.section(kind);
                self.write(stream, text);
            }
        }
    }

    /// A line beside the answer.
    pub fn line(&mut self, kind: Kind, line: &str) {
        self.beside(kind, &format!("{line}\n"));
    }

    /// A line in this style.
    pub fn say(&mut self, style: Style, line: &str) {
        let lines = if self.page { wrapped(line, self.width()) } else { line.to_owned() };
        let lines: Vec<String> = lines.lines().map(|line| style.paint(self.styled, line)).collect();
        self.line(Kind::Word, &lines.join("\n"));
    }

    /// What comes next stands apart from what is there.
    pub fn apart(&mut self) {
        self.kind = None;
    }

    fn section(&mut self, kind: Kind) {
        if self.kind.replace(kind) != Some(kind) && self.page {
            let missing = 2_usize.saturating_sub(self.ends);
            // Without an end of line the text goes on in the open one.
            if self.ends > 0 && missing > 0 {
                self.write(Stream::Err, &"\n".repeat(missing));
            }
        }
    }

    /// A line that the next text takes the place of; only where lines may be written over.
    pub fn pass(&mut self, line: &str) {
        if !self.passing || self.held.is_some() || self.ends == 0 {
            return;
        }
        let shown = fit(line, self.width().saturating_sub(1));
        let shown = Style::DIM.paint(self.styled, &shown);
        self.passes = true;
        self.put(Stream::Err, &format!("\r\x1b[K{shown}"));
    }

    /// Takes the passing line away.
    pub fn clear_passing(&mut self) {
        if std::mem::take(&mut self.passes) {
            self.put(Stream::Err, "\r\x1b[K");
        }
    }

    /// A line editor begins below what is there: from now on nothing is written.
    pub fn prompt(&mut self) {
        self.clear_passing();
        self.section(Kind::Word);
        self.hold();
    }

    /// A question is written by whoever reads the answer behind it.
    pub fn asks(&mut self) {
        self.clear_passing();
        self.ends = 0;
    }

    /// A prompt without an end of line.
    pub fn prompt_again(&mut self, prompt: &str) {
        self.write(Stream::Err, prompt);
        self.hold();
    }

    /// The question or the line at hand is void.
    pub fn abandon(&mut self) {
        if self.held.is_some() || self.ends == 0 {
            self.put(Stream::Err, "\n");
        }
        self.release();
        self.typed();
    }

    fn hold(&mut self) {
        self.clear_passing();
        self.held.get_or_insert_default();
    }

    /// The user has ended a line: what waited is written.
    pub fn release(&mut self) {
        let Some(held) = self.held.take() else { return };
        self.typed();
        for (stream, kind, text) in held {
            self.piece(stream, kind, &text);
        }
    }

    /// The user has typed and ended a line below a prompt of ours.
    pub fn typed(&mut self) {
        self.ends = 1;
        self.kind = None;
    }

    fn write(&mut self, stream: Stream, text: &str) {
        let ends = text.chars().rev().take_while(|c| *c == '\n').count();
        self.ends = if ends == text.len() { (self.ends + ends).min(2) } else { ends.min(2) };
        self.clear_passing();
        self.put(stream, text);
    }

    fn put(&mut self, stream: Stream, text: &str) {
        let written = match stream {
            Stream::Out => put(&mut io::stdout().lock(), text),
            Stream::Err => put(&mut io::stderr().lock(), text),
        };
        if stream == Stream::Out && written.is_err() {
            self.gone = true;
        }
    }
}

fn put(stream: &mut impl Write, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes())?;
    stream.flush()
}

/// A line broken at spaces, the rest of it two columns further in than its beginning.
pub fn wrapped(line: &str, columns: usize) -> String {
    let indent = line.len() - line.trim_start().len();
    let mut wrap = Wrap::new(columns, false);
    for (at, part) in line.split('\n').enumerate() {
        if at > 0 {
            wrap.newline();
        }
        wrap.hang(in_style(&" ".repeat(indent + 2), Style::PLAIN));
        wrap.text(part, Style::PLAIN);
    }
    wrap.flush();
    wrap.take()
}

/// The beginning of a line, in so many columns.
pub fn fit(line: &str, columns: usize) -> String {
    let width = |c: char| c.width().unwrap_or(0);
    if line.chars().map(width).sum::<usize>() <= columns {
        return line.to_owned();
    }
    let mut left = columns.saturating_sub(1);
    let fits = |c: &char| {
        let fits = width(*c) <= left;
        left = left.saturating_sub(width(*c));
        fits
    };
    line.chars().take_while(fits).collect::<String>() + "…"
}

#[cfg(test)]
mod tests {
    use super::{fit, wrapped};

    #[test]
    fn words_beside_the_answer_are_broken_at_spaces() {
        assert_eq!(wrapped("  why: writes ask here", 14), "  why: writes\n    ask here");
        assert_eq!(wrapped("short", 14), "short");
    }

    #[test]
    fn long_lines_are_cut_by_columns() {
        assert_eq!(fit("abc", 3), "abc");
        assert_eq!(fit("abcd", 3), "ab…");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("日本語", 4), "日…");
    }
}
