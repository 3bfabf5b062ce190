//! The model client: attempts, what is learned from refusals, retries and fallbacks.

use std::sync::Arc;

use chela_chat::{ReasoningMode, ToolSet};
use chela_openai::chat::{Message, Tool};
use chela_openai::error::WireError;
use chela_openai::usage::Usage;
use http::StatusCode;
use tokio_util::sync::CancellationToken;

use super::attempt::{Attempt, Ended, Refusal};
use super::count;
use super::emit::{Emitter, EventStream};
use super::facts::{FactBook, Facts, Field, Reasoning, ToolRoute};
use super::overflow::overflow;
use super::retry::{Failure, Retries};
use super::turn::{ModelError, ModelEvent, Notice, Thinking, TokenCount, Turn};
use super::{Timing, recover, wire};
use crate::catalog::{Model, Source, State, ThinkingControl};
use crate::transport::show;

/// Room that a fallback model must have for its answer.
const FALLBACK_ROOM: u32 = 256;
/// Fields that one request may lose before its refusal is final.
const MOST_CHANGES: u32 = 8;
/// A prompt's tools are judged missing only if they are so many times its text: an estimate from
/// bytes may be off by half.
const EVIDENT: u32 = 2;

/// Asks models. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ModelClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    facts: FactBook,
    timing: Timing,
}

impl ModelClient {
    /// A client that keeps what it learns in `state`.
    pub fn new(state: State, timing: Timing) -> Self {
        Self { shared: Arc::new(Shared { facts: FactBook::new(state), timing }) }
    }

    /// Ask for an answer. Nothing is sent before the stream is read; dropping it or cancelling
    /// `cancel` closes the connection at once.
    pub fn stream(&self, turn: Turn, cancel: CancellationToken) -> EventStream {
        let shared = Arc::clone(&self.shared);
        EventStream::new(cancel, move |emit| async move { shared.drive(&turn, &emit).await })
    }

    /// Count the tokens of a prompt with the server's own tokenizer, as the request would be
    /// rendered. `None` where the server does not count.
    pub async fn count(&self, model: &Model, messages: &[Message], tools: &[Tool]) -> Option<TokenCount> {
        let turn = Turn { tools: tools.to_vec(), ..Turn::new(model.clone(), messages.to_vec()) };
        self.count_turn(&turn).await
    }

    /// As [`ModelClient::count`], with what else of a turn changes its prompt: how much it thinks.
    pub async fn count_turn(&self, turn: &Turn) -> Option<TokenCount> {
        count::count(turn, &turn.model, &self.facts(&turn.model), &self.shared.timing).await
    }

    /// The window as it is known now: an overflow may have corrected the catalog's figure.
    pub fn window(&self, model: &Model) -> u32 {
        window(model, &self.facts(model))
    }

    /// What is known of a model, the configuration's `compat` included.
    pub fn facts(&self, model: &Model) -> Facts {
        self.shared.facts_of(model)
    }
}

fn window(model: &Model, facts: &Facts) -> u32 {
    let believed = model.limits.context_window.value;
    facts.window.map_or(believed, |learned| learned.min(believed))
}

/// What to do after a refusal.
enum After {
    /// Send it again at once, as the facts now say.
    Again,
    /// Send it again if time may heal it; else this is the error.
    Perhaps(Failure, ModelError),
    /// This is the error.
    Final(ModelError),
}

/// What changes from one attempt to the next.
struct Progress {
    prompt: TokenCount,
    /// The request went again after an overflow.
    shrunk: bool,
    /// Fields lost so far.
    changes: u32,
}

impl Shared {
    fn facts_of(&self, model: &Model) -> Facts {
        let mut facts = self.facts.of(model);
        facts.without.extend(model.compat.without.iter().copied());
        if !model.caps.tools.value && model.caps.tools.from != Source::Assumed {
            facts.tools = ToolRoute::Rendered;
        }
        facts
    }

