//! The table of tokens: every token's bytes in one arena, found by id or by content.

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

use super::TokenizerError;

/// Marks a span without a token.
const ABSENT: u32 = u32::MAX;

pub(super) struct Vocab {
    byte_level: bool,
    limit: usize,
    arena: Vec<u8>,
    /// Start and length of each id's bytes.
    spans: Vec<(u32, u32)>,
    index: HashTable<u32>,
    /// Whether every token is in the index, so that its content has no other id.
    unique: bool,
    hasher: DefaultHashBuilder,
}

/// A token that has no id yet.
pub(super) struct Token {
    span: (u32, u32),
    /// Whether it can be found by its content.
    indexed: bool,
}

/// How a token's text stands for bytes.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Spelling {
    /// As the model's vocabulary spells it: with the byte alphabet in a byte-level one. A text
    /// with other characters, which only added tokens have, stands for itself.
    Model,
    /// The text itself.
    Literal,
}

impl Vocab {
    /// An empty table that takes ids below `limit`, which the caller draws from the size of its
    /// input, so that one large id in a small file allocates nothing.
    pub(super) fn new(byte_level: bool, limit: usize) -> Self {
        Self {
            byte_level,
            limit,
            arena: Vec::new(),
            spans: Vec::new(),
            index: HashTable::new(),
            unique: true,
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Make room for so many tokens, to be spared growing.
    pub(super) fn reserve(&mut self, tokens: usize) {
        let hasher = &self.hasher;
        self.index.reserve(tokens, |_| hasher.hash_one(0));
    }

    /// Whether texts spell bytes by the byte alphabet.
    pub(super) fn is_byte_level(&self) -> bool {
        self.byte_level
    }

    /// One more than the largest id.
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// The bytes of a token.
    pub(super) fn bytes(&self, id: u32) -> Option<&[u8]> {
        let (start, len) = *self.spans.get(id as usize)?;
        (start != ABSENT).then(|| &self.arena[start as usize..][..len as usize])
    }

    /// The id of the token with these bytes, among those that [`Self::add`] put into the index.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(bytes);
        let same = |id: &u32| self.bytes(*id) == Some(bytes);
        self.index.find(hash, same).copied()
    }

    /// As [`Self::find`], where `guess` is likely to be the id.
    pub(super) fn find_near(&self, bytes: &[u8], guess: u32) -> Option<u32> {
        let right = self.unique && self.bytes(guess) == Some(bytes);
        if right { Some(guess) } else { self.find(bytes) }
    }

    /// The id of a token by its spelling in the model's vocabulary.
    pub(super) fn find_text(&self, text: &str, scratch: &mut Vec<u8>) -> Option<u32> {
        scratch.clear();
        self.spell(text.as_bytes(), scratch).then(|| self.find(scratch))?
    }

    /// Append the bytes that a text of the model's vocabulary, in UTF-8, stands for. `false`, and
    /// nothing is appended, if it has characters outside of the byte alphabet or is no UTF-8.
    pub(super) fn spell(&self, text: &[u8], out: &mut Vec<u8>) -> bool {
        if !self.byte_level {
            let valid = std::str::from_utf8(text).is_ok();
            if valid {
                out.extend(text);
            }
            return valid;
        }
        let before = out.len();
        out.resize(before + text.len(), 0);
        let (mut at, mut end, mut wrong) = (0, before, false);
        // Which characters take two bytes follows no pattern, so nothing here branches on it.
        while at < text.len() {
            let (first, second) = (text[at], text.get(at + 1).copied().unwrap_or(0));
            // The alphabet ends below U+0800, so that its characters take two bytes at most.
            let wide = first >= 0x80;
            let pair = usize::from(first & 0x1f) << 6 | usize::from(second & 0x3f);
            let byte = ALPHABET[if wide { pair } else { usize::from(first) }];
            let well_formed = (0xc2..=0xdf).contains(&first) & (second & 0xc0 == 0x80);
            wrong |= (byte == OUTSIDE) | (wide & !well_formed);
            out[end] = byte as u8;
            end += 1;
            at += 1 + usize::from(wide);
        }
        out.truncate(if wrong { before } else { end });
        !wrong
    }

    /// Add a token. An id that is taken keeps its first token. Tokens in the model's spelling can
    /// be found by content, literal ones cannot; where two have the same bytes, the first is found.
    pub(super) fn add(&mut self, id: u32, text: &str, spelling: Spelling) -> Result<(), TokenizerError> {
        let token = match spelling {
            Spelling::Model => self.push(text.as_bytes())?,
            Spelling::Literal => self.push_literal(text.as_bytes())?,
        };
        self.name(token, id)
    }

    /// Store a token in the model's spelling, in UTF-8, to be given its id by [`Self::name`].
    pub(super) fn push(&mut self, text: &[u8]) -> Result<Token, TokenizerError> {
        let start = self.arena.len();
        let mut arena = std::mem::take(&mut self.arena);
        let spelled = self.spell(text, &mut arena);
        self.arena = arena;
        if spelled { self.token(start, true) } else { self.push_literal(text) }
    }

    fn push_literal(&mut self, text: &[u8]) -> Result<Token, TokenizerError> {
        if std::str::from_utf8(text).is_err() {
            return Err(TokenizerError::Invalid {
                what: "token".to_owned(),
                expected: "UTF-8".to_owned(),
                found: String::from_utf8_lossy(text).chars().take(80).collect(),
            });
        }
        let start = self.arena.len();
        self.arena.extend(text);
        self.token(start, false)
    }

    fn token(&self, start: usize, indexed: bool) -> Result<Token, TokenizerError> {
        let end = self.arena.len();
        if end >= ABSENT as usize {
            return Err(TokenizerError::Invalid {
                what: "vocabulary".to_owned(),
                expected: "less than 4 GiB of text".to_owned(),
                found: "more".to_owned(),
            });
        }
        Ok(Token { span: (start as u32, (end - start) as u32), indexed })
    }

    /// Give the token that was stored last its id.
    pub(super) fn name(&mut self, token: Token, id: u32) -> Result<(), TokenizerError> {
        let place = id as usize;
        if place >= self.limit {
            return Err(TokenizerError::Invalid {
                what: "id of a token".to_owned(),
                expected: format!("a number below {}", self.limit),
                found: id.to_string(),
            });
        }
        if self.bytes(id).is_some() {
            self.arena.truncate(token.span.0 as usize);
            return Ok(());
        }
        if place >= self.spans.len() {
            self.spans.resize(place + 1, (ABSENT, 0));
        }
        self.spans[place] = token.span;
        self.unique &= token.indexed && self.index(id);
        Ok(())
    }

    /// Make a token known by its content, unless another with the same is; whether none was.
    fn index(&mut self, id: u32) -> bool {
        let Self { arena, spans, index, hasher, .. } = self;
        let bytes = |id: u32| {
            let (start, len) = spans[id as usize];
            &arena[start as usize..][..len as usize]
        };
        let new = bytes(id);
        let hash = |id: &u32| hasher.hash_one(bytes(*id));
        let entry = index.entry(hasher.hash_one(new), |other| bytes(*other) == new, hash);
        *entry.or_insert(id).get() == id
    }

    /// Give back what the tables have allocated in advance.
    pub(super) fn shrink(&mut self) {
        self.arena.shrink_to_fit();
        self.spans.shrink_to_fit();
    }

    /// Bytes of memory that the tables take.
    pub(super) fn heap_bytes(&self) -> usize {
        self.arena.capacity() + self.spans.capacity() * 8 + self.index.allocation_size()
    }
}

/// Marks a code point that is no character of the byte alphabet.
const OUTSIDE: u16 = 0x100;

/// The byte of every character of the byte alphabet, by code point, for all that two bytes of UTF-8 hold.
static ALPHABET: [u16; 0x800] = {
    let mut table = [OUTSIDE; 0x800];
    let mut byte = 0u8;
    loop {
        table[alphabet_code(byte)] = byte as u16;
        if byte == u8::MAX {
            break table;
        }
        byte += 1;
    }
};

/// The character that stands for a byte in byte-level vocabularies: printable Latin-1 ones for
/// themselves, the 68 others as U+0100 and up, in order (GPT-2's `bytes_to_unicode`).
pub(super) fn alphabet_char(byte: u8) -> char {
    char::from_u32(alphabet_code(byte) as u32).unwrap_or_default()
}

const fn alphabet_code(byte: u8) -> usize {
    match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => byte as usize,
        0x00..=0x20 => 0x100 + byte as usize,
        0x7f..=0xa0 => 0x100 + 33 + (byte - 0x7f) as usize,
        0xad => 0x100 + 67,
    }
}

/// The byte of a token like `<0x0A>`.
pub(super) fn byte_token(text: &[u8]) -> Option<u8> {
    let [b'<', b'0', b'x', high, low, b'>'] = text else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(*high)? << 4 | digit(*low)?) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alphabet_is_a_bijection() {
        let vocab = Vocab::new(true, 0);
        for byte in 0..=255 {
            let mut bytes = Vec::new();
            assert!(vocab.spell(alphabet_char(byte).to_string().as_bytes(), &mut bytes));
            assert_eq!(bytes, [byte]);
        }
        assert_eq!(alphabet_char(b' '), 'Ġ');
        assert_eq!(alphabet_char(b'\n'), 'Ċ');
    }
}
