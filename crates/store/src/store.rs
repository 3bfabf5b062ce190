//! The file of all sessions.

use std::path::{Path, PathBuf};

use chela_protocol::{Record, SessionId, SessionRow};
use rusqlite::{OptionalExtension, Row, params};

use crate::db::Db;
use crate::lock::{Lock, Taken};
use crate::search::{self, Hit};
use crate::{OpenSession, StoreError, session};

/// All sessions, in one SQLite file.
#[derive(Debug)]
pub struct Store {
    db: Db,
    locks: PathBuf,
}

/// A session that is to be made.
#[derive(Debug, Clone, Default)]
pub struct NewSession {
    /// A name by which the user finds it again; none other may have it.
    pub name: Option<String>,
    /// Which agent.
    pub agent: String,
    /// The session that started it, for sub-agents.
    pub parent: Option<SessionId>,
    /// The folder in which it works.
    pub folder: String,
    /// Now, in milliseconds since 1970-01-01 UTC.
    pub time: u64,
}

/// One session of the list.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionInfo {
    /// Id, name, title, age, size and usage.
    pub row: SessionRow,
    /// Which agent.
    pub agent: String,
    /// The session that started it.
    pub parent: Option<SessionId>,
    /// The folder in which it works.
    pub folder: String,
    /// When it was made, in milliseconds since 1970-01-01 UTC.
    pub created: u64,
    /// Why it was set aside, if it was.
    pub damaged: Option<String>,
}

const COLUMNS: &str = "id, name, title, updated, items, usage, agent, parent, folder, created, damaged, n";

impl Store {
    /// Opens the database at `path`, or makes it; `locks` is the folder of the session locks.
    pub fn open(path: &Path, locks: &Path) -> Result<Self, StoreError> {
        Ok(Self { db: Db::open(path)?, locks: locks.to_owned() })
    }

