//! What is never shown: which values of a config are secrets.

use std::ops::Range;

use crate::text::only_variable;
use crate::tree::{Node, Value};

/// Whether a key holds a secret by its name, in whatever area of the file.
pub(crate) fn is_secret_key(key: &str) -> bool {
    const ENDS: &[&str] = &[
        "apikey",
        "accesskey",
        "privatekey",
        "secretkey",
        "authkey",
        "token",
        "secret",
        "password",
        "passwd",
        "passphrase",
        "authorization",
        "credential",
        "credentials",
        "cookie",
    ];
    let letters = letters_of(key);
    letters == "key" || ENDS.iter().any(|end| letters.ends_with(end))
}

fn letters_of(key: &str) -> String {
    key.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Whether all values below a key are taken for secrets: headers, and variables for other programs.
pub(crate) fn is_secret_area(key: &str) -> bool {
    matches!(letters_of(key).as_str(), "headers" | "env")
}

/// Whether a string carries a login: `http://user:password@host`.
fn has_login(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else { return false };
    rest.split(['/', '?', '#']).next().is_some_and(|host| host.contains('@'))
}

/// What is known about a value from the keys above it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Context {
    named: bool,
    area: bool,
}

impl Context {
    /// One key further down.
    pub fn below(self, key: &str) -> Context {
        Context { named: is_secret_key(key), area: self.area || is_secret_area(key) }
    }

    /// Whether the value's key, or the area it stands in, holds secrets.
    pub fn is_named(self) -> bool {
        self.named || self.area
    }

    /// Whether a value is a secret, or a reference to one.
    pub fn hides(self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.is_named() || has_login(text),
            Value::Number(_) => self.is_named(),
            _ => false,
        }
    }
}

/// The places of all secrets in a tree; `"${NAME}"` is none.
pub(crate) fn secret_spans(root: &Node) -> Vec<Range<usize>> {
    fn walk(node: &Node, context: Context, spans: &mut Vec<Range<usize>>) {
        match &node.value {
            Value::Object(entries) => {
                for entry in entries {
                    walk(&entry.value, context.below(&entry.key), spans);
                }
            }
            Value::Array(nodes) => nodes.iter().for_each(|node| walk(node, context, spans)),
            Value::String(text) if only_variable(text).is_some() => {}
            value if context.hides(value) => spans.push(node.span.start..node.span.end),
            _ => {}
        }
    }
    let mut spans = Vec::new();
    walk(root, Context::default(), &mut spans);
    spans
}

/// The places of what may be a secret in a text that cannot be parsed: the value after each key
/// whose name hints at one. Takes too much rather than too little.
pub(crate) fn secret_spans_of_text(text: &str) -> Vec<Range<usize>> {
    const HINTS: &[&str] =
        &["key", "token", "secret", "pass", "auth", "credential", "cookie", "headers", "env"];
    let mut spans = Vec::new();
    for (colon, _) in text.match_indices(':') {
        let before = text[..colon].trim_end().trim_end_matches(['"', '\'']);
        let start = before
            .rfind(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_' | '$' | '.')))
            .map_or(0, |n| n + before[n..].chars().next().map_or(1, char::len_utf8));
        let key = letters_of(&before[start..]);
        if !HINTS.iter().any(|hint| key.contains(hint)) {
            continue;
        }
        let value = text.len() - text[colon + 1..].trim_start().len();
        let rest = &text[value..];
        let end = match rest.chars().next() {
            Some(quote @ ('"' | '\'')) => rest[1..].find([quote, '\n']).map(|n| n + 2),
            Some('{') => rest.find('}'),
            _ => rest.find([',', '}', '\n']),
        };
        spans.push(value..value + end.unwrap_or(rest.len()));
    }
    spans
}
