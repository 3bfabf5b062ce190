//! Words into lines: a word is held until its end is known and stands in the next line where it does
//! not fit, so that what was written never moves.

use unicode_width::UnicodeWidthChar;

use super::style::Style;

/// Breaks lines at words and writes the escapes of styles.
#[derive(Debug)]
pub struct Wrap {
    /// Columns of a line.
    width: usize,
    styled: bool,
    /// What is done and not yet taken.
    out: String,
    column: usize,
    /// The style that the terminal has now.
    current: Style,
    word: Vec<(char, Style)>,
    word_width: usize,
    /// The word is the rest of one that was too long for a line: no break before it.
    glued: bool,
    spaces: usize,
    /// What stands before every line but the first of a paragraph.
    hang: Vec<(char, Style)>,
}

impl Wrap {
    /// Lines of `width` columns; styles are dropped unless `styled`.
    pub fn new(width: usize, styled: bool) -> Self {
        Self {
            width: width.max(8),
            styled,
            out: String::new(),
            column: 0,
            current: Style::PLAIN,
            word: Vec::new(),
            word_width: 0,
            glued: false,
            spaces: 0,
            hang: Vec::new(),
        }
    }

    pub fn styled(&self) -> bool {
        self.styled
    }

    pub fn width(&self) -> usize {
        self.width
    }

    /// What is done since the last time.
    pub fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    /// What stands before every further line of this paragraph; at most half a line.
    pub fn hang(&mut self, text: Vec<(char, Style)>) {
        self.hang = text;
        while columns(&self.hang) > self.width / 2 {
            self.hang.pop();
        }
    }

    /// One more character of running text.
    pub fn push(&mut self, c: char, style: Style) {
        match c {
            '\n' => self.newline(),
            ' ' | '\t' => {
                self.end_word();
                self.spaces += if c == ' ' { 1 } else { 4 };
            }
            _ => {
                let width = c.width().unwrap_or(0);
                // Scripts without spaces break between any two characters.
                let wide = width > 1;
                if wide {
                    self.end_word();
                }
                self.word.push((c, style));
                self.word_width += width;
                if wide {
                    self.end_word();
                } else if self.word_width > self.width {
                    self.end_word();
                    self.glued = true;
                }
            }
        }
    }

    /// Running text.
    pub fn text(&mut self, text: &str, style: Style) {
        text.chars().for_each(|c| self.push(c, style));
    }

    /// One character as it is: no break, no space lost.
    pub fn verbatim(&mut self, c: char, style: Style) {
        self.end_word();
        self.write_spaces();
        self.write(c, style);
        self.column += c.width().unwrap_or(0);
    }

    /// Ends the line.
    pub fn newline(&mut self) {
        self.end_word();
        self.spaces = 0;
        self.glued = false;
        self.restyle(Style::PLAIN);
        self.out.push('\n');
        self.column = 0;
    }

    /// A whole line that is laid out already.
    pub fn line(&mut self, line: &str) {
        self.out.push_str(line);
        self.newline();
    }

    /// Writes what is held.
    pub fn flush(&mut self) {
        self.end_word();
        self.restyle(Style::PLAIN);
    }

    fn end_word(&mut self) {
        if self.word.is_empty() {
            return;
        }
        let fits = self.column + self.spaces + self.word_width <= self.width;
        if !fits && !self.glued && self.column > columns(&self.hang) {
            self.restyle(Style::PLAIN);
            self.out.push('\n');
            self.column = columns(&self.hang);
            self.spaces = 0;
            for (c, style) in self.hang.clone() {
                self.write(c, style);
            }
        }
        self.write_spaces();
        for (c, style) in std::mem::take(&mut self.word) {
            self.write(c, style);
        }
        self.column += std::mem::take(&mut self.word_width);
        self.glued = false;
    }

    fn write_spaces(&mut self) {
        if self.spaces > 0 {
            // An underline does not go on through the spaces of a break.
            self.restyle(Style { underline: false, struck: false, ..self.current });
            self.out.extend(std::iter::repeat_n(' ', self.spaces));
            self.column += std::mem::take(&mut self.spaces);
        }
    }

    fn write(&mut self, c: char, style: Style) {
        self.restyle(style);
        self.out.push(c);
    }

    fn restyle(&mut self, style: Style) {
        if self.styled && style != self.current {
            self.out.push_str(&style.escape());
            self.current = style;
        }
    }
}

/// Columns of styled characters.
pub fn columns(text: &[(char, Style)]) -> usize {
    text.iter().map(|(c, _)| c.width().unwrap_or(0)).sum()
}

/// Characters of one style.
pub fn in_style(text: &str, style: Style) -> Vec<(char, Style)> {
    text.chars().map(|c| (c, style)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(width: usize, hang: &str, text: &str) -> String {
        let mut wrap = Wrap::new(width, false);
        wrap.hang(in_style(hang, Style::PLAIN));
        wrap.text(text, Style::PLAIN);
        wrap.flush();
        wrap.take()
    }

    #[test]
    fn lines_break_at_words_and_hang() {
        let table = [
            ("", "one two three", "one two\nthree"),
            ("  ", "one two three", "one two\n  three"),
            ("", "exactly ten", "exactly\nten"),
            ("", "0123456789 x", "0123456789\nx"),
            ("", "see http://a.example/long x", "see\nhttp://a.example/long\nx"),
            ("", "日本語の文です", "日本語の文\nです"),
            ("", "a  b", "a  b"),
        ];
        for (hang, text, wanted) in table {
            assert_eq!(wrapped(10, hang, text), wanted, "{text}");
        }
    }

    #[test]
    fn styles_end_with_the_line() {
        let mut wrap = Wrap::new(20, true);
        wrap.text("ab", Style::BOLD);
        wrap.text(" cd\n", Style::PLAIN);
        assert_eq!(wrap.take(), "\x1b[0;1mab \x1b[0mcd\n");
    }
}
