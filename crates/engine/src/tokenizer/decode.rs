//! Tokens back to text.

use std::sync::Arc;

use super::{
    Tokenizer,
    vocab::{Vocab, byte_token},
};

/// How a token's text becomes the text that it stands for.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// Tokens are bytes already; the other fields are unused.
    pub(super) byte_level: bool,
    /// Texts to replace in every token.
    pub(super) replace: Vec<(String, String)>,
    /// Tokens like `<0x0A>` are bytes.
    pub(super) byte_fallback: bool,
    /// A character that stands for a space, and whether it is dropped in the first token.
    pub(super) metaspace: Option<(char, bool)>,
    /// A character, and how often at most it is dropped at the start of the text.
    pub(super) strip: Option<(char, usize)>,
}

impl Decoder {
    /// Append the bytes that a token stands for.
    fn append(&self, vocab: &Vocab, id: u32, first: bool, out: &mut Vec<u8>) {
        let Some(bytes) = vocab.bytes(id) else {
            return;
        };
        if self.byte_level {
            out.extend(bytes);
            return;
        }
        if let Some(byte) = byte_token(bytes).filter(|_| self.byte_fallback) {
            out.push(byte);
            return;
        }
        let mut text = String::from_utf8_lossy(bytes);
        for (from, to) in &self.replace {
            if text.contains(from.as_str()) {
                text = text.replace(from.as_str(), to).into();
            }
        }
        if let Some((space, drop_first)) = self.metaspace {
            let by = if first && drop_first { "" } else { " " };
            text = text.replace(space, by).into();
        }
        out.extend(text.as_bytes());
    }
}

impl Tokenizer {
    /// The bytes that a token adds to a text (in its middle; at its start some tokenizers drop a
    /// space). They need not be whole characters. `None` if there is no such token.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        self.bpe.vocab.bytes(id)?;
        let mut bytes = Vec::new();
        self.decoder.append(&self.bpe.vocab, id, false, &mut bytes);
        Some(bytes)
    }

    /// The text of some tokens. Bytes that are no UTF-8 become U+FFFD: one for each byte in a
    /// vocabulary with byte tokens (as SentencePiece does), one for each maximal ill-formed
    /// sequence in a byte-level one. Ids without token stand for nothing, as do special tokens
    /// with `skip_special`.
    ///
    /// Hugging Face's `ByteFallback` decoder differs in one case: where a run of byte tokens is
    /// not UTF-8 as a whole, it gives up the well-formed characters in the run as well. A text
    /// that is streamed cannot, since it has shown them already.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let mut state = State::default();
        let mut out = String::new();
        for id in ids {
            state.push(self, *id, skip_special, &mut out);
        }
        state.finish(self, &mut out);
        out
    }
}

/// Decodes one token after the other. The texts that it gives, put together, are the text that
/// [`Tokenizer::decode`] gives, and none of them ends within a character.
#[derive(Debug)]
pub struct Detokenizer {
    tokenizer: Arc<Tokenizer>,
    skip_special: bool,
    state: State,
}

impl Detokenizer {
    /// Start at the start of a text.
    pub fn new(tokenizer: Arc<Tokenizer>, skip_special: bool) -> Self {
        Self { tokenizer, skip_special, state: State::default() }
    }

    /// Start after a prompt, so that the space of the first generated word is kept and a
    /// character that the prompt began is completed.
    pub fn after(tokenizer: Arc<Tokenizer>, skip_special: bool, prompt: &[u32]) -> Self {
        let mut detokenizer = Self::new(tokenizer, skip_special);
        for id in prompt {
            detokenizer.push(*id);
        }
        detokenizer
    }

    /// Take a token; gives the text that is certain now, which may be empty.
    pub fn push(&mut self, id: u32) -> String {
        let mut out = String::new();
        self.state.push(&self.tokenizer, id, self.skip_special, &mut out);
        out
    }

    /// End the text: gives U+FFFD for a character that was never completed.
    pub fn finish(&mut self) -> String {
        let mut out = String::new();
        self.state.finish(&self.tokenizer, &mut out);
        out
    }
}

/// Where decoding stands.
#[derive(Debug, Default)]
struct State {
    /// Whether a token was decoded.
    started: bool,
    /// How many characters were dropped at the start; `usize::MAX` once another one came.
    stripped: usize,
    /// Bytes that are not text yet: after a push, the start of one character.
    pending: Vec<u8>,
}

impl State {
    fn push(&mut self, tokenizer: &Tokenizer, id: u32, skip_special: bool, out: &mut String) {
        if skip_special && tokenizer.is_special(id) {
            return;
        }
        let vocab = &tokenizer.bpe.vocab;
        if vocab.bytes(id).is_none() {
            return;
        }
        let first = !std::mem::replace(&mut self.started, true);
        tokenizer.decoder.append(vocab, id, first, &mut self.pending);
        self.emit(&tokenizer.decoder, false, out);
    }

    fn finish(&mut self, tokenizer: &Tokenizer, out: &mut String) {
        self.emit(&tokenizer.decoder, true, out);
    }

    fn emit(&mut self, decoder: &Decoder, end: bool, out: &mut String) {
        let start = out.len();
        let mut done = 0;
        for chunk in self.pending.utf8_chunks() {
            out.push_str(chunk.valid());
            done += chunk.valid().len();
            let invalid = chunk.invalid();
            let last = done + invalid.len() == self.pending.len();
            if last && !end && may_continue(invalid) {
                break;
            }
            let marks = if decoder.byte_level { usize::from(!invalid.is_empty()) } else { invalid.len() };
            out.extend(std::iter::repeat_n('\u{fffd}', marks));
            done += invalid.len();
        }
        self.pending.drain(..done);
        self.strip(decoder, start, out);
    }

    /// Drop what the decoder strips from the start of the text. `out[start..]` is new.
    fn strip(&mut self, decoder: &Decoder, start: usize, out: &mut String) {
        let Some((dropped, most)) = decoder.strip else {
            return;
        };
        while self.stripped < most {
            match out[start..].chars().next() {
                None => return,
                Some(c) if c == dropped => {
                    out.remove(start);
                    self.stripped += 1;
                }
                Some(_) => self.stripped = usize::MAX,
            }
        }
    }
}

/// Whether bytes that are not UTF-8 could be the start of a character.
fn may_continue(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}
