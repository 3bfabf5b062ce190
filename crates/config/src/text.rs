//! Strings of the config that may take environment variables, resolved when they are needed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::env::{Env, HOME};

/// Where a value was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    pub key: String,
    pub file: PathBuf,
    pub line: usize,
}

/// A string in which `${NAME}` stands for an environment variable and `$${NAME}` for itself.
///
/// Two are equal if their templates are, wherever they stand.
#[derive(Debug, Clone)]
pub struct Text {
    raw: String,
    pub(crate) origin: Arc<Origin>,
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl Eq for Text {}

/// A variable that a value of the config takes, and that is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} ({}:{line}) takes the environment variable {variable}, which is {}", file.display(), if *.empty { "empty" } else { "not set" })]
pub struct MissingVariable {
    /// Its name.
    pub variable: String,
    /// The path of the key that wants it.
    pub key: String,
    /// The file that holds the key.
    pub file: PathBuf,
    /// The key's line, counted from 1.
    pub line: usize,
    /// Whether it is set, to the empty string.
    pub empty: bool,
}

impl MissingVariable {
    /// What to do.
    pub fn hint(&self) -> String {
        format!("export {}=…, or change {}", self.variable, self.key)
    }
}

/// Why a string of the config has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// A variable is missing.
    #[error(transparent)]
    Missing(#[from] MissingVariable),
    /// The value, once its variables are filled in, is not what the key takes.
    #[error("{key} ({}:{line}): expected {expected}, found {found:?}", file.display())]
    Invalid {
        /// The path of the key.
        key: String,
        /// The file that holds it.
        file: PathBuf,
        /// Its line, counted from 1.
        line: usize,
        /// What it takes.
        expected: String,
        /// What it got.
        found: String,
    },
}

/// A piece of a template.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Literal(&'a str),
    Variable(&'a str),
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// Splits a template. What only looks like a reference (`${lower}`, `${`) is literal.
pub(crate) fn pieces(raw: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut literal = 0;
    let mut at = 0;
    while let Some(found) = raw[at..].find("${") {
        let dollar = at + found;
        at = dollar + 2;
        let Some(length) = raw[at..].find('}') else {
            break;
        };
        let name = &raw[at..at + length];
        if !is_name(name) {
            continue;
        }
        let end = at + length + 1;
        let escaped = raw[literal..dollar].ends_with('$');
        let before = &raw[literal..dollar - usize::from(escaped)];
        if !before.is_empty() {
            pieces.push(Piece::Literal(before));
        }
        if escaped {
            pieces.push(Piece::Literal(&raw[dollar..end]));
        } else {
            pieces.push(Piece::Variable(name));
        }
        literal = end;
        at = end;
    }
    if literal < raw.len() {
        pieces.push(Piece::Literal(&raw[literal..]));
    }
    pieces
}

/// The name, if the template is one variable and nothing else.
pub(crate) fn only_variable(raw: &str) -> Option<&str> {
    match pieces(raw)[..] {
        [Piece::Variable(name)] => Some(name),
        _ => None,
    }
}

/// The first `${…}` that is not a variable's name, as in `${lower}`.
pub(crate) fn near_variable(raw: &str) -> Option<&str> {
    raw.match_indices("${").find_map(|(at, _)| {
        let whole = &raw[at..=at + raw[at..].find('}')?];
        (!raw[..at].ends_with('$') && only_variable(whole).is_none()).then_some(whole)
    })
}

impl Text {
    /// A value that does not come from a file; `key` is what errors call it.
    pub fn new(raw: impl Into<String>, key: impl Into<String>) -> Text {
        Text { raw: raw.into(), origin: Arc::new(Origin { key: key.into(), ..Origin::default() }) }
    }

    pub(crate) fn with_origin(raw: &str, origin: Arc<Origin>) -> Text {
        Text { raw: raw.to_owned(), origin }
    }

    /// The template as it stands in the file.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// Whether it takes any variable.
    pub(crate) fn is_template(&self) -> bool {
        pieces(&self.raw).iter().any(|piece| matches!(piece, Piece::Variable(_)))
    }

    /// The path of the key that holds it.
    pub fn key(&self) -> &str {
        &self.origin.key
    }

    /// The string with its variables filled in.
    pub fn resolve(&self, env: &Env) -> Result<String, MissingVariable> {
        resolve(&self.raw, &self.origin, env)
    }
}

/// Fills in the variables of a template.
pub(crate) fn resolve(raw: &str, origin: &Origin, env: &Env) -> Result<String, MissingVariable> {
    let mut text = String::with_capacity(raw.len());
    for piece in pieces(raw) {
        match piece {
            Piece::Literal(literal) => text.push_str(literal),
            Piece::Variable(name) => text.push_str(variable(name, origin, env)?),
        }
    }
    Ok(text)
}

pub(crate) fn variable<'e>(name: &str, origin: &Origin, env: &'e Env) -> Result<&'e str, MissingVariable> {
    env.get(name).ok_or_else(|| MissingVariable {
        variable: name.to_owned(),
        key: origin.key.clone(),
        file: origin.file.clone(),
        line: origin.line,
        empty: env.is_set(name),
    })
}

