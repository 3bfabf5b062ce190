//! Every supported chat template: any order of roles is answered, and prompts grow at their end.
//!
//! The templates are those that are checked against transformers' own rendering in `chat`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use chela_server::{Options, ServeSettings, router};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::{backend, post};

/// Templates that only show how the language is read.
const NO_FAMILY: [&str; 6] =
    ["filters", "loop_controls", "methods", "set_scoping", "tojson_options", "whitespace"];

fn templates() -> BTreeMap<String, String> {
    let fixture = include_str!("../../../chat/tests/fixtures/templates.json");
    let fixture: Value = serde_json::from_str(fixture).unwrap();
    let mut all: BTreeMap<String, String> = serde_json::from_value(fixture["templates"].clone()).unwrap();
    all.retain(|name, _| !NO_FAMILY.contains(&name.as_str()));
    all
}

fn with_template(source: &str) -> Router {
    let settings = ServeSettings { chat_template: Some(source.to_owned()), ..ServeSettings::default() };
    router(Arc::new(backend(settings)), Options::default())
}

fn tools() -> Value {
    json!([{"type": "function", "function": {"name": "read", "description": "Read a file.", "parameters": {
        "type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}}])
}

fn call(id: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "read", "arguments": "{\"path\": \"a\"}"}})
}

/// A message as OpenAI's schema allows it: every role, content as text, parts, null or absent.
fn message() -> impl Strategy<Value = Value> {
    let text =
        prop_oneof![Just(json!("one two")), Just(json!("")), Just(json!([{"type": "text", "text": "part"}]))];
    prop_oneof![
        (prop_oneof![Just("system"), Just("developer"), Just("user")], text.clone())
            .prop_map(|(role, content)| json!({"role": role, "content": content})),
        text.clone().prop_map(|content| json!({"role": "assistant", "content": content})),
        (1..3usize, prop_oneof![text.clone(), Just(Value::Null)]).prop_map(|(count, content)| {
            let calls: Vec<Value> = (0..count).map(|at| call(&format!("call_{at}"))).collect();
            json!({"role": "assistant", "content": content, "tool_calls": calls})
        }),
        (0..3usize, text).prop_map(|(at, content)| {
            json!({"role": "tool", "tool_call_id": format!("call_{at}"), "content": content})
        }),
    ]
}

#[test]
fn any_order_of_roles_is_answered_on_every_template() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (name, source) in templates() {
        let app = with_template(&source);
        let mut runner =
            TestRunner::new(Config { cases: 12, failure_persistence: None, ..Config::default() });
        let conversations = (prop::collection::vec(message(), 1..7), any::<bool>());
        let done = runner.run(&conversations, |(messages, offered)| {
            let mut body = json!({"messages": messages, "max_tokens": 1, "temperature": 0});
            if offered {
                body["tools"] = tools();
            }
            let (status, answer) = runtime.block_on(post(&app, "/v1/chat/completions", &body));
            prop_assert_eq!(status, 200, "{}", answer);
            Ok(())
        });
        done.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// Words that no tokenizer makes one token of.
fn words(count: usize, seed: usize) -> String {
    let word = |at: usize| format!("w{}", (at * 7919 + seed * 104_729) % 997);
    (0..count).map(word).collect::<Vec<_>>().join(" ")
}

/// The requests of a run with 20 calls, as an agent sends them: items are only appended. Either each
/// call answers a message of the user, or all of them the first.
fn requests(talk: bool) -> Vec<Vec<Value>> {
    let mut messages = vec![json!({"role": "system", "content": words(480, 0)})];
    messages.push(json!({"role": "user", "content": words(3, 99)}));
    let mut requests = vec![messages.clone()];
    for turn in 0..20 {
        let id = format!("call{turn:05}");
        messages.push(json!({"role": "assistant", "content": null, "tool_calls": [call(&id)]}));
        messages.push(json!({"role": "tool", "tool_call_id": id, "content": words(3, turn)}));
        requests.push(messages.clone());
        if talk {
            messages.push(json!({"role": "assistant", "content": words(3, turn + 1)}));
            messages.push(json!({"role": "user", "content": words(3, turn)}));
            requests.push(messages.clone());
        }
    }
    requests
}

/// The share of a run's prompt tokens, from the second request on, that is the whole blocks of what
/// stood in the request before.
async fn kept(app: &Router, talk: bool) -> f64 {
    let mut before: Vec<u64> = Vec::new();
    let (mut kept, mut all) = (0, 0);
    for messages in requests(talk) {
        let body = json!({"messages": messages, "tools": tools()});
        let (status, answer) = post(app, "/tokenize", &body).await;
        assert_eq!(status, 200, "{answer}");
        let ids: Vec<u64> = serde_json::from_value(answer["tokens"].clone()).unwrap();
        if !before.is_empty() {
            kept += before.iter().zip(&ids).take_while(|(a, b)| a == b).count() / 32 * 32;
            all += ids.len();
        }
        before = ids;
    }
    kept as f64 / all as f64
}

/// Templates that put system text and tools before the last message of the user, where it ends the
/// conversation: every message moves them.
const MOVES: [&str; 1] = ["mistral_strict"];

#[tokio::test]
async fn rendered_prompts_begin_with_the_prompt_before_on_every_template() {
    let mut wrong = Vec::new();
    for (name, source) in templates() {
        let app = with_template(&source);
        let (work, talk) = (kept(&app, false).await, kept(&app, true).await);
        let moves = MOVES.contains(&name.as_str());
        if (work < 0.95) != moves || (talk < 0.95) != moves {
            wrong.push(format!("{name}: {work:.3} with one message of the user, {talk:.3} with many"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
