//! The seam between the HTTP half and whatever answers.

use chela_openai::chat::{FinishReason, Logprobs, StopReason};
use chela_openai::models::ModelCard;
use chela_openai::tokenize::{TokenizeRequest, TokenizeResponse};
use chela_openai::usage::Usage;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use crate::error::ApiError;
use crate::validate::Validated;

/// What answers requests: the engine, a script, an agent.
pub trait Backend: Send + Sync + 'static {
    /// The models served, the default one first.
    fn models(&self) -> Vec<ModelCard>;

    /// Whether a request sent now would be answered.
    fn health(&self) -> Health;

    /// Takes a request up. Returns as soon as the request is accepted, before
    /// its first token; dropping the stream stops the computation.
    ///
    /// # Errors
    /// What only the backend can tell: a prompt over the window, a full queue.
    fn submit(&self, request: Validated) -> BoxFuture<'_, Result<Pieces, ApiError>>;

    /// Counts or lists the tokens of a text or conversation.
    ///
    /// # Errors
    /// A request without text, an unknown model.
    fn tokenize(&self, request: TokenizeRequest) -> Result<TokenizeResponse, ApiError>;
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

/// An answer as it comes. An error ends it; a stream that ends before every
/// choice has its [`Piece::End`] is an error of the backend.
pub type Pieces = BoxStream<'static, Result<Piece, ApiError>>;

/// One thing that happened to an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
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
    },
    /// Token counts so far, over all choices; the last one stands.
    Usage(Usage),
}

impl Piece {
    /// Growth of the first choice, without token details.
    pub fn part(part: Part) -> Self {
        Self::Delta { choice: 0, part, tokens: Tokens::default() }
    }

    /// The end of the first choice.
    pub fn end(reason: FinishReason) -> Self {
        Self::End { choice: 0, reason, stop: None }
    }
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
    pub logprobs: Option<Logprobs>,
}