    async fn drive(&self, turn: &Turn, emit: &Emitter) {
        tracing::debug!(session = turn.session, model = %turn.model.reference, "asking");
        let mut asked = &turn.model;
        let mut fallbacks = turn.fallbacks.iter();
        loop {
            let error = match self.answer(turn, asked, emit).await {
                Ok(()) => return,
                Err(error) => error,
            };
            let next = if error.lets_fall_back() && !emit.started() {
                self.next_fallback(turn, &mut fallbacks, emit).await
            } else {
                None
            };
            let Some(next) = next else {
                emit.error(error).await;
                return;
            };
            let (from, to) = (asked.reference.clone(), next.reference.clone());
            emit.notice(Notice::Fallback { from, to, why: error.to_string() }).await;
            asked = next;
        }
    }

    /// The next configured model whose window holds the session.
    async fn next_fallback<'t>(
        &self,
        turn: &'t Turn,
        rest: &mut std::slice::Iter<'t, Model>,
        emit: &Emitter,
    ) -> Option<&'t Model> {
        let prompt = turn.prompt_tokens.unwrap_or_else(|| wire::estimate(&turn.messages, &turn.tools));
        let needed = prompt.tokens.saturating_add(FALLBACK_ROOM);
        for model in rest {
            let window = window(model, &self.facts_of(model));
            if window >= needed {
                return Some(model);
            }
            let model = model.reference.clone();
            emit.notice(Notice::FallbackTooSmall { model, window, needed }).await;
        }
        None
    }

    /// One model's answer, `Done` included.
    async fn answer(&self, turn: &Turn, model: &Model, emit: &Emitter) -> Result<(), ModelError> {
        let estimate = || wire::estimate(&turn.messages, &turn.tools);
        let mut progress =
            Progress { prompt: turn.prompt_tokens.unwrap_or_else(estimate), shrunk: false, changes: 0 };
        let mut retries = Retries::default();
        loop {
            let facts = self.facts_of(model);
            let window = window(model, &facts);
            let wish = wire::wished(model, turn);
            let limit = wire::clamp(wish, &model.limits.max_tokens, window, progress.prompt)
                .ok_or(ModelError::ContextOverflow { limit: window, asked: Some(progress.prompt.tokens) })?;
            let body = wire::body(turn, model, &facts, limit).map_err(|error| ModelError::BadRequest {
                url: show(&model.provider.base_url),
                status: 0,
                message: format!("the conversation cannot be written as JSON: {error}"),
            })?;
            let attempt = Attempt {
                model,
                window,
                tools: ToolSet::from(turn.tools.as_slice()),
                mode: mode(turn, model, &facts),
                timing: &self.timing,
                emit,
            };
            let (failure, error) = match attempt.run(body).await? {
                Ended::Done { finish, usage, reasoning } => {
                    if reasoning.is_some() {
                        self.facts.learn(model, |facts| facts.reasoning = reasoning);
                    }
                    self.look_for_tools(turn, model, &facts, usage.as_ref(), emit).await;
                    emit.event(ModelEvent::Done { finish }).await;
                    return Ok(());
                }
                Ended::Failed { failure, error } => (failure, error),
                Ended::Refused(refusal) => {
                    match self.refused(turn, model, &facts, refusal, &mut progress, emit).await {
                        After::Again => continue,
                        After::Perhaps(failure, error) => (failure, error),
                        After::Final(error) => return Err(error),
                    }
                }
            };
            let Some(delay) = retries.next(failure, &self.timing, model.provider.silence) else {
                return Err(error);
            };
            let loading = matches!(failure, Failure::Status { loading: true, .. });
            emit.notice(if loading {
                Notice::Waiting { seconds: retries.waited().as_secs(), what: "it is loading the model" }
            } else {
                Notice::Retry { attempt: retries.made(), after: delay, why: error.to_string() }
            })
            .await;
            tokio::time::sleep(delay).await;
        }
    }

    async fn refused(
        &self,
        turn: &Turn,
        model: &Model,
        facts: &Facts,
        refusal: Refusal,
        progress: &mut Progress,
        emit: &Emitter,
    ) -> After {
        let url = show(&model.provider.base_url);
        let Refusal { status, error, after, foreign } = refusal;
        let message = error.message.clone();
        if let Some(after) = self.overflowed(model, facts, &error, progress, emit).await {
            return after;
        }
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return After::Final(unauthorized(model, message));
        }
        if status == StatusCode::NOT_FOUND || is_unknown_model(&error) {
            return After::Final(if foreign || message == "Not Found" {
                let message = format!(
                    "404 at {}/chat/completions; the base URL usually ends in /v1",
                    url.trim_end_matches('/')
                );
                ModelError::Protocol { url, message }
            } else {
                ModelError::NoSuchModel { url, model: model.reference.model.clone(), message }
            });
        }
        let may_change = progress.changes < MOST_CHANGES && !emit.started();
        if may_change && self.changed_tools(turn, model, facts, &error, emit).await {
            progress.changes += 1;
            return After::Again;
        }
        if may_change
            && status.is_client_error()
            && let Some(field) = blamed(turn, facts, &error)
        {
            self.facts.learn(model, |facts| {
                facts.without.insert(field);
            });
            let said = message.clone();
            emit.notice(Notice::Without { field: field.name(), said }).await;
            progress.changes += 1;
            return After::Again;
        }
        let loading =
            status == StatusCode::SERVICE_UNAVAILABLE && message.to_ascii_lowercase().contains("loading");
        let error = match status.as_u16() {
            429 => ModelError::RateLimited { url, after, message },
            408 | 500..=599 => ModelError::Unavailable {
                message: format!("{url} failed with {}: {message}", status.as_u16()),
                hint: "look at the server's log".to_owned(),
            },
            status => ModelError::BadRequest { url, status, message },
        };
        After::Perhaps(Failure::Status { status, after, loading }, error)
    }

    /// Learn the window from an overflow, and go again once with what fits.
    async fn overflowed(
        &self,
        model: &Model,
        facts: &Facts,
        error: &WireError,
        progress: &mut Progress,
        emit: &Emitter,
    ) -> Option<After> {
        let overflow = overflow(error)?;
        let was = window(model, facts);
        let now = overflow.window.unwrap_or(was);
        if now < was {
            self.facts.learn(model, |facts| facts.window = Some(now));
            emit.notice(Notice::WindowCorrected { was, now }).await;
        }
        let asked = overflow.prompt.or(progress.prompt.exact.then_some(progress.prompt.tokens));
        if overflow.prompt_alone || progress.shrunk || asked.is_some_and(|asked| asked >= now) {
            return Some(After::Final(ModelError::ContextOverflow { limit: now, asked }));
        }
        progress.shrunk = true;
        if let Some(tokens) = overflow.prompt {
            progress.prompt = TokenCount { tokens, exact: true };
        }
        Some(After::Again)
    }

    /// Take another route for tools where the server cannot take them as fields.
    async fn changed_tools(
        &self,
        turn: &Turn,
        model: &Model,
        facts: &Facts,
        error: &WireError,
        emit: &Emitter,
    ) -> bool {
        if turn.tools.is_empty() || facts.tools == ToolRoute::Rendered {
            return false;
        }
        let text = error.message.to_ascii_lowercase();
        let lacks_parser = text.contains("--enable-auto-tool-choice") || text.contains("--tool-call-parser");
        let lacks_tools = text.contains("tool")
            && ["not support", "unsupported", "--jinja"].iter().any(|word| text.contains(word));
        let route = if lacks_parser && facts.tools == ToolRoute::Native {
            let asked = Facts { tools: ToolRoute::Text, ..facts.clone() };
            match count::template_drops_tools(turn, model, &asked, &self.timing).await {
                Some(true) => ToolRoute::Rendered,
                None if model.family.is_some_and(|family| family.drops_tools) => ToolRoute::Rendered,
                _ => ToolRoute::Text,
            }
        } else if lacks_parser || lacks_tools {
            ToolRoute::Rendered
        } else {
            return false;
        };
        self.facts.learn(model, |facts| facts.tools = route);
        emit.notice(Notice::ToolsByText { message: recover::advice(model, route, lacks_parser) }).await;
        true
    }

    /// A template may drop the tools without a word. The prompt's own size tells, where the tools
    /// would be a large part of it; the next request carries them in the system text.
    async fn look_for_tools(
        &self,
        turn: &Turn,
        model: &Model,
        facts: &Facts,
        usage: Option<&Usage>,
        emit: &Emitter,
    ) {
        // Servers that render no template of the model's refuse tools, or count cached tokens apart.
        if turn.tools.is_empty() || facts.tools == ToolRoute::Rendered || !model.provider.row.templates {
            return;
        }
        let Some(prompt) =
            usage.and_then(|usage| u32::try_from(usage.prompt_tokens).ok()).filter(|prompt| *prompt > 0)
        else {
            return;
        };
        let text = wire::estimate(&turn.messages, &[]).tokens;
        let tools = wire::estimate(&[], &turn.tools).tokens;
        if tools > text * EVIDENT && prompt < text + tools / 3 {
            self.facts.learn(model, |facts| facts.tools = ToolRoute::Rendered);
            let message = recover::advice(model, ToolRoute::Rendered, false);
            emit.notice(Notice::ToolsByText { message }).await;
        }
    }
}

