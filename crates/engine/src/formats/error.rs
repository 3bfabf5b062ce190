use std::path::{Path, PathBuf};

/// Why a model file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// An error inside a file, with the file's path.
    #[error("{}: {source}", path.display())]
    File {
        /// The file that was being read.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<FormatError>,
    },
    /// The operating system refused.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried, as a verb ("open", "map").
        action: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file ends before a field does.
    #[error(
        "{what} at byte {offset} needs {expected} bytes, but {found} are left: \
         the file is truncated or damaged; fetch it again"
    )]
    Truncated {
        /// The field.
        what: String,
        /// Where the field starts, in bytes from the start of the file.
        offset: u64,
        /// How many bytes the field needs.
        expected: u64,
        /// How many bytes are left.
        found: u64,
    },
    /// A field has a value that cannot be right.
    #[error("{what}{}: expected {expected}, found {found}", at(offset))]
    Invalid {
        /// The field.
        what: String,
        /// Where the field stands, in bytes from the start of the file, if that is known.
        offset: Option<u64>,
        /// What would have been accepted.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// A field or file that is needed is not there.
    #[error("{what} is missing: {hint}")]
    Missing {
        /// The field or file.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// The file asks for something that this engine does not have.
    #[error("{what} is not supported: {hint}")]
    Unsupported {
        /// The thing, by name.
        what: String,
        /// What is supported instead.
        hint: String,
    },
    /// The tokenizer inside the model's files could not be built.
    #[error(transparent)]
    Tokenizer(#[from] crate::tokenizer::TokenizerError),
}

fn at(offset: &Option<u64>) -> String {
    offset.map_or_else(String::new, |offset| format!(" at byte {offset}"))
}

impl FormatError {
    /// The same error with the path of the file that it is about.
    #[must_use]
    pub fn in_file(self, path: &Path) -> Self {
        match self {
            Self::File { .. } => self,
            other => Self::File { path: path.to_path_buf(), source: Box::new(other) },
        }
    }

    pub(crate) fn invalid(
        what: impl Into<String>,
        offset: Option<u64>,
        expected: impl Into<String>,
        found: impl std::fmt::Display,
    ) -> Self {
        Self::Invalid { what: what.into(), offset, expected: expected.into(), found: found.to_string() }
    }

    pub(crate) fn missing(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Missing { what: what.into(), hint: hint.into() }
    }

    pub(crate) fn unsupported(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into(), hint: hint.into() }
    }
}
