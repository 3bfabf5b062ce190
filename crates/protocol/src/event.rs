//! What comes out of the agent.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::is_false;
use crate::{
    ApprovalId, ApproveMode, Call, Provenance, QuestionId, ResultStatus, Right, SessionId, Thinking, TurnId,
    Usage,
};

/// An event with where and when it happened.
///
/// `{"session":"…","turn":"…","seq":3,"time":1764000000000,"type":"text_delta","text":"Hel"}`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// The session.
    pub session: SessionId,
    /// The turn; absent outside of turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<TurnId>,
    /// Counts the events of this agent from 1, without gaps.
    pub seq: u64,
    /// Milliseconds since 1970-01-01 UTC.
    pub time: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// One thing that a front end shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// A session is open: at the start, and after [`Op::New`](crate::Op::New) and
    /// [`Op::Resume`](crate::Op::Resume).
    SessionOpened {
        /// The model's reference.
        model: String,
        /// How many items it already has.
        items: u64,
    },
    /// A turn began.
    TurnStarted {
        /// Who will be asked.
        provenance: Provenance,
    },
    /// More of the answer.
    TextDelta {
        /// The new characters.
        text: String,
    },
    /// More of what the model thinks.
    ReasoningDelta {
        /// The new characters.
        text: String,
    },
    /// A call begins. Its finish follows, come what may.
    ToolCallStarted {
        /// The id of the call.
        id: String,
        /// The tool.
        name: String,
        /// The arguments as they are used: coerced, and an empty object where they were
        /// not understood.
        args: Value,
    },
    /// A running tool wrote something.
    ToolOutput {
        /// The id of the call.
        id: String,
        /// The new characters.
        text: String,
    },
    /// A call ended.
    ToolCallFinished {
        /// The id of the call.
        id: String,
        /// What the model reads.
        result: String,
        /// How it ended.
        status: ResultStatus,
        /// True unless the status is `ok`.
        #[serde(default, skip_serializing_if = "is_false")]
        is_error: bool,
        /// What changed in a file, as a unified diff.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        diff: Option<String>,
        /// Wall time in milliseconds.
        duration: u64,
    },
    /// The policy wants a human's word before a call.
    ApprovalRequested {
        /// Answered by [`Op::Approve`](crate::Op::Approve) with this id.
        id: ApprovalId,
        /// The call.
        call: Call,
        /// Why it asks, one sentence each.
        why: Vec<String>,
        /// What exactly would be allowed.
        rights: Vec<Right>,
        /// What [`Decision::Session`](crate::Decision::Session) would allow, in words.
        session: String,
        /// What would change in a file, as a unified diff.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        diff: Option<String>,
        /// Seconds until it counts as denied.
        timeout: u64,
    },
    /// An approval was answered, timed out, or is void because the turn ended.
    ApprovalResolved {
        /// Which.
        id: ApprovalId,
        /// True where the call may go ahead.
        allowed: bool,
        /// In words, as in `not answered within 300 s`.
        why: String,
    },
    /// The agent wants to know something of the user.
    Question {
        /// Answered by [`Op::Answer`](crate::Op::Answer) with this id.
        id: QuestionId,
        /// The question.
        text: String,
        /// Answers to choose from; empty where any text will do.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        options: Vec<String>,
    },
    /// Something that the user should know.
    Notice {
        /// How much it matters.
        level: Level,
        /// One line.
        text: String,
    },
    /// The server has not said anything yet. Repeated while that is so.
    Waiting {
        /// For how long.
        seconds: u64,
    },
    /// What a request took.
    Usage(Usage),
    /// How full the context is.
    ContextMeter {
        /// Tokens of the next request, without the user's next message.
        used: u64,
        /// The model's window in tokens.
        window: u64,
        /// True where the server counted, false for an estimate.
        exact: bool,
    },
    /// The context was compacted.
    Compacted {
        /// Tokens before.
        before: u64,
        /// Tokens after.
        after: u64,
        /// What was done, in words.
        how: String,
    },
    /// The turn ended. The last event of every turn.
    TurnFinished {
        /// How.
        outcome: Outcome,
        /// Who answered last.
        provenance: Provenance,
        /// Requests that were sent.
        steps: u32,
        /// Everything the turn took.
        usage: Usage,
    },
    /// The answer to [`Op::List`](crate::Op::List).
    Listed(Listing),
    /// The answer to [`Op::Status`](crate::Op::Status).
    Status(Status),
    /// The answer to [`Op::Undo`](crate::Op::Undo).
    Undone {
        /// Files that are again as they were before the turn.
        files: Vec<String>,
        /// What could not be taken back, one sentence each.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        kept: Vec<String>,
    },
    /// The agent ended. The last event of all.
    Closed,
}

