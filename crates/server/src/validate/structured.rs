//! What an answer is held to: structured output and tool calls, as one grammar for the engine.
//!
//! [`hold`] is the one place where a request becomes a grammar. The backend calls it for every
//! request, before anything is queued, and hands the grammar to the engine, which masks tokens by it
//! from the first one on.

use chela_chat::grammar::{
    Answer, GuardError, Guarded, Specials, after_reasoning, close_objects, gbnf_to_lark, guard,
};
use chela_chat::{Dialect, ReasoningMode, ToolSet};
use chela_engine::grammar::{Grammar, GrammarError};
use chela_openai::chat::{ResponseFormat, StructuredOutputs, Tool, ToolChoice};
use serde_json::{Map, Value, json};

use crate::error::ApiError;

/// Everything that decides the form of an answer.
#[derive(Clone, Copy)]
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
    /// The vocabulary's special tokens.
    pub specials: &'a Specials,
    /// Says whether the engine can enforce a grammar.
    pub check: &'a dyn Fn(&Grammar) -> Result<(), GrammarError>,
}

/// The calls that a model may make.
#[derive(Clone, Copy)]
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
    let removed = |(field, value): &(&String, &Value)| field.starts_with("guided_") && !value.is_null();
    if let Some((field, _)) = wanted.extra.iter().find(removed) {
        let message = format!("`{field}` was removed from the API; use `structured_outputs` instead.");
        return Err(ApiError::bad_request(Some(field), message));
    }
    let answer = answer(wanted)?;
    if let Some(calls) = &wanted.calls {
        let grammar = Grammar::Lark(guarded(wanted, calls, answer.as_ref())?);
        return Ok(Held { grammar: Some(grammar), calls: true });
    }
    let Some(answer) = answer else { return Ok(Held::default()) };
    let lark = after_reasoning(&answer, wanted.reasoning, wanted.specials);
    let grammar = Grammar::Lark(lark);
    (wanted.check)(&grammar).map_err(refused)?;
    Ok(Held { grammar: Some(grammar), calls: false })
}

fn refused(error: GrammarError) -> ApiError {
    ApiError::bad_request(None, format!("Grammar error: {}", error.reason.trim_end()))
}

/// The grammar of an answer that may call.
fn guarded(wanted: &Wanted<'_>, calls: &Calls<'_>, answer: Option<&Answer>) -> Result<String, ApiError> {
    let named = match calls.choice {
        ToolChoice::Function(name) => Some(name),
        _ => None,
    };
    let offered = calls.tools.iter().filter(|tool| named.is_none_or(|name| tool.function.name == *name));
    let offered: Vec<Tool> = offered.cloned().collect();
    let strict = offered.iter().filter(|tool| tool.function.strict == Some(true));
    let strict: Vec<&str> = strict.map(|tool| tool.function.name.as_str()).collect();
    let tools = ToolSet::from(offered.as_slice());
    let of = Guarded {
        dialect: calls.dialect,
        tools: &tools,
        strict: &strict,
        required: !matches!(calls.choice, ToolChoice::Auto),
        // A named function is called once, as in OpenAI's API.
        parallel: calls.parallel && named.is_none(),
        answer,
        reasoning: wanted.reasoning,
        specials: wanted.specials,
    };
    let mut check = |lark: &str| (wanted.check)(&Grammar::Lark(lark.to_owned())).map_err(|e| e.reason);
    let guard = guard(&of, &mut check).map_err(|error| {
        let field = if matches!(error, GuardError::Strict { .. }) { Some("tools") } else { None };
        ApiError::bad_request(field, error.to_string())
    })?;
    for (tool, keywords) in &guard.dropped {
        tracing::debug!(
            tool,
            keywords = keywords.join(", "),
            "schema keywords that the grammar does not hold"
        );
    }
    Ok(guard.lark)
}

