//! What a broken server costs: nothing that arrived is lost, and the error tells the truth.

use std::time::{Duration, Instant};

use chela_client::openai::chat::FinishReason;
use chela_client::stream::fold;
use chela_client::{ModelError, ModelEvent, Notice};
use chela_server::misbehave::{
    Act, Misbehave, chunk, done, finish, last_chunk, response, stream_head, text_delta,
};
use chela_server::{Gate, Scripted, Turn};
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::common::*;

fn good() -> Vec<Act> {
    vec![
        Act::Request,
        Act::send(stream_head()),
        Act::send(text_delta("Hello.")),
        Act::send(finish("stop")),
        Act::send(done()),
        Act::send(last_chunk()),
    ]
}

fn serve(parts: &[&[u8]]) -> Misbehave {
    let mut script = vec![Act::Request, Act::send(stream_head())];
    script.extend(parts.iter().map(|part| Act::send(*part)));
    Misbehave::serve(vec![script])
}

fn retries(answer: &chela_client::stream::Answer) -> usize {
    answer.notices.iter().filter(|notice| matches!(notice, Notice::Retry { .. })).count()
}

#[tokio::test]
async fn a_plain_answer() {
    let server = Misbehave::serve(vec![good()]);
    let (answer, error) = say_hello(&server.base_url()).await;
    assert_eq!((answer.text.as_str(), error), ("Hello.", None));
    assert_eq!(answer.finish, Some(FinishReason::Stop));
    let provenance = answer.provenance.unwrap();
    assert!(provenance.local && provenance.model == "tiny" && provenance.endpoint.starts_with("http://127."));
}

#[tokio::test]
async fn closed_before_the_first_token_goes_again() {
    let cut = vec![Act::Request, Act::send(stream_head()), Act::Reset];
    let server = Misbehave::serve(vec![cut, good()]);
    let (answer, error) = say_hello(&server.base_url()).await;
    assert_eq!((answer.text.as_str(), error), ("Hello.", None));
    assert_eq!(retries(&answer), 1);
}

#[tokio::test]
async fn closed_after_the_first_token_keeps_the_text_and_says_so() {
    // A reset takes away what has not been read yet.
    let gate = Gate::new();
    let cut = vec![
        Act::Request,
        Act::send(stream_head()),
        Act::send(text_delta("Hel")),
        Act::Hold(gate.clone()),
        Act::Reset,
    ];
    let server = Misbehave::serve(vec![cut]);
    let stream = client().stream(hello(&model(&server.base_url()).await), CancellationToken::new());
    let (answer, error) = fold(stream.inspect(|event| {
        if matches!(event, Ok(ModelEvent::Text(_))) {
            gate.open();
        }
    }))
    .await;
    assert_eq!(answer.text, "Hel");
    assert!(matches!(error, Some(ModelError::Truncated { .. })), "{error:?}");
    assert_eq!(answer.finish, None);
    assert_eq!(server.received().len(), 1, "a partial answer is not asked for again");
}

#[tokio::test]
async fn a_clean_end_without_finish_reason_is_a_cut() {
    let server = serve(&[&text_delta("Hel"), last_chunk().as_bytes()]);
    let (answer, error) = say_hello(&server.base_url()).await;
    assert_eq!(answer.text, "Hel");
    assert!(matches!(error, Some(ModelError::Truncated { .. })), "{error:?}");
}

#[tokio::test]
async fn a_missing_done_after_a_finish_reason_is_fine() {
    let server = serve(&[&text_delta("Hello."), &finish("stop"), last_chunk().as_bytes()]);
    let (answer, error) = say_hello(&server.base_url()).await;
    assert_eq!((answer.text.as_str(), error), ("Hello.", None));
}

#[tokio::test]
async fn a_last_event_without_its_newline_counts() {
    let last = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"!\"},\"finish_reason\":\"stop\"}]}";
    let server = serve(&[&text_delta("Hello"), &chunk(last), last_chunk().as_bytes()]);
    let (answer, error) = say_hello(&server.base_url()).await;
    assert_eq!((answer.text.as_str(), error), ("Hello!", None));
}

#[tokio::test]
async fn a_malformed_line_loses_nothing_around_it() {
    let server = serve(&[
        &text_delta("before "),
        &chunk("data: {\"choices\": [{\"delta\": {\"cont\n\n"),
        &text_delta("after"),
        &finish("stop"),
        &done(),
        last_chunk().as_bytes(),
    ]);
    let (answer, error) = say_hello(&server.base_url()).await;
    assert_eq!((answer.text.as_str(), error), ("before after", None));
    assert!(answer.notices.iter().any(|notice| matches!(notice, Notice::Malformed { lines: 1, .. })));
}

