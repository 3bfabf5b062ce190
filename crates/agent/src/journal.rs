//! The persistence seam. What a [`Journal`] acknowledged survives the death of the process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chela_protocol::{Provenance, Record, SessionId, SessionRow, TurnId};
use futures_util::future::BoxFuture;

/// Why something could not be kept or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the session could not be {doing}: {cause}")]
pub struct JournalError {
    /// What was being done, as in `written`.
    pub doing: &'static str,
    /// What went wrong, with the remedy where there is one.
    pub cause: String,
}

/// An answer that is still arriving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Its turn.
    pub turn: TurnId,
    /// The text so far.
    pub text: String,
    /// The reasoning so far.
    pub reasoning: String,
    /// Who answers.
    pub provenance: Provenance,
}

/// One open session. While it is open no other process can write it.
pub trait Journal: Send + Sync {
    /// Which session.
    fn session(&self) -> SessionId;

    /// Everything that was written, in order.
    fn load(&self) -> BoxFuture<'_, Result<Vec<Record>, JournalError>>;

    /// Adds records and removes the draft, in one step; when it returns, they are durable.
    fn append(&self, records: Vec<Record>) -> BoxFuture<'_, Result<(), JournalError>>;

    /// Keeps what an answer has so far, in place of the draft before. At the next opening a
    /// draft that is still there is loaded as the assistant item of a cut answer.
    fn draft(&self, draft: Draft) -> BoxFuture<'_, Result<(), JournalError>>;
}

/// Where sessions come from.
pub trait Sessions: Send + Sync {
    /// Opens a new, empty session.
    fn create(&self) -> BoxFuture<'_, Result<Arc<dyn Journal>, JournalError>>;

    /// Opens the stored session with this name, this id, or an id that begins so.
    fn resume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn Journal>, JournalError>>;

    /// All sessions, the newest first.
    fn list(&self) -> BoxFuture<'_, Result<Vec<SessionRow>, JournalError>>;
}

/// A journal that lives as long as the process.
#[derive(Debug)]
pub struct MemoryJournal {
    session: SessionId,
    records: Mutex<Vec<Record>>,
}

impl MemoryJournal {
    /// A new session with these records.
    #[must_use]
    pub fn new(records: Vec<Record>) -> Self {
        Self { session: SessionId::new(), records: Mutex::new(records) }
    }

    /// What it holds.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        lock(&self.records).clone()
    }
}

impl Journal for MemoryJournal {
    fn session(&self) -> SessionId {
        self.session
    }

    fn load(&self) -> BoxFuture<'_, Result<Vec<Record>, JournalError>> {
        Box::pin(async { Ok(self.records()) })
    }

    fn append(&self, records: Vec<Record>) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async {
            lock(&self.records).extend(records);
            Ok(())
        })
    }

    fn draft(&self, _: Draft) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async { Ok(()) })
    }
}

/// Sessions that live as long as the process.
#[derive(Debug, Default)]
pub struct MemorySessions {
    journals: Mutex<Vec<Arc<MemoryJournal>>>,
}

impl Sessions for MemorySessions {
    fn create(&self) -> BoxFuture<'_, Result<Arc<dyn Journal>, JournalError>> {
        Box::pin(async {
            let journal = Arc::new(MemoryJournal::new(Vec::new()));
            lock(&self.journals).push(Arc::clone(&journal));
            Ok(journal as Arc<dyn Journal>)
        })
    }

    fn resume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn Journal>, JournalError>> {
        Box::pin(async move {
            let journals = lock(&self.journals);
            let found = journals.iter().find(|journal| journal.session.to_string().starts_with(name));
            let missing = || JournalError { doing: "opened", cause: format!("there is no session {name}") };
            Ok(Arc::clone(found.ok_or_else(missing)?) as Arc<dyn Journal>)
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<SessionRow>, JournalError>> {
        Box::pin(async {
            let row = |journal: &Arc<MemoryJournal>| {
                let records = journal.records();
                SessionRow {
                    id: journal.session,
                    name: None,
                    title: crate::transcript::title(&records),
                    updated: records.last().map_or(0, |record| record.time),
                    items: records.len() as u64,
                    usage: crate::transcript::usage(&records).unwrap_or_default(),
                }
            };
            Ok(lock(&self.journals).iter().rev().map(row).collect())
        })
    }
}

/// The data stays whole when a holder panics: every change to it is one push.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
