//! From a request that parses to one that can be answered.

pub(crate) mod body;
mod python;
mod rules;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use chela_openai::chat::ChatRequest;
use chela_openai::models::ModelCard;
use http::HeaderMap;

use crate::error::ApiError;
use crate::router::now;

/// A chat request that passed every check that needs no tokenizer.
#[derive(Debug, Clone, PartialEq)]
pub struct Validated {
    /// `chatcmpl-…`, from `X-Request-Id`, the body's `request_id`, or random.
    pub id: String,
    /// Unix seconds.
    pub created: u64,
    /// The model that answers.
    pub model: ModelCard,
    /// The request; every number in it is in its range.
    pub request: ChatRequest,
}

/// Checks a chat request.
///
/// # Errors
/// 404 for an unknown model, 400 naming the field otherwise.
pub(crate) fn chat(
    request: ChatRequest,
    headers: &HeaderMap,
    models: &[ModelCard],
) -> Result<Validated, ApiError> {
    let model = find(models, &request.model)?;
    rules::check(&request, model.max_model_len)?;
    let own = headers.get("x-request-id").and_then(|id| id.to_str().ok()).or(request.request_id.as_deref());
    let id = match own {
        Some(id) if !id.is_empty() => format!("chatcmpl-{id}"),
        _ => format!("chatcmpl-{}", random_id()),
    };
    Ok(Validated { id, created: now(), model: model.clone(), request })
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
fn random_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(COUNT.fetch_add(1, Relaxed));
    format!("{:016x}", hasher.finish())
}
