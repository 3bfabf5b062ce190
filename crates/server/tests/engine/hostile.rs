//! Bodies and headers that no client should send: always an answer, never a failure of ours.

use axum::body::Body;
use chela_server::ROUTES;
use http::Request;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use crate::{send, server};

/// Any JSON, with the words that the fields know among its texts and numbers at their edges.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3i64..40).prop_map(Value::from),
        (-2.5f64..2.5).prop_map(Value::from),
        Just(json!(1e308)),
        Just(json!(u64::MAX)),
        ".{0,12}".prop_map(Value::from),
        prop_oneof![
            Just("user"),
            Just("auto"),
            Just("required"),
            Just("json_object"),
            Just("<think>"),
            Just("1")
        ]
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_]{1,8}",
        prop::sample::select(vec![
            "role",
            "content",
            "type",
            "function",
            "name",
            "arguments",
            "id",
            "text",
            "schema",
            "json_schema",
            "parameters",
            "properties",
            "include_usage",
        ])
        .prop_map(str::to_owned),
    ]
}

const FIELDS: &[&str] = &[
    "model",
    "messages",
    "prompt",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "stop",
    "stop_token_ids",
    "n",
    "stream",
    "stream_options",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "prompt_logprobs",
    "response_format",
    "structured_outputs",
    "ignore_eos",
    "min_tokens",
    "truncate_prompt_tokens",
    "allowed_token_ids",
    "bad_words",
    "echo",
    "priority",
    "request_id",
    "cache_salt",
    "return_token_ids",
    "reasoning_effort",
    "thinking_token_budget",
    "chat_template_kwargs",
    "documents",
    "tokens",
    "add_generation_prompt",
    "continue_final_message",
];

#[test]
fn no_body_makes_the_server_fail() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let app = server();
    let fields = prop::collection::vec((prop::sample::select(FIELDS.to_vec()), value()), 0..5);
    let posts: Vec<&str> =
        ROUTES.iter().filter(|(method, _)| *method == "POST").map(|(_, path)| *path).collect();
    let cases = (prop::sample::select(posts), any::<bool>(), fields);
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    runner
        .run(&cases, |(path, whole, fields)| {
            let mut body = json!({});
            if whole {
                body =
                    json!({"messages": [{"role": "user", "content": "Hi"}], "prompt": "Hi", "max_tokens": 2});
            }
            for (field, value) in fields {
                body[field] = value;
            }
            let request = Request::post(path).header("content-type", "application/json");
            let request = request.body(Body::from(body.to_string())).unwrap();
            let (status, text) = runtime.block_on(send(&app, request));
            prop_assert!(status.as_u16() < 500, "{} {}: {} {}", path, body, status, text);
            prop_assert!(status == 200 || serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
            prop_assert!(!text.contains("InternalServerError"), "{} {}: {}", path, body, text);
            Ok(())
        })
        .unwrap();
}

#[test]
fn no_bytes_and_headers_make_the_server_fail() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let app = server();
    let names = prop::sample::select(vec![
        "content-type",
        "x-request-id",
        "x-session-id",
        "authorization",
        "origin",
        "accept",
        "access-control-request-method",
        "traceparent",
    ]);
    let headers = prop::collection::vec((names, "[ -~]{0,40}"), 0..5);
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..80),
        "[\\[\\]{}\",:0-9a-z]{0,80}".prop_map(String::into_bytes)
    ];
    let method = prop::sample::select(vec!["GET", "POST", "PUT", "OPTIONS", "HEAD", "PATCH"]);
    let path = prop_oneof![
        prop::sample::select(ROUTES.to_vec()).prop_map(|(_, path)| path.replace("{*id}", "a/b")),
        "/[a-z0-9%/._-]{0,20}",
    ];
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    runner
        .run(&(method, path, headers, bytes), |(method, path, headers, bytes)| {
            let mut request = Request::builder().method(method).uri(&path);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            // a path that is no URI never reaches the server
            let Ok(request) = request.body(Body::from(bytes)) else { return Ok(()) };
            let (status, text) = runtime.block_on(send(&app, request));
            prop_assert!(status.as_u16() < 500, "{} {}: {} {}", method, path, status, text);
            Ok(())
        })
        .unwrap();
}
