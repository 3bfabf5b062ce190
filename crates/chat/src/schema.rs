//! The little of JSON Schema that reading and repairing arguments needs.

use serde_json::Value;

use crate::json;

/// Nesting that is followed; deeper parts of a schema are not looked into.
const MAX_DEPTH: usize = 16;

/// The JSON types that `schema` admits, by name; empty where it does not say.
pub(crate) fn types(schema: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    collect_types(schema, 0, &mut found);
    found
}

fn collect_types<'a>(schema: &'a Value, depth: usize, found: &mut Vec<&'a str>) {
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
                collect_types(part, depth + 1, found);
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
pub(crate) fn value_from_text(schema: Option<&Value>, text: &str) -> Value {
    let verbatim = || Value::String(text.to_owned());
    let types = schema.map(types).unwrap_or_default();
    if types.is_empty() || types == ["string"] {
        return verbatim();
    }
    match json::parse(text.trim()) {
        Some(Value::String(inner)) if !types.contains(&"string") => Value::String(inner),
        Some(value) if !value.is_string() && is_of(&value, &types) => value,
        _ => verbatim(),
    }
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
            assert_eq!(value_from_text(Some(&schema), text), want, "{schema} {text}");
        }
        assert_eq!(value_from_text(None, "[1]"), json!("[1]"));
    }
}
