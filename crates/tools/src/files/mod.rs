//! Tools that work on files.

mod change;
mod edit;
mod find;
mod fuzzy;
mod glob;
mod grep;
mod ls;
mod paths;
mod read;
mod text;
mod write;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use chela_agent::tool::{Tool, ToolResult};
use chela_protocol::SessionId;
use sha2::{Digest, Sha256};

use crate::undo::UndoLog;

pub(crate) use self::change::diff;
pub(crate) use self::ls::size;

/// A file that is larger is read in parts, and not edited.
const MAX_WHOLE: u64 = 16 << 20;

/// What the file tools share.
#[derive(Debug)]
pub struct Files {
    /// Where originals are kept.
    undo: Arc<UndoLog>,
    /// What `~` stands for; without it, nothing.
    home: Option<PathBuf>,
    seen: Mutex<HashMap<(SessionId, PathBuf), Fingerprint>>,
}

/// The SHA-256 of a file's bytes.
type Fingerprint = [u8; 32];

fn fingerprint(bytes: &[u8]) -> Fingerprint {
    Sha256::digest(bytes).into()
}

impl Files {
    /// File tools that keep originals in `undo`. `home` is what `~` stands for.
    #[must_use]
    pub fn new(undo: Arc<UndoLog>, home: Option<PathBuf>) -> Arc<Self> {
        Arc::new(Self { undo, home, seen: Mutex::default() })
    }

    /// Notes that the model knows these bytes to be the file's.
    fn saw(&self, session: SessionId, path: &Path, bytes: &[u8]) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert((session, path.to_owned()), fingerprint(bytes));
    }

    /// The bytes that the model last knew.
    fn known(&self, session: SessionId, path: &Path) -> Option<Fingerprint> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&(session, path.to_owned())).copied()
    }
}

/// `read`, `ls`, `grep`, `glob`, `write` and `edit`, in the order in which a model sees them.
#[must_use]
pub fn tools(files: &Arc<Files>) -> Vec<Arc<dyn Tool>> {
    vec![
        Arc::new(read::Read::new(Arc::clone(files))),
        Arc::new(ls::Ls::new(Arc::clone(files))),
        Arc::new(grep::Grep::new(Arc::clone(files))),
        Arc::new(glob::Glob::new(Arc::clone(files))),
        Arc::new(write::Write::new(Arc::clone(files))),
        Arc::new(edit::Edit::new(Arc::clone(files))),
    ]
}

/// Runs file work off the runtime's threads.
pub(crate) async fn blocking(
    work: impl FnOnce() -> Result<ToolResult, String> + Send + 'static,
) -> ToolResult {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(result)) => result,
        // What was wrong may name files that the model did not know.
        Ok(Err(text)) => ToolResult::error(text).private(),
        Err(error) => ToolResult::error(format!("error: the tool failed: {error}")),
    }
}
