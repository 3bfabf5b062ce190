//! From what a model wrote to arguments that a tool accepts: lenient in, exact out.
//!
//! [`repair`] takes a call as the model wrote it and gives arguments that fit the tool's schema,
//! with a note for each thing that was changed. What cannot be repaired becomes an [`ArgError`]:
//! short, exact, and with an example, so that a small model gets the next call right.

mod coerce;
mod names;

use serde_json::{Map, Value};

use crate::json;
use crate::schema;
use crate::tools::{ToolSet, ToolSpec};

/// A call that fits its tool.
#[derive(Debug, Clone, PartialEq)]
pub struct Repaired {
    /// The offered tool.
    pub name: String,
    /// Its arguments.
    pub args: Map<String, Value>,
    /// What was changed, one short sentence each.
    pub notes: Vec<String>,
}

/// Why a call does not fit, for the model to read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{tool}: {path}: expected {expected}, got {got}. Correct: {example}")]
pub struct ArgError {
    /// The tool that was meant, as the model wrote it where none is of that name.
    pub tool: String,
    /// Where in the arguments: `city`, `filter.year`, `tags[0]`; `arguments` for all of them and
    /// `name` for the tool's name.
    pub path: String,
    /// What must stand there.
    pub expected: String,
    /// What stood there.
    pub got: String,
    /// Arguments that would do, as JSON; for an unknown tool, a name.
    pub example: String,
}

/// Repairs a call: the tool's name, the JSON of its arguments, and the arguments themselves.
///
/// # Errors
/// [`ArgError`] if no offered tool is meant unambiguously, if the text is not JSON and cannot be
/// read as such, if a required argument is missing, or if a value is of another kind and has no
/// obvious conversion.
pub fn repair(name: &str, args_text: &str, tools: &ToolSet) -> Result<Repaired, ArgError> {
    let tool = names::find(name, tools).ok_or_else(|| unknown_tool(name, tools))?;
    let mut notes = Vec::new();
    if tool.name != name {
        notes.push(format!("took \"{name}\" as \"{}\"", tool.name));
    }
    let args = object_in(tool, args_text, &mut notes)?;
    let schema = &tool.parameters;
    let args = coerce::object(schema, schema, args, "", &mut notes).map_err(|fault| fault.error(tool))?;
    Ok(Repaired { name: tool.name.clone(), args, notes })
}

fn unknown_tool(name: &str, tools: &ToolSet) -> ArgError {
    let quoted: Vec<_> = tools.iter().map(|tool| tool.name.as_str()).collect();
    ArgError {
        tool: "tool call".to_owned(),
        path: "name".to_owned(),
        expected: match quoted.as_slice() {
            [] => "no call, because no tool is offered".to_owned(),
            names => format!("one of {}", names.join(", ")),
        },
        got: format!("\"{name}\""),
        example: names::nearest(name, tools).map_or("an answer in text", |tool| &tool.name).to_owned(),
    }
}

/// The arguments object in `text`, taken out of whatever was put around it.
fn object_in(tool: &ToolSpec, text: &str, notes: &mut Vec<String>) -> Result<Map<String, Value>, ArgError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Map::new());
    }
    let value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => {
            notes.push("repaired the JSON".to_owned());
            json::parse_lenient(text).ok_or_else(|| ArgError {
                tool: tool.name.clone(),
                path: "arguments".to_owned(),
                expected: "a JSON object".to_owned(),
                got: format!("{} ({error})", coerce::snippet(text)),
                example: example_of(tool),
            })?
        }
    };
    unwrap(tool, value, notes)
}

fn unwrap(tool: &ToolSpec, value: Value, notes: &mut Vec<String>) -> Result<Map<String, Value>, ArgError> {
    let declares = |key: &str| tool.parameter(key).is_some();
    match value {
        Value::Null => Ok(Map::new()),
        Value::Object(mut map) => {
            let wrapped = ["arguments", "parameters", "args", "input"]
                .into_iter()
                .find(|key| !declares(key) && map.get(*key).is_some_and(|inner| inner.is_object()));
            // Alone, or beside nothing but the call's own name.
            let shell = map.keys().all(|key| wrapped == Some(key) || (key == "name" && !declares(key)));
            match wrapped.filter(|_| shell).and_then(|key| map.shift_remove(key)) {
                Some(Value::Object(inner)) => {
                    notes.push("took the arguments out of their wrapper".to_owned());
                    Ok(inner)
                }
                _ => Ok(map),
            }
        }
        Value::String(text) if matches!(json::parse(&text), Some(Value::Object(_))) => {
            notes.push("read the arguments out of a string".to_owned());
            unwrap(tool, json::parse(&text).unwrap_or_default(), notes)
        }
        Value::Array(mut items) if items.len() == 1 && items[0].is_object() => {
            notes.push("took the arguments out of a list".to_owned());
            unwrap(tool, items.remove(0), notes)
        }
        other => alone(tool, other, notes),
    }
}

/// A value that stands alone is the tool's only argument, or its only required one.
fn alone(tool: &ToolSpec, value: Value, notes: &mut Vec<String>) -> Result<Map<String, Value>, ArgError> {
    let required: Vec<_> = schema::required(&tool.parameters).collect();
    let all: Vec<_> = tool.parameter_names().collect();
    let key = match (required.as_slice(), all.as_slice()) {
        ([key], _) | ([], [key]) => *key,
        _ => {
            return Err(ArgError {
                tool: tool.name.clone(),
                path: "arguments".to_owned(),
                expected: "a JSON object".to_owned(),
                got: coerce::describe(&value),
                example: example_of(tool),
            });
        }
    };
    notes.push(format!("took the value as \"{key}\""));
    Ok([(key.to_owned(), value)].into_iter().collect())
}

/// Arguments that `tool` would accept, as JSON: the required ones.
pub fn example_of(tool: &ToolSpec) -> String {
    example_with(tool, "")
}

/// The same with the argument `key` too, so that an error about it shows how it is written.
fn example_with(tool: &ToolSpec, key: &str) -> String {
    let Value::Object(mut map) = schema::example(&tool.parameters, &tool.parameters, "") else {
        return "{}".to_owned();
    };
    if let Some(part) = tool.parameter(key) {
        map.entry(key).or_insert_with(|| schema::example(&tool.parameters, part, key));
    }
    json::dumps(&Value::Object(map))
}

#[cfg(test)]
mod tests;
