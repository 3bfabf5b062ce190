//! Added tokens: texts that become one token wherever they stand, before anything else looks at
//! them (Hugging Face's `added_tokens`, GGUF's control and user-defined tokens).

use std::{collections::HashMap, ops::Range};

use aho_corasick::{AhoCorasick, MatchKind};

use super::{
    TokenizerError,
    unicode::{Classes, SPACE, WORD},
};

/// An added token, with the fields of tokenizer.json.
#[derive(Clone, Debug, serde::Deserialize)]
pub(super) struct AddedToken {
    pub(super) id: u32,
    pub(super) content: String,
    /// Matches only where no word character touches it.
    #[serde(default)]
    pub(super) single_word: bool,
    /// Takes the white space on its left along.
    #[serde(default)]
    pub(super) lstrip: bool,
    /// Takes the white space on its right along.
    #[serde(default)]
    pub(super) rstrip: bool,
    /// Matches in the normalized text, after normalization of its own content.
    #[serde(default)]
    pub(super) normalized: bool,
    /// Controls the model: text that comes from outside must not become it.
    #[serde(default)]
    pub(super) special: bool,
    /// The normalized content of a token that matches in normalized text.
    #[serde(skip)]
    pub(super) normal_form: String,
}

impl AddedToken {
    /// What the token matches, and what it stands for when it is decoded.
    pub(super) fn piece(&self) -> &str {
        if self.normalized { &self.normal_form } else { &self.content }
    }
}

/// The added tokens of a tokenizer.
pub(super) struct Added {
    tokens: Vec<AddedToken>,
    by_text: HashMap<String, usize>,
    by_id: HashMap<u32, usize>,
    raw: Finder,
    normalized: Finder,
}

/// Finds some of the tokens in a text.
struct Finder {
    automaton: Option<AhoCorasick>,
    /// The token of each pattern.
    tokens: Vec<usize>,
}

/// A part of a text: an added token, or the text between two.
pub(super) enum Part {
    Token(u32),
    Text(Range<usize>),
}

impl Added {
    /// Build the tables.
    pub(super) fn new(tokens: Vec<AddedToken>) -> Result<Self, TokenizerError> {
        let (mut raw, mut normalized) = (Vec::new(), Vec::new());
        let (mut by_text, mut by_id) = (HashMap::new(), HashMap::new());
        for (place, token) in tokens.iter().enumerate() {
            let patterns = if token.normalized { &mut normalized } else { &mut raw };
            patterns.push((token.piece().to_owned(), place));
            by_text.insert(token.content.clone(), place);
            by_id.insert(token.id, place);
        }
        Ok(Self { raw: Finder::new(raw)?, normalized: Finder::new(normalized)?, tokens, by_text, by_id })
    }

    /// The token with this content.
    pub(super) fn find(&self, text: &str) -> Option<&AddedToken> {
        Some(&self.tokens[*self.by_text.get(text)?])
    }

    /// The token with this id.
    pub(super) fn get(&self, id: u32) -> Option<&AddedToken> {
        Some(&self.tokens[*self.by_id.get(&id)?])
    }

    /// The tokens that control the model.
    pub(super) fn special(&self) -> impl Iterator<Item = &AddedToken> {
        self.tokens.iter().filter(|token| token.special)
    }

    /// Cut a text that has not been normalized yet. Without `special`, tokens that control the
    /// model are text like any other.
    pub(super) fn cut(&self, text: &str, special: bool) -> Vec<Part> {
        self.raw.cut(text, special, &self.tokens)
    }

    /// Cut a normalized text.
    pub(super) fn cut_normalized(&self, text: &str, special: bool) -> Vec<Part> {
        self.normalized.cut(text, special, &self.tokens)
    }
}

impl Finder {
    fn new(patterns: Vec<(String, usize)>) -> Result<Self, TokenizerError> {
        // An empty content would match everywhere and mean nothing.
        let patterns = patterns.into_iter().filter(|(text, _)| !text.is_empty());
        let (texts, tokens): (Vec<String>, Vec<usize>) = patterns.unzip();
        let automaton =
            AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&texts).map_err(|error| {
                TokenizerError::Invalid {
                    what: "added tokens".to_owned(),
                    expected: "tables that fit in memory".to_owned(),
                    found: error.to_string(),
                }
            })?;
        Ok(Self { automaton: (!texts.is_empty()).then_some(automaton), tokens })
    }

    fn cut(&self, text: &str, special: bool, tokens: &[AddedToken]) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut done = 0;
        let matches = self.automaton.iter().flat_map(|finder| finder.find_iter(text));
        for found in matches {
            let token = &tokens[self.tokens[found.pattern().as_usize()]];
            let (mut start, mut end) = (found.start(), found.end());
            // Taken along by a token that strips the white space on its right.
            if (token.special && !special) || start < done {
                continue;
            }
            let classes = Classes::get();
            let is = |c: Option<char>, class| c.is_some_and(|c| classes.of(c) & class != 0);
            let before = |at: usize| text[..at].chars().next_back();
            let after = |at: usize| text[at..].chars().next();
            if token.single_word && (is(before(start), WORD) || is(after(end), WORD)) {
                continue;
            }
            while token.lstrip && start > done && is(before(start), SPACE) {
                start -= before(start).map_or(0, char::len_utf8);
            }
            while token.rstrip && is(after(end), SPACE) {
                end += after(end).map_or(0, char::len_utf8);
            }
            if done < start {
                parts.push(Part::Text(done..start));
            }
            parts.push(Part::Token(token.id));
            done = end;
        }
        if done < text.len() {
            parts.push(Part::Text(done..text.len()));
        }
        parts
    }
}
