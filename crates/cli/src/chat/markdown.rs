//! Markdown as it streams in. Text is written as soon as its meaning is settled and never again: a
//! word at its end, a span at its closing mark, a table with its last row. Everything is decided one
//! character after the other, so that the same text gives the same lines however it was cut up.

use super::inline::Inline;
use super::style::{Colour, Style};
use super::table;
use super::wrap::{Wrap, in_style};
use crate::output::harmless;

/// Bytes of a line's beginning that are held at most until it is known what it begins.
const HEAD: usize = 1_000;
/// Bytes of a table that are held at most.
const TABLE: usize = 64 * 1024;
/// Columns of a rule.
const RULE: usize = 40;

const CODE: Style = Style::of(Colour::Cyan);

/// How the text is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// As the model wrote it.
    Source,
    /// In lines of so many columns; with styles, or with the marks left in place of them.
    Lines { width: usize, styled: bool },
}

/// Where in a line the text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// At its beginning, which is in `head`.
    Head,
    /// In running text of this style.
    Text(Style),
    /// In a line of a code block.
    Code,
    /// In a row that may belong to a table; it is in `head`.
    Row,
}

/// An open code block.
#[derive(Debug, Clone, Copy)]
struct Fence {
    mark: char,
    length: usize,
}

/// What a line turned out to begin with.
enum Begin {
    /// More text decides.
    Unknown,
    Blank,
    Rule,
    Row,
    Text,
    /// Level and bytes of marks.
    Heading(usize),
    /// A bullet or number, and how many bytes it and the space behind it have.
    Item(String, usize),
    Quote(usize),
    Fence(Fence),
}

/// A Markdown text while it comes in.
#[derive(Debug)]
pub struct Markdown {
    source: bool,
    wrap: Wrap,
    inline: Inline,
    at: At,
    head: String,
    /// What stands before the further lines of the paragraph.
    hang: Vec<(char, Style)>,
    fence: Option<Fence>,
    rows: Vec<String>,
    /// The line has a bullet or a bar already.
    marked: bool,
    /// The rows at hand are no table.
    no_table: bool,
    /// A blank line stands before what comes next.
    gap: bool,
    started: bool,
}

impl Markdown {
    pub fn new(look: Look) -> Self {
        let (width, styled) = match look {
            Look::Source => (usize::MAX / 2, false),
            Look::Lines { width, styled } => (width, styled),
        };
        Self {
            source: look == Look::Source,
            wrap: Wrap::new(width, styled),
            inline: Inline::default(),
            at: At::Head,
            head: String::new(),
            hang: Vec::new(),
            fence: None,
            rows: Vec::new(),
            marked: false,
            no_table: false,
            gap: false,
            started: false,
        }
    }

    /// More text; gives back what can be written now.
    pub fn push(&mut self, text: &str) -> String {
        if self.source {
            return self.push_source(text);
        }
        for c in text.chars().filter_map(harmless) {
            self.char(c);
        }
        self.wrap.take()
    }

    /// Ends the line at hand, if there is one; the block stays open.
    pub fn end_line(&mut self) -> String {
        if self.source {
            let open = std::mem::replace(&mut self.at, At::Head) != At::Head;
            return if open { "\n".to_owned() } else { String::new() };
        }
        if self.at != At::Head || !self.head.is_empty() {
            self.char('\n');
        }
        self.end_table();
        self.wrap.take()
    }

    /// The end of the text: whole lines, and nothing is held any more.
    pub fn finish(&mut self) -> String {
        let rest = self.end_line();
        (self.fence, self.gap, self.started) = (None, false, false);
        rest
    }

    fn push_source(&mut self, text: &str) -> String {
        let mut out: String = text.chars().filter_map(harmless).collect();
        if !self.started {
            out = out.trim_start().to_owned();
        }
        if let Some(last) = out.chars().next_back() {
            self.started = true;
            self.at = if last == '\n' { At::Head } else { At::Text(Style::PLAIN) };
        }
        out
    }

    fn char(&mut self, c: char) {
        let end = c == '\n';
        match self.at {
            At::Text(style) if end => {
                self.inline.finish(style, &mut self.wrap);
                self.new_line();
            }
            At::Text(style) => self.inline.push(c, style, &mut self.wrap),
            At::Code if end => self.new_line(),
            At::Code => self.wrap.verbatim(c, CODE),
            At::Row if end => self.end_row(),
            At::Row => self.head.push(c),
            At::Head => {
                if !end {
                    self.head.push(c);
                }
                match self.fence {
                    Some(fence) => self.code_line(fence, end),
                    None => while self.step(end) {},
                }
            }
        }
    }

