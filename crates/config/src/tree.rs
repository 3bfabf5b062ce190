//! The text as a tree in which every value knows its place.

use jsonc_parser::ast;
use jsonc_parser::common::Ranged;
use jsonc_parser::errors::{ParseError, ParseErrorKind};
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use crate::diagnostic::Diagnostic;
use crate::key_path::{KeyPath, Segment};
use crate::redact;
use crate::source::{Source, Sources, Span};

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub span: Span,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// As it is written: JSON5 has more numbers than any one type.
    Number(String),
    String(String),
    Array(Vec<Node>),
    Object(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub key: String,
    pub key_span: Span,
    pub value: Node,
}

/// JSON5: comments, trailing commas, single quotes, unquoted keys, hex, `+1`, `.5`, escapes; not
/// the parser's own allowance of missing commas.
fn options() -> ParseOptions {
    ParseOptions { allow_missing_commas: false, ..ParseOptions::default() }
}

/// A text that was read.
pub(crate) struct Parsed {
    pub root: Node,
    /// An error for each key that stands twice in one object.
    pub duplicates: Vec<Diagnostic>,
}

/// Adds a text to the sources and reads it; an empty text is an empty object. The error is the
/// first one of syntax.
pub(crate) fn parse(sources: &mut Sources, source: Source) -> Result<Parsed, Box<Diagnostic>> {
    let file = sources.0.len();
    sources.0.push(source);
    let text = sources.0[file].text.as_str();
    let mut duplicates = Vec::new();
    let parsed = parse_to_ast(text, &CollectOptions::default(), &options());
    let root = parsed.map(|parsed| match parsed.value {
        Some(value) => convert(value, file, &mut KeyPath::default(), &mut duplicates),
        None => Node { span: Span { file, start: 0, end: text.len() }, value: Value::Object(Vec::new()) },
    });
    match root {
        Ok(root) => {
            sources.0[file].masks = redact::secret_spans(&root);
            let duplicates = duplicates.into_iter().map(|(path, first, second)| {
                Diagnostic::error("this key stands twice in one object")
                    .key(path)
                    .hint("keep one of the two")
                    .at(sources.place(second))
                    .related("the first one", sources.place(first))
            });
            Ok(Parsed { root, duplicates: duplicates.collect() })
        }
        Err(error) => {
            let diagnostic = syntax_error(&error);
            let span = Span { file, start: error.range().start, end: error.range().end };
            sources.0[file].masks = redact::secret_spans_of_text(text);
            Err(Box::new(diagnostic.at(sources.place(span))))
        }
    }
}

fn syntax_error(error: &ParseError) -> Diagnostic {
    let hint = match error.kind() {
        ParseErrorKind::ExpectedComma => "put a comma between the two",
        ParseErrorKind::UnexpectedWord | ParseErrorKind::UnexpectedToken => {
            "put text in quotes, and quotes around keys with other than letters, digits, `_` and `$`"
        }
        ParseErrorKind::UnterminatedObject => "close it with `}`",
        ParseErrorKind::UnterminatedArray => "close it with `]`",
        ParseErrorKind::UnterminatedCommentBlock => "close it with `*/`",
        ParseErrorKind::MultipleRootJsonValues => "the file is one object: look for a `}` too many",
        ParseErrorKind::ExpectedColonAfterObjectKey => "write key: value",
        ParseErrorKind::ExpectedObjectValue | ParseErrorKind::UnexpectedCloseBrace => {
            "write a value after the colon, or remove the key"
        }
        ParseErrorKind::String(_) => "close the quotes on the same line; a backslash is written twice",
        ParseErrorKind::NestingDepthExceeded => "at most 512 levels are read",
        _ => "the file is JSON5: https://json5.org",
    };
    let kind = error.kind().to_string();
    let mut letters = kind.chars();
    let lower: String = letters.next().into_iter().flat_map(char::to_lowercase).chain(letters).collect();
    Diagnostic::error(format!("syntax: {lower}")).hint(hint)
}

type Duplicate = (String, Span, Span);

