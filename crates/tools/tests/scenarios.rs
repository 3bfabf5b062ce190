//! Scenarios as data: files before, a scripted model's turns, files and results after.
//!
//! Each file in `scenarios/` is a list. A scenario has `name`, and as far as it needs them:
//! `files` (before; `-> x` makes a link), `approve` (default `edits`), `answer` (`yes` or `no` to
//! requests for approval; without it nobody can be asked), `say`, `turns` (each a list of calls
//! `[tool, arguments]`, or a text), `results` (words that the result of each call must contain),
//! `outcome`, `after` (files that must have this content; null: must not exist). Files that
//! `after` does not name must be as before.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use chela_agent::journal::MemoryJournal;
use chela_protocol::*;
use chela_server::{Scripted, Turn};
use common::Place;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    name: String,
    #[serde(default)]
    files: BTreeMap<String, String>,
    #[serde(default)]
    approve: Option<ApproveMode>,
    #[serde(default)]
    answer: Option<String>,
    #[serde(default)]
    say: Option<String>,
    turns: Vec<Value>,
    #[serde(default)]
    results: Vec<String>,
    #[serde(default)]
    outcome: Option<String>,
    #[serde(default)]
    after: BTreeMap<String, Option<String>>,
    /// Words that no request may contain.
    #[serde(default)]
    never_sent: Vec<String>,
}

fn turn(value: &Value) -> Turn {
    match value {
        Value::String(text) => Turn::text(text),
        calls => calls.as_array().unwrap().iter().fold(Turn::new(), |turn, call| {
            let name = call[0].as_str().unwrap();
            match &call[1] {
                Value::String(raw) => turn.raw_call(name, raw),
                arguments => turn.call(name, arguments.clone()),
            }
        }),
    }
}

fn prepare(place: &Place, files: &BTreeMap<String, String>) {
    for (name, content) in files {
        match content.strip_prefix("-> ") {
            Some(target) => {
                let path = place.root.join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::os::unix::fs::symlink(target, path).unwrap();
            }
            None => place.put(name, content),
        }
    }
}

async fn play(scenario: Scenario) {
    let name = &scenario.name;
    let place = Place::new();
    prepare(&place, &scenario.files);
    let mut expected = place.all();
    let root = place.root.display().to_string();
    let fill = |value: &Value| -> Value {
        serde_json::from_str(&value.to_string().replace("$ROOT", &root)).unwrap()
    };
    let script = scenario.turns.iter().map(|value| turn(&fill(value)));
    let server = script.fold(Scripted::new(), Scripted::turn).serve();
    let journal = Arc::new(MemoryJournal::new(Vec::new()));
    let can_ask = scenario.answer.is_some();
    let approve = scenario.approve.unwrap_or(ApproveMode::Edits);
    let mut agent = place
        .agent(&server, journal, |settings| {
            settings.approve = approve;
            settings.can_ask = can_ask;
        })
        .await;
    agent.say(scenario.say.as_deref().unwrap_or("Go.")).await;
    let decision = match scenario.answer.as_deref() {
        Some("yes") => Decision::Once,
        _ => Decision::Deny,
    };
    let outcome = agent.outcome(decision).await;
    let word = serde_json::to_value(&outcome).unwrap()["outcome"].as_str().unwrap().to_owned();
    assert_eq!(word, scenario.outcome.as_deref().unwrap_or("done"), "{name}: {outcome:?}");
    let results = agent.results();
    assert_eq!(results.len(), scenario.results.len(), "{name}: {results:#?}");
    for (result, words) in results.iter().zip(&scenario.results) {
        assert!(result.contains(words.as_str()), "{name}: {words:?} is not in {result:?}");
        assert!(!result.trim().is_empty(), "{name}");
    }
    for (file, content) in scenario.after {
        match content {
            Some(content) => expected.insert(file, content),
            None => expected.remove(&file),
        };
    }
    assert_eq!(place.all(), expected, "{name}");
    for chat in server.chats() {
        let sent = chat.json().to_string();
        for words in &scenario.never_sent {
            assert!(!sent.contains(words.as_str()), "{name}: {words:?} was sent");
        }
    }
}

async fn play_all(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios").join(file);
    let scenarios: Vec<Scenario> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    for scenario in scenarios {
        play(scenario).await;
    }
}

#[tokio::test]
async fn harness() {
    play_all("harness.json").await;
}

#[tokio::test]
async fn hostile() {
    play_all("hostile.json").await;
}
