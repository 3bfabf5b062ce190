//! Sessions through the binary.

use std::io::Read;

use chela_server::{Scripted, Turn};
use serde_json::{Value, json};

use crate::world::World;

fn messages(body: &Value) -> Vec<String> {
    body["messages"].as_array().unwrap().iter().map(Value::to_string).collect()
}

#[test]
fn a_named_session_goes_on_over_processes_with_the_same_prefix() {
    let server = Scripted::new()
        .model("m")
        .turn(Turn::new().call("ls", json!({})))
        .turn(Turn::text("One file."))
        .turn(Turn::text("Still one."))
        .turn(Turn::text("Yes."))
        .serve();
    let world = World::with_vllm(&server.base_url());
    world.run(&["agent", "--session", "s", "-m", "How many?"]).succeeds();
    world.run(&["agent", "--session", "s", "-m", "And now?"]).succeeds();
    world.run(&["agent", "--session", "last", "-m", "Sure?"]).succeeds();
    let bodies: Vec<Value> = server.chats().iter().map(|c| c.json()).collect();
    for pair in bodies.windows(2) {
        let (before, after) = (messages(&pair[0]), messages(&pair[1]));
        assert_eq!(before[..], after[..before.len()]);
        assert_eq!(pair[0]["tools"].to_string(), pair[1]["tools"].to_string());
    }
    assert!(messages(&bodies[3]).len() > messages(&bodies[2]).len());
    let list = world.json(&["sessions", "list", "--json"]);
    assert_eq!(
        (list.as_array().unwrap().len(), &list[0]["name"], &list[0]["title"]),
        (1, &json!("s"), &json!("How many?"))
    );
}

#[test]
fn without_a_name_every_call_is_a_new_saved_session() {
    let server = Scripted::new().model("m").respond(|_| Turn::text("the answer is blue")).serve();
    let world = World::with_vllm(&server.base_url());
    world.run(&["agent", "-m", "first"]).succeeds();
    world.run(&["agent", "-m", "second"]).succeeds();
    let list = world.json(&["sessions", "list", "--json"]);
    assert_eq!(list.as_array().unwrap().len(), 2);
    let id = list[0]["id"].as_str().unwrap();
    let shown = world.run(&["sessions", "show", id]);
    assert!(shown.succeeds().out.contains("> second") && shown.out.contains("blue"), "{shown:?}");
    assert_eq!(world.json(&["sessions", "search", "blue", "--json"]).as_array().unwrap().len(), 2);
    world.run(&["sessions", "search", "green"]).fails(1, &["green"]);
    world.run(&["sessions", "delete", id]).succeeds();
    world.run(&["sessions", "show", id]).fails(2, &["no session", "chela sessions list"]);
    world.run(&["agent", "--session", "last", "-m", "x"]).succeeds();
}

#[test]
fn a_session_is_resumed_with_a_message_and_shows_who_answered() {
    let server = Scripted::new().model("m").respond(|_| Turn::text("ok")).serve();
    let world = World::with_vllm(&server.base_url());
    world.run(&["sessions", "resume", "-m", "x"]).fails(2, &["no session"]);
    world.run(&["agent", "--session", "s", "-m", "first"]).succeeds();
    world.run(&["agent", "-m", "another"]).succeeds();
    assert_eq!(world.run(&["sessions", "resume", "s", "-m", "second"]).succeeds().out, "ok\n");
    world.run(&["sessions", "resume", "none", "-m", "x"]).fails(2, &["no session `none`"]);
    // The newest of this folder.
    world.run(&["sessions", "resume", "-m", "third"]).succeeds();
    let shown = world.run(&["sessions", "show", "last"]);
    let who = format!("vllm/m at {}, local", server.base_url());
    assert!(shown.succeeds().out.contains("> third") && shown.out.contains(&who), "{shown:?}");
    let items = world.json(&["sessions", "show", "s", "--json"]);
    let said = |kind: &str| {
        items.as_array().unwrap().iter().filter(|i| i["kind"] == kind).cloned().collect::<Vec<_>>()
    };
    let messages = [said("user"), said("assistant")].concat();
    assert_eq!(messages.len(), 6);
    for message in messages {
        let wanted = json!({"provider": "vllm", "model": "m", "endpoint": server.base_url(), "local": true});
        assert_eq!(message["provenance"], wanted, "{message}");
    }
    world.run(&["sessions", "delete", "last"]).succeeds();
    world.run(&["sessions", "show", "s"]).fails(2, &[]);
}

