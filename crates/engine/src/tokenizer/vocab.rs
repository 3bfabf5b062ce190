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

    /// The id of a token by its spelling in the model's vocabulary.
    pub(super) fn find_text(&self, text: &str, scratch: &mut Vec<u8>) -> Option<u32> {
        scratch.clear();
        self.spell(text, scratch).then(|| self.find(scratch))?
    }

    /// Append the bytes that a text of the model's vocabulary stands for. `false`, and nothing is
    /// appended, if it has characters outside of the byte alphabet.
    pub(super) fn spell(&self, text: &str, out: &mut Vec<u8>) -> bool {
        if !self.byte_level {
            out.extend(text.as_bytes());
            return true;
        }
        let before = out.len();
        out.resize(before + text.len(), 0);
        let mut end = before;
        let mut bytes = text.bytes();
        while let Some(first) = bytes.next() {
            // The alphabet ends below U+0800, so that its characters take two bytes at most.
            let code = match first {
                0x00..=0x7f => usize::from(first),
                0xc0..=0xdf => {
                    let second = bytes.next().unwrap_or_default();
                    usize::from(first & 0x1f) << 6 | usize::from(second & 0x3f)
                }
                _ => usize::MAX,
            };
            let Some(Some(byte)) = ALPHABET.get(code) else {
                out.truncate(before);
                return false;
            };
            out[end] = *byte;
            end += 1;
        }
        out.truncate(end);
        true
    }

    /// Add a token. An id that is taken keeps its first token. Tokens in the model's spelling can
    /// be found by content, literal ones cannot; where two have the same bytes, the first is found.
    pub(super) fn add(&mut self, id: u32, text: &str, spelling: Spelling) -> Result<(), TokenizerError> {
        let token = match spelling {
            Spelling::Model => self.push(text)?,
            Spelling::Literal => self.push_literal(text)?,
        };
        self.name(token, id)
    }

    /// Store a token in the model's spelling, to be given its id by [`Self::name`].
    pub(super) fn push(&mut self, text: &str) -> Result<Token, TokenizerError> {
        let start = self.arena.len();
        let mut arena = std::mem::take(&mut self.arena);
        let spelled = self.spell(text, &mut arena);
        self.arena = arena;
        if spelled { self.token(start, true) } else { self.push_literal(text) }
    }

    fn push_literal(&mut self, text: &str) -> Result<Token, TokenizerError> {
        let start = self.arena.len();
        self.arena.extend(text.as_bytes());
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
        if token.indexed {
            self.index(id);
        }
        Ok(())
    }

    fn index(&mut self, id: u32) {
        let Self { arena, spans, index, hasher, .. } = self;
        let bytes = |id: u32| {
            let (start, len) = spans[id as usize];
            &arena[start as usize..][..len as usize]
        };
        let new = bytes(id);
        let hash = |id: &u32| hasher.hash_one(bytes(*id));
        index.entry(hasher.hash_one(new), |other| bytes(*other) == new, hash).or_insert(id);
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

/// The byte of every character of the byte alphabet, by code point.
static ALPHABET: [Option<u8>; 0x144] = {
    let mut table = [None; 0x144];
    let mut byte = 0u8;
    loop {
        table[alphabet_code(byte)] = Some(byte);
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
            assert!(vocab.spell(&alphabet_char(byte).to_string(), &mut bytes));
            assert_eq!(bytes, [byte]);
        }
        assert_eq!(alphabet_char(b' '), 'Ġ');
        assert_eq!(alphabet_char(b'\n'), 'Ċ');
    }
}
