//! Loading, draining, a full queue, silence, and clients that go away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use chela_engine::engine::EngineOptions;
use chela_server::{Backend, EngineBackend, Health, Options, ServeSettings, router};
use http::Request;
use http_body_util::BodyExt;
use serde_json::json;
use tower::ServiceExt;

use crate::{backend, engine_options, fixtures, post, send};

fn settings() -> ServeSettings {
    ServeSettings { names: vec!["tiny".into()], root: "tiny-model".into(), ..ServeSettings::default() }
}

fn hello() -> serde_json::Value {
    json!({"messages": [{"role": "user", "content": "Say hello."}], "temperature": 0})
}

/// A request that generates until it is stopped or the window is full.
fn endless() -> serde_json::Value {
    json!({"prompt": "The quick", "temperature": 0, "max_tokens": 900, "ignore_eos": true, "stream": true})
}

fn request(path: &str, body: &serde_json::Value) -> Request<Body> {
    let request = Request::post(path).header("content-type", "application/json");
    request.body(Body::from(body.to_string())).unwrap()
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(120), "{what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_model_that_loads_or_cannot_be_loaded_answers_503() {
    let loading = EngineBackend::new(settings());
    let app = router(Arc::new(loading.clone()), Options::default());
    assert_eq!(loading.health().await, Health::Loading);
    let (status, answer) = post(&app, "/v1/chat/completions", &hello()).await;
    assert_eq!((status.as_u16(), &answer["error"]["message"]), (503, &"the model is loading".into()));
    let (status, _) = send(&app, Request::get("/health").body(Body::empty()).unwrap()).await;
    assert_eq!(status, 503);
    let models = send(&app, Request::get("/v1/models").body(Body::empty()).unwrap()).await;
    assert!(models.1.contains("\"id\":\"tiny\""), "{}", models.1);

    let path = fixtures().join("no-such-model");
    loading.load(&path, &engine_options(), &mut |_| {}).unwrap_err();
    assert!(matches!(loading.health().await, Health::Dead(_)));
    assert_eq!(post(&app, "/v1/chat/completions", &hello()).await.0, 503);
}

#[tokio::test]
async fn a_server_that_drains_ends_what_runs_and_takes_nothing_new() {
    let backend = backend(settings());
    let app = router(Arc::new(backend.clone()), Options::default());
    let running = app.clone().oneshot(request("/v1/completions", &endless())).await.unwrap();
    until("it runs", || backend.counts().running == 1).await;
    backend.drain();
    let (status, answer) = post(&app, "/v1/chat/completions", &hello()).await;
    assert_eq!(status, 503, "{answer}");
    let bytes = running.into_body().collect().await.unwrap().to_bytes();
    assert!(bytes.ends_with(b"data: [DONE]\n\n"));
    assert!(std::str::from_utf8(&bytes).unwrap().contains("\"finish_reason\":\"length\""));
}

#[tokio::test]
async fn a_full_queue_answers_429_with_the_time_to_wait() {
    let backend = EngineBackend::new(settings());
    let options = EngineOptions { max_running: 1, max_waiting: 1, ..engine_options() };
    backend.load(&fixtures().join("tiny-model"), &options, &mut |_| {}).unwrap();
    let app = router(Arc::new(backend.clone()), Options::default());
    let mut held = Vec::new();
    held.push(app.clone().oneshot(request("/v1/completions", &endless())).await.unwrap());
    until("it runs", || backend.counts().running == 1).await;
    held.push(app.clone().oneshot(request("/v1/completions", &endless())).await.unwrap());
    let refused = app.clone().oneshot(request("/v1/chat/completions", &hello())).await.unwrap();
    assert_eq!(refused.status(), 429);
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..600).contains(&wait), "{wait}");
    drop(held);
    until("all is free", || backend.counts().running == 0 && backend.counts().waiting == 0).await;
    assert_eq!(post(&app, "/v1/chat/completions", &hello()).await.0, 200);
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_place() {
    let backend = backend(settings());
    let app = router(Arc::new(backend.clone()), Options::default());
    let mut body = app.oneshot(request("/v1/completions", &endless())).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    until("it ends", || backend.counts().running == 0).await;
    let generated = backend.counts().generated_tokens;
    assert!(generated < 900, "{generated}");
    assert_eq!(backend.stats().unwrap().cancelled, 1);
}

#[tokio::test]
async fn a_stream_is_opened_at_once_and_its_silence_is_filled() {
    let backend = EngineBackend::new(settings());
    let options = EngineOptions { max_running: 1, ..engine_options() };
    backend.load(&fixtures().join("tiny-model"), &options, &mut |_| {}).unwrap();
    let often = Options { keep_alive: Duration::from_millis(5), ..Options::default() };
    let app = router(Arc::new(backend.clone()), often);
    let first = app.clone().oneshot(request("/v1/completions", &endless())).await.unwrap();
    until("it runs", || backend.counts().running == 1).await;
    // the second waits for the place of the first
    let mut queued = hello();
    queued["stream"] = true.into();
    let answer = app.clone().oneshot(request("/v1/chat/completions", &queued)).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream; charset=utf-8");
    let mut body = answer.into_body();
    let mut text = String::new();
    while !text.contains(": keep-alive\n\n") {
        let frame = body.frame().await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    drop(first);
    let rest = body.collect().await.unwrap().to_bytes();
    text.push_str(std::str::from_utf8(&rest).unwrap());
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert!(text.contains("\"delta\":{\"role\":\"assistant\",\"content\":\"\"}"));
}

#[tokio::test]
async fn health_is_a_token_for_real() {
    let backend = backend(settings());
    let before = backend.stats().unwrap().generated_tokens;
    assert_eq!(backend.health().await, Health::Ready);
    assert_eq!(backend.stats().unwrap().generated_tokens, before + 1);
    // asked again at once, the answer is remembered
    assert_eq!(backend.health().await, Health::Ready);
    assert_eq!(backend.stats().unwrap().generated_tokens, before + 1);
}
