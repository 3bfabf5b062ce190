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
    ENDS.iter().any(|end| letters.ends_with(end))
}

fn letters_of(key: &str) -> String {
    key.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// Whether all values below a key are taken for secrets: headers, and variables for other programs.
pub(crate) fn is_secret_area(key: &str) -> bool {
    matches!(letters_of(key).as_str(), "headers" | "env")
}

/// The places of all secrets in a tree.
pub(crate) fn secret_spans(root: &Node) -> Vec<Range<usize>> {
    fn walk(node: &Node, secret: bool, area: bool, spans: &mut Vec<Range<usize>>) {
        match &node.value {
            Value::Object(entries) => {
                for entry in entries {
                    let area = area || is_secret_area(&entry.key);
                    walk(&entry.value, is_secret_key(&entry.key), area, spans);
                }
            }
            Value::Array(nodes) => nodes
                .iter()
                .for_each(|node| walk(node, secret, area, spans)),
            Value::String(text) if only_variable(text).is_some() => {}
            Value::String(_) | Value::Number(_) if secret || area => {
                spans.push(node.span.start..node.span.end)
            }
            _ => {}
        }
    }
    let mut spans = Vec::new();
    walk(root, false, false, &mut spans);
    spans
}

/// The places of what may be a secret in a text that cannot be parsed: the value after each key
/// whose name hints at one. Takes too much rather than too little.
pub(crate) fn secret_spans_of_text(text: &str) -> Vec<Range<usize>> {
    const HINTS: &[&str] = &[
        "key",
        "token",
        "secret",
        "pass",
        "auth",
        "credential",
        "cookie",
        "headers",
        "env",
    ];
    let bytes = text.as_bytes();
    let mut spans = Vec::new();
    for (colon, _) in text.match_indices(':') {
        let before = text[..colon].trim_end().trim_end_matches(['"', '\'']);
        let start = before
            .rfind(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_' | '$' | '.')))
            .map_or(0, |n| {
                n + before[n..].chars().next().map_or(1, char::len_utf8)
            });
        let key = letters_of(&before[start..]);
        if !HINTS.iter().any(|hint| key.contains(hint)) {
            continue;
        }
        let value = text.len() - text[colon + 1..].trim_start().len();
        match bytes.get(value) {
            Some(quote @ (b'"' | b'\'')) => {
                let mut end = value + 1;
                while end < bytes.len() && bytes[end] != *quote && bytes[end] != b'\n' {
                    end += if bytes[end] == b'\\' { 2 } else { 1 };
                }
                spans.push(value..(end + 1).min(bytes.len()));
            }
            Some(b'{') => {
                let end = text[value..].find('}').map_or(text.len(), |n| value + n);
                spans.push(value + 1..end);
            }
            Some(_) => {
                let end = text[value..]
                    .find([',', '}', '\n'])
                    .map_or(text.len(), |n| value + n);
                spans.push(value..end);
            }
            None => {}
        }
    }
    spans
}
