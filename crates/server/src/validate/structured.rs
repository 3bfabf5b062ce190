//! What an answer is held to: structured output and tool calls, as one grammar for the engine.
//!
//! [`hold`] is the one place where a request becomes a grammar. The backend calls it for every
//! request, before anything is queued, and hands the grammar to the engine, which masks tokens by it
//! from the first one on.

use chela_chat::{Dialect, ReasoningMode};
use chela_engine::grammar::Grammar;
use chela_engine::tokenizer::Tokenizer;
use chela_openai::chat::{ResponseFormat, StructuredOutputs, Tool, ToolChoice};
use serde_json::{Map, Value, json};

use crate::error::ApiError;

/// Everything that decides the form of an answer.
#[derive(Clone, Copy)]
#[allow(dead_code)] // the grammar of calls reads the rest
pub(crate) struct Wanted<'a> {
    /// `response_format`.
    pub response_format: Option<&'a ResponseFormat>,
    /// `structured_outputs`.
    pub structured: Option<&'a StructuredOutputs>,
    /// Fields of the body without a place of their own, the removed `guided_*` among them.
    pub extra: &'a Map<String, Value>,
    /// The calls that the model may make; none in plain completions, without tools, and with
    /// `tool_choice: "none"`.
    pub calls: Option<Calls<'a>>,
    /// What of the answer is reasoning, which stays free. With `opened` the answer starts inside.
    pub reasoning: ReasoningMode,
    /// The vocabulary; a marker that is a special token of it stands in a grammar by its name.
    pub tokenizer: &'a Tokenizer,
}

/// The calls that a model may make.
#[derive(Clone, Copy)]
#[allow(dead_code)] // the grammar of calls reads it
pub(crate) struct Calls<'a> {
    /// The offered tools, at least one.
    pub tools: &'a [Tool],
    /// Whether and what to call; never `none`.
    pub choice: &'a ToolChoice,
    /// Whether several calls may stand in one answer.
    pub parallel: bool,
    /// How the model writes a call.
    pub dialect: Dialect,
}

/// What an answer is held to.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Held {
    /// The grammar of the whole output, reasoning included.
    pub grammar: Option<Grammar>,
    /// Whether the grammar makes every call valid, so that its arguments may be sent as they come.
    pub calls: bool,
}

/// The grammar of an answer.
///
/// # Errors
/// 400 for what cannot be enforced, naming the keyword: nothing is ever left unconstrained in
/// silence.
pub(crate) fn hold(wanted: &Wanted<'_>) -> Result<Held, ApiError> {
    if let Some(field) = wanted.extra.keys().find(|field| field.starts_with("guided_")) {
        let message = format!("`{field}` was removed from the API; use `structured_outputs` instead.");
        return Err(ApiError::bad_request(Some(field), message));
    }
    Ok(Held { grammar: output(wanted)?, calls: false })
}

fn output(wanted: &Wanted<'_>) -> Result<Option<Grammar>, ApiError> {
    let any_object = || Grammar::JsonSchema(json!({"type": "object"}));
    if let Some(structured) = wanted.structured {
        return Ok(Some(match structured {
            StructuredOutputs { json: Some(Value::String(text)), .. } => {
                let schema = serde_json::from_str(text);
                Grammar::JsonSchema(schema.map_err(|error| {
                    ApiError::bad_request(Some("structured_outputs"), format!("Grammar error: {error}"))
                })?)
            }
            StructuredOutputs { json: Some(schema), .. } => Grammar::JsonSchema(schema.clone()),
            StructuredOutputs { regex: Some(regex), .. } => Grammar::Regex(regex.clone()),
            StructuredOutputs { choice: Some(texts), .. } => Grammar::choice(texts),
            StructuredOutputs { grammar: Some(grammar), .. } => Grammar::Lark(grammar.clone()),
            StructuredOutputs { json_object: Some(true), .. } => any_object(),
            _ => return Err(unsupported("structured_outputs", "structural_tag")),
        }));
    }
    let Some(format) = wanted.response_format else { return Ok(None) };
    match (format.kind.as_str(), &format.json_schema) {
        ("text", _) => Ok(None),
        ("json_object", _) => Ok(Some(any_object())),
        ("json_schema", Some(schema)) => {
            Ok(Some(schema.schema.clone().map_or_else(any_object, Grammar::JsonSchema)))
        }
        (kind, _) => Err(unsupported("response_format", kind)),
    }
}

fn unsupported(field: &str, what: &str) -> ApiError {
    ApiError::bad_request(Some(field), format!("{field}: `{what}` cannot be enforced here."))
}
