//! Makes values fit a JSON Schema.

use serde_json::{Map, Number, Value};

use super::names::plain;
use super::{ArgError, example_with};
use crate::json;
use crate::schema::{self, is_of, resolve, type_of, types};
use crate::tools::ToolSpec;

/// Nesting that is followed; deeper values are taken as they are.
const MAX_DEPTH: usize = 32;

/// A value that does not fit.
#[derive(Debug)]
pub(super) struct Fault {
    path: String,
    expected: String,
    got: String,
}

impl Fault {
    pub(super) fn error(self, tool: &ToolSpec) -> ArgError {
        let Fault { path, expected, got } = self;
        let key = path.split(['.', '[']).next().unwrap_or_default();
        let example = example_with(tool, key);
        ArgError { tool: tool.name.clone(), path, expected, got, example }
    }
}

/// Makes an object fit: renames keys that are spelled otherwise, drops unknown ones, fills in
/// defaults, and makes each value fit. `root` is where `$ref` points into.
pub(super) fn object(
    root: &Value,
    schema: &Value,
    args: Map<String, Value>,
    path: &str,
    notes: &mut Vec<String>,
) -> Result<Map<String, Value>, Fault> {
    let none = Map::new();
    let properties = match schema.get("properties").and_then(Value::as_object) {
        Some(properties) => properties,
        None if schema.get("additionalProperties").is_some_and(Value::is_object) => &none,
        None => return Ok(args),
    };
    let open = schema.get("additionalProperties").filter(|extra| **extra != Value::Bool(false));
    let required: Vec<_> = schema::required(schema).collect();
    let mut out = Map::new();
    let mut unknown = Vec::new();
    for (key, value) in args {
        match properties.get(&key) {
            Some(part) => put(root, part, key, value, path, &required, &mut out, notes)?,
            None => unknown.push((key, value)),
        }
    }
    for (key, value) in unknown {
        if let Some(known) = renamed(&key, properties, &out) {
            notes.push(format!("took \"{}\" as \"{}\"", join(path, &key), join(path, known)));
            let part = &properties[known];
            put(root, part, known.to_owned(), value, path, &required, &mut out, notes)?;
        } else if let Some(extra) = open {
            let value = fit(root, extra, value, &join(path, &key), notes)?;
            out.insert(key, value);
        } else {
            notes.push(format!("dropped unknown \"{}\"", join(path, &key)));
        }
    }
    for key in required {
        if out.contains_key(key) {
            continue;
        }
        let part = properties.get(key).unwrap_or(&Value::Null);
        match part.get("default") {
            Some(default) => {
                out.insert(key.to_owned(), default.clone());
                notes.push(format!("set \"{}\" to its default", join(path, key)));
            }
            None => {
                return Err(Fault {
                    path: join(path, key),
                    expected: expected(resolve(root, part)),
                    got: "nothing".to_owned(),
                });
            }
        }
    }
    Ok(out)
}

/// Puts a value under its key; an optional one that is null or an out-of-range zero is left out.
#[allow(clippy::too_many_arguments)]
fn put(
    root: &Value,
    part: &Value,
    key: String,
    value: Value,
    path: &str,
    required: &[&str],
    out: &mut Map<String, Value>,
    notes: &mut Vec<String>,
) -> Result<(), Fault> {
    let here = join(path, &key);
    let part = resolve(root, part);
    let optional = !required.contains(&key.as_str());
    if optional && value.is_null() && !types(part).contains(&"null") {
        notes.push(format!("left out \"{here}\", which was null"));
        return Ok(());
    }
    let below = part.get("minimum").and_then(Value::as_f64).is_some_and(|least| least > 0.0);
    if optional && below && value.as_f64() == Some(0.0) {
        notes.push(format!("left out \"{here}\", which was 0"));
        return Ok(());
    }
    let value = fit(root, part, value, &here, notes)?;
    out.insert(key, value);
    Ok(())
}

