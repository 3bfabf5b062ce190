//! The demo model, and the choice on the first run.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::terminal::Terminal;
use crate::world::{Ran, World};

/// What these tests expect of the demo model, all of it.
mod expected {
    /// It reads this file and says what stands there.
    pub const READS: (&str, &str) = ("Read notes.txt and tell me what it says.", "Friday");
    /// It declines this.
    pub const DECLINED: &str = "Write a poem about the sea";
}

const ANNOUNCED: &str = "no model is configured: the demo model answers";
const OUTGROWN: &str = "this takes a larger model: `chela setup`";

fn fresh() -> World {
    let world = World::new();
    world.file("notes.txt", "The meeting is on Friday.\n");
    world
}

fn does_the_task(ran: &Ran) {
    assert!(ran.succeeds().out.contains(expected::READS.1), "{ran:?}");
    assert!(ran.err.contains("read notes.txt"), "{ran:?}");
}

#[test]
fn with_nothing_configured_and_no_terminal_the_demo_model_does_the_task_and_is_announced() {
    for world in [fresh(), fresh().env("OPENAI_API_KEY", "sk-x")] {
        let ran = world.run(&["agent", "-m", expected::READS.0]);
        does_the_task(&ran);
        assert_eq!(ran.err.matches(ANNOUNCED).count(), 1, "{ran:?}");
        assert!(ran.err.lines().next().unwrap().contains("`chela setup` connects a larger one"), "{ran:?}");
        assert!(!world.config_file().exists(), "nothing is written");
    }
    let world = fresh();
    let ran = world.run(&["agent", "--json", "-m", expected::READS.0]);
    let events = ran.succeeds().out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let who = events.filter(|event| event["type"] == "turn_finished").map(|e| e["provenance"].clone());
    let who: Vec<Value> = who.collect();
    assert_eq!((who[0]["provider"].as_str(), who[0]["model"].as_str()), (Some("local"), Some("demo")));
    assert_eq!(who[0]["local"], true);
    let chat = fresh().run_with_stdin(&["chat"], format!("{}\n", expected::READS.0));
    does_the_task(&chat);
    assert!(chat.err.contains(ANNOUNCED), "{chat:?}");
}

#[test]
fn where_anything_is_configured_the_demo_model_is_never_chosen() {
    let gone = "http://127.0.0.1:9/v1";
    let dead = format!("{{ models: {{ providers: {{ mine: {{ baseUrl: '{gone}' }} }} }} }}");
    let worlds = [
        World::with_vllm(gone),
        World::new().env("OPENAI_BASE_URL", gone),
        World::with_config(&dead),
        World::with_config("{ agents: { defaults: { model: 'vllm/m' } } }"),
        World::with_config("{ agents: { defaults: { model: { fallbacks: ['vllm/m'] } } } }"),
        World::with_config("{ agents: { defaults: { models: { 'mine/m': { alias: 'm' } } } } }"),
        World::with_config("{ models: { mode: 'replace' } }"),
    ];
    for world in worlds {
        let ran = world.run(&["agent", "-m", "hi"]);
        assert!(ran.code != 0 && ran.out.is_empty() && !ran.err.contains("demo"), "{ran:?}");
        let listed = world.run(&["models", "list"]);
        assert!(!listed.out.contains("local/demo"), "{listed:?}");
    }
}

#[test]
fn the_demo_model_is_listed_as_what_it_is() {
    let world = World::new();
    let ran = world.run(&["models", "list"]);
    let row = ran.succeeds().out.lines().find(|line| line.starts_with("local/demo")).unwrap().to_owned();
    assert!(row.contains("demo model"), "{ran:?}");
    assert!(ran.err.contains("local/demo is the demo model: very small"), "{ran:?}");
    assert_eq!(world.json(&["models", "list", "--json"])["models"][0]["demo"], true);
    // Another model of this process is not remembered as one of the next.
    let tiny = tiny().display().to_string();
    world.run(&["models", "status", &format!("local/{tiny}")]).succeeds();
    assert!(!world.run(&["models", "list"]).out.contains("tiny"));
}

#[test]
fn where_it_declines_the_way_to_a_larger_model_is_named_once() {
    let ran = fresh().run(&["agent", "-m", expected::DECLINED]);
    assert!(ran.succeeds().out.starts_with("I cannot do that"), "{ran:?}");
    assert_eq!(ran.err.matches(OUTGROWN).count(), 1, "{ran:?}");
    let twice = format!("{0}\n{0}\n", expected::DECLINED);
    let chat = fresh().run_with_stdin(&["chat"], twice);
    assert_eq!(chat.succeeds().err.matches(OUTGROWN).count(), 1, "{chat:?}");
}

