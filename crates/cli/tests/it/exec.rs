//! `exec` through the binary.

use std::io::Read;
use std::time::{Duration, Instant};

use chela_server::{Scripted, Served, Turn};
use serde_json::json;

use crate::sandbox::runs;
use crate::world::{World, finish};

fn once(command: &str) -> Served {
    let turn = Turn::new().call("exec", json!({"command": command}));
    Scripted::new().model("m").turn(turn).turn(Turn::text("Done.")).serve()
}

/// What the model read of the last call.
fn result(server: &Served) -> String {
    let body = server.chats().last().unwrap().json();
    let messages = body["messages"].as_array().unwrap();
    messages.last().unwrap()["content"].as_str().unwrap().to_owned()
}

/// False, with a line that says why, where this system has no sandbox.
fn sandboxed(test: &str) -> bool {
    // Without a server, since the doctor asks one for a word.
    let world = World::new();
    let checks: serde_json::Value = serde_json::from_str(&world.run(&["doctor", "--json"]).out).unwrap();
    let sandbox = checks.as_array().unwrap().iter().find(|check| check["what"] == "sandbox").unwrap();
    let holds = sandbox["verdict"] == "ok";
    if !holds {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "skipped {test}: {}", sandbox["found"]);
    }
    holds
}

#[test]
fn a_command_asks_and_without_a_terminal_is_refused() {
    let server = once("echo hi > made.txt");
    let world = World::with_vllm(&server.base_url());
    if !sandboxed("a_command_asks_and_without_a_terminal_is_refused") {
        return;
    }
    world.run(&["agent", "-m", "run it"]).fails(4, &["exec", "--approve edits"]);
    assert!(!world.work().join("made.txt").exists());
}

#[test]
fn edits_runs_commands_in_the_sandbox() {
    let server = once(
        "echo hi > made.txt; cat .env; echo $SECRET_TOKEN; test -e \"$CHELA_HOME\" || echo hidden; pwd; exit 7",
    );
    let world =
        World::with_vllm(&server.base_url()).env("SECRET_TOKEN", "hunter2").env("PATH", "/usr/bin:/bin");
    world.file(".env", "KEY=hunter2");
    if !sandboxed("edits_runs_commands_in_the_sandbox") {
        return;
    }
    world.run(&["agent", "--approve", "edits", "-m", "run it"]).succeeds();
    let result = result(&server);
    assert!(!result.contains("hunter2"), "{result}");
    assert!(result.contains("hidden\n") && result.ends_with("[exit status 7]"), "{result}");
    assert!(result.contains(&world.work().canonicalize().unwrap().display().to_string()), "{result}");
    assert_eq!(std::fs::read_to_string(world.work().join("made.txt")).unwrap(), "hi\n");
}

#[test]
fn a_command_that_needs_the_network_asks_for_it() {
    let server = once("curl http://127.0.0.1:9/");
    let world = World::with_vllm(&server.base_url());
    if !sandboxed("a_command_that_needs_the_network_asks_for_it") {
        return;
    }
    world.run(&["agent", "--approve", "edits", "-m", "run it"]).fails(4, &["network", "--approve all"]);
    let server = Scripted::new()
        .model("m")
        .turn(Turn::new().call("read", json!({"path": "a.txt"})))
        .turn(Turn::new().call("exec", json!({"command": "curl http://127.0.0.1:9/"})))
        .turn(Turn::text("Done."))
        .serve();
    let world = World::with_vllm(&server.base_url());
    world.file("a.txt", "private");
    world
        .run(&["agent", "--approve", "all", "-m", "run it"])
        .fails(4, &["private text", "only a human's yes"]);
}

