//! Makes a tool's schema one that llguidance enforces.
//!
//! An object that declares its properties admits no others unless the schema says so, which is the
//! default of vLLM's grammars too; numbers without bounds get bounds that every JSON reader takes;
//! and keywords that cannot be enforced are left out and named.

use serde_json::{Map, Value, json};

/// Whole numbers beyond these are not exact in every JSON reader (RFC 8259, section 6).
const INTEGER: i64 = (1 << 53) - 1;
/// Beyond this a number would be written with an exponent.
const NUMBER: f64 = 1e15;

/// Keywords that llguidance does not enforce.
const UNSUPPORTED: &[&str] = &[
    "not",
    "if",
    "then",
    "else",
    "contains",
    "minContains",
    "maxContains",
    "uniqueItems",
    "propertyNames",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicRef",
    "$dynamicAnchor",
    "$recursiveRef",
    "$recursiveAnchor",
    "$vocabulary",
];

/// The formats that llguidance enforces.
const FORMATS: &[&str] =
    &["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"];

/// Constraints that are left out when a schema cannot be enforced otherwise.
const FRAGILE: &[&str] = &[
    "pattern",
    "format",
    "minLength",
    "maxLength",
    "multipleOf",
    "minProperties",
    "maxProperties",
    "patternProperties",
    "minItems",
    "maxItems",
    "oneOf",
];

const DRAFTS: &[&str] = &[
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
    "http://json-schema.org/draft-06/schema",
    "http://json-schema.org/draft-04/schema",
];

/// The name under which any value is defined.
const ANY: &str = "chela-any";

/// How much of a schema is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// All of it; what cannot be enforced is an error later.
    Strict,
    /// Without the keywords that cannot be enforced.
    Enforceable,
    /// Types, names and choices.
    Shape,
    /// Any object.
    Object,
}

/// A tool's schema as a grammar takes it.
pub(super) struct Tightened {
    pub(super) schema: Value,
    /// The keywords that were left out, each once.
    pub(super) dropped: Vec<String>,
}

/// The schema of a tool's arguments: an object, closed and bounded.
pub(super) fn tighten(parameters: &Value, level: Level) -> Tightened {
    let mut root = match parameters {
        Value::Object(map) if level != Level::Object => map.clone(),
        _ => Map::new(),
    };
    let mut dropped = Vec::new();
    if level == Level::Object && parameters.as_object().is_some_and(|map| !map.is_empty()) {
        dropped.push("parameters".to_owned());
    }
    if !root.contains_key("type") {
        root.insert("type".into(), "object".into());
    }
    let known = |draft: &Value| draft.as_str().is_some_and(|d| DRAFTS.contains(&d.trim_end_matches('#')));
    if !root.get("$schema").is_some_and(known) {
        root.shift_remove("$schema");
    }
    let source = Value::Object(root.clone());
    let mut work = Work { root: &source, level, dropped: &mut dropped, any: false };
    let mut schema = work.schema(&source, true);
    let any = work.any;
    if any && let Some(map) = schema.as_object_mut() {
        let defs = map.entry("$defs").or_insert_with(|| json!({}));
        if let Some(defs) = defs.as_object_mut() {
            defs.insert(ANY.into(), any_value());
        }
    }
    Tightened { schema, dropped }
}

/// Closes the objects of a schema that declare their properties, and changes nothing else.
pub fn close(schema: &Value) -> Value {
    let mut dropped = Vec::new();
    Work { root: schema, level: Level::Strict, dropped: &mut dropped, any: false }.objects(schema, true)
}

fn any_ref() -> Value {
    json!({ "$ref": format!("#/$defs/{ANY}") })
}

fn any_value() -> Value {
    json!({ "anyOf": [
        { "type": "string" },
        { "type": "number", "minimum": -NUMBER, "maximum": NUMBER },
        { "type": "boolean" },
        { "type": "null" },
        { "type": "array", "items": any_ref() },
        { "type": "object", "additionalProperties": any_ref() },
    ]})
}

struct Work<'s> {
    root: &'s Value,
    level: Level,
    dropped: &'s mut Vec<String>,
    any: bool,
}

