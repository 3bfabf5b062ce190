//! What is kept of a conversation.

use serde::{Deserialize, Serialize};

use crate::is_false;
use crate::{ItemId, TurnId};

/// One stored item with its place in the transcript.
///
/// `{"id":"…","turn":"…","time":1764000000000,"kind":"user","text":"hi"}`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its id; ids grow with the order of writing.
    pub id: ItemId,
    /// The turn that it belongs to.
    pub turn: TurnId,
    /// When it was written, in milliseconds since 1970-01-01 UTC.
    pub time: u64,
    /// What it is.
    #[serde(flatten)]
    pub item: Item,
}

/// One thing that happened in a conversation. Never changed after it was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Item {
    /// What stands before the first message of every request: kept, so that a later process
    /// sends the same bytes. A later one (after a compaction) replaces it.
    Prefix {
        /// The system text.
        system: String,
        /// The `tools` array as compact JSON.
        tools: String,
    },
    /// A message of the user.
    User {
        /// What the user wrote.
        text: String,
        /// What the agent added when it was first sent: date, folder, memory, hints. Frozen.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        context: String,
        /// Pictures.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        images: Vec<Image>,
        /// Texts that belong to it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        attachments: Vec<Attachment>,
        /// What the context and the attachments brought in.
        #[serde(default, skip_serializing_if = "Taint::is_clean")]
        taint: Taint,
        /// Who was asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provenance: Option<Provenance>,
    },
    /// A message that the agent itself put in the user's place, to have an empty or cut answer
    /// continued. Shown to nobody.
    Nudge {
        /// What the model reads.
        text: String,
    },
    /// One answer of the model, whole or cut.
    Assistant {
        /// The visible text.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        text: String,
        /// What the model thought.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reasoning: String,
        /// True where the model's family wants its reasoning back in later requests.
        #[serde(default, skip_serializing_if = "is_false")]
        resend_reasoning: bool,
        /// The calls, in order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        calls: Vec<Call>,
        /// How it ended.
        finish: Finish,
        /// Who answered.
        provenance: Provenance,
        /// What it took, as far as it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        usage: Option<Usage>,
    },
    /// A call is about to start: written before it does.
    CallStarted {
        /// The id of the call.
        call: String,
    },
    /// What a call came to. Exactly one for each call of an [`Item::Assistant`].
    ToolResult {
        /// The id of the call.
        call: String,
        /// The tool's name as the model wrote it.
        name: String,
        /// What the model reads; never blank.
        content: String,
        /// A hint of the agent or a word of the user, sent behind the content. Frozen.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        note: String,
        /// How it ended.
        #[serde(default, skip_serializing_if = "ResultStatus::is_ok")]
        status: ResultStatus,
        /// What a `write` or `edit` changed, as a unified diff.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        diff: Option<String>,
        /// What the result brought into the context.
        #[serde(default, skip_serializing_if = "Taint::is_clean")]
        taint: Taint,
        /// Wall time in milliseconds.
        #[serde(default)]
        millis: u64,
    },
    /// From here on requests are built from less. The items before stay where they are.
    Compaction(Compaction),
    /// The turn ended without an answer. On the wire it is a short assistant message, so that
    /// user and assistant keep alternating and nothing that was sent has to change.
    Interrupted {
        /// What the model reads, as in `stopped by the user`.
        reason: String,
    },
}

/// What a compaction replaced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compaction {
    /// Tool results that are sent shortened from now on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shortened: Vec<Shortened>,
    /// Stands in for everything before `keep_from`; absent where only tool results shrank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Words of the user from before `keep_from`, sent verbatim behind the summary.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pinned: Vec<String>,
    /// The first item that is still sent; without it (and with a summary) none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_from: Option<ItemId>,
    /// Prompt tokens before.
    pub before: u64,
    /// Prompt tokens after, by the same count.
    pub after: u64,
    /// Who wrote the summary; none where no model did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
}

/// One tool result as it is sent after a compaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortened {
    /// Which item.
    pub item: ItemId,
    /// What the model reads now.
    pub content: String,
}