#[test]
fn a_long_output_is_paged_without_asking() {
    let server = Scripted::new().model("m").respond(|request| match request.messages.len() {
        2 => Turn::new().call("exec", json!({"command": "seq 1 100000"})),
        4 => {
            let text = serde_json::to_string(&request.messages[3]).unwrap();
            let note = text.split("read ").nth(1).unwrap();
            let (path, rest) = note.split_once(" offset=").unwrap();
            let offset: u64 = rest.split(' ').next().unwrap().parse().unwrap();
            Turn::new().call("read", json!({"path": path, "offset": offset, "limit": 2}))
        }
        _ => Turn::text("Done."),
    });
    let server = server.serve();
    let world = World::with_vllm(&server.base_url());
    if !sandboxed("a_long_output_is_paged_without_asking") {
        return;
    }
    world.run(&["agent", "--session", "s", "--approve", "edits", "-m", "count"]).succeeds();
    let body = server.chats().last().unwrap().json();
    let first = body["messages"][3]["content"].as_str().unwrap();
    assert!(first.starts_with("1\n2\n") && first.ends_with("\n100000\n[exit status 0]"), "{first}");
    let shown: usize = first.lines().take_while(|line| !line.starts_with('[')).count();
    let page = result(&server);
    assert!(page.starts_with(&format!("{}\n{}\n", shown + 1, shown + 2)), "{page}");
    let kept = || {
        std::fs::read_dir(world.home().join("outputs"))
            .unwrap()
            .flatten()
            .flat_map(|f| std::fs::read_dir(f.path()).unwrap())
            .count()
    };
    assert_eq!(kept(), 1);
    world.run(&["sessions", "delete", "s"]).succeeds();
    assert_eq!(kept(), 0);
}

#[test]
fn stop_ends_the_command_and_all_that_it_started() {
    let mark = format!("8{}", std::process::id());
    let server = once(&format!("sleep {mark} & setsid sleep {mark} & echo begun; sleep {mark}"));
    let world = World::with_vllm(&server.base_url());
    if !sandboxed("stop_ends_the_command_and_all_that_it_started") {
        return;
    }
    let mut child = world.spawn(&["agent", "--json", "--approve", "edits", "-m", "run it"]);
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("begun\\n") {
        let mut byte = [0];
        child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
    assert!(runs(&mark));
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let begun = Instant::now();
    while runs(&mark) {
        assert!(begun.elapsed() < Duration::from_secs(60), "it goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(finish(child).code, 130);
}

#[test]
fn a_killed_agent_leaves_no_command() {
    let mark = format!("9{}", std::process::id());
    let server = once(&format!("echo begun; sleep {mark}"));
    let world = World::with_vllm(&server.base_url());
    if !sandboxed("a_killed_agent_leaves_no_command") {
        return;
    }
    let mut child = world.spawn(&["agent", "--approve", "edits", "-m", "run it"]);
    let begun = Instant::now();
    while !runs(&mark) {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never began");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let begun = Instant::now();
    while runs(&mark) {
        assert!(begun.elapsed() < Duration::from_secs(60), "it goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_command_that_takes_too_long_is_stopped_and_says_so() {
    let turn = Turn::new().call("exec", json!({"command": "echo begun; sleep 100", "timeout": 5}));
    let server = Scripted::new().model("m").turn(turn).turn(Turn::text("Done.")).serve();
    let world = World::with_vllm(&server.base_url());
    if !sandboxed("a_command_that_takes_too_long_is_stopped_and_says_so") {
        return;
    }
    world.run(&["agent", "--approve", "edits", "-m", "run it"]).succeeds();
    let result = result(&server);
    assert!(result.starts_with("begun\n[stopped after 5 s"), "{result}");
}

#[test]
fn undo_says_what_a_command_keeps() {
    let server = Scripted::new()
        .model("m")
        .turn(
            Turn::new()
                .call("write", json!({"path": "a.txt", "content": "x"}))
                .call("exec", json!({"command": "touch made.txt"})),
        )
        .turn(Turn::text("Done."))
        .turn(Turn::new().call("exec", json!({"command": "touch more.txt"})))
        .turn(Turn::text("Done."))
        .serve();
    let world = World::with_vllm(&server.base_url());
    if !sandboxed("undo_says_what_a_command_keeps") {
        return;
    }
    for _ in 0..2 {
        world.run(&["agent", "--session", "s", "--approve", "edits", "-m", "run it"]).succeeds();
    }
    let ran = world.run(&["sessions", "undo", "s"]);
    assert!(ran.succeeds().out.contains("a.txt"), "{ran:?}");
    assert!(ran.err.contains("touch made.txt") && ran.err.contains("touch more.txt"), "{ran:?}");
    assert!(!world.work().join("a.txt").exists() && world.work().join("made.txt").exists());
    world.run(&["sessions", "undo", "s"]).fails(1, &["touch more.txt"]);
}