    fn new_line(&mut self) {
        self.wrap.newline();
        self.hang.clear();
        self.wrap.hang(Vec::new());
        self.head.clear();
        self.marked = false;
        self.at = At::Head;
    }

    /// Something is written in this line.
    fn begin(&mut self) {
        if std::mem::take(&mut self.gap) && self.started && !self.marked {
            self.wrap.newline();
        }
        self.started = true;
    }

    /// Decides about what stands in `head`, outside of code; true where more of it is to be decided.
    fn step(&mut self, end: bool) -> bool {
        let trimmed = self.head.trim_start_matches([' ', '\t']);
        let spaces = if self.marked { 0 } else { columns_of(&self.head[..self.head.len() - trimmed.len()]) };
        let mut begin = beginning(trimmed, end);
        if matches!(begin, Begin::Unknown) && self.head.len() > HEAD {
            begin = Begin::Text;
        }
        if matches!(begin, Begin::Row) && (self.marked || self.no_table) {
            begin = Begin::Text;
        } else if !matches!(begin, Begin::Unknown | Begin::Row | Begin::Text) {
            self.no_table = false;
        }
        let rest = trimmed.to_owned();
        if !matches!(begin, Begin::Unknown | Begin::Row) {
            self.no_table &= rest.starts_with('|');
            self.end_table();
        }
        match begin {
            Begin::Unknown => return false,
            Begin::Blank if self.marked => self.new_line(),
            Begin::Blank => {
                self.head.clear();
                self.gap = true;
            }
            Begin::Rule => {
                self.begin();
                let width = RULE.min(self.wrap.width());
                self.wrap.text(&"─".repeat(width), Style::DIM);
                self.new_line();
            }
            Begin::Row => {
                self.head = rest;
                self.at = At::Row;
                if end {
                    self.end_row();
                }
            }
            Begin::Fence(fence) => {
                self.begin();
                self.indent(spaces);
                rest.chars().for_each(|c| self.wrap.verbatim(c, Style::DIM));
                self.new_line();
                self.fence = Some(fence);
            }
            Begin::Heading(level) => {
                self.gap |= self.started;
                self.begin();
                let style = Style { underline: level == 1, ..Style::BOLD };
                let text = if self.wrap.styled() { rest[level..].trim_start() } else { rest.as_str() };
                self.running(text, style, end);
            }
            Begin::Text => {
                self.begin();
                self.indent(spaces);
                self.running(&rest, Style::PLAIN, end);
            }
            Begin::Item(mark, length) => {
                self.begin();
                self.indent(spaces);
                self.mark(&mark, Style::PLAIN);
                self.head = rest[length..].to_owned();
                return true;
            }
            Begin::Quote(length) => {
                self.begin();
                self.indent(spaces);
                self.mark("│", Style::DIM);
                // The bar stands before every line of the paragraph.
                let at = self.hang.len().saturating_sub(2);
                self.hang.splice(at.., in_style("│ ", Style::DIM));
                self.wrap.hang(self.hang.clone());
                self.head = rest[length..].to_owned();
                return true;
            }
        }
        false
    }

    fn indent(&mut self, columns: usize) {
        let spaces = " ".repeat(columns.min(self.wrap.width() / 2));
        self.wrap.text(&spaces, Style::PLAIN);
        self.hang.extend(in_style(&spaces, Style::PLAIN));
        self.wrap.hang(self.hang.clone());
    }

    /// A bullet, a number or a bar, and the space behind it.
    fn mark(&mut self, mark: &str, style: Style) {
        self.wrap.text(mark, style);
        self.wrap.push(' ', Style::PLAIN);
        let spaces = " ".repeat(mark.chars().count() + 1);
        self.hang.extend(in_style(&spaces, Style::PLAIN));
        self.wrap.hang(self.hang.clone());
        self.marked = true;
    }

    fn running(&mut self, text: &str, style: Style, end: bool) {
        self.at = At::Text(style);
        text.chars().for_each(|c| self.inline.push(c, style, &mut self.wrap));
        self.head.clear();
        if end {
            self.char('\n');
        }
    }

    /// A line of a code block: held while it can still be the one that closes it.
    fn code_line(&mut self, fence: Fence, end: bool) {
        let trimmed = self.head.trim_start_matches(' ');
        let marks = trimmed.chars().take_while(|c| *c == fence.mark).count();
        let rest = &trimmed[marks..];
        let closes = marks >= fence.length && rest.trim().is_empty();
        let open = rest.is_empty() || closes;
        if open && !end && self.head.len() <= HEAD {
            return;
        }
        let (closed, style) = if closes && end { (true, Style::DIM) } else { (false, CODE) };
        let head = std::mem::take(&mut self.head);
        self.begin();
        head.chars().for_each(|c| self.wrap.verbatim(c, style));
        self.at = At::Code;
        if end {
            self.new_line();
        }
        if closed {
            self.fence = None;
        }
    }

