//! Keys and other secrets: where they come from, and values that cannot be printed.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::env::Env;
use crate::text::{MissingVariable, Origin, PathText, Piece, Text, pieces, variable};

/// A secret as the config names it: the value itself, a template, or a reference to an environment
/// variable or a file. Its `Debug` shows where it comes from, never the value.
#[derive(Clone, PartialEq)]
pub struct SecretRef(pub(crate) Form);

#[derive(Clone, PartialEq)]
pub(crate) enum Form {
    Text(Text),
    Variable { name: String, origin: Arc<Origin> },
    File(PathText),
}

/// The bytes of a key at most: a file that is larger is not a key.
const MAX_BYTES: u64 = 64 * 1024;

impl SecretRef {
    /// The secret. `row_variable` is the name of the provider's own variable: a bare string equal
    /// to it is a reference to that variable. A file's blanks and newlines at the end are no part
    /// of the key.
    pub fn resolve(&self, row_variable: Option<&str>, env: &Env) -> Result<Secret, SecretError> {
        let source = self.source(row_variable);
        let value = match &self.0 {
            Form::Text(text) if row_variable == Some(text.raw()) => {
                variable(text.raw(), &text.origin, env)?.to_owned()
            }
            Form::Text(text) => text.resolve(env)?,
            Form::Variable { name, origin } => variable(name, origin, env)?.to_owned(),
            Form::File(path) => read(path, env)?,
        };
        if value.is_empty() {
            return Err(SecretError::Empty { key: self.origin().key.clone(), from: source });
        }
        Ok(Secret { value, source })
    }

    /// Where it comes from, without looking whether it is there.
    pub fn source(&self, row_variable: Option<&str>) -> SecretSource {
        match &self.0 {
            Form::Text(text) => source_of_text(text.raw(), row_variable, &text.origin),
            Form::Variable { name, .. } => SecretSource::Variable(name.clone()),
            Form::File(path) => SecretSource::File(path.text().raw().into()),
        }
    }

    fn origin(&self) -> &Origin {
        match &self.0 {
            Form::Text(text) => &text.origin,
            Form::Variable { origin, .. } => origin,
            Form::File(path) => &path.text().origin,
        }
    }
}

pub(crate) fn source_of_text(raw: &str, row_variable: Option<&str>, origin: &Origin) -> SecretSource {
    let mut variables = pieces(raw).into_iter().filter_map(|piece| match piece {
        Piece::Variable(name) => Some(name),
        Piece::Literal(_) => None,
    });
    match (row_variable == Some(raw), variables.next(), variables.next()) {
        (true, ..) => SecretSource::Variable(raw.to_owned()),
        (_, Some(name), None) => SecretSource::Variable(name.to_owned()),
        _ => SecretSource::Config { key: origin.key.clone(), file: origin.file.clone() },
    }
}

fn read(path: &PathText, env: &Env) -> Result<String, SecretError> {
    let file = path.resolve(env)?;
    let unreadable =
        |reason: String| SecretError::File { key: path.text().key().to_owned(), file: file.clone(), reason };
    let metadata = std::fs::metadata(&file).map_err(|error| unreadable(error.to_string()))?;
    if !metadata.is_file() {
        return Err(unreadable("it is not a file".to_owned()));
    }
    if metadata.len() > MAX_BYTES {
        return Err(unreadable(format!("it has {} bytes; a key has at most {MAX_BYTES}", metadata.len())));
    }
    let text = std::fs::read_to_string(&file).map_err(|error| unreadable(error.to_string()))?;
    Ok(text.trim_end().to_owned())
}

impl fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "*** (from {})", self.source(None))
    }
}

/// A secret's value. It has no `Serialize`; `Debug` and `Display` show `***` and where it comes
/// from.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    value: String,
    source: SecretSource,
}

impl Secret {
    /// A value and where it comes from.
    pub fn new(value: impl Into<String>, source: SecretSource) -> Secret {
        Secret { value: value.into(), source }
    }

    /// The value, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// Where it comes from.
    pub fn source(&self) -> &SecretSource {
        &self.source
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "*** (from {})", self.source)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable.
    Variable(String),
    /// A file that holds nothing else.
    File(PathBuf),
    /// The config file itself.
    Config {
        /// The path of the key.
        key: String,
        /// The file.
        file: PathBuf,
    },
    /// A profile of the auth file.
    Profile(String),
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretSource::Variable(name) => write!(f, "${name}"),
            SecretSource::File(file) => write!(f, "the file {}", file.display()),
            SecretSource::Config { key, file } if file.as_os_str().is_empty() => f.write_str(key),
            SecretSource::Config { file, .. } => f.write_str(&file.display().to_string()),
            SecretSource::Profile(name) => write!(f, "the auth profile {name}"),
        }
    }
}

/// Why there is no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// A variable is missing.
    #[error(transparent)]
    Missing(#[from] MissingVariable),
    /// The file cannot be used.
    #[error("{key} takes its value from the file {}: {reason}", file.display())]
    File {
        /// The path of the key.
        key: String,
        /// The file.
        file: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The value is empty.
    #[error("{key} is empty (from {from}); give it a value or remove the key")]
    Empty {
        /// The path of the key.
        key: String,
        /// Where the value comes from.
        from: SecretSource,
    },
}
