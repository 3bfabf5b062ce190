//! From the bytes that a command writes to text: UTF-8, without what steers a terminal, the middle
//! left out where there is too much of it.

use chela_agent::tool::{ceil, floor};

use super::keep::KeptFile;

/// What a command has written.
pub(super) struct Output {
    screen: Screen,
    bytes: u64,
    limit: usize,
    /// The beginning: as much as a result may have.
    head: String,
    /// The end of what came after it: as much again.
    tail: String,
    /// Bytes and lines between the two.
    left_out: (u64, u64),
    file: KeptFile,
}

impl Output {
    /// `limit`: bytes of the result at most, about.
    pub fn new(limit: usize, file: KeptFile) -> Self {
        let screen = Screen::default();
        Self { screen, bytes: 0, limit, head: String::new(), tail: String::new(), left_out: (0, 0), file }
    }

    /// Bytes that came.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes bytes, and gives the text that they finished.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.bytes += bytes.len() as u64;
        let text = self.screen.push(bytes);
        self.keep(&text);
        text
    }

    /// What was written of a line without its end yet.
    pub fn unfinished(&mut self) -> String {
        let text = self.screen.flush();
        self.keep(&text);
        text
    }

    fn keep(&mut self, text: &str) {
        let room = floor(text, self.limit.saturating_sub(self.head.len()));
        let (head, rest) = if self.tail.is_empty() { text.split_at(room) } else { ("", text) };
        self.head.push_str(head);
        if rest.is_empty() {
            return;
        }
        if self.tail.is_empty() && self.left_out.0 == 0 {
            self.file.write(&self.head);
        }
        self.file.write(rest);
        self.tail.push_str(rest);
        // In large steps, so that not every piece moves the whole tail.
        if self.tail.len() > self.limit * 2 {
            let cut = ceil(&self.tail, self.tail.len() - self.limit);
            let gone = &self.tail[..cut];
            self.left_out.0 += cut as u64;
            self.left_out.1 += gone.matches('\n').count() as u64;
            self.tail.drain(..cut);
        }
    }

    /// The text for the result.
    pub fn finish(mut self) -> String {
        let text = self.screen.end();
        self.keep(&text);
        if self.tail.is_empty() || self.left_out.0 == 0 && self.head.len() + self.tail.len() <= self.limit {
            return self.head + &self.tail;
        }
        // Two thirds of the limit for the beginning, one for the end, both cut at lines.
        let head = floor(&self.head, self.limit * 2 / 3);
        let head = self.head[..head].rfind('\n').filter(|at| *at > self.limit / 3).map_or(head, |at| at + 1);
        let tail = ceil(&self.tail, self.tail.len().saturating_sub(self.limit / 3));
        let line = self.tail[tail..].find('\n').filter(|at| *at < self.limit / 6);
        let tail = line.map_or(tail, |at| tail + at + 1);
        let between = [&self.head[head..], &self.tail[..tail]];
        let bytes = self.left_out.0 + between.iter().map(|text| text.len() as u64).sum::<u64>();
        let lines =
            self.left_out.1 + between.iter().map(|text| text.matches('\n').count() as u64).sum::<u64>();
        let first = self.head[..head].matches('\n').count() + 1;
        let all = match self.file.finish() {
            Ok(path) => format!("; read {} offset={first} shows them", path.display()),
            Err(error) => format!("; they could not be kept: {error}"),
        };
        format!(
            "{}\n[… {bytes} bytes, {lines} lines left out{all} …]\n{}",
            self.head[..head].trim_end(),
            &self.tail[tail..]
        )
    }
}

/// A terminal that keeps nothing but text: escape sequences and control characters are taken out,
/// and a line that is written over, as progress bars do it, has its last state.
#[derive(Debug, Default)]
struct Screen {
    state: State,
    /// The beginning of a character.
    partial: Vec<u8>,
    /// The line so far, as far as it was not given away.
    line: String,
    /// A carriage return came: the next character begins the line again.
    returned: bool,
    /// A part of this line was given away.
    given: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// Behind ESC.
    Escape,
    /// In a control sequence, up to a byte of 0x40 to 0x7E (ECMA-48, 5.4).
    Sequence,
    /// In a string, up to BEL or ESC \ (ECMA-48, 5.6; xterm).
    String,
    /// Behind ESC in a string.
    StringEscape,
}

/// A line that is longer is given away in parts.
const LONG_LINE: usize = 4 << 10;

impl Screen {
    fn push(&mut self, bytes: &[u8]) -> String {
        let mut bytes = [std::mem::take(&mut self.partial).as_slice(), bytes].concat();
        let whole = whole_characters(&bytes);
        self.partial = bytes.split_off(whole);
        let mut ready = String::new();
        for c in String::from_utf8_lossy(&bytes).chars() {
            self.take(c, &mut ready);
        }
        ready
    }

    fn take(&mut self, c: char, ready: &mut String) {
        self.state = match (self.state, c) {
            (State::Text, '\u{1b}') => State::Escape,
            (State::Text, '\u{9b}') => State::Sequence,
            (State::Text, c) => {
                self.character(c, ready);
                State::Text
            }
            (State::Escape, '[') => State::Sequence,
            (State::Escape, ']' | 'P' | 'X' | '^' | '_') => State::String,
            // Intermediate bytes, as in ESC ( B.
            (State::Escape, ' '..='/') => State::Escape,
            // A sequence that a line end breaks off was none.
            (State::Escape | State::Sequence, '\n') => {
                self.character('\n', ready);
                State::Text
            }
            (State::Escape, _) | (State::Sequence, '@'..='~') => State::Text,
            (State::Sequence, _) => State::Sequence,
            (State::String, '\u{7}') | (State::StringEscape, '\\') => State::Text,
            (State::String, '\u{1b}') => State::StringEscape,
            (State::String | State::StringEscape, '\n') => {
                self.character('\n', ready);
                State::Text
            }
            (State::String | State::StringEscape, _) => State::String,
        };
    }

