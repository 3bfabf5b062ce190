//! A fixed sample of the demo model's exam, with the model inside the binary, the whole agent and real
//! files. `cargo xtask exam` puts all of it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::world::World;

/// Requests of the sample, and how many of them the model in this repository gets right at least: a bound, not a
/// count, since other instruction sets may round otherwise. With another model comes another number.
const SAMPLE: usize = 20;
const RIGHT: usize = 11;

#[derive(Deserialize)]
struct Request {
    id: String,
    files: BTreeMap<String, String>,
    folders: Vec<String>,
    request: String,
    calls: Vec<(String, Map<String, Value>)>,
    #[serde(default)]
    must: Vec<String>,
    after: BTreeMap<String, Option<String>>,
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo-model")
}

/// What is done with files alone, spread over the whole exam.
fn sample() -> Vec<Request> {
    let text = std::fs::read_to_string(folder().join("exam/generated.jsonl")).unwrap();
    let all = text.lines().map(|line| serde_json::from_str::<Request>(line).unwrap());
    let file_tools = ["read", "write", "edit", "ls", "grep", "glob"];
    let fits = |request: &Request| {
        request.calls.iter().all(|(name, _)| file_tools.contains(&name.as_str()))
            && !request.must.iter().any(|word| word.starts_with('{'))
    };
    let fitting: Vec<Request> = all.filter(fits).collect();
    let step = fitting.len() / SAMPLE;
    fitting.into_iter().step_by(step).take(SAMPLE).collect()
}

/// What a tool cannot be called without.
fn required() -> BTreeMap<String, Vec<String>> {
    let text = std::fs::read_to_string(folder().join("chela_demo/prompt.json")).unwrap();
    let prompt: Value = serde_json::from_str(&text).unwrap();
    let of = |tool: &Value| {
        let function = &tool["function"];
        let keys = serde_json::from_value(function["parameters"]["required"].clone()).unwrap_or_default();
        (function["name"].as_str().unwrap().to_owned(), keys)
    };
    prompt["tools"].as_array().unwrap().iter().map(of).collect()
}

/// How a request was done.
struct Mark {
    right: bool,
    /// Calls of no tool, or without what the tool needs; not those that the token limit cut, which never ran.
    invalid: usize,
    words: String,
}

/// Whether a call never ran since the token limit cut it.
fn was_cut(event: &Value) -> bool {
    event["result"].as_str().unwrap().starts_with("error: the token limit cut this call")
}

fn put(request: &Request, required: &BTreeMap<String, Vec<String>>) -> Mark {
    let world = World::new();
    for (name, content) in &request.files {
        world.file(name, content);
    }
    for name in &request.folders {
        std::fs::create_dir_all(world.work().join(name)).unwrap();
    }
    let args = ["agent", "--json", "--approve", "all", "--max-steps", "8", "-m", &request.request];
    let ran = world.run(&args);
    let (mut calls, mut answer, mut done) = (Vec::new(), String::new(), false);
    let mut invalid = BTreeMap::new();
    for event in ran.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        match event["type"].as_str().unwrap() {
            "text_delta" => answer.push_str(event["text"].as_str().unwrap()),
            "tool_call_started" => {
                answer.clear();
                let (name, args) = (event["name"].as_str().unwrap().to_owned(), event["args"].clone());
                let valid =
                    required.get(&name).is_some_and(|keys| keys.iter().all(|key| args.get(key).is_some()));
                invalid.insert(event["id"].to_string(), !valid);
                calls.push((name, args));
            }
            "tool_call_finished" if was_cut(&event) => drop(invalid.remove(&event["id"].to_string())),
            "turn_finished" => done = event["outcome"]["outcome"] == "done",
            _ => {}
        }
    }
    let invalid = invalid.values().filter(|invalid| **invalid).count();
    let wanted: Vec<(String, Value)> =
        request.calls.iter().map(|(name, args)| (name.clone(), json!(args))).collect();
    let files = request.after.iter().all(|(name, content)| {
        std::fs::read_to_string(world.work().join(name)).ok().as_ref() == content.as_ref()
    });
    let says = request.must.iter().all(|word| answer.contains(word));
    let right = done && calls == wanted && says && files;
    let words = format!("{}: {}\n  {calls:?}\n  {answer:?}", request.id, request.request);
    Mark { right, invalid, words }
}

#[test]
fn the_model_that_ships_does_what_was_recorded() {
    let required = required();
    let sample = sample();
    assert_eq!(sample.len(), SAMPLE);
    let marks: Vec<Mark> = sample.iter().map(|request| put(request, &required)).collect();
    let wrong: Vec<&str> = marks.iter().filter(|mark| !mark.right).map(|mark| mark.words.as_str()).collect();
    let wrong = wrong.join("\n");
    let invalid: usize = marks.iter().map(|mark| mark.invalid).sum();
    assert_eq!(invalid, 0, "invalid calls:\n{wrong}");
    let right = marks.iter().filter(|mark| mark.right).count();
    assert!(right >= RIGHT, "{right} of {SAMPLE} are right, and {RIGHT} were; wrong:\n{wrong}");
}
