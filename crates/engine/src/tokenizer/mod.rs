//! Text to token ids and back: byte-level BPE and SentencePiece-BPE over compact tables.
//!
//! [`Tokenizer`] is built from a `tokenizer.json` ([`Tokenizer::from_json`]) or from the metadata
//! of a GGUF file ([`Tokenizer::from_gguf`]); it encodes and decodes. [`Detokenizer`] decodes one
//! token after the other for streaming.
//!
//! A text passes through: added tokens (`added`), normalizers and pre-tokenizers (`split`,
//! with the usual patterns in `scan`), merges (`bpe` over the token table in `vocab`). A
//! component of tokenizer.json that is not here is refused by name when the file is loaded.

mod added;
mod bpe;
mod decode;
mod error;
mod gguf;
mod json;
mod merges;
mod scan;
mod split;
mod unicode;
mod vocab;

use std::{borrow::Cow, fmt};

pub use decode::Detokenizer;
pub use error::TokenizerError;

use added::{Added, AddedToken, Part};
use bpe::{Bpe, Scratch};
use decode::Decoder;
use split::{Normalizer, Pieces, Step};
use vocab::alphabet_char;

/// Build a tokenizer from the bytes of a `tokenizer.json`.
///
/// # Errors
/// As [`Tokenizer::from_json`].
pub fn from_json(json: &[u8]) -> Result<Tokenizer, TokenizerError> {
    Tokenizer::from_json(json)
}

/// A tokenizer: what a model's text is made of.
pub struct Tokenizer {
    added: Added,
    normalizers: Vec<Normalizer>,
    steps: Vec<Step>,
    bpe: Bpe,
    decoder: Decoder,
    prefix: Vec<u32>,
    suffix: Vec<u32>,
}

/// The parts of a tokenizer, as the formats describe them.
struct Parts {
    added: Vec<AddedToken>,
    normalizers: Vec<Normalizer>,
    steps: Vec<Step>,
    bpe: Bpe,
    decoder: Decoder,
    prefix: Vec<u32>,
    suffix: Vec<u32>,
}

impl Tokenizer {
    fn new(parts: Parts) -> Result<Self, TokenizerError> {
        let added = Added::new(parts.added)?;
        let mut bpe = parts.bpe;
        bpe.vocab.shrink();
        for id in parts.prefix.iter().chain(&parts.suffix) {
            if bpe.vocab.bytes(*id).is_none() {
                return Err(TokenizerError::Invalid {
                    what: "token that is put around texts".to_owned(),
                    expected: "the id of a token".to_owned(),
                    found: id.to_string(),
                });
            }
        }
        Ok(Self {
            added,
            normalizers: parts.normalizers,
            steps: parts.steps,
            bpe,
            decoder: parts.decoder,
            prefix: parts.prefix,
            suffix: parts.suffix,
        })
    }

    /// One more than the largest token id. A model's logits may be longer, for padding.
    pub fn vocab_size(&self) -> usize {
        self.bpe.vocab.len()
    }

    /// Encode a text. `add_special` puts the model's begin and end tokens around it.
    /// `parse_special` takes texts like `<|im_start|>` for the tokens that control the model; a
    /// text from outside must be encoded without it.
    ///
    /// # Errors
    /// [`TokenizerError::Unencodable`] if the vocabulary has no token for a part of the text,
    /// [`TokenizerError::Pattern`] if the regex engine gave up,
    /// [`TokenizerError::Invalid`] for a piece of 4 GiB or more.
    pub fn encode(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
    ) -> Result<Vec<u32>, TokenizerError> {
        let mut out = Vec::with_capacity(text.len() / 3 + 2);
        let mut scratch = Scratch::default();
        if add_special {
            out.extend(&self.prefix);
        }
        for part in self.added.cut(text, parse_special) {
            let range = match part {
                Part::Token(id) => {
                    out.push(id);
                    continue;
                }
                Part::Text(range) => range,
            };
            let start = range.start;
            let normalized = normalize(&self.normalizers, &text[range])?;
            for part in self.added.cut_normalized(&normalized, parse_special) {
                match part {
                    Part::Token(id) => out.push(id),
                    Part::Text(range) => {
                        let at_start = start == 0 && range.start == 0;
                        let text = &normalized[range];
                        self.encode_text(text, at_start, &mut scratch, &mut out)?;
                    }
                }
            }
        }
        if add_special {
            out.extend(&self.suffix);
        }
        Ok(out)
    }

    fn encode_text(
        &self,
        text: &str,
        at_start: bool,
        scratch: &mut Scratch,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let whole = 0..text.len();
        let mut pieces = Pieces { text: Cow::Borrowed(text), ranges: vec![whole], at_start };
        for step in &self.steps {
            step.apply(&mut pieces)?;
        }
        for range in &pieces.ranges {
            self.bpe.encode(&pieces.text[range.clone()], scratch, out)?;
        }
        Ok(())
    }

    /// A token as the vocabulary spells it: byte-level vocabularies write a space as `Ġ`,
    /// SentencePiece ones as `▁`. `None` if there is no such token.
    pub fn token_to_piece(&self, id: u32) -> Option<String> {
        if let Some(token) = self.added.get(id) {
            return Some(token.piece().to_owned());
        }
        let bytes = self.bpe.vocab.bytes(id)?;
        if self.bpe.vocab.is_byte_level() {
            return Some(bytes.iter().map(|byte| alphabet_char(*byte)).collect());
        }
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    /// The id of a token by its spelling.
    pub fn token_to_id(&self, piece: &str) -> Option<u32> {
        let added = self.added_token_to_id(piece);
        added.or_else(|| self.bpe.vocab.find_text(piece, &mut Vec::new()))
    }

    /// The id of an added token, such as `<|im_end|>`, by its text.
    pub fn added_token_to_id(&self, text: &str) -> Option<u32> {
        self.added.find(text).map(|token| token.id)
    }

    /// Whether the token controls the model and is no part of its text.
    pub fn is_special(&self, id: u32) -> bool {
        self.added.get(id).is_some_and(|token| token.special)
    }

    /// The texts and ids of the tokens that control the model.
    pub fn special_tokens(&self) -> impl Iterator<Item = (String, u32)> {
        self.added.special().map(|token| (token.piece().to_owned(), token.id))
    }

    /// Bytes of memory that the token and merge tables take.
    pub fn heap_bytes(&self) -> usize {
        self.bpe.heap_bytes()
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .field("byte_level", &self.bpe.vocab.is_byte_level())
            .finish_non_exhaustive()
    }
}

fn normalize<'a>(normalizers: &[Normalizer], text: &'a str) -> Result<Cow<'a, str>, TokenizerError> {
    let mut text = Cow::Borrowed(text);
    for normalizer in normalizers {
        text = normalizer.apply(text)?;
    }
    Ok(text)
}