/// A picture of a user message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// For instance `image/png`.
    pub media_type: String,
    /// The file's bytes in base64 (RFC 4648, with padding).
    pub data: String,
    /// Where it came from, as shown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// A text that belongs to a user message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// What it is called, as in `notes.txt` or `stdin`.
    pub name: String,
    /// Its text.
    pub text: String,
    /// True where the name is a path that `read` takes: what does not fit can be read later.
    #[serde(default, skip_serializing_if = "is_false")]
    pub file: bool,
}

/// One tool call of the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The id by which its result refers to it; unique within the session.
    pub id: String,
    /// The tool's name as the model wrote it.
    pub name: String,
    /// The arguments as every request sends them: the text of one JSON object.
    pub arguments: String,
    /// What the model wrote, where that was not a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model ended it.
    #[default]
    Stop,
    /// The model wants the results of its calls.
    ToolCalls,
    /// The token limit ended it.
    Length,
    /// The user, a budget or an error of the connection ended it.
    Cut,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResultStatus {
    /// It did what it should.
    #[default]
    Ok,
    /// It ran, or could not be run, and the content says what was wrong.
    Error,
    /// The policy or the user refused it.
    Denied,
    /// It was cut off, or never started, because the turn or the process ended.
    Interrupted,
}

impl ResultStatus {
    /// True for [`ResultStatus::Ok`].
    #[must_use]
    pub fn is_ok(&self) -> bool {
        *self == Self::Ok
    }
}

/// Who answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Provenance {
    /// The provider's id, as in `vllm`.
    pub provider: String,
    /// The model's id at the provider.
    pub model: String,
    /// The base URL, without credentials.
    pub endpoint: String,
    /// True where the connection never left this machine.
    pub local: bool,
}

/// What a request took, in tokens; absent where the server did not say.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub prompt: u64,
    /// Of these, tokens that the server did not compute again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<u64>,
    /// Tokens of the answer, reasoning included.
    pub completion: u64,
    /// Of these, tokens of reasoning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<u64>,
    /// The model's window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
    /// In the currency of the configured prices; absent where none is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
}

impl Usage {
    /// Adds what another request took. The window is the newest.
    pub fn add(&mut self, more: &Self) {
        fn add<T: std::ops::Add<Output = T> + Copy>(total: &mut Option<T>, more: Option<T>) {
            *total = match (*total, more) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            };
        }
        self.prompt += more.prompt;
        self.completion += more.completion;
        add(&mut self.cached, more.cached);
        add(&mut self.reasoning, more.reasoning);
        add(&mut self.cost, more.cost);
        self.window = more.window.or(self.window);
    }
}

/// What came into a context that an attacker may have written or that must not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Taint {
    /// Text from outside: the web, a message of a stranger, a foreign tool server.
    #[serde(default, skip_serializing_if = "is_false")]
    pub untrusted: bool,
    /// Text of the user's: files, memory, output of commands.
    #[serde(default, skip_serializing_if = "is_false")]
    pub private: bool,
}

impl Taint {
    /// True where neither kind came in.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        !self.untrusted && !self.private
    }

    /// What is in either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self { untrusted: self.untrusted || other.untrusted, private: self.private || other.private }
    }
}

/// One thing that a call needs to be allowed to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "right", rename_all = "snake_case")]
pub enum Right {
    /// Read below this path (absolute, symlinks resolved).
    Read {
        /// The path.
        path: String,
    },
    /// Create or change this path (absolute, symlinks resolved).
    Write {
        /// The path.
        path: String,
    },
    /// Run this command.
    Exec {
        /// The text that the shell gets.
        command: String,
        /// Where it runs (absolute).
        cwd: String,
        /// True inside the sandbox.
        sandboxed: bool,
        /// True where it may use the network.
        network: bool,
    },
    /// Connect to this host.
    Net {
        /// Host name or address, with the port where it is not the scheme's own.
        host: String,
    },
    /// Add to the notes that later sessions read.
    Remember,
    /// Any other tool, by name: one of a tool server, for instance.
    Use {
        /// The tool's name.
        tool: String,
    },
}