/// The property that an unknown key means and that is still free.
fn renamed<'p>(key: &str, properties: &'p Map<String, Value>, taken: &Map<String, Value>) -> Option<&'p str> {
    let wanted = plain(key);
    let free = || properties.keys().map(String::as_str).filter(|known| !taken.contains_key(*known));
    let same = free().find(|known| plain(known) == wanted);
    same.or_else(|| {
        let near =
            |known: &&str| wanted.chars().count() > 3 && strsim::osa_distance(&plain(known), &wanted) == 1;
        let mut found = free().filter(near);
        let first = found.next()?;
        found.next().is_none().then_some(first)
    })
}

/// Makes a value fit its schema.
fn fit(
    root: &Value,
    schema: &Value,
    value: Value,
    path: &str,
    notes: &mut Vec<String>,
) -> Result<Value, Fault> {
    let schema = resolve(root, schema);
    if path.matches(['.', '[']).count() > MAX_DEPTH {
        return Ok(value);
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(branches) = schema.get(key).and_then(Value::as_array) {
            return one_of(root, schema, branches, value, path, notes);
        }
    }
    let before = value.clone();
    let value = to_type(schema, value).map_err(|value| fault(schema, &value, path))?;
    if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
        return choice(schema, choices, value, path, notes);
    }
    let value = match value {
        Value::Object(map) => Value::Object(object(root, schema, map, path, notes)?),
        Value::Array(items) => Value::Array(list(root, schema, items, path, notes)?),
        Value::Number(number) => in_range(schema, number, path, notes),
        other => other,
    };
    if type_of(&before) != type_of(&value) {
        notes.push(format!("took {} as {} for \"{path}\"", describe(&before), type_of(&value)));
    }
    Ok(value)
}

fn list(
    root: &Value,
    schema: &Value,
    items: Vec<Value>,
    path: &str,
    notes: &mut Vec<String>,
) -> Result<Vec<Value>, Fault> {
    let Some(part) = schema.get("items").filter(|part| part.is_object()) else {
        return Ok(items);
    };
    let fitted = items.into_iter().enumerate();
    fitted.map(|(index, item)| fit(root, part, item, &format!("{path}[{index}]"), notes)).collect()
}

/// The first branch that the value fits as it is, else the first that it can be made to fit.
fn one_of(
    root: &Value,
    schema: &Value,
    branches: &[Value],
    value: Value,
    path: &str,
    notes: &mut Vec<String>,
) -> Result<Value, Fault> {
    let mut changed = None;
    for branch in branches {
        let mut branch_notes = Vec::new();
        if let Ok(fitted) = fit(root, branch, value.clone(), path, &mut branch_notes) {
            if branch_notes.is_empty() {
                return Ok(fitted);
            }
            changed.get_or_insert((fitted, branch_notes));
        }
    }
    let (fitted, branch_notes) = changed.ok_or_else(|| fault(schema, &value, path))?;
    notes.extend(branch_notes);
    Ok(fitted)
}

fn choice(
    schema: &Value,
    choices: &[Value],
    value: Value,
    path: &str,
    notes: &mut Vec<String>,
) -> Result<Value, Fault> {
    if choices.contains(&value) {
        return Ok(value);
    }
    let text = |value: &Value| value.as_str().map(plain);
    let mut same = choices.iter().filter(|choice| text(choice).is_some() && text(choice) == text(&value));
    match (same.next(), same.next()) {
        (Some(found), None) => {
            notes.push(format!("took {} as {found} for \"{path}\"", describe(&value)));
            Ok(found.clone())
        }
        _ => Err(fault(schema, &value, path)),
    }
}