/// The path of a file or folder: `~/` is the user's home, a relative one starts at the folder of
/// the config file that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathText {
    text: Text,
    folder: PathBuf,
}

impl PathText {
    pub(crate) fn new(text: Text, folder: &Path) -> PathText {
        PathText { text, folder: folder.to_owned() }
    }

    /// The template as it stands in the file.
    pub fn text(&self) -> &Text {
        &self.text
    }

    /// The path with its variables filled in; nothing is looked up on the disk.
    pub fn resolve(&self, env: &Env) -> Result<PathBuf, MissingVariable> {
        let path = self.text.resolve(env)?;
        let below_home = path.strip_prefix("~/").or((path == "~").then_some(""));
        Ok(match below_home {
            Some(rest) => Path::new(variable(HOME, &self.text.origin, env)?).join(rest),
            None => self.folder.join(path),
        })
    }
}

/// The address of a server: `http://` or `https://`, a host, and a path such as `/v1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(Text);

/// What [`BaseUrl`] takes.
pub(crate) const BASE_URL: &str = "an address like http://127.0.0.1:8000/v1";

impl BaseUrl {
    pub(crate) fn new(text: Text) -> BaseUrl {
        BaseUrl(text)
    }

    /// The template as it stands in the file.
    pub fn text(&self) -> &Text {
        &self.0
    }

    /// The address with its variables filled in.
    pub fn resolve(&self, env: &Env) -> Result<String, ResolveError> {
        let found = self.0.resolve(env)?;
        if base_url_problem(&found).is_none() {
            return Ok(found);
        }
        let origin = &self.0.origin;
        Err(ResolveError::Invalid {
            key: origin.key.clone(),
            file: origin.file.clone(),
            line: origin.line,
            expected: BASE_URL.to_owned(),
            found: without_login(&found),
        })
    }
}

/// What is wrong with an address, and what to do.
pub(crate) fn base_url_problem(url: &str) -> Option<&'static str> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let Some(rest) = rest else {
        return Some("begin it with http:// or https://");
    };
    let host = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    if host.contains('@') {
        return Some("put the login into apiKey or headers, not into the address");
    }
    if host.is_empty() || host.starts_with(':') {
        return Some("name a host, as in http://127.0.0.1:8000/v1");
    }
    if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Some("remove the blanks");
    }
    rest.contains(['?', '#']).then_some("end it with the path, without `?` and `#`")
}

/// An address in which a login is masked.
pub(crate) fn without_login(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 < at => {
            format!("{}***{}", &url[..scheme + 3], &url[at..])
        }
        (None, Some(at)) => format!("***{}", &url[at..]),
        _ => url.to_owned(),
    }
}

/// Fields of a request as the user gave them, for instance `temperature` or
/// `chat_template_kwargs`; strings in them may take environment variables.
#[derive(Debug, Clone, Default)]
pub struct Params {
    fields: serde_json::Map<String, serde_json::Value>,
    origin: Arc<Origin>,
}

impl PartialEq for Params {
    fn eq(&self, other: &Self) -> bool {
        self.fields == other.fields
    }
}

impl Params {
    pub(crate) fn new(fields: serde_json::Map<String, serde_json::Value>, origin: Arc<Origin>) -> Params {
        Params { fields, origin }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The fields as they stand in the file.
    pub fn raw(&self) -> &serde_json::Map<String, serde_json::Value> {
        &self.fields
    }

    /// The fields with all variables filled in.
    pub fn resolve(&self, env: &Env) -> Result<serde_json::Map<String, serde_json::Value>, MissingVariable> {
        let mut fields = self.fields.clone();
        for (key, value) in &mut fields {
            self.fill(value, &format!("{}.{key}", self.origin.key), env)?;
        }
        Ok(fields)
    }

    fn fill(&self, value: &mut serde_json::Value, key: &str, env: &Env) -> Result<(), MissingVariable> {
        match value {
            serde_json::Value::String(text) => {
                *text = resolve(text, &self.origin, env)
                    .map_err(|missing| MissingVariable { key: key.to_owned(), ..missing })?;
            }
            serde_json::Value::Array(values) => {
                for (n, value) in values.iter_mut().enumerate() {
                    self.fill(value, &format!("{key}[{n}]"), env)?;
                }
            }
            serde_json::Value::Object(fields) => {
                for (name, value) in fields {
                    self.fill(value, &format!("{key}.{name}"), env)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}
