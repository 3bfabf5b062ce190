//! What a request asks, and why it may be refused.

use crate::grammar::{Grammar, GrammarError};
use crate::sampler::{ParamError, SamplingParams};
use crate::scheduler::{Priority, QueueFull, SequenceError};

/// A prompt and what to make of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Token ids, at least one.
    pub prompt: Vec<u32>,
    /// How to sample.
    pub params: SamplingParams,
    /// Whose request it is, for fairness: an API key, a session.
    pub client: String,
    /// Whom it may delay.
    pub priority: Priority,
    /// Requests share cached prefixes only within one salt.
    pub cache_salt: Option<String>,
    /// What the output must be.
    pub grammar: Option<Grammar>,
    /// Whether stop strings count only where the grammar lets the output end, so that they break
    /// nothing off that it has begun.
    pub stop_at_ends: bool,
    /// The limit of reasoning in the output.
    pub thinking: Option<ThinkingBudget>,
}

impl Request {
    /// An interactive request with nothing special about it.
    #[must_use]
    pub fn new(prompt: Vec<u32>, params: SamplingParams) -> Self {
        Self {
            prompt,
            params,
            client: String::new(),
            priority: Priority::Interactive,
            cache_salt: None,
            grammar: None,
            stop_at_ends: false,
            thinking: None,
        }
    }
}

/// A hard limit of reasoning: after so many tokens its end is forced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThinkingBudget {
    /// Tokens of reasoning, not counting its marks.
    pub tokens: usize,
    /// The mark that opens reasoning.
    pub start: Vec<u32>,
    /// The mark that closes it; at least one token.
    pub end: Vec<u32>,
    /// Whether the prompt has opened it already.
    pub open: bool,
}

/// Why a request was not taken.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SubmitError {
    /// A sampling parameter is out of range.
    #[error(transparent)]
    Params(#[from] ParamError),
    /// The prompt is empty or too long.
    #[error(transparent)]
    Prompt(#[from] SequenceError),
    /// The prompt has an id that is no token.
    #[error("token id {id} is out of vocabulary; expected ids below {vocab}")]
    Token {
        /// The id.
        id: u32,
        /// Tokens in the vocabulary.
        vocab: usize,
    },
    /// The grammar cannot be enforced.
    #[error(transparent)]
    Grammar(#[from] GrammarError),
    /// Too much waits already.
    #[error(transparent)]
    QueueFull(#[from] QueueFull),
    /// The engine is shutting down or has failed.
    #[error("the engine has stopped")]
    Stopped,
}