/// Converts a value to a type that the schema admits; gives it back if there is no obvious way.
fn to_type(schema: &Value, value: Value) -> Result<Value, Value> {
    let types = types(schema);
    if is_of(&value, &types) {
        return Ok(match value.as_f64() {
            // 5.0 where an integer is asked for.
            Some(float) if !types.contains(&"number") && types.contains(&"integer") => {
                whole(float).map_or(value, Value::Number)
            }
            _ => value,
        });
    }
    if let Value::String(text) = &value
        && let Some(converted) = from_text(text.trim(), &types)
    {
        return Ok(converted);
    }
    for wanted in &types {
        match (*wanted, &value) {
            ("string", Value::Number(_) | Value::Bool(_)) => return Ok(Value::String(value.to_string())),
            ("string", Value::Object(_) | Value::Array(_)) => return Ok(Value::String(json::dumps(&value))),
            ("boolean", Value::Number(number)) if number.as_f64() == Some(0.0) => {
                return Ok(Value::Bool(false));
            }
            ("boolean", Value::Number(number)) if number.as_f64() == Some(1.0) => {
                return Ok(Value::Bool(true));
            }
            ("array", Value::Null) => {}
            ("array", _) => return Ok(Value::Array(vec![value])),
            (_, Value::Array(items)) if items.len() == 1 && is_of(&items[0], &types) => {
                return Ok(items[0].clone());
            }
            _ => {}
        }
    }
    Err(value)
}

/// What a string stands for where something else is asked for.
fn from_text(text: &str, types: &[&str]) -> Option<Value> {
    let has = |name: &str| types.contains(&name);
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" if has("boolean") => return Some(Value::Bool(true)),
        "false" | "no" if has("boolean") => return Some(Value::Bool(false)),
        "null" | "none" if has("null") => return Some(Value::Null),
        _ => {}
    }
    if has("integer") || has("number") {
        let number = json::number_of(text);
        let number = match number.as_ref().and_then(Number::as_f64) {
            Some(float) if !has("number") => whole(float),
            _ => number,
        };
        if let Some(number) = number {
            return Some(Value::Number(number));
        }
    }
    let value = json::parse(text)?;
    ((has("object") && value.is_object()) || (has("array") && value.is_array())).then_some(value)
}

/// A float without a fraction, as an integer.
fn whole(float: f64) -> Option<Number> {
    // Beyond 2^53 a float no longer says which integer is meant.
    (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then(|| Number::from(float as i64))
}

/// Moves a number into the schema's range.
fn in_range(schema: &Value, number: Number, path: &str, notes: &mut Vec<String>) -> Value {
    let limit = |key: &str| schema.get(key).filter(|limit| limit.is_number());
    let float = |value: &Value| value.as_f64().unwrap_or_default();
    let value = Value::Number(number);
    let moved = match (limit("minimum"), limit("maximum")) {
        (Some(least), _) if float(&value) < float(least) => least,
        (_, Some(most)) if float(&value) > float(most) => most,
        _ => return value,
    };
    notes.push(format!("moved \"{path}\" from {value} to {moved}"));
    moved.clone()
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn fault(schema: &Value, value: &Value, path: &str) -> Fault {
    let path = if path.is_empty() { "arguments" } else { path };
    Fault { path: path.to_owned(), expected: expected(schema), got: describe(value) }
}

/// What a schema asks for, in a few words.
fn expected(schema: &Value) -> String {
    if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
        let choices: Vec<_> = choices.iter().map(Value::to_string).collect();
        return format!("one of {}", choices.join(", "));
    }
    let names: Vec<_> = types(schema)
        .into_iter()
        .map(|name| match name {
            "integer" => "an integer",
            "array" => "an array",
            "object" => "an object",
            "number" => "a number",
            "boolean" => "true or false",
            "null" => "null",
            _ => "a string",
        })
        .collect();
    if names.is_empty() { "a value".to_owned() } else { names.join(" or ") }
}

/// A value with its type, cut short.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(_) => snippet(&value.to_string()),
        Value::Array(_) => format!("the array {}", snippet(&value.to_string())),
        Value::Object(_) => format!("the object {}", snippet(&value.to_string())),
    }
}

/// The first characters of a text.
pub(super) fn snippet(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
