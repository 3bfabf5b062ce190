//! The rules of vLLM 0.32 for a chat request, in its words.

use chela_openai::chat::{ChatRequest, ResponseFormat, StructuredOutputs, ToolChoice};
use chela_openai::completions::{CompletionRequest, Prompt};
use serde_json::{Map, Value};

use super::body::not_one_of;
use super::python;
use super::sampled::Sampled;
use crate::error::ApiError;

type Checked = Result<(), ApiError>;

/// What the rules depend on beside the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// The model's window in tokens.
    pub(crate) window: Option<u64>,
    /// Most alternatives per token; -1 is no limit.
    pub(crate) logprobs: i64,
}

/// Most prompts of one request.
const MAX_PROMPTS: usize = 1024;
/// Most choices of one request.
const MAX_N: i64 = 16_384;
/// Most stop strings.
const MAX_STOPS: usize = 4;
/// Words of `reasoning_effort`.
const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// Checks every field that has a range or depends on another.
///
/// # Errors
/// 400 for the first that fails.
pub(super) fn chat(request: &ChatRequest, bounds: Bounds) -> Checked {
    let shared = Sampled::from(request);
    offered(&request.extra)?;
    words(request)?;
    stream(&shared)?;
    top_logprobs(request, bounds)?;
    tools(request)?;
    formats(request.response_format.as_ref(), request.structured_outputs.as_ref())?;
    conversation(request)?;
    sampling(&shared, bounds)?;
    lengths(&shared, bounds, 1)
}

/// The same for a plain completion.
///
/// # Errors
/// 400 for the first that fails.
pub(super) fn completion(request: &CompletionRequest, bounds: Bounds) -> Checked {
    let shared = Sampled::from(request);
    offered(&request.extra)?;
    stream(&shared)?;
    prompts(request)?;
    if request.suffix.is_some() {
        let message = "suffix is only supported for models with FIM completion rendering";
        return Err(ApiError::bad_request(Some("suffix"), message));
    }
    if let Some(count) = request.logprobs {
        within_logprobs(count, bounds)?;
    }
    formats(request.response_format.as_ref(), request.structured_outputs.as_ref())?;
    sampling(&shared, bounds)?;
    lengths(&shared, bounds, i64::from(request.echo != Some(true)))
}

/// Refuses what vLLM can do, changes the answer, and is not here.
fn offered(extra: &Map<String, Value>) -> Checked {
    let asked = |name: &&&str| {
        extra.get(**name).is_some_and(|value| !value.is_null() && *value != Value::Bool(false))
    };
    let absent = ["use_beam_search", "prompt_embeds", "logprob_token_ids", "repetition_detection"];
    match absent.iter().find(asked) {
        Some(name) => Err(param(name, &format!("`{name}` is not offered here."))),
        None => Ok(()),
    }
}

fn prompts(request: &CompletionRequest) -> Checked {
    let count = match &request.prompt {
        None => 0,
        Some(Prompt::Text(text)) => usize::from(!text.is_empty()),
        Some(Prompt::Tokens(ids)) if ids.is_empty() => {
            return Err(plain("You must pass at least one prompt"));
        }
        Some(Prompt::Tokens(_)) => 1,
        Some(Prompt::Texts(texts)) if texts.is_empty() => {
            return Err(plain("You must pass at least one prompt"));
        }
        Some(Prompt::Texts(texts)) => texts.len(),
        Some(Prompt::TokenLists(lists)) => lists.len(),
    };
    if count == 0 {
        return Err(param("prompt", "Either prompt or prompt_embeds must be provided and non-empty."));
    }
    if count > MAX_PROMPTS {
        return Err(param("prompt", &format!("a request takes at most {MAX_PROMPTS} prompts, not {count}.")));
    }
    Ok(())
}

fn param(name: &str, message: &str) -> ApiError {
    ApiError::bad_request(Some(name), format!("{message} (parameter={name})"))
}

fn valued(name: &str, value: &str, message: &str) -> ApiError {
    let message = format!("{message} (parameter={name}, value={value})");
    ApiError::bad_request(Some(name), message)
}

fn plain(message: impl Into<String>) -> ApiError {
    ApiError::bad_request(None, message)
}

fn words(request: &ChatRequest) -> Checked {
    let effort = request.reasoning_effort.as_deref();
    if let Some(effort) = effort.filter(|effort| !EFFORTS.contains(effort)) {
        return Err(not_one_of("body.reasoning_effort", &EFFORTS, effort));
    }
    let tools = request.tools.as_deref().unwrap_or_default();
    match tools.iter().position(|tool| tool.kind != "function") {
        Some(at) => {
            let loc = format!("body.tools.{at}.type");
            Err(not_one_of(&loc, &["function"], &tools[at].kind))
        }
        None => Ok(()),
    }
}