/// What the text of the answer must be.
fn answer(wanted: &Wanted<'_>) -> Result<Option<Answer>, ApiError> {
    let format = match wanted.response_format {
        Some(format) => of_format(wanted, format)?,
        None => None,
    };
    match (format, wanted.structured) {
        (Some(_), Some(_)) => {
            let message = "response_format and structured_outputs cannot be used together.";
            Err(ApiError::bad_request(Some("structured_outputs"), message))
        }
        (None, Some(structured)) => of_structured(wanted, structured).map(Some),
        (format, None) => Ok(format),
    }
}

fn of_format(wanted: &Wanted<'_>, format: &ResponseFormat) -> Result<Option<Answer>, ApiError> {
    match (format.kind.as_str(), &format.json_schema) {
        ("text", _) => Ok(None),
        ("json_object", _) => Ok(Some(any_object())),
        ("json_schema", Some(schema)) => match &schema.schema {
            Some(schema) => of_schema(wanted, schema).map(Some),
            None => Ok(Some(any_object())),
        },
        (kind, _) => Err(unsupported("response_format", kind)),
    }
}

fn any_object() -> Answer {
    Answer::Json(json!({"type": "object"}))
}

/// JSON of a schema, every keyword of which the engine can hold.
fn of_schema(wanted: &Wanted<'_>, schema: &Value) -> Result<Answer, ApiError> {
    (wanted.check)(&Grammar::JsonSchema(schema.clone())).map_err(refused)?;
    Ok(Answer::Json(close_objects(schema)))
}

fn of_structured(wanted: &Wanted<'_>, structured: &StructuredOutputs) -> Result<Answer, ApiError> {
    let field = Some("structured_outputs");
    let mut answer = match structured {
        StructuredOutputs { json: Some(Value::String(text)), .. } => {
            let schema: Value = serde_json::from_str(text)
                .map_err(|error| ApiError::bad_request(field, format!("Grammar error: {error}")))?;
            of_schema(wanted, &schema)?
        }
        StructuredOutputs { json: Some(schema), .. } => of_schema(wanted, schema)?,
        StructuredOutputs { regex: Some(regex), .. } => {
            (wanted.check)(&Grammar::Regex(regex.clone())).map_err(refused)?;
            Answer::Regex(regex.clone())
        }
        StructuredOutputs { choice: Some(texts), .. } if texts.is_empty() => {
            return Err(ApiError::bad_request(None, "Choice '[]' cannot be an empty list"));
        }
        StructuredOutputs { choice: Some(texts), .. } => Answer::Choice(texts.clone()),
        StructuredOutputs { grammar: Some(grammar), .. } => {
            let invalid =
                |reason| ApiError::bad_request(None, format!("Invalid grammar specification: {reason}"));
            let lark = gbnf_to_lark(grammar).map_err(invalid)?.unwrap_or_else(|| grammar.clone());
            (wanted.check)(&Grammar::Lark(lark.clone())).map_err(|error| invalid(error.reason))?;
            Answer::Lark(lark)
        }
        StructuredOutputs { json_object: Some(true), .. } => any_object(),
        StructuredOutputs { structural_tag: Some(_), .. } => {
            return Err(unsupported("structured_outputs", "structural_tag"));
        }
        _ => {
            let message = "You must use one kind of structured outputs constraint but none are specified.";
            return Err(ApiError::bad_request(None, message));
        }
    };
    if let Answer::Json(schema) = &mut answer {
        spacing(schema, structured);
    }
    Ok(answer)
}

/// Takes over what is said about white space in JSON.
fn spacing(schema: &mut Value, structured: &StructuredOutputs) {
    let Some(schema) = schema.as_object_mut() else { return };
    if structured.disable_any_whitespace == Some(true) {
        schema.insert("x-guidance".into(), json!({"whitespace_flexible": false}));
    } else if let Some(Value::String(pattern)) = structured.rest.get("whitespace_pattern") {
        schema.insert("x-guidance".into(), json!({"whitespace_pattern": pattern}));
    }
}

fn unsupported(field: &str, what: &str) -> ApiError {
    ApiError::bad_request(Some(field), format!("{field}: `{what}` cannot be enforced here."))
}
