//! Liveness is progress, not the clock.

use std::time::{Duration, Instant};

use chela_client::catalog::State;
use chela_client::stream::fold;
use chela_client::{Model, ModelClient, ModelError, ModelEvent, Notice, Timing};
use chela_server::misbehave::{Act, Misbehave, stream_head, text_delta};
use chela_server::{Canned, Gate, Recorded, Scripted, Turn};
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::common::*;

/// Silence allowed: one second, the least that the configuration takes.
async fn impatient(base_url: &str) -> Model {
    catalog(&declared(base_url, "timeoutSeconds: 1,"), &[]).find("vllm/tiny").await.unwrap()
}

fn quick() -> ModelClient {
    let timing = Timing { check: Duration::from_millis(100), ..timing() };
    ModelClient::new(State::default(), timing)
}

#[tokio::test]
async fn a_silent_server_that_answers_health_is_waited_for() {
    let gate = Gate::new();
    let server = Scripted::new().turn(Turn::new().hold(&gate).and_text("Hello.")).serve();
    let stream = quick().stream(hello(&impatient(&server.base_url()).await), CancellationToken::new());
    let mut past = 0;
    let (answer, error) = fold(stream.inspect(|event| {
        // The server answers once it has been waited for longer than silence is allowed.
        if let Ok(ModelEvent::Notice(Notice::Waiting { seconds, .. })) = event {
            past += usize::from(*seconds >= 2);
            if past == 2 {
                gate.open();
            }
        }
    }))
    .await;
    assert_eq!((answer.text.as_str(), error), ("Hello.", None));
    assert!(server.requests().iter().any(|request| request.path == "/health"));
}

#[tokio::test]
async fn metrics_with_a_running_request_do_where_health_is_not_offered() {
    let metrics = Canned::new(200, "text/plain", "vllm:num_requests_running{engine=\"0\"} 1.0\n");
    let turn = Turn::text("Hello.").after(Duration::from_secs(3));
    let server = Scripted::new().turn(turn).without_health().route("GET", "/metrics", metrics).serve();
    let (answer, error) = ask(&quick(), hello(&impatient(&server.base_url()).await)).await;
    assert_eq!((answer.text.as_str(), error), ("Hello.", None));
}

#[tokio::test]
async fn metrics_without_a_request_are_no_sign_of_life() {
    let metrics = Canned::new(200, "text/plain", "vllm:num_requests_running{engine=\"0\"} 0.0\n");
    let turn = Turn::text("Hello.").after(Duration::from_secs(600));
    let server = Scripted::new().turn(turn).without_health().route("GET", "/metrics", metrics).serve();
    let (_, error) = ask(&quick(), hello(&impatient(&server.base_url()).await)).await;
    assert!(matches!(error, Some(ModelError::Stalled { .. })), "{error:?}");
}

