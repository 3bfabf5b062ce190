//! Reads a JSON body; what is wrong with it is said as vLLM (pydantic) says it.

use chela_openai::error::WireError;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::python;
use crate::error::ApiError;

/// Reads the body of a request.
///
/// # Errors
/// 400: another media type, no JSON, or JSON of another shape, with the path
/// of the field.
pub(crate) fn read<T: DeserializeOwned>(headers: &HeaderMap, bytes: &[u8]) -> Result<T, ApiError> {
    let json = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"));
    if bytes.is_empty() {
        return Err(Problem::new("missing", "body", "Field required", "None").into());
    }
    if !json {
        return Err(bad(
            "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed",
            None,
        ));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let result = serde_path_to_error::deserialize::<_, T>(&mut reader);
    match result {
        Ok(value) => match reader.end() {
            Ok(()) => Ok(value),
            Err(error) => Err(not_json(bytes, &error)),
        },
        Err(error) => Err(diagnose(bytes, &error)),
    }
}

/// One row of a validation error.
struct Problem<'a> {
    kind: &'a str,
    loc: &'a str,
    msg: &'a str,
    input: &'a str,
    /// A key and a value that say more.
    ctx: Option<(&'a str, String)>,
}

impl<'a> Problem<'a> {
    fn new(kind: &'a str, loc: &'a str, msg: &'a str, input: &'a str) -> Self {
        Self { kind, loc, msg, input, ctx: None }
    }
}

impl From<Problem<'_>> for ApiError {
    fn from(problem: Problem) -> Self {
        let ctx = problem
            .ctx
            .map(|(key, ctx)| format!(", 'ctx': {{'{key}': {}}}", python::quoted(&ctx)))
            .unwrap_or_default();
        let message = format!(
            "1 validation error:\n  {{'type': {}, 'loc': {}, 'msg': {}, 'input': {}{ctx}}}",
            python::quoted(problem.kind),
            python::quoted(problem.loc),
            python::quoted(problem.msg),
            python::quoted(problem.input),
        );
        bad(&message, Some(problem.loc))
    }
}

/// 400: the field at `loc` is not one of these words.
pub(super) fn not_one_of(loc: &str, words: &[&str], input: &str) -> ApiError {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let expected = match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    };
    Problem {
        ctx: Some(("expected", expected.clone())),
        ..Problem::new("literal_error", loc, &format!("Input should be {expected}"), input)
    }
    .into()
}

/// 400: `/tokenize` without anything to tokenize.
pub(crate) fn neither_prompt_nor_messages(bytes: &[u8]) -> ApiError {
    let input = python::brief(&serde_json::from_slice(bytes).unwrap_or_default());
    let row = |field: &str| {
        format!("{{'type': 'missing', 'loc': 'body.{field}', 'msg': 'Field required', 'input': '{input}'}}")
    };
    let message = format!("2 validation errors:\n  {}\n  {}", row("prompt"), row("messages"));
    bad(&message, Some("body.prompt"))
}

fn bad(message: &str, param: Option<&str>) -> ApiError {
    let status = StatusCode::BAD_REQUEST;
    let error = WireError::new("Bad Request", status.as_u16(), param, message);
    ApiError::new(status, error)
}

fn not_json(bytes: &[u8], error: &serde_json::Error) -> ApiError {
    // offset in bytes of the place that serde names by line and column
    let line_start: usize =
        bytes.split_inclusive(|b| *b == b'\n').take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    let loc = format!("body.{}", (line_start + error.column()).min(bytes.len()));
    Problem {
        ctx: Some(("error", error.to_string())),
        ..Problem::new("json_invalid", &loc, "JSON decode error", "<dict of 0 items>")
    }
    .into()
}

/// The body is not a `T`: finds out what it is.
fn diagnose(bytes: &[u8], error: &serde_path_to_error::Error<serde_json::Error>) -> ApiError {
    let body: Value = match serde_json::from_slice(bytes) {
        Ok(body) => body,
        Err(error) => return not_json(bytes, &error),
    };
    if !body.is_object() {
        let msg = "Input should be a valid dictionary or object to extract fields from";
        return Problem::new("model_attributes_type", "body", msg, &python::brief(&body)).into();
    }
    let mut loc = String::from("body");
    let mut at = Some(&body);
    for segment in error.path().iter() {
        use serde_path_to_error::Segment;
        match segment {
            Segment::Seq { index } => {
                loc.push_str(&format!(".{index}"));
                at = at.and_then(|value| value.get(index));
            }
            Segment::Map { key } | Segment::Enum { variant: key } => {
                loc.push_str(&format!(".{key}"));
                at = at.and_then(|value| value.get(key));
            }
            Segment::Unknown => {}
        }
    }
    let input = at.map_or_else(|| "None".to_owned(), python::brief);
    let text = error.inner().to_string();
    // serde_json appends the position, which the path tells better
    let text = text.split(" at line ").next().unwrap_or(&text);
    if let Some(field) = text.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        let loc = format!("{loc}.{field}");
        return Problem::new("missing", &loc, "Field required", &input).into();
    }
    let (kind, msg) = match text {
        t if t.ends_with("enum Prompt") => {
            ("value_error", "Input should be a text, token ids, or a list of either")
        }
        t if t.ends_with("enum Content") => {
            ("value_error", "Input should be a text, or a list of parts that have a type")
        }
        t if t.ends_with("parse string as an integer") => ("int_parsing", t),
        t if t.ends_with("with a fractional part") => ("int_from_float", t),
        t if t.ends_with("parse string as a number") => ("float_parsing", t),
        t if t.ends_with("unable to interpret input") => ("bool_parsing", t),
        t if t.starts_with("Input should be a valid string") => ("string_type", t),
        t if t.contains("expected a sequence") => ("list_type", "Input should be a valid list"),
        t if t.contains("expected a map") || t.contains("expected struct") => {
            ("dict_type", "Input should be a valid dictionary")
        }
        t if t.contains("expected a string") => ("string_type", "Input should be a valid string"),
        t if t.contains("expected a valid integer") => ("int_type", "Input should be a valid integer"),
        t if t.contains("expected a valid number") => ("float_type", "Input should be a valid number"),
        t if t.contains("expected a valid boolean") => ("bool_type", "Input should be a valid boolean"),
        t => ("value_error", t),
    };
    Problem::new(kind, &loc, msg, &input).into()
}
