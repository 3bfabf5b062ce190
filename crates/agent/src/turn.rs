//! One turn: from a user message to its outcome.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use chela_protocol::{
    Attachment, Budget, Call, Event, FailureKind, Finish, Image, Item, Level, Outcome, Provenance, Record,
    ResultStatus, Taint, Thinking, TurnId, Usage,
};

use crate::breaker::Breaker;
use crate::core::{Control, Core, Session};
use crate::deeds::{Deeds, Untruth};
use crate::journal::JournalError;
use crate::model::Model;
use crate::prompt;
use crate::repeat::shortened;
use crate::step::{Reply, ReplyEnd};
use crate::transcript::repair;

/// What the user sends.
pub(crate) struct UserMessage {
    pub text: String,
    pub images: Vec<Image>,
    pub attachments: Vec<Attachment>,
}

/// Why the next request allows no calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forced {
    /// The model repeated itself.
    Loop,
    /// The last step of the budget.
    Steps,
}

/// Whether the turn goes on.
enum Next {
    Again,
    End(Outcome),
}

/// A turn while it runs.
pub(crate) struct Turn<'a> {
    pub core: &'a Core,
    pub session: &'a mut Session,
    pub control: &'a Control,
    pub id: TurnId,
    pub started: Instant,
    pub steps: u32,
    pub usage: Usage,
    pub provenance: Provenance,
    pub breaker: Breaker,
    pub forced: Option<Forced>,
    /// The model thought too long, so that the rest of the turn goes without.
    pub thinking_off: bool,
    /// Calls that were shown and have no shown end yet.
    pub announced: BTreeMap<String, Instant>,
    /// Tools that were refused for want of approval, and why.
    pub refused: BTreeMap<String, String>,
    /// How calls were corrected, by their ids.
    pub read_as: BTreeMap<String, Vec<String>>,
    /// Bytes that a result may have.
    pub result_bytes: usize,
    /// Tokens of the answers so far, by the server's count or else by an estimate.
    pub answered: u64,
    pub deeds: Deeds,
    unreadable: u32,
    nudged: bool,
    continued: bool,
    overflowed: bool,
    repeated: bool,
    doubted: bool,
}

impl<'a> Turn<'a> {
    pub fn new(core: &'a Core, session: &'a mut Session, control: &'a Control) -> Self {
        let ran =
            |record: &Arc<Record>| matches!(&record.item, Item::ToolResult { name, .. } if name == "exec");
        let deeds = Deeds::new(session.transcript.items().iter().any(ran));
        Self {
            provenance: core.model().info().provenance,
            core,
            session,
            control,
            id: TurnId::new(),
            started: Instant::now(),
            steps: 0,
            usage: Usage::default(),
            breaker: Breaker::default(),
            forced: None,
            thinking_off: false,
            announced: BTreeMap::new(),
            refused: BTreeMap::new(),
            read_as: BTreeMap::new(),
            result_bytes: 0,
            answered: 0,
            deeds,
            unreadable: 0,
            nudged: false,
            continued: false,
            overflowed: false,
            repeated: false,
            doubted: false,
        }
    }

    pub async fn emit(&self, event: Event) {
        self.core.emitter.emit(Some(self.id), event).await;
    }

    pub async fn notice(&self, level: Level, text: impl Into<String>) {
        self.core.emitter.notice(Some(self.id), level, text).await;
    }

    /// Writes items, or ends the turn.
    pub async fn append(&mut self, items: Vec<Item>) -> Result<(), Outcome> {
        self.session.append(self.id, items).await.map_err(|error| storage(&error))
    }

    /// Runs the turn to its end and says how it ended.
    pub async fn run(mut self, message: UserMessage) {
        self.emit(Event::TurnStarted { provenance: self.provenance.clone() }).await;
        let outcome = match self.begin(message).await {
            Ok(()) => self.drive().await,
            Err(outcome) => outcome,
        };
        let outcome = self.close(outcome).await;
        let (provenance, usage) = (self.provenance.clone(), self.usage.clone());
        self.emit(Event::TurnFinished { outcome, provenance, steps: self.steps, usage }).await;
    }

