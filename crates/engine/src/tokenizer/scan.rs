//! The pre-tokenizer patterns of the known model families, scanned by hand.
//!
//! These patterns are alternations of a few shapes (a contraction, a word with one leading
//! character, a group of digits, a run of other characters, white space), so that [`Words`]
//! describes each by a handful of choices and one scanner serves all. A pattern is recognised by
//! its exact text; any other goes to the regex engine.

use super::unicode::{Classes, LETTER, LOWER, MARK, NUMBER, SPACE, UNCASED, UPPER};

/// The choices that make up a pattern.
#[derive(Debug)]
pub(super) struct Words {
    pattern: &'static str,
    contraction: Contraction,
    lead: Lead,
    letters: Letters,
    digits: Digits,
    /// What a run of other characters takes along at its end.
    tail: &'static [u8],
    /// Whether white space up to the last line break is a piece: `\s*[\r\n]+`.
    line_breaks: bool,
}

/// `'s|'t|'re|'ve|'m|'ll|'d`.
#[derive(Debug, PartialEq)]
enum Contraction {
    /// A piece of its own, in lower case.
    Exact,
    /// A piece of its own, in either case.
    AnyCase,
    /// In either case, at the end of a word.
    Suffix,
    None,
}

/// What may stand before the letters of a word.
#[derive(Debug, PartialEq)]
enum Lead {
    /// ` ?`
    Space,
    /// `[^\r\n\p{L}\p{N}]?`
    Other,
}

/// The letters of a word.
#[derive(Debug, PartialEq)]
enum Letters {
    /// `\p{L}+`
    Plain,
    /// `[\p{L}\p{M}]+`, and marks are no part of a run of other characters.
    Marks,
    /// `U*l+|U+l*` where U is upper case or uncased, l lower case or uncased.
    Cased,
}

#[derive(Debug, PartialEq)]
enum Digits {
    /// ` ?\p{N}+`
    Spaced,
    /// `\p{N}{1,n}`
    AtMost(usize),
}

/// GPT-2's pattern, which the `ByteLevel` pre-tokenizer uses as well.
pub(super) const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Llama 3's pattern.
pub(super) const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The pattern of Qwen 2 to 3.
pub(super) const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen 3.5's pattern.
pub(super) const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Mistral's tekken pattern.
pub(super) const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The o200k pattern, of gpt-oss and others.
pub(super) const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

static KNOWN: [Words; 6] = [
    Words {
        pattern: GPT2,
        contraction: Contraction::Exact,
        lead: Lead::Space,
        letters: Letters::Plain,
        digits: Digits::Spaced,
        tail: b"",
        line_breaks: false,
    },
    Words {
        pattern: LLAMA3,
        contraction: Contraction::AnyCase,
        lead: Lead::Other,
        letters: Letters::Plain,
        digits: Digits::AtMost(3),
        tail: b"\r\n",
        line_breaks: true,
    },
    Words {
        pattern: QWEN2,
        contraction: Contraction::AnyCase,
        lead: Lead::Other,
        letters: Letters::Plain,
        digits: Digits::AtMost(1),
        tail: b"\r\n",
        line_breaks: true,
    },
    Words {
        pattern: QWEN35,
        contraction: Contraction::AnyCase,
        lead: Lead::Other,
        letters: Letters::Marks,
        digits: Digits::AtMost(1),
        tail: b"\r\n",
        line_breaks: true,
    },
    Words {
        pattern: TEKKEN,
        contraction: Contraction::None,
        lead: Lead::Other,
        letters: Letters::Cased,
        digits: Digits::AtMost(1),
        tail: b"\r\n/",
        line_breaks: true,
    },
    Words {
        pattern: O200K,
        contraction: Contraction::Suffix,
        lead: Lead::Other,
        letters: Letters::Cased,
        digits: Digits::AtMost(3),
        tail: b"\r\n/",
        line_breaks: true,
    },
];

