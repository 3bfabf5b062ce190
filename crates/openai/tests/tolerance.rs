//! What servers other than vLLM send, and what requests look like.
#![allow(clippy::unwrap_used)] // helpers outside of test functions

use chela_openai::chat::{
    ChatChunk, ChatCompletion, ChatRequest, Content, ContentPart, FinishReason, Fold, FunctionDef, Message,
    StreamEvent, StreamOptions, ToolCall, ToolChoice,
};
use chela_openai::error::{ErrorBody, ErrorCode, ErrorShape};
use chela_openai::models::{ModelCard, ModelList};
use serde_json::{Value, json};

fn fold(chunks: &[Value]) -> ChatCompletion {
    let mut fold = Fold::new();
    for chunk in chunks {
        let chunk: ChatChunk = serde_json::from_value(chunk.clone()).unwrap();
        fold.push(chunk);
    }
    fold.finish()
}

fn calls(chunks: &[Value]) -> Vec<ToolCall> {
    let chunks: Vec<Value> = chunks
        .iter()
        .map(|calls| json!({"choices": [{"index": 0, "delta": {"tool_calls": calls}}]}))
        .collect();
    fold(&chunks).choices.remove(0).message.tool_calls
}

#[test]
fn a_request_leaves_out_what_is_not_set_and_keeps_its_order() {
    let request = ChatRequest {
        model: "tiny".into(),
        messages: vec![
            Message::system("s"),
            Message::user("u"),
            Message::assistant_calls(None, vec![ToolCall::new("c1", "ls", "{}")]),
            Message::tool("c1", "empty"),
        ],
        tools: Some(vec![
            FunctionDef {
                name: "ls".into(),
                description: Some("List".into()),
                parameters: json!({"type": "object", "properties": {}}),
                strict: Some(true),
            }
            .into(),
        ]),
        tool_choice: Some(ToolChoice::Function("ls".into())),
        temperature: Some(0.5),
        stream: Some(true),
        stream_options: Some(StreamOptions { include_usage: Some(true), continuous_usage_stats: None }),
        ..ChatRequest::default()
    };
    assert_eq!(
        serde_json::to_string(&request).unwrap(),
        concat!(
            r#"{"model":"tiny","messages":[{"role":"system","content":"s"},"#,
            r#"{"role":"user","content":"u"},"#,
            r#"{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","#,
            r#""function":{"name":"ls","arguments":"{}"}}]},"#,
            r#"{"role":"tool","content":"empty","tool_call_id":"c1"}],"#,
            r#""tools":[{"type":"function","function":{"name":"ls","description":"List","#,
            r#""parameters":{"type":"object","properties":{}},"strict":true}}],"#,
            r#""tool_choice":{"type":"function","function":{"name":"ls"}},"#,
            r#""temperature":0.5,"stream":true,"stream_options":{"include_usage":true}}"#,
        )
    );
}

#[test]
fn parameters_go_into_their_fields_or_through() {
    let mut request = ChatRequest { temperature: Some(1.0), seed: Some(7), ..ChatRequest::default() };
    let params = json!({
        "temperature": 0.2, "seed": null, "foo": {"b": 1, "a": 2},
        "chat_template_kwargs": {"enable_thinking": false},
    });
    request.apply(params.as_object().unwrap()).unwrap();
    assert_eq!(request.temperature, Some(0.2));
    assert_eq!(request.seed, None);
    assert_eq!(
        serde_json::to_string(&request).unwrap(),
        concat!(
            r#"{"messages":[],"chat_template_kwargs":{"enable_thinking":false},"#,
            r#""temperature":0.2,"foo":{"b":1,"a":2}}"#
        )
    );
    let before = request.clone();
    let wrong = json!({"temperature": "hot"});
    assert!(request.apply(wrong.as_object().unwrap()).is_err());
    assert_eq!(request, before);
}

#[test]
fn numbers_are_read_as_vllm_coerces_them() {
    let read = |body: Value| serde_json::from_value::<ChatRequest>(body);
    let request = read(json!({
        "messages": [], "temperature": "0", "max_tokens": "2", "top_k": 3.0, "stream": "true",
        "stop": "x", "n": null,
    }))
    .unwrap();
    assert_eq!(request.temperature, Some(0.0));
    assert_eq!(request.max_tokens, Some(2));
    assert_eq!(request.top_k, Some(3));
    assert_eq!(request.stream, Some(true));
    assert_eq!(request.stop, Some(vec!["x".into()]));
    assert_eq!(request.n, None);
    for (field, value, says) in [
        ("max_tokens", json!("abc"), "unable to parse string as an integer"),
        ("max_tokens", json!(1.5), "got a number with a fractional part"),
        ("temperature", json!("hot"), "unable to parse string as a number"),
        ("seed", json!("99999999999999999999"), "out of range"),
        ("stop", json!([1]), "valid string"),
    ] {
        let error = read(json!({"messages": [], field: value})).unwrap_err();
        assert!(error.to_string().contains(says), "{field}: {error}");
    }
}

