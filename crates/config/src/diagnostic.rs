//! What is wrong with a config, said so that it can be put right.

use std::fmt;
use std::path::Path;

use crate::source::Place;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The config is refused.
    Error,
    /// The config is used.
    Warning,
}

/// One finding in a config file. [`fmt::Display`] gives several lines without a newline at the
/// end: the message, the place with the line and a caret, what was expected, what was found, and
/// what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The path of the key, empty where the finding is about the whole file.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What would have been right.
    pub expected: Option<String>,
    /// What stands there; never a secret.
    pub found: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// Where.
    pub place: Option<Place>,
    /// A second place that belongs to it, and what it is.
    pub related: Option<(String, Place)>,
}

impl Diagnostic {
    pub(crate) fn new(severity: Severity, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity,
            key: String::new(),
            message: message.into(),
            expected: None,
            found: None,
            hint: None,
            place: None,
            related: None,
        }
    }

    pub(crate) fn error(message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Severity::Error, message)
    }

    pub(crate) fn warning(message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Severity::Warning, message)
    }

    pub(crate) fn key(mut self, key: impl fmt::Display) -> Diagnostic {
        self.key = key.to_string();
        self
    }

    pub(crate) fn expected(mut self, expected: impl Into<String>) -> Diagnostic {
        self.expected = Some(expected.into());
        self
    }

    pub(crate) fn found(mut self, found: impl Into<String>) -> Diagnostic {
        self.found = Some(found.into());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Diagnostic {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn at(mut self, place: Place) -> Diagnostic {
        self.place = Some(place);
        self
    }

    pub(crate) fn related(mut self, what: impl Into<String>, place: Place) -> Diagnostic {
        self.related = Some((what.into(), place));
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if let Some(place) = &self.place {
            write_place(f, place)?;
        }
        for (label, text) in [("expected", &self.expected), ("found", &self.found), ("hint", &self.hint)] {
            if let Some(text) = text {
                write!(f, "\n  = {label}: {text}")?;
            }
        }
        if let Some((what, place)) = &self.related {
            write!(f, "\n  = {what}:")?;
            write_place(f, place)?;
        }
        Ok(())
    }
}

fn write_place(f: &mut fmt::Formatter<'_>, place: &Place) -> fmt::Result {
    let Place { file, line, column, excerpt, marked } = place;
    let gutter = line.to_string().len();
    write!(f, "\n{:gutter$} --> {}:{line}:{column}", "", file.display())?;
    write!(f, "\n{:gutter$}  |", "")?;
    write!(f, "\n {line} | {excerpt}")?;
    write!(f, "\n{:gutter$}  | {:indent$}{}", "", "", "^".repeat(marked.len()), indent = marked.start)
}

/// Everything for which a config is refused, in the order of the text; never empty.
///
/// Of syntax errors only the first of each file is known; wrong types and values are all there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Diagnostic>);

impl ConfigErrors {
    pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> ConfigErrors {
        let diagnostic = Diagnostic::error(format!("cannot read {}: {error}", path.display()));
        ConfigErrors(vec![match error.kind() {
            std::io::ErrorKind::NotFound => {
                diagnostic.hint("name another file with --config, or create this one")
            }
            _ => diagnostic,
        }])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, diagnostic) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n\n")?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