impl Words {
    /// The scanner for a pattern, if it is a known one.
    pub(super) fn find(pattern: &str) -> Option<&'static Self> {
        KNOWN.iter().find(|words| words.pattern == pattern)
    }

    /// Cut a text into pieces, from left to right and without gaps; calls `piece` with the end
    /// of each.
    pub(super) fn cut(&self, text: &str, mut piece: impl FnMut(usize)) {
        let scan = Scan { words: self, text, classes: Classes::get() };
        let mut at = 0;
        while let Some(first) = scan.at(at) {
            at = scan.piece(at, first);
            piece(at);
        }
    }
}

struct Scan<'a> {
    words: &'a Words,
    text: &'a str,
    classes: Classes,
}

/// A character: itself, its classes, and where the next one starts.
#[derive(Clone, Copy)]
struct Char {
    c: char,
    class: u8,
    end: usize,
}

impl Char {
    fn is(self, class: u8) -> bool {
        self.class & class != 0
    }
}

impl Scan<'_> {
    fn at(&self, at: usize) -> Option<Char> {
        let c = self.text[at..].chars().next()?;
        Some(Char { c, class: self.classes.of(c), end: at + c.len_utf8() })
    }

    /// The end of the run of characters of some class that starts at `at`.
    fn run(&self, mut at: usize, wanted: impl Fn(Char) -> bool) -> usize {
        while let Some(next) = self.at(at).filter(|next| wanted(*next)) {
            at = next.end;
        }
        at
    }

    /// The end of the piece that starts at `at` with this character.
    fn piece(&self, at: usize, first: Char) -> usize {
        let words = self.words;
        if matches!(words.contraction, Contraction::Exact | Contraction::AnyCase)
            && let Some(end) = self.contraction(at, words.contraction == Contraction::AnyCase)
        {
            return end;
        }
        if let Some(end) = self.word(at, first) {
            return end;
        }
        let after_space = if first.c == ' ' { first.end } else { at };
        match words.digits {
            Digits::Spaced => {
                let end = self.run(after_space, |next| next.is(NUMBER));
                if end > after_space {
                    return end;
                }
            }
            Digits::AtMost(most) => {
                let mut end = at;
                for _ in 0..most {
                    end = match self.at(end) {
                        Some(next) if next.is(NUMBER) => next.end,
                        _ => break,
                    };
                }
                if end > at {
                    return end;
                }
            }
        }
        let letters = if words.letters == Letters::Marks { LETTER | MARK } else { LETTER };
        let end = self.run(after_space, |next| !next.is(SPACE | NUMBER | letters));
        if end > after_space {
            let bytes = self.text.as_bytes()[end..].iter();
            return end + bytes.take_while(|byte| words.tail.contains(byte)).count();
        }
        self.space(at, first)
    }

    /// `'s`, `'t`, `'re`, `'ve`, `'m`, `'ll`, `'d` at `at`.
    fn contraction(&self, at: usize, any_case: bool) -> Option<usize> {
        let letter = |at: usize| {
            let next = self.at(at)?;
            let c = match next.c {
                // The long s is an s to a pattern that ignores case.
                'ſ' if any_case => 's',
                c if any_case => c.to_ascii_lowercase(),
                c => c,
            };
            Some((c, next.end))
        };
        let quote = self.at(at).filter(|next| next.c == '\'')?;
        let (first, end) = letter(quote.end)?;
        let second = match first {
            's' | 't' | 'm' | 'd' => return Some(end),
            'r' | 'v' => 'e',
            'l' => 'l',
            _ => return None,
        };
        let (found, end) = letter(end)?;
        (found == second).then_some(end)
    }

    /// A word with what may stand before it. The leading character is tried first; where the
    /// pattern fails after it, without it.
    fn word(&self, at: usize, first: Char) -> Option<usize> {
        let leads = match self.words.lead {
            Lead::Space => first.c == ' ',
            Lead::Other => !first.is(LETTER | NUMBER) && first.c != '\r' && first.c != '\n',
        };
        let starts = [leads.then_some(first.end), Some(at)];
        let mut starts = starts.into_iter().flatten();
        let plain = |letters: u8| {
            move |start| {
                let end = self.run(start, |next| next.is(letters));
                (end > start).then_some(end)
            }
        };
        match self.words.letters {
            Letters::Plain => starts.find_map(plain(LETTER)),
            Letters::Marks => starts.find_map(plain(LETTER | MARK)),
            Letters::Cased => {
                let lower_last = starts.clone().find_map(|start| self.ends_lower(start));
                let end = lower_last.or_else(|| starts.find_map(|start| self.all_upper(start)))?;
                let suffix = self.words.contraction == Contraction::Suffix;
                let suffix = suffix.then(|| self.contraction(end, true)).flatten();
                Some(suffix.unwrap_or(end))
            }
        }
    }

    /// `U*l+`: the upper part is as long as it can be while a lower one follows, so that where
    /// no lower-case letter stops it, it gives back up to its last uncased character.
    fn ends_lower(&self, start: usize) -> Option<usize> {
        let mut at = start;
        let mut last_uncased = None;
        while let Some(next) = self.at(at).filter(|next| next.is(UPPER | UNCASED | MARK)) {
            at = next.end;
            if next.is(UNCASED | MARK) {
                last_uncased = Some(at);
            }
        }
        let end = self.run(at, |next| next.is(LOWER | UNCASED | MARK));
        if end > at { Some(end) } else { last_uncased }
    }

    /// `U+l*` where [`Self::ends_lower`] found nothing, so that no `l` follows.
    fn all_upper(&self, start: usize) -> Option<usize> {
        let end = self.run(start, |next| next.is(UPPER | UNCASED | MARK));
        (end > start).then_some(end)
    }

    /// `\s*[\r\n]+|\s+(?!\S)|\s+`: up to the last line break of the run; else the run without
    /// its last character, which goes with what follows; else all of it.
    fn space(&self, at: usize, first: Char) -> usize {
        let mut end = at;
        let mut before_last = at;
        let mut after_break = None;
        while let Some(next) = self.at(end).filter(|next| next.is(SPACE)) {
            before_last = end;
            end = next.end;
            if next.c == '\r' || next.c == '\n' {
                after_break = Some(end);
            }
        }
        match after_break.filter(|_| self.words.line_breaks) {
            Some(end) => end,
            None if end == at => first.end,
            None if end == self.text.len() || before_last == at => end,
            None => before_last,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    /// The pieces that the regex engine finds.
    fn by_regex(regex: &fancy_regex::Regex, text: &str) -> Vec<String> {
        let found = regex.find_iter(text).map(|m| m.unwrap().as_str().to_owned());
        found.collect()
    }

    fn by_scan(words: &Words, text: &str) -> Vec<String> {
        let mut at = 0;
        let mut pieces = Vec::new();
        words.cut(text, |end| {
            pieces.push(text[at..end].to_owned());
            at = end;
        });
        pieces
    }

    static REGEXES: LazyLock<Vec<fancy_regex::Regex>> = LazyLock::new(|| {
        let patterns = KNOWN.iter().map(|words| words.pattern);
        let regexes = patterns.map(|pattern| fancy_regex::Regex::new(pattern).unwrap());
        regexes.collect()
    });

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(600))]

        /// Oracle: fancy-regex, on text dense in the characters that the patterns tell apart.
        #[test]
        fn scanners_cut_like_the_patterns(
            text in "([a-cA-C'sStTrReEvVlLdDmMſ]|[ \t\r\n/]|[0-9٣²½]|[.,!'/-]|[ǅʰªé한字あ]|[\u{300}\u{301}\u{903}]|[\u{a0}\u{3000}\u{85}\u{2028}]|\\PC){0,40}"
        ) {
            for (words, regex) in KNOWN.iter().zip(REGEXES.iter()) {
                prop_assert_eq!(by_scan(words, &text), by_regex(regex, &text));
            }
        }
    }
}