    async fn begin(&mut self, message: UserMessage) -> Result<(), Outcome> {
        let info = self.core.model().info();
        if !message.images.is_empty() && !info.images {
            let names: Vec<&str> = message.images.iter().map(|image| image.name.as_str()).collect();
            return Err(Outcome::Failed {
                kind: FailureKind::Config,
                message: format!(
                    "{} takes no pictures ({}): its `input` in the config does not have \"image\"",
                    info.reference,
                    names.join(", ")
                ),
            });
        }
        self.ensure_prefix(info.window).await?;
        let item = self.user_item(message).await;
        self.append(vec![item]).await
    }

    /// As much of the files as a quarter of the window holds. The rest is for the model to read,
    /// and both it and the user are told so.
    async fn fit(&self, mut attachments: Vec<Attachment>) -> Vec<Attachment> {
        let mut left = self.session.meter.bytes(self.core.model().info().window / 4);
        let mut files: Vec<&mut Attachment> = attachments.iter_mut().filter(|file| file.file).collect();
        // The short ones first: what they leave is for the long ones.
        files.sort_by_key(|file| file.text.len());
        let count = files.len();
        for (at, file) in files.into_iter().enumerate() {
            let share = left / (count - at);
            let whole = file.text.len();
            if whole > share {
                let (text, lines) = prompt::head(&file.text, share);
                let name = &file.name;
                let rest =
                    format!("[the first {lines} lines; for more, read {name} with offset={}]", lines + 1);
                self.notice(
                    Level::Info,
                    format!(
                        "{name}: {} of {whole} bytes go with the message; the model can read the rest",
                        text.len()
                    ),
                )
                .await;
                file.text = format!("{text}{rest}");
            }
            left = left.saturating_sub(file.text.len());
        }
        attachments
    }

    /// A session's first turn makes the text that stands before the conversation.
    async fn ensure_prefix(&mut self, window: u64) -> Result<(), Outcome> {
        if self.session.transcript.prefix().is_some() {
            return Ok(());
        }
        let item = self.prefix(window).await;
        self.append(vec![item]).await
    }

    /// The prefix as it would be made now.
    pub async fn prefix(&self, window: u64) -> Item {
        let settings = &self.core.settings;
        let mut files = prompt::WorkspaceFiles::default();
        if settings.trusted {
            files = prompt::workspace_files(&settings.workspace, prompt::files_budget(window));
        }
        for notice in files.notices {
            self.notice(Level::Warn, notice).await;
        }
        Item::Prefix { system: prompt::system_text(&files.sections), tools: self.core.tools.schemas() }
    }

    async fn user_item(&mut self, message: UserMessage) -> Item {
        let settings = &self.core.settings;
        let is_user = |item: &Item| matches!(item, Item::User { .. });
        let items = self.session.transcript.items();
        let last = items.iter().rev().find(|record| is_user(&record.item)).map(|record| record.time);
        let mut hints = std::mem::take(&mut self.session.hints);
        let mut taint = Taint::default();
        if let Some(recall) = &self.core.recall {
            for quote in recall.recall(&message.text).await {
                // One line each, so that a note cannot look like more than a note.
                let text = quote.text.split_whitespace().collect::<Vec<_>>().join(" ");
                hints.push(format!("note in {}: {text:?}", quote.origin));
                taint.private = true;
            }
        }
        if !message.attachments.is_empty() || !message.images.is_empty() {
            // What was piped in or attached can be anything, an instruction included.
            taint = Taint { private: true, untrusted: true };
        }
        let now = crate::core::now();
        let attachments = self.fit(message.attachments).await;
        Item::User {
            text: message.text,
            context: prompt::context(now, last, &settings.time_zone, &settings.workspace, &hints),
            images: message.images,
            attachments,
            taint,
            provenance: Some(self.core.model().info().provenance),
        }
    }

    async fn drive(&mut self) -> Outcome {
        loop {
            match self.step().await {
                Ok(Next::Again) => {}
                Ok(Next::End(outcome)) | Err(outcome) => return outcome,
            }
        }
    }

