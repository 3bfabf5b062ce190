//! How a config's text is laid out: indentation, newlines, quotes, commas.

use serde_json::Value as Json;

use crate::tree::{Node, Value};

/// What new parts of a text look like, taken from the text.
#[derive(Debug)]
pub(crate) struct Style {
    /// One level of indentation.
    pub unit: String,
    pub newline: &'static str,
    /// Whether keys stand without quotes.
    pub bare_keys: bool,
    /// What stands behind the last item of an object or list of several lines.
    pub comma: &'static str,
}

impl Style {
    pub fn of(text: &str, root: &Node) -> Style {
        let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let mut style = Style { unit: "  ".to_owned(), newline, bare_keys: true, comma: "," };
        if let Value::Object(entries) = &root.value
            && let (Some(first), Some(last)) = (entries.first(), entries.last())
        {
            let indent = indent_of(text, first.key_span.start);
            if is_first_on_line(text, first.key_span.start) && !indent.is_empty() {
                style.unit = indent.to_owned();
            }
            style.bare_keys = !text[first.key_span.start..].starts_with(['"', '\'']);
            let close = root.span.end.saturating_sub(1);
            if after_item(text, last.value.span.end, close).comma.is_none() {
                style.comma = "";
            }
        }
        style
    }

    /// A key, without quotes if that is wanted and possible.
    pub fn key(&self, key: &str, bare: bool) -> String {
        let is_word = key.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '$'))
            && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$'));
        if bare && is_word { key.to_owned() } else { Json::from(key).to_string() }
    }

    /// A value whose first line stands on a line with this indentation.
    pub fn render(&self, value: &Json, indent: &str) -> String {
        let Style { unit, newline, comma, .. } = self;
        let deeper = format!("{indent}{unit}");
        let lines = |open: char, items: Vec<String>, close: char| {
            let items = items.join(&format!(",{newline}{deeper}"));
            format!("{open}{newline}{deeper}{items}{comma}{newline}{indent}{close}")
        };
        match value {
            Json::Object(fields) if !fields.is_empty() => {
                let items = fields.iter().map(|(key, value)| {
                    format!("{}: {}", self.key(key, self.bare_keys), self.render(value, &deeper))
                });
                lines('{', items.collect(), '}')
            }
            Json::Array(values) if values.iter().any(|value| value.is_object() || value.is_array()) => {
                lines('[', values.iter().map(|value| self.render(value, &deeper)).collect(), ']')
            }
            Json::Array(values) => {
                let values: Vec<String> = values.iter().map(Json::to_string).collect();
                format!("[{}]", values.join(", "))
            }
            scalar => scalar.to_string(),
        }
    }
}

/// What follows an item of an object or a list.
pub(crate) struct After {
    /// The place of its comma.
    pub comma: Option<usize>,
    /// Behind the comma and the comments that stand on the same line as the item's end.
    pub line_end: usize,
}

/// Reads the blanks and comments between the end of an item and `limit`, the next item or the
/// closing bracket.
pub(crate) fn after_item(text: &str, end: usize, limit: usize) -> After {
    let bytes = text.as_bytes();
    let mut comma = None;
    let mut line_end = end;
    let mut same_line = true;
    let mut at = end;
    while at < limit {
        let rest = &text[at..limit];
        let (length, counts) = match bytes[at] {
            b',' if comma.is_none() => {
                comma = Some(at);
                // The comma decides where the item ends, on whatever line it stands.
                same_line = true;
                (1, true)
            }
            b'/' if rest.starts_with("//") => (rest.find(['\n', '\r']).unwrap_or(rest.len()), true),
            b'/' if rest.starts_with("/*") => (rest.find("*/").map_or(rest.len(), |n| n + 2), true),
            b'\n' | b'\r' => {
                same_line = false;
                (1, false)
            }
            _ => (rest.chars().next().map_or(1, char::len_utf8), false),
        };
        at += length;
        if counts && same_line {
            line_end = at;
        }
    }
    After { comma, line_end }
}

/// The blanks with which the line begins on which the byte `at` stands.
pub(crate) fn indent_of(text: &str, at: usize) -> &str {
    let start = text[..at].rfind(['\n', '\r']).map_or(0, |n| n + 1);
    let line = &text[start..];
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

/// Whether only blanks stand before the byte `at` on its line.
pub(crate) fn is_first_on_line(text: &str, at: usize) -> bool {
    let start = text[..at].rfind(['\n', '\r']).map(|n| n + 1);
    start.is_some_and(|start| text[start..at].trim().is_empty())
}

/// Behind the spaces and tabs at `at`.
pub(crate) fn skip_blanks(text: &str, at: usize) -> usize {
    text.len() - text[at..].trim_start_matches([' ', '\t']).len()
}

/// Before the spaces and tabs in front of `at`.
pub(crate) fn skip_blanks_back(text: &str, at: usize) -> usize {
    text[..at].trim_end_matches([' ', '\t']).len()
}