fn stream(request: &Sampled) -> Checked {
    let streamed = request.stream == Some(true);
    if request.stream_options.is_some() && !streamed {
        return Err(param("stream_options", "Stream options can only be defined when `stream=True`."));
    }
    if request.prompt_logprobs.is_some() && streamed {
        return Err(param("prompt_logprobs", "`prompt_logprobs` are not available when `stream=True`."));
    }
    if request.cache_salt.as_deref() == Some("") {
        return Err(param("cache_salt", "Parameter 'cache_salt' must be a non-empty string if provided."));
    }
    Ok(())
}

fn top_logprobs(request: &ChatRequest, bounds: Bounds) -> Checked {
    let Some(top) = request.top_logprobs else {
        return Ok(());
    };
    if request.logprobs != Some(true) && top != 0 {
        return Err(param("top_logprobs", "when using `top_logprobs`, `logprobs` must be set to true."));
    }
    within_logprobs(top, bounds)
}

fn within_logprobs(count: i64, bounds: Bounds) -> Checked {
    let most = bounds.logprobs;
    if count < -1 {
        let message = format!("logprobs must be non-negative or -1, got {count}.");
        return Err(valued("logprobs", &count.to_string(), &message));
    }
    if most >= 0 && (count > most || count == -1) {
        let message =
            format!("Requested sample logprobs of {count}, which is greater than max allowed: {most}");
        return Err(valued("logprobs", &count.to_string(), &message));
    }
    Ok(())
}

fn tools(request: &ChatRequest) -> Checked {
    let tools = request.tools.as_deref();
    if tools.is_some_and(<[_]>::is_empty) {
        return Err(param(
            "tools",
            "`tools` must not be an empty array. Either provide at least one tool or omit the \
             field entirely.",
        ));
    }
    let choice = match &request.tool_choice {
        None | Some(ToolChoice::None) => return Ok(()),
        Some(choice) => choice,
    };
    let Some(tools) = tools else {
        return Err(param("tool_choice", "When using `tool_choice`, `tools` must be set."));
    };
    match choice {
        ToolChoice::None | ToolChoice::Auto | ToolChoice::Required => Ok(()),
        ToolChoice::Function(name) if tools.iter().any(|tool| tool.function.name == *name) => Ok(()),
        ToolChoice::Function(_) => Err(param(
            "tool_choice",
            "The tool specified in `tool_choice` does not match any of the specified `tools`",
        )),
        ToolChoice::Other(Value::Object(map)) => Err(param(
            "tool_choice.function",
            &format!(
                "Invalid value for `function`: `{}` in `tool_choice`! Correct usage: \
                 `{{\"type\": \"function\", \"function\": {{\"name\": \"my_function\"}}}}`",
                map.get("function").map_or("None".into(), python::brief),
            ),
        )),
        ToolChoice::Other(value) => Err(param(
            "tool_choice",
            &format!(
                "Invalid value for `tool_choice`: {}! Only named tools, \"none\", \"auto\" or \
                 \"required\" are supported.",
                python::brief(value),
            ),
        )),
    }
}

fn formats(format: Option<&ResponseFormat>, structured: Option<&StructuredOutputs>) -> Checked {
    if let Some(format) = format
        && format.kind == "json_schema"
        && format.json_schema.is_none()
    {
        return Err(param(
            "response_format",
            "When response_format type is 'json_schema', the 'json_schema' field must be provided.",
        ));
    }
    let Some(structured) = structured else {
        return Ok(());
    };
    let kinds = [
        structured.json.is_some(),
        structured.regex.is_some(),
        structured.choice.is_some(),
        structured.grammar.is_some(),
        structured.json_object.is_some(),
        structured.structural_tag.is_some(),
    ];
    match kinds.iter().filter(|given| **given).count() {
        0 => Err(plain("You must use one kind of structured outputs constraint but none are specified")),
        1 if structured.choice.as_ref().is_some_and(Vec::is_empty) => {
            Err(plain("Choice '[]' cannot be an empty list"))
        }
        1 => Ok(()),
        _ => Err(plain(
            "You can only use one kind of constraints for structured outputs ('json', 'regex' or \
             'choice').",
        )),
    }
}

fn conversation(request: &ChatRequest) -> Checked {
    if request.messages.is_empty() {
        return Err(plain(
            "Cannot apply chat template to an empty conversation. Provide at least one message.",
        ));
    }
    if request.chat_template.is_some() {
        return Err(plain(
            "Chat template is passed with request, but --trust-request-chat-template is not set. \
             Refused request with untrusted chat template.",
        ));
    }
    if request.continue_final_message == Some(true) && request.add_generation_prompt == Some(true) {
        return Err(plain("Cannot set both `continue_final_message` and `add_generation_prompt` to True."));
    }
    Ok(())
}

