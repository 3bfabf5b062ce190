//! `chela chat` through a pipe.

use chela_openai::usage::Usage;
use chela_server::{Scripted, Turn};
use serde_json::{Value, json};

use crate::world::World;

/// What the user wrote, without what the agent put before it.
fn said(message: &Value) -> String {
    let text = message["content"].as_str().unwrap_or_default();
    text.split_once("</context>\n\n").map_or(text, |(_, text)| text).to_owned()
}

fn users(request: &Value) -> Vec<String> {
    let messages = request["messages"].as_array().unwrap().iter();
    messages.filter(|m| m["role"] == "user").map(said).collect()
}

#[test]
fn every_line_is_a_message_and_waits_for_the_answer_before() {
    let server = Scripted::new()
        .turn(Turn::new().and_text("Looking.").call("ls", json!({})))
        .turn(Turn::text("One **file**: `a.txt`."))
        .turn(Turn::text("It is empty."))
        .serve();
    let world = World::with_vllm(&server.base_url());
    world.file("a.txt", "");
    let ran = world.run_with_stdin(&["chat"], "What is here?\n\nAnd in it?\n");
    assert_eq!(ran.succeeds().out, "Looking.\nOne **file**: `a.txt`.\nIt is empty.\n");
    assert!(ran.err.contains("ls\n  a.txt"), "{}", ran.err);
    assert!(!ran.err.contains('\x1b') && !ran.err.contains("> "), "{}", ran.err);
    assert!(!ran.err.contains("waiting"), "nothing was waited for: {}", ran.err);
    let last = users(&server.chats()[2].json());
    assert_eq!(last, ["What is here?", "And in it?"]);
}

#[test]
fn the_context_is_what_the_server_counted() {
    let server =
        Scripted::new().max_model_len(8_192).turn(Turn::text("ok").usage(Usage::new(1_234, 56))).serve();
    let world = World::with_vllm(&server.base_url());
    let ran = world.run_with_stdin(&["chat"], "hi\n/status\n");
    assert!(
        ran.succeeds().err.contains("context 1,290 of 8,192 tokens (16%); 56 answer tokens"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("context   1,290 of 8,192 tokens (16%)"), "{}", ran.err);
    assert!(ran.err.contains("1,234 prompt tokens, 56 answer tokens"), "{}", ran.err);
}

#[test]
fn commands_answer_and_unknown_ones_are_one_line() {
    let server = Scripted::new().model("m").serve();
    let world = World::with_vllm(&server.base_url());
    let ran = world
        .run_with_stdin(&["chat"], "/help\n/tools\n/model\n/modle\n/think\n/stop\n/show\n/quit\nnot said\n");
    let err = &ran.succeeds().err;
    for part in [
        "/compact",
        "only reads",
        "*  vllm/m",
        "there is no command /modle; did you mean /model?",
        "thinking low; thoughts are hidden",
        "nothing is running",
        "no tool has run in this chat yet",
    ] {
        assert!(err.contains(part), "no {part:?} in {err}");
    }
    assert!(ran.out.is_empty() && server.chats().is_empty());
    let listed = world.json(&["sessions", "list", "--json"]);
    assert_eq!(listed, json!([]), "a session in which nothing was said is not kept");
}

#[test]
fn nothing_that_is_piped_in_approves_anything() {
    let server = Scripted::new()
        .turn(Turn::new().call("write", json!({"path": "a.txt", "content": "x"})))
        .turn(Turn::text("I could not."))
        .turn(Turn::text("Yes what?"))
        .serve();
    let world = World::with_vllm(&server.base_url());
    let ran = world.run_with_stdin(&["chat", "--approve", "ask"], "Write a.txt\ny\n");
    ran.fails(4, &["write a.txt", "refused"]);
    assert_eq!(ran.out, "I could not.\nYes what?\n");
    assert!(!world.work().join("a.txt").exists());
}

#[test]
fn a_message_can_have_several_lines() {
    let server = Scripted::new().respond(|_| Turn::text("ok")).serve();
    let world = World::with_vllm(&server.base_url());
    world.run_with_stdin(&["chat"], "first\\\nsecond\n```\ncode\n\nmore\n```\n").succeeds();
    let said = users(&server.chats()[1].json());
    assert_eq!(said, ["first\nsecond", "```\ncode\n\nmore\n```"]);
}

#[test]
fn no_escape_of_the_model_comes_through() {
    let bad = "a\x1b[2Jb\u{9b}1mc\x07\u{202e}d\r\n";
    let server = Scripted::new()
        .turn(Turn::new().reasoning(bad).and_text(bad).call("ls", json!({"path": "\x1b]0;t\x07"})))
        .turn(Turn::text(bad))
        .serve();
    let world = World::with_vllm(&server.base_url());
    let ran = world.run_with_stdin(&["chat"], "/think show\nhi\n");
    let all = ran.succeeds().out.clone() + &ran.err;
    assert!(!all.contains(|c: char| c.is_control() && c != '\n') && !all.contains('\u{202e}'), "{all:?}");
    assert!(ran.out.contains("a\u{fffd}[2Jb"), "{ran:?}");
}

#[test]
fn a_session_is_continued_by_name() {
    let server = Scripted::new().respond(|_| Turn::text("ok")).serve();
    let world = World::with_vllm(&server.base_url());
    world.run_with_stdin(&["chat", "--session", "notes"], "one\n").succeeds();
    world.run_with_stdin(&["chat", "--session", "notes"], "two\n").succeeds();
    let said = users(&server.chats()[1].json());
    assert_eq!(said, ["one", "two"]);
    // Another session in the middle of a chat, and back to the first one.
    world.run_with_stdin(&["chat", "--session", "notes"], "/new\nalone\n/sessions notes\nthree\n").succeeds();
    let chats = server.chats();
    assert_eq!(users(&chats[2].json()).len(), 1);
    assert_eq!(users(&chats[3].json()).len(), 3);
}

#[test]
fn a_failed_message_decides_the_exit_code_and_the_next_one_is_said() {
    let server = Scripted::new().turn(Turn::error(401, "no such key")).turn(Turn::text("back")).serve();
    let world = World::with_vllm(&server.base_url());
    let ran = world.run_with_stdin(&["chat"], "one\ntwo\n");
    ran.fails(3, &["error: ", "refuses the key"]);
    assert_eq!(ran.out, "back\n");
}

#[test]
fn what_was_changed_is_taken_back() {
    let server = Scripted::new()
        .turn(Turn::new().call("write", json!({"path": "a.txt", "content": "new\n"})))
        .turn(Turn::text("done"))
        .serve();
    let world = World::with_vllm(&server.base_url());
    let ran = world.run_with_stdin(&["chat", "--approve", "edits"], "Write\n/undo\n/undo\n");
    assert!(ran.succeeds().err.contains("write a.txt\n  created a.txt (1 lines), +1 -0\n"), "{}", ran.err);
    assert!(ran.err.contains("as it was: a.txt"), "{}", ran.err);
    assert!(!world.work().join("a.txt").exists());
}

#[test]
fn input_that_nobody_can_read_is_refused() {
    let server = Scripted::new().respond(|_| Turn::text("ok")).serve();
    let world = World::with_vllm(&server.base_url());
    let ran = world.run_with_stdin(&["chat"], b"one\n\xff\n");
    ran.fails(2, &["standard input, line 2: byte 0 begins no character"]);
    world.run(&["chat"]).fails(2, &["neither a terminal nor a pipe", "chela agent -m"]);
}
