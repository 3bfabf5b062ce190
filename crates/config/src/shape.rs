//! What a value may look like, as data: the one description that the decoder, the JSON Schema and
//! the reference page are made from.

use serde_json::{Value, json};

/// What a value may be.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    Bool,
    /// A whole number, and the smallest that is allowed.
    Whole {
        min: u64,
    },
    /// A number of at least 0.
    Amount,
    /// Seconds, above 0.
    Seconds,
    /// A string, and what it holds.
    Text(&'static str),
    /// One of these strings, each with its meaning.
    Choice(Vec<(&'static str, &'static str)>),
    List(Box<Shape>),
    /// An object with any keys, and what the keys are.
    Map {
        key: &'static str,
        value: Box<Shape>,
    },
    /// An object of any content, and what it holds.
    Fields(&'static str),
    Object(ObjectShape),
    OneOf(Vec<Shape>),
}

/// An object with known keys.
#[derive(Debug, Clone)]
pub(crate) struct ObjectShape {
    pub doc: &'static str,
    pub fields: Vec<Field>,
    /// OpenClaw's keys that have no effect here.
    pub elsewhere: Vec<&'static str>,
}

#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub key: &'static str,
    pub doc: &'static str,
    pub shape: Shape,
    pub required: bool,
}

impl Shape {
    /// This object, or a string that is short for it.
    pub fn or_short(self, words: &'static str) -> Shape {
        Shape::OneOf(vec![Shape::Text(words), self])
    }

    /// In a few words, for the reference and for errors.
    pub fn words(&self) -> String {
        match self {
            Shape::Bool => "true or false".to_owned(),
            Shape::Whole { min: 0 } => "a whole number".to_owned(),
            Shape::Whole { min: 1 } => "a whole number above 0".to_owned(),
            Shape::Whole { min } => format!("a whole number of at least {min}"),
            Shape::Amount => "a number of at least 0".to_owned(),
            Shape::Seconds => "a number of seconds above 0".to_owned(),
            Shape::Text(what) => (*what).to_owned(),
            Shape::Choice(choices) => {
                let names: Vec<String> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
                match names.as_slice() {
                    [only] => only.clone(),
                    [head @ .., last] => format!("{} or {last}", head.join(", ")),
                    [] => String::new(),
                }
            }
            Shape::List(item) => format!("a list, each item {}", item.words()),
            Shape::Map { key, .. } => format!("an object with {key} as keys"),
            Shape::Fields(what) => (*what).to_owned(),
            Shape::Object(_) => "an object".to_owned(),
            Shape::OneOf(shapes) => shapes.iter().map(Shape::words).collect::<Vec<_>>().join(", or "),
        }
    }

    /// JSON Schema, draft 2020-12.
    pub fn schema(&self) -> Value {
        match self {
            Shape::Bool => json!({"type": "boolean"}),
            Shape::Whole { min } => json!({"type": "integer", "minimum": min}),
            Shape::Amount => json!({"type": "number", "minimum": 0}),
            Shape::Seconds => json!({"type": "number", "exclusiveMinimum": 0}),
            Shape::Text(_) => json!({"type": "string"}),
            Shape::Choice(choices) => {
                json!({"enum": choices.iter().map(|(name, _)| name).collect::<Vec<_>>()})
            }
            Shape::List(item) => json!({"type": "array", "items": item.schema()}),
            Shape::Map { value, .. } => {
                json!({"type": "object", "additionalProperties": value.schema()})
            }
            Shape::Fields(_) => json!({"type": "object"}),
            Shape::OneOf(shapes) => {
                json!({"anyOf": shapes.iter().map(Shape::schema).collect::<Vec<_>>()})
            }
            Shape::Object(object) => {
                let mut properties = serde_json::Map::new();
                for field in &object.fields {
                    let mut schema = field.shape.schema();
                    schema["description"] = one_line(field.doc).into();
                    properties.insert(field.key.to_owned(), schema);
                }
                for key in &object.elsewhere {
                    properties.insert(
                        (*key).to_owned(),
                        json!({"description": "Known from OpenClaw; no effect here."}),
                    );
                }
                properties.insert("$include".to_owned(), include_schema());
                let required: Vec<&str> =
                    object.fields.iter().filter(|field| field.required).map(|field| field.key).collect();
                let mut schema = json!({"type": "object", "properties": properties});
                if !required.is_empty() {
                    schema["required"] = json!(required);
                }
                schema
            }
        }
    }
}

fn include_schema() -> Value {
    json!({
        "description": "Files merged into this object; its own keys win.",
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    })
}

/// A doc comment as one line.
pub(crate) fn one_line(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}
