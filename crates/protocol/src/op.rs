//! What goes into the agent.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::is_false;
use crate::{ApprovalId, Attachment, Image, QuestionId, TurnId};

/// One operation of a front end on a running agent.
///
/// `{"op":"user_message","text":"hi"}`, `{"op":"stop"}`, …
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// Starts a turn. While one runs, the message waits for its end.
    UserMessage {
        /// What the user wrote.
        text: String,
        /// Pictures, for a model that takes them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        images: Vec<Image>,
        /// Texts that belong to the message: files named by `@path`, what came on stdin.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        attachments: Vec<Attachment>,
    },
    /// A word to the model in the running turn: it reaches it with the next tool results, or
    /// as a message of its own if no tool is called any more. Without a turn: a user message.
    Steer {
        /// What the user wrote.
        text: String,
    },
    /// Ends the running turn now. No further tool starts; the connection to the model closes.
    Stop,
    /// Answers an [`ApprovalRequested`](crate::Event::ApprovalRequested).
    Approve {
        /// Which request.
        id: ApprovalId,
        /// What the user decided.
        decision: Decision,
    },
    /// Answers a [`Question`](crate::Event::Question).
    Answer {
        /// Which question.
        id: QuestionId,
        /// The user's words.
        text: String,
    },
    /// Compacts the context now.
    Compact,
    /// Uses another model from the next request on.
    SetModel {
        /// Reference, as in `vllm/Qwen/Qwen3-8B`, or an alias.
        model: String,
    },
    /// Changes how much the model thinks, from the next request on.
    SetThinking {
        /// The new level.
        level: Thinking,
    },
    /// Changes what is allowed without asking.
    SetApprove {
        /// The new mode.
        mode: ApproveMode,
    },
    /// Leaves this session and opens a new, empty one.
    New,
    /// Leaves this session and opens another one that is stored.
    Resume {
        /// Its name, its id, or enough of the id.
        session: String,
    },
    /// Takes back what `write` and `edit` did in a turn.
    Undo {
        /// The turn; without it, the newest one that changed a file and was not taken back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        turn: Option<TurnId>,
    },
    /// Asks for a [`Listed`](crate::Event::Listed) event.
    List {
        /// What to list.
        what: ListWhat,
        /// Asks the servers again instead of answering from what is known.
        #[serde(default, skip_serializing_if = "is_false")]
        refresh: bool,
    },
    /// Asks for a [`Status`](crate::Event::Status) event.
    Status,
    /// Stops the turn, if one runs, and ends the agent.
    Shutdown,
}

/// The answer to a request for approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// This call, this time.
    Once,
    /// This call and calls with exactly the same rights, until the session ends.
    Session,
    /// Not.
    Deny,
}

/// What [`Op::List`] lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListWhat {
    /// The models that can be chosen.
    Models,
    /// The stored sessions.
    Sessions,
    /// The tools of this session.
    Tools,
}

/// Text that names no value of a closed set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownName {
    what: &'static str,
    expected: &'static str,
    got: String,
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, expected, got } = self;
        write!(f, "{what}: expected one of {expected}, got {got:?}")
    }
}

impl std::error::Error for UnknownName {}

macro_rules! named {
    ($name:ident, $what:literal, $($variant:ident = $text:literal),+ ; $all:literal) => {
        impl $name {
            /// The name, as on the command line and in JSON.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl FromStr for $name {
            type Err = UnknownName;
            fn from_str(text: &str) -> Result<Self, UnknownName> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(UnknownName {
                        what: $what,
                        expected: $all,
                        got: text.chars().take(80).collect(),
                    }),
                }
            }
        }
    };
}

/// How much a model that can think does think.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Thinking {
    /// Not at all.
    Off,
    /// A little; the default.
    #[default]
    Low,
    /// More.
    Medium,
    /// Most.
    High,
}

named!(Thinking, "thinking", Off = "off", Low = "low", Medium = "medium", High = "high";
    "off, low, medium, high");

/// What is allowed without asking, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApproveMode {
    /// What would ask is refused; for runs without a terminal.
    None,
    /// Writes and commands ask; the default where someone can answer.
    #[default]
    Ask,
    /// Writes inside the workspace and sandboxed commands go ahead.
    Edits,
    /// Also what lies outside, but never policy, keys or instructions.
    All,
}

named!(ApproveMode, "approve", None = "none", Ask = "ask", Edits = "edits", All = "all";
    "none, ask, edits, all");
