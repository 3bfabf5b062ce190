//! The store from outside: real files, real SQLite, real locks.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use chela_protocol::{Finish, Item, ItemId, Provenance, Record, TurnId, Usage};
use chela_store::{Draft, NewSession, OpenSession, Store, StoreError};
use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;

fn store(folder: &TempDir) -> Store {
    Store::open(&folder.path().join("sessions.db"), &folder.path().join("run")).unwrap()
}

fn new(name: &str) -> NewSession {
    NewSession { name: Some(name.into()), agent: "main".into(), folder: "/w".into(), time: 5, parent: None }
}

fn record(item: Item, time: u64) -> Record {
    Record { id: ItemId::new(), turn: TurnId::new(), time, item }
}

fn user(text: &str, time: u64) -> Record {
    let item = serde_json::from_value(json!({"kind": "user", "text": text})).unwrap();
    record(item, time)
}

fn answer(text: &str, completion: u64) -> Record {
    let item = Item::Assistant {
        text: text.into(),
        reasoning: String::new(),
        resend_reasoning: false,
        calls: Vec::new(),
        finish: Finish::Stop,
        provenance: Provenance::default(),
        usage: Some(Usage { prompt: 10, completion, cost: Some(0.5), ..Usage::default() }),
    };
    record(item, 9)
}

fn raw(folder: &TempDir) -> rusqlite::Connection {
    rusqlite::Connection::open(folder.path().join("sessions.db")).unwrap()
}

#[test]
fn what_was_appended_is_read_again_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let written = [user("hello there\nsecond line", 7), answer("hi", 3), user("again", 8)];
    {
        let mut session = store(&folder).create(&new("a")).unwrap();
        session.append(&written[..1]).unwrap();
        session.append(&written[1..]).unwrap();
    }
    let store = store(&folder);
    assert_eq!(store.resume("a").unwrap().records().unwrap(), written);
    let info = &store.list().unwrap()[0];
    assert_eq!((info.row.title.as_str(), info.row.items, info.row.updated), ("hello there", 3, 9));
    assert_eq!((info.row.usage.completion, info.row.usage.cost), (3, Some(0.5)));
    assert_eq!((info.agent.as_str(), info.folder.as_str(), info.created), ("main", "/w", 5));
}

#[test]
fn a_draft_that_was_left_behind_is_the_item_of_a_cut_answer() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let draft = |text: &str| Draft {
        id: ItemId::new(),
        turn: TurnId::new(),
        time: 8,
        text: text.into(),
        reasoning: "hm".into(),
        provenance: Provenance { provider: "vllm".into(), ..Provenance::default() },
    };
    {
        let mut session = store.create(&new("a")).unwrap();
        session.append(&[user("q", 7)]).unwrap();
        session.draft(&draft("lost")).unwrap();
        session.append(&[answer("whole", 1)]).unwrap();
        session.draft(&draft("par")).unwrap();
        session.draft(&draft("part")).unwrap();
    }
    for _ in 0..2 {
        let records = store.resume("a").unwrap().records().unwrap();
        assert_eq!(records.len(), 3);
        assert!(matches!(&records[2].item,
            Item::Assistant { text, reasoning, finish: Finish::Cut, provenance, .. }
            if text == "part" && reasoning == "hm" && provenance.provider == "vllm"));
    }
}

#[test]
fn one_writer_per_session_and_readers_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (store(&folder), store(&folder));
    let mut held = one.create(&new("a")).unwrap();
    let error = two.resume("a").unwrap_err();
    assert!(
        matches!(&error, StoreError::Busy { name, pid: Some(pid) } if name == "a" && *pid == std::process::id()),
        "{error}"
    );
    assert!(matches!(two.delete("a"), Err(StoreError::Busy { .. })));
    two.create(&new("b")).unwrap().append(&[user("other", 7)]).unwrap();
    held.append(&[user("mine", 7)]).unwrap();
    assert_eq!(two.list().unwrap().len(), 2);
    drop(held);
    assert_eq!(two.resume("a").unwrap().records().unwrap().len(), 1);
    let left = std::fs::read_dir(folder.path().join("run")).unwrap().count();
    assert_eq!(left, 0, "a lock that was given back leaves no file");
}

#[test]
fn a_name_belongs_to_one_session() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    drop(store.create(&new("a")).unwrap());
    assert!(matches!(store.create(&new("a")), Err(StoreError::Exists(name)) if name == "a"));
    assert!(matches!(store.resume("b"), Err(StoreError::Missing(name)) if name == "b"));
}

#[test]
fn a_session_is_found_by_the_beginning_of_its_id() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let id = store.create(&NewSession { name: None, ..new("") }).unwrap().id().to_string();
    for name in [id.as_str(), &id[..13], &id.to_uppercase()] {
        assert_eq!(store.get(name).unwrap().unwrap().row.id.to_string(), id, "{name}");
    }
    drop(store.create(&NewSession { name: None, ..new("") }).unwrap());
    assert!(store.get(&id[..7]).unwrap().is_none(), "two sessions of the same minute");
    assert!(store.get("%").unwrap().is_none());
}

