//! The jinja environment of transformers: its block settings, filters, functions and tests.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value as Jinja};
use serde_json::{Map, Value};

use super::{Input, python};
use crate::json::{Layout, PYTHON, write_json};

const NAME: &str = "chat";

/// A template's own refusal.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

/// The environment with `source` compiled in it. Settings after transformers 5:
/// `ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)` with loop controls, an
/// overridden `tojson`, `raise_exception` and `strftime_now`.
pub(super) fn environment(source: &str) -> Result<Environment<'static>, Error> {
    let mut env = Environment::new();
    env.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    env.set_unknown_method_callback(python::method);
    env.set_formatter(print);
    env.add_filter("tojson", tojson);
    env.add_filter("string", |value: &Jinja| python::str_of(value));
    env.add_filter("indent", python::indent);
    env.add_function("raise_exception", |message: String| -> Result<Jinja, Error> {
        let error = Error::new(ErrorKind::InvalidOperation, message.clone());
        Err(error.with_source(Raised(message)))
    });
    // Python's idea of these: whatever has a length and items, jinja's undefined too; and a bool
    // is a number.
    env.add_test("sequence", |value: &Jinja| {
        matches!(value.kind(), ValueKind::Undefined | ValueKind::Seq | ValueKind::Map | ValueKind::String)
    });
    env.add_test("iterable", |value: &Jinja| {
        let items = matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable);
        items || matches!(value.kind(), ValueKind::Undefined | ValueKind::String)
    });
    env.add_test("number", |value: &Jinja| matches!(value.kind(), ValueKind::Number | ValueKind::Bool));
    env.add_template_owned(NAME, generation_blocks(source))?;
    Ok(env)
}

/// Renders the template with what transformers passes to it.
pub(super) fn render(
    env: &Environment<'static>,
    specials: &Map<String, Value>,
    input: &Input<'_>,
    messages: &[Value],
) -> Result<String, Error> {
    let mut variables: Vec<(String, Jinja)> = Vec::new();
    let mut set = |name: &str, value: Jinja| variables.push((name.to_owned(), value));
    for (name, value) in specials.iter().chain(input.kwargs.into_iter().flatten()) {
        set(name, Jinja::from(Serde(value)));
    }
    set("messages", Jinja::from(Serde(messages)));
    set("tools", Jinja::from(Serde(input.tools)));
    set("documents", Jinja::from(Serde(input.documents)));
    set("add_generation_prompt", input.add_generation_prompt.into());
    if let Some(now) = input.now {
        let strftime = move |format: String| {
            jiff::fmt::strtime::format(&format, now)
                .map_err(|error| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {error}")))
        };
        set("strftime_now", Jinja::from_function(strftime));
    }
    env.get_template(NAME)?.render(Jinja::from_pairs(variables))
}

/// What the template said when it refused, if it did.
pub(super) fn refusal(error: &Error) -> Option<String> {
    let mut at: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = at {
        if let Some(Raised(message)) = error.downcast_ref() {
            return Some(message.clone());
        }
        at = error.source();
    }
    None
}

/// An error in one line, with what caused it.
pub(super) fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut at = std::error::Error::source(error);
    while let Some(cause) = at {
        text += ": ";
        text += &cause.to_string();
        at = cause.source();
    }
    text
}

fn print(out: &mut Output, _: &mut State, value: &Jinja) -> Result<(), Error> {
    match value.as_str() {
        Some(text) => out.write_str(text)?,
        None => out.write_str(&python::str_of(value))?,
    }
    Ok(())
}

/// `json.dumps` with transformers' defaults.
fn tojson(value: &Jinja, options: Kwargs) -> Result<String, Error> {
    if value.is_undefined() {
        return Err(Error::new(ErrorKind::UndefinedError, "an undefined value is not JSON"));
    }
    let ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let indent = options.get::<Option<usize>>("indent")?;
    let separators = options.get::<Option<Vec<String>>>("separators")?;
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let (item, key) = match separators.as_deref() {
        Some([item, key]) => (item.as_str(), key.as_str()),
        Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "separators must be a pair")),
        None => (if indent.is_some() { "," } else { PYTHON.item }, PYTHON.key),
    };
    let data = serde_json::to_value(value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, format!("tojson: {error}")))?;
    let mut out = String::new();
    write_json(&mut out, &data, Layout { item, key, indent, sort_keys, ascii }, 0);
    Ok(out)
}

/// Replaces `{% generation %}` and `{% endgeneration %}`, which only mark text for training, with
/// a condition that always holds, so that their white space is treated as any block's.
fn generation_blocks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, block) = rest.split_at(at);
        out += before;
        rest = block;
        let Some(end) = block.find("%}") else { break };
        let inner = &block[2..end];
        let word = inner.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        match word {
            "generation" => out += &block[..end].replace(word, "if true"),
            "endgeneration" => out += &block[..end].replace(word, "endif"),
            _ => out += &block[..end],
        }
        out += "%}";
        rest = &block[end + 2..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_becomes_a_condition() {
        let source = "a{%- generation -%}b{% endgeneration +%}c{% if x %}{% endif %}{{ '{%' }}";
        let want = "a{%- if true -%}b{% endif +%}c{% if x %}{% endif %}{{ '{%' }}";
        assert_eq!(generation_blocks(source), want);
    }
}