fn sampling(request: &Sampled, bounds: Bounds) -> Checked {
    if let Some(t) = request.temperature {
        let range = if t < 0.0 {
            "must be non-negative"
        } else if t > 2.0 {
            "must be in [0, 2]"
        } else {
            ""
        };
        if !range.is_empty() {
            let value = python::float(t);
            let message = format!("temperature {range}, got {value}.");
            return Err(valued("temperature", &value, &message));
        }
    }
    if let Some(p) = request.top_p
        && !(p > 0.0 && p <= 1.0)
    {
        let value = python::float(p);
        let message = format!("top_p must be in (0, 1], got {value}.");
        return Err(valued("top_p", &value, &message));
    }
    if let Some(k) = request.top_k.filter(|k| *k < -1) {
        return Err(plain(format!("top_k must be 0 (disable), or at least 1, got {k}.")));
    }
    let ranged = [
        ("presence_penalty", "[-2, 2]", -2.0, 2.0, request.presence_penalty),
        ("frequency_penalty", "[-2, 2]", -2.0, 2.0, request.frequency_penalty),
        ("min_p", "[0, 1]", 0.0, 1.0, request.min_p),
    ];
    for (name, range, low, high, value) in ranged {
        if let Some(value) = value.filter(|value| !(low..=high).contains(value)) {
            let value = python::float(value);
            return Err(plain(format!("{name} must be in {range}, got {value}.")));
        }
    }
    if let Some(penalty) = request.repetition_penalty.filter(|penalty| *penalty <= 0.0) {
        let value = python::float(penalty);
        return Err(plain(format!("repetition_penalty must be greater than zero, got {value}.")));
    }
    if let Some(bias) = &request.logit_bias {
        let wrong: Vec<String> =
            bias.keys().filter(|key| key.parse::<i64>().is_err()).map(|key| python::quoted(key)).collect();
        if !wrong.is_empty() {
            let list = format!("[{}]", wrong.join(", "));
            let message =
                format!("logit_bias contains key(s) that cannot be converted to integer token IDs: {list}");
            return Err(valued("logit_bias", &list, &message));
        }
    }
    prompt_logprobs(request, bounds)?;
    choices(request)
}

fn prompt_logprobs(request: &Sampled, bounds: Bounds) -> Checked {
    let Some(count) = request.prompt_logprobs else { return Ok(()) };
    let value = count.to_string();
    if count < -1 {
        let message = format!("`prompt_logprobs` must be a positive value or -1, got {count}.");
        return Err(valued("prompt_logprobs", &value, &message));
    }
    if bounds.logprobs >= 0 && (count > bounds.logprobs || count == -1) {
        let most = bounds.logprobs;
        let message =
            format!("Requested prompt logprobs of {count}, which is greater than max allowed: {most}");
        return Err(valued("prompt_logprobs", &value, &message));
    }
    Ok(())
}

fn choices(request: &Sampled) -> Checked {
    let n = request.n.unwrap_or(1);
    if n < 1 {
        return Err(plain(format!("n must be at least 1, got {n}.")));
    }
    if n > MAX_N {
        return Err(plain(format!("n must be at most {MAX_N}, got {n}.")));
    }
    if n > 1 && request.temperature == Some(0.0) {
        return Err(plain(format!("n must be 1 when using greedy sampling, got {n}.")));
    }
    let stops = request.stop.as_deref().unwrap_or_default();
    if stops.iter().any(String::is_empty) {
        return Err(plain("stop cannot contain an empty string."));
    }
    if stops.len() > MAX_STOPS {
        return Err(valued(
            "stop",
            &format!("<list of {} items>", stops.len()),
            &format!("stop takes at most {MAX_STOPS} strings, not {}.", stops.len()),
        ));
    }
    Ok(())
}

fn lengths(request: &Sampled, bounds: Bounds, least: i64) -> Checked {
    let min = request.min_tokens.unwrap_or(0);
    if min < 0 {
        return Err(plain(format!("min_tokens must be greater than or equal to 0, got {min}.")));
    }
    if let Some(left) = request.truncate_prompt_tokens.filter(|left| *left < -1 || *left == 0) {
        let message = format!("truncate_prompt_tokens must be -1 or at least 1, got {left}.");
        return Err(valued("truncate_prompt_tokens", &left.to_string(), &message));
    }
    let Some(asked) = request.max_tokens else {
        return Ok(());
    };
    let value = asked.to_string();
    if asked < least {
        return Err(too_few(asked));
    }
    if min > asked {
        return Err(plain(format!(
            "min_tokens must be less than or equal to max_tokens={asked}, got {min}."
        )));
    }
    match bounds.window {
        Some(window) if asked.unsigned_abs() > window => Err(valued(
            "max_tokens",
            &value,
            &format!(
                "max_tokens={asked} cannot be greater than max_model_len={window}. Please request \
                 fewer output tokens."
            ),
        )),
        _ => Ok(()),
    }
}

/// 400: less than one token is asked for, or there is room for none.
pub(crate) fn too_few(tokens: i64) -> ApiError {
    let value = tokens.to_string();
    valued("max_tokens", &value, &format!("max_tokens must be at least 1, got {tokens}."))
}
