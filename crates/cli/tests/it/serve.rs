//! `chela serve` as its users meet it: flags, signals, sockets, and our own agent as the client.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::served::{Answer, Server, recordings};
use crate::world::World;

fn model() -> String {
    recordings().join("tiny-model").to_str().unwrap().to_owned()
}

#[test]
fn a_command_line_of_vllm_works_by_changing_one_word() {
    let server = Server::tiny(&[
        "--tensor-parallel-size",
        "1",
        "--gpu_memory_utilization=0.9",
        "--enforce-eager",
        "--trust_remote_code",
        "--enable-auto-tool-choice",
        "--tool_call_parser",
        "hermes",
        "--max-num-seqs",
        "16",
        // As in vLLM, the last one counts.
        "--max-num-seqs",
        "8",
        "--enable-prefix-caching",
    ]);
    let log = server.log();
    for said in [
        "note: --tensor-parallel-size changes nothing here",
        "note: --gpu-memory-utilization changes nothing here: there is no GPU; --memory bounds the process",
        "note: --enforce-eager",
        "note: --trust-remote-code",
        "tiny (Qwen3ForCausalLM",
        "2 threads",
        "context 1,024 (asked for)",
        "KV cache",
        "tool calls as hermes, reasoning as think;",
        "ready in",
    ] {
        assert!(log.contains(said), "no {said:?} in {log}");
    }
    let body = json!({"messages": [{"role": "user", "content": "Say hello."}], "temperature": 0});
    let answer = server.post("/v1/chat/completions", &body);
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "Hello, world! How are you today?");
    let until = Instant::now() + Duration::from_secs(60);
    while !server.log().contains("finish=\"stop\"") {
        assert!(Instant::now() < until, "no line about the request: {}", server.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!server.log().contains("Say hello"), "a prompt is in the log");
}

#[test]
fn what_cannot_be_served_is_said_before_anything_is_loaded() {
    let world = World::new();
    let model = model();
    let model = model.as_str();
    let cases: [(&[&str], i32, &str); 9] = [
        (&["serve", model, "--host", "0.0.0.0"], 2, "--api-key"),
        (&["serve", model, "--tensor-parallel-size", "2"], 2, "there is one device"),
        (&["serve", model, "--no-such-flag"], 2, "--no-such-flag"),
        (&["serve", model, "--tool-call-parser", "nope"], 2, "--tool-call-parser nope"),
        (&["serve", model, "--reasoning-parser", "nope"], 2, "deepseek_r1"),
        (&["serve", model, "--max-model-len", "many"], 2, "32k"),
        (&["serve", model, "--max-model-len", "9999"], 2, "the model was made for 2048"),
        (&["serve", "no/such-model"], 3, "there is no model no/such-model"),
        (&["serve"], 2, "MODEL"),
    ];
    for (args, code, says) in cases {
        world.run(args).fails(code, &[says]);
    }
}

#[test]
fn a_port_that_is_taken_is_said() {
    let server = Server::tiny(&[]);
    let port = server.base_url().trim_start_matches("http://127.0.0.1:").trim_end_matches("/v1").to_owned();
    let world = World::new();
    world.run(&["serve", &model(), "--port", &port]).fails(2, &["cannot listen on", "--port"]);
}