impl Work<'_> {
    fn drop_keyword(&mut self, keyword: &str) {
        if !self.dropped.iter().any(|known| known == keyword) {
            self.dropped.push(keyword.to_owned());
        }
    }

    /// `closing` is false below an `allOf`, whose parts only together know all properties.
    fn schema(&mut self, schema: &Value, closing: bool) -> Value {
        let Some(map) = schema.as_object() else {
            if schema == &Value::Bool(true) {
                self.any = true;
                return any_ref();
            }
            return schema.clone();
        };
        let says_nothing = map.keys().all(|key| is_annotation(key));
        if says_nothing && !std::ptr::eq(schema, self.root) {
            self.any = true;
            return any_ref();
        }
        let mut out = Map::new();
        for (key, value) in map {
            if let Some(value) = self.keyword(map, key, value, closing) {
                out.insert(key.clone(), value);
            }
        }
        if out.keys().all(|key| is_annotation(key)) {
            self.any = true;
            return any_ref();
        }
        close_object(&mut out, closing);
        self.open(&mut out);
        bound(&mut out);
        Value::Object(out)
    }

    /// Says of an object or array of anything what anything is.
    fn open(&mut self, map: &mut Map<String, Value>) {
        let name = map.get("type").and_then(Value::as_str);
        let (key, others): (_, &[&str]) = match name {
            Some("object") => ("additionalProperties", &["properties", "patternProperties"]),
            Some("array") => ("items", &["prefixItems", "additionalItems"]),
            _ => return,
        };
        let free = !map.contains_key(key) && !others.iter().any(|other| map.contains_key(*other));
        if free && !MERGED.iter().any(|merged| map.contains_key(*merged)) {
            map.insert(key.into(), any_ref());
            self.any = true;
        }
    }

    /// A keyword's value as it is kept.
    fn keyword(
        &mut self,
        map: &Map<String, Value>,
        key: &str,
        value: &Value,
        closing: bool,
    ) -> Option<Value> {
        if self.level > Level::Strict {
            let unknown_format = key == "format" && !value.as_str().is_some_and(|f| FORMATS.contains(&f));
            let lost = key == "$ref" && !self.resolves(value);
            let fragile = self.level >= Level::Shape && FRAGILE.contains(&key);
            if UNSUPPORTED.contains(&key) || unknown_format || lost || fragile {
                // `false` and the like ask for nothing.
                let idle = matches!(key, "uniqueItems") && value == &Value::Bool(false);
                if !idle && !key.ends_with("Anchor") {
                    self.drop_keyword(key);
                }
                return None;
            }
        }
        Some(self.below(map, key, value, closing))
    }

    fn resolves(&self, reference: &Value) -> bool {
        let pointer = reference.as_str().and_then(|to| to.strip_prefix('#'));
        pointer.is_some_and(|pointer| self.root.pointer(&unescape(pointer)).is_some())
    }

    fn below(&mut self, map: &Map<String, Value>, key: &str, value: &Value, closing: bool) -> Value {
        match (key, value) {
            ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(parts)) => {
                let closing = closing || !matches!(key, "$defs" | "definitions");
                let closing = closing && !(matches!(key, "$defs" | "definitions") && self.merges());
                parts.iter().map(|(name, part)| (name.clone(), self.schema(part, closing))).collect()
            }
            ("items" | "additionalProperties" | "additionalItems", Value::Object(_) | Value::Bool(_)) => {
                match value {
                    Value::Bool(false) => value.clone(),
                    // An array or object of anything.
                    _ => self.schema(value, true),
                }
            }
            ("prefixItems" | "items", Value::Array(parts)) => {
                parts.iter().map(|part| self.schema(part, true)).collect()
            }
            ("anyOf" | "oneOf" | "allOf", Value::Array(parts)) => {
                let whole = !map.contains_key("properties") && !map.contains_key("allOf");
                let closing = closing && whole && key != "allOf";
                parts.iter().map(|part| self.schema(part, closing)).collect()
            }
            _ => value.clone(),
        }
    }

    /// Whether the document merges schemas, so that a definition may be only a part of an object.
    fn merges(&self) -> bool {
        self.root.to_string().contains("\"allOf\"")
    }

    /// As [`Work::schema`], but only objects are closed.
    fn objects(&mut self, schema: &Value, closing: bool) -> Value {
        let Some(map) = schema.as_object() else { return schema.clone() };
        let mut out = Map::new();
        for (key, value) in map {
            let value = match (key.as_str(), value) {
                ("properties" | "patternProperties", Value::Object(parts)) => {
                    parts.iter().map(|(name, part)| (name.clone(), self.objects(part, true))).collect()
                }
                ("$defs" | "definitions", Value::Object(parts)) => {
                    let closing = !self.merges();
                    parts.iter().map(|(name, part)| (name.clone(), self.objects(part, closing))).collect()
                }
                ("items" | "additionalProperties", Value::Object(_)) => self.objects(value, true),
                ("prefixItems", Value::Array(parts)) => {
                    parts.iter().map(|part| self.objects(part, true)).collect()
                }
                ("anyOf" | "oneOf" | "allOf", Value::Array(parts)) => {
                    let closing = closing && key != "allOf" && !map.contains_key("properties");
                    parts.iter().map(|part| self.objects(part, closing)).collect()
                }
                _ => value.clone(),
            };
            out.insert(key.clone(), value);
        }
        close_object(&mut out, closing);
        Value::Object(out)
    }
}

