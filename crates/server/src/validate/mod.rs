//! From a request that parses to one that can be answered.

pub(crate) mod body;
mod python;
pub(crate) mod rules;
pub(crate) mod sampled;
pub(crate) mod structured;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use chela_openai::chat::ChatRequest;
use chela_openai::completions::CompletionRequest;
use chela_openai::models::ModelCard;
use http::HeaderMap;
use rules::Bounds;

use crate::error::ApiError;
use crate::router::now;

/// A request that passed every check that needs no tokenizer.
#[derive(Debug, Clone, PartialEq)]
pub struct Validated<R = ChatRequest> {
    /// `chatcmpl-…` or `cmpl-…`, from `X-Request-Id`, the body's `request_id`, or random.
    pub id: String,
    /// Unix seconds.
    pub created: u64,
    /// The model that answers.
    pub model: ModelCard,
    /// Whose request it is, for fairness: `X-Session-ID`, or the body's `user`; may be empty.
    pub client: String,
    /// The request; every number in it is in its range.
    pub request: R,
}

/// Checks a chat request.
///
/// # Errors
/// 404 for an unknown model, 400 naming the field otherwise.
pub(crate) fn chat(
    request: ChatRequest,
    headers: &HeaderMap,
    models: &[ModelCard],
    max_logprobs: i64,
) -> Result<Validated, ApiError> {
    let model = find(models, &request.model)?;
    rules::chat(&request, Bounds { window: model.max_model_len, logprobs: max_logprobs })?;
    let (id, user) = (request.request_id.as_deref(), request.user.as_deref());
    Ok(Validated {
        id: answer_id("chatcmpl", headers, id),
        created: now(),
        model: named(models, model),
        client: client(headers, user),
        request,
    })
}

/// Checks a plain completion.
///
/// # Errors
/// As [`chat`].
pub(crate) fn completion(
    request: CompletionRequest,
    headers: &HeaderMap,
    models: &[ModelCard],
    max_logprobs: i64,
) -> Result<Validated<CompletionRequest>, ApiError> {
    let model = find(models, &request.model)?;
    rules::completion(&request, Bounds { window: model.max_model_len, logprobs: max_logprobs })?;
    let (id, user) = (request.request_id.as_deref(), request.user.as_deref());
    Ok(Validated {
        id: answer_id("cmpl", headers, id),
        created: now(),
        model: named(models, model),
        client: client(headers, user),
        request,
    })
}

/// The model under the first of its names, which stands in answers.
fn named(models: &[ModelCard], asked: &ModelCard) -> ModelCard {
    let same = |other: &&ModelCard| other.root.is_some() && other.root == asked.root;
    models.iter().find(same).unwrap_or(asked).clone()
}

fn answer_id(prefix: &str, headers: &HeaderMap, own: Option<&str>) -> String {
    let sent = headers.get("x-request-id").and_then(|id| id.to_str().ok());
    match sent.or(own).filter(|id| !id.is_empty()) {
        Some(id) => format!("{prefix}-{id}"),
        None => format!("{prefix}-{}", random_id()),
    }
}

fn client(headers: &HeaderMap, user: Option<&str>) -> String {
    let session = headers.get("x-session-id").and_then(|id| id.to_str().ok());
    session.or(user).unwrap_or_default().to_owned()
}

/// The model of this name; the first where no name is given.
///
/// # Errors
/// 404 with the names there are.
pub(crate) fn find<'a>(models: &'a [ModelCard], name: &str) -> Result<&'a ModelCard, ApiError> {
    let found = match name {
        "" => models.first(),
        name => models.iter().find(|card| card.id == name),
    };
    found.ok_or_else(|| {
        let known: Vec<&str> = models.iter().map(|card| card.id.as_str()).collect();
        ApiError::unknown_model(name, &known)
    })
}

/// 400: the prompt alone is longer than the window, in the words that clients
/// of vLLM search for.
pub fn context_overflow(max_model_len: u64, prompt_tokens: u64) -> ApiError {
    ApiError::bad_request(
        Some("input_tokens"),
        format!(
            "This model's maximum context length is {max_model_len} tokens. However, your prompt \
             contains at least {prompt_tokens} input tokens, which exceeds this limit even \
             without any output tokens. Please reduce the length of the input prompt. \
             (parameter=input_tokens, value={prompt_tokens})"
        ),
    )
}

/// 16 hex digits that are not used twice. Not a secret.
pub(crate) fn random_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(COUNT.fetch_add(1, Relaxed));
    format!("{:016x}", hasher.finish())
}
