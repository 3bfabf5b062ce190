//! JSON as models write it: a lenient reader, and a writer with Python's spacing.

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

/// Nesting that the lenient reader follows; the same as serde_json's own limit.
const MAX_DEPTH: usize = 128;

/// Reads `text` strictly, and where that fails leniently. `None` if even the lenient reading
/// finds no value or something stands after it.
///
/// Lenient means: single quotes, trailing and missing-at-the-end commas, bare keys, raw control
/// characters in strings, Python's `True`, `False` and `None`, unknown escapes, unescaped quotes
/// inside a string, and braces that are still open at the end. A string that is still open at the
/// end is refused: it may have been cut.
pub(crate) fn parse(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().or_else(|| parse_lenient(text))
}

/// The lenient half of [`parse`].
pub(crate) fn parse_lenient(text: &str) -> Option<Value> {
    let mut reader = Lenient { text, at: 0 };
    let value = reader.value(0)?;
    reader.space();
    // One brace too many is a common fault and adds nothing.
    while reader.eat('}') {
        reader.space();
    }
    reader.rest().is_empty().then_some(value)
}

struct Lenient<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lenient<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn eat(&mut self, c: char) -> bool {
        let hit = self.rest().starts_with(c);
        if hit {
            self.at += c.len_utf8();
        }
        hit
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.space();
        match self.peek()? {
            '{' => self.object(depth),
            '[' => self.array(depth),
            quote @ ('"' | '\'') => self.string(quote).map(Value::String),
            _ => self.word(),
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        self.eat('{');
        let mut map = Map::new();
        loop {
            self.space();
            match self.peek() {
                None => return Some(Value::Object(map)),
                Some('}') => {
                    self.eat('}');
                    return Some(Value::Object(map));
                }
                // The array or object around this one closes it.
                Some(']') => return Some(Value::Object(map)),
                Some(',') => {
                    self.eat(',');
                    continue;
                }
                Some(_) => {}
            }
            let key = self.key()?;
            self.space();
            if !self.eat(':') {
                return None;
            }
            let value = self.value(depth + 1)?;
            map.insert(key, value);
            self.separator()?;
        }
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        self.eat('[');
        let mut items = Vec::new();
        loop {
            self.space();
            match self.peek() {
                None => return Some(Value::Array(items)),
                Some(']') => {
                    self.eat(']');
                    return Some(Value::Array(items));
                }
                Some('}') => return Some(Value::Array(items)),
                Some(',') => {
                    self.eat(',');
                    continue;
                }
                Some(_) => {}
            }
            items.push(self.value(depth + 1)?);
            self.separator()?;
        }
    }

    /// After an item: a comma, a closing bracket or the end must follow.
    fn separator(&mut self) -> Option<()> {
        self.space();
        matches!(self.peek(), None | Some(',' | '}' | ']')).then_some(())
    }

    fn key(&mut self) -> Option<String> {
        match self.peek()? {
            quote @ ('"' | '\'') => self.string(quote),
            _ => {
                let rest = self.rest();
                let len = rest
                    .find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '$')))
                    .unwrap_or(rest.len());
                self.at += len;
                (len > 0).then(|| rest[..len].to_owned())
            }
        }
    }

    fn string(&mut self, quote: char) -> Option<String> {
        self.eat(quote);
        let mut out = String::new();
        let mut chars = self.rest().char_indices();
        let base = self.at;
        while let Some((offset, c)) = chars.next() {
            if c == quote {
                let after = &self.text[base + offset + 1..];
                if ends_string(after) {
                    self.at = base + offset + 1;
                    return Some(out);
                }
                out.push(c);
            } else if c == '\\' {
                let (_, escaped) = chars.next()?;
                match escaped {
                    'n' => out.push('\n'),
                    't' => out.push('\t'),
                    'r' => out.push('\r'),
                    'b' => out.push('\u{8}'),
                    'f' => out.push('\u{c}'),
                    'u' => {
                        let hex = chars.as_str();
                        let (decoded, used) = unicode_escape(hex)?;
                        out.push(decoded);
                        chars.nth(used - 1);
                    }
                    '"' | '\'' | '\\' | '/' => out.push(escaped),
                    other => {
                        out.push('\\');
                        out.push(other);
                    }
                }
            } else {
                out.push(c);
            }
        }
        None
    }

    fn word(&mut self) -> Option<Value> {
        let rest = self.rest();
        let len = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.')))
            .unwrap_or(rest.len());
        let word = &rest[..len];
        let value = match word {
            "true" | "True" => Value::Bool(true),
            "false" | "False" => Value::Bool(false),
            "null" | "None" => Value::Null,
            number => Value::Number(number_of(number)?),
        };
        self.at += len;
        Some(value)
    }
}

