//! The engine behind the router, on the tiny model of vLLM's recordings.

#![allow(clippy::unwrap_used)] // helpers outside of test functions

mod cache;
mod guarded;
mod hostile;
mod liveness;
mod requests;
mod templates;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use chela_engine::engine::EngineOptions;
use chela_openai::chat::{ChatCompletion, Fold, StreamEvent};
use chela_server::{EngineBackend, Options, ServeSettings, router};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

/// Where vLLM's recorded traffic and the model it served are.
fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/vllm-0.32")
}

/// Enough for the tiny model beside what else runs on the machine.
fn engine_options() -> EngineOptions {
    EngineOptions {
        context: Some(2048),
        memory: Some(200 << 20),
        threads: Some(2),
        spin: Duration::ZERO,
        ..EngineOptions::default()
    }
}

/// A loaded backend with these settings, named `tiny`.
fn backend(settings: ServeSettings) -> EngineBackend {
    named_backend(ServeSettings { names: vec!["tiny".into()], ..settings })
}

fn named_backend(settings: ServeSettings) -> EngineBackend {
    let settings = ServeSettings { root: "tiny-model".into(), ..settings };
    let backend = EngineBackend::new(settings);
    backend.load(&fixtures().join("tiny-model"), &engine_options(), &mut |_| {}).unwrap();
    backend
}

/// The server of most tests: no flags.
fn server() -> Router {
    static SHARED: OnceLock<EngineBackend> = OnceLock::new();
    let backend = SHARED.get_or_init(|| backend(ServeSettings::default()));
    router(Arc::new(backend.clone()), Options::default())
}

async fn send(app: &Router, request: Request<Body>) -> (StatusCode, String) {
    let answer = app.clone().oneshot(request).await.unwrap();
    let status = answer.status();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

async fn post(app: &Router, path: &str, body: &Value) -> (StatusCode, Value) {
    let request = Request::post(path).header("content-type", "application/json");
    let (status, text) = send(app, request.body(Body::from(body.to_string())).unwrap()).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// The fold of a request's answer as a stream.
async fn streamed(app: &Router, body: &Value) -> ChatCompletion {
    let mut body = body.clone();
    body["stream"] = true.into();
    body["stream_options"] = serde_json::json!({"include_usage": true});
    let (status, events) = post(app, "/v1/chat/completions", &body).await;
    assert_eq!(status, 200, "{body}: {events}");
    let mut fold = Fold::new();
    let mut done = false;
    for event in events.as_str().unwrap().split("\n\n").filter(|event| !event.is_empty()) {
        match StreamEvent::parse(event.strip_prefix("data: ").unwrap()).unwrap() {
            StreamEvent::Chunk(chunk) => fold.push(*chunk),
            StreamEvent::Done => done = true,
            StreamEvent::Error(error) => panic!("{body}: {error:?}"),
        }
    }
    assert!(done, "{body}: no [DONE]");
    fold.finish()
}