#[test]
fn the_last_session_is_that_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    for (name, place, time) in [("old", "/w", 1), ("new", "/w", 3), ("else", "/x", 9)] {
        let session = NewSession { folder: place.into(), ..new(name) };
        store.create(&session).unwrap().append(&[user("m", time)]).unwrap();
    }
    store.resume("old").unwrap().append(&[user("m", 50)]).unwrap();
    assert_eq!(store.last("/w").unwrap().unwrap().row.name.as_deref(), Some("old"));
    assert!(store.last("/y").unwrap().is_none());
}

#[test]
fn a_damaged_session_is_set_aside_alone() {
    type Harm = (&'static str, &'static str);
    let table: [Harm; 4] = [
        ("UPDATE item SET body = replace(body, 'hello', 'jello') WHERE seq = 0 AND session = 1", "checksum"),
        ("DELETE FROM item WHERE seq = 0 AND session = 1", "is missing"),
        ("UPDATE item SET body = '{', sum = 1574222160 WHERE seq = 0 AND session = 1", "c"),
        ("UPDATE item SET seq = 7 WHERE seq = 1 AND session = 1", "is missing; the next one is 7"),
    ];
    for (harm, why) in table {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        for name in ["bad", "good"] {
            store.create(&new(name)).unwrap().append(&[user("hello", 7), answer("hi", 1)]).unwrap();
        }
        raw(&folder).execute_batch(harm).unwrap();
        let error = store.resume("bad").unwrap().records().unwrap_err();
        assert!(matches!(&error, StoreError::Damaged { name, .. } if name == "bad"), "{harm}: {error}");
        assert!(error.to_string().contains(why), "{harm}: {error}");
        assert!(matches!(store.resume("bad"), Err(StoreError::Damaged { .. })), "it is marked");
        assert_eq!(store.resume("good").unwrap().records().unwrap().len(), 2);
        let info = store.list().unwrap();
        assert_eq!(info.iter().filter(|i| i.damaged.is_some()).count(), 1);
        assert_eq!(store.last("/w").unwrap().unwrap().row.name.as_deref(), Some("good"));
        store.delete("bad").unwrap();
        assert_eq!(store.list().unwrap().len(), 1);
    }
}

#[test]
fn words_are_found_and_go_with_the_session() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let content = "the café \"opens\" at nine";
    let result = json!({"kind": "tool_result", "call": "c", "name": "read", "content": content});
    let result = serde_json::from_value(result).unwrap();
    store.create(&new("a")).unwrap().append(&[user("when?", 7), record(result, 8)]).unwrap();
    for words in ["cafe", "CAFÉ op", "\"opens\"", "nine AND", "café*", "at (nine)", "NEAR"] {
        let hits = store.search(words, 10).unwrap();
        let wanted = !["nine AND", "NEAR"].contains(&words);
        assert_eq!(hits.len(), usize::from(wanted), "{words}");
        assert!(hits.iter().all(|h| h.item == 1 && h.time == 8 && h.name.as_deref() == Some("a")));
    }
    assert!(store.search("cafe", 10).unwrap()[0].excerpt.contains("[café]"));
    assert!(store.search("  ", 10).unwrap().is_empty());
    store.delete("a").unwrap();
    assert!(store.search("cafe", 10).unwrap().is_empty());
}

#[test]
fn a_newer_store_and_a_foreign_file_are_refused_by_name() {
    let refused = |folder: &TempDir, found: &str| {
        let path = folder.path().join("sessions.db");
        let error = Store::open(&path, Path::new("run")).unwrap_err();
        assert!(error.to_string().contains(found) && error.to_string().contains("sessions.db"), "{error}");
        assert!(error.hint().is_some());
    };
    let folder = tempfile::tempdir().unwrap();
    drop(store(&folder));
    raw(&folder).pragma_update(None, "user_version", 2).unwrap();
    refused(&folder, "found version 2");

    let folder = tempfile::tempdir().unwrap();
    raw(&folder).execute_batch("CREATE TABLE t (a)").unwrap();
    refused(&folder, "another program");
    raw(&folder).pragma_update(None, "user_version", 1).unwrap();
    refused(&folder, "another program");

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("sessions.db"), "not a database, not at all, no. ".repeat(64)).unwrap();
    refused(&folder, "not a database");
}

#[test]
fn many_processes_may_begin_at_once() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let folder = &folder;
            scope.spawn(move || {
                let mut session = store(folder).create(&new(&n.to_string())).unwrap();
                for _ in 0..5 {
                    session.append(&[user("m", 7)]).unwrap();
                }
            });
        }
    });
    let store = store(&folder);
    assert_eq!(store.list().unwrap().iter().map(|i| i.row.items).collect::<Vec<_>>(), vec![5; 8]);
}

fn text_of(session: &mut OpenSession) -> Vec<String> {
    let records = session.records().unwrap();
    records
        .into_iter()
        .map(|r| if let Item::User { text, .. } = r.item { text } else { String::new() })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_text_in_any_portions_is_read_as_it_was_written(portions in prop::collection::vec(prop::collection::vec("\\PC*|[\\x00-\\x7f]*", 0..4), 0..5)) {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let mut session = store.create(&new("a")).unwrap();
        for portion in &portions {
            let records: Vec<Record> = portion.iter().map(|t| user(t, 7)).collect();
            session.append(&records).unwrap();
        }
        let texts = text_of(&mut session);
        prop_assert_eq!(texts, portions.concat());
    }

    #[test]
    fn no_words_are_a_syntax_error(words in "\\PC*") {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        prop_assert!(store.search(&words, 3).is_ok());
    }
}