/// Whether a quote that is followed by `after` ends its string. A quote that is followed by more
/// text was meant as part of it.
fn ends_string(after: &str) -> bool {
    matches!(after.trim_start().chars().next(), None | Some(',' | '}' | ']' | ':'))
}

/// Decodes the digits after `\u`, a surrogate pair included; gives the character and how many
/// characters of `hex` it took.
fn unicode_escape(hex: &str) -> Option<(char, usize)> {
    let unit = |text: &str| u32::from_str_radix(text.get(..4)?, 16).ok();
    let high = unit(hex)?;
    if let Some(c) = char::from_u32(high) {
        return Some((c, 4));
    }
    let low = hex.get(4..)?.strip_prefix("\\u").and_then(unit);
    match low {
        Some(low) if (0xd800..0xdc00).contains(&high) && (0xdc00..0xe000).contains(&low) => {
            let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            Some((char::from_u32(code)?, 10))
        }
        _ => Some((char::REPLACEMENT_CHARACTER, 4)),
    }
}

/// A JSON number, or one with a leading `+` or a bare point, as Python writes it.
pub(crate) fn number_of(text: &str) -> Option<Number> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if let Ok(int) = text.parse::<i64>() {
        return Some(int.into());
    }
    if let Ok(int) = text.parse::<u64>() {
        return Some(int.into());
    }
    let digits = text.trim_start_matches('-');
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    Number::from_f64(text.parse().ok()?)
}

/// How [`write_json`] lays a value out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout<'a> {
    /// Between items.
    pub(crate) item: &'a str,
    /// Between a key and its value.
    pub(crate) key: &'a str,
    /// Spaces per level; `None` keeps everything on one line.
    pub(crate) indent: Option<usize>,
    /// Keys in the order of their code points instead of their own.
    pub(crate) sort_keys: bool,
    /// Everything beyond ASCII as `\u` escapes.
    pub(crate) ascii: bool,
}

/// The layout of Python's `json.dumps(value, ensure_ascii=False)`.
pub(crate) const PYTHON: Layout<'static> =
    Layout { item: ", ", key: ": ", indent: None, sort_keys: false, ascii: false };

/// `value` as Python's `json.dumps(value, ensure_ascii=False)` writes it, which is what chat
/// templates were trained with.
pub fn dumps(value: &Value) -> String {
    let mut out = String::new();
    write_json(&mut out, value, PYTHON, 0);
    out
}

/// Appends `value` in `layout`; `level` is the nesting that it stands at.
pub(crate) fn write_json(out: &mut String, value: &Value, layout: Layout<'_>, level: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => write_number(out, number),
        Value::String(text) => write_string(out, text, layout.ascii),
        Value::Array(items) if items.is_empty() => out.push_str("[]"),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                between(out, index, layout, level + 1);
                write_json(out, item, layout, level + 1);
            }
            newline(out, layout, level);
            out.push(']');
        }
        Value::Object(map) if map.is_empty() => out.push_str("{}"),
        Value::Object(map) => {
            out.push('{');
            let mut entries: Vec<_> = map.iter().collect();
            if layout.sort_keys {
                entries.sort_by(|a, b| a.0.cmp(b.0));
            }
            for (index, (key, item)) in entries.into_iter().enumerate() {
                between(out, index, layout, level + 1);
                write_string(out, key, layout.ascii);
                out.push_str(layout.key);
                write_json(out, item, layout, level + 1);
            }
            newline(out, layout, level);
            out.push('}');
        }
    }
}

fn between(out: &mut String, index: usize, layout: Layout<'_>, level: usize) {
    if index > 0 {
        out.push_str(layout.item);
    }
    newline(out, layout, level);
}

