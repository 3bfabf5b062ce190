//! Writes calls in a dialect, by the same tables that the parser reads them by.

use serde_json::{Map, Value};

use super::{Body, Dialect, NameEnd, NameSyntax, Open, Parallel, ParamSyntax, ValueKind};
use crate::json::dumps;

/// `calls` as a model of this dialect writes them: each a name and its arguments.
pub fn write_calls(dialect: Dialect, calls: &[(&str, &Map<String, Value>)]) -> String {
    let table = dialect.table();
    let (Some(form), false) = (table.forms.first(), calls.is_empty()) else {
        return String::new();
    };
    let (open, close) = match form.open {
        Open::Marker(marker) => (marker, form.close.first().copied().unwrap_or_default()),
        // What ends a call without markers is the end of the message.
        Open::Start | Open::Rest => ("", ""),
    };
    let bodies = calls.iter().map(|(name, args)| body(&form.body, name, args));
    let (between, inside) = match table.parallel {
        Parallel::Repeat(between) => (between, false),
        Parallel::Inside(between) => (between, true),
    };
    if inside && form.section.is_none() {
        let (first, last) = match &form.body {
            Body::Object(syntax) if syntax.array => ("[", "]"),
            Body::Python { list: true } => ("[", "]"),
            Body::Python { list: false } => ("\n", "\n"),
            _ => ("", ""),
        };
        // An array ends the call by itself; what may follow it ends the message.
        let close = if last == "]" && matches!(form.body, Body::Object(_)) { "" } else { close };
        let bodies: Vec<_> = bodies.collect();
        return format!("{open}{first}{}{last}{close}", bodies.join(between));
    }
    let calls: Vec<_> = bodies.map(|body| format!("{open}{body}{close}")).collect();
    let Some(section) = &form.section else {
        return calls.join(between);
    };
    let line = if section.lines { "\n" } else { "" };
    let group = |text: &str| format!("{}{line}{text}{line}{}", section.open, section.close);
    match section.each {
        true => calls.iter().map(|call| group(call)).collect::<Vec<_>>().join(between),
        false => group(&calls.join(between)),
    }
}

fn body(body: &Body, name: &str, args: &Map<String, Value>) -> String {
    let json = |map: &Map<String, Value>| dumps(&Value::Object(map.clone()));
    let object = |key: &str| {
        let call = [("name".to_owned(), name.into()), (key.to_owned(), Value::Object(args.clone()))];
        json(&call.into_iter().collect())
    };
    match body {
        Body::Object(syntax) if syntax.lines => format!("\n{}\n", object(syntax.args_key)),
        Body::Object(syntax) => object(syntax.args_key),
        Body::Fenced => format!("```json\n{}\n```", object("arguments")),
        Body::NameThenJson(syntax) => named(syntax, name, &json(args)),
        Body::Params(syntax) => params(syntax, name, args),
        Body::Gemma { quote } => format!("call:{name}{}", gemma(&Value::Object(args.clone()), quote)),
        Body::Python { .. } => {
            let args: Vec<_> = args.iter().map(|(key, value)| format!("{key}={}", python(value))).collect();
            format!("{name}({})", args.join(", "))
        }
        Body::Harmony => {
            format!("commentary to=functions.{name} <|constrain|>json<|message|>{}", json(args))
        }
    }
}

fn named(syntax: &NameSyntax, name: &str, json: &str) -> String {
    let count = if syntax.counted { ":0" } else { "" };
    let after = syntax.after.last().copied().unwrap_or_default();
    // A fence that the separator opens is closed on a line of its own.
    let line = if after.contains("```") { "\n" } else { "" };
    format!("{}{name}{count}{after}{json}{line}", syntax.prefix)
}

fn params(syntax: &ParamSyntax, name: &str, args: &Map<String, Value>) -> String {
    let head = match syntax.name_end {
        NameEnd::Marker(marker) => marker,
        NameEnd::Space => "",
    };
    let mut out = format!("{name}{head}\n");
    for (key, value) in args {
        let text = match value {
            Value::String(text) => text.clone(),
            other => dumps(other),
        };
        let end = syntax.key_end.iter().find(|end| match end.value {
            ValueKind::BySchema => true,
            ValueKind::Text => value.is_string(),
            ValueKind::Json => !value.is_string(),
        });
        out += syntax.param_open;
        out += key;
        out += end.map_or("", |end| end.marker);
        if let Some(open) = syntax.value_open {
            out += "\n";
            out += open;
        }
        match syntax.trim_newline {
            true => out += &format!("\n{text}\n"),
            false => out += &text,
        }
        out += syntax.param_close;
        out += "\n";
    }
    out
}

/// `value` in Gemma's notation.
pub(crate) fn gemma(value: &Value, quote: &str) -> String {
    match value {
        Value::String(text) => format!("{quote}{text}{quote}"),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| gemma(item, quote)).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(map) => {
            let entries: Vec<_> =
                map.iter().map(|(key, item)| format!("{key}:{}", gemma(item, quote))).collect();
            format!("{{{}}}", entries.join(","))
        }
        other => dumps(other),
    }
}

/// `value` as a Python literal.
pub(crate) fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(_) => dumps(value),
        Value::String(text) => {
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("\"{}\"", escaped.replace('\r', "\\r").replace('\t', "\\t"))
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(python).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(map) => {
            let entry = |(key, item): (&String, &Value)| {
                format!("{}: {}", python(&Value::String(key.clone())), python(item))
            };
            format!("{{{}}}", map.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}
