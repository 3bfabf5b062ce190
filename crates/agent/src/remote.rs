//! The models of a client's catalog, behind the loop's seam.
//!
//! [`Remote`] finds models and lists them; each is a [`RemoteModel`] that turns one [`Request`] into
//! a [`Turn`] of the client and its events back. Nothing is decided here.

use std::collections::HashMap;
use std::sync::Arc;

use chela_client::catalog::{Input, Scope};
use chela_client::openai::chat::{
    Content, ContentPart, FinishReason, ImageUrl, Message as Wire, Tool, ToolCall,
};
use chela_client::stream as client;
use chela_client::{Catalog, ExitClass, ModelClient, ResolveError, Turn};
use chela_protocol::{FailureKind, Finish, Image, ModelRow, Provenance, Thinking, Usage};
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{BoxStream, StreamExt};
use tokio_util::sync::CancellationToken;

use crate::model::{Model, ModelError, ModelEvent, ModelInfo, Models, Request};
use crate::repeat::Repeats;
use crate::transcript::Message;

/// Finds models in a catalog.
#[derive(Debug, Clone)]
pub struct Remote {
    catalog: Arc<Catalog>,
    client: ModelClient,
}

impl Remote {
    /// The models of this catalog, asked through this client.
    #[must_use]
    pub fn new(catalog: Arc<Catalog>, client: ModelClient) -> Self {
        Self { catalog, client }
    }

    /// A model of the catalog, with those that stand in for it.
    #[must_use]
    pub fn model(&self, model: chela_client::Model, fallbacks: Vec<chela_client::Model>) -> Arc<dyn Model> {
        Arc::new(RemoteModel { model, fallbacks, client: self.client.clone() })
    }
}

impl Models for Remote {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn Model>, ModelError>> {
        async move {
            let model = self.catalog.find(name).await.map_err(|error| unresolved(&error))?;
            // A model that the user names is the one that answers: nobody stands in for it.
            Ok(self.model(model, Vec::new()))
        }
        .boxed()
    }

    fn list(&self, refresh: bool) -> BoxFuture<'_, Result<Vec<ModelRow>, ModelError>> {
        async move {
            let listing = self.catalog.models(&Scope { provider: None, refresh }).await;
            let row = |model: &chela_client::Model| ModelRow {
                model: model.reference.to_string(),
                window: Some(self.client.window(model).into()),
                current: false,
                local: provenance(model).local,
            };
            Ok(listing.models.iter().map(row).collect())
        }
        .boxed()
    }
}

fn unresolved(error: &ResolveError) -> ModelError {
    let kind = match error.exit_class() {
        ExitClass::Usage => FailureKind::Config,
        _ => FailureKind::Unavailable,
    };
    ModelError { kind, message: error.to_string(), window: None }
}

fn provenance(model: &chela_client::Model) -> Provenance {
    Provenance {
        provider: model.reference.provider.clone(),
        model: model.reference.model.clone(),
        endpoint: chela_client::transport::show(&model.provider.base_url),
        local: model.provider.locality() == chela_client::transport::Locality::Local,
    }
}

/// One model of a server.
#[derive(Debug)]
struct RemoteModel {
    model: chela_client::Model,
    fallbacks: Vec<chela_client::Model>,
    client: ModelClient,
}

impl Model for RemoteModel {
    fn info(&self) -> ModelInfo {
        let caps = &self.model.caps;
        ModelInfo {
            reference: self.model.reference.to_string(),
            provenance: provenance(&self.model),
            window: self.client.window(&self.model).into(),
            max_output: self.model.limits.max_tokens.value.into(),
            images: caps.input.value.contains(&Input::Image),
            thinks: caps.reasoning.value,
            resend_reasoning: self.model.resend_reasoning,
        }
    }

