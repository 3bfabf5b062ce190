//! What goes into a request to a model, and what comes out.

use std::fmt;
use std::time::Duration;

use chela_openai::chat::{FinishReason, Message, Tool};
use chela_openai::usage::Usage;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::catalog::{Model, ModelRef};
use crate::fault::ExitClass;
use crate::transport::Locality;

/// One request to a model.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Who is asked.
    pub model: Model,
    /// Who is asked instead, in order, as configured. Empty: nobody.
    pub fallbacks: Vec<Model>,
    /// The conversation.
    pub messages: Vec<Message>,
    /// The tools on offer, with their plain schemas.
    pub tools: Vec<Tool>,
    /// False: the tools stay in the prompt, but the model may not call one.
    pub may_call: bool,
    /// Request fields of this turn (`temperature`, `seed`, …), over those of the model's entry.
    pub params: Map<String, Value>,
    /// How much to think.
    pub thinking: Thinking,
    /// Most tokens of the answer; the model's limit if absent. Clamped to what fits.
    pub max_tokens: Option<u32>,
    /// Tokens of the prompt, if they were counted or estimated.
    pub prompt_tokens: Option<TokenCount>,
    /// Session id, for logs.
    pub session: String,
}

impl Turn {
    /// A turn of messages alone.
    pub fn new(model: Model, messages: Vec<Message>) -> Self {
        Self {
            model,
            fallbacks: Vec::new(),
            messages,
            tools: Vec::new(),
            may_call: true,
            params: Map::new(),
            thinking: Thinking::Default,
            max_tokens: None,
            prompt_tokens: None,
            session: String::new(),
        }
    }
}

/// How much a model is to think.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Thinking {
    /// As the server and the configuration have it.
    #[default]
    Default,
    /// Not at all.
    Off,
    /// A little.
    Low,
    /// More.
    Medium,
    /// Most.
    High,
}

/// A number of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenCount {
    /// How many.
    pub tokens: u32,
    /// Counted by the server, not estimated.
    pub exact: bool,
}

/// One event of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelEvent {
    /// Who answers; once, before the first token.
    Answering(Provenance),
    /// More visible text.
    Text(String),
    /// More reasoning.
    Reasoning(String),
    /// A tool call begins.
    ToolCallStart {
        /// Place among the calls of the answer, from 0.
        index: usize,
        /// The call's id; made up where the server sent none.
        id: String,
        /// The tool's name, as the model wrote it.
        name: String,
    },
    /// More of a call's arguments, as JSON text that nobody has checked.
    ToolCallArgs {
        /// Which call.
        index: usize,
        /// The piece.
        text: String,
    },
    /// A call is complete.
    ToolCallEnd {
        /// Which call.
        index: usize,
    },
    /// Text that is a tool call by its markers and cannot be read as one.
    MalformedCall {
        /// What the model wrote, markers included.
        raw: String,
        /// What is wrong with it, in words for a model.
        why: String,
    },
    /// Tokens used; once, before the end, where the server tells.
    Usage(Usage),
    /// Something the user should know. Not part of the answer.
    Notice(Notice),
    /// The answer is complete. The last event.
    Done {
        /// Why it ended.
        finish: FinishReason,
    },
}

/// Who answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Provenance {
    /// Provider id.
    pub provider: String,
    /// Model id.
    pub model: String,
    /// Base URL, without credentials.
    pub endpoint: String,
    /// Whether the connection stayed on this machine.
    pub local: bool,
    /// How far away the server is, by the address that was connected to.
    #[serde(skip)]
    pub locality: Locality,
    /// The model's window as it is known now.
    pub window: u32,
}

/// Something to tell the user while the answer goes on. Its `Display` is one line.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// The server lives and has not begun to answer.
    Waiting {
        /// Since the request was sent.
        seconds: u64,
        /// What the server said meanwhile: `reading the prompt`, `loading the model`.
        what: &'static str,
    },
    /// Progress of reading the prompt, where the server tells.
    Reading {
        /// Tokens read.
        done: u64,
        /// Tokens of the prompt.
        total: u64,
    },
    /// The request goes again.
    Retry {
        /// Number of the retry, from 1.
        attempt: u32,
        /// After this time.
        after: Duration,
        /// Why.
        why: String,
    },
    /// Another model is asked.
    Fallback {
        /// Who failed.
        from: ModelRef,
        /// Who is asked now.
        to: ModelRef,
        /// Why.
        why: String,
    },
    /// A fallback model was left out.
    FallbackTooSmall {
        /// Which.
        model: ModelRef,
        /// Its window.
        window: u32,
        /// What the session needs.
        needed: u32,
    },
    /// The server refused a field; the request goes again without it.
    Without {
        /// The field.
        field: &'static str,
        /// What the server said.
        said: String,
    },
    /// The server was started without what tool calls need.
    ToolsByText {
        /// What is done instead and the remedy, in one line.
        message: String,
    },
    /// The window is not what was believed.
    WindowCorrected {
        /// As believed.
        was: u32,
        /// As the server says.
        now: u32,
    },
    /// Lines of the stream that could not be read were left out.
    Malformed {
        /// How many so far.
        lines: u32,
        /// The beginning of the first.
        excerpt: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Waiting { seconds, what } => write!(f, "waiting for the server, {seconds} s ({what})"),
            Notice::Reading { done, total } => write!(f, "the server has read {done} of {total} tokens"),
            Notice::Retry { attempt, after, why } => {
                write!(f, "{why}; retry {attempt} in {:.1} s", after.as_secs_f64())
            }
            Notice::Fallback { from, to, why } => {
                write!(f, "{from} failed ({why}); asking {to}, as configured")
            }
            Notice::FallbackTooSmall { model, window, needed } => {
                write!(f, "{model} is not asked: its window of {window} tokens is too small for {needed}")
            }
            Notice::Without { field, said } => {
                write!(f, "the server refuses {field} ({said}); the request goes again without it")
            }
            Notice::ToolsByText { message } => f.write_str(message),
            Notice::WindowCorrected { was, now } => {
                write!(f, "the server's window is {now} tokens, not {was}; corrected")
            }
            Notice::Malformed { lines, excerpt } => {
                write!(f, "{lines} unreadable line(s) in the answer were left out, the first: {excerpt}")
            }
        }
    }
}

