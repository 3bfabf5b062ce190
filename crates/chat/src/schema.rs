//! The little of JSON Schema that reading and repairing arguments needs.

use serde_json::{Map, Value};

use crate::json;

/// Nesting that is followed; deeper parts of a schema are not looked into.
const MAX_DEPTH: usize = 16;

/// The JSON types that `schema` admits, by name; empty where it does not say.
pub(crate) fn types(schema: &Value) -> Vec<&str> {
    types_in(&Value::Null, schema)
}

/// As [`types`], where `$ref` points into `root`.
pub(crate) fn types_in<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a str> {
    let mut found = Vec::new();
    collect_types(root, schema, 0, &mut found);
    found
}

fn collect_types<'a>(root: &'a Value, schema: &'a Value, depth: usize, found: &mut Vec<&'a str>) {
    let schema = resolve(root, schema);
    let mut add = |name: &'a str| {
        if !found.contains(&name) {
            found.push(name);
        }
    };
    match schema.get("type") {
        Some(Value::String(name)) => add(name),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).for_each(&mut add),
        _ => {
            let values = schema.get("enum").and_then(Value::as_array);
            for value in values.into_iter().flatten().chain(schema.get("const")) {
                add(type_of(value));
            }
            if schema.get("properties").is_some() {
                add("object");
            }
        }
    }
    if schema.get("nullable") == Some(&Value::Bool(true)) {
        add("null");
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if depth < MAX_DEPTH {
            for part in schema.get(key).and_then(Value::as_array).into_iter().flatten() {
                collect_types(root, part, depth + 1, found);
            }
        }
    }
}

/// The name of a value's JSON type. An integer is `integer`.
pub(crate) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Whether `value` is of one of `types`; a whole float counts as an integer.
pub(crate) fn is_of(value: &Value, types: &[&str]) -> bool {
    let actual = type_of(value);
    types.is_empty()
        || types.contains(&actual)
        || (actual == "integer" && types.contains(&"number"))
        || (types.contains(&"integer") && value.as_f64().is_some_and(|f| f.fract() == 0.0))
}

/// The value that a parameter's text stands for, by the parameter's schema. A parameter whose
/// schema says nothing is a string, and so is text that is none of the types that are asked for.
/// `root` is where `$ref` points into.
pub(crate) fn value_from_text(root: &Value, schema: Option<&Value>, text: &str) -> Value {
    let verbatim = || Value::String(text.to_owned());
    let types = schema.map(|schema| types_in(root, schema)).unwrap_or_default();
    if types.is_empty() || types == ["string"] {
        return verbatim();
    }
    match json::parse(text.trim()) {
        Some(Value::String(inner)) if !types.contains(&"string") => Value::String(inner),
        Some(value) if !value.is_string() && is_of(&value, &types) => value,
        _ => verbatim(),
    }
}

/// Follows `$ref` within the schema.
pub(crate) fn resolve<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let mut at = schema;
    for _ in 0..MAX_DEPTH {
        let target = at.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix('#'));
        match target.and_then(|pointer| root.pointer(pointer)) {
            Some(next) => at = next,
            None => break,
        }
    }
    at
}

/// A small value that satisfies `schema`: its own example, default or first choice where it has
/// one, else the least that fits the type. Only required parts of an object are given.
/// `root` is where `$ref` points into.
pub(crate) fn example(root: &Value, schema: &Value, name: &str) -> Value {
    example_at(root, schema, name, 0)
}

fn example_at(root: &Value, schema: &Value, name: &str, depth: usize) -> Value {
    let schema = resolve(root, schema);
    let given = schema
        .get("examples")
        .or(schema.get("enum"))
        .and_then(|list| list.get(0))
        .or(schema.get("const"))
        .or(schema.get("default").filter(|value| !value.is_null()));
    if let Some(value) = given {
        return value.clone();
    }
    let types = types(schema);
    match types.iter().find(|name| **name != "null").copied() {
        Some("integer") => schema.get("minimum").cloned().unwrap_or(1.into()),
        Some("number") => schema.get("minimum").cloned().unwrap_or(1.5.into()),
        Some("boolean") => Value::Bool(true),
        Some("array") => {
            let item = schema.get("items").filter(|_| depth < MAX_DEPTH);
            Value::Array(item.map(|item| example_at(root, item, name, depth + 1)).into_iter().collect())
        }
        Some("object") => {
            let mut map = Map::new();
            for key in required(schema) {
                let part = schema.get("properties").and_then(|all| all.get(key));
                if let Some(part) = part.filter(|_| depth < MAX_DEPTH) {
                    map.insert(key.to_owned(), example_at(root, part, key, depth + 1));
                }
            }
            Value::Object(map)
        }
        _ => Value::String(if name.is_empty() { "text".to_owned() } else { format!("<{name}>") }),
    }
}

/// The names that an object schema requires.
pub(crate) fn required(schema: &Value) -> impl Iterator<Item = &str> {
    let list = schema.get("required").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_by_schema() {
        let table = [
            (json!({"type": "string"}), "5", json!("5")),
            (json!({"type": "integer"}), "5", json!(5)),
            (json!({"type": "integer"}), "five", json!("five")),
            (json!({"type": "boolean"}), "True", json!(true)),
            (json!({"type": "number"}), "5", json!(5)),
            (json!({"type": ["string", "null"]}), "null", json!(null)),
            (json!({"type": ["string", "integer"]}), "5", json!(5)),
            (json!({"anyOf": [{"type": "array"}, {"type": "null"}]}), "[1, 2]", json!([1, 2])),
            (json!({"type": "object"}), "{\"a\": 'b'}", json!({"a": "b"})),
            (json!({"enum": ["on", "off"]}), "on", json!("on")),
            (json!({}), "5", json!("5")),
        ];
        for (schema, text, want) in table {
            assert_eq!(value_from_text(&Value::Null, Some(&schema), text), want, "{schema} {text}");
        }
        assert_eq!(value_from_text(&Value::Null, None, "[1]"), json!("[1]"));
    }

    #[test]
    fn examples() {
        let schema = json!({"type": "object", "required": ["path", "n"], "properties": {
            "path": {"type": "string"}, "n": {"type": "integer", "minimum": 3},
            "mode": {"enum": ["r", "w"]}}});
        assert_eq!(example(&schema, &schema, ""), json!({"path": "<path>", "n": 3}));
        let list = json!({"type": "array", "items": {"enum": ["a"]}});
        assert_eq!(example(&list, &list, "x"), json!(["a"]));
    }
}
