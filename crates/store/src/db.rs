//! The connection, and the schema with its version.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use crate::StoreError;

/// The schema that this program writes; kept in `user_version`.
pub(crate) const VERSION: i64 = 1;
/// `CHLA`, kept in `application_id`.
const APPLICATION: i64 = 0x4348_4c41;
/// How long a statement waits for another process that is writing.
const PATIENCE: Duration = Duration::from_secs(10);

const SCHEMA: &str = "
CREATE TABLE session (
    n       INTEGER PRIMARY KEY,
    id      BLOB NOT NULL UNIQUE,
    name    TEXT UNIQUE,
    agent   TEXT NOT NULL,
    parent  BLOB,
    folder  TEXT NOT NULL,
    title   TEXT NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    items   INTEGER NOT NULL,
    usage   TEXT NOT NULL,
    damaged TEXT
) STRICT;
CREATE INDEX session_by_time ON session (updated);
-- Rows are added and never changed; `sum` is the CRC-32 of `body`.
CREATE TABLE item (
    n       INTEGER PRIMARY KEY,
    session INTEGER NOT NULL REFERENCES session (n) ON DELETE CASCADE,
    seq     INTEGER NOT NULL,
    body    TEXT NOT NULL,
    sum     INTEGER NOT NULL,
    UNIQUE (session, seq)
) STRICT;
CREATE TABLE draft (
    session INTEGER PRIMARY KEY REFERENCES session (n) ON DELETE CASCADE,
    body    TEXT NOT NULL
) STRICT;
-- The words of items; rowid is item.n.
CREATE VIRTUAL TABLE item_text USING fts5 (text, tokenize = 'unicode61 remove_diacritics 2');
";

/// The database file with a connection to it.
#[derive(Debug)]
pub(crate) struct Db {
    pub path: PathBuf,
    pub connection: Connection,
}

impl Db {
    /// Opens the file and makes it, and its schema, where there is none.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent() {
            let cannot = |cause| StoreError::File { path: folder.to_owned(), cause };
            std::fs::create_dir_all(folder).map_err(cannot)?;
        }
        let failed = |cause| StoreError::Sqlite { path: path.to_owned(), cause };
        let connection = Connection::open(path).map_err(failed)?;
        let db = Self { path: path.to_owned(), connection };
        db.prepare()?;
        Ok(db)
    }

    /// Another connection to the same file.
    pub fn again(&self) -> Result<Self, StoreError> {
        Self::open(&self.path)
    }

    /// Turns an error of SQLite into one that names the file.
    pub fn failed(&self, cause: rusqlite::Error) -> StoreError {
        StoreError::Sqlite { path: self.path.clone(), cause }
    }

    fn prepare(&self) -> Result<(), StoreError> {
        let failed = |cause| self.failed(cause);
        let c = &self.connection;
        c.busy_timeout(PATIENCE).map_err(failed)?;
        let number = |name| c.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(failed);
        let (version, application) = (number("user_version")?, number("application_id")?);
        if version > VERSION || (version > 0 && application != APPLICATION) {
            let found = match application {
                APPLICATION => format!("version {version}"),
                _ => "the database of another program".to_owned(),
            };
            return Err(StoreError::Foreign { path: self.path.clone(), expected: VERSION, found });
        }
        c.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        // With WAL this is one fsync per commit: what is acknowledged survives a loss of power too.
        c.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        c.pragma_update(None, "foreign_keys", true).map_err(failed)?;
        // KiB of pages in memory. Sessions are read once, and what is appended touches few pages.
        c.pragma_update(None, "cache_size", -512).map_err(failed)?;
        if version == 0 { self.create() } else { Ok(()) }
    }

    /// Makes the schema, unless another process was quicker.
    fn create(&self) -> Result<(), StoreError> {
        let failed = |cause| self.failed(cause);
        let c = &self.connection;
        c.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
        let version = c.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
        let made = version.and_then(|version| {
            if version == 0 {
                let tables: i64 = c.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
                if tables > 0 {
                    return Ok(false);
                }
                c.execute_batch(SCHEMA)?;
                c.pragma_update(None, "application_id", APPLICATION)?;
                c.pragma_update(None, "user_version", VERSION)?;
            }
            Ok(true)
        });
        match made {
            Ok(true) => c.execute_batch("COMMIT").map_err(failed),
            Ok(false) => {
                c.execute_batch("ROLLBACK").map_err(failed)?;
                let found = "the database of another program".to_owned();
                Err(StoreError::Foreign { path: self.path.clone(), expected: VERSION, found })
            }
            Err(cause) => {
                // The connection is dropped with the error, which rolls back.
                Err(failed(cause))
            }
        }
    }
}
