//! The agent: operations in, events out.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use chela_protocol::{Envelope, Event, Level, ListWhat, Listing, Op, Outcome, Status, Thinking, TurnId};
use tokio::sync::mpsc;

use crate::core::{Control, Core, Emitter, Live, Session};
use crate::journal::{JournalError, Sessions, lock};
use crate::policy::Mode;
use crate::settings::{Parts, Undo};
use crate::turn::{Turn, UserMessage};

/// One agent with one open session.
pub struct Agent {
    parts: Parts,
}

/// What an operation in a quiet moment leads to.
enum After {
    Nothing,
    Work(Work),
    End,
}

/// What takes time and can be stopped.
enum Work {
    Message(UserMessage),
    Compact,
}

struct Running {
    core: Core,
    session: Session,
    sessions: Arc<dyn Sessions>,
    undo: Option<Arc<dyn Undo>>,
    ops: mpsc::Receiver<Op>,
    /// False when no more operations can come.
    open: bool,
    /// What came while something else was going on.
    queue: VecDeque<Op>,
    ending: bool,
}

impl Agent {
    /// An agent of these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self { parts }
    }

    /// Runs until [`Op::Shutdown`], until `ops` is closed and everything in it is done, or until
    /// nobody listens to `events` any more. The last event is [`Event::Closed`].
    ///
    /// # Errors
    /// The session could not be opened.
    pub async fn run(
        self,
        ops: mpsc::Receiver<Op>,
        events: mpsc::Sender<Envelope>,
    ) -> Result<(), JournalError> {
        let Parts { settings, tools, policy, models, model, sessions, journal, undo, recall } = self.parts;
        let session = Session::open(journal).await?;
        let live = Live {
            model,
            thinking: settings.thinking,
            mode: Mode { approve: settings.approve, can_ask: settings.can_ask, grants: Vec::new() },
        };
        let core = Core {
            emitter: Emitter::new(session.id(), events),
            settings,
            reader: crate::args::Reader::new(&tools),
            tools,
            policy,
            models,
            recall,
            live: Mutex::new(live),
            approvals: Mutex::new(HashMap::new()),
        };
        let running =
            Running { core, session, sessions, undo, ops, open: true, queue: VecDeque::new(), ending: false };
        running.run().await;
        Ok(())
    }
}

impl Running {
    async fn run(mut self) {
        self.opened().await;
        while let Some(op) = self.next_op().await {
            match self.quiet(op).await {
                After::Nothing => {}
                After::Work(work) => self.work(work).await,
                After::End => break,
            }
            if self.ending {
                break;
            }
        }
        self.core.emitter.emit(None, Event::Closed).await;
    }

    async fn next_op(&mut self) -> Option<Op> {
        if let Some(op) = self.queue.pop_front() {
            return Some(op);
        }
        if !self.open {
            return None;
        }
        tokio::select! {
            op = self.ops.recv() => op,
            () = self.core.emitter.closed() => None,
        }
    }

    async fn opened(&self) {
        let model = self.core.model().info().reference;
        let items = self.session.transcript.count();
        self.core.emitter.emit(None, Event::SessionOpened { model, items }).await;
    }

    /// Does an operation while no turn runs.
    async fn quiet(&mut self, op: Op) -> After {
        match op {
            Op::UserMessage { text, images, attachments } => {
                return After::Work(Work::Message(UserMessage { text, images, attachments }));
            }
            Op::Steer { text } => {
                let message = UserMessage { text, images: Vec::new(), attachments: Vec::new() };
                return After::Work(Work::Message(message));
            }
            Op::Compact => return After::Work(Work::Compact),
            Op::Shutdown => return After::End,
            Op::New => self.switch(None).await,
            Op::Resume { session } => self.switch(Some(&session)).await,
            Op::SetModel { model } => self.set_model(&model).await,
            Op::Undo { turn } => self.undo(turn).await,
            Op::List { what, refresh } => self.list(what, refresh).await,
            Op::Status => self.status().await,
            op @ (Op::Stop
            | Op::Approve { .. }
            | Op::Answer { .. }
            | Op::SetThinking { .. }
            | Op::SetApprove { .. }) => {
                self.core.at_once(&Control::default(), op).await;
            }
        }
        After::Nothing
    }