#[tokio::test]
async fn silence_counts_where_no_sign_of_life_is_offered() {
    let turn = Turn::text("Hello.").after(Duration::from_secs(600));
    let server = Scripted::new().turn(turn).without_health().without_metrics().serve();
    let start = Instant::now();
    let (_, error) = ask(&quick(), hello(&impatient(&server.base_url()).await)).await;
    let error = error.unwrap();
    assert!(
        matches!(&error, ModelError::Stalled { waited_for: "the first token", seconds: 1, .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("models.providers.vllm.timeoutSeconds"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(120));
}

#[tokio::test]
async fn a_dead_engine_is_no_sign_of_life() {
    let turn = Turn::text("Hello.").after(Duration::from_secs(600));
    let dead = Canned::new(503, "text/plain", "");
    let server = Scripted::new().turn(turn).route("GET", "/health", dead).serve();
    let (_, error) = ask(&quick(), hello(&impatient(&server.base_url()).await)).await;
    assert!(matches!(error, Some(ModelError::Stalled { .. })), "{error:?}");
}

#[tokio::test]
async fn after_the_first_token_only_bytes_count() {
    let turn = Turn::text("Hel").pause(Duration::from_secs(600)).and_text("lo.");
    let server = Scripted::new().turn(turn).serve();
    let (answer, error) = ask(&quick(), hello(&impatient(&server.base_url()).await)).await;
    assert_eq!(answer.text, "Hel");
    assert!(
        matches!(&error, Some(ModelError::Stalled { waited_for: "the next part of the answer", .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn keep_alive_comments_are_bytes() {
    let turn = Turn::text("Hel").pause(Duration::from_secs(6)).and_text("lo.");
    let server = Scripted::new().turn(turn).keep_alive(Duration::from_millis(100)).serve();
    let config = declared(&server.base_url(), "timeoutSeconds: 4,");
    let model = catalog(&config, &[]).find("vllm/tiny").await.unwrap();
    let (answer, error) = ask(&quick(), hello(&model)).await;
    assert_eq!((answer.text.as_str(), error), ("Hello.", None));
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_is_given_up() {
    let server = Misbehave::serve(vec![vec![Act::Request, Act::Hang]]);
    let timing =
        Timing { check_limit: Duration::from_millis(200), check: Duration::from_millis(100), ..timing() };
    let client = ModelClient::new(State::default(), timing);
    let (_, error) = ask(&client, hello(&impatient(&server.base_url()).await)).await;
    assert!(matches!(error, Some(ModelError::Stalled { .. })), "{error:?}");
}

#[tokio::test]
async fn dropping_the_stream_closes_the_connection_at_once() {
    let endless = Turn::text("a ").pause(Duration::from_secs(600));
    let server = Scripted::new().turn(endless).serve();
    let mut stream = client().stream(hello(&model(&server.base_url()).await), CancellationToken::new());
    while !matches!(stream.next().await, Some(Ok(ModelEvent::Text(_)))) {}
    drop(stream);
    let closed = server
        .wait_for(Duration::from_secs(60), |all| all.iter().any(|request| request.closed_early()))
        .await;
    assert!(closed.is_ok(), "the server was not told");
}

#[tokio::test]
async fn cancelling_ends_the_stream_and_closes_the_connection_within_250_ms() {
    let server = Scripted::new().respond(|_| Turn::text("a ").pause(Duration::from_secs(600))).serve();
    let mut best = Duration::MAX;
    // Several tries, of which one has to be in time: other work on the machine is none of ours.
    for tries in 1..=20 {
        let cancel = CancellationToken::new();
        let mut stream = client().stream(hello(&model(&server.base_url()).await), cancel.clone());
        while !matches!(stream.next().await, Some(Ok(ModelEvent::Text(_)))) {}
        let start = Instant::now();
        cancel.cancel();
        assert_eq!(stream.next().await, Some(Err(ModelError::Cancelled)));
        best = best.min(start.elapsed());
        assert_eq!(stream.next().await, None);
        let closed = |all: &[Recorded]| all.iter().filter(|request| request.closed_early()).count() == tries;
        let told = server.wait_for(Duration::from_secs(60), closed).await;
        assert!(told.is_ok(), "the server was not told while the stream is still held");
        if best < Duration::from_millis(250) {
            return;
        }
    }
    panic!("the best of all tries took {best:?}");
}

#[tokio::test]
async fn cancelling_works_while_the_server_has_not_answered_at_all() {
    let server = Misbehave::serve(vec![vec![Act::Request, Act::Hang]]);
    let cancel = CancellationToken::new();
    let stream = client().stream(hello(&model(&server.base_url()).await), cancel.clone());
    let asking = tokio::spawn(chela_client::stream::fold(stream));
    while server.received().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cancel.cancel();
    let (_, error) = asking.await.unwrap();
    assert_eq!(error, Some(ModelError::Cancelled));
    let start = Instant::now();
    while !server.received()[0].closed_early {
        assert!(start.elapsed() < Duration::from_secs(60), "the server was not told");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_slow_reader_does_not_stall_the_turn() {
    let script = vec![
        Act::Request,
        Act::send(stream_head()),
        Act::Repeat(text_delta("word ").into(), 500),
        Act::send(chela_server::misbehave::finish("stop")),
        Act::send(chela_server::misbehave::done()),
    ];
    let server = Misbehave::serve(vec![script]);
    let mut stream = quick().stream(hello(&impatient(&server.base_url()).await), CancellationToken::new());
    let mut words = 0;
    while let Some(event) = stream.next().await {
        match event.unwrap() {
            ModelEvent::Text(text) => {
                words += text.matches("word").count();
                if words == 1 {
                    tokio::time::sleep(Duration::from_millis(1500)).await;
                }
            }
            _ => continue,
        }
    }
    assert_eq!(words, 500);
}