    fn end_row(&mut self) {
        self.rows.push(std::mem::take(&mut self.head));
        self.at = At::Head;
        let held: usize = self.rows.iter().map(String::len).sum();
        if self.rows.len() == 2 && !table::is_delimiter(&self.rows[1]) {
            self.no_table = true;
            self.end_table();
        } else if held > TABLE {
            self.end_table();
        }
    }

    /// Writes the rows at hand.
    fn end_table(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return;
        }
        if rows.get(1).is_some_and(|row| table::is_delimiter(row)) {
            self.begin();
            for line in table::render(&rows, self.wrap.width(), self.wrap.styled()) {
                self.wrap.line(&line);
            }
            return;
        }
        let head = std::mem::take(&mut self.head);
        for row in rows {
            self.begin();
            self.running(&row, Style::PLAIN, true);
        }
        self.head = head;
    }
}

fn columns_of(space: &str) -> usize {
    space.chars().map(|c| if c == '\t' { 4 } else { 1 }).sum()
}

/// What a line begins with: `text` is its beginning without indentation, and all of it at its `end`.
fn beginning(text: &str, end: bool) -> Begin {
    let Some(first) = text.chars().next() else {
        return if end { Begin::Blank } else { Begin::Unknown };
    };
    let run = text.chars().take_while(|c| *c == first).count();
    let open = run == text.len() && !end;
    match first {
        '#' if open => Begin::Unknown,
        '#' if run <= 6 && text[run..].starts_with(' ') => Begin::Heading(run),
        '`' | '~' if open => Begin::Unknown,
        '`' | '~' if run >= 3 => match (first == '`' && text[run..].contains('`'), end) {
            (true, _) => Begin::Text,
            (false, true) => Begin::Fence(Fence { mark: first, length: run }),
            (false, false) => Begin::Unknown,
        },
        '-' | '*' | '+' | '_' => bullet_or_rule(text, first, end),
        '0'..='9' => number(text, end),
        '>' if open => Begin::Unknown,
        '>' => Begin::Quote(if text[1..].starts_with(' ') { 2 } else { 1 }),
        '|' => Begin::Row,
        _ => Begin::Text,
    }
}

fn bullet_or_rule(text: &str, mark: char, end: bool) -> Begin {
    let marks = text.chars().filter(|c| *c == mark).count();
    let only_marks = mark != '+' && text.chars().all(|c| c == mark || c == ' ');
    if only_marks && !end {
        return Begin::Unknown;
    }
    if only_marks && marks >= 3 {
        return Begin::Rule;
    }
    match text[1..].chars().next() {
        None if !end => Begin::Unknown,
        None | Some(' ') if mark != '_' => Begin::Item("•".to_owned(), text.len().min(2)),
        _ => Begin::Text,
    }
}