#[test]
fn content_parts_of_any_kind_are_kept() {
    let body = json!([
        {"type": "text", "text": "a"}, "b",
        {"type": "image_url", "image_url": {"url": "data:,"}},
        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
    ]);
    let content: Content = serde_json::from_value(body).unwrap();
    assert_eq!(content.text(), "a\nb");
    let Content::Parts(parts) = &content else {
        panic!("parts expected");
    };
    assert!(matches!(parts[3], ContentPart::Other(_)));
    let text = serde_json::to_string(&content).unwrap();
    assert_eq!(serde_json::from_str::<Content>(&text).unwrap(), content);
}

#[test]
fn llama_cpp_answers() {
    let answer: ChatCompletion = serde_json::from_value(json!({
        "choices": [{
            "finish_reason": "tool_calls", "index": 0,
            "message": {
                "role": "assistant", "reasoning_content": "hm", "content": null,
                "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}],
            },
        }],
        "created": 1795400000.5f64.floor(), "model": "m", "object": "chat.completion",
        "usage": {"completion_tokens": "3", "prompt_tokens": 4, "total_tokens": 7,
                  "prompt_tokens_details": {"cached_tokens": 2}},
        "id": "chatcmpl-x",
        "timings": {"cache_n": 2, "prompt_n": 2, "prompt_ms": 1.5, "prompt_per_token_ms": 0.7,
                    "prompt_per_second": 1.0, "predicted_n": 3, "predicted_ms": 2.0},
    }))
    .unwrap();
    let message = &answer.choices[0].message;
    assert_eq!(message.reasoning_text(), Some("hm"));
    assert_eq!(message.tool_calls[0].id, "");
    assert_eq!(message.tool_calls[0].function.arguments, r#"{"a":1}"#);
    let usage = answer.usage.unwrap();
    assert_eq!((usage.completion_tokens, usage.cached_tokens()), (3, Some(2)));
    assert_eq!(answer.timings.unwrap().predicted_n, 3);
}

#[test]
fn both_names_of_reasoning_are_one_text() {
    let answer = fold(&[
        json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": null,
              "reasoning": "a", "reasoning_content": "a"}}]}),
        json!({"choices": [{"index": 0, "delta": {"reasoning_content": "b", "reasoning": null}}]}),
        json!({"choices": [{"index": 0, "delta": {"content": "c"}, "finish_reason": "eos"}]}),
        json!({"choices": null, "usage": {"prompt_tokens": 1, "completion_tokens": 2}}),
    ]);
    let choice = &answer.choices[0];
    assert_eq!(choice.message.reasoning.as_deref(), Some("ab"));
    assert_eq!(choice.message.content.as_deref(), Some("c"));
    assert_eq!(choice.finish_reason, Some(FinishReason::Other("eos".into())));
    assert_eq!(answer.usage.unwrap().completion_tokens, 2);
}

#[test]
fn a_chunk_is_not_lost_over_extras_of_another_shape() {
    let answer = fold(&[json!({
        "created": "today", "timings": [1], "metrics": "none", "prompt_progress": 0.5,
        "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "", "logprobs": []}],
    })]);
    assert_eq!(answer.choices[0].message.content.as_deref(), Some("x"));
    assert_eq!(answer.choices[0].finish_reason, None);
}