#[test]
fn one_session_has_one_writer_and_everything_else_runs_beside_it() {
    let server = Scripted::new()
        .model("m")
        .turn(Turn::text("part").pause(std::time::Duration::from_secs(60)))
        .respond(|_| Turn::text("ok"))
        .serve();
    let world = World::with_vllm(&server.base_url());
    let mut child = world.spawn(&["agent", "--session", "s", "-m", "hi"]);
    let mut part = [0; 4];
    child.stdout.as_mut().unwrap().read_exact(&mut part).unwrap();
    let pid = child.id().to_string();
    world
        .run(&["agent", "--session", "s", "-m", "x"])
        .fails(1, &["s is open in another process", &pid, "--session"]);
    world.run(&["agent", "--session", "last", "-m", "x"]).fails(1, &["open in another process"]);
    world.run(&["sessions", "delete", "s"]).fails(1, &["open in another process"]);
    for beside in [
        &["sessions", "list"][..],
        &["sessions", "show", "s"],
        &["sessions", "search", "hi"],
        &["models", "list", "--refresh"],
        &["models", "status"],
        &["config", "validate"],
        &["trust", "list"],
        &["agent", "-m", "another one"],
        &["agent", "--session", "t", "-m", "a named one"],
    ] {
        world.run(beside).succeeds();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(world.run(&["agent", "--session", "s", "-m", "and now?"]).succeeds().out, "ok\n");
}

#[test]
fn a_damaged_session_is_set_aside_alone() {
    let server = Scripted::new().model("m").respond(|_| Turn::text("the answer is blue")).serve();
    let world = World::with_vllm(&server.base_url());
    for name in ["bad", "good"] {
        world.run(&["agent", "--session", name, "-m", "What colour?"]).succeeds();
    }
    let db = rusqlite::Connection::open(world.home().join("sessions.db")).unwrap();
    db.execute(
        "UPDATE item SET body = replace(body, 'blue', 'pink') WHERE session = 1 AND body LIKE '%blue%'",
        [],
    )
    .unwrap();
    world
        .run(&["agent", "--session", "bad", "-m", "And?"])
        .fails(1, &["session bad is damaged", "checksum", "sessions delete"]);
    world.run(&["agent", "--session", "good", "-m", "And?"]).succeeds();
    // The newest that can be continued, and a list that says what is wrong with the other one.
    world.run(&["agent", "--session", "last", "-m", "And?"]).succeeds();
    assert!(world.run(&["sessions", "list"]).succeeds().out.contains("damaged"));
    world.run(&["sessions", "delete", "bad"]).succeeds();
    world.run(&["agent", "--session", "bad", "-m", "Anew."]).succeeds();
}

#[test]
fn a_newer_store_is_refused_by_name_and_left_as_it_is() {
    let server = Scripted::new().model("m").respond(|_| Turn::text("ok")).serve();
    let world = World::with_vllm(&server.base_url());
    world.run(&["agent", "-m", "hi"]).succeeds();
    let db = rusqlite::Connection::open(world.home().join("sessions.db")).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    for args in [&["agent", "-m", "hi"][..], &["sessions", "list"]] {
        world.run(args).fails(1, &["sessions.db", "version 99", "newer version"]);
    }
    assert_eq!(server.chats().len(), 1);
    world.run(&["models", "list"]).succeeds();
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 99);
}

#[test]
fn a_change_is_taken_back_byte_for_byte() {
    let server = Scripted::new()
        .model("m")
        .turn(Turn::new().call("read", json!({"path": "a.txt"})))
        .turn(Turn::new().call("edit", json!({"path": "a.txt", "oldText": "one", "newText": "two"})))
        .turn(Turn::text("done"))
        .serve();
    let world = World::with_vllm(&server.base_url());
    world.file("a.txt", "one\r\n\tx");
    world.run(&["agent", "--session", "s", "--approve", "edits", "-m", "change it"]).succeeds();
    let text = || std::fs::read_to_string(world.work().join("a.txt")).unwrap();
    assert_eq!(text(), "two\r\n\tx");
    assert!(world.run(&["sessions", "undo", "s"]).succeeds().out.contains("a.txt"));
    assert_eq!(text(), "one\r\n\tx");
    world.run(&["sessions", "undo", "s"]).fails(1, &[]);
}

#[test]
fn what_would_ask_is_refused_without_a_terminal() {
    let server = Scripted::new()
        .model("m")
        .turn(Turn::new().call("write", json!({"path": "a.txt", "content": "x"})))
        .turn(Turn::text("I may not."))
        .serve();
    let world = World::with_vllm(&server.base_url());
    world.run(&["agent", "-m", "write it"]).fails(4, &["--approve"]);
    assert!(!world.work().join("a.txt").exists());
    world.run(&["agent", "--approve", "some", "-m", "x"]).fails(2, &["none, ask, edits, all"]);
}

#[test]
fn steps_are_limited() {
    let server = Scripted::new().model("m").respond(|r| match r.tool_choice {
        Some(chela_openai::chat::ToolChoice::None) => Turn::text("out of steps"),
        _ => Turn::new().call("ls", json!({})),
    });
    let server = server.serve();
    let world = World::with_vllm(&server.base_url());
    let ran = world.run(&["agent", "--max-steps", "3", "-m", "go"]);
    assert_eq!((ran.code, server.chats().len()), (1, 3), "{ran:?}");
}
