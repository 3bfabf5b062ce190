//! The context of small windows through the binary: compaction, its originals, and long reads.

use chela_openai::chat::ChatRequest;
use chela_server::{Canned, Scripted, Served, Turn};
use serde_json::{Value, json};

use crate::wire::{assert_well_formed, breaks, is_summary};
use crate::world::World;

/// Reads a file for each message and answers.
fn reader(request: &ChatRequest) -> Turn {
    let last = request.messages.last().unwrap();
    let text = last.text();
    if last.role == "user" && text.starts_with("Summarise") {
        return Turn::text("The user has file after file read.");
    }
    match last.role.as_str() {
        "user" => {
            let n = text.split("Read file ").nth(1).unwrap().split('.').next().unwrap();
            Turn::new().call("read", json!({"path": format!("big{n}.txt")}))
        }
        _ => Turn::text("It is long."),
    }
}

/// Tokens as the scripted server counts them.
fn tokens(body: &Value) -> u64 {
    let chars = |value: &Value| value.to_string().chars().count();
    let messages: usize = body["messages"].as_array().unwrap().iter().map(chars).sum();
    (messages + chars(&body["tools"])).div_ceil(4) as u64
}

fn world(server: &Served, line: &str, files: usize) -> World {
    let world = World::with_vllm(&server.base_url());
    for n in 0..files {
        world.file(&format!("big{n}.txt"), &format!("{line} {n}\n").repeat(4_000));
    }
    world
}

fn say(world: &World, n: usize) -> crate::world::Ran {
    let message = format!("Read file {n}. Never delete file {n}.");
    let ran = world.run(&["agent", "--session", "s", "-m", &message]);
    ran.succeeds();
    ran
}

fn items(world: &World) -> Vec<Value> {
    let items = world.json(&["sessions", "show", "s", "--json"]);
    items.as_array().unwrap().clone()
}

/// Long sessions at the windows of small models, with a server that counts and with one that does not, in
/// text of one and of two bytes to a character.
#[test]
fn long_sessions_stay_within_any_window() {
    for (window, counts, line) in [
        (8_192, true, "one line of a long file"),
        (8_192, false, "одна строка длинного файла"),
        (16_384, false, "one line of a long file"),
        (16_384, true, "одна строка длинного файла"),
        (32_768, true, "one line of a long file"),
        (32_768, false, "одна строка длинного файла"),
    ] {
        let case = format!("{window}, counts: {counts}, {line}");
        let mut server = Scripted::new().model("m").max_model_len(window).respond(reader);
        if !counts {
            server = server.route("POST", "/tokenize", Canned::json(404, &json!({"detail": "Not Found"})));
        }
        let server = server.serve();
        let world = world(&server, line, 12);
        (0..12).for_each(|n| drop(say(&world, n)));
        let bodies: Vec<Value> = server.chats().iter().map(|chat| chat.json()).collect();
        for body in &bodies {
            assert_well_formed(body);
            assert!(tokens(body) <= window, "{case}: a prompt of {}", tokens(body));
        }
        let items = items(&world);
        let compactions: Vec<&Value> = items.iter().filter(|item| item["kind"] == "compaction").collect();
        assert!(!compactions.is_empty(), "{case}");
        // What no model is needed for comes first.
        assert!(
            compactions[0]["shortened"].is_array() && compactions[0]["summary"].is_null(),
            "{case}: {}",
            compactions[0]
        );
        for compaction in &compactions {
            assert!(compaction["after"].as_u64().unwrap() <= window / 2, "{case}: {compaction}");
        }
        // Every request after which the prefix changed uses at most half of the window.
        let sent: Vec<&Value> = bodies.iter().filter(|body| !is_summary(body)).collect();
        let mut changed = 0;
        for pair in sent.windows(2) {
            if breaks(&[pair[0].clone(), pair[1].clone()]) > 0 {
                changed += 1;
                assert!(
                    tokens(pair[1]) <= window / 2 + window / 50,
                    "{case}: {} after a compaction",
                    tokens(pair[1])
                );
            }
        }
        assert!(changed <= compactions.len(), "{case}: {changed} changes, {} compactions", compactions.len());
        let last = sent.last().unwrap().to_string();
        assert!(last.contains("Never delete file 0."), "{case}: the user's first words are gone");
        // The originals stay, whole.
        let originals: Vec<&str> = items
            .iter()
            .filter(|item| item["kind"] == "tool_result")
            .map(|item| item["content"].as_str().unwrap())
            .collect();
        assert!(
            originals.len() == 12
                && originals.iter().all(|text| text.len() > 2_000 && text.contains("for more, offset=")),
            "{case}"
        );
        assert!(world.run(&["sessions", "show", "s"]).succeeds().out.contains(&format!("{line} 0")));
    }
}

