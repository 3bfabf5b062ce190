//! Emphasis, code and links inside a line. From a character that may begin one on, text is held
//! until it is known whether it does: at the latest at the end of the line, or after [`LIMIT`] bytes.

use super::style::{Colour, Style};
use super::wrap::Wrap;

/// Bytes that are held at most.
const LIMIT: usize = 400;

/// What the beginning of a text is.
#[derive(Debug, PartialEq, Eq)]
enum Scan<'a> {
    /// More text decides.
    More,
    /// So many bytes are what they are.
    Literal(usize),
    /// A backslash, and the character that it makes ordinary.
    Escaped(char),
    /// A span of so many bytes with this text inside.
    Span(usize, Kind, &'a str),
    /// A link of so many bytes: its text and its address.
    Link(usize, &'a str, &'a str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Italic,
    Bold,
    Both,
    Struck,
}

/// The spans of one line.
#[derive(Debug, Default)]
pub struct Inline {
    held: String,
    /// The character before what is held.
    before: Option<char>,
}

impl Inline {
    /// One more character of the line.
    pub fn push(&mut self, c: char, style: Style, wrap: &mut Wrap) {
        if !wrap.styled() {
            wrap.push(c, style);
        } else if self.held.is_empty() && !may_begin(c) {
            wrap.push(c, style);
            self.before = Some(c);
        } else {
            self.held.push(c);
            self.settle(false, style, wrap);
        }
    }

    /// The end of the line.
    pub fn finish(&mut self, style: Style, wrap: &mut Wrap) {
        self.settle(true, style, wrap);
        self.before = None;
    }

    fn settle(&mut self, end: bool, style: Style, wrap: &mut Wrap) {
        let held = std::mem::take(&mut self.held);
        let (rest, before) = spans(&held, self.before, end, style, wrap);
        self.before = before;
        self.held = rest.to_owned();
    }
}

/// Writes `text` with its spans; gives back what more text has to decide, and the character before it.
fn spans<'a>(
    text: &'a str,
    mut before: Option<char>,
    end: bool,
    style: Style,
    wrap: &mut Wrap,
) -> (&'a str, Option<char>) {
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let found = if may_begin(first) { scan(rest, before, end) } else { Scan::Literal(first.len_utf8()) };
        let length = match found {
            Scan::More if rest.len() <= LIMIT => break,
            Scan::More => {
                wrap.push(first, style);
                first.len_utf8()
            }
            Scan::Literal(length) => {
                wrap.text(&rest[..length], style);
                length
            }
            Scan::Escaped(c) => {
                wrap.push(c, style);
                1 + c.len_utf8()
            }
            Scan::Span(length, Kind::Code, inner) => {
                wrap.text(inner, style.and(Style::of(Colour::Cyan)));
                length
            }
            Scan::Span(length, kind, inner) => {
                spans(inner, None, true, style.and(look(kind)), wrap);
                length
            }
            Scan::Link(length, label, address) => {
                link(label, address, style, wrap);
                length
            }
        };
        before = rest[..length].chars().next_back();
        rest = &rest[length..];
    }
    (rest, before)
}

fn link(label: &str, address: &str, style: Style, wrap: &mut Wrap) {
    let underlined = style.and(Style { underline: true, ..Style::PLAIN });
    if label.is_empty() || label == address {
        wrap.text(address, underlined);
        return;
    }
    spans(label, None, true, underlined, wrap);
    // The address is always shown: a text can claim to be another one.
    wrap.text(" (", style.and(Style::DIM));
    wrap.text(address, style.and(Style::DIM));
    wrap.push(')', style.and(Style::DIM));
}

fn look(kind: Kind) -> Style {
    match kind {
        Kind::Code => Style::of(Colour::Cyan),
        Kind::Italic => Style { italic: true, ..Style::PLAIN },
        Kind::Bold => Style::BOLD,
        Kind::Both => Style { italic: true, ..Style::BOLD },
        Kind::Struck => Style { struck: true, ..Style::PLAIN },
    }
}

fn may_begin(c: char) -> bool {
    matches!(c, '`' | '*' | '_' | '~' | '[' | '!' | '<' | '\\')
}

