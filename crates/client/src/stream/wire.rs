//! From a turn to the bytes of its request.

use bytes::Bytes;
use chela_chat::{Dialect, ToolSet, render};
use chela_openai::chat::{ChatRequest, Content, Message, StreamOptions, Tool, ToolChoice};
use serde_json::{Map, Value};

use super::facts::{Facts, Field, ToolRoute};
use super::turn::{Thinking, TokenCount, Turn};
use crate::catalog::{Model, Source, Sourced, ThinkingControl};

/// Least room for an answer that is asked for when the prompt's size is only estimated: the
/// server knows better, and says so.
const LEAST_ROOM: u32 = 256;

/// Names that OpenClaw files use for request fields.
const ALIASES: [(&str, &str); 6] = [
    ("maxTokens", "max_tokens"),
    ("topP", "top_p"),
    ("topK", "top_k"),
    ("minP", "min_p"),
    ("frequencyPenalty", "frequency_penalty"),
    ("presencePenalty", "presence_penalty"),
];

/// Fields that the client sets itself; `params` cannot.
pub const RESERVED: [&str; 6] = ["model", "messages", "tools", "tool_choice", "stream", "stream_options"];

/// The bytes of the request for `turn` to `model`.
///
/// # Errors
/// What serde_json reports of a message that cannot be written.
pub fn body(turn: &Turn, model: &Model, facts: &Facts, max_tokens: u32) -> Result<Bytes, serde_json::Error> {
    Ok(Bytes::from(serde_json::to_vec(&request(turn, model, facts, max_tokens))?))
}

/// The request for `turn` to `model`, as far as is known what its server takes.
pub fn request(turn: &Turn, model: &Model, facts: &Facts, max_tokens: u32) -> ChatRequest {
    let mut extra = Map::new();
    let mut kwargs = Map::new();
    for params in [&model.params, &turn.params] {
        merge(&mut extra, &mut kwargs, params);
    }
    // The limit goes out once, clamped.
    extra.remove("max_tokens");
    extra.remove("max_completion_tokens");
    let mut request = ChatRequest {
        model: model.reference.model.clone(),
        messages: messages(turn, model, facts),
        stream: Some(true),
        extra,
        ..ChatRequest::default()
    };
    if !facts.without.contains(&Field::StreamOptions) {
        request.stream_options =
            Some(StreamOptions { include_usage: Some(true), continuous_usage_stats: None });
    }
    if facts.without.contains(&Field::MaxTokens) {
        request.max_completion_tokens = Some(max_tokens.into());
    } else {
        request.max_tokens = Some(max_tokens.into());
    }
    if !turn.tools.is_empty() && facts.tools != ToolRoute::Rendered {
        request.tools = Some(tools(&turn.tools, facts));
        let none = facts.tools == ToolRoute::Text || !turn.may_call;
        request.tool_choice = none.then_some(ToolChoice::None);
    }
    think(&mut request, &mut kwargs, turn.thinking, model);
    if !kwargs.is_empty() && !facts.without.contains(&Field::ChatTemplateKwargs) {
        request.chat_template_kwargs = Some(kwargs);
    }
    if facts.without.contains(&Field::ReasoningEffort) {
        request.reasoning_effort = None;
    }
    request
}

