//! Guarded calls together with what else a request may ask, in the running engine.

use axum::Router;
use chela_openai::chat::{ChatCompletion, Choice, FinishReason, StopReason};
use serde_json::{Value, json};

use crate::{post, server, streamed};

/// A request with the tool that the tiny model knows.
fn request(text: &str, more: Value) -> Value {
    let city = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let mut body = json!({"messages": [{"role": "user", "content": text}], "temperature": 0,
        "tools": [tool("get_weather", city)]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn tool(name: &str, parameters: Value) -> Value {
    json!({"type": "function", "function": {"name": name, "description": "Get weather", "parameters": parameters}})
}

/// One with a tool more, of which the model knows nothing, so that it writes what it is let.
fn foreign(more: Value) -> Value {
    let sum = json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": [1, 2]}},
        "required": ["a", "b"], "additionalProperties": false});
    let mut body = request("Weather in Paris and Rome?", more);
    body["tools"].as_array_mut().unwrap().push(tool("add", sum));
    body["max_tokens"] = 100.into();
    body
}

/// The answer, which is the same as a stream and whole; each of its calls is valid.
async fn answer(app: &Router, body: &Value) -> ChatCompletion {
    let (status, whole) = post(app, "/v1/chat/completions", body).await;
    assert_eq!(status, 200, "{body}: {whole}");
    let whole: ChatCompletion = serde_json::from_value(whole).unwrap();
    let folded = streamed(app, body).await;
    assert_eq!(whole.choices.len(), folded.choices.len());
    for (a, b) in whole.choices.iter().zip(&folded.choices) {
        assert_eq!(calls(a), calls(b), "{body}");
        assert_eq!((&a.finish_reason, &a.stop_reason), (&b.finish_reason, &b.stop_reason), "{body}");
        assert_eq!(a.message.reasoning, b.message.reasoning, "{body}");
        let text = |choice: &Choice| choice.message.content.clone().unwrap_or_default();
        assert_eq!(text(a), text(b), "{body}");
        if a.finish_reason != Some(FinishReason::Length) {
            valid(a);
        }
    }
    whole
}

fn calls(choice: &Choice) -> Vec<(&str, &str)> {
    let calls = choice.message.tool_calls.iter();
    calls.map(|call| (call.function.name.as_str(), call.function.arguments.as_str())).collect()
}

#[track_caller]
fn valid(choice: &Choice) {
    for (name, arguments) in calls(choice) {
        let given: Value = serde_json::from_str(arguments).unwrap_or_else(|e| panic!("{e}: {choice:?}"));
        let keys: Vec<_> = given.as_object().unwrap().keys().map(String::as_str).collect();
        match name {
            "get_weather" => assert!(given["city"].is_string(), "{choice:?}"),
            "add" => {
                let fits = given["a"].is_number() && [json!(1), json!(2)].contains(&given["b"]);
                assert!(fits && keys.len() == 2, "{choice:?}");
            }
            other => panic!("no tool {other}: {choice:?}"),
        }
    }
}

/// Found by reading the code: `stop: ["Paris"]` would have ended a stream with the arguments `{"city": "`.
#[tokio::test]
async fn a_stop_string_does_not_break_a_call_off() {
    let app = server();
    for stop in [json!("Paris"), json!(["\n"]), json!(["\"", "}"]), json!("city"), json!(["}\n</tool_call>"])]
    {
        let more = json!({"stop": stop});
        let given = answer(&app, &request("Weather in Paris and Rome?", more)).await;
        let choice = &given.choices[0];
        assert_eq!(calls(choice)[0], ("get_weather", "{\"city\": \"Paris\"}"), "{stop}: {choice:?}");
        assert_eq!(choice.finish_reason, Some(FinishReason::ToolCalls), "{stop}");
    }
}

#[tokio::test]
async fn a_stop_string_ends_what_stands_around_calls() {
    let app = server();
    // before the first call
    let given = answer(&app, &request("Weather in Paris and Rome?", json!({"stop": ["<tool_call>"]}))).await;
    assert!(given.choices[0].message.tool_calls.is_empty(), "{given:?}");
    assert_eq!(given.choices[0].finish_reason, Some(FinishReason::Stop));
    let given = answer(&app, &request("Think, then weather in Rome.", json!({"stop": ["should"]}))).await;
    let choice = &given.choices[0];
    assert!(choice.message.tool_calls.is_empty() && choice.message.reasoning.is_some(), "{choice:?}");
    assert_eq!(choice.stop_reason, Some(StopReason::Text("should".into())), "{choice:?}");
}

#[tokio::test]
async fn only_one_call_comes_where_one_is_allowed() {
    let app = server();
    let both = answer(&app, &request("Weather in Paris and Rome?", json!({}))).await;
    let want = [("get_weather", "{\"city\": \"Paris\"}"), ("get_weather", "{\"city\": \"Rome\"}")];
    assert_eq!(calls(&both.choices[0]), want);
    for choice in ["auto", "required"] {
        let more = json!({"parallel_tool_calls": false, "tool_choice": choice});
        let one = answer(&app, &request("Weather in Paris and Rome?", more)).await;
        assert_eq!(calls(&one.choices[0]), want[..1], "{choice}");
        assert_eq!(one.choices[0].finish_reason, Some(FinishReason::ToolCalls));
    }
}

#[tokio::test]
async fn each_of_several_choices_is_guarded() {
    let app = server();
    let named = json!({"type": "function", "function": {"name": "add"}});
    for (seed, choice) in [(1, json!("required")), (2, json!("auto")), (3, named)] {
        let more = json!({"n": 3, "temperature": 1.8, "seed": seed, "tool_choice": choice});
        let given = answer(&app, &foreign(more)).await;
        assert_eq!(given.choices.len(), 3);
        for one in given.choices.iter().filter(|_| choice != "auto") {
            let cut = one.finish_reason == Some(FinishReason::Length);
            assert!(cut || !one.message.tool_calls.is_empty(), "{one:?}");
        }
    }
}

#[tokio::test]
async fn a_thinking_budget_leads_to_the_call() {
    let app = server();
    let free = answer(&app, &request("Think, then weather in Rome.", json!({}))).await;
    assert!(free.choices[0].message.reasoning.is_some());
    assert_eq!(calls(&free.choices[0]), [("get_weather", "{\"city\": \"Rome\"}")]);
    for budget in [0, 1, 4] {
        for choice in ["auto", "required"] {
            let more = json!({"thinking_token_budget": budget, "tool_choice": choice});
            let given = answer(&app, &request("Think, then weather in Rome.", more)).await;
            let used =
                given.usage.as_ref().and_then(|usage| usage.completion_tokens_details.clone().flatten());
            let used = used.and_then(|details| details.reasoning_tokens).unwrap_or(0);
            assert!(used <= budget, "{used} of {budget}: {given:?}");
            if choice == "required" {
                assert!(!given.choices[0].message.tool_calls.is_empty(), "{given:?}");
            }
        }
    }
}

#[tokio::test]
async fn arguments_are_broken_off_by_the_length_alone() {
    let app = server();
    let whole = answer(&app, &request("Weather in Paris and Rome?", json!({}))).await;
    let tokens = whole.usage.unwrap().completion_tokens;
    for most in (1..tokens).step_by(5) {
        let given = answer(&app, &request("Weather in Paris and Rome?", json!({"max_tokens": most}))).await;
        assert_eq!(given.choices[0].finish_reason, Some(FinishReason::Length), "{most}");
    }
}

#[tokio::test]
async fn sampling_parameters_work_under_a_grammar() {
    let app = server();
    for more in [
        json!({"min_tokens": 40}),
        json!({"ignore_eos": true}),
        json!({"stop_token_ids": [50, 13]}),
        json!({"logprobs": true, "top_logprobs": 2}),
        json!({"bad_words": ["Paris", "}"]}),
        json!({"logit_bias": {"50": 100, "13": -100}}),
        json!({"presence_penalty": 2, "frequency_penalty": 2, "repetition_penalty": 2}),
        json!({"temperature": 2, "top_k": 1, "seed": 1}),
        json!({"temperature": 2, "top_p": 0.01, "seed": 1}),
        json!({"temperature": 2, "min_p": 1, "seed": 1}),
        json!({"temperature": 2, "seed": 1, "response_format": {"type": "json_object"}}),
    ] {
        let mut more = more;
        more["tool_choice"] = "required".into();
        let given = answer(&app, &foreign(more.clone())).await;
        let one = &given.choices[0];
        let cut = one.finish_reason == Some(FinishReason::Length);
        assert!(cut || !one.message.tool_calls.is_empty(), "{more}: {one:?}");
    }
}
