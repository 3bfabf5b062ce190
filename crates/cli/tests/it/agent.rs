//! `chela agent` through the binary.

use std::io::Read;
use std::time::Duration;

use chela_server::{Scripted, Turn};
use serde_json::{Value, json};

use crate::world::{World, finish};

#[test]
fn a_task_with_tools_is_done_and_only_the_answer_is_on_stdout() {
    let server = Scripted::new()
        .model("m")
        .turn(Turn::new().call("ls", json!({})))
        .turn(Turn::new().call("read", json!({"path": "notes.txt"})))
        .turn(Turn::text("The meeting is on Friday."))
        .serve();
    let world = World::with_vllm(&server.base_url());
    world.file("notes.txt", "meeting: Friday\n");
    let ran = world.run(&["agent", "-m", "When is the meeting?"]);
    assert_eq!(ran.succeeds().out, "The meeting is on Friday.\n");
    assert!(ran.err.contains("read notes.txt"), "{ran:?}");
    let chats = server.chats();
    let results: Vec<String> = chats[2].json()["messages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|m| m["role"] == "tool")
        .map(|m| m["content"].as_str().unwrap().to_owned())
        .collect();
    assert!(results[0].contains("notes.txt") && results[1].contains("meeting: Friday"), "{results:?}");
}

#[test]
fn the_prefix_of_every_request_is_the_request_before() {
    let server = Scripted::new()
        .model("m")
        .turn(Turn::new().call("ls", json!({})))
        .turn(Turn::new().call("read", json!({"path": "a"})))
        .turn(Turn::text("done"))
        .serve();
    let world = World::with_vllm(&server.base_url());
    world.file("a", "x");
    world.run(&["agent", "-m", "go"]).succeeds();
    let bodies: Vec<Value> = server.chats().iter().map(|c| c.json()).collect();
    for pair in bodies.windows(2) {
        let messages =
            |b: &Value| b["messages"].as_array().unwrap().iter().map(Value::to_string).collect::<Vec<_>>();
        let (before, after) = (messages(&pair[0]), messages(&pair[1]));
        assert_eq!(before[..], after[..before.len()]);
        assert_eq!(pair[0]["tools"].to_string(), pair[1]["tools"].to_string());
    }
}

#[test]
fn standard_input_is_context_or_the_message() {
    let server = Scripted::new().model("m").respond(|_| Turn::text("ok")).serve();
    let world = World::with_vllm(&server.base_url());
    world.run_with_stdin(&["agent", "-m", "Review this"], "fn main() {}\n").succeeds();
    world.run_with_stdin(&["agent"], "Just this\n").succeeds();
    let user = |n: usize| server.chats()[n].json()["messages"][1]["content"].to_string();
    assert!(user(0).contains("Review this") && user(0).contains("fn main() {}"));
    assert!(user(1).contains("Just this"));
    world.run(&["agent"]).fails(2, &["-m"]);
    world.run_with_stdin(&["agent"], "  \n").fails(2, &["empty"]);
    world.run_with_stdin(&["agent", "-m", "x"], b"\xff\xfe\x00").fails(2, &["UTF-8"]);
}

#[test]
fn json_is_the_events_as_lines() {
    let server = Scripted::new().model("m").turn(Turn::text("one two")).serve();
    let world = World::with_vllm(&server.base_url());
    let ran = world.run(&["agent", "--json", "-m", "hi"]);
    let events: Vec<Value> = ran.succeeds().out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let text: String =
        events.iter().filter(|e| e["type"] == "text_delta").map(|e| e["text"].as_str().unwrap()).collect();
    assert_eq!(text, "one two");
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], n as u64 + 1, "numbered without gaps");
        assert!(event["session"].is_string() && event["time"].is_u64());
    }
    let finished = events.iter().find(|e| e["type"] == "turn_finished").unwrap();
    assert!(finished["turn"].is_string());
    assert_eq!(finished["provenance"]["endpoint"], server.base_url());
    assert_eq!(finished["provenance"]["local"], true);
}