fn newline(out: &mut String, layout: Layout<'_>, level: usize) {
    if let Some(width) = layout.indent {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', width * level));
    }
}

/// Writes a number as Python's `repr` does: floats beyond 1e16 or below 1e-4 in scientific
/// notation with a signed two-digit exponent.
fn write_number(out: &mut String, number: &Number) {
    match number.as_f64() {
        Some(float) if number.is_f64() => {
            let exponent = if float == 0.0 { 0 } else { float.abs().log10().floor() as i32 };
            let scientific = format!("{float:e}");
            let (mantissa, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
            let power: i32 = power.parse().unwrap_or(exponent);
            if (-4..16).contains(&power) {
                let text = format!("{float}");
                out.push_str(&text);
                if !text.contains('.') {
                    out.push_str(".0");
                }
            } else {
                let sign = if power < 0 { '-' } else { '+' };
                let _ = write!(out, "{mantissa}e{sign}{:02}", power.abs());
            }
        }
        _ => {
            let _ = write!(out, "{number}");
        }
    }
}

/// Writes `text` as a JSON string.
fn write_string(out: &mut String, text: &str, ascii: bool) {
    out.push('"');
    write_body(out, text, ascii);
    out.push('"');
}

/// What stands between the quotes of a JSON string.
pub(crate) fn string_body(out: &mut String, text: &str) {
    write_body(out, text, false);
}

fn write_body(out: &mut String, text: &str, ascii: bool) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c if ascii && (!c.is_ascii() || c == '\u{7f}') => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lenient_reading() {
        let table = [
            (r#"{'a': 'b'}"#, json!({"a": "b"})),
            (r#"{"a": 1,}"#, json!({"a": 1})),
            (r#"{"a": [1, 2"#, json!({"a": [1, 2]})),
            (r#"{"a": True, "b": None, "c": False}"#, json!({"a": true, "b": null, "c": false})),
            ("{\"a\": \"x\ny\"}", json!({"a": "x\ny"})),
            (r#"{"a": "say "hi" now"}"#, json!({"a": "say \"hi\" now"})),
            (r#"{a: 1, b_c: -2.5}"#, json!({"a": 1, "b_c": -2.5})),
            (r#"{"a": {"b": 1}}}"#, json!({"a": {"b": 1}})),
            (
                r#"{"re": "\d+\.", "u": "\u00e9\ud83e\udd80", "q": 'it\'s'}"#,
                json!({"re": "\\d+\\.", "u": "\u{e9}\u{1f980}", "q": "it's"}),
            ),
            (r#"{"a": [{"b": 1]}"#, json!({"a": [{"b": 1}]})),
        ];
        for (text, want) in table {
            assert_eq!(parse(text), Some(want), "{text}");
        }
        for text in ["", "{\"a\": }", "{\"a\": \"cut", "{\"a\" 1}", "{\"a\": 1} x", "hello", "{\"a\": nan}"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse(&"[".repeat(100_000)), None);
    }

    /// Oracle: CPython 3.11, `json.dumps(v, ensure_ascii=False)`.
    #[test]
    fn python_spacing() {
        let table = [
            (json!({"a": [1, 2.0, "x"], "b": {}}), r#"{"a": [1, 2.0, "x"], "b": {}}"#),
            (
                json!([1e16, 1e-5, 1.5e300, 0.0001, 123456789012345.0]),
                "[1e+16, 1e-05, 1.5e+300, 0.0001, 123456789012345.0]",
            ),
            (json!("é\u{7f}\u{1}\"\\/\n"), "\"é\u{7f}\\u0001\\\"\\\\/\\n\""),
            (json!([]), "[]"),
            (json!(-0.0), "-0.0"),
        ];
        for (value, want) in table {
            assert_eq!(dumps(&value), want);
        }
        let mut out = String::new();
        let layout = Layout { item: ",", indent: Some(2), ..PYTHON };
        write_json(&mut out, &json!({"a": [1, {}], "b": {"c": null}}), layout, 0);
        assert_eq!(out, "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": {\n    \"c\": null\n  }\n}");
    }
}