#[test]
fn a_signal_lets_what_runs_come_to_its_end() {
    let mut server = Server::tiny(&[]);
    let mut stream = server.connect();
    let body = json!({"prompt": "The quick", "temperature": 0, "max_tokens": 900, "ignore_eos": true, "stream": true});
    let body = body.to_string();
    write!(
        stream,
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut first = [0; 400];
    stream.read_exact(&mut first).unwrap();
    server.signal("TERM");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    let answer = Answer::parse(&[&first[..], &rest].concat());
    assert!(answer.body.ends_with("data: [DONE]\n\n"), "{}", answer.body);
    assert!(answer.body.contains("\"finish_reason\":\"length\""));
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
}

#[test]
fn a_second_signal_does_not_wait() {
    let mut server = Server::tiny(&["--max-num-seqs", "1"]);
    // far more work than the test is long
    let body = json!({"prompt": vec!["The quick"; 400], "temperature": 0, "max_tokens": 1000, "ignore_eos": true, "stream": true});
    let body = body.to_string();
    let mut stream = server.connect();
    write!(
        stream,
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    stream.read_exact(&mut [0; 300]).unwrap();
    server.signal("INT");
    let until = Instant::now() + Duration::from_secs(60);
    while !server.log().contains("once more stops at once") {
        assert!(Instant::now() < until, "{}", server.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    let refused = server.post("/v1/completions", &json!({"prompt": "x"}));
    assert_eq!(refused.status, 503, "{refused:?}");
    server.signal("INT");
    assert_eq!(server.wait().code(), Some(130), "{}", server.log());
}

#[test]
fn a_socket_is_served_and_a_dead_one_replaced() {
    let world = World::new();
    let path = world.work().join("s.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let model = model();
    let mut child = world.spawn(&["serve", &model, "--uds", path.to_str().unwrap(), "--memory", "200MiB"]);
    let until = Instant::now() + Duration::from_secs(60);
    let answer = loop {
        assert!(Instant::now() < until, "nobody answers at the socket");
        if let Ok(mut stream) = UnixStream::connect(&path) {
            stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            let answer = Answer::parse(&bytes);
            if answer.status == 200 {
                break answer;
            }
            assert_eq!(answer.status, 503);
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(answer.body, "");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    world
        .run(&["serve", &model, "--uds", path.to_str().unwrap()])
        .fails(2, &["a server answers there already"]);
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    assert!(!path.exists());
}

/// The tiny model with a window in which the agent's own prompt has room. Beyond 2,048 tokens it was
/// not trained, so that what it says is of no use; that it is asked and answers is what is checked.
fn roomy_model(world: &World) -> String {
    let folder = world.work().join("roomy");
    std::fs::create_dir(&folder).unwrap();
    for entry in std::fs::read_dir(recordings().join("tiny-model")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    let config = folder.join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(
        &config,
        text.replace("\"max_position_embeddings\": 2048", "\"max_position_embeddings\": 16384"),
    )
    .unwrap();
    folder.to_str().unwrap().to_owned()
}

#[test]
fn our_own_agent_talks_to_it() {
    let world = World::new();
    let model = roomy_model(&world);
    let server = Server::of(&model, &["--max-model-len", "16384", "--enable-prompt-tokens-details"]);
    let world = world.env("VLLM_BASE_URL", &server.base_url());
    let listed = world.json(&["models", "list", "--json"]);
    assert_eq!(listed["models"][0]["limits"]["context_window"]["value"], 16384, "{listed}");
    let ran = world.run(&["-v", "agent", "-m", "Say hello.", "--max-steps", "3"]);
    // whatever the model says, the server was asked and its counts came back
    assert!(ran.err.contains("prompt tokens"), "{ran:?}");
    assert!(matches!(ran.code, 0 | 1), "{ran:?}");
    assert!(server.log().contains("finish="), "{}", server.log());
}

#[test]
fn the_agent_asks_a_model_in_its_own_process() {
    let world = World::new();
    let model = roomy_model(&world);
    let name = format!("local/{model}");
    let status = world.json(&["models", "status", &name, "--json"]);
    assert_eq!(status["limits"]["context_window"]["value"], 16384, "{status}");
    let ran = world.run(&["-v", "agent", "--model", &name, "-m", "Say hello.", "--max-steps", "3"]);
    assert!(ran.err.contains("prompt tokens (0 cached)") || ran.err.contains(" cached)"), "{ran:?}");
    assert!(ran.err.contains("requests to local/"), "{ran:?}");
    world.run(&["agent", "--model", "local/nowhere", "-m", "x"]).fails(3, &["there is no model nowhere"]);
}