/// Take over request fields, `extra_body` opened up and `chat_template_kwargs` apart.
fn merge(extra: &mut Map<String, Value>, kwargs: &mut Map<String, Value>, params: &Map<String, Value>) {
    for (key, value) in params {
        let key = ALIASES.iter().find(|(alias, _)| alias == key).map_or(key.as_str(), |(_, name)| name);
        match (key, value) {
            ("extra_body" | "extraBody", Value::Object(inner)) => merge(extra, kwargs, inner),
            ("chat_template_kwargs" | "chatTemplateKwargs", Value::Object(inner)) => {
                kwargs.extend(inner.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
            (key, _) if RESERVED.contains(&key) => {}
            (key, value) => {
                extra.insert(key.to_owned(), value.clone());
            }
        }
    }
}

/// The limit that `params` set, if they do.
pub fn wished(model: &Model, turn: &Turn) -> Option<u32> {
    let of = |params: &Map<String, Value>| {
        ["max_tokens", "maxTokens", "max_completion_tokens"]
            .iter()
            .find_map(|key| params.get(*key).and_then(Value::as_u64))
            .and_then(|value| u32::try_from(value).ok())
    };
    turn.max_tokens.or_else(|| of(&turn.params)).or_else(|| of(&model.params))
}

/// Most tokens to ask for: the wish, the model's limit, and what the prompt leaves of the window.
/// `None` if the prompt is counted and leaves nothing.
pub fn clamp(wish: Option<u32>, limit: &Sourced<u32>, window: u32, prompt: TokenCount) -> Option<u32> {
    let wanted = match (wish, limit.from) {
        (Some(wish), Source::Assumed) => wish,
        (Some(wish), _) => wish.min(limit.value),
        (None, _) => limit.value,
    };
    let wanted = wanted.max(1);
    // An estimate may be off by a tenth; a count is what the server will count.
    let reserved =
        if prompt.exact { prompt.tokens } else { prompt.tokens.saturating_add(prompt.tokens / 10 + 16) };
    let room = window.saturating_sub(reserved);
    if prompt.exact && room == 0 {
        return None;
    }
    let room = if prompt.exact { room } else { room.max(LEAST_ROOM.min(window / 4)).max(1) };
    Some(wanted.min(room))
}

/// Tokens of a conversation, estimated from its bytes: about four per token, and a few per
/// message for the template.
pub fn estimate(messages: &[Message], tools: &[Tool]) -> TokenCount {
    let of = |value: serde_json::Result<String>| value.map_or(0, |text| text.len());
    let text: usize = messages.iter().map(|message| of(serde_json::to_string(message)) / 4 + 4).sum();
    let tools: usize = tools.iter().map(|tool| of(serde_json::to_string(tool)) / 4).sum();
    TokenCount { tokens: u32::try_from(text + tools).unwrap_or(u32::MAX), exact: false }
}

fn think(request: &mut ChatRequest, kwargs: &mut Map<String, Value>, thinking: Thinking, model: &Model) {
    if thinking == Thinking::Default {
        return;
    }
    let on = Value::Bool(thinking != Thinking::Off);
    match &model.thinking {
        ThinkingControl::Template(name) => {
            kwargs.insert(name.clone(), on);
        }
        ThinkingControl::EnableThinkingField => {
            request.extra.insert("enable_thinking".to_owned(), on);
        }
        ThinkingControl::ReasoningEffort => {
            request.reasoning_effort = Some(effort(thinking, &model.compat.efforts).to_owned());
        }
        ThinkingControl::None => {}
    }
}

/// The effort for a level: the nearest that the model takes, where that is known.
fn effort(thinking: Thinking, takes: &[String]) -> &'static str {
    let order: &[&'static str] = match thinking {
        Thinking::Off => &["none", "minimal", "low"],
        Thinking::Low => &["low", "minimal", "medium"],
        Thinking::Default | Thinking::Medium => &["medium", "low", "high"],
        Thinking::High => &["high", "xhigh", "medium"],
    };
    order.iter().copied().find(|name| takes.iter().any(|one| one == name)).unwrap_or(order[0])
}

fn messages(turn: &Turn, model: &Model, facts: &Facts) -> Vec<Message> {
    let mut messages = if facts.tools == ToolRoute::Rendered && !turn.tools.is_empty() {
        let dialect = model.family.map_or(Dialect::Hermes, |family| family.dialect);
        render::without_tools(&turn.messages, dialect, &ToolSet::from(turn.tools.as_slice()))
    } else {
        turn.messages.clone()
    };
    for message in &mut messages {
        // vLLM reads `reasoning`; llama.cpp, SGLang and hosted APIs read the older name.
        let reasoning = message.reasoning.take().or(message.reasoning_content.take());
        match model.provider.row.id.as_str() {
            _ if !model.resend_reasoning => {}
            "vllm" => message.reasoning = reasoning,
            _ => message.reasoning_content = reasoning,
        }
    }
    if model.compat.string_content {
        for message in &mut messages {
            if matches!(message.content, Some(Content::Parts(_))) {
                message.content = Some(Content::Text(message.text().into_owned()));
            }
        }
    }
    messages
}

/// The tools as they go out: held to their schema, unless the server refuses that, or has no
/// parser that could hold the model to it; then the words would only cost prompt.
fn tools(tools: &[Tool], facts: &Facts) -> Vec<Tool> {
    let strict = facts.tools == ToolRoute::Native && !facts.without.contains(&Field::Strict);
    let mut tools = tools.to_vec();
    if strict {
        for tool in &mut tools {
            tool.function.strict = Some(true);
            close_objects(&mut tool.function.parameters);
        }
    }
    tools
}

/// `additionalProperties: false` on every object schema that names its properties and does not
/// say otherwise. What is optional stays optional.
fn close_objects(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("properties").is_some_and(Value::is_object)
                && !map.contains_key("additionalProperties")
            {
                map.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            for (key, value) in map.iter_mut() {
                match (key.as_str(), value) {
                    ("properties" | "$defs" | "definitions", Value::Object(named)) => {
                        named.values_mut().for_each(close_objects);
                    }
                    ("items" | "anyOf" | "oneOf" | "allOf", value) => close_objects(value),
                    _ => {}
                }
            }
        }
        Value::Array(schemas) => schemas.iter_mut().for_each(close_objects),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_limit_is_clamped_to_what_fits() {
        let exact = |tokens| TokenCount { tokens, exact: true };
        let about = |tokens| TokenCount { tokens, exact: false };
        let assumed = Sourced::new(8192, Source::Assumed);
        let set = Sourced::new(512, Source::Config);
        assert_eq!(clamp(None, &assumed, 32768, exact(100)), Some(8192));
        assert_eq!(clamp(None, &assumed, 8192, exact(8000)), Some(192));
        assert_eq!(clamp(Some(10), &assumed, 8192, exact(8000)), Some(10));
        assert_eq!(clamp(Some(9000), &assumed, 32768, exact(100)), Some(9000), "nothing limits the wish");
        assert_eq!(clamp(Some(9000), &set, 32768, exact(100)), Some(512), "the configured limit does");
        assert_eq!(clamp(None, &assumed, 8192, exact(8192)), None);
        assert_eq!(clamp(None, &assumed, 8192, about(8192)), Some(256), "an estimate does not refuse");
        assert_eq!(clamp(None, &assumed, 8192, about(4000)), Some(8192 - 4000 - 400 - 16));
        assert_eq!(clamp(Some(0), &assumed, 8192, exact(1)), Some(1));
    }

    #[test]
    fn schemas_are_closed_and_optional_stays_optional() {
        let mut schema = json!({
            "type": "object",
            "properties": {
                "path": {"type": "string"},
                "properties": {"type": "object", "properties": {"a": {"type": "string"}}},
                "free": {"type": "object", "additionalProperties": true, "properties": {}},
                "list": {"type": "array", "items": {"type": "object", "properties": {}}}
            },
            "required": ["path"]
        });
        close_objects(&mut schema);
        assert_eq!(schema["additionalProperties"], json!(false));
        assert_eq!(schema["required"], json!(["path"]));
        assert_eq!(schema["properties"]["path"], json!({"type": "string"}));
        assert_eq!(schema["properties"]["properties"]["additionalProperties"], json!(false));
        assert_eq!(schema["properties"]["free"]["additionalProperties"], json!(true));
        assert_eq!(schema["properties"]["list"]["items"]["additionalProperties"], json!(false));
    }

    #[test]
    fn extra_body_is_opened_up_and_reserved_fields_are_not_taken() {
        let (mut extra, mut kwargs) = (Map::new(), Map::new());
        let params = json!({
            "temperature": 0.2, "topP": 0.9, "stream": false,
            "extra_body": {"top_k": 20, "chat_template_kwargs": {"a": 1}},
            "chat_template_kwargs": {"enable_thinking": false}
        });
        merge(&mut extra, &mut kwargs, params.as_object().unwrap());
        assert_eq!(Value::Object(extra), json!({"temperature": 0.2, "top_p": 0.9, "top_k": 20}));
        assert_eq!(Value::Object(kwargs), json!({"a": 1, "enable_thinking": false}));
    }
}
