//! What the agent and a running turn share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use chela_protocol::{
    ApprovalId, Decision, Envelope, Event, Item, Level, Record, Right, SessionId, Thinking, TurnId,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::args::Reader;
use crate::journal::{Journal, JournalError, lock};
use crate::meter::Meter;
use crate::model::{Model, Models, Request};
use crate::policy::{Grant, Mode, Policy};
use crate::settings::{Recall, Settings};
use crate::tool::Registry;
use crate::transcript::{Message, Transcript, repair};

/// The parts that do not change while the agent lives, and those that a front end may change
/// at any time.
pub(crate) struct Core {
    pub settings: Settings,
    pub tools: Registry,
    pub reader: Reader,
    pub policy: Policy,
    pub models: Arc<dyn Models>,
    pub recall: Option<Arc<dyn Recall>>,
    pub emitter: Emitter,
    pub live: Mutex<Live>,
    pub approvals: Mutex<HashMap<ApprovalId, oneshot::Sender<Decision>>>,
}

/// What a front end may change.
pub(crate) struct Live {
    pub model: Arc<dyn Model>,
    pub thinking: Thinking,
    pub mode: Mode,
}

impl Core {
    pub fn model(&self) -> Arc<dyn Model> {
        Arc::clone(&lock(&self.live).model)
    }

    pub fn thinking(&self) -> Thinking {
        lock(&self.live).thinking
    }

    pub fn mode(&self) -> Mode {
        lock(&self.live).mode.clone()
    }

    /// Notes the hosts that a call was allowed to reach.
    pub fn reached(&self, rights: &[Right]) {
        let mut live = lock(&self.live);
        for right in rights {
            let Right::Net { host } = right else { continue };
            let reached = Grant::Reached(host.clone());
            if !live.mode.grants.contains(&reached) {
                live.mode.grants.push(reached);
            }
        }
    }
}

/// What a front end says to a running turn.
#[derive(Default)]
pub(crate) struct Control {
    pub cancel: CancellationToken,
    steer: Mutex<Vec<String>>,
}

impl Control {
    pub fn steer(&self, text: String) {
        lock(&self.steer).push(text);
    }

    pub fn take_steer(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.steer))
    }
}

/// Numbers events and sends them.
pub(crate) struct Emitter {
    sender: mpsc::Sender<Envelope>,
    state: Mutex<(SessionId, u64)>,
}

impl Emitter {
    pub fn new(session: SessionId, sender: mpsc::Sender<Envelope>) -> Self {
        Self { sender, state: Mutex::new((session, 0)) }
    }

    pub fn set_session(&self, session: SessionId) {
        lock(&self.state).0 = session;
    }

    /// Resolves when nobody listens any more.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }

    /// Waits while the front end is behind. Without a front end there is nothing to do.
    pub async fn emit(&self, turn: Option<TurnId>, event: Event) {
        let Ok(permit) = self.sender.reserve().await else { return };
        // Number and place in the queue are taken under one lock, so that they agree.
        let mut state = lock(&self.state);
        state.1 += 1;
        permit.send(Envelope { session: state.0, turn, seq: state.1, time: now(), event });
    }

    pub async fn notice(&self, turn: Option<TurnId>, level: Level, text: impl Into<String>) {
        self.emit(turn, Event::Notice { level, text: text.into() }).await;
    }
}

/// An open session.
pub(crate) struct Session {
    journal: Arc<dyn Journal>,
    pub transcript: Transcript,
    pub meter: Meter,
    /// Lines for the next user message.
    pub hints: Vec<String>,
    tools: Arc<str>,
}

impl Session {
    /// Loads a session and closes what a dead process left open.
    pub async fn open(journal: Arc<dyn Journal>) -> Result<Self, JournalError> {
        let records = journal.load().await?;
        let missing = repair(&records, "the process ended");
        let mut session = Self {
            journal,
            transcript: Transcript::from_records(records),
            meter: Meter::default(),
            hints: Vec::new(),
            tools: Arc::from(""),
        };
        session.learn_tools();
        if let Some((turn, _)) = missing.first() {
            let turn = *turn;
            session.append(turn, missing.into_iter().map(|(_, item)| item).collect()).await?;
        }
        Ok(session)
    }

    pub fn id(&self) -> SessionId {
        self.journal.session()
    }

    pub fn journal(&self) -> &Arc<dyn Journal> {
        &self.journal
    }

    /// Writes items; when it returns, they are durable.
    pub async fn append(&mut self, turn: TurnId, items: Vec<Item>) -> Result<(), JournalError> {
        if items.is_empty() {
            return Ok(());
        }
        let record = |item| Record { id: chela_protocol::ItemId::new(), turn, time: now(), item };
        let records: Vec<Record> = items.into_iter().map(record).collect();
        self.journal.append(records.clone()).await?;
        records.into_iter().for_each(|record| self.transcript.push(record));
        self.learn_tools();
        Ok(())
    }

    fn learn_tools(&mut self) {
        let stored = self.transcript.prefix().map_or("", |(_, tools)| tools);
        if *self.tools != *stored {
            self.tools = Arc::from(stored);
        }
    }

    /// The next request.
    pub fn request(&self, may_call: bool, thinking: Thinking) -> Request {
        self.request_of(self.transcript.messages(), may_call, thinking)
    }

    /// A request of this session with these messages.
    pub fn request_of(&self, messages: Vec<Message>, may_call: bool, thinking: Thinking) -> Request {
        let mut request = Request {
            messages,
            tools: Arc::clone(&self.tools),
            may_call,
            thinking,
            max_tokens: None,
            prompt: None,
        };
        request.prompt = Some(self.meter.count(&request));
        request
    }
}

/// Milliseconds since 1970-01-01 UTC.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
