//! What can go wrong with the store.

use std::path::PathBuf;

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite said no.
    #[error("{}: {cause}", .path.display())]
    Sqlite {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        cause: rusqlite::Error,
    },
    /// A file of the store cannot be used.
    #[error("{}: {cause}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file was written by a newer version, or by another program.
    #[error("{}: expected a session store of version {expected} or older, found {found}", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The version that this program writes.
        expected: i64,
        /// What stands there.
        found: String,
    },
    /// Another process has the session open.
    #[error("session {name} is open in another process{}", .pid.map(|p| format!(" ({p})")).unwrap_or_default())]
    Busy {
        /// Its name, else its id.
        name: String,
        /// The other process, if it said.
        pid: Option<u32>,
    },
    /// There is no such session.
    #[error("no session `{0}`")]
    Missing(String),
    /// A session has that name already.
    #[error("a session `{0}` exists already")]
    Exists(String),
    /// The items of the session are not what was written.
    #[error("session {name} is damaged and was set aside: {why}")]
    Damaged {
        /// Its name, else its id.
        name: String,
        /// The first thing that was wrong.
        why: String,
    },
    /// A record cannot be written down.
    #[error("a record cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl StoreError {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Foreign { path, .. } => {
                format!("use the newer version, or move {} away to begin with an empty store", path.display())
            }
            Self::Busy { .. } => "end the other one, or leave out --session for a session of its own".into(),
            Self::Missing(_) => "`chela sessions list` shows the sessions that there are".into(),
            Self::Damaged { .. } => "the others are not touched; `chela sessions delete` removes it".into(),
            Self::Sqlite { path, cause } if is_corrupt(cause) => {
                format!(
                    "the file itself is damaged; move {} away to begin with an empty store",
                    path.display()
                )
            }
            _ => return None,
        })
    }
}

fn is_corrupt(cause: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(cause.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}
