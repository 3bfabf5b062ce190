//! Scenarios as data, through the binary: files before, a scripted model's turns; files, answer, exit code,
//! transcript and requests after.
//!
//! Each file in `tests/scenarios/` is a list. A scenario has `name`, and as far as it needs them: `files`
//! (before), `model` and `window` of the server, `parser` (false: a vLLM without flags), `args` (default:
//! `--approve edits`), `say` (one message, or several, each a process of its own in one session), `turns`,
//! `forever` (a turn that answers everything after them), `forced` (what the model says when it may not
//! call), `code`, `out` (the answer), `err` (words on stderr), `results` (words that each tool result
//! contains, in order), `requests` (how many at most), `sent` (`[request, JSON pointer, value]`), `after`
//! (files that must have this content; null: must not exist). Files that `after` does not name must be as
//! before.
//!
//! A turn is a text, a list of calls `[tool, arguments]`, or an object with `reasoning`, `text`, `calls`,
//! `finish`. Arguments that are a string are sent as they stand.

use std::collections::BTreeMap;
use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::Path;

use chela_openai::chat::ToolChoice;
use chela_server::{Scripted, Turn};
use serde::Deserialize;
use serde_json::Value;

use crate::wire::{assert_well_formed, breaks};
use crate::world::World;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    name: String,
    #[serde(default)]
    files: BTreeMap<String, String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    window: Option<u64>,
    #[serde(default)]
    parser: Option<bool>,
    #[serde(default)]
    args: Option<Vec<String>>,
    #[serde(default)]
    say: Option<Value>,
    #[serde(default)]
    turns: Vec<Value>,
    #[serde(default)]
    forever: Option<Value>,
    #[serde(default)]
    forced: Option<Value>,
    #[serde(default)]
    code: i32,
    #[serde(default)]
    out: Option<String>,
    #[serde(default)]
    err: Vec<String>,
    #[serde(default)]
    results: Option<Vec<String>>,
    #[serde(default)]
    requests: Option<usize>,
    #[serde(default)]
    sent: Vec<(usize, String, Value)>,
    #[serde(default)]
    after: BTreeMap<String, Option<String>>,
}

fn turn(value: &Value) -> Turn {
    let calls = |turn: Turn, calls: &Value| {
        calls.as_array().unwrap().iter().fold(turn, |turn, call| match &call[1] {
            Value::String(raw) => turn.raw_call(call[0].as_str().unwrap(), raw),
            arguments => turn.call(call[0].as_str().unwrap(), arguments.clone()),
        })
    };
    match value {
        Value::String(text) => Turn::text(text),
        Value::Array(_) => calls(Turn::new(), value),
        object => {
            let mut turn = Turn::new();
            if let Some(text) = object["reasoning"].as_str() {
                turn = turn.reasoning(text);
            }
            if let Some(text) = object["text"].as_str() {
                turn = turn.and_text(text);
            }
            if object["calls"].is_array() {
                turn = calls(turn, &object["calls"]);
            }
            match object["finish"].as_str() {
                Some(reason) => turn.finish(reason),
                None => turn,
            }
        }
    }
}

/// Every `{"times": n, "text": "x"}` in place of a text is that text so often.
fn long(value: &Value) -> Value {
    match value {
        Value::Object(object) if object.contains_key("times") => {
            let times = usize::try_from(object["times"].as_u64().unwrap()).unwrap();
            object["of"].as_str().unwrap().repeat(times).into()
        }
        Value::Object(object) => object.iter().map(|(key, value)| (key.clone(), long(value))).collect(),
        Value::Array(values) => values.iter().map(long).collect(),
        other => other.clone(),
    }
}

fn server(scenario: &Scenario) -> Scripted {
    let mut server = Scripted::new().model(scenario.model.as_deref().unwrap_or("m"));
    if let Some(window) = scenario.window {
        server = server.max_model_len(window);
    }
    if scenario.parser == Some(false) {
        server = server.no_parser();
    }
    server = scenario.turns.iter().map(|value| turn(&long(value))).fold(server, Scripted::turn);
    let (forever, forced) = (scenario.forever.clone(), scenario.forced.clone());
    match forever {
        None => server,
        Some(forever) => server.respond(move |request| match (&request.tool_choice, &forced) {
            (Some(ToolChoice::None), Some(forced)) => turn(forced),
            // `$n` is another number in every request.
            _ => turn(
                &serde_json::from_str(
                    &forever.to_string().replace("$n", &request.messages.len().to_string()),
                )
                .unwrap(),
            ),
        }),
    }
}