fn number(text: &str, end: bool) -> Begin {
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    let mut behind = text[digits..].chars();
    match (behind.next(), behind.next()) {
        _ if digits > 9 => Begin::Text,
        (None, _) | (Some('.' | ')'), None) if !end => Begin::Unknown,
        (Some('.' | ')'), Some(' ')) => Begin::Item(text[..=digits].to_owned(), digits + 2),
        _ => Begin::Text,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NO_STYLE: Look = Look::Lines { width: 30, styled: false };
    const STYLED: Look = Look::Lines { width: 30, styled: true };

    fn shown(look: Look, pieces: &[&str]) -> String {
        let mut markdown = Markdown::new(look);
        let mut out: String = pieces.iter().map(|piece| markdown.push(piece)).collect();
        out.push_str(&markdown.finish());
        out
    }

    #[test]
    fn blocks_are_laid_out() {
        let table = [
            ("# Title\ntext", "# Title\ntext\n"),
            ("a\n\n\n\nb", "a\n\nb\n"),
            ("\n\n a", " a\n"),
            ("- one\n- two\n  - three\n1. four", "• one\n• two\n  • three\n1. four\n"),
            ("* a long item that has to be broken", "• a long item that has to be\n  broken\n"),
            ("> quoted text that is longer than a line", "│ quoted text that is longer\n│ than a line\n"),
            ("- > both\n- [ ] task", "• │ both\n• [ ] task\n"),
            ("a\n\n---\n\nb", "a\n\n──────────────────────────────\n\nb\n"),
            ("```rust\nfn  main() {\n\n\n}\n```\nb", "```rust\nfn  main() {\n\n\n}\n```\nb\n"),
            ("1. do\n   ```\n   x\n   ```", "1. do\n   ```\n   x\n   ```\n"),
            ("```\n``\n````\n- x", "```\n``\n````\n• x\n"),
            ("**Note:** x\n*it*\n-5 is\n3.5 is\n#no", "**Note:** x\n*it*\n-5 is\n3.5 is\n#no\n"),
            ("-\n-", "•\n•\n"),
            ("| a | b |\n|---|--:|\n| x | 10 |\nend", "a   b\n─  ──\nx  10\nend\n"),
            ("| no table\n| at all\n| really\nx", "| no table\n| at all\n| really\nx\n"),
            ("| one row", "| one row\n"),
            ("text\n# Next", "text\n\n# Next\n"),
        ];
        for (text, wanted) in table {
            assert_eq!(shown(NO_STYLE, &[text]), wanted, "{text}");
        }
    }

    #[test]
    fn text_shows_as_soon_as_its_words_end() {
        let mut markdown = Markdown::new(STYLED);
        assert_eq!(markdown.push("The answer is **fo"), "The answer is");
        assert_eq!(markdown.push("rty** t"), " \x1b[0;1mforty");
        assert_eq!(markdown.finish(), " \x1b[0mt\n");
    }

    #[test]
    fn the_source_is_left_as_it_is() {
        let text = "# T\n\n\n| a |\n`x` **y**\n";
        assert_eq!(shown(Look::Source, &[text]), text);
        assert_eq!(shown(Look::Source, &["\n\na", "b"]), "ab\n");
    }

    #[test]
    fn an_aside_leaves_a_code_block_open() {
        let mut markdown = Markdown::new(NO_STYLE);
        let mut out = markdown.push("```\n# co");
        out.push_str(&markdown.end_line());
        out.push_str(&markdown.push("- de\n```\n- x"));
        out.push_str(&markdown.finish());
        assert_eq!(out, "```\n# co\n- de\n```\n• x\n");
    }

    /// Text that has much of what the renderer looks at.
    fn texts() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("\n".to_owned()),
            Just("\n\n".to_owned()),
            Just("```".to_owned()),
            Just("- ".to_owned()),
            Just("12. ".to_owned()),
            Just("> ".to_owned()),
            Just("## ".to_owned()),
            Just("| a | b |\n".to_owned()),
            Just("|---|:-:|\n".to_owned()),
            Just("[t](http://a.example)".to_owned()),
            "[ *_`~\\[\\]()!<>|#\\\\-]{1,3}",
            "[a-z]{1,12}",
            "\\PC{0,4}",
            Just("\u{1b}[2J\u{9b}1m\u{7}\r\u{202e}".to_owned()),
            Just("日本 é".to_owned()),
        ];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    fn without_our_styles(text: &str) -> String {
        let mut rest = text;
        let mut out = String::new();
        while let Some(at) = rest.find("\x1b[0") {
            out.push_str(&rest[..at]);
            let stop = rest[at..].find('m').map_or(rest.len(), |stop| at + stop + 1);
            let inside = &rest[at + 3..stop - 1];
            assert!(inside.chars().all(|c| c == ';' || c.is_ascii_digit()), "{inside:?}");
            rest = &rest[stop..];
        }
        out + rest
    }

    proptest! {
        #[test]
        fn any_split_shows_the_same(text in texts(), cuts in proptest::collection::vec(0..200_usize, 0..12)) {
            for look in [Look::Source, NO_STYLE, STYLED] {
                let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
                at.retain(|cut| text.is_char_boundary(*cut));
                at.extend([0, text.len()]);
                at.sort_unstable();
                let pieces: Vec<&str> = at.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
                prop_assert_eq!(shown(look, &pieces), shown(look, &[&text]));
            }
        }

        #[test]
        fn no_escape_of_the_model_reaches_the_terminal(text in texts()) {
            for look in [Look::Source, NO_STYLE, STYLED] {
                let out = without_our_styles(&shown(look, &[&text]));
                let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
                prop_assert!(!out.chars().any(|c| steers(c) || c == '\u{202e}'), "{:?}", out);
            }
        }

        #[test]
        fn no_word_is_lost(words in proptest::collection::vec("[a-z]{1,12}", 1..40), look in 0..2_usize) {
            let text = words.join(" ");
            let out = shown([NO_STYLE, STYLED][look], &[&text]);
            prop_assert_eq!(out.split_whitespace().collect::<Vec<_>>(), words);
            prop_assert!(out.lines().all(|line| line.len() <= 30));
        }
    }
}