    /// Makes a session and opens it.
    pub fn create(&self, new: &NewSession) -> Result<OpenSession, StoreError> {
        let id = SessionId::new();
        let shown = new.name.clone().unwrap_or_else(|| id.to_string());
        let lock = self.lock(id, &shown)?;
        let added = self.db.connection.execute(
            "INSERT INTO session (id, name, agent, parent, folder, title, created, updated, items, usage) \
             VALUES (?1, ?2, ?3, ?4, ?5, '', ?6, ?6, 0, '{\"prompt\":0,\"completion\":0}')",
            params![
                id.as_bytes(),
                new.name,
                new.agent,
                new.parent.map(|p| *p.as_bytes()),
                new.folder,
                new.time as i64
            ],
        );
        match added {
            Ok(_) => {}
            Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
                return Err(StoreError::Exists(shown));
            }
            Err(e) => return Err(self.db.failed(e)),
        }
        let n = self.db.connection.last_insert_rowid();
        Ok(OpenSession::new(self.db.again()?, n, id, shown, lock))
    }

    /// Opens a session for writing, by name or by id.
    pub fn resume(&self, name: &str) -> Result<OpenSession, StoreError> {
        let (info, n) = self.find(name)?.ok_or_else(|| StoreError::Missing(name.to_owned()))?;
        let shown = info.row.name.unwrap_or_else(|| info.row.id.to_string());
        if let Some(why) = info.damaged {
            return Err(StoreError::Damaged { name: shown, why });
        }
        let lock = self.lock(info.row.id, &shown)?;
        Ok(OpenSession::new(self.db.again()?, n, info.row.id, shown, lock))
    }

    /// The session with this name, or this id or the beginning of one, if there is just one.
    pub fn get(&self, name: &str) -> Result<Option<SessionInfo>, StoreError> {
        Ok(self.find(name)?.map(|(info, _)| info))
    }

    /// The session that was last written in this folder.
    pub fn last(&self, folder: &str) -> Result<Option<SessionInfo>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM session WHERE folder = ?1 AND parent IS NULL AND damaged IS NULL \
             ORDER BY updated DESC, n DESC LIMIT 1"
        );
        let found = self.db.connection.query_row(&sql, [folder], info).optional();
        Ok(found.map_err(|e| self.db.failed(e))?.map(|(info, _)| info))
    }

    /// What was written in a session so far, also while another process has it open.
    ///
    /// # Errors
    /// There is no such session, or it is damaged.
    pub fn read(&self, name: &str) -> Result<Vec<Record>, StoreError> {
        let (info, n) = self.find(name)?.ok_or_else(|| StoreError::Missing(name.to_owned()))?;
        let shown = info.row.name.unwrap_or_else(|| info.row.id.to_string());
        session::read(&self.db, n, &shown)
    }

    /// All sessions, the newest first.
    pub fn list(&self) -> Result<Vec<SessionInfo>, StoreError> {
        let failed = |cause| self.db.failed(cause);
        let sql = format!("SELECT {COLUMNS} FROM session ORDER BY updated DESC, n DESC");
        let mut statement = self.db.connection.prepare(&sql).map_err(failed)?;
        let rows = statement.query_map([], info).map_err(failed)?;
        rows.map(|row| row.map(|(info, _)| info).map_err(failed)).collect()
    }

    /// The items in which all words occur, the best first.
    pub fn search(&self, words: &str, limit: usize) -> Result<Vec<Hit>, StoreError> {
        let Some(query) = search::query(words) else { return Ok(Vec::new()) };
        let failed = |cause| self.db.failed(cause);
        let sql = "SELECT s.id, s.name, i.seq, json_extract(i.body, '$.time'), \
                   snippet(item_text, 0, '[', ']', ' … ', 16) \
                   FROM item_text JOIN item i ON i.n = item_text.rowid JOIN session s ON s.n = i.session \
                   WHERE item_text MATCH ?1 ORDER BY rank LIMIT ?2";
        let mut statement = self.db.connection.prepare(sql).map_err(failed)?;
        let rows = statement.query_map(params![query, limit as i64], |row| {
            Ok(Hit {
                session: SessionId::from_bytes(row.get(0)?),
                name: row.get(1)?,
                item: row.get::<_, i64>(2)? as u64,
                time: row.get::<_, i64>(3)? as u64,
                excerpt: row.get(4)?,
            })
        });
        rows.map_err(failed)?.map(|row| row.map_err(failed)).collect()
    }

    /// Removes a session with everything in it.
    pub fn delete(&self, name: &str) -> Result<SessionInfo, StoreError> {
        let (info, n) = self.find(name)?.ok_or_else(|| StoreError::Missing(name.to_owned()))?;
        let shown = info.row.name.clone().unwrap_or_else(|| info.row.id.to_string());
        let _lock = self.lock(info.row.id, &shown)?;
        let remove = || {
            let c = &self.db.connection;
            c.execute_batch("BEGIN IMMEDIATE")?;
            c.execute("DELETE FROM item_text WHERE rowid IN (SELECT n FROM item WHERE session = ?1)", [n])?;
            c.execute("DELETE FROM session WHERE n = ?1", [n])?;
            c.execute_batch("COMMIT")
        };
        remove().map_err(|cause| self.db.failed(cause))?;
        Ok(info)
    }

    fn find(&self, name: &str) -> Result<Option<(SessionInfo, i64)>, StoreError> {
        let failed = |cause| self.db.failed(cause);
        let c = &self.db.connection;
        let by_name = format!("SELECT {COLUMNS} FROM session WHERE name = ?1");
        let found = c.query_row(&by_name, [name], info).optional().map_err(failed)?;
        let digits: String = name.chars().filter(|c| *c != '-').collect();
        if found.is_some() || digits.len() < 6 || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            return Ok(found);
        }
        // The first digits of an id are its time: enough of them name one session.
        let by_id = format!("SELECT {COLUMNS} FROM session WHERE lower(hex(id)) LIKE ?1 || '%' LIMIT 2");
        let mut statement = c.prepare(&by_id).map_err(failed)?;
        let rows = statement.query_map([digits.to_lowercase()], info).map_err(failed)?;
        let mut rows = rows.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        Ok(if rows.len() == 1 { rows.pop() } else { None })
    }

    fn lock(&self, id: SessionId, shown: &str) -> Result<Lock, StoreError> {
        let path = self.locks.join(format!("{id}.lock"));
        match Lock::take(&path) {
            Ok(Taken::Ours(lock)) => Ok(lock),
            Ok(Taken::Theirs(pid)) => Err(StoreError::Busy { name: shown.to_owned(), pid }),
            Err(cause) => Err(StoreError::File { path, cause }),
        }
    }
}

/// One row of [`COLUMNS`], and the row's own number.
fn info(row: &Row<'_>) -> rusqlite::Result<(SessionInfo, i64)> {
    let usage: String = row.get(5)?;
    let info = SessionInfo {
        row: SessionRow {
            id: SessionId::from_bytes(row.get(0)?),
            name: row.get(1)?,
            title: row.get(2)?,
            updated: row.get::<_, i64>(3)? as u64,
            items: row.get::<_, i64>(4)? as u64,
            usage: serde_json::from_str(&usage).unwrap_or_default(),
        },
        agent: row.get(6)?,
        parent: row.get::<_, Option<[u8; 16]>>(7)?.map(SessionId::from_bytes),
        folder: row.get(8)?,
        created: row.get::<_, i64>(9)? as u64,
        damaged: row.get(10)?,
    };
    Ok((info, row.get(11)?))
}
