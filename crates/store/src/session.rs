//! One session, held for writing.

use chela_protocol::{Finish, Item, ItemId, Provenance, Record, SessionId, TurnId, Usage};
use rusqlite::{OptionalExtension, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

use crate::db::Db;
use crate::lock::Lock;
use crate::{StoreError, search};

/// Characters of the first message that stand for a session in a list.
const TITLE: usize = 80;

/// An answer that is still arriving.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    /// The id that the item will have if it stays a draft.
    pub id: ItemId,
    /// Its turn.
    pub turn: TurnId,
    /// When it was last written, in milliseconds since 1970-01-01 UTC.
    pub time: u64,
    /// The text so far.
    pub text: String,
    /// The reasoning so far.
    pub reasoning: String,
    /// Who answers.
    pub provenance: Provenance,
}

impl Draft {
    /// The item of an answer that was cut here.
    fn cut(self) -> Record {
        let item = Item::Assistant {
            text: self.text,
            reasoning: self.reasoning,
            resend_reasoning: false,
            calls: Vec::new(),
            finish: Finish::Cut,
            provenance: self.provenance,
            usage: None,
        };
        Record { id: self.id, turn: self.turn, time: self.time, item }
    }
}

/// A session that this process alone may write, until the value is dropped.
#[derive(Debug)]
pub struct OpenSession {
    db: Db,
    n: i64,
    id: SessionId,
    shown: String,
    _lock: Lock,
}

impl OpenSession {
    pub(crate) fn new(db: Db, n: i64, id: SessionId, shown: String, lock: Lock) -> Self {
        Self { db, n, id, shown, _lock: lock }
    }

    /// Which session.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Everything that was written, in order. A draft that a dead process left becomes the item of
    /// a cut answer, which is appended.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where an item is not what was written; the session is then marked,
    /// and stays as it is.
    pub fn records(&mut self) -> Result<Vec<Record>, StoreError> {
        let records = match read(&self.db, self.n, &self.shown) {
            Ok(records) => records,
            Err(StoreError::Damaged { name, why }) => {
                let mark = "UPDATE session SET damaged = ?2 WHERE n = ?1 AND damaged IS NULL";
                self.db.connection.execute(mark, params![self.n, why]).map_err(|e| self.db.failed(e))?;
                return Err(StoreError::Damaged { name, why });
            }
            Err(other) => return Err(other),
        };
        let body: Option<String> = self
            .db
            .connection
            .query_row("SELECT body FROM draft WHERE session = ?1", [self.n], |row| row.get(0))
            .optional()
            .map_err(|e| self.db.failed(e))?;
        let Some(draft) = body.and_then(|body| serde_json::from_str::<Draft>(&body).ok()) else {
            return Ok(records);
        };
        let cut = draft.cut();
        self.append(std::slice::from_ref(&cut))?;
        Ok(records.into_iter().chain([cut]).collect())
    }

    /// Adds records and removes the draft, in one step. When it returns, they are durable.
    pub fn append(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let bodies = records.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
        let path = self.db.path.clone();
        self.write(records, &bodies).map_err(|cause| StoreError::Sqlite { path, cause })
    }

    fn write(&mut self, records: &[Record], bodies: &[String]) -> rusqlite::Result<()> {
        let tx = self.db.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (items, usage, title): (i64, String, String) = tx
            .prepare_cached("SELECT items, usage, title FROM session WHERE n = ?1")?
            .query_row([self.n], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let mut usage: Usage = serde_json::from_str(&usage).unwrap_or_default();
        let mut title = title;
        {
            let mut add =
                tx.prepare_cached("INSERT INTO item (session, seq, body, sum) VALUES (?1, ?2, ?3, ?4)")?;
            let mut index = tx.prepare_cached("INSERT INTO item_text (rowid, text) VALUES (?1, ?2)")?;
            for (seq, (record, body)) in (items..).zip(records.iter().zip(bodies)) {
                let n = add.insert(params![self.n, seq, body, crc32fast::hash(body.as_bytes())])?;
                if let Some(text) = search::text_of(&record.item) {
                    index.execute(params![n, text])?;
                }
                match &record.item {
                    Item::Assistant { usage: Some(more), .. } => usage.add(more),
                    Item::User { text, .. } if title.is_empty() => title = title_of(text),
                    _ => {}
                }
            }
        }
        let updated = records.iter().map(|record| record.time as i64).max();
        let usage = serde_json::to_string(&usage).unwrap_or_default();
        tx.prepare_cached(
            "UPDATE session SET items = ?2, usage = ?3, title = ?4, updated = max(updated, coalesce(?5, 0)) WHERE n = ?1",
        )?
        .execute(params![self.n, items + records.len() as i64, usage, title, updated])?;
        tx.prepare_cached("DELETE FROM draft WHERE session = ?1")?.execute([self.n])?;
        tx.commit()
    }

    /// Keeps what an answer has so far, in place of the draft before.
    pub fn draft(&mut self, draft: &Draft) -> Result<(), StoreError> {
        let body = serde_json::to_string(draft)?;
        self.db
            .connection
            .prepare_cached("INSERT INTO draft (session, body) VALUES (?1, ?2) ON CONFLICT (session) DO UPDATE SET body = ?2")
            .and_then(|mut statement| statement.execute(params![self.n, body]))
            .map_err(|cause| self.db.failed(cause))?;
        Ok(())
    }
}

/// The items of session number `n`, checked.
pub(crate) fn read(db: &Db, n: i64, shown: &str) -> Result<Vec<Record>, StoreError> {
    let failed = |cause| db.failed(cause);
    let mut statement = db
        .connection
        .prepare_cached("SELECT seq, body, sum FROM item WHERE session = ?1 ORDER BY seq")
        .map_err(failed)?;
    let mut rows = statement.query([n]).map_err(failed)?;
    let mut records = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        let at = records.len();
        let damaged =
            |why: String| StoreError::Damaged { name: shown.to_owned(), why: format!("item {at} {why}") };
        let seq: i64 = row.get(0).map_err(failed)?;
        let body = row.get_ref(1).and_then(|v| Ok(v.as_str()?)).map_err(|_| damaged("is no text".into()))?;
        let sum: i64 = row.get(2).map_err(failed)?;
        if seq != at as i64 {
            return Err(damaged(format!("is missing; the next one is {seq}")));
        }
        if i64::from(crc32fast::hash(body.as_bytes())) != sum {
            return Err(damaged("does not match its checksum".into()));
        }
        records.push(serde_json::from_str(body).map_err(|e| damaged(format!("cannot be read: {e}")))?);
    }
    Ok(records)
}

/// The first line of a message, cut at a character.
fn title_of(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default().trim();
    match line.char_indices().nth(TITLE) {
        Some((at, _)) => format!("{}…", line[..at].trim_end()),
        None => line.to_owned(),
    }
}
