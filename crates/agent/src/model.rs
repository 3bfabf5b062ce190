//! The model seam: one request in, a stream of events out. The loop knows nothing else of it.

use std::fmt;
use std::sync::Arc;

use chela_protocol::{FailureKind, Finish, ModelRow, Provenance, Thinking, Usage};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use crate::meter::Count;
use crate::transcript::Message;

/// One request to a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The messages.
    pub messages: Vec<Message>,
    /// The `tools` array as compact JSON; the same bytes throughout a session.
    pub tools: Arc<str>,
    /// False where the model has to answer without a call (`tool_choice: "none"`).
    pub may_call: bool,
    /// How much to think.
    pub thinking: Thinking,
    /// Limit of the answer in tokens, reasoning included; without it, what the model allows.
    pub max_tokens: Option<u64>,
    /// Tokens of the prompt, as far as they are known.
    pub prompt: Option<Count>,
}

impl Request {
    /// Bytes of text in the request; tokens follow it.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.tools.len() + self.messages.iter().map(Message::weight).sum::<usize>()
    }
}

/// What a stream brings.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelEvent {
    /// Who answers, where that is not the model of [`Model::info`]: a configured fallback.
    Answering(Provenance),
    /// Nothing yet, for this many seconds.
    Waiting(u64),
    /// Something that the user should know, as in which flag the server lacks.
    Notice(String),
    /// More visible text.
    Text(String),
    /// More reasoning.
    Reasoning(String),
    /// A whole call.
    Call {
        /// The server's id; empty where it gave none.
        id: String,
        /// The tool's name as the model wrote it.
        name: String,
        /// The arguments as the model wrote them.
        arguments: String,
    },
    /// Text that is a call by its markers and cannot be read as one.
    Malformed {
        /// What the model wrote.
        raw: String,
        /// What is wrong with it, for the model.
        why: String,
    },
    /// What the request took.
    Usage(Usage),
    /// The end; nothing follows.
    Done(Finish),
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ModelError {
    /// Which kind; the loop acts on it.
    pub kind: FailureKind,
    /// What was wrong and what to do about it.
    pub message: String,
    /// The window in tokens, where the server named it while it refused.
    pub window: Option<u64>,
}

/// What the loop needs to know of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// Its reference, as in `vllm/Qwen/Qwen3-8B`.
    pub reference: String,
    /// Who answers.
    pub provenance: Provenance,
    /// Tokens of prompt and answer together.
    pub window: u64,
    /// Tokens of an answer at most.
    pub max_output: u64,
    /// True where it takes pictures.
    pub images: bool,
    /// True where it can think.
    pub thinks: bool,
    /// True where its family wants reasoning back in later requests.
    pub resend_reasoning: bool,
}

/// A model that can be asked.
pub trait Model: Send + Sync {
    /// What it is. May change after a server corrected it.
    fn info(&self) -> ModelInfo;

    /// Sends a request. Dropping the stream closes the connection.
    fn stream(&self, request: Request) -> BoxStream<'static, Result<ModelEvent, ModelError>>;

    /// Prompt tokens of a request by the model's own tokenizer; none where the server cannot
    /// count.
    fn count<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Option<u64>>;
}

/// Where models come from.
pub trait Models: Send + Sync {
    /// The model of this reference or alias.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn Model>, ModelError>>;

    /// The models that can be chosen; `refresh` asks the servers again.
    fn list(&self, refresh: bool) -> BoxFuture<'_, Result<Vec<ModelRow>, ModelError>>;
}

impl fmt::Debug for dyn Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Model({})", self.info().reference)
    }
}
