//! Routes, the key check, and what every answer shares.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chela_openai::error::ErrorBody;
use chela_openai::models::ModelList;
use chela_openai::tokenize::TokenizeRequest;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde_json::json;

use crate::backend::{Backend, Health};
use crate::chat;
use crate::error::{ApiError, json as json_response};
use crate::metrics::Metrics;
use crate::validate::body;

/// How the router answers; the backend decides what.
#[derive(Debug, Clone)]
pub struct Options {
    /// Keys of which one must come with every request, as `Authorization:
    /// Bearer KEY`; none lets everybody in.
    pub api_keys: Vec<String>,
    /// Longest silence of a stream, after which a comment is sent.
    pub keep_alive: Duration,
    /// Longest request body in bytes.
    pub body_limit: usize,
    /// `system_fingerprint` of every answer.
    pub fingerprint: String,
    /// What `/version` says.
    pub version: String,
    /// The names under which reasoning is sent.
    pub reasoning: ReasoningField,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            api_keys: Vec::new(),
            keep_alive: Duration::from_secs(5),
            body_limit: 64 << 20,
            fingerprint: concat!("chela-", env!("CARGO_PKG_VERSION")).into(),
            version: env!("CARGO_PKG_VERSION").into(),
            reasoning: ReasoningField::Both,
        }
    }
}

/// The names under which reasoning is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasoningField {
    /// `reasoning` and `reasoning_content`, for clients that read only one.
    Both,
    /// `reasoning`, as vLLM since 0.16.
    Reasoning,
    /// `reasoning_content`, as llama.cpp, SGLang and DeepSeek.
    ReasoningContent,
}

pub(crate) struct App {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) options: Options,
    pub(crate) metrics: Arc<Metrics>,
}

/// The service: every route of the API over this backend.
pub fn router(backend: Arc<dyn Backend>, options: Options) -> Router {
    let app = Arc::new(App { backend, options, metrics: Arc::default() });
    Router::new()
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(model))
        .route("/v1/chat/completions", post(chat_completions))
        .route("/tokenize", post(tokenize))
        .route("/health", get(health))
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        // after the fallbacks, so that an unknown path asks for the key too
        .layer(middleware::from_fn_with_state(app.clone(), authorize))
        .with_state(app)
}

async fn authorize(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if !app.options.api_keys.is_empty() {
        let sent = request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| value.as_bytes().split_first_chunk::<7>())
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
            .map(|(_, key)| key);
        let known = |key: &[u8]| {
            // every key is looked at, whichever fits
            let keys = app.options.api_keys.iter();
            keys.fold(false, |found, own| found | same(own.as_bytes(), key))
        };
        if !sent.is_some_and(known) {
            let error = ErrorBody::text("Unauthorized");
            return ApiError::new(StatusCode::UNAUTHORIZED, error).into_response();
        }
    }
    next.run(request).await
}

/// Compares in a time that depends on the lengths alone.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |diff, (x, y)| diff | (x ^ y)) == 0
}

async fn models(State(app): State<Arc<App>>) -> Response {
    json_response(StatusCode::OK, &ModelList::new(app.backend.models()))
}

async fn model(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    let models = app.backend.models();
    match models.iter().find(|card| card.id == id) {
        Some(card) => json_response(StatusCode::OK, card),
        None => {
            let known: Vec<&str> = models.iter().map(|card| card.id.as_str()).collect();
            ApiError::unknown_model(&id, &known).into_response()
        }
    }
}

async fn chat_completions(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let bytes = read_body(body, app.options.body_limit).await?;
    chat::answer(&app, &headers, &bytes).await
}

async fn tokenize(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Result<Response, ApiError> {
    let bytes = read_body(body, app.options.body_limit).await?;
    let request: TokenizeRequest = body::read(&headers, &bytes)?;
    let answer = app.backend.tokenize(request)?;
    Ok(json_response(StatusCode::OK, &answer))
}

async fn read_body(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(ApiError::of(
            StatusCode::PAYLOAD_TOO_LARGE,
            "BadRequestError",
            None,
            format!("the request body is longer than {limit} bytes"),
        )),
        Err(error) => {
            Err(ApiError::bad_request(None, format!("the request body could not be read: {error}")))
        }
    }
}

async fn health(State(app): State<Arc<App>>) -> Response {
    match app.backend.health() {
        Health::Ready => StatusCode::OK.into_response(),
        Health::Loading => unavailable("the model is loading"),
        Health::Dead(why) => unavailable(&why),
    }
}

fn unavailable(why: &str) -> Response {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    ApiError::of(status, "ServiceUnavailableError", None, why).into_response()
}

async fn version(State(app): State<Arc<App>>) -> Response {
    json_response(StatusCode::OK, &json!({"version": app.options.version}))
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let models = app.backend.models();
    let model = models.first().map_or("", |card| card.id.as_str());
    let mut response = app.metrics.render(model).into_response();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=1.0.0; charset=utf-8"));
    response
}

async fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, ErrorBody::detail("Not Found"))
}

async fn method_not_allowed() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, ErrorBody::detail("Method Not Allowed"))
}

/// Unix seconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