/// How much a notice matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Good to know.
    Info,
    /// Something is not as it was asked for.
    Warn,
    /// Something failed.
    Error,
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// With an answer.
    Done,
    /// With an error.
    Failed {
        /// Which kind; decides the exit status.
        kind: FailureKind,
        /// What was wrong, and what to do about it.
        message: String,
    },
    /// The answer was cut by the token limit or the connection; what came is shown.
    Cut {
        /// Why.
        message: String,
    },
    /// By the user.
    Stopped,
    /// A budget was used up.
    Budget {
        /// Which.
        budget: Budget,
        /// In words.
        message: String,
    },
    /// The model answered, but the policy had refused calls for want of approval.
    Refused {
        /// What was refused, and the option that allows it.
        message: String,
    },
}

/// Why a turn failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The server cannot be reached or went away.
    Unavailable,
    /// The server refused the key.
    Unauthorized,
    /// The server or its gateway limits the rate.
    RateLimited,
    /// The conversation does not fit the model's window.
    ContextOverflow,
    /// The server refused the request.
    BadRequest,
    /// The server said something that the protocol does not allow.
    Protocol,
    /// The model or an option is not usable as configured.
    Config,
    /// The model gave no answer: nothing, or reasoning alone.
    Empty,
    /// The model repeated itself and was stopped.
    Loop,
    /// The model told as done what had failed.
    Untrue,
    /// The session could not be written.
    Storage,
}

/// A limit on a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// Requests to the model.
    Steps,
    /// Tokens of all answers of the turn.
    Tokens,
    /// Wall time.
    Time,
}

/// A list that a front end asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", content = "rows", rename_all = "snake_case")]
pub enum Listing {
    /// Models.
    Models(Vec<ModelRow>),
    /// Sessions, the newest first.
    Sessions(Vec<SessionRow>),
    /// Tools.
    Tools(Vec<ToolRow>),
}

/// One model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelRow {
    /// Reference, as in `vllm/Qwen/Qwen3-8B`.
    pub model: String,
    /// Window in tokens; absent where unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
    /// True for the one in use.
    #[serde(default, skip_serializing_if = "is_false")]
    pub current: bool,
    /// True where the connection never leaves this machine.
    #[serde(default, skip_serializing_if = "is_false")]
    pub local: bool,
}

/// One stored session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionRow {
    /// Its id.
    pub id: SessionId,
    /// The name the user gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The beginning of its first message.
    pub title: String,
    /// When it was last written, in milliseconds since 1970-01-01 UTC.
    pub updated: u64,
    /// How many items it has.
    pub items: u64,
    /// Everything it took.
    pub usage: Usage,
}

/// One tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolRow {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// True where it changes nothing.
    pub read_only: bool,
}

/// How the agent stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The model's reference.
    pub model: String,
    /// Who answers.
    pub provenance: Provenance,
    /// How much it thinks.
    pub thinking: Thinking,
    /// What is allowed without asking.
    pub approve: ApproveMode,
    /// The workspace.
    pub workspace: String,
    /// Tokens of the context.
    pub used: u64,
    /// The model's window in tokens.
    pub window: u64,
    /// Items of the transcript.
    pub items: u64,
    /// Everything the session took.
    pub usage: Usage,
}
