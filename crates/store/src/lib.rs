//! Sessions in SQLite: append-only items, drafts, full-text search.
//!
//! [`Store`] is the file: it lists, searches, creates and deletes. [`OpenSession`] is one session
//! held for writing by this process alone (a kernel lock says so): it reads the [`Record`]s and
//! appends more. What [`OpenSession::append`] has returned from survives `kill -9` and a loss of
//! power. A session whose items are damaged is set aside alone; the others go on. [`NoteIndex`]
//! searches notes, which are files elsewhere.
//!
//! [`Record`]: chela_protocol::Record

mod db;
mod error;
mod lock;
mod notes;
mod search;
mod session;
mod store;

pub use error::StoreError;
pub use notes::{NoteHit, NoteIndex, words};
pub use search::Hit;
pub use session::{Draft, OpenSession};
pub use store::{NewSession, SessionInfo, Store};