    fn character(&mut self, c: char, ready: &mut String) {
        match c {
            '\n' => {
                self.returned = false;
                self.given = false;
                ready.push_str(&std::mem::take(&mut self.line));
                ready.push('\n');
            }
            '\r' => self.returned = true,
            '\u{8}' => drop(self.line.pop()),
            '\t' => self.line.push('\t'),
            c if c.is_control() => {}
            c => {
                if std::mem::take(&mut self.returned) {
                    self.line.clear();
                    if std::mem::take(&mut self.given) {
                        ready.push('\n');
                    }
                }
                self.line.push(c);
                if self.line.len() >= LONG_LINE {
                    self.given = true;
                    ready.push_str(&std::mem::take(&mut self.line));
                }
            }
        }
    }

    fn flush(&mut self) -> String {
        self.given |= !self.line.is_empty();
        std::mem::take(&mut self.line)
    }

    fn end(&mut self) -> String {
        let rest = std::mem::take(&mut self.partial);
        let mut text = String::new();
        String::from_utf8_lossy(&rest).chars().for_each(|c| self.take(c, &mut text));
        text + &self.flush()
    }
}

/// How many bytes hold no character that goes on behind them.
fn whole_characters(bytes: &[u8]) -> usize {
    let from = bytes.len().saturating_sub(3);
    for at in (from..bytes.len()).rev() {
        let length = match bytes[at] {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return bytes.len(),
        };
        return if at + length > bytes.len() { at } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::keep::Outputs;
    use chela_protocol::SessionId;
    use proptest::prelude::*;

    fn screen(bytes: &[u8]) -> String {
        let mut screen = Screen::default();
        screen.push(bytes) + &screen.end()
    }

    #[test]
    fn what_steers_a_terminal_is_taken_out() {
        let table: &[(&[u8], &str)] = &[
            (b"\x1b[1;31mred\x1b[0m\n", "red\n"),
            (b"\x1b]0;title\x07text", "text"),
            (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            (b"\x1b(Bplain\x1b=", "plain"),
            (b"10%\r20%\r100%\n", "100%\n"),
            (b"windows\r\nlines\r\n", "windows\nlines\n"),
            (b"abc\x08d", "abd"),
            (b"bell\x07 nul\0 vt\x0b", "bell nul vt"),
            (b"\xff\xfe not utf-8 \xc3", "\u{fffd}\u{fffd} not utf-8 \u{fffd}"),
            ("crab 🦀 é".as_bytes(), "crab 🦀 é"),
            (b"\x1b[31", ""),
            (b"\x1b]endless\nnext", "\nnext"),
            (b"tab\tx", "tab\tx"),
        ];
        for (bytes, expected) in table {
            assert_eq!(screen(bytes), *expected, "{}", String::from_utf8_lossy(bytes));
        }
    }

    fn outputs() -> (tempfile::TempDir, Outputs) {
        let folder = tempfile::tempdir().unwrap();
        let outputs = Outputs::new(folder.path().join("outputs"));
        (folder, outputs)
    }

    #[test]
    fn a_long_output_keeps_its_ends_and_says_where_all_of_it_is() {
        let (_keep, outputs) = outputs();
        let mut output = Output::new(3_000, outputs.next(SessionId::new()));
        let all: String = (1..=10_000).map(|n| format!("line {n}\n")).collect();
        for part in all.as_bytes().chunks(777) {
            output.push(part);
        }
        let text = output.finish();
        assert!(text.len() < 3_200, "{}", text.len());
        assert!(text.starts_with("line 1\n") && text.ends_with("line 10000\n"), "{text}");
        let note = text.lines().find(|line| line.starts_with("[…")).unwrap();
        let path = note.split(' ').find(|word| word.starts_with('/')).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), all);
        let offset: usize = note.split("offset=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        let first = text.lines().take_while(|line| !line.starts_with("[…")).count();
        assert_eq!(offset, first + 1, "{note}");
        let lines: usize = note.split(", ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert_eq!(lines + text.lines().count() - 1, 10_000);
    }

    #[test]
    fn a_short_output_is_whole_and_makes_no_file() {
        let (keep, outputs) = outputs();
        let mut output = Output::new(3_000, outputs.next(SessionId::new()));
        output.push(b"a\nb");
        assert_eq!(output.unfinished(), "b");
        output.push(b"c\n");
        assert_eq!(output.finish(), "a\nbc\n");
        assert!(!keep.path().join("outputs").exists());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_split_of_any_bytes_gives_the_same_text(bytes in proptest::collection::vec(
            prop_oneof![Just(0x1b_u8), Just(b'['), Just(b']'), Just(b'\r'), Just(b'\n'), Just(0xf0), Just(0x9f), Just(0xa6),
                Just(0x80), any::<u8>()], 0..60), cut in 0_usize..60) {
            let whole = screen(&bytes);
            let cut = cut.min(bytes.len());
            let mut screen = Screen::default();
            let parts = screen.push(&bytes[..cut]) + &screen.push(&bytes[cut..]) + &screen.end();
            prop_assert_eq!(&parts, &whole);
            prop_assert!(whole.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'));
        }
    }
}