/// What text starts in: reasoning, where the family's prompt opens it, thinking is on, and the
/// server is not known to split it off.
fn mode(turn: &Turn, model: &Model, facts: &Facts) -> ReasoningMode {
    let Some(family) = model.family.filter(|_| facts.reasoning != Some(Reasoning::Field)) else {
        return ReasoningMode::Any;
    };
    let thinks = match turn.thinking {
        Thinking::Off => model.thinking == ThinkingControl::None,
        Thinking::Default => family.thinks(),
        Thinking::Low | Thinking::Medium | Thinking::High => true,
    };
    family.reasoning_mode(thinks)
}

fn unauthorized(model: &Model, message: String) -> ModelError {
    let id = &model.provider.id;
    let variable = model.provider.row.key_variable.as_deref().filter(|_| model.provider.row.id == *id);
    let hint = match (&model.provider.key, variable) {
        (Some(key), _) => {
            format!("the key came from {}; give the one that the server was started with", key.source)
        }
        (None, Some(variable)) => format!("no key was sent; set {variable}, or models.providers.{id}.apiKey"),
        (None, None) => {
            format!("no key was sent; set models.providers.{id}.apiKey, or run `chela auth add {id}`")
        }
    };
    ModelError::Unauthorized { url: show(&model.provider.base_url), message, hint }
}

