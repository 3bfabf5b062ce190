//! Routes, the key check, and what every answer shares.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use chela_openai::error::ErrorBody;
use chela_openai::models::ModelList;
use chela_openai::tokenize::{DetokenizeRequest, TokenizeRequest};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, AUTHORIZATION, CONTENT_TYPE, LOCATION,
    ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde_json::json;

use crate::backend::{Backend, Health};
use crate::error::{ApiError, json as json_response};
use crate::metrics::Metrics;
use crate::validate::{body, random_id};
use crate::{chat, completions};

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
    /// Most alternatives per token in log-probabilities; -1 is no limit.
    pub max_logprobs: i64,
    /// Whether `X-Request-Id` of a request, or a random one, stands in its answer.
    pub request_id_headers: bool,
    /// Whether every stream tells its usage, in each chunk and at the end.
    pub force_usage: bool,
    /// Whether answers tell their times.
    pub per_request_metrics: bool,
    /// Whether content without any text is null also where there is nothing beside it, as vLLM with a
    /// reasoning parser has it.
    pub null_content: bool,
    /// Origins whose pages may call, `*` for all; none by default.
    pub allowed_origins: Vec<String>,
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
            max_logprobs: 20,
            request_id_headers: false,
            force_usage: false,
            per_request_metrics: false,
            null_content: false,
            allowed_origins: Vec::new(),
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
    let mut routes = Router::new();
    for (_, path) in ROUTES {
        routes = routes.route(path, handlers(path));
    }
    let routes = routes
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        // after the fallbacks, so that an unknown path asks for the key too
        .layer(middleware::from_fn_with_state(app.clone(), authorize))
        .with_state(app.clone());
    // around them all: a layer on a route would give its methods to every answer to another
    Router::new().fallback_service(routes).layer(middleware::from_fn_with_state(app, around))
}

/// Method and path of every route.
pub const ROUTES: &[(&str, &str)] = &[
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{*id}"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/tokenize"),
    ("POST", "/detokenize"),
    ("GET", "/health"),
    ("GET", "/version"),
    ("GET", "/metrics"),
];

fn handlers(path: &str) -> MethodRouter<Arc<App>> {
    // vLLM's GET routes refuse HEAD, which axum would answer.
    let only_get = |route: MethodRouter<Arc<App>>| route.head(method_not_allowed);
    match path {
        "/v1/models" => only_get(get(models)),
        "/v1/models/{*id}" => only_get(get(model)),
        "/v1/chat/completions" => post(chat_completions),
        "/v1/completions" => post(plain_completions),
        "/tokenize" => post(tokenize),
        "/detokenize" => post(detokenize),
        "/health" => only_get(get(health)),
        "/version" => only_get(get(version)),
        "/metrics" => only_get(get(metrics)),
        _ => MethodRouter::new(),
    }
}

/// What every answer shares: the count, the id of the request, other origins.
async fn around(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let origin = request.headers().get(ORIGIN).cloned();
    let id = request.headers().get("x-request-id").cloned();
    let preflight = method == Method::OPTIONS
        && origin.is_some()
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut answer =
        if preflight { answer_preflight(&app, origin.as_ref()) } else { next.run(request).await };
    let handler = if known(&path) { path.as_str() } else { "none" };
    // A client may make methods up; each would be a row for ever.
    let methods = [
        Method::GET,
        Method::POST,
        Method::OPTIONS,
        Method::HEAD,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
    ];
    let label = if methods.contains(&method) { method.as_str() } else { "other" };
    app.metrics.http(label, handler, answer.status().as_u16());
    let headers = answer.headers_mut();
    if app.options.request_id_headers {
        let random = || HeaderValue::from_str(&(random_id() + &random_id())).ok();
        if let Some(id) = id.or_else(random) {
            headers.insert("x-request-id", id);
        }
    }
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin.filter(|origin| may_call(&app, origin)) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    tracing::debug!(%method, path, status = answer.status().as_u16(), "http");
    answer
}

fn known(path: &str) -> bool {
    ROUTES.iter().any(|(_, route)| *route == path)
}

fn may_call(app: &App, origin: &HeaderValue) -> bool {
    let allowed = app.options.allowed_origins.iter();
    allowed.map(String::as_str).any(|own| own == "*" || own.as_bytes() == origin.as_bytes())
}

/// A browser asks whether a page of another origin may call.
fn answer_preflight(app: &App, origin: Option<&HeaderValue>) -> Response {
    if !origin.is_some_and(|origin| may_call(app, origin)) {
        return (StatusCode::BAD_REQUEST, "Disallowed CORS origin").into_response();
    }
    let allow = [
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, X-Request-Id, X-Session-ID"),
        (ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    (StatusCode::OK, allow, "OK").into_response()
}

/// 307 to the path without its last slash.
fn without_slash(request: &Request) -> Response {
    let path = request.uri().path().trim_end_matches('/');
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    match HeaderValue::from_str(&format!("{path}{query}")) {
        Ok(location) => (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, location)]).into_response(),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
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

async fn plain_completions(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let bytes = read_body(body, app.options.body_limit).await?;
    completions::answer(&app, &headers, &bytes).await
}

async fn tokenize(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Result<Response, ApiError> {
    let bytes = read_body(body, app.options.body_limit).await?;
    let request: TokenizeRequest = body::read(&headers, &bytes)?;
    if request.prompt.is_none() && request.messages.is_none() {
        return Err(body::neither_prompt_nor_messages(&bytes));
    }
    let answer = app.backend.tokenize(request).await?;
    Ok(json_response(StatusCode::OK, &answer))
}

async fn detokenize(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let bytes = read_body(body, app.options.body_limit).await?;
    let request: DetokenizeRequest = body::read(&headers, &bytes)?;
    let answer = app.backend.detokenize(request).await?;
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
    match app.backend.health().await {
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
    let mut response = app.metrics.render(model, &app.backend.counts()).into_response();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=1.0.0; charset=utf-8"));
    response
}

/// A path with a slash too many is told the right one.
async fn not_found(request: Request) -> Response {
    let path = request.uri().path();
    match path.ends_with('/') && known(path.trim_end_matches('/')) {
        true => without_slash(&request),
        false => ApiError::new(StatusCode::NOT_FOUND, ErrorBody::detail("Not Found")).into_response(),
    }
}

async fn method_not_allowed(request: Request) -> Response {
    let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, ErrorBody::detail("Method Not Allowed"));
    let path = request.uri().path();
    let fits =
        |route: &str| route == path || route.strip_suffix("{*id}").is_some_and(|at| path.starts_with(at));
    let method = ROUTES.iter().find(|(_, route)| fits(route)).map(|(method, _)| *method);
    let mut answer = error.into_response();
    if let Some(method) = method {
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
    }
    answer
}

/// Unix seconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