    fn stream(&self, request: Request) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let (messages, tools) = match wire(&request) {
            Ok(wire) => wire,
            Err(error) => return futures_util::stream::once(async { Err(error) }).boxed(),
        };
        let mut turn = Turn::new(self.model.clone(), messages);
        turn.prompt_tokens = request.prompt.map(|count| client::TokenCount {
            tokens: u32::try_from(count.tokens).unwrap_or(u32::MAX),
            exact: count.exact,
        });
        turn.fallbacks.clone_from(&self.fallbacks);
        turn.tools = tools;
        turn.may_call = request.may_call;
        turn.thinking = thinking(request.thinking);
        turn.max_tokens = request.max_tokens.map(|tokens| u32::try_from(tokens).unwrap_or(u32::MAX));
        let mut events = Events {
            asked: self.model.clone(),
            fallbacks: self.fallbacks.clone(),
            calls: HashMap::new(),
            text: Repeats::default(),
            reasoning: Repeats::default(),
            arguments: Repeats::default(),
        };
        self.client
            .stream(turn, CancellationToken::new())
            .flat_map(move |event| futures_util::stream::iter(events.take(event)))
            .boxed()
    }

    fn count<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Option<u64>> {
        async move {
            let (messages, tools) = wire(request).ok()?;
            let mut turn = Turn::new(self.model.clone(), messages);
            turn.tools = tools;
            turn.thinking = thinking(request.thinking);
            let count = self.client.count_turn(&turn).await?;
            count.exact.then_some(count.tokens.into())
        }
        .boxed()
    }
}

/// The messages and tools of a request as they go out.
fn wire(request: &Request) -> Result<(Vec<Wire>, Vec<Tool>), ModelError> {
    let tools = serde_json::from_str(&request.tools).map_err(|error| ModelError {
        kind: FailureKind::Config,
        message: format!("the stored tools of this session cannot be read: {error}"),
        window: None,
    })?;
    Ok((request.messages.iter().map(message).collect(), tools))
}

fn message(message: &Message) -> Wire {
    match message {
        Message::System(text) => Wire::system(text),
        Message::User { text, images } if images.is_empty() => Wire::user(text),
        Message::User { text, images } => {
            let picture = |image: &Image| {
                let url = format!("data:{};base64,{}", image.media_type, image.data);
                ContentPart::ImageUrl(ImageUrl { url, detail: None })
            };
            let text = std::iter::once(ContentPart::Text(text.clone()));
            let parts = text.chain(images.iter().map(picture)).collect();
            Wire { content: Some(Content::Parts(parts)), ..Wire::user("") }
        }
        Message::Assistant { text, reasoning, calls } => {
            let text = Some(text.clone()).filter(|text| !text.is_empty());
            let calls =
                calls.iter().map(|call| ToolCall::new(&call.id, &call.name, &call.arguments)).collect();
            let reasoning = Some(reasoning.clone()).filter(|text| !text.is_empty());
            Wire { reasoning, ..Wire::assistant_calls(text, calls) }
        }
        Message::Tool { call, content, .. } => Wire::tool(call, content),
    }
}

fn thinking(level: Thinking) -> client::Thinking {
    match level {
        Thinking::Off => client::Thinking::Off,
        Thinking::Low => client::Thinking::Low,
        Thinking::Medium => client::Thinking::Medium,
        Thinking::High => client::Thinking::High,
    }
}

/// Turns the client's events into the loop's.
struct Events {
    asked: chela_client::Model,
    fallbacks: Vec<chela_client::Model>,
    /// Calls that are still arriving: id, name, arguments.
    calls: HashMap<usize, (String, String, String)>,
    text: Repeats,
    reasoning: Repeats,
    arguments: Repeats,
}

impl Events {
    fn take(
        &mut self,
        event: Result<client::ModelEvent, client::ModelError>,
    ) -> Option<Result<ModelEvent, ModelError>> {
        match event {
            Ok(event) => match self.repeats(&event) {
                Some(unit) => Some(Err(endless(&unit))),
                None => self.event(event).map(Ok),
            },
            Err(error) => Some(Err(failure(&error))),
        }
    }

