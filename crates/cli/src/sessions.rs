//! The agent's journal over the store: each call runs on a thread that may block.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use chela_agent::journal::{self, Journal, JournalError, Sessions};
use chela_protocol::{ItemId, Record, SessionId, SessionRow};
use chela_store::{Draft, NewSession, OpenSession, Store, StoreError};
use futures_util::future::{BoxFuture, FutureExt};

use crate::context::Context;
use crate::exit::{Code, Failure};

/// The sessions of one folder.
#[derive(Debug, Clone)]
pub struct Stored {
    store: Arc<Mutex<Store>>,
    folder: String,
}

impl Stored {
    /// Opens the store of `$CHELA_HOME`; new sessions work in `workspace`.
    pub fn open(context: &Context, workspace: &Path) -> Result<Self, Failure> {
        let store = store(context)?;
        Ok(Self { store: Arc::new(Mutex::new(store)), folder: workspace.display().to_string() })
    }

    /// The session that `--session` names: `last` is the newest of this folder, another name is
    /// continued, or begun if there is none. Without a name a new one.
    pub fn session(&self, name: Option<&str>) -> Result<Arc<dyn Journal>, Failure> {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = match name {
            None => store.create(&self.new_session(None)),
            Some("last") => match store.last(&self.folder).map_err(failure)? {
                Some(info) => store.resume(&info.row.id.to_string()),
                None => {
                    let message = format!("no session of {} to continue", self.folder);
                    return Err(Failure::usage(message).hint("leave out --session last to begin one"));
                }
            },
            Some(name) => match store.get(name).map_err(failure)? {
                Some(_) => store.resume(name),
                None => store.create(&self.new_session(Some(name.to_owned()))),
            },
        };
        Ok(StoredJournal::over(opened.map_err(failure)?))
    }

    fn new_session(&self, name: Option<String>) -> NewSession {
        NewSession { name, agent: "main".into(), parent: None, folder: self.folder.clone(), time: now() }
    }
}

/// Opens the store of `$CHELA_HOME`.
pub fn store(context: &Context) -> Result<Store, Failure> {
    Store::open(&context.paths.sessions(), &context.paths.run().join("sessions")).map_err(failure)
}

/// An error of the store as the end of a command.
pub fn failure(error: StoreError) -> Failure {
    let code = match error {
        StoreError::Missing(_) | StoreError::Exists(_) => Code::Usage,
        _ => Code::Failed,
    };
    let hint = error.hint();
    let failure = Failure::new(code, error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

impl Sessions for Stored {
    fn create(&self) -> BoxFuture<'_, Result<Arc<dyn Journal>, JournalError>> {
        let this = self.clone();
        blocking("begun", move || {
            let store = this.store.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(StoredJournal::over(store.create(&this.new_session(None))?))
        })
    }

    fn resume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn Journal>, JournalError>> {
        let (this, name) = (self.clone(), name.to_owned());
        blocking("opened", move || {
            let store = this.store.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(StoredJournal::over(store.resume(&name)?))
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<SessionRow>, JournalError>> {
        let this = self.clone();
        blocking("listed", move || {
            let store = this.store.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(store.list()?.into_iter().map(|info| info.row).collect())
        })
    }
}

/// One open session.
#[derive(Debug)]
struct StoredJournal {
    id: SessionId,
    open: Arc<Mutex<OpenSession>>,
}

impl StoredJournal {
    fn over(open: OpenSession) -> Arc<dyn Journal> {
        Arc::new(Self { id: open.id(), open: Arc::new(Mutex::new(open)) })
    }

    fn with<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&mut OpenSession) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, JournalError>> {
        let open = Arc::clone(&self.open);
        blocking(doing, move || work(&mut open.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Journal for StoredJournal {
    fn session(&self) -> SessionId {
        self.id
    }

    fn load(&self) -> BoxFuture<'_, Result<Vec<Record>, JournalError>> {
        self.with("read", OpenSession::records)
    }

    fn append(&self, records: Vec<Record>) -> BoxFuture<'_, Result<(), JournalError>> {
        self.with("written", move |open| open.append(&records))
    }

    fn draft(&self, draft: journal::Draft) -> BoxFuture<'_, Result<(), JournalError>> {
        let draft = Draft {
            id: ItemId::new(),
            turn: draft.turn,
            time: now(),
            text: draft.text,
            reasoning: draft.reasoning,
            provenance: draft.provenance,
        };
        self.with("written", move |open| open.draft(&draft))
    }
}

fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> BoxFuture<'static, Result<T, JournalError>> {
    async move {
        let said = |error: StoreError| match error.hint() {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        };
        let done =
            tokio::task::spawn_blocking(work).await.map_err(|e| e.to_string()).and_then(|r| r.map_err(said));
        done.map_err(|cause| JournalError { doing, cause })
    }
    .boxed()
}

/// Milliseconds since 1970-01-01 UTC.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
