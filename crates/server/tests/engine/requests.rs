//! What a request gets.

use axum::Router;
use chela_openai::chat::ChatCompletion;
use chela_server::{Options, ServeSettings, router};
use serde_json::{Value, json};

use crate::{named_backend, post, server, streamed};

#[tokio::test]
async fn a_conversation_is_answered() {
    let app = server();
    let body = json!({"messages": [{"role": "user", "content": "Say hello."}], "temperature": 0});
    let (status, answer) = post(&app, "/v1/chat/completions", &body).await;
    assert_eq!(status, 200, "{answer}");
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["content"], "Hello, world! How are you today?");
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(answer["usage"]["completion_tokens"], 18);
}

#[tokio::test]
async fn a_text_is_continued() {
    let app = server();
    let body = json!({"prompt": "The quick brown fox", "temperature": 0});
    let (status, answer) = post(&app, "/v1/completions", &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["choices"][0]["text"], " jumps over the lazy dog.");
    assert_eq!(answer["choices"][0]["stop_reason"], 1200);
}

fn chat(text: &str, more: Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": text}], "temperature": 0});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn message(app: &Router, body: &Value) -> Value {
    let (status, answer) = post(app, "/v1/chat/completions", body).await;
    assert_eq!(status, 200, "{answer}");
    answer["choices"][0]["message"].clone()
}

#[tokio::test]
async fn reasoning_stands_under_both_names() {
    let app = server();
    let said = message(&app, &chat("Think: what is 2+2?", json!({}))).await;
    assert_eq!(said["reasoning"], "\nTwo plus two is four.\n");
    assert_eq!(said["reasoning_content"], said["reasoning"]);
    assert_eq!(said["content"], "\n\nThe answer is 4.");
    let hidden = message(&app, &chat("Think: what is 2+2?", json!({"include_reasoning": false}))).await;
    assert_eq!(hidden["reasoning"], Value::Null);
    assert_eq!(hidden["content"], said["content"]);
}

#[tokio::test]
async fn a_thinking_budget_is_a_hard_cap() {
    let app = server();
    for budget in [0, 3, 8] {
        let more = json!({"thinking_token_budget": budget, "max_tokens": 60});
        let body = chat("Think: what is 2+2?", more);
        let (_, answer) = post(&app, "/v1/chat/completions", &body).await;
        let counted = &answer["usage"]["completion_tokens_details"]["reasoning_tokens"];
        assert_eq!(counted.as_u64().unwrap_or(0), budget, "{answer}");
    }
    let (status, answer) =
        post(&app, "/v1/chat/completions", &chat("x", json!({"thinking_token_budget": -2}))).await;
    assert_eq!((status.as_u16(), &answer["error"]["param"]), (400, &"thinking_token_budget".into()));
}

#[tokio::test]
async fn effort_switches_thinking_in_the_template() {
    let app = server();
    let prompt = async |more: Value| {
        let mut body = chat("Say hello.", more);
        body["return_prompt_text"] = true.into();
        body["max_tokens"] = 1.into();
        let (_, answer) = post(&app, "/v1/chat/completions", &body).await;
        answer["prompt_text"].as_str().unwrap().to_owned()
    };
    let off = "<|im_start|>assistant\n<think>\n\n</think>\n\n";
    assert!(prompt(json!({"reasoning_effort": "none"})).await.ends_with(off));
    assert!(prompt(json!({"chat_template_kwargs": {"enable_thinking": false}})).await.ends_with(off));
    for more in [json!({}), json!({"reasoning_effort": "high"})] {
        assert!(prompt(more).await.ends_with("<|im_start|>assistant\n"));
    }
    // what is said of the template wins
    let both = json!({"reasoning_effort": "high", "chat_template_kwargs": {"enable_thinking": false}});
    assert!(prompt(both).await.ends_with(off));
}

