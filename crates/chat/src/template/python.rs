//! Values as Python prints them, and Python's methods that minijinja lacks.

use minijinja::value::{Kwargs, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value as Jinja};
use serde_json::Value;

use crate::json::dumps;

/// `str(value)`: what `{{ value }}` prints.
pub(super) fn str_of(value: &Jinja) -> String {
    match value.kind() {
        ValueKind::Undefined => String::new(),
        ValueKind::String => value.as_str().unwrap_or_default().to_owned(),
        ValueKind::Plain | ValueKind::Bytes | ValueKind::Invalid => value.to_string(),
        _ => match serde_json::to_value(value) {
            Ok(data) => repr(&data),
            Err(_) => value.to_string(),
        },
    }
}

/// `repr(value)`.
fn repr(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(_) => dumps(value),
        Value::String(text) => repr_str(text),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(repr).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(map) => {
            let entries: Vec<_> =
                map.iter().map(|(key, item)| format!("{}: {}", repr_str(key), repr(item))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

fn repr_str(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if printable(c) => out.push(c),
            c => out.push_str(&match c as u32 {
                code @ ..0x100 => format!("\\x{code:02x}"),
                code @ ..0x10000 => format!("\\u{code:04x}"),
                code => format!("\\U{code:08x}"),
            }),
        }
    }
    out.push(quote);
    out
}

/// What `repr` does not escape. Of the invisible format characters those that occur in text are
/// known here.
fn printable(c: char) -> bool {
    let format = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let private = matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..);
    c == ' ' || !(c.is_control() || c.is_whitespace() || format || private)
}

/// `text.splitlines()`.
fn split_lines(text: &str) -> Vec<&str> {
    let breaks = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(breaks) {
        let width = rest[at..].chars().next().map_or(1, char::len_utf8);
        let width = if rest[at..].starts_with("\r\n") { 2 } else { width };
        lines.push(&rest[..at]);
        rest = &rest[at + width..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

/// Jinja's `indent` filter: every line but the first, and empty ones only with `blank`.
pub(super) fn indent(text: &str, width: Option<Jinja>, options: Kwargs) -> Result<String, Error> {
    let width = match width {
        Some(width) => width,
        None => options.get::<Option<Jinja>>("width")?.unwrap_or(Jinja::from(4)),
    };
    let first = options.get::<Option<bool>>("first")?.unwrap_or(false);
    let blank = options.get::<Option<bool>>("blank")?.unwrap_or(false);
    options.assert_all_used()?;
    let pad = match width.as_str() {
        Some(pad) => pad.to_owned(),
        None => " ".repeat(usize::try_from(width)?),
    };
    let text = format!("{text}\n");
    let lines = split_lines(&text);
    let mut out = String::new();
    for (index, line) in lines.iter().enumerate() {
        let padded = if index == 0 { first } else { blank || !line.is_empty() };
        out += if index > 0 { "\n" } else { "" };
        out += if padded { &pad } else { "" };
        out += line;
    }
    Ok(out)
}

/// `text.title()`: every letter after something that is no letter is a capital one.
fn title(text: &str) -> String {
    let mut after_letter = false;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match after_letter {
            true => out.extend(c.to_lowercase()),
            // The title case of a ligature is its first letter alone.
            false => out.extend(
                c.to_uppercase().take(1).chain(c.to_uppercase().skip(1).flat_map(char::to_lowercase)),
            ),
        }
        after_letter = c.is_alphabetic();
    }
    out
}

/// Python's methods on strings, lists and dicts.
pub(super) fn method(state: &mut State, value: &Jinja, name: &str, args: &[Jinja]) -> Result<Jinja, Error> {
    let text = value.as_str();
    match (name, text) {
        ("title", Some(text)) => from_args::<()>(args).map(|()| title(text).into()),
        ("splitlines", Some(text)) if args.is_empty() => {
            Ok(split_lines(text).into_iter().map(Jinja::from).collect::<Vec<_>>().into())
        }
        ("removeprefix", Some(text)) => {
            let (prefix,): (&str,) = from_args(args)?;
            Ok(text.strip_prefix(prefix).unwrap_or(text).into())
        }
        ("removesuffix", Some(text)) => {
            let (suffix,): (&str,) = from_args(args)?;
            Ok(text.strip_suffix(suffix).unwrap_or(text).into())
        }
        ("rsplit", Some(text)) => {
            let (separator, most): (&str, Option<usize>) = from_args(args)?;
            let most = most.map_or(usize::MAX, |most| most.saturating_add(1));
            let mut parts: Vec<_> = text.rsplitn(most, separator).map(Jinja::from).collect();
            parts.reverse();
            Ok(parts.into())
        }
        ("partition", Some(text)) => {
            let (separator,): (&str,) = from_args(args)?;
            let (before, mid, after) = match text.split_once(separator) {
                Some((before, after)) => (before, separator, after),
                None => (text, "", ""),
            };
            Ok(vec![Jinja::from(before), mid.into(), after.into()].into())
        }
        ("index", Some(text)) => {
            let (part,): (&str,) = from_args(args)?;
            let at = text.find(part).ok_or_else(|| not_found(part))?;
            Ok(text[..at].chars().count().into())
        }
        ("index", None) if value.kind() == ValueKind::Seq => {
            let (wanted,): (Jinja,) = from_args(args)?;
            let at = value.try_iter()?.position(|item| item == wanted);
            at.map(Jinja::from).ok_or_else(|| not_found(&wanted.to_string()))
        }
        ("copy", None) if matches!(value.kind(), ValueKind::Seq | ValueKind::Map) => Ok(value.clone()),
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args),
    }
}

fn not_found(part: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("{part:?} is not in it"))
}
