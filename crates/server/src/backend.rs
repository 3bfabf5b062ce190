//! The seam between the HTTP half and whatever answers.

use std::time::Duration;

use chela_openai::chat::{FinishReason, PromptLogprobs, StopReason, TokenLogprob};
use chela_openai::completions::CompletionRequest;
use chela_openai::models::ModelCard;
use chela_openai::tokenize::{DetokenizeRequest, DetokenizeResponse, TokenizeRequest, TokenizeResponse};
use chela_openai::usage::Usage;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use http::StatusCode;

use crate::error::ApiError;
use crate::validate::Validated;

/// What answers requests: the engine, a script, an agent.
pub trait Backend: Send + Sync + 'static {
    /// The models served, the default one first.
    fn models(&self) -> Vec<ModelCard>;

    /// Whether a request sent now would be answered; found out, not assumed.
    fn health(&self) -> BoxFuture<'_, Health>;

    /// Takes a chat request up. Returns as soon as the request is accepted, before its first token;
    /// dropping the stream stops the computation.
    ///
    /// # Errors
    /// What only the backend can tell: a prompt over the window, a full queue.
    fn submit(&self, request: Validated) -> BoxFuture<'_, Result<Pieces, ApiError>>;

    /// Takes a plain completion up, as [`Backend::submit`]. Choice `p * n + k` is answer `k` to
    /// prompt `p`.
    ///
    /// # Errors
    /// As [`Backend::submit`]; 501 from a backend that only chats.
    fn complete(&self, _request: Validated<CompletionRequest>) -> BoxFuture<'_, Result<Pieces, ApiError>> {
        async { Err(not_offered("plain completions")) }.boxed()
    }

    /// Counts or lists the tokens of a text or conversation.
    ///
    /// # Errors
    /// A request without text, an unknown model.
    fn tokenize(&self, request: TokenizeRequest) -> BoxFuture<'_, Result<TokenizeResponse, ApiError>>;

    /// The text of some tokens.
    ///
    /// # Errors
    /// An unknown model; 501 from a backend without a vocabulary.
    fn detokenize(&self, _request: DetokenizeRequest) -> BoxFuture<'_, Result<DetokenizeResponse, ApiError>> {
        async { Err(not_offered("detokenizing")) }.boxed()
    }

    /// Counts for `/metrics` and the throughput line.
    fn counts(&self) -> Counts {
        Counts::default()
    }
}

fn not_offered(what: &str) -> ApiError {
    let message = format!("{what} is not offered here");
    ApiError::of(StatusCode::NOT_IMPLEMENTED, "NotImplementedError", None, message)
}

/// Whether a backend can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It can.
    Ready,
    /// Not yet: the model is loading.
    Loading,
    /// Not any more, and why.
    Dead(String),
}

/// Counts of a backend since its start, and of the moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    /// Sequences being computed.
    pub running: u64,
    /// Sequences that wait for a place.
    pub waiting: u64,
    /// Share of the KV cache in use, 0 to 1.
    pub kv_usage: f64,
    /// Prompt tokens of sequences that began.
    pub prompt_tokens: u64,
    /// Those of them found in the prefix cache.
    pub cached_tokens: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// Times that a sequence lost its place for want of memory.
    pub preemptions: u64,
    /// Tokens of a KV block.
    pub block_tokens: u64,
    /// KV blocks.
    pub blocks: u64,
    /// Whether prefixes are cached.
    pub prefix_cache: bool,
}

/// An answer as it comes. An error ends it; a stream that ends before every
/// choice has its [`Piece::End`] is an error of the backend.
pub type Pieces = BoxStream<'static, Result<Piece, ApiError>>;

/// One thing that happened to an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// What was asked about a prompt; before any growth of its choices.
    Prompt {
        /// Its place among the prompts.
        index: u32,
        /// What is told about it.
        prompt: PromptEcho,
    },
    /// A choice grew.
    Delta {
        /// Index of the choice.
        choice: u32,
        /// By what.
        part: Part,
        /// The tokens it was made of.
        tokens: Tokens,
    },
    /// A choice is complete.
    End {
        /// Index of the choice.
        choice: u32,
        /// Why.
        reason: FinishReason,
        /// The stop string or token id that ended it.
        stop: Option<StopReason>,
        /// Tokens that gave no text, such as the end of the sequence.
        tokens: Tokens,
    },
    /// Token counts so far, over all choices; the last one stands.
    Usage(Usage),
    /// When a choice got its place and its tokens.
    Times(Times),
}

impl Piece {
    /// Growth of the first choice, without token details.
    pub fn part(part: Part) -> Self {
        Self::Delta { choice: 0, part, tokens: Tokens::default() }
    }

    /// The end of the first choice.
    pub fn end(reason: FinishReason) -> Self {
        Self::End { choice: 0, reason, stop: None, tokens: Tokens::default() }
    }
}

/// What a request asked to be told about its prompt.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PromptEcho {
    /// Ids, with `return_token_ids`.
    pub ids: Option<Vec<u32>>,
    /// Text, with `return_prompt_text`.
    pub text: Option<String>,
    /// With `prompt_logprobs`.
    pub logprobs: Option<PromptLogprobs>,
}

/// What a choice grew by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Visible text.
    Text(String),
    /// Reasoning.
    Reasoning(String),
    /// A tool call begins.
    CallStart {
        /// Its place among the calls, from 0.
        call: u32,
        /// Its id.
        id: String,
        /// The function.
        name: String,
    },
    /// More of a call's arguments, as JSON text.
    CallArguments {
        /// The call's place.
        call: u32,
        /// The text.
        json: String,
    },
}

/// Token details of a [`Piece::Delta`], for those who asked for them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tokens {
    /// Ids, with `return_token_ids`.
    pub ids: Option<Vec<u32>>,
    /// Log-probabilities, with `logprobs`.
    pub logprobs: Option<Vec<TokenLogprob>>,
    /// How many tokens; 0 where the backend does not say.
    pub count: u64,
}

/// Times of one choice, from its arrival on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// To its first step.
    pub queued: Duration,
    /// To its first token.
    pub first_token: Duration,
    /// To its end.
    pub total: Duration,
    /// Tokens generated.
    pub tokens: u64,
    /// Prompt tokens.
    pub prompt: u64,
    /// Prompt tokens that were computed.
    pub computed: u64,
}