/// What `text` begins with; its first character may begin a span.
fn scan(text: &str, before: Option<char>, end: bool) -> Scan<'_> {
    let mut chars = text.chars();
    let first = chars.next().unwrap_or_default();
    let next = chars.next();
    match (first, next) {
        ('\\', None) | ('!', None) | ('<', None) | ('[', None) if !end => Scan::More,
        ('\\', Some(c)) if c.is_ascii_punctuation() => Scan::Escaped(c),
        ('`', _) => code(text, end),
        ('*' | '_' | '~', _) => emphasis(text, first, before, end),
        ('[', _) => bracket(text, 0, end),
        ('!', Some('[')) => bracket(text, 1, end),
        ('<', Some('h' | 'm')) => autolink(text, end),
        _ => Scan::Literal(1),
    }
}

/// The length of the run of `c` that `text` begins with; none where more text could lengthen it.
fn run(text: &str, c: char, end: bool) -> Option<usize> {
    let length = text.chars().take_while(|x| *x == c).count();
    if length == text.len() && !end { None } else { Some(length) }
}

fn code(text: &str, end: bool) -> Scan<'_> {
    let Some(ticks) = run(text, '`', end) else { return Scan::More };
    let mut at = ticks;
    while let Some(found) = text[at..].find('`') {
        let start = at + found;
        let Some(length) = run(&text[start..], '`', end) else { return Scan::More };
        if length == ticks {
            let inner = &text[ticks..start];
            let trimmed = inner.strip_prefix(' ').and_then(|inner| inner.strip_suffix(' '));
            let inner = trimmed.filter(|t| !t.trim().is_empty()).unwrap_or(inner);
            return Scan::Span(start + length, Kind::Code, inner);
        }
        at = start + length;
    }
    if end { Scan::Literal(ticks) } else { Scan::More }
}

/// The rules of CommonMark 0.31.2, section 6.2, for one line and for runs of up to three.
fn emphasis(text: &str, mark: char, before: Option<char>, end: bool) -> Scan<'_> {
    let Some(opening) = run(text, mark, end) else { return Scan::More };
    let kind = match (mark, opening) {
        ('~', 2) => Kind::Struck,
        ('*' | '_', 1) => Kind::Italic,
        // `__init__` is a name far more often than an emphasis.
        ('*', 2) => Kind::Bold,
        ('*', 3) => Kind::Both,
        _ => return Scan::Literal(opening),
    };
    if !opens(mark, before, text[opening..].chars().next()) {
        return Scan::Literal(opening);
    }
    let mut open = vec![opening];
    let mut at = opening;
    let mut last = mark;
    while let Some(c) = text[at..].chars().next() {
        if c == '\\' {
            at += 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8);
            last = c;
            continue;
        }
        if c == '`' {
            match code(&text[at..], end) {
                Scan::Span(length, ..) | Scan::Literal(length) => at += length,
                _ => return Scan::More,
            }
            last = '`';
            continue;
        }
        if c != mark {
            at += c.len_utf8();
            last = c;
            continue;
        }
        let Some(length) = run(&text[at..], mark, end) else { return Scan::More };
        let after = text[at + length..].chars().next();
        let mut left = length;
        if closes(mark, last, after) {
            while let Some(top) = open.last().copied().filter(|top| *top <= left) {
                left -= top;
                open.pop();
            }
            if open.is_empty() {
                let stop = at + length - left;
                return Scan::Span(stop, kind, &text[opening..stop - opening]);
            }
        }
        if left > 0 && opens(mark, Some(last), after) {
            open.push(left);
        }
        at += length;
        last = mark;
    }
    if end { Scan::Literal(opening) } else { Scan::More }
}

fn opens(mark: char, before: Option<char>, after: Option<char>) -> bool {
    let Some(after) = after.filter(|c| !c.is_whitespace()) else { return false };
    let inside_word = before.is_some_and(char::is_alphanumeric);
    !inside_word || (mark != '_' && !after.is_ascii_punctuation())
}

fn closes(mark: char, before: char, after: Option<char>) -> bool {
    let inside_word = after.is_some_and(char::is_alphanumeric);
    !before.is_whitespace() && (mark != '_' || !inside_word)
}

/// `[text](address)`, from the bracket at byte `start` on.
fn bracket(text: &str, start: usize, end: bool) -> Scan<'_> {
    let unknown = if end { Scan::Literal(1) } else { Scan::More };
    let Some(close) = matching(&text[start..], '[', ']').map(|at| start + at) else { return unknown };
    match text[close + 1..].chars().next() {
        None => unknown,
        Some('(') => match matching(&text[close + 1..], '(', ')') {
            None => unknown,
            Some(length) => {
                let inside = &text[close + 2..close + 1 + length];
                // What follows a space is a title.
                let address = inside.split_whitespace().next().unwrap_or_default();
                let address = address.trim_start_matches('<').trim_end_matches('>');
                if address.is_empty() {
                    return Scan::Literal(1);
                }
                Scan::Link(close + 2 + length, &text[start + 1..close], address)
            }
        },
        Some(_) => Scan::Literal(1),
    }
}