/// A summary is asked for once shortening is not enough; one that fails is done without, and said.
#[test]
fn a_summary_that_fails_is_done_without_and_said() {
    for (how, words) in [
        ("ok", "the model summarised it"),
        ("empty", "compacted without the model's summary"),
        ("call", "compacted without the model's summary"),
    ] {
        let server = Scripted::new().model("m").max_model_len(8_192).respond(move |request| {
            let text = request.messages.last().unwrap().text();
            match (text.starts_with("Summarise"), how) {
                (true, "ok") => Turn::text("Many questions were asked."),
                (true, "empty") => Turn::text(""),
                (true, _) => Turn::new().call("ls", json!({})),
                (false, _) => Turn::text("A long answer with many words. ".repeat(80)),
            }
        });
        let server = server.serve();
        let world = World::with_vllm(&server.base_url());
        let mut said = String::new();
        for n in 0..14 {
            let message = format!("Question {n}.");
            let ran = world.run(&["agent", "--session", "s", "-m", &message]);
            said.push_str(&ran.succeeds().err);
        }
        assert!(said.contains(words), "{how}: {said}");
        let compactions: Vec<Value> =
            items(&world).into_iter().filter(|item| item["kind"] == "compaction").collect();
        assert!(
            compactions.iter().all(|compaction| compaction["after"].as_u64().unwrap() <= 4_096),
            "{compactions:?}"
        );
        let by = &compactions[0]["provenance"];
        assert_eq!(by["model"] == "m", how == "ok", "who wrote the summary: {by}");
    }
}

#[test]
fn a_read_that_would_overflow_gives_the_head_and_says_how_to_go_on() {
    let server = Scripted::new()
        .model("m")
        .max_model_len(8_192)
        .turn(Turn::new().call("read", json!({"path": "big0.txt"})))
        .turn(Turn::new().call("read", json!({"path": "big0.txt", "offset": 3_999})))
        .turn(Turn::text("Seen."))
        .serve();
    let world = world(&server, "one line of a long file", 1);
    world.run(&["agent", "--session", "s", "-m", "Read it."]).succeeds();
    let chats = server.chats();
    let result =
        |chat: usize, at: usize| chats[chat].json()["messages"][at]["content"].as_str().unwrap().to_owned();
    let head = result(1, 3);
    let shown = head.matches("a long file 0\n").count();
    assert!(head.starts_with("one line of a long file 0\n") && head.len() < 8_192, "{}", head.len());
    assert!(head.contains(&format!("[lines 1-{shown} of 4000; for more, offset={}]", shown + 1)), "{head}");
    assert!(result(2, 5).contains("[lines 3999-4000 of 4000]"));
}

/// A message that can never fit is refused with its size before it is sent, and the session goes on.
#[test]
fn a_message_larger_than_the_window_is_told_and_the_session_goes_on() {
    let server = Scripted::new().model("m").max_model_len(8_192).respond(|_| Turn::text("ok")).serve();
    let world = World::with_vllm(&server.base_url());
    let ran =
        world.run_with_stdin(&["agent", "--session", "s", "-m", "What is this?"], "word ".repeat(20_000));
    ran.fails(1, &["the window", "send less"]);
    assert_eq!(world.run(&["agent", "--session", "s", "-m", "Never mind."]).succeeds().out, "ok\n");
    server.chats().iter().for_each(|chat| assert!(tokens(&chat.json()) <= 8_192));
}

/// A server whose window is smaller than it was believed to be says so once; then it is known.
#[test]
fn a_window_that_was_believed_too_large_is_corrected_and_the_turn_goes_on() {
    let server = Scripted::new().model("m").max_model_len(8_192).respond(|request| {
        match request.messages.last().unwrap().text() {
            text if text.starts_with("Summarise") => Turn::text("Long answers were given."),
            _ => Turn::text((0..150).map(|n| format!("A long answer with {n} words. ")).collect::<String>()),
        }
    });
    let server = server.serve();
    let world = World::with_config(&format!(
        "{{ models: {{ providers: {{ mine: {{ baseUrl: '{}', models: [{{ id: 'm', contextWindow: 128000, maxTokens: 1000 }}] }} }} }} }}",
        server.base_url()
    ));
    for n in 0..10 {
        let message = format!("Question {n}.");
        world.run(&["agent", "--session", "s", "-m", &message]).succeeds();
    }
}
