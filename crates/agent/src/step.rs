//! One request to the model and what comes back.

use std::time::{Duration, Instant};

use chela_protocol::{Call, Event, Finish, Item, Level, Outcome, Provenance, Thinking, Usage};
use futures_util::StreamExt;

use crate::core::now;
use crate::journal::Draft;
use crate::model::{Model, ModelError, ModelEvent, Request};
use crate::turn::Turn;

/// Shown text is kept at most this long after it was shown.
const DRAFT_EVERY: Duration = Duration::from_millis(500);

/// How a reply ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReplyEnd {
    /// The model ended it.
    Complete,
    /// The user.
    Stopped,
    /// The turn's wall time.
    OutOfTime,
    /// The cap on reasoning.
    ThoughtTooLong,
    /// An error.
    Failed(ModelError),
}

/// What came of one request.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub text: String,
    pub reasoning: String,
    pub calls: Vec<Call>,
    /// Calls that cannot be read: what the model wrote, and what is wrong with it.
    pub malformed: Vec<(String, String)>,
    pub finish: Finish,
    pub usage: Option<Usage>,
    pub provenance: Provenance,
    pub end: ReplyEnd,
}

impl Reply {
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.reasoning.is_empty() && self.calls.is_empty()
    }

    /// Bytes of everything that the model wrote.
    pub fn bytes(&self) -> usize {
        let calls = self.calls.iter().map(|call| call.name.len() + call.arguments.len());
        self.text.len() + self.reasoning.len() + calls.sum::<usize>()
    }

    pub fn into_item(self, resend_reasoning: bool) -> Item {
        Item::Assistant {
            resend_reasoning: resend_reasoning && !self.reasoning.is_empty(),
            text: self.text,
            reasoning: self.reasoning,
            calls: self.calls,
            finish: self.finish,
            provenance: self.provenance,
            usage: self.usage,
        }
    }
}

/// Tokens of reasoning that a level allows; at most a quarter of the window.
fn reasoning_cap(thinking: Thinking, window: u64) -> u64 {
    let cap = match thinking {
        Thinking::Off => 512,
        Thinking::Low => 2_048,
        Thinking::Medium => 8_192,
        Thinking::High => 32_768,
    };
    cap.min(window / 4)
}

impl Turn<'_> {
    /// Sends a request and reads the reply to its end, whatever that is.
    pub async fn ask(
        &mut self,
        model: &dyn Model,
        request: Request,
        thinking: Thinking,
    ) -> Result<Reply, Outcome> {
        let info = model.info();
        let cap = self.session.meter.bytes(reasoning_cap(thinking, info.window));
        let mut reply = Reply {
            text: String::new(),
            reasoning: String::new(),
            calls: Vec::new(),
            malformed: Vec::new(),
            finish: Finish::Stop,
            usage: None,
            provenance: info.provenance.clone(),
            end: ReplyEnd::Complete,
        };
        let weight = request.weight();
        let mut stream = model.stream(request);
        let deadline = self.deadline();
        let cancel = self.control.cancel.clone();
        let mut draft: Option<Instant> = None;
        loop {
            let event = tokio::select! {
                biased;
                () = self.control.cancel.cancelled() => {
                    reply.end = ReplyEnd::Stopped;
                    break;
                }
                () = at(deadline) => {
                    reply.end = ReplyEnd::OutOfTime;
                    break;
                }
                () = at(draft) => {
                    draft = None;
                    self.keep_draft(&reply).await?;
                    continue;
                }
                event = stream.next() => event,
            };
            match event {
                Some(Ok(ModelEvent::Done(finish))) => {
                    reply.finish = finish;
                    break;
                }
                // A front end that is behind must not keep a stopped turn's connection open.
                Some(Ok(event)) => tokio::select! {
                    () = self.on_event(event, &mut reply) => {}
                    () = cancel.cancelled() => {}
                },
                Some(Err(error)) => {
                    reply.end = ReplyEnd::Failed(error);
                    break;
                }
                // A stream that ends without its last event was cut, and the model seam is to
                // say why; without a reason the answer cannot be taken for whole.
                None => {
                    reply.end = ReplyEnd::Failed(ModelError {
                        kind: chela_protocol::FailureKind::Protocol,
                        message: "the answer ended without its end".to_owned(),
                        window: None,
                    });
                    break;
                }
            }
            if draft.is_none() && !reply.text.is_empty() {
                draft = Some(Instant::now() + DRAFT_EVERY);
            }
            if reply.reasoning.len() > cap && reply.text.is_empty() && reply.calls.is_empty() {
                reply.end = ReplyEnd::ThoughtTooLong;
                self.thought_too_long(cap).await;
                break;
            }
        }
        drop(stream);
        self.provenance = reply.provenance.clone();
        self.measure(weight, &mut reply, info.window).await;
        Ok(reply)
    }

    async fn on_event(&mut self, event: ModelEvent, reply: &mut Reply) {
        match event {
            ModelEvent::Answering(provenance) => reply.provenance = provenance,
            ModelEvent::Waiting(seconds) => self.emit(Event::Waiting { seconds }).await,
            ModelEvent::Notice(text) => self.notice(Level::Warn, text).await,
            ModelEvent::Text(text) => {
                reply.text.push_str(&text);
                self.emit(Event::TextDelta { text }).await;
            }
            ModelEvent::Reasoning(text) => {
                reply.reasoning.push_str(&text);
                self.emit(Event::ReasoningDelta { text }).await;
            }
            ModelEvent::Call { id, name, arguments } => {
                let id = self.session.transcript.call_id(&id, &reply.calls);
                let (arguments, raw) = self.core.reader.wire(&name, &arguments);
                reply.calls.push(Call { id, name, arguments, raw });
            }
            ModelEvent::Malformed { raw, why } => reply.malformed.push((raw, why)),
            ModelEvent::Usage(usage) => reply.usage = Some(usage),
            ModelEvent::Done(_) => {}
        }
    }

    async fn thought_too_long(&mut self, cap: usize) {
        let tokens = self.session.meter.tokens(cap);
        let text = match self.thinking_off {
            false => format!("the model thought for more than about {tokens} tokens; asking again without"),
            true => {
                format!("the model thought for more than about {tokens} tokens though it was told not to")
            }
        };
        self.notice(Level::Warn, text).await;
    }

    async fn keep_draft(&mut self, reply: &Reply) -> Result<(), Outcome> {
        let draft = Draft {
            turn: self.id,
            text: reply.text.clone(),
            reasoning: reply.reasoning.clone(),
            provenance: reply.provenance.clone(),
        };
        self.session.journal().draft(draft).await.map_err(|error| crate::turn::storage(&error))
    }

    /// Learns from the usage and shows it.
    async fn measure(&mut self, weight: usize, reply: &mut Reply, window: u64) {
        let Some(usage) = &mut reply.usage else { return };
        usage.window = Some(window);
        self.session.meter.learn(weight, usage.prompt);
        let used = usage.prompt + usage.completion;
        let shown = usage.clone();
        self.emit(Event::Usage(shown)).await;
        self.emit(Event::ContextMeter { used, window, exact: true }).await;
        tracing::debug!(turn = %self.id, step = self.steps, used, window, at = now(), "reply");
    }
}

/// Sleeps until then; without a time, for ever.
pub(crate) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
