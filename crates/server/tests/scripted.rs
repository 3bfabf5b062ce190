//! The scripted server, over a real socket and as a service.

#![allow(clippy::unwrap_used)] // helpers outside of test functions

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use axum::body::Body;
use chela_openai::chat::{ChatCompletion, Fold, StreamEvent};
use chela_openai::models::{ModelCard, ModelList};
use chela_openai::sse::{Decoder, Event};
use chela_openai::usage::Usage;
use chela_server::{Canned, ReasoningField, Scripted, Turn};
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

const LONG: Duration = Duration::from_secs(60);

/// Sends a request and reads all that comes, until the server closes.
fn exchange(address: SocketAddr, method: &str, path: &str, extra: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{extra}\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = Vec::new();
    // a broken connection is part of what is tested
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn chat(address: SocketAddr, body: &Value) -> String {
    exchange(address, "POST", "/v1/chat/completions", "", &body.to_string())
}

fn ask(stream: bool) -> Value {
    json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": stream})
}

/// The data of the events in a chunked answer.
fn events(answer: &str) -> Vec<String> {
    let mut decoder = Decoder::new();
    let (head, mut rest) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("text/event-stream"), "{head}");
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        decoder.push(&after.as_bytes()[..size]).unwrap();
        rest = after.get(size + 2..).unwrap_or("");
    }
    let mut data = Vec::new();
    while let Some(event) = decoder.next_event() {
        data.push(match event {
            Event::Data { data, .. } => data,
            Event::Comment(text) => format!(": {text}"),
        });
    }
    data
}

fn fold(answer: &str) -> ChatCompletion {
    let mut fold = Fold::new();
    for data in events(answer) {
        match StreamEvent::parse(&data).unwrap() {
            StreamEvent::Chunk(chunk) => fold.push(*chunk),
            StreamEvent::Done => {}
            StreamEvent::Error(error) => panic!("{error:?}"),
        }
    }
    fold.finish()
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn a_turn_says_the_same_streamed_and_whole() {
    let turn = || {
        Turn::new()
            .reasoning("Where is it?")
            .and_text("I look. ")
            .call("ls", json!({"path": "."}))
            .raw_call("read", "{\"path\": broken")
            .call_id("own")
    };
    let server = Scripted::new().turn(turn()).turn(turn()).serve();
    let streamed = fold(&chat(server.address(), &ask(true)));
    let whole: ChatCompletion = serde_json::from_str(body(&chat(server.address(), &ask(false)))).unwrap();
    assert_eq!(streamed.choices[0].message, whole.choices[0].message);
    let message = &whole.choices[0].message;
    assert_eq!(message.reasoning.as_deref(), Some("Where is it?"));
    assert_eq!(message.content.as_deref(), Some("I look. "));
    assert_eq!(message.tool_calls[0].function.arguments, r#"{"path":"."}"#);
    assert_eq!(message.tool_calls[1].id, "own");
    assert_eq!(message.tool_calls[1].function.arguments, "{\"path\": broken");
    assert_eq!(whole.choices[0].finish_reason, Some("tool_calls".into()));
    assert_eq!(streamed.usage, None, "not asked for");
    assert!(whole.usage.unwrap().prompt_tokens > 0);
}

#[test]
fn chunks_are_laid_out_as_by_vllm() {
    let server = Scripted::new().turn(Turn::text("a b").usage(Usage::new(5, 2))).serve();
    let mut request = ask(true);
    request["stream_options"] = json!({"include_usage": true});
    let id = "x-request-id: abc\r\n";
    let answer = exchange(server.address(), "POST", "/v1/chat/completions", id, &request.to_string());
    let mut events = events(&answer);
    let first: Value = serde_json::from_str(&events[0]).unwrap();
    let head = format!(
        r#"{{"id":"chatcmpl-abc","object":"chat.completion.chunk","created":{},"model":"tiny","choices":"#,
        first["created"]
    );
    for event in &mut events {
        *event = event.replace(&head, "");
    }
    assert_eq!(
        events,
        [
            r#"[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"prompt_token_ids":null,"prompt_text":null}"#,
            r#"[{"index":0,"delta":{"content":"a "},"logprobs":null,"finish_reason":null,"token_ids":null}]}"#,
            r#"[{"index":0,"delta":{"content":"b"},"logprobs":null,"finish_reason":null,"token_ids":null}]}"#,
            r#"[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop","stop_reason":null,"token_ids":null}]}"#,
            r#"[],"usage":{"prompt_tokens":5,"total_tokens":7,"completion_tokens":2},"system_fingerprint":"vllm-0.32.0-scripted"}"#,
            "[DONE]",
        ]
    );
}

#[test]
fn every_request_is_recorded() {
    let server = Scripted::new().turn(Turn::text("hi")).serve();
    exchange(server.address(), "GET", "/v1/models?x=1", "x-own: 1\r\n", "");
    chat(server.address(), &ask(false));
    exchange(server.address(), "GET", "/nowhere", "", "");
    let all =
        server.wait_for_blocking(LONG, |all| all.len() == 3 && all.iter().all(|r| r.completed())).unwrap();
    let paths: Vec<&str> = all.iter().map(|r| r.path.as_str()).collect();
    assert_eq!(paths, ["/v1/models?x=1", "/v1/chat/completions", "/nowhere"]);
    assert_eq!(all[0].header("x-own"), "1");
    assert_eq!(all[1].json(), ask(false));
    assert_eq!(all[1].chat().unwrap().model, "tiny");
    assert_eq!(server.chats().len(), 1);
}

#[test]
fn a_client_that_hangs_up_is_noticed() {
    let server = Scripted::new()
        .turn(Turn::text("a").pause(Duration::from_secs(600)).and_text("b"))
        .keep_alive(Duration::from_millis(20))
        .serve();
    let body = ask(true).to_string();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == ": keep-alive"));
    assert!(!server.requests()[0].completed());
    drop(lines);
    drop(stream);
    let all = server.wait_for_blocking(LONG, |all| all[0].closed_early());
    assert!(all.is_ok());
}

