//! Stop: the connection is closed, no further tool starts, and nothing is lost.

use std::io::Read;
use std::process::Child;
use std::time::{Duration, Instant};

use chela_server::{Scripted, Turn};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::world::{World, finish};

const LIMIT: Duration = Duration::from_millis(250);
/// Tries, of which one has to be within the limit: other work on the machine is none of ours.
const TRIES: usize = 20;

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Runs a turn that ends in silence, stops it once `begun` has seen what it waits for, and gives the time
/// until the server saw the connection close, and what the process left.
fn stopped(
    by: Signal,
    turn: &Turn,
    args: &[&str],
    begun: impl Fn(&mut Child),
) -> (Duration, crate::world::Ran, World) {
    let server = Scripted::new().model("m").turn(turn.clone()).serve();
    let world = World::with_vllm(&server.base_url());
    let mut child = world.spawn(args);
    begun(&mut child);
    let at = Instant::now();
    signal(&child, by);
    let all = server
        .wait_for_blocking(Duration::from_secs(30), |all| all.iter().any(|request| request.closed_early()));
    let closed = all.unwrap().iter().find(|request| request.closed_early()).unwrap().ended.unwrap();
    (closed.saturating_duration_since(at), finish(child), world)
}

fn read_part(child: &mut Child) {
    let mut part = [0; 4];
    child.stdout.as_mut().unwrap().read_exact(&mut part).unwrap();
    assert_eq!(&part, b"part");
}

#[test]
fn a_stop_closes_the_connection_within_250_ms_and_starts_no_tool() {
    for by in [Signal::INT, Signal::TERM] {
        // The call is whole, its answer is not: a tool that started now would start after the stop.
        let turn = Turn::text("part ")
            .call("write", json!({"path": "a.txt", "content": "x"}))
            .pause(Duration::from_secs(60));
        let mut best = Duration::MAX;
        for _ in 0..TRIES {
            let args = ["agent", "--session", "s", "--approve", "all", "-m", "hi"];
            let (time, ran, world) = stopped(by, &turn, &args, read_part);
            assert_eq!(ran.code, 130, "{ran:?}");
            assert!(!world.work().join("a.txt").exists(), "a tool started");
            let items = world.json(&["sessions", "show", "s", "--json"]);
            let said = items.as_array().unwrap().iter().find(|item| item["kind"] == "assistant").unwrap();
            assert_eq!(
                (&said["text"], &said["finish"]),
                (&json!("part"), &json!("cut")),
                "what was shown is kept"
            );
            best = best.min(time);
            if best <= LIMIT {
                break;
            }
        }
        assert!(best <= LIMIT, "{by:?}: {best:?}");
    }
}

/// A reader that has stopped to read must not keep the model computing.
#[test]
fn a_stop_is_heard_while_nobody_reads_the_answer() {
    let word = "0123456789abcde ".repeat(64);
    let deltas = (0..2_000).map(|_| word.clone());
    let turn = Turn::new().deltas(deltas).pause(Duration::from_secs(60));
    let args = ["agent", "--session", "s", "-m", "hi"];
    let server = Scripted::new().model("m").turn(turn).serve();
    let world = World::with_vllm(&server.base_url());
    let child = world.spawn(&args);
    server
        .wait_for_blocking(Duration::from_secs(30), |all| all.iter().any(|r| r.path.ends_with("completions")))
        .unwrap();
    // Long enough for the pipe to be full.
    std::thread::sleep(Duration::from_millis(600));
    signal(&child, Signal::INT);
    server
        .wait_for_blocking(Duration::from_secs(30), |all| all.iter().any(|request| request.closed_early()))
        .unwrap();
    let ran = finish(child);
    assert_eq!(ran.code, 130, "{}", ran.err);
}

#[test]
fn the_events_of_a_stopped_turn_end_in_order() {
    let turn = Turn::text("part").pause(Duration::from_secs(60));
    let (_, ran, _) = stopped(Signal::INT, &turn, &["agent", "--json", "-m", "hi"], |child| {
        let mut seen = Vec::new();
        let mut byte = [0];
        while !String::from_utf8_lossy(&seen).contains("\"text_delta\"") {
            child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
            seen.push(byte[0]);
        }
    });
    let rest: Vec<Value> = ran.out.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = rest.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert!(kinds.ends_with(&["turn_finished", "closed"]), "{kinds:?}");
    assert_eq!(rest[rest.len() - 2]["outcome"]["outcome"], "stopped", "{rest:?}");
}

/// Before the first token, while the server reads.
#[test]
fn a_stop_while_the_server_reads_closes_the_connection() {
    let server = Scripted::new().model("m").turn(Turn::text("late").after(Duration::from_secs(60))).serve();
    let world = World::with_vllm(&server.base_url());
    let child = world.spawn(&["agent", "--session", "s", "-m", "hi"]);
    server
        .wait_for_blocking(Duration::from_secs(30), |all| all.iter().any(|r| r.path.ends_with("completions")))
        .unwrap();
    signal(&child, Signal::INT);
    server
        .wait_for_blocking(Duration::from_secs(30), |all| all.iter().any(|request| request.closed_early()))
        .unwrap();
    assert_eq!(finish(child).code, 130);
    let items = world.json(&["sessions", "show", "s", "--json"]);
    assert_eq!(items.as_array().unwrap().last().unwrap()["kind"], "interrupted");
}