#[tokio::test]
async fn nothing_but_garbage_is_a_protocol_error() {
    let server = serve(&[&chunk("data: hello\n\ndata: world\n\n"), last_chunk().as_bytes()]);
    let (answer, error) = say_hello(&server.base_url()).await;
    assert_eq!(answer.text, "");
    assert!(
        matches!(&error, Some(ModelError::Protocol { message, .. }) if message.contains("hello")),
        "{error:?}"
    );
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn an_error_inside_the_stream_is_told_with_what_came_before() {
    let dead = "data: {\"error\":{\"message\":\"EngineCore died\",\"type\":\"InternalServerError\",\"param\":null,\"code\":500}}\n\n";
    let server = serve(&[&text_delta("Hel"), &chunk(dead), &done(), last_chunk().as_bytes()]);
    let (answer, error) = say_hello(&server.base_url()).await;
    assert_eq!(answer.text, "Hel");
    assert!(
        matches!(&error, Some(ModelError::Truncated { cause }) if cause.contains("EngineCore died")),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_error_inside_the_stream_before_the_first_token_goes_again() {
    let dead =
        "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"x\",\"param\":null,\"code\":503}}\n\n";
    let failing =
        vec![Act::Request, Act::send(stream_head()), Act::send(chunk(dead)), Act::send(last_chunk())];
    let server = Misbehave::serve(vec![failing, good()]);
    let (answer, error) = say_hello(&server.base_url()).await;
    assert_eq!((answer.text.as_str(), error), ("Hello.", None));
}

#[tokio::test]
async fn a_web_page_instead_of_an_answer() {
    let page = response("200 OK", "text/html", "<html><title>Login</title>");
    let server = Misbehave::serve(vec![vec![Act::Request, Act::send(page)]]);
    let (_, error) = say_hello(&server.base_url()).await;
    assert!(
        matches!(&error, Some(ModelError::Protocol { message, .. }) if message.contains("Login")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_that_ignores_stream_is_understood() {
    let whole = r#"{"id":"x","object":"chat.completion","created":1,"model":"tiny","choices":[{"index":0,"message":{"role":"assistant","content":"Hello."},"finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;
    let server =
        Misbehave::serve(vec![vec![Act::Request, Act::send(response("200 OK", "application/json", whole))]]);
    let (answer, error) = say_hello(&server.base_url()).await;
    assert_eq!((answer.text.as_str(), error), ("Hello.", None));
    assert_eq!(answer.finish, Some(FinishReason::Length));
    assert_eq!(answer.usage.unwrap().prompt_tokens, 3);
}

#[tokio::test]
async fn line_ends_comments_and_splits_do_not_matter() {
    let stream = ": keep-alive\r\n\r\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Grüße 🦀\"}}]}\r\n\r\n\
                  : more\r\n\r\ndata:{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\r\n\r\ndata: [DONE]\r\n\r\n";
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let script = vec![Act::Request, Act::send(head), Act::split(stream, 1)];
    let server = Misbehave::serve(vec![script]);
    let (answer, error) = say_hello(&server.base_url()).await;
    assert_eq!((answer.text.as_str(), error), ("Grüße 🦀", None));
}

#[tokio::test]
async fn rate_limits_are_waited_for() {
    let busy = Turn::error(429, "slow down").header("retry-after", "1");
    let server = Scripted::new().turn(busy).turn(Turn::text("Hello.")).serve();
    let start = Instant::now();
    let (answer, error) = say_hello(&server.base_url()).await;
    assert_eq!((answer.text.as_str(), error), ("Hello.", None));
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.chats().len(), 2);
}

#[tokio::test]
async fn a_rate_limit_that_is_too_long_is_told() {
    let busy = Turn::error(429, "quota").header("retry-after", "86400");
    let server = Scripted::new().turn(busy).serve();
    let (_, error) = say_hello(&server.base_url()).await;
    let day = Duration::from_secs(86400);
    assert!(
        matches!(&error, Some(ModelError::RateLimited { after: Some(after), .. }) if *after == day),
        "{error:?}"
    );
    assert_eq!(server.chats().len(), 1);
}

#[tokio::test]
async fn an_overloaded_server_is_asked_again_and_then_given_up() {
    let server = Scripted::new().respond(|_| Turn::error(503, "queue full")).serve();
    let (answer, error) = say_hello(&server.base_url()).await;
    assert!(
        matches!(&error, Some(ModelError::Unavailable { message, .. }) if message.contains("queue full")),
        "{error:?}"
    );
    assert_eq!(server.chats().len(), 5);
    assert_eq!(retries(&answer), 4);
}

#[tokio::test]
async fn a_model_that_loads_is_waited_for() {
    let loading = || Turn::error(503, "Loading model");
    let script =
        Scripted::new().turn(loading()).turn(loading()).turn(loading()).turn(loading()).turn(loading());
    let server = script.turn(loading()).turn(Turn::text("Hello.")).serve();
    let (answer, error) = say_hello(&server.base_url()).await;
    assert_eq!((answer.text.as_str(), error), ("Hello.", None));
    assert!(answer.notices.iter().any(|notice| matches!(notice, Notice::Waiting { .. })));
}

#[tokio::test]
async fn a_refused_key_says_where_it_came_from_and_never_cools_down() {
    let server = Scripted::new().api_key("right").turn(Turn::text("Hello.")).serve();
    let wrong =
        catalog(&declared(&server.base_url(), "apiKey: 'wrong',"), &[]).find("vllm/tiny").await.unwrap();
    let right =
        catalog(&declared(&server.base_url(), "apiKey: 'right',"), &[]).find("vllm/tiny").await.unwrap();
    let client = client();
    let (_, error) = ask(&client, hello(&wrong)).await;
    let error = error.unwrap();
    assert!(matches!(&error, ModelError::Unauthorized { .. }), "{error:?}");
    assert!(!error.to_string().contains("wrong,"), "the key is not shown: {error}");
    // The next request goes out at once.
    let (answer, error) = ask(&client, hello(&right)).await;
    assert_eq!((answer.text.as_str(), error), ("Hello.", None));
}

#[tokio::test]
async fn a_missing_key_names_its_variable() {
    let server = Scripted::new().api_key("right").serve();
    let (_, error) = say_hello(&server.base_url()).await;
    assert!(error.unwrap().to_string().contains("VLLM_API_KEY"));
}

#[tokio::test]
async fn an_unknown_model_is_told_at_once() {
    let server = Scripted::new().model("other").serve();
    let (_, error) = say_hello(&server.base_url()).await;
    assert!(matches!(&error, Some(ModelError::NoSuchModel { model, .. }) if model == "tiny"), "{error:?}");
    assert_eq!(server.chats().len(), 1);
}

#[tokio::test]
async fn a_base_url_without_v1_is_told() {
    let server = Scripted::new().serve();
    let (_, error) = say_hello(&server.origin()).await;
    assert!(
        matches!(&error, Some(ModelError::Protocol { message, .. }) if message.contains("/v1")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_refused_connection_fails_within_seconds() {
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/v1", listener.local_addr().unwrap())
    };
    let start = Instant::now();
    let (answer, error) = say_hello(&closed).await;
    let error = error.unwrap();
    assert!(matches!(&error, ModelError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("refused") && error.to_string().contains("vllm serve"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(60));
    assert_eq!(retries(&answer), 2);
    assert_eq!(error.exit_class().code(), 3);
}

#[tokio::test]
async fn an_answer_cut_by_its_limit_says_so() {
    let server = Scripted::new().turn(Turn::text("Hel").finish("length")).serve();
    let (answer, error) = say_hello(&server.base_url()).await;
    assert_eq!((answer.text.as_str(), error), ("Hel", None));
    assert_eq!(answer.finish, Some(FinishReason::Length));
}

#[tokio::test]
async fn an_empty_answer_is_an_answer() {
    let server = Scripted::new().turn(Turn::new()).serve();
    let (answer, error) = say_hello(&server.base_url()).await;
    assert_eq!((answer.text.as_str(), error), ("", None));
    assert_eq!(answer.finish, Some(FinishReason::Stop));
}

#[tokio::test]
async fn reasoning_alone_is_kept_apart() {
    let server = Scripted::new().turn(Turn::new().reasoning("Only thinking.")).serve();
    let (answer, error) = say_hello(&server.base_url()).await;
    assert_eq!((answer.text.as_str(), answer.reasoning.as_str(), error), ("", "Only thinking.", None));
}