    /// Does work, and meanwhile takes operations: what can be done at once is, the rest waits.
    async fn work(&mut self, work: Work) {
        let control = Control::default();
        let Self { core, session, ops, open, queue, ending, .. } = self;
        let future = async {
            let mut turn = Turn::new(core, session, &control);
            match work {
                Work::Message(message) => turn.run(message).await,
                Work::Compact => {
                    let model = core.model();
                    let window = model.info().window;
                    if let Err(Outcome::Failed { message, .. }) = turn.compact(&*model, window).await {
                        core.emitter.notice(None, Level::Error, message).await;
                    }
                }
            }
        };
        tokio::pin!(future);
        loop {
            tokio::select! {
                biased;
                op = ops.recv(), if *open => match op {
                    None => *open = false,
                    Some(Op::Shutdown) => {
                        *ending = true;
                        control.cancel.cancel();
                    }
                    Some(op) => {
                        if let Some(later) = core.at_once(&control, op).await {
                            queue.push_back(later);
                        }
                    }
                },
                () = core.emitter.closed(), if !control.cancel.is_cancelled() => {
                    *ending = true;
                    control.cancel.cancel();
                }
                () = &mut future => break,
            }
        }
        // A word that came too late for the turn is a message of its own.
        for text in control.take_steer().into_iter().rev() {
            queue.push_front(Op::Steer { text });
        }
    }

    /// Opens another session: the stored one of this name, or a new one.
    async fn switch(&mut self, name: Option<&str>) {
        let journal = match name {
            Some(name) => self.sessions.resume(name).await,
            None => self.sessions.create().await,
        };
        let opened = match journal {
            Ok(journal) => Session::open(journal).await,
            Err(error) => Err(error),
        };
        match opened {
            Ok(session) => {
                self.session = session;
                lock(&self.core.live).mode.grants.clear();
                self.core.emitter.set_session(self.session.id());
                self.opened().await;
            }
            Err(error) => self.core.emitter.notice(None, Level::Error, error.to_string()).await,
        }
    }

    async fn set_model(&mut self, name: &str) {
        match self.core.models.resolve(name).await {
            Ok(model) => {
                let reference = model.info().reference;
                lock(&self.core.live).model = model;
                // Another tokenizer, other counts.
                self.session.meter = crate::meter::Meter::default();
                self.core.emitter.notice(None, Level::Info, format!("the model is now {reference}")).await;
            }
            Err(error) => self.core.emitter.notice(None, Level::Error, error.message).await,
        }
    }

    async fn undo(&mut self, turn: Option<TurnId>) {
        let Some(undo) = &self.undo else {
            self.core.emitter.notice(None, Level::Error, "this agent keeps no undo journal").await;
            return;
        };
        match undo.undo(self.session.id(), turn).await {
            Ok(undone) => {
                if !undone.files.is_empty() {
                    self.session.hints.push(format!(
                        "the user took back your changes to: {}; they are as they were before",
                        undone.files.join(", ")
                    ));
                }
                let event = Event::Undone { files: undone.files, kept: undone.kept };
                self.core.emitter.emit(None, event).await;
            }
            Err(why) => self.core.emitter.notice(None, Level::Error, why).await,
        }
    }

    async fn list(&self, what: ListWhat, refresh: bool) {
        let listing = match what {
            ListWhat::Tools => Ok(Listing::Tools(self.core.tools.rows())),
            ListWhat::Models => match self.core.models.list(refresh).await {
                Ok(mut rows) => {
                    let current = self.core.model().info().reference;
                    rows.iter_mut().for_each(|row| row.current = row.model == current);
                    Ok(Listing::Models(rows))
                }
                Err(error) => Err(error.message),
            },
            ListWhat::Sessions => {
                let rows = self.sessions.list().await;
                rows.map(Listing::Sessions).map_err(|error| error.to_string())
            }
        };
        match listing {
            Ok(listing) => self.core.emitter.emit(None, Event::Listed(listing)).await,
            Err(why) => self.core.emitter.notice(None, Level::Error, why).await,
        }
    }

    async fn status(&self) {
        let info = self.core.model().info();
        let request = self.session.request(true, Thinking::Off);
        let status = Status {
            model: info.reference,
            provenance: info.provenance,
            thinking: self.core.thinking(),
            approve: self.core.mode().approve,
            workspace: self.core.settings.workspace.display().to_string(),
            used: self.session.meter.count(&request).tokens,
            window: info.window,
            items: self.session.transcript.count(),
            usage: self.session.transcript.usage().clone(),
        };
        self.core.emitter.emit(None, Event::Status(status)).await;
    }
}

impl Core {
    /// Does what can be done at any moment; gives back what has to wait for the end of the turn.
    async fn at_once(&self, control: &Control, op: Op) -> Option<Op> {
        match op {
            Op::Stop => control.cancel.cancel(),
            Op::Steer { text } => control.steer(text),
            Op::Approve { id, decision } => {
                let waiting = lock(&self.approvals).remove(&id);
                // Where nobody waits any more, the front end has been told so.
                if let Some(sender) = waiting {
                    let _ = sender.send(decision);
                }
            }
            Op::Answer { .. } => {
                self.emitter.notice(None, Level::Warn, "no question is open").await;
            }
            Op::SetThinking { level } => lock(&self.live).thinking = level,
            Op::SetApprove { mode } => lock(&self.live).mode.approve = mode,
            later => return Some(later),
        }
        None
    }
}