#[tokio::test]
async fn the_choice_of_tokens_is_bounded_as_asked() {
    let app = server();
    let only = json!({"allowed_token_ids": [50, 13], "max_tokens": 6, "min_tokens": 6});
    let text = message(&app, &chat("Say hello.", only)).await["content"].as_str().unwrap().to_owned();
    assert!(!text.is_empty() && text.chars().all(|c| "S.".contains(c)), "{text}");
    let without = message(&app, &chat("Say hello.", json!({"bad_words": ["Hello"], "max_tokens": 20}))).await;
    assert!(!without["content"].as_str().unwrap().contains("Hello"), "{without}");
    let (status, answer) =
        post(&app, "/v1/chat/completions", &chat("x", json!({"stop_token_ids": [99_999]}))).await;
    assert_eq!(status, 400, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("Vocabulary size: 1209"), "{answer}");
}

#[tokio::test]
async fn a_seed_draws_the_same_whatever_runs_beside_it() {
    let app = server();
    let ask = async |seed: u64| {
        let body = json!({"prompt": "zz", "temperature": 1.5, "seed": seed, "n": 3, "max_tokens": 12});
        let (status, answer) = post(&app, "/v1/completions", &body).await;
        assert_eq!(status, 200, "{answer}");
        let texts = answer["choices"].as_array().unwrap().iter().map(|choice| choice["text"].clone());
        texts.collect::<Vec<_>>()
    };
    let alone = ask(7).await;
    let (again, _, _) = tokio::join!(ask(7), ask(8), ask(9));
    assert_eq!(alone, again);
    assert_ne!(alone[0], alone[1], "each choice draws for itself");
}

#[tokio::test]
async fn the_servers_own_defaults_stand_in_for_what_a_request_leaves_out() {
    let generation = json!({"temperature": 0.0, "max_tokens": 3});
    let settings = ServeSettings {
        generation: generation.as_object().unwrap().clone(),
        template_kwargs: json!({"enable_thinking": false}).as_object().unwrap().clone(),
        ..ServeSettings::default()
    };
    let mut settings = settings;
    settings.names = vec!["first".into(), "second".into()];
    let app = router(std::sync::Arc::new(named_backend(settings)), Options::default());
    let body = json!({"model": "second", "messages": [{"role": "user", "content": "Count to ten."}], "return_prompt_text": true});
    let (_, answer) = post(&app, "/v1/chat/completions", &body).await;
    assert_eq!(answer["usage"]["completion_tokens"], 3, "{answer}");
    assert!(answer["prompt_text"].as_str().unwrap().ends_with("</think>\n\n"));
    assert_eq!(answer["model"], "first", "the first of its names stands in answers");
}

#[tokio::test]
async fn streams_add_up_to_the_whole_answer() {
    let app = server();
    let tools = json!([{"type": "function", "function": {"name": "get_weather", "description": "Get weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]);
    for (text, more) in [
        ("Say hello.", json!({"logprobs": true, "top_logprobs": 2, "return_token_ids": true})),
        ("Emoji please.", json!({})),
        ("Think: what is 2+2?", json!({})),
        ("Weather in Paris and Rome?", json!({"tools": tools})),
        ("Think, then weather in Rome.", json!({"tools": tools})),
        ("Count to ten.", json!({"stop": ["5 6"]})),
        ("Count to ten.", json!({"max_tokens": 4})),
    ] {
        let body = chat(text, more);
        let (_, whole) = post(&app, "/v1/chat/completions", &body).await;
        let folded = streamed(&app, &body).await;
        let whole: ChatCompletion = serde_json::from_value(whole).unwrap();
        let (mut a, b) = (folded.choices[0].clone(), whole.choices[0].clone());
        a.message.reasoning_content.clone_from(&a.message.reasoning);
        for (one, other) in a.message.tool_calls.iter_mut().zip(&b.message.tool_calls) {
            one.id.clone_from(&other.id);
        }
        assert_eq!(a, b, "{text}");
        let (a, b) = (folded.usage.unwrap(), whole.usage.unwrap());
        assert_eq!((a.prompt_tokens, a.completion_tokens), (b.prompt_tokens, b.completion_tokens), "{text}");
    }
}
