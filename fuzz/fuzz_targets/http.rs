//! Any request to the real router over the scripted backend: nothing panics, and every answer but a
//! success is a well-formed error.
#![no_main]

use std::cell::RefCell;

use axum::Router;
use axum::body::Body;
use chela_server::{ROUTES, Scripted, Turn};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tower::ServiceExt;

const METHODS: [Method; 4] = [Method::POST, Method::GET, Method::OPTIONS, Method::HEAD];
const HEADERS: [&str; 9] = [
    "content-type",
    "authorization",
    "origin",
    "access-control-request-method",
    "x-request-id",
    "x-session-id",
    "content-length",
    "traceparent",
    "accept-encoding",
];
/// Fields of the bodies; a value from the fuzzer takes the place of a valid one.
const FIELDS: [&str; 48] = [
    "model", "messages", "prompt", "tokens", "stream", "stream_options", "max_tokens", "max_completion_tokens",
    "temperature", "top_p", "top_k", "min_p", "seed", "stop", "stop_token_ids", "n", "presence_penalty",
    "repetition_penalty", "logit_bias", "logprobs", "top_logprobs", "response_format", "structured_outputs", "tools",
    "tool_choice", "parallel_tool_calls", "reasoning_effort", "include_reasoning", "thinking_token_budget",
    "chat_template_kwargs", "chat_template", "add_generation_prompt", "continue_final_message", "echo", "documents",
    "ignore_eos", "min_tokens", "truncate_prompt_tokens", "prompt_logprobs", "allowed_token_ids", "bad_words", "priority",
    "cache_salt", "return_token_ids", "guided_json", "use_beam_search", "suffix", "best_of",
];

/// Method, route, headers by number, fields by number; then the body itself, if there are no fields.
type Input<'a> = (u8, u8, Vec<(u8, Vec<u8>)>, Vec<(u8, String)>, &'a [u8]);

/// The server, and how many requests it has seen: it keeps them all.
struct Server {
    runtime: Runtime,
    app: Router,
    seen: usize,
}

impl Server {
    fn new() -> Self {
        let answer = |_: &_| Turn::new().reasoning("so").and_text("one two").call("ls", json!({"path": "."}));
        let (app, _) = Scripted::new().api_key("k").respond(answer).router();
        Self { runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(), app, seen: 0 }
    }
}

thread_local! {
    static SERVER: RefCell<Server> = RefCell::new(Server::new());
}

fn body(fields: &[(u8, String)], raw: &[u8]) -> Vec<u8> {
    if fields.is_empty() {
        return raw.to_vec();
    }
    let mut body = json!({"messages": [{"role": "user", "content": "hi"}], "prompt": "hi", "tokens": [1]});
    for (field, value) in fields {
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.clone()));
        body[FIELDS[*field as usize % FIELDS.len()]] = value;
    }
    body.to_string().into_bytes()
}

fn request((method, route, headers, fields, raw): &Input<'_>) -> Option<Request<Body>> {
    let path = match ROUTES.get(*route as usize % (ROUTES.len() + 1)) {
        Some((_, path)) => path.replace("{*id}", "tiny"),
        None => format!("/{}", String::from_utf8_lossy(&raw[..raw.len().min(40)])),
    };
    let method = METHODS[*method as usize % METHODS.len()].clone();
    let mut request = Request::builder().method(method).uri(path);
    let own = |name: &str| headers.iter().any(|(header, _)| HEADERS[*header as usize % HEADERS.len()] == name);
    for (name, value) in [("content-type", "application/json"), ("authorization", "Bearer k")] {
        if !own(name) {
            request = request.header(name, value);
        }
    }
    for (header, value) in headers {
        request = request.header(HEADERS[*header as usize % HEADERS.len()], value.as_slice());
    }
    request.body(Body::from(body(fields, raw))).ok()
}

/// What vLLM's clients read: an object or a word in `error`, or the framework's `detail`.
fn well_formed(status: StatusCode, body: &[u8]) -> bool {
    if body == b"Disallowed CORS origin" || status == StatusCode::TEMPORARY_REDIRECT {
        return true;
    }
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return false };
    let error = &body["error"];
    let object = error["message"].as_str().is_some_and(|message| !message.is_empty())
        && error["type"].is_string()
        && error["code"] == status.as_u16();
    object || error == "Unauthorized" || body["detail"].is_string()
}

fuzz_target!(|input: Input<'_>| {
    let Some(request) = request(&input) else { return };
    let head = request.method() == Method::HEAD;
    let what = format!("{} {}", request.method(), request.uri());
    SERVER.with_borrow_mut(|server| {
        server.seen += 1;
        if server.seen > 2000 {
            *server = Server::new();
        }
        let app = server.app.clone();
        server.runtime.block_on(async move {
            let answer = app.oneshot(request).await.unwrap();
            let status = answer.status();
            let bytes = answer.into_body().collect().await.unwrap().to_bytes();
            assert!(
                status.is_success() || head || well_formed(status, &bytes),
                "{what}: {status} {:?}",
                String::from_utf8_lossy(&bytes)
            );
            assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{what}: {:?}", String::from_utf8_lossy(&bytes));
        });
    });
});
