//! Grammars that decide which tokens may come next, by `llguidance`.
//!
//! [`Grammars`] knows a vocabulary and compiles a [`Grammar`] to a [`Matcher`], one per sequence, whose
//! mask goes into the sampler.

use std::sync::{Arc, Mutex, PoisonError};

use llguidance::ParserFactory;
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{SimpleVob, TokEnv, TokRxInfo, TokTrie, TokenizerEnv};

/// What the output must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Grammar {
    /// A JSON text valid under this schema (draft 2020-12; keywords that cannot be enforced are
    /// refused).
    JsonSchema(serde_json::Value),
    /// A text that matches this regular expression as a whole.
    Regex(String),
    /// A text of this grammar, in llguidance's dialect of Lark; special tokens are written as `<name>`.
    Lark(String),
}

impl Grammar {
    /// One of these texts.
    #[must_use]
    pub fn choice(texts: &[String]) -> Self {
        let quoted: Vec<String> =
            texts.iter().map(|text| serde_json::Value::from(text.as_str()).to_string()).collect();
        Self::Lark(format!("start: {}", quoted.join(" | ")))
    }
}

/// A grammar that cannot be compiled or followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the grammar cannot be enforced: {reason}")]
pub struct GrammarError {
    /// What is wrong, and where.
    pub reason: String,
}

impl GrammarError {
    fn new(reason: impl ToString) -> Self {
        Self { reason: reason.to_string() }
    }
}

/// How text becomes tokens, for grammars that force longer texts.
pub type Tokenize = Arc<dyn Fn(&[u8]) -> Vec<u32> + Send + Sync>;

struct Vocabulary {
    trie: TokTrie,
    tokenize: Tokenize,
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, text: &[u8]) -> Vec<u32> {
        self.trie.tokenize_with_greedy_fallback(text, |text| (self.tokenize)(text.as_bytes()))
    }
}

/// A compiler of grammars for one vocabulary.
pub struct Grammars {
    factory: ParserFactory,
    /// What was compiled last, the newest at the end: an agent sends the same tools again and again,
    /// and a copy brings what was learnt about their tokens along.
    recent: Mutex<Vec<(Grammar, Matcher)>>,
}

/// Compiled grammars that are kept.
const RECENT: usize = 8;

/// A token of the vocabulary: its bytes, or the text of a special token.
pub enum TokenBytes {
    /// An ordinary token.
    Text(Vec<u8>),
    /// A special token, which no text produces.
    Special(String),
}

impl Grammars {
    /// A compiler for the tokens in order of their ids. `ends` are the ids that end an output, the
    /// main one first.
    ///
    /// # Errors
    /// If there is no end id, or one beyond the vocabulary.
    pub fn new(tokens: Vec<TokenBytes>, ends: &[u32], tokenize: Tokenize) -> Result<Self, GrammarError> {
        let first = *ends.first().ok_or_else(|| GrammarError::new("the model has no end token"))?;
        if let Some(end) = ends.iter().find(|end| **end as usize >= tokens.len()) {
            return Err(GrammarError::new(format!("the end token {end} is beyond {} tokens", tokens.len())));
        }
        let words: Vec<Vec<u8>> = tokens
            .into_iter()
            .map(|token| match token {
                TokenBytes::Text(bytes) => bytes,
                TokenBytes::Special(text) => [&[TokTrie::SPECIAL_TOKEN_MARKER], text.as_bytes()].concat(),
            })
            .collect();
        let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, first), &words).with_eos_tokens(ends);
        let env: TokEnv = Arc::new(Vocabulary { trie, tokenize });
        let mut factory = ParserFactory::new_simple(&env).map_err(GrammarError::new)?;
        factory.quiet();
        Ok(Self { factory, recent: Mutex::default() })
    }

    /// A matcher at the start of `grammar`.
    ///
    /// # Errors
    /// If the grammar is malformed or asks for what cannot be enforced.
    pub fn compile(&self, grammar: &Grammar) -> Result<Matcher, GrammarError> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = recent.iter().position(|(known, _)| known == grammar) {
            let hit = recent.remove(at);
            let matcher = hit.1.copy();
            recent.push(hit);
            return Ok(matcher);
        }
        drop(recent);
        let matcher = self.compile_new(grammar)?;
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == RECENT {
            recent.remove(0);
        }
        recent.push((grammar.clone(), matcher.copy()));
        Ok(matcher)
    }

    fn compile_new(&self, grammar: &Grammar) -> Result<Matcher, GrammarError> {
        let top = match grammar {
            Grammar::JsonSchema(schema) => TopLevelGrammar::from_json_schema(schema.clone()),
            Grammar::Regex(regex) => TopLevelGrammar::from_regex(regex),
            Grammar::Lark(lark) => TopLevelGrammar::from_lark(lark.clone()),
        };
        let mut inner = llguidance::Matcher::new(self.factory.create_parser(top));
        match inner.get_error() {
            Some(error) => Err(GrammarError::new(error)),
            None => {
                inner.compute_mask_or_eos().map_err(GrammarError::new)?;
                let end = self.factory.tok_env().tok_trie().eos_token();
                Ok(Matcher { inner, mask: SimpleVob::new(), end })
            }
        }
    }
}