    async fn step(&mut self) -> Result<Next, Outcome> {
        self.check_budgets()?;
        let model = self.core.model();
        self.make_room(&*model).await?;
        let thinking = self.thinking();
        let request = self.session.request(self.forced.is_none(), thinking);
        self.steps += 1;
        let reply = self.ask(&*model, request, thinking).await?;
        self.take(&*model, reply).await
    }

    /// How much the next request thinks.
    pub fn thinking(&self) -> Thinking {
        match self.thinking_off {
            true => Thinking::Off,
            false => self.core.thinking(),
        }
    }

    fn check_budgets(&self) -> Result<(), Outcome> {
        let budgets = &self.core.settings.budgets;
        if self.control.cancel.is_cancelled() {
            return Err(Outcome::Stopped);
        }
        if self.steps >= budgets.steps {
            return Err(Outcome::Budget {
                budget: Budget::Steps,
                message: format!("the budget of {} steps is used up; --max-steps raises it", budgets.steps),
            });
        }
        if self.answered >= budgets.tokens {
            return Err(Outcome::Budget {
                budget: Budget::Tokens,
                message: format!("the budget of {} answer tokens is used up", budgets.tokens),
            });
        }
        match self.deadline() {
            Some(deadline) if deadline <= Instant::now() => Err(self.out_of_time()),
            _ => Ok(()),
        }
    }

    /// When the turn's wall time ends.
    pub fn deadline(&self) -> Option<Instant> {
        self.core.settings.budgets.time.map(|time| self.started + time)
    }

    pub fn out_of_time(&self) -> Outcome {
        let seconds = self.core.settings.budgets.time.unwrap_or_default().as_secs();
        Outcome::Budget {
            budget: Budget::Time,
            message: format!(
                "the turn took longer than {seconds} s; agents.defaults.timeoutSeconds changes this limit"
            ),
        }
    }

    /// Acts on a reply.
    async fn take(&mut self, model: &dyn Model, mut reply: Reply) -> Result<Next, Outcome> {
        if let Some(usage) = &reply.usage {
            self.usage.add(usage);
        }
        self.answered += match &reply.usage {
            Some(usage) => usage.completion,
            None => self.session.meter.tokens(reply.bytes()),
        };
        let end = reply.end.clone();
        match end {
            ReplyEnd::ThoughtTooLong if !self.thinking_off => {
                self.thinking_off = true;
                return Ok(Next::Again);
            }
            ReplyEnd::Failed(error) if error.kind == FailureKind::ContextOverflow && reply.is_empty() => {
                return self.overflow(model, error.window, error.message).await;
            }
            ReplyEnd::Failed(error) if error.kind == FailureKind::Loop && !self.repeated => {
                return self.repeats(model, reply, error.message).await;
            }
            ReplyEnd::Complete => {}
            ReplyEnd::ThoughtTooLong | ReplyEnd::Stopped | ReplyEnd::OutOfTime | ReplyEnd::Failed(_) => {
                return Err(self.broken_off(model, reply).await?);
            }
        }
        let calls: Vec<Call> = reply.calls.clone();
        let (text_empty, finish) = (reply.text.trim().is_empty(), reply.finish);
        let untruth = self.deeds.untruth(&reply.text);
        let malformed = std::mem::take(&mut reply.malformed);
        if calls.is_empty() {
            // What the model wrote is what it will see that it wrote.
            malformed.iter().for_each(|(raw, _)| reply.text.push_str(raw));
        }
        let item = reply.into_item(model.info().resend_reasoning);
        self.append(vec![item]).await?;
        if !calls.is_empty() {
            return self.take_calls(calls, finish).await;
        }
        if let Some((_, why)) = malformed.into_iter().next() {
            return self.unreadable(why).await;
        }
        match (text_empty, finish, untruth) {
            (true, ..) => self.empty().await,
            (false, Finish::Length, _) => self.too_long().await,
            (false, _, Some(untruth)) => self.untrue(untruth).await,
            (false, _, None) => self.answered().await,
        }
    }

