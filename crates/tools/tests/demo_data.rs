//! What the demo model is trained on is what the program does: the same prompt, the same tools, and
//! results word for word. The generator in `demo-model/` has a folder in memory; here its exam is
//! done again with the real tools.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use chela_agent::journal::MemoryJournal;
use chela_agent::prompt::SYSTEM;
use chela_agent::tool::{Registry, Tool};
use chela_client::{Http, HttpSettings};
use chela_protocol::*;
use chela_server::{Scripted, Turn};
use chela_tools::files::{Files, tools};
use chela_tools::memory::{Memory, Notes};
use chela_tools::undo::UndoLog;
use chela_tools::web::WebFetch;
use common::Place;
use serde::Deserialize;
use serde_json::{Map, Value};

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo-model")
}

#[derive(Deserialize)]
struct Prompt {
    system: String,
    tools: Vec<Value>,
}

#[test]
fn the_prompt_is_the_one_in_training() {
    let text = fs::read_to_string(folder().join("chela_demo/prompt.json")).unwrap();
    let trained: Prompt = serde_json::from_str(&text).unwrap();
    assert_eq!(trained.system, SYSTEM);
    let place = Place::new();
    let undo = Arc::new(UndoLog::new(place.root.join("undo")));
    let notes = Notes::new(place.root.join("w"), Arc::clone(&undo), jiff::tz::TimeZone::UTC);
    let mut own: Vec<Arc<dyn Tool>> = tools(&Files::new(undo, None));
    own.push(Arc::new(WebFetch::new(Arc::new(Http::new(HttpSettings::default())))));
    own.push(Arc::new(Memory::new(notes)));
    let own: Vec<Value> = serde_json::from_str(&Registry::new(own).schemas()).unwrap();
    // Compared as text, since the order of parameters counts.
    let text = |tools: &[Value]| -> BTreeMap<String, String> {
        tools.iter().map(|tool| (tool["function"]["name"].to_string(), tool.to_string())).collect()
    };
    let (trained, own) = (text(&trained.tools), text(&own));
    for (name, tool) in &own {
        assert_eq!(trained.get(name), Some(tool));
    }
}

#[derive(Deserialize)]
struct Request {
    id: String,
    files: BTreeMap<String, String>,
    folders: Vec<String>,
    request: String,
    calls: Vec<(String, Map<String, Value>)>,
    #[serde(default)]
    results: Vec<String>,
    answer: String,
    after: BTreeMap<String, Option<String>>,
}

async fn replay(request: Request) {
    let place = Place::new();
    for (name, content) in &request.files {
        place.put(&format!("w/{name}"), content);
    }
    for name in &request.folders {
        fs::create_dir_all(place.root.join("w").join(name)).unwrap();
    }
    let mut expected = place.all();
    let calls = request.calls.into_iter();
    let turns = calls.map(|(name, args)| Turn::new().call(&name, Value::Object(args)));
    let server = turns.fold(Scripted::new(), Scripted::turn).turn(Turn::text(&request.answer)).serve();
    let mut agent = place.agent(&server, Arc::new(MemoryJournal::new(Vec::new())), |_| {}).await;
    let outcome = agent.turn(&request.request).await;
    assert!(matches!(outcome, Outcome::Done), "{}: {outcome:?}", request.id);
    assert_eq!(agent.results(), request.results, "{}", request.id);
    for (file, content) in request.after {
        let file = format!("w/{file}");
        match content {
            Some(content) => expected.insert(file, content),
            None => expected.remove(&file),
        };
    }
    assert_eq!(place.all(), expected, "{}", request.id);
}

#[tokio::test]
async fn results_in_training_are_those_of_the_real_tools() {
    let text = fs::read_to_string(folder().join("exam/generated.jsonl")).unwrap();
    let requests = text.lines().map(|line| serde_json::from_str::<Request>(line).unwrap());
    let with_results: Vec<Request> = requests.filter(|request| !request.results.is_empty()).collect();
    assert!(with_results.len() > 100);
    for request in with_results {
        replay(request).await;
    }
}
