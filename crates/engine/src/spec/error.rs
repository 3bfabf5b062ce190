use crate::formats::FormatError;

/// Why a description is not a model that this engine runs.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// No family has this name.
    #[error("the architecture {found:?} is not supported; supported are {known}")]
    UnknownArchitecture {
        /// What the source says.
        found: String,
        /// The supported names.
        known: String,
    },
    /// The family is known, but this model of it needs something that is not implemented.
    #[error("{arch} with {features} is not supported")]
    Unsupported {
        /// The architecture.
        arch: String,
        /// All that is missing.
        features: String,
    },
    /// A field without which the model is not described.
    #[error("the model's description has no {field}")]
    Missing {
        /// Its name.
        field: String,
    },
    /// A field that cannot be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A field with a wrong value.
    #[error("the model's description has {field} = {got}; expected {expected}")]
    Invalid {
        /// Its name.
        field: String,
        /// What it should be.
        expected: String,
        /// What it is.
        got: String,
    },
}

impl SpecError {
    pub(super) fn unsupported<T: Into<String>>(arch: &str, features: impl IntoIterator<Item = T>) -> Self {
        let features: Vec<String> = features.into_iter().map(Into::into).collect();
        Self::Unsupported { arch: arch.to_owned(), features: features.join(", ") }
    }

    pub(super) fn invalid(field: &str, expected: impl Into<String>, got: impl ToString) -> Self {
        Self::Invalid { field: field.to_owned(), expected: expected.into(), got: got.to_string() }
    }
}
