//! What comes from the prefix cache, counted by the engine.

use std::sync::Arc;

use chela_engine::engine::EngineOptions;
use chela_server::{Backend, EngineBackend, Options, ServeSettings, router};
use serde_json::{Value, json};

use crate::{backend, engine_options, fixtures, post};

#[tokio::test]
async fn a_run_of_twenty_turns_with_tools_comes_from_the_cache() {
    let settings = ServeSettings { prompt_tokens_details: true, ..ServeSettings::default() };
    let app = router(Arc::new(backend(settings)), Options::default());
    let tools = json!([{"type": "function", "function": {"name": "get_weather", "description": "Get weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]);
    let mut messages = vec![json!({"role": "system", "content": "Be brief. ".repeat(140)})];
    let (mut cached, mut prompt) = (0, 0);
    for turn in 0..20 {
        let question = if turn == 0 { "What is the weather in Paris?" } else { "And?" };
        messages.push(json!({"role": "user", "content": question}));
        let body = json!({"messages": messages, "tools": tools, "temperature": 0, "max_tokens": 2});
        let (status, answer) = post(&app, "/v1/chat/completions", &body).await;
        assert_eq!(status, 200, "{answer}");
        let usage = &answer["usage"];
        if turn > 0 {
            prompt += usage["prompt_tokens"].as_u64().unwrap();
            cached += usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
        }
        let text = answer["choices"][0]["message"]["content"].clone();
        let id = format!("c{turn}");
        let calls = json!([{"id": id, "type": "function",
            "function": {"name": "get_weather", "arguments": "{\"city\": \"Paris\"}"}}]);
        if turn % 4 == 0 {
            messages.push(json!({"role": "assistant", "content": text, "tool_calls": calls}));
            messages.push(json!({"role": "tool", "tool_call_id": id, "content": "sunny"}));
        } else {
            messages.push(json!({"role": "assistant", "content": text}));
        }
    }
    let share = cached as f64 / prompt as f64;
    assert!(share >= 0.95, "{cached} of {prompt}: {share:.3}");
}

#[tokio::test]
async fn a_salt_keeps_caches_apart() {
    let settings = ServeSettings { prompt_tokens_details: true, ..ServeSettings::default() };
    let app = router(Arc::new(backend(settings)), Options::default());
    let ask = async |salt: &str| {
        let text = "the quick brown fox jumps ".repeat(8);
        let body =
            json!({"messages": [{"role": "user", "content": text}], "max_tokens": 1, "cache_salt": salt});
        let (_, answer) = post(&app, "/v1/chat/completions", &body).await;
        answer["usage"]["prompt_tokens_details"]["cached_tokens"].clone()
    };
    assert_eq!(ask("a").await, 0);
    assert_eq!(ask("b").await, 0);
    assert_ne!(ask("a").await, Value::from(0));
}

/// The metric said "True" whatever the flag was.
#[test]
fn the_flag_of_the_cache_is_told() {
    for prefix_cache in [true, false] {
        let backend = EngineBackend::new(ServeSettings::default());
        let options = EngineOptions { prefix_cache, ..engine_options() };
        backend.load(&fixtures().join("tiny-model"), &options, &mut |_| {}).unwrap();
        assert_eq!(backend.counts().prefix_cache, prefix_cache);
    }
}