    async fn take_calls(&mut self, calls: Vec<Call>, finish: Finish) -> Result<Next, Outcome> {
        match self.forced {
            Some(Forced::Loop) => {
                return Err(Outcome::Failed {
                    kind: FailureKind::Loop,
                    message: "the model repeated itself and called tools even when it was told to answer; \
                              it was stopped without an answer"
                        .to_owned(),
                });
            }
            Some(Forced::Steps) => {
                let steps = self.core.settings.budgets.steps;
                return Err(Outcome::Budget {
                    budget: Budget::Steps,
                    message: format!(
                        "the budget of {steps} steps is used up and the model gave no answer; --max-steps \
                         raises it"
                    ),
                });
            }
            None => {}
        }
        self.run_calls(calls, finish == Finish::Length).await?;
        Ok(Next::Again)
    }

    /// The model tried to call a tool and nobody can read what it wrote.
    async fn unreadable(&mut self, why: String) -> Result<Next, Outcome> {
        /// Tries that a model has before it is given up.
        const TRIES: u32 = 3;
        self.unreadable += 1;
        if self.unreadable > TRIES {
            return Err(Outcome::Failed {
                kind: FailureKind::Loop,
                message: format!("the model wrote {} calls that cannot be read; the last: {why}", TRIES + 1),
            });
        }
        self.nudge(&format!("Your tool call could not be read, so nothing ran: {why}. Make it again."))
            .await?;
        Ok(Next::Again)
    }

    /// An answer with neither text nor calls is asked for once more.
    async fn empty(&mut self) -> Result<Next, Outcome> {
        if self.nudged {
            return Err(Outcome::Failed {
                kind: FailureKind::Empty,
                message: "the model ended its answer twice without a word or a call".to_owned(),
            });
        }
        self.nudged = true;
        self.thinking_off = true;
        self.nudge("Your answer was empty. Answer now, or call a tool.").await?;
        Ok(Next::Again)
    }

    /// An answer that tells what was not done is not taken: once the model may think again.
    async fn untrue(&mut self, untruth: Untruth) -> Result<Next, Outcome> {
        if self.doubted || self.forced.is_some() {
            return Err(Outcome::Failed { kind: FailureKind::Untrue, message: untruth.told().to_owned() });
        }
        self.doubted = true;
        self.notice(Level::Warn, &format!("{}; asking again", untruth.told())).await;
        self.nudge(untruth.nudge()).await?;
        Ok(Next::Again)
    }

    /// An answer that the token limit cut is continued once.
    async fn too_long(&mut self) -> Result<Next, Outcome> {
        if self.continued {
            return Ok(Next::End(Outcome::Cut {
                message: "the answer was cut by the token limit, again after it was continued; a larger \
                          maxTokens or contextWindow gives it more room"
                    .to_owned(),
            }));
        }
        self.continued = true;
        self.nudge("The token limit cut your answer. Go on exactly where it stopped; repeat nothing.")
            .await?;
        Ok(Next::Again)
    }

    async fn nudge(&mut self, text: &str) -> Result<(), Outcome> {
        self.append(vec![Item::Nudge { text: text.to_owned() }]).await
    }

    /// A full answer ends the turn, unless the user has said more in the meantime.
    async fn answered(&mut self) -> Result<Next, Outcome> {
        // What is said to an answer that was forced is a message of its own, after it.
        let steer = if self.forced.is_none() { self.control.take_steer() } else { Vec::new() };
        if !steer.is_empty() {
            let message = UserMessage { text: steer.join("\n"), images: Vec::new(), attachments: Vec::new() };
            let item = self.user_item(message).await;
            self.append(vec![item]).await?;
            return Ok(Next::Again);
        }
        if let Some(Forced::Steps) = self.forced {
            return Ok(Next::End(Outcome::Budget {
                budget: Budget::Steps,
                message: format!(
                    "the answer was forced by the budget of {} steps; --max-steps raises it",
                    self.core.settings.budgets.steps
                ),
            }));
        }
        if let Some(Forced::Loop) = self.forced {
            self.notice(Level::Warn, "the model repeated itself and was told to answer without tools").await;
        }
        if !self.refused.is_empty() {
            let parts = self.refused.iter().map(|(tool, why)| format!("{tool}: {why}"));
            return Ok(Next::End(Outcome::Refused { message: parts.collect::<Vec<_>>().join("; ") }));
        }
        Ok(Next::End(Outcome::Done))
    }