fn convert(value: ast::Value<'_>, file: usize, path: &mut KeyPath, duplicates: &mut Vec<Duplicate>) -> Node {
    let range = value.range();
    let span = Span { file, start: range.start, end: range.end };
    let value = match value {
        ast::Value::NullKeyword(_) => Value::Null,
        ast::Value::BooleanLit(lit) => Value::Bool(lit.value),
        ast::Value::NumberLit(lit) => Value::Number(lit.value.to_owned()),
        ast::Value::StringLit(lit) => Value::String(lit.value.into_owned()),
        ast::Value::Array(array) => {
            let nodes = array.elements.into_iter().enumerate().map(|(n, element)| {
                path.0.push(Segment::Index(n));
                let node = convert(element, file, path, duplicates);
                path.0.pop();
                node
            });
            Value::Array(nodes.collect())
        }
        ast::Value::Object(object) => {
            let mut entries: Vec<Entry> = Vec::with_capacity(object.properties.len());
            for property in object.properties {
                let range = property.name.range();
                let key_span = Span { file, start: range.start, end: range.end };
                let key = property.name.into_string();
                path.0.push(Segment::Key(key.clone()));
                if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                    duplicates.push((path.to_string(), first.key_span, key_span));
                }
                let value = convert(property.value, file, path, duplicates);
                path.0.pop();
                entries.push(Entry { key, key_span, value });
            }
            Value::Object(entries)
        }
    };
    Node { span, value }
}

impl Node {
    pub fn get(&self, segment: &Segment) -> Option<&Node> {
        match (&self.value, segment) {
            (Value::Object(entries), Segment::Key(key)) => {
                entries.iter().find(|entry| entry.key == *key).map(|entry| &entry.value)
            }
            (Value::Array(nodes), Segment::Index(index)) => nodes.get(*index),
            _ => None,
        }
    }

    /// The value at the path, or the length of the part of the path that is there.
    pub fn find(&self, path: &KeyPath) -> Result<&Node, usize> {
        let mut node = self;
        for (depth, segment) in path.0.iter().enumerate() {
            node = node.get(segment).ok_or(depth)?;
        }
        Ok(node)
    }

    /// The entries, if it is an object.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Object(entries) => entries,
            _ => &[],
        }
    }

    /// The string at a key, if it is an object with one there.
    pub fn text(&self, key: &str) -> Option<(&Node, &str)> {
        let entry = self.entries().iter().find(|entry| entry.key == key)?;
        match &entry.value.value {
            Value::String(text) => Some((&entry.value, text)),
            _ => None,
        }
    }

    /// A string as the object for which it is short.
    pub fn shorthand(&self, key: &str) -> Option<Node> {
        let Value::String(_) = self.value else {
            return None;
        };
        let entry = Entry { key: key.to_owned(), key_span: self.span, value: self.clone() };
        Some(Node { span: self.span, value: Value::Object(vec![entry]) })
    }

    /// What kind of value it is, with an article.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        }
    }

    /// As a JSON value; the path of the first number that JSON does not have (`Infinity`, `NaN`,
    /// or beyond the range of a double) otherwise.
    pub fn to_json(&self) -> Result<serde_json::Value, &Node> {
        Ok(match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(raw) => serde_json::Value::Number(json_number(raw).ok_or(self)?),
            Value::String(text) => text.as_str().into(),
            Value::Array(nodes) => nodes.iter().map(Node::to_json).collect::<Result<Vec<_>, _>>()?.into(),
            Value::Object(entries) => entries
                .iter()
                .map(|entry| Ok((entry.key.clone(), entry.value.to_json()?)))
                .collect::<Result<serde_json::Map<_, _>, _>>()?
                .into(),
        })
    }
}

/// A JSON5 number as a double: hex, `+1`, `.5`, `5.`, `Infinity`, `NaN`.
pub(crate) fn number(raw: &str) -> f64 {
    let (sign, digits) = match raw.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, raw.strip_prefix('+').unwrap_or(raw)),
    };
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let value = match hex {
        Some(hex) => hex.chars().fold(0.0, |sum, c| sum * 16.0 + f64::from(c.to_digit(16).unwrap_or(0))),
        None => digits.parse().unwrap_or(f64::NAN),
    };
    sign * value
}

/// A JSON5 number as a whole one, exactly; `128e3` and `1.0` are whole too.
pub(crate) fn whole_number(raw: &str) -> Option<i128> {
    let digits = raw.trim_start_matches(['-', '+']);
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let exact = match hex {
        Some(hex) => i128::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    match exact {
        Ok(value) => Some(if raw.starts_with('-') { -value } else { value }),
        Err(_) => {
            let value = number(raw);
            (value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0).then_some(value as i128)
        }
    }
}

fn json_number(raw: &str) -> Option<serde_json::Number> {
    let is_double = raw.contains(['.', 'e', 'E']) && !raw.contains(['x', 'X']);
    let whole = if is_double || raw == "-0" { None } else { whole_number(raw) };
    match whole {
        Some(value) => match (i64::try_from(value), u64::try_from(value)) {
            (Ok(value), _) => Some(value.into()),
            (_, Ok(value)) => Some(value.into()),
            _ => serde_json::Number::from_f64(value as f64),
        },
        None => serde_json::Number::from_f64(number(raw)),
    }
}