fn is_unknown_model(error: &WireError) -> bool {
    let text = error.message.to_ascii_lowercase();
    text.contains("model")
        && ["does not exist", "not found", "no such model", "not loaded"]
            .iter()
            .any(|word| text.contains(word))
}

/// The field of our request that a refusal blames, if it can be left out.
fn blamed(turn: &Turn, facts: &Facts, error: &WireError) -> Option<Field> {
    let text = format!("{} {}", error.message, error.param.as_deref().unwrap_or("")).to_ascii_lowercase();
    [Field::StreamOptions, Field::Strict, Field::MaxTokens, Field::ChatTemplateKwargs, Field::ReasoningEffort]
        .into_iter()
        .filter(|field| !facts.without.contains(field))
        .filter(|field| *field != Field::Strict || !turn.tools.is_empty())
        .find(|field| field.blamed_by().iter().any(|name| mentions(&text, name)))
}

/// Whether a text names something as a word of its own: `restricted` does not name `strict`.
fn mentions(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::mentions;

    #[test]
    fn a_field_is_blamed_by_its_whole_name() {
        assert!(mentions("unknown field `strict`", "strict"));
        assert!(mentions("strict: not permitted", "strict"));
        assert!(!mentions("access is restricted", "strict"));
        assert!(!mentions("max_completion_tokens_limit", "max_completion_tokens"));
    }
}