/// Where the bracket that `text` begins with is closed.
fn matching(text: &str, open: char, close: char) -> Option<usize> {
    let mut depth = 0_usize;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == open => depth += 1,
            c if c == close => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn autolink(text: &str, end: bool) -> Scan<'_> {
    const SCHEMES: [&str; 3] = ["http://", "https://", "mailto:"];
    let inner = &text[1..];
    let possible = |scheme: &&str| inner.starts_with(*scheme) || (!end && scheme.starts_with(inner));
    if !SCHEMES.iter().any(possible) || inner.contains([' ', '\t', '<']) {
        return Scan::Literal(1);
    }
    match inner.find('>') {
        Some(stop) => Scan::Link(stop + 2, "", &inner[..stop]),
        None if end => Scan::Literal(1),
        None => Scan::More,
    }
}

/// A short text (the cell of a table) with its spans as styled characters.
pub fn styled_chars(text: &str, base: Style, styled: bool) -> String {
    // Wide enough that nothing breaks.
    let mut wrap = Wrap::new(usize::MAX / 2, styled);
    let mut inline = Inline::default();
    text.chars().for_each(|c| inline.push(c, base, &mut wrap));
    inline.finish(base, &mut wrap);
    wrap.flush();
    wrap.take()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text with styles as tags.
    fn tagged(text: &str) -> String {
        let codes = [
            ("\x1b[0;1;3m", "<bi>"),
            ("\x1b[0;1m", "<b>"),
            ("\x1b[0;3m", "<i>"),
            ("\x1b[0;9m", "<s>"),
            ("\x1b[0;36m", "<c>"),
            ("\x1b[0;4m", "<u>"),
            ("\x1b[0;2m", "<d>"),
            ("\x1b[0m", "</>"),
        ];
        let mut shown = styled_chars(text, Style::PLAIN, true);
        for (code, tag) in codes {
            shown = shown.replace(code, tag);
        }
        shown
    }

    #[test]
    fn spans_are_read_as_commonmark_reads_them() {
        let table = [
            ("**bold** text", "<b>bold </>text"),
            ("*it* and _it_", "<i>it </>and <i>it</>"),
            ("***both***", "<bi>both</>"),
            ("**a *b* c**", "<b>a <bi>b <b>c</>"),
            ("*a **b***", "<i>a <bi>b</>"),
            ("`a*b*` c", "<c>a*b* </>c"),
            ("``a`b``", "<c>a`b</>"),
            ("~~old~~", "<s>old</>"),
            ("2**3 = 8, 5 * 3, a*b", "2**3 = 8, 5 * 3, a*b"),
            ("snake_case_name __init__.py", "snake_case_name __init__.py"),
            (r"\*not\*", "*not*"),
            ("[Rust](https://rust-lang.org) x", "<u>Rust</> <d>(https://rust-lang.org) </>x"),
            ("<https://a.example/> x", "<u>https://a.example/</> x"),
            ("[1] and [x] y", "[1] and [x] y"),
            ("a < b, vec![1], <T>", "a < b, vec![1], <T>"),
            ("an `open tick", "an `open tick"),
            ("**open", "**open"),
            ("![cat](cat.png)", "<u>cat</> <d>(cat.png)</>"),
            (r"C:\dir\", r"C:\dir\"),
        ];
        for (text, wanted) in table {
            assert_eq!(tagged(text), wanted, "{text}");
        }
    }

    #[test]
    fn without_styles_the_marks_stay() {
        assert_eq!(styled_chars("**a** `b` [c](d)", Style::PLAIN, false), "**a** `b` [c](d)");
    }

    #[test]
    fn what_is_held_is_limited() {
        let mut wrap = Wrap::new(80, true);
        let mut inline = Inline::default();
        "*".chars()
            .chain(std::iter::repeat_n('x', 2 * LIMIT))
            .for_each(|c| inline.push(c, Style::PLAIN, &mut wrap));
        assert!(inline.held.is_empty());
    }
}