/// One sequence's place in its grammar.
pub struct Matcher {
    inner: llguidance::Matcher,
    mask: SimpleVob,
    /// The main end token.
    end: u32,
}

impl Matcher {
    /// The tokens that may come next, one bit each; after the end of the grammar the end tokens.
    /// `ends` are further ids that end the output; they may stand where the end tokens may.
    ///
    /// # Errors
    /// If the grammar runs into its limits.
    pub fn mask(&mut self, ends: &[u32]) -> Result<&[u32], GrammarError> {
        self.mask = self.inner.compute_mask_or_eos().map_err(GrammarError::new)?;
        if self.mask.is_allowed(self.end) {
            let tokens = self.mask.len();
            for id in ends.iter().filter(|id| (**id as usize) < tokens) {
                self.mask.allow_token(*id);
            }
        }
        Ok(self.mask.as_slice())
    }

    /// Whether the last mask let the output end.
    #[must_use]
    pub fn may_end(&self) -> bool {
        self.mask.len() > self.end as usize && self.mask.is_allowed(self.end)
    }

    /// Another matcher at the same place.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self { inner: self.inner.deep_clone(), mask: SimpleVob::new(), end: self.end }
    }

    /// Moves on by a token of the last mask.
    ///
    /// # Errors
    /// If the token was not allowed.
    pub fn accept(&mut self, token: u32) -> Result<(), GrammarError> {
        if self.inner.is_stopped() {
            return Ok(());
        }
        self.inner.consume_token(token).map_err(GrammarError::new)
    }

    /// Whether nothing but the end may follow.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.inner.is_stopped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes as tokens, then two special ones.
    fn grammars() -> Grammars {
        let mut tokens: Vec<_> = (0..=255u8).map(|b| TokenBytes::Text(vec![b])).collect();
        tokens.push(TokenBytes::Special("<end>".into()));
        tokens.push(TokenBytes::Special("<call>".into()));
        let tokenize = Arc::new(|text: &[u8]| text.iter().map(|b| u32::from(*b)).collect());
        Grammars::new(tokens, &[256], tokenize).unwrap()
    }

    fn allowed(matcher: &mut Matcher) -> Vec<u32> {
        let mask = matcher.mask(&[]).unwrap();
        (0..258).filter(|i| mask[*i as usize / 32] >> (i % 32) & 1 == 1).collect()
    }

    #[test]
    fn a_choice_allows_its_texts_and_then_the_end() {
        let mut m = grammars().compile(&Grammar::choice(&["ab".into(), "a\"c".into()])).unwrap();
        assert_eq!(allowed(&mut m), [97]);
        m.accept(97).unwrap();
        assert_eq!(allowed(&mut m), [34, 98]);
        m.accept(98).unwrap();
        assert_eq!(allowed(&mut m), [256]);
    }

    #[test]
    fn special_tokens_stand_in_a_grammar_by_name() {
        let mut m = grammars().compile(&Grammar::Lark("start: <call> \"x\"".into())).unwrap();
        assert_eq!(allowed(&mut m), [257]);
        m.accept(257).unwrap();
        assert_eq!(allowed(&mut m), [120]);
        assert!(m.accept(121).is_err());
    }

    #[test]
    fn further_ends_stand_where_the_end_may() {
        let mut m = grammars().compile(&Grammar::Regex("a+".into())).unwrap();
        let ends = |m: &mut Matcher| m.mask(&[120]).unwrap()[120 / 32] >> (120 % 32) & 1;
        assert_eq!(ends(&mut m), 0);
        m.accept(97).unwrap();
        assert_eq!(ends(&mut m), 1);
    }

    #[test]
    fn a_grammar_compiled_again_starts_anew() {
        let grammars = grammars();
        let grammar = Grammar::Regex("ab".into());
        let mut first = grammars.compile(&grammar).unwrap();
        first.accept(97).unwrap();
        let mut second = grammars.compile(&grammar).unwrap();
        assert_eq!((allowed(&mut first), allowed(&mut second)), (vec![98], vec![97]));
    }

    #[test]
    fn what_cannot_be_enforced_is_refused_with_its_name() {
        let schema = serde_json::json!({ "type": "array", "uniqueItems": true });
        let error = grammars().compile(&Grammar::JsonSchema(schema)).map(|_| ()).unwrap_err();
        assert!(error.reason.contains("uniqueItems"), "{error}");
        assert!(grammars().compile(&Grammar::Regex("(".into())).is_err());
        assert!(grammars().compile(&Grammar::Lark("nonsense".into())).is_err());
    }

    #[test]
    fn a_schema_is_followed_to_its_end() {
        let schema = serde_json::json!({ "type": "object", "properties": { "a": { "enum": [1, 22] } },
            "required": ["a"], "additionalProperties": false });
        let mut m = grammars().compile(&Grammar::JsonSchema(schema)).unwrap();
        for byte in b"{\"a\": 22}" {
            assert!(allowed(&mut m).contains(&u32::from(*byte)), "{}", *byte as char);
            m.accept(u32::from(*byte)).unwrap();
        }
        assert_eq!(allowed(&mut m), [256]);
    }
}