    /// What the model writes over and over, if it does.
    fn repeats(&mut self, event: &client::ModelEvent) -> Option<String> {
        match event {
            client::ModelEvent::Text(text) => self.text.push(text),
            client::ModelEvent::Reasoning(text) => self.reasoning.push(text),
            client::ModelEvent::ToolCallArgs { text, .. } => self.arguments.push(text),
            client::ModelEvent::ToolCallStart { .. } => {
                self.arguments = Repeats::default();
                None
            }
            _ => None,
        }
    }

    fn event(&mut self, event: client::ModelEvent) -> Option<ModelEvent> {
        Some(match event {
            client::ModelEvent::Answering(who) => return self.answering(who),
            client::ModelEvent::Text(text) => ModelEvent::Text(text),
            client::ModelEvent::Reasoning(text) => ModelEvent::Reasoning(text),
            client::ModelEvent::ToolCallStart { index, id, name } => {
                self.calls.insert(index, (id, name, String::new()));
                return None;
            }
            client::ModelEvent::ToolCallArgs { index, text } => {
                if let Some((_, _, arguments)) = self.calls.get_mut(&index) {
                    arguments.push_str(&text);
                }
                return None;
            }
            client::ModelEvent::ToolCallEnd { index } => {
                let (id, name, arguments) = self.calls.remove(&index)?;
                ModelEvent::Call { id, name, arguments }
            }
            client::ModelEvent::MalformedCall { raw, why } => ModelEvent::Malformed { raw, why },
            client::ModelEvent::Usage(usage) => ModelEvent::Usage(self.usage(&usage)),
            client::ModelEvent::Notice(client::Notice::Waiting { seconds, .. }) => {
                ModelEvent::Waiting(seconds)
            }
            client::ModelEvent::Notice(notice) => ModelEvent::Notice(notice.to_string()),
            client::ModelEvent::Done { finish } => ModelEvent::Done(match finish {
                FinishReason::ToolCalls => Finish::ToolCalls,
                FinishReason::Length => Finish::Length,
                _ => Finish::Stop,
            }),
        })
    }

    /// Says who answers where that is a fallback.
    fn answering(&mut self, who: client::Provenance) -> Option<ModelEvent> {
        let is = |model: &chela_client::Model| {
            model.reference.provider == who.provider && model.reference.model == who.model
        };
        if is(&self.asked) {
            return None;
        }
        if let Some(fallback) = self.fallbacks.iter().find(|model| is(model)) {
            self.asked = fallback.clone();
        }
        let client::Provenance { provider, model, endpoint, local, .. } = who;
        Some(ModelEvent::Answering(Provenance { provider, model, endpoint, local }))
    }

    fn usage(&self, usage: &chela_client::openai::usage::Usage) -> Usage {
        let cost = self.asked.cost.of(usage);
        Usage {
            prompt: usage.prompt_tokens,
            cached: usage.cached_tokens(),
            completion: usage.completion_tokens,
            reasoning: usage.reasoning_tokens(),
            window: Some(self.asked.limits.context_window.value.into()),
            cost: (cost > 0.0).then_some(cost),
        }
    }
}

fn endless(unit: &str) -> ModelError {
    let shown: String = unit.chars().take(40).collect();
    let message = format!("the model wrote {shown:?} over and over and was stopped");
    ModelError { kind: FailureKind::Loop, message, window: None }
}

fn failure(error: &client::ModelError) -> ModelError {
    use client::ModelError as E;
    let kind = match error {
        E::ContextOverflow { .. } => FailureKind::ContextOverflow,
        E::RateLimited { .. } => FailureKind::RateLimited,
        E::Unavailable { .. } | E::Stalled { .. } | E::Truncated { .. } | E::Cancelled => {
            FailureKind::Unavailable
        }
        E::Unauthorized { .. } => FailureKind::Unauthorized,
        E::NoSuchModel { .. } => FailureKind::Config,
        E::BadRequest { .. } => FailureKind::BadRequest,
        E::Protocol { .. } => FailureKind::Protocol,
    };
    let window = match error {
        E::ContextOverflow { limit, .. } => Some(u64::from(*limit)),
        _ => None,
    };
    ModelError { kind, message: error.to_string(), window }
}