/// Gives a number bounds.
fn bound(map: &mut Map<String, Value>) {
    let has = |wanted: &str| match map.get("type") {
        Some(Value::String(name)) => name == wanted,
        Some(Value::Array(names)) => names.iter().any(|name| name == wanted),
        _ => false,
    };
    let (low, high): (Value, Value) = match (has("number"), has("integer")) {
        (true, _) => ((-NUMBER).into(), NUMBER.into()),
        (false, true) => ((-INTEGER).into(), INTEGER.into()),
        _ => return,
    };
    if map.contains_key("enum") || map.contains_key("const") {
        return;
    }
    let over = |key: &str| map.get(key).and_then(Value::as_f64).is_some_and(|v| Some(v) > high.as_f64());
    let under = |key: &str| map.get(key).and_then(Value::as_f64).is_some_and(|v| Some(v) < low.as_f64());
    if over("minimum") || over("exclusiveMinimum") || under("maximum") || under("exclusiveMaximum") {
        return;
    }
    if !map.contains_key("minimum") && !map.contains_key("exclusiveMinimum") {
        map.insert("minimum".into(), low);
    }
    if !map.contains_key("maximum") && !map.contains_key("exclusiveMaximum") {
        map.insert("maximum".into(), high);
    }
}

/// Keywords beside which an object may have more parts than it declares.
const MERGED: &[&str] =
    &["allOf", "anyOf", "oneOf", "$ref", "if", "dependentSchemas", "unevaluatedProperties"];

/// Whether a keyword constrains nothing.
fn is_annotation(key: &str) -> bool {
    matches!(
        key,
        "title"
            | "description"
            | "default"
            | "examples"
            | "example"
            | "readOnly"
            | "writeOnly"
            | "deprecated"
            | "$comment"
            | "$schema"
            | "$id"
    ) || key.starts_with("x-")
}

fn close_object(map: &mut Map<String, Value>, closing: bool) {
    let declares = map.contains_key("properties")
        && !map.contains_key("additionalProperties")
        && !map.contains_key("patternProperties");
    if closing && declares && !MERGED.iter().any(|key| map.contains_key(*key)) {
        map.insert("additionalProperties".into(), Value::Bool(false));
    }
}

/// A JSON pointer in a URI fragment.
fn unescape(pointer: &str) -> String {
    let mut out = Vec::new();
    let bytes = pointer.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| bytes[at] == b'%') {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_closed_and_numbers_bounded() {
        let schema = json!({"properties": {"n": {"type": "integer", "minimum": 0}, "o": {"type": "object",
            "properties": {"x": {"description": "anything"}}}, "open": {"type": "object"}}});
        let tight = tighten(&schema, Level::Enforceable);
        assert_eq!(tight.dropped, [""; 0]);
        let s = &tight.schema;
        assert_eq!(s["type"], "object");
        assert_eq!(s["additionalProperties"], false);
        assert_eq!(s["properties"]["n"], json!({"type": "integer", "minimum": 0, "maximum": INTEGER}));
        assert_eq!(s["properties"]["o"]["additionalProperties"], false);
        assert_eq!(s["properties"]["o"]["properties"]["x"], any_ref());
        assert_eq!(s["properties"]["open"], json!({"type": "object", "additionalProperties": any_ref()}));
        assert!(s["$defs"][ANY].is_object());
    }

    #[test]
    fn parts_of_a_merged_object_stay_open() {
        let schema = json!({"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]});
        let closed = close(&schema);
        assert_eq!(closed, schema);
        let branch =
            json!({"properties": {"a": {}}, "anyOf": [{"required": ["a"]}, {"properties": {"b": {}}}]});
        assert_eq!(close(&branch), branch);
    }

    #[test]
    fn what_cannot_be_enforced_is_dropped_by_name() {
        let schema = json!({"properties": {"a": {"type": "array", "uniqueItems": true, "items": {"not": {}}},
            "b": {"type": "string", "format": "x"}, "c": {"$ref": "other.json"}}});
        let tight = tighten(&schema, Level::Enforceable);
        assert_eq!(tight.dropped, ["uniqueItems", "not", "format", "$ref"]);
        let object = tighten(&schema, Level::Object);
        assert_eq!(object.schema["additionalProperties"], any_ref());
        assert_eq!(object.dropped, ["parameters"]);
    }
}