#[test]
fn the_answer_streams() {
    let pause = Duration::from_secs(30);
    let server = Scripted::new().model("m").turn(Turn::text("first").pause(pause).and_text("second")).serve();
    let world = World::with_vllm(&server.base_url());
    let mut child = world.spawn(&["agent", "-m", "hi"]);
    let mut first = [0; 5];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"first");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn ctrl_c_is_130_closes_the_connection_and_keeps_the_text() {
    let server = Scripted::new().model("m").turn(Turn::text("part").pause(Duration::from_secs(60))).serve();
    let world = World::with_vllm(&server.base_url());
    let mut child = world.spawn(&["agent", "-m", "hi"]);
    let mut part = [0; 4];
    child.stdout.as_mut().unwrap().read_exact(&mut part).unwrap();
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let ran = finish(child);
    assert_eq!(ran.code, 130, "{ran:?}");
    let closed =
        server.wait_for_blocking(Duration::from_secs(20), |all| all.iter().any(|r| r.closed_early()));
    assert!(closed.is_ok(), "the server stops computing");
}

#[test]
fn a_call_that_repeats_itself_without_end_is_stopped_and_asked_for_again() {
    let endless = format!(r#"{{"path": "{}"#, "orange/".repeat(1_000));
    let pause = Duration::from_secs(60);
    let server = Scripted::new()
        .model("m")
        .turn(Turn::new().raw_call("read", endless).pause(pause))
        .turn(Turn::text("I cannot."))
        .serve();
    let world = World::with_vllm(&server.base_url());
    let ran = world.run(&["agent", "-m", "read it"]);
    assert_eq!(ran.succeeds().out, "I cannot.\n", "{ran:?}");
    assert!(ran.err.contains("over and over and was stopped; asking again"), "{ran:?}");
    assert!(server.requests().iter().any(|request| request.closed_early()), "the server stops computing");
}

#[test]
fn a_vllm_without_flags_calls_tools_all_the_same() {
    let call = "<tool_call>\n{\"name\": \"read\", \"arguments\": {\"path\": \"a.txt\"}}\n</tool_call>";
    let server = Scripted::new()
        .model("qwen3-4b")
        .no_parser()
        .turn(Turn::text(call))
        .turn(Turn::text("It says x."))
        .serve();
    let world = World::with_vllm(&server.base_url());
    world.file("a.txt", "x\n");
    let ran = world.run(&["agent", "-m", "read a.txt"]);
    assert_eq!(ran.succeeds().out, "It says x.\n", "{ran:?}");
    assert!(ran.err.contains("--enable-auto-tool-choice --tool-call-parser hermes"), "{ran:?}");
    let choices: Vec<Value> = server.chats().iter().map(|c| c.json()["tool_choice"].clone()).collect();
    assert_eq!(choices[1..], [json!("none"), json!("none")], "asked once, remembered");
}

#[test]
fn failures_have_their_exit_codes() {
    let run = |server: Scripted| {
        let server = server.model("m").serve();
        World::with_vllm(&server.base_url()).run(&["agent", "-m", "hi"])
    };
    run(Scripted::new().turn(Turn::error(400, "bad field"))).fails(1, &["bad field"]);
    run(Scripted::new().turn(Turn::error(401, "Unauthorized"))).fails(3, &["VLLM_API_KEY"]);
    let cut = run(Scripted::new().turn(Turn::text("partial").disconnect()));
    assert_eq!((cut.code, cut.out.as_str()), (1, "partial\n"), "{cut:?}");
    World::with_vllm("http://127.0.0.1:9/v1")
        .run(&["agent", "-m", "hi", "--model", "vllm/m"])
        .fails(3, &["http://127.0.0.1:9/v1"]);
}

#[test]
fn the_fixed_prompt_is_small_and_explained() {
    let server = Scripted::new().model("m").turn(Turn::text("hi")).serve();
    let world = World::with_vllm(&server.base_url());
    world.run(&["agent", "-m", "hi"]).succeeds();
    let body = server.chats()[0].json();
    let bytes = body["messages"][0]["content"].as_str().unwrap().len() + body["tools"].to_string().len();
    assert!(bytes <= 4000, "{bytes} bytes");
    let tools = body["tools"].as_array().unwrap();
    let names: Vec<&str> = tools.iter().map(|tool| tool["function"]["name"].as_str().unwrap()).collect();
    let order = ["read", "ls", "grep", "glob", "write", "edit", "exec", "web_fetch", "memory"];
    assert_eq!(names, order);
    let frozen = [
        r#"{"name":"web_fetch","description":"Get the text of a web page.","parameters":{"type":"object","properties":{"url":{"type":"string"}},"required":["url"]"#,
        r#"{"name":"memory","description":"Keep notes across sessions: add one, or search them.","parameters":{"type":"object","properties":{"action":{"type":"string","enum":["add","search"]},"text":{"type":"string","description":"the note, or the words to find"}},"required":["action","text"]"#,
    ];
    let schemas = body["tools"].to_string();
    assert!(frozen.iter().all(|schema| schemas.contains(schema)), "{schemas}");
}

/// It read `refused: refused: …`, and went on with what the model was told to do.
#[test]
fn a_refusal_is_said_once() {
    let write = Turn::new().call("write", json!({"path": "a.txt", "content": "x"}));
    let server = Scripted::new().model("m").turn(write).turn(Turn::text("I could not.")).serve();
    let ran = World::with_vllm(&server.base_url()).run(&["agent", "-m", "hi"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.err.contains("\n  refused: writes ask; --approve edits allows it\n"), "{ran:?}");
}

#[test]
fn the_prompt_is_explained_part_by_part() {
    let server = Scripted::new().model("m").serve();
    let world = World::with_vllm(&server.base_url());
    let explained = world.json(&["agent", "--explain-prompt", "--json"]);
    assert_eq!(explained["exact"], true, "{explained}");
    let rows = explained["sections"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    let tools = ["read", "ls", "grep", "glob", "write", "edit", "exec", "web_fetch", "memory"];
    assert_eq!(names, [&["system", "tools"], &tools[..], &["chat template"]].concat());
    let sum = |inside: bool| -> u64 {
        let rows = rows.iter().filter(|row| row["tool"] == inside);
        rows.map(|row| row["tokens"].as_u64().unwrap()).sum()
    };
    // The server counts what stands there: the parts are the whole.
    assert_eq!(explained["tokens"].as_u64().unwrap(), sum(false));
    assert_eq!(rows[1]["tokens"].as_u64().unwrap(), sum(true));
    let asked = server.requests().into_iter().rev().find(|request| request.path == "/tokenize").unwrap();
    let whole = server_count(&asked.json());
    assert_eq!(explained["tokens"].as_u64().unwrap() + 1, whole, "and the full stop of the user");
    let ran = world.run(&["agent", "--explain-prompt"]);
    assert!(
        ran.succeeds().out.contains("  web_fetch") && ran.out.contains("the server of vllm/m"),
        "{ran:?}"
    );
    let alone = World::with_vllm("http://127.0.0.1:9/v1").run(&["agent", "--explain-prompt"]);
    assert!(alone.succeeds().out.contains("Tokens are estimated: "), "{alone:?}");
    let estimated = World::new().json(&["agent", "--explain-prompt", "--json"]);
    let count = |row: &Value| row["tokens"].as_u64().unwrap();
    let (tools, each): (Vec<&Value>, Vec<&Value>) =
        estimated["sections"].as_array().unwrap()[1..].iter().partition(|row| row["tool"] == false);
    // Their sum, but for the commas between them.
    assert!(count(tools[0]).abs_diff(each.into_iter().map(count).sum()) < 20, "{estimated}");
}

/// As the scripted server counts: one token for four characters of messages and tools.
fn server_count(body: &Value) -> u64 {
    let messages = body["messages"].as_array().unwrap().iter().map(Value::to_string);
    let chars: usize = messages.chain([body["tools"].to_string()]).map(|text| text.chars().count()).sum();
    chars.div_ceil(4) as u64
}

#[test]
fn cost_is_shown_where_it_is_configured() {
    let usage = serde_json::from_value(
        json!({"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}),
    )
    .unwrap();
    let server = Scripted::new().model("m").turn(Turn::text("hi").usage(usage)).serve();
    let world = World::with_config(&format!(
        "{{ models: {{ providers: {{ vllm: {{ baseUrl: '{}', models: [{{ id: 'm', cost: {{ input: 2, output: 4 }} }}] }} }} }} }}",
        server.base_url()
    ));
    let ran = world.run(&["agent", "-v", "-m", "hi"]);
    assert!(ran.succeeds().err.contains("cost 0.004"), "{ran:?}");
}

#[test]
fn a_large_answer_arrives_whole() {
    let deltas: Vec<String> = (0..10_240).map(|at| format!("{at:015}\n").repeat(64)).collect();
    let server = Scripted::new().model("m").turn(Turn::new().deltas(deltas)).serve();
    let ran = World::with_vllm(&server.base_url()).run(&["agent", "-m", "hi"]);
    assert_eq!(ran.succeeds().out.len(), 10_240 * 1024);
}

/// A model's line break before its first call was an empty first line of the answer.
#[test]
fn white_space_before_a_call_is_no_answer() {
    let server = Scripted::new()
        .model("m")
        .turn(Turn::text("\n\n").call("ls", json!({})))
        .turn(Turn::text("\nTwo."))
        .serve();
    let ran = World::with_vllm(&server.base_url()).run(&["agent", "-m", "hi"]);
    assert_eq!(ran.succeeds().out, "Two.\n");
}

#[test]
fn a_fallback_is_announced_and_answers() {
    let server = Scripted::new().model("m").respond(|_| Turn::text("from the other")).serve();
    let world = World::with_config(&format!(
        "{{ agents: {{ defaults: {{ model: {{ primary: 'dead/x', fallbacks: ['live/m'] }} }} }}, models: {{ providers: {{ \
         dead: {{ baseUrl: 'http://127.0.0.1:9/v1', models: [{{ id: 'x', contextWindow: 9000, maxTokens: 100 }}] }}, \
         live: {{ baseUrl: '{}' }} }} }} }}",
        server.base_url()
    ));
    let ran = world.run(&["agent", "-m", "hi"]);
    assert_eq!(ran.succeeds().out, "from the other\n");
    assert!(ran.err.contains("dead/x") && ran.err.contains("live/m"), "{ran:?}");
    // A model that is named for the task is the one that answers, or nobody.
    let ran = world.run(&["agent", "-m", "hi", "--model", "dead/x"]);
    assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{ran:?}");
}

#[test]
fn timeout_seconds_limits_the_whole_turn_where_it_is_set() {
    let server = Scripted::new().model("m").turn(Turn::text("part").pause(Duration::from_secs(60))).serve();
    let world = World::with_vllm(&server.base_url());
    world.write_config("{ agents: { defaults: { timeoutSeconds: 1 } } }");
    let ran = world.run(&["agent", "-m", "hi"]);
    // The second may be over before the first word has come.
    assert!(ran.code == 1 && ["", "part\n"].contains(&ran.out.as_str()), "{ran:?}");
    assert!(ran.err.contains("timeoutSeconds") || ran.err.contains("1 s"), "{ran:?}");
}

#[test]
fn configured_headers_stand_on_every_request() {
    let server = Scripted::new().model("m").turn(Turn::text("ok")).serve();
    let world = World::with_config(&format!(
        "{{ models: {{ providers: {{ mine: {{ baseUrl: '{}', headers: {{ 'x-team': '${{TEAM}}' }} }} }} }} }}",
        server.base_url()
    ))
    .env("TEAM", "blue");
    world.run(&["agent", "-m", "hi"]).succeeds();
    let asked = server.requests();
    assert!(asked.len() > 1 && asked.iter().all(|r| r.header("x-team") == "blue"), "{asked:?}");
}

#[test]
fn a_base_url_of_openai_makes_a_provider() {
    let server = Scripted::new().model("m").turn(Turn::text("ok")).serve();
    let world = World::new().env("OPENAI_BASE_URL", &server.base_url()).env("OPENAI_API_KEY", "sk-1");
    world.run(&["agent", "-m", "hi", "--model", "openai/m"]).succeeds();
    assert_eq!(server.chats()[0].header("authorization"), "Bearer sk-1");
}

#[test]
fn a_file_on_standard_input_is_read_to_its_end() {
    let server = Scripted::new().model("m").turn(Turn::text("ok")).serve();
    let world = World::with_vllm(&server.base_url());
    world.file("long.txt", &"line\n".repeat(500));
    let file = std::fs::File::open(world.work().join("long.txt")).unwrap();
    let child = world.command(&["agent", "-m", "Count"]).stdin(file).spawn().unwrap();
    finish(child).succeeds();
    let sent = server.chats()[0].json()["messages"][1]["content"].as_str().unwrap().to_owned();
    assert_eq!(sent.matches("line\n").count(), 500);
}

#[test]
fn a_text_that_only_mentions_a_tool_is_no_call() {
    let text = "You could use read to look at a.txt: {\"name\": \"read\"} is not a call.";
    let server = Scripted::new().model("qwen3-4b").no_parser().turn(Turn::text(text)).serve();
    let ran = World::with_vllm(&server.base_url()).run(&["agent", "-m", "hi"]);
    assert_eq!(ran.succeeds().out, format!("{text}\n"));
}