#[test]
fn tool_calls_are_put_together_however_they_are_cut() {
    let expected = vec![ToolCall::new("a", "ls", "{}"), ToolCall::new("b", "read", r#"{"path":"x"}"#)];
    let by_index = [
        json!([{"index": 0, "id": "a", "type": "function", "function": {"name": "ls"}}]),
        json!([{"index": 0, "function": {"arguments": "{}"}},
               {"index": 1, "id": "b", "function": {"name": "read", "arguments": "{\"path\""}}]),
        json!([{"index": 1, "function": {"arguments": ":\"x\"}"}}]),
    ];
    let whole_without_index = [json!([
        {"id": "a", "function": {"name": "ls", "arguments": "{}"}},
        {"id": "b", "function": {"name": "read", "arguments": {"path": "x"}}}])];
    let index_always_zero = [
        json!([{"index": 0, "id": "a", "function": {"name": "ls", "arguments": "{}"}}]),
        json!([{"index": 0, "id": "b", "function": {"name": "read", "arguments": "{\"path\":"}}]),
        json!([{"index": 0, "function": {"arguments": "\"x\"}"}}]),
    ];
    let name_and_id_repeated = [
        json!([{"index": 0, "id": "a", "function": {"name": "ls", "arguments": "{"}}]),
        json!([{"index": 0, "id": "a", "function": {"name": "ls", "arguments": "}"}}]),
        json!([{"index": 1, "id": "b", "function": {"name": "read", "arguments": ""}}]),
        json!([{"index": 1, "id": "", "function": {"name": "", "arguments": "{\"path\":\"x\"}"}}]),
    ];
    let no_index_in_pieces = [
        json!([{"id": "a", "function": {"name": "ls"}}]),
        json!([{"function": {"arguments": "{}"}}]),
        json!([{"id": "b", "function": {"name": "read"}}]),
        json!([{"id": "b", "function": {"arguments": "{\"path\":"}}]),
        json!([{"function": {"arguments": "\"x\"}"}}]),
    ];
    assert_eq!(calls(&by_index), expected);
    assert_eq!(calls(&whole_without_index), expected);
    assert_eq!(calls(&index_always_zero), expected);
    assert_eq!(calls(&name_and_id_repeated), expected);
    assert_eq!(calls(&no_index_in_pieces), expected);
}

#[test]
fn events_of_a_stream_are_told_apart() {
    assert_eq!(StreamEvent::parse(" [DONE]").unwrap(), StreamEvent::Done);
    let error = r#"{"error":{"message":"engine died","type":"InternalServerError","param":null,"code":500}}"#;
    let StreamEvent::Error(body) = StreamEvent::parse(error).unwrap() else {
        panic!("error expected");
    };
    assert_eq!(body.error.message, "engine died");
    for chunk in [
        r#"{"choices":[{"index":0,"delta":{"content":"\"error\""}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"x"}}],"error":null}"#,
        r#"{"choices":[],"usage":null}"#,
    ] {
        let event = StreamEvent::parse(chunk).unwrap();
        assert!(matches!(event, StreamEvent::Chunk(_)), "{chunk}");
    }
    assert!(StreamEvent::parse("<html>").is_err());
    assert!(StreamEvent::parse("{\"choices\":[{").is_err());
}

#[test]
fn every_shape_of_error_is_read() {
    let table = [
        (json!({"error": {"message": "m", "type": "t", "param": "p", "code": 400}}), "m", ErrorShape::Object),
        (
            json!({"error": {"message": "m", "type": "invalid_request_error", "param": null, "code": "context_length_exceeded"}}),
            "m",
            ErrorShape::Object,
        ),
        (json!({"error": "Unauthorized"}), "Unauthorized", ErrorShape::Text),
        (json!({"error": "model 'x' not found"}), "model 'x' not found", ErrorShape::Text),
        (json!({"detail": "Not Found"}), "Not Found", ErrorShape::Detail),
        (
            json!({"detail": [{"loc": ["body", "messages", 0], "msg": "Field required", "type": "missing"}]}),
            "body.messages.0: Field required",
            ErrorShape::Detail,
        ),
        (
            json!({"type": "error", "error": {"type": "NotFoundError", "message": "m"}}),
            "m",
            ErrorShape::Anthropic,
        ),
        (
            json!({"object": "error", "message": "m", "type": "BadRequestError", "param": null, "code": 400}),
            "m",
            ErrorShape::Flat,
        ),
        (json!([{"error": {"message": "m", "code": 400}}]), "m", ErrorShape::Object),
        (json!({"error": {"weird": 1}}), r#"{"weird":1}"#, ErrorShape::Object),
    ];
    for (body, message, shape) in table {
        let read = ErrorBody::from_value(&body).unwrap_or_else(|| panic!("{body}"));
        assert_eq!((read.error.message.as_str(), read.shape), (message, shape), "{body}");
    }
    let llama = json!({"error": {"code": 400, "message": "the request exceeds the available context size",
        "type": "exceed_context_size_error", "n_prompt_tokens": 5000, "n_ctx": 4096}});
    let llama = ErrorBody::from_value(&llama).unwrap().error;
    assert_eq!((llama.n_prompt_tokens, llama.n_ctx), (Some(5000), Some(4096)));
    assert_eq!(llama.code, Some(ErrorCode::Number(400)));
    for body in [&b"<html>"[..], b"", b"[]", b"{}", br#"{"object":"list","data":[]}"#, br#"{"error":null}"#] {
        assert_eq!(ErrorBody::parse(body), None);
    }
}

#[test]
fn model_lists_of_other_servers() {
    let read = |body: Value| serde_json::from_value::<ModelList>(body);
    assert_eq!(read(json!({"object": "list", "data": null})).unwrap().data, []);
    assert!(read(json!({"models": []})).is_err());
    let list = read(json!({"data": [
        {"id": "ggml/q.gguf", "object": "model", "created": 1.0, "owned_by": "llamacpp",
         "meta": {"vocab_type": 2, "n_vocab": 1, "n_ctx_train": 32768, "n_embd": 1, "size": 5}},
        {"id": "lm", "object": "model", "type": "llm", "state": "loaded", "max_context_length": 131072,
         "loaded_context_length": 4096, "capabilities": ["tool_use"]},
        {"id": "lite", "owned_by": null, "max_input_tokens": "8192"},
        {"id": "odd", "created": "2026-01-01T00:00:00Z", "context_length": "32k", "meta": [],
         "permission": ["read"], "type": 7, "root": {}},
    ]}))
    .unwrap();
    assert_eq!(list.data[0].meta.as_ref().unwrap().n_ctx_train, Some(32768));
    assert_eq!(list.data[1].loaded_context_length, Some(4096));
    assert_eq!(list.data[2].max_input_tokens, Some(8192));
    assert_eq!(list.data[3], ModelCard::new("odd"));
}