#[test]
fn a_vllm_without_flags_refuses_tools() {
    let server = Scripted::new().no_parser().turn(Turn::text("<tool_call>")).serve();
    let tools = json!([{"type": "function", "function": {"name": "get_weather"}}]);
    let cases = [
        (json!(null), "tools_auto_default"),
        (json!("required"), "tools_required"),
        (json!({"type": "function", "function": {"name": "get_weather"}}), "tools_named"),
    ];
    for (choice, golden) in cases {
        let mut request = ask(true);
        request["tools"] = tools.clone();
        request["tool_choice"] = choice;
        let answer = chat(server.address(), &request);
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        let path = format!(
            "{}/../../tests/fixtures/vllm-0.32/s0_noflags/{golden}.response.http",
            env!("CARGO_MANIFEST_DIR")
        );
        let recorded = std::fs::read_to_string(path).unwrap();
        assert_eq!(body(&answer), body(&recorded));
    }
    let mut request = ask(false);
    request["tools"] = tools;
    request["tool_choice"] = json!("none");
    let answer: ChatCompletion = serde_json::from_str(body(&chat(server.address(), &request))).unwrap();
    assert_eq!(answer.choices[0].message.content.as_deref(), Some("<tool_call>"));
}

#[test]
fn errors_come_before_the_stream_or_inside_it() {
    let server = Scripted::new()
        .turn(Turn::error(429, "slow down").header("retry-after", "2"))
        .turn(Turn::text("half ").error_event(500, "engine died"))
        .turn(Turn::canned(Canned::new(502, "text/html", "<html>")))
        .turn(Turn::text("half ").disconnect().and_text("never"))
        .turn(Turn::text("half ").truncate().and_text("never"))
        .serve();
    let answer = chat(server.address(), &ask(true));
    assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    assert!(answer.contains("retry-after: 2"), "{answer}");
    assert!(
        answer
            .contains(r#"{"error":{"message":"slow down","type":"RateLimitError","param":null,"code":429}}"#)
    );

    let data = events(&chat(server.address(), &ask(true)));
    assert_eq!(
        data[2..],
        [
            r#"{"error":{"message":"engine died","type":"InternalServerError","param":null,"code":500}}"#,
            "[DONE]",
        ]
    );

    let answer = chat(server.address(), &ask(true));
    assert!(answer.starts_with("HTTP/1.1 502") && answer.ends_with("<html>"), "{answer}");

    let answer = chat(server.address(), &ask(true));
    assert!(answer.contains("half "), "{answer}");
    assert!(!answer.contains("DONE") && !answer.ends_with("0\r\n\r\n"), "{answer}");

    let answer = chat(server.address(), &ask(true));
    assert!(answer.contains("half "), "{answer}");
    assert!(!answer.contains("DONE") && answer.ends_with("0\r\n\r\n"), "{answer}");

    let answer = chat(server.address(), &ask(true));
    assert!(answer.contains("the script has no turn 6"), "{answer}");
}

#[test]
fn other_servers_are_played_by_rows_and_routes() {
    let row = ModelCard { loaded_context_length: Some(4096), ..ModelCard::new("lm") };
    let server = Scripted::new()
        .models(vec![row])
        .without_health()
        .without_metrics()
        .reasoning_field(ReasoningField::ReasoningContent)
        .route("GET", "/props", Canned::json(200, &json!({"n_ctx": 4096})))
        .respond(|request| Turn::new().reasoning("r").and_text(request.messages[0].text()))
        .serve();
    let get = |path: &str| exchange(server.address(), "GET", path, "", "");
    assert!(get("/health").starts_with("HTTP/1.1 404"));
    assert!(get("/metrics").starts_with("HTTP/1.1 404"));
    assert_eq!(body(&get("/props")), r#"{"n_ctx":4096}"#);
    server.route("GET", "/props", Canned::json(503, &json!({"error": "loading"})));
    assert!(get("/props").starts_with("HTTP/1.1 503"));
    let list: ModelList = serde_json::from_str(body(&get("/v1/models"))).unwrap();
    assert_eq!(list.data[0].loaded_context_length, Some(4096));
    let mut request = ask(false);
    request["model"] = json!("lm");
    let answer: ChatCompletion = serde_json::from_str(body(&chat(server.address(), &request))).unwrap();
    let message = &answer.choices[0].message;
    assert_eq!(message.content.as_deref(), Some("hi"));
    assert_eq!(message.reasoning_text(), Some("r"));
}

#[test]
fn a_prompt_over_the_window_is_refused_in_vllms_words() {
    let server = Scripted::new().max_model_len(1024).serve();
    let mut request = ask(true);
    request["messages"][0]["content"] = json!("x".repeat(5000));
    let answer = chat(server.address(), &request);
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/vllm-0.32/s1_errors/e_ctx_long.response.http"
    );
    assert_eq!(body(&answer), body(&std::fs::read_to_string(path).unwrap()));
}

#[tokio::test]
async fn it_is_a_service_without_a_port() {
    let (app, requests) = Scripted::new().turn(Turn::text("hi")).router();
    let request = Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .body(Body::from(ask(false).to_string()))
        .unwrap();
    let answer = app.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    let answer: ChatCompletion = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(answer.choices[0].message.content.as_deref(), Some("hi"));
    assert!(requests()[0].completed());
}
