//! Loop, tools and client together, on the wire.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use chela_agent::journal::MemoryJournal;
use chela_agent::prompt::SYSTEM;
use chela_protocol::*;
use chela_server::{Scripted, Served, Turn};
use common::Place;
use serde_json::{Value, json};

fn fresh() -> Arc<MemoryJournal> {
    Arc::new(MemoryJournal::new(Vec::new()))
}

/// In every two requests in a row, `tools` is byte-equal and the messages of the first are the
/// first messages of the second; user messages never stand side by side.
fn assert_stable(server: &Served) {
    let bodies: Vec<Value> = server.chats().iter().map(|chat| chat.json()).collect();
    let text = |value: &Value| serde_json::to_string(value).unwrap();
    for pair in bodies.windows(2) {
        assert_eq!(text(&pair[0]["tools"]), text(&pair[1]["tools"]));
        let (first, second) =
            (pair[0]["messages"].as_array().unwrap(), pair[1]["messages"].as_array().unwrap());
        assert!(second.len() > first.len());
        for (a, b) in first.iter().zip(second) {
            assert_eq!(text(a), text(b));
        }
    }
    for body in &bodies {
        let roles: Vec<&str> = body["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| message["role"].as_str().unwrap())
            .collect();
        assert!(!roles.windows(2).any(|pair| pair == ["user", "user"]), "{roles:?}");
    }
}

#[tokio::test]
async fn a_file_is_read_changed_and_the_change_taken_back() {
    let place = Place::new();
    place.put("w/notes.txt", "milk\nbread\n");
    let server = Scripted::new()
        .turn(Turn::new().reasoning("Look.").call("ls", json!({})).call("read", json!({"path": "notes.txt"})))
        .turn(
            Turn::new().call("edit", json!({"path": "notes.txt", "oldText": "milk", "newText": "oat milk"})),
        )
        .turn(Turn::text("Done."))
        .turn(Turn::text("I see."))
        .serve();
    let mut agent = place.agent(&server, fresh(), |_| {}).await;
    assert_eq!(agent.turn("Make it oat milk.").await, Outcome::Done);
    assert_eq!(agent.said(), "Done.");
    assert_eq!(place.all()["w/notes.txt"], "oat milk\nbread\n");
    assert_eq!(agent.results()[..2], ["notes.txt (11 B)", "milk\nbread"]);
    agent.ops.send(Op::Undo { turn: None }).await.unwrap();
    agent.until(|event| matches!(event, Event::Undone { .. }).then_some(())).await;
    assert_eq!(place.all()["w/notes.txt"], "milk\nbread\n");
    assert_eq!(agent.turn("I took it back.").await, Outcome::Done);
    let last = server.chats().last().unwrap().json();
    let told = last["messages"].as_array().unwrap().last().unwrap()["content"].to_string();
    assert!(told.contains("the user took back your changes to"), "{told}");
    assert_stable(&server);
}

/// The prefix holds over processes, whatever went wrong in between.
#[tokio::test]
async fn the_prefix_is_stable_over_turns_failures_and_processes() {
    let place = Place::new();
    place.put("w/a.txt", "A");
    place.put("w/AGENTS.md", "Be brief.");
    let server = Scripted::new()
        .turn(Turn::new().call("read", json!({"path": "a.txt"})))
        .turn(Turn::text("It says A."))
        .turn(Turn::error(400, "no"))
        .turn(Turn::new().call("read", json!({"path": "none"})).raw_call("ls", "{broken"))
        .turn(Turn::text(""))
        .turn(Turn::text("Neither."))
        .turn(Turn::text("Bye."))
        .serve();
    let journal = fresh();
    let mut agent = place.agent(&server, Arc::clone(&journal), |settings| settings.trusted = true).await;
    assert_eq!(agent.turn("What is in a.txt?").await, Outcome::Done);
    assert!(matches!(agent.turn("And?").await, Outcome::Failed { kind: FailureKind::BadRequest, .. }));
    drop(agent);
    // Another process, another day, instructions that have changed.
    place.put("w/AGENTS.md", "Be verbose.");
    let left = Arc::new(MemoryJournal::new(journal.records()));
    let mut agent = place.agent(&server, left, |settings| settings.trusted = true).await;
    assert_eq!(agent.turn("Once more.").await, Outcome::Done);
    assert_eq!(agent.turn("Thanks.").await, Outcome::Done);
    assert_stable(&server);
    let first = server.chats()[0].json()["messages"][0]["content"].as_str().unwrap().to_owned();
    assert!(first.starts_with(SYSTEM) && first.ends_with("Be brief."), "{first}");
}

#[tokio::test]
async fn a_server_without_parsers_runs_tools_all_the_same() {
    let place = Place::new();
    place.put("w/a.txt", "A");
    let call = r#"<tool_call>{"name": "read", "arguments": {"path": "a.txt"}}</tool_call>"#;
    let server =
        Scripted::new().model("Qwen/Qwen3-8B").no_parser().turn(Turn::text(call)).turn(Turn::text("A."));
    let server = server.model("tiny").serve();
    let mut agent = place.agent(&server, fresh(), |_| {}).await;
    assert_eq!(agent.turn("What is in a.txt?").await, Outcome::Done);
    assert_eq!(agent.results(), ["A"]);
}

#[tokio::test]
async fn stop_closes_the_connection() {
    let place = Place::new();
    let server = Scripted::new()
        .turn(Turn::new().and_text("Well, ").pause(Duration::from_secs(600)).and_text("…"))
        .serve();
    let mut agent = place.agent(&server, fresh(), |_| {}).await;
    agent.say("go").await;
    agent.until(|event| matches!(event, Event::TextDelta { .. }).then_some(())).await;
    agent.ops.send(Op::Stop).await.unwrap();
    assert_eq!(agent.outcome(Decision::Deny).await, Outcome::Stopped);
    let closed = |requests: &[chela_server::Recorded]| requests.iter().any(|request| request.closed_early());
    server.wait_for(Duration::from_secs(60), closed).await.unwrap();
}

/// What the user pays for before she has said anything: the system text and the schemas of the
/// tools, as they go out.
#[tokio::test]
async fn the_fixed_prompt_is_small() {
    let place = Place::new();
    let server = Scripted::new().turn(Turn::text("Hello.")).serve();
    let mut agent = place.agent(&server, fresh(), |_| {}).await;
    agent.turn("hi").await;
    let body = server.chats()[0].json();
    let tools = serde_json::to_string(&body["tools"]).unwrap();
    let system = body["messages"][0]["content"].as_str().unwrap();
    assert_eq!(system, SYSTEM);
    // The whole may have 4,000 bytes with nine tools; these six leave room for three more.
    let size = tools.len() + system.len();
    assert!(size <= 3_000, "{size} = {} + {}", tools.len(), system.len());
    assert_eq!(body["messages"].as_array().unwrap().len(), 2);
}

/// The same request twice has the same size, so that an estimate made from it is the server's.
#[tokio::test]
async fn usage_makes_the_meter_exact() {
    let place = Place::new();
    let server = Scripted::new().turn(Turn::text("Hello.")).turn(Turn::text("Again.")).serve();
    let mut agent = place.agent(&server, fresh(), |_| {}).await;
    agent.turn("hi").await;
    let meters: Vec<(u64, bool)> = agent
        .seen
        .iter()
        .filter_map(|event| match event {
            Event::ContextMeter { used, exact, .. } => Some((*used, *exact)),
            _ => None,
        })
        .collect();
    let usages: Vec<u64> = agent
        .seen
        .iter()
        .filter_map(|event| match event {
            Event::Usage(usage) => Some(usage.prompt + usage.completion),
            _ => None,
        })
        .collect();
    assert_eq!(meters, [(usages[0], true)]);
}