#[test]
fn the_self_test_is_a_task_with_the_demo_model_whatever_is_configured() {
    for world in [World::new(), World::with_vllm("http://127.0.0.1:9/v1")] {
        let ran = world.run(&["doctor", "--self-test"]);
        for part in ["demo model: ", "tool call: read notes.txt", "answer: ", "self-test: passed in "] {
            assert!(ran.succeeds().out.contains(part), "no {part:?} in {ran:?}");
        }
        assert!(!world.home().join("sessions.db").exists(), "it leaves no session");
        let checks = world.json(&["doctor", "--self-test", "--json"]);
        assert!(checks.as_array().unwrap().iter().all(|check| check["verdict"] == "ok"), "{checks}");
    }
}

fn tiny() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/vllm-0.32/tiny-model")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap().path();
        std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

/// A home folder with a model in every usual place.
fn furnished() -> World {
    let world = fresh();
    let user = world.work().parent().unwrap().join("user");
    let gguf = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../demo-model/demo.gguf");
    let hub = user.join(".cache/huggingface/hub/models--org--tiny");
    copy(&tiny(), &hub.join("snapshots/abc"));
    std::fs::create_dir_all(hub.join("refs")).unwrap();
    std::fs::write(hub.join("refs/main"), "abc").unwrap();
    copy(&tiny(), &user.join(".lmstudio/models/someone/new"));
    copy(&tiny(), &user.join(".cache/lm-studio/models/someone/old"));
    copy(&tiny(), &world.home().join("models/own"));
    let ollama = user.join(".ollama/models");
    std::fs::create_dir_all(ollama.join("blobs")).unwrap();
    std::fs::copy(&gguf, ollama.join("blobs/sha256-ab12")).unwrap();
    let manifests = ollama.join("manifests/registry.ollama.ai/library/pulled");
    std::fs::create_dir_all(&manifests).unwrap();
    let layer = r#"{"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:ab12"}]}"#;
    std::fs::write(manifests.join("1b"), layer).unwrap();
    std::fs::copy(&gguf, world.work().join("here.gguf")).unwrap();
    std::fs::write(world.work().join("broken.gguf"), "GGUF").unwrap();
    world.env("HOME", user.to_str().unwrap())
}

/// The number before the line with these words.
fn number_of(terminal: &Terminal, words: &str) -> String {
    let text = terminal.text();
    let line = text.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("{words}: {text}"));
    line.trim().split_once('.').unwrap().0.to_owned()
}

#[test]
fn on_a_terminal_the_first_run_is_a_choice() {
    let world = furnished();
    let mut chat = world.terminal(&[]);
    chat.sees("no model is configured yet").sees("use which one? [1-");
    for (words, place) in [
        ("here.gguf, ", "this folder: runs here, window 8,192 tokens"),
        ("broken.gguf", "this folder: does not run here: "),
        ("own, ", "Chela's models: runs here, window 2,048 tokens"),
        ("org/tiny, ", "Hugging Face cache: runs here"),
        ("~/.lmstudio/models/someone/new, ", "LM Studio: runs here"),
        ("~/.cache/lm-studio/models/someone/old, ", "LM Studio: runs here"),
        ("pulled:1b, ", "Ollama: runs here, window 8,192 tokens"),
        ("the demo model: very small", "keeps notes"),
    ] {
        let flat = chat.text();
        let line = flat.lines().find(|line| line.contains(words) && line.contains(place));
        assert!(line.is_some(), "no {words:?} with {place:?} in {flat}");
    }
    chat.send("99\r");
    chat.sees("99 is none of 1 to").sees("use which one?").send("nothing.gguf\r");
    chat.sees("there is no model nothing.gguf").sees("use which one?").send("\r");
    chat.sees("the demo model answers this once").sees("local/demo on this machine").sees("> ");
    chat.send("\x04");
    assert_eq!(chat.ends(), 0);
    assert!(!world.config_file().exists());
}

#[test]
fn a_model_of_one_s_own_is_measured_written_and_used() {
    let world = furnished();
    let mut chat = world.terminal(&["agent", "-m", expected::READS.0]);
    chat.sees("use which one? [1-");
    let number = number_of(&chat, "pulled:1b");
    chat.send(&format!("{number}\r"));
    chat.sees("reads about ").sees("writes about ").sees("use it? [Y]es").send("n\r");
    chat.sees("use which one?").send(&format!("{number}\r"));
    chat.sees("use it? [Y]es").send("\r");
    chat.sees("local/pulled:1b is now the model").sees(expected::READS.1);
    assert_eq!(chat.ends(), 0);
    assert!(world.config().contains("local/pulled:1b"), "{}", world.config());
}