/// Why there is no complete answer. Everything that arrived before stands in the events before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The prompt does not fit the window.
    #[error("the prompt does not fit: the window is {limit} tokens{}", asked.map_or(String::new(), |asked| format!(", the prompt {asked}")))]
    ContextOverflow {
        /// Window in tokens.
        limit: u32,
        /// Tokens of the prompt, where known.
        asked: Option<u32>,
    },
    /// Too many requests, and waiting did not help or would be too long.
    #[error("{url} limits the rate: {message}{}", after.map_or(String::new(), |after| format!(" (it asks to wait {} s)", after.as_secs())))]
    RateLimited {
        /// Endpoint.
        url: String,
        /// When the server wants the next request.
        after: Option<Duration>,
        /// What the server said.
        message: String,
    },
    /// The server cannot be reached or fails.
    #[error("{message}; {hint}")]
    Unavailable {
        /// Address and cause.
        message: String,
        /// What to do.
        hint: String,
    },
    /// The key was refused, or one is needed.
    #[error("{url} refuses the key: {message}; {hint}")]
    Unauthorized {
        /// Endpoint.
        url: String,
        /// What the server said.
        message: String,
        /// What to do.
        hint: String,
    },
    /// The server does not have the model.
    #[error("{url} has no model {model:?}: {message}; `chela models list --refresh` shows what it has")]
    NoSuchModel {
        /// Endpoint.
        url: String,
        /// The id asked for.
        model: String,
        /// What the server said.
        message: String,
    },
    /// The server refuses the request for another reason.
    #[error("{url} refuses the request with {status}: {message}")]
    BadRequest {
        /// Endpoint.
        url: String,
        /// HTTP status.
        status: u16,
        /// What the server said.
        message: String,
    },
    /// The answer is not what the protocol says.
    #[error("{url} does not answer as an OpenAI-compatible server: {message}")]
    Protocol {
        /// Endpoint.
        url: String,
        /// What was expected and what came.
        message: String,
    },
    /// The caller stopped the turn.
    #[error("stopped")]
    Cancelled,
    /// No sign of life for too long.
    #[error("{url} was silent for {seconds} s while waiting for {waited_for}; {key} changes this limit")]
    Stalled {
        /// Endpoint.
        url: String,
        /// What did not come.
        waited_for: &'static str,
        /// The limit that passed.
        seconds: u64,
        /// Configuration key of the limit.
        key: String,
    },
    /// The answer broke off after its first token; what came stands.
    #[error("the answer was cut off: {cause}")]
    Truncated {
        /// What happened.
        cause: String,
    },
}

impl ModelError {
    /// What the error means for the exit status.
    pub fn exit_class(&self) -> ExitClass {
        match self {
            ModelError::Unavailable { .. }
            | ModelError::Unauthorized { .. }
            | ModelError::NoSuchModel { .. }
            | ModelError::RateLimited { .. }
            | ModelError::Protocol { .. } => ExitClass::Unusable,
            ModelError::Cancelled => ExitClass::Interrupted,
            ModelError::ContextOverflow { .. }
            | ModelError::BadRequest { .. }
            | ModelError::Stalled { .. }
            | ModelError::Truncated { .. } => ExitClass::Failed,
        }
    }

    /// Whether another model may be asked instead: this one cannot answer at all.
    pub(crate) fn lets_fall_back(&self) -> bool {
        matches!(
            self,
            ModelError::Unavailable { .. }
                | ModelError::Unauthorized { .. }
                | ModelError::NoSuchModel { .. }
                | ModelError::RateLimited { .. }
                | ModelError::Protocol { .. }
                | ModelError::Stalled { .. }
        )
    }
}
