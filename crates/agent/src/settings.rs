//! What the composition root decides about an agent.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chela_protocol::{ApproveMode, SessionId, Thinking, TurnId};
use futures_util::future::BoxFuture;
use jiff::tz::TimeZone;

use crate::journal::{Journal, Sessions};
use crate::model::{Model, Models};
use crate::policy::Policy;
use crate::tool::Registry;

/// Everything that an agent is made of.
pub struct Parts {
    /// The values.
    pub settings: Settings,
    /// The tools.
    pub tools: Registry,
    /// The fixed facts of the policy.
    pub policy: Policy,
    /// Where other models come from.
    pub models: Arc<dyn Models>,
    /// The model to begin with.
    pub model: Arc<dyn Model>,
    /// Where new sessions come from.
    pub sessions: Arc<dyn Sessions>,
    /// The session to begin with.
    pub journal: Arc<dyn Journal>,
    /// Takes back file changes.
    pub undo: Option<Arc<dyn Undo>>,
    /// Finds notes that bear on a message.
    pub recall: Option<Arc<dyn Recall>>,
}

/// The values of an agent.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder that it works in: absolute, symlinks resolved.
    pub workspace: PathBuf,
    /// True where the user trusts the workspace, so that its instruction files are loaded.
    pub trusted: bool,
    /// What is allowed without asking.
    pub approve: ApproveMode,
    /// True where a front end can answer.
    pub can_ask: bool,
    /// An approval that is not answered for this long is denied.
    pub approval_timeout: Duration,
    /// How much the model thinks.
    pub thinking: Thinking,
    /// Limits of a turn.
    pub budgets: Budgets,
    /// The user's time zone, for the date that the model is told.
    pub time_zone: TimeZone,
}

impl Settings {
    /// The defaults for a workspace (absolute, symlinks resolved): not trusted, nobody to ask,
    /// UTC.
    #[must_use]
    pub fn new(workspace: PathBuf) -> Self {
        Self {
            workspace,
            trusted: false,
            approve: ApproveMode::None,
            can_ask: false,
            approval_timeout: Duration::from_secs(300),
            thinking: Thinking::default(),
            budgets: Budgets::default(),
            time_zone: TimeZone::UTC,
        }
    }
}

/// Limits of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budgets {
    /// Requests to the model. The last one allows no calls, so that what was found is told.
    pub steps: u32,
    /// Tokens of all answers together.
    pub tokens: u64,
    /// Wall time; without it, none.
    pub time: Option<Duration>,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { steps: 50, tokens: 200_000, time: None }
    }
}

/// What an undo did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undone {
    /// The turn that was taken back.
    pub turn: TurnId,
    /// Files that are as they were before it.
    pub files: Vec<String>,
    /// What could not be taken back, one sentence each.
    pub kept: Vec<String>,
}

/// Takes back what tools did to files.
pub trait Undo: Send + Sync {
    /// Takes back a turn of a session, the newest that is left without `turn`.
    ///
    /// The error says in words why nothing was taken back.
    fn undo(&self, session: SessionId, turn: Option<TurnId>) -> BoxFuture<'_, Result<Undone, String>>;
}

/// A note that bears on a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// Where it stands, as in `memory/2026-11.md`.
    pub origin: String,
    /// What it says.
    pub text: String,
}

/// Finds notes.
pub trait Recall: Send + Sync {
    /// Notes that bear on `message`, the best first; few and short.
    fn recall<'a>(&'a self, message: &'a str) -> BoxFuture<'a, Vec<Quote>>;
}
