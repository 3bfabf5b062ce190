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
        for c in text.chars() {
            let Some(byte) = alphabet_byte(c) else {
                out.truncate(before);
                return false;
            };
            out.push(byte);
        }
        true
    }

    /// Add a token. An id that is taken keeps its first token. Tokens in the model's spelling can
    /// be found by content, literal ones cannot; where two have the same bytes, the first is found.
    pub(super) fn add(&mut self, id: u32, text: &str, spelling: Spelling) -> Result<(), TokenizerError> {
        let place = id as usize;
        if place >= self.limit {
            return Err(TokenizerError::Invalid {
                what: format!("id of token {text:?}"),
                expected: format!("a number below {}", self.limit),
                found: id.to_string(),
            });
        }
        if self.bytes(id).is_some() {
            return Ok(());
        }
        let start = self.arena.len();
        let spelled = spelling == Spelling::Model && {
            let mut arena = std::mem::take(&mut self.arena);
            let spelled = self.spell(text, &mut arena);
            self.arena = arena;
            spelled
        };
        if !spelled {
            self.arena.extend(text.as_bytes());
        }
        let len = self.arena.len() - start;
        if self.arena.len() >= ABSENT as usize {
            return Err(TokenizerError::Invalid {
                what: "vocabulary".to_owned(),
                expected: "less than 4 GiB of text".to_owned(),
                found: "more".to_owned(),
            });
        }
        if place >= self.spans.len() {
            self.spans.resize(place + 1, (ABSENT, 0));
        }
        self.spans[place] = (start as u32, len as u32);
        if spelled {
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

/// The character that stands for a byte in byte-level vocabularies: printable Latin-1 ones for
/// themselves, the 68 others as U+0100 and up, in order (GPT-2's `bytes_to_unicode`).
pub(super) fn alphabet_char(byte: u8) -> char {
    let code = match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => u32::from(byte),
        0x00..=0x20 => 0x100 + u32::from(byte),
        0x7f..=0xa0 => 0x100 + 33 + u32::from(byte - 0x7f),
        0xad => 0x100 + 67,
    };
    char::from_u32(code).unwrap_or_default()
}

/// The byte that a character stands for in byte-level vocabularies.
pub(super) fn alphabet_byte(c: char) -> Option<u8> {
    Some(match c as u32 {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => code as u8,
        code @ 0x100..=0x120 => (code - 0x100) as u8,
        code @ 0x121..=0x142 => (code - 0x121 + 0x7f) as u8,
        0x143 => 0xad,
        _ => return None,
    })
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
        for byte in 0..=255 {
            assert_eq!(alphabet_byte(alphabet_char(byte)), Some(byte));
        }
        assert_eq!(alphabet_char(b' '), 'Ġ');
        assert_eq!(alphabet_char(b'\n'), 'Ċ');
    }
}