/// Every file of the workspace with its content.
fn files(root: &Path) -> BTreeMap<String, String> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(root, &path, found),
                false => {
                    let name = path.strip_prefix(root).unwrap().display().to_string();
                    found.insert(name, fs::read_to_string(&path).unwrap());
                }
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

fn play(scenario: &Scenario) {
    let name = &scenario.name;
    let server = server(scenario).serve();
    let world = World::with_vllm(&server.base_url());
    for (file, content) in &scenario.files {
        world.file(file, content);
    }
    let mut expected = files(&world.work());
    let said: Vec<String> = match &scenario.say {
        None => vec!["Go.".to_owned()],
        Some(Value::String(text)) => vec![text.clone()],
        Some(many) => serde_json::from_value(many.clone()).unwrap(),
    };
    let extra = scenario.args.clone().unwrap_or_else(|| vec!["--approve".into(), "edits".into()]);
    let mut last = None;
    for message in &said {
        let mut args = vec!["agent", "--session", "s", "-m", message];
        args.extend(extra.iter().map(String::as_str));
        last = Some(world.run(&args));
    }
    let ran = last.unwrap();
    assert_eq!(ran.code, scenario.code, "{name}: {ran:?}");
    if let Some(out) = &scenario.out {
        assert_eq!(ran.out.trim_end(), out, "{name}: {ran:?}");
    }
    for words in &scenario.err {
        assert!(ran.err.contains(words.as_str()), "{name}: no {words:?} in {ran:?}");
    }
    check_transcript(scenario, &world);
    let mut bodies: Vec<Value> = server.chats().iter().map(|chat| chat.json()).collect();
    if scenario.parser == Some(false) {
        // The first request was refused: it asked for what needs a parser.
        bodies.retain(|body| body["tool_choice"] == "none");
    }
    bodies.iter().for_each(assert_well_formed);
    assert_eq!(breaks(&bodies), 0, "{name}: the prefix changed");
    if let Some(most) = scenario.requests {
        assert!(bodies.len() <= most, "{name}: {} requests", bodies.len());
    }
    for (at, pointer, value) in &scenario.sent {
        assert_eq!(bodies[*at].pointer(pointer).unwrap_or(&Value::Null), value, "{name}: request {at}");
    }
    for (file, content) in scenario.after.clone() {
        match content {
            Some(content) => expected.insert(file, content),
            None => expected.remove(&file),
        };
    }
    assert_eq!(files(&world.work()), expected, "{name}");
}

/// Every call has one result, and the results say what they should.
fn check_transcript(scenario: &Scenario, world: &World) {
    let name = &scenario.name;
    let items = world.json(&["sessions", "show", "s", "--json"]);
    let of = |kind: &'static str| items.as_array().unwrap().iter().filter(move |item| item["kind"] == kind);
    let calls: Vec<&Value> =
        of("assistant").flat_map(|item| item["calls"].as_array().into_iter().flatten()).collect();
    let results: Vec<String> = of("tool_result")
        .map(|item| {
            [&item["content"], &item["note"]]
                .iter()
                .filter_map(|text| text.as_str())
                .collect::<Vec<_>>()
                .join("\n")
        })
        .collect();
    let ids: Vec<&Value> = of("tool_result").map(|item| &item["call"]).collect();
    assert_eq!(calls.iter().map(|call| &call["id"]).collect::<Vec<_>>(), ids, "{name}");
    if let Some(wanted) = &scenario.results {
        assert_eq!(results.len(), wanted.len(), "{name}: {results:#?}");
        for (result, words) in results.iter().zip(wanted) {
            assert!(result.contains(words.as_str()), "{name}: {words:?} is not in {result:?}");
        }
    }
}

fn play_all(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios").join(file);
    let scenarios: Vec<Scenario> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert!(!scenarios.is_empty());
    // All of them are played, so that one run shows all that is wrong.
    let fails = |scenario: &&Scenario| std::panic::catch_unwind(AssertUnwindSafe(|| play(scenario))).is_err();
    let failed: Vec<&str> = scenarios.iter().filter(fails).map(|scenario| scenario.name.as_str()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn harness_defects() {
    play_all("harness.json");
}

#[test]
fn loops_and_budgets() {
    play_all("loops.json");
}

#[test]
fn ends_of_answers() {
    play_all("ends.json");
}