    /// Keeps what a broken reply had, and says how the turn ends.
    async fn broken_off(&mut self, model: &dyn Model, mut reply: Reply) -> Result<Outcome, Outcome> {
        let shown = !reply.text.is_empty();
        let end = reply.end.clone();
        if shown || !reply.reasoning.is_empty() {
            // A call without its end was never offered to the policy; it did not happen.
            reply.calls.clear();
            reply.finish = Finish::Cut;
            let item = reply.into_item(model.info().resend_reasoning);
            self.append(vec![item]).await?;
        }
        Ok(match end {
            ReplyEnd::Stopped => Outcome::Stopped,
            ReplyEnd::OutOfTime => self.out_of_time(),
            ReplyEnd::Failed(error) if shown => Outcome::Cut { message: error.message },
            ReplyEnd::Failed(error) => Outcome::Failed { kind: error.kind, message: error.message },
            ReplyEnd::ThoughtTooLong => Outcome::Failed {
                kind: FailureKind::Empty,
                message:
                    "the model gave no answer: it thought beyond its limit twice, the second time though \
                          it was told not to think"
                        .to_owned(),
            },
            ReplyEnd::Complete => Outcome::Done,
        })
    }

    /// An answer that repeated itself without end is asked for once more.
    async fn repeats(&mut self, model: &dyn Model, mut reply: Reply, why: String) -> Result<Next, Outcome> {
        self.repeated = true;
        self.notice(Level::Warn, format!("{why}; asking again")).await;
        // Where nothing but thoughts came, it is the thoughts that go round.
        self.thinking_off |= reply.text.is_empty() && !reply.reasoning.is_empty();
        // A call without its end did not happen, and what repeats would only be taken up again.
        reply.calls.clear();
        reply.reasoning.clear();
        reply.finish = Finish::Cut;
        if !reply.text.is_empty() {
            reply.text = shortened(&reply.text);
        }
        let item = reply.into_item(model.info().resend_reasoning);
        self.append(vec![item]).await?;
        self.nudge("You repeated yourself without end, so your answer was stopped. Answer in another way.")
            .await?;
        Ok(Next::Again)
    }

    /// The server says that the request does not fit: once per turn, everything possible is
    /// taken out and it goes again.
    async fn overflow(
        &mut self,
        model: &dyn Model,
        window: Option<u64>,
        message: String,
    ) -> Result<Next, Outcome> {
        let failed = Outcome::Failed { kind: FailureKind::ContextOverflow, message };
        if self.overflowed {
            return Err(failed);
        }
        self.overflowed = true;
        let window = window.unwrap_or_else(|| model.info().window).min(model.info().window);
        self.compact(model, window).await?;
        Ok(Next::Again)
    }

    /// Closes what is open in the transcript and on the screen.
    async fn close(&mut self, outcome: Outcome) -> Outcome {
        let reason = match &outcome {
            Outcome::Stopped => "the user stopped the turn".to_owned(),
            Outcome::Failed { message, .. } | Outcome::Budget { message, .. } => message.clone(),
            Outcome::Cut { .. } | Outcome::Done | Outcome::Refused { .. } => "the turn ended".to_owned(),
        };
        let missing = repair(self.session.transcript.items(), &reason);
        let items: Vec<Item> = missing.into_iter().map(|(_, item)| item).collect();
        let mut ends: BTreeMap<String, String> = BTreeMap::new();
        for item in &items {
            if let Item::ToolResult { call, content, .. } = item {
                ends.insert(call.clone(), content.clone());
            }
        }
        let written = self.append(items).await;
        for (id, since) in std::mem::take(&mut self.announced) {
            let result = ends.remove(&id).unwrap_or_else(|| format!("[interrupted: {reason}]"));
            let duration = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            let status = ResultStatus::Interrupted;
            self.emit(Event::ToolCallFinished { id, result, status, is_error: true, diff: None, duration })
                .await;
        }
        written.err().unwrap_or(outcome)
    }
}

pub(crate) fn storage(error: &JournalError) -> Outcome {
    Outcome::Failed { kind: FailureKind::Storage, message: error.to_string() }
}
