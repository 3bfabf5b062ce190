//! `chela bench serve` against the scripted server.

use std::time::Duration;

use chela_server::{Scripted, Turn};
use serde_json::Value;

use crate::world::World;

fn run(args: &[&str]) -> (i32, Value, String) {
    let mut all = vec!["bench", "serve", "--json", "--num-warmups", "0", "--input-len", "8"];
    all.extend(args);
    let ran = World::new().run(&all);
    (ran.code, serde_json::from_str(&ran.out).unwrap_or_default(), ran.err)
}

#[test]
fn figures_of_a_run() {
    let mut scripted = Scripted::new().model("m");
    for _ in 0..6 {
        scripted = scripted.turn(Turn::text("one two three"));
    }
    let server = scripted.serve();
    let (code, result, err) = run(&["--base-url", &server.base_url(), "--num-prompts", "6"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!((result["completed"].as_u64(), result["failed"].as_u64()), (Some(6), Some(0)), "{result}");
    assert_eq!(result["model_id"], "m");
    let output = result["total_output_tokens"].as_u64().unwrap();
    assert!(output >= 6 && result["total_input_tokens"].as_u64().unwrap() > 0, "{result}");
    for kind in ["ttft", "tpot", "itl", "e2el"] {
        for figure in ["mean", "median", "std", "p50", "p90", "p99"] {
            assert!(result[format!("{figure}_{kind}_ms")].is_number(), "{figure} {kind}: {result}");
        }
    }
    let (ttft, e2el) = (result["mean_ttft_ms"].as_f64(), result["mean_e2el_ms"].as_f64());
    assert!(ttft > Some(0.0) && e2el >= ttft, "{result}");
    let requests = server.requests();
    let chats = requests.iter().filter(|request| request.path == "/v1/chat/completions");
    assert_eq!(chats.count(), 6);
}

#[test]
fn the_same_seed_sends_the_same_prompts() {
    let prompts = |seed: &str| {
        let server = Scripted::new().model("m").turn(Turn::text("a")).turn(Turn::text("b")).serve();
        let url = server.base_url();
        run(&["--base-url", &url, "--num-prompts", "2", "--seed", seed, "--max-concurrency", "1"]);
        let all = server.requests();
        let bodies = all.iter().filter(|request| request.path.ends_with("/chat/completions"));
        bodies.map(|request| format!("{:?}", request.json()["messages"])).collect::<Vec<_>>()
    };
    let first = prompts("1");
    assert_eq!(first.len(), 2);
    assert_eq!(first, prompts("1"));
    assert_ne!(first, prompts("2"));
}

#[test]
fn failed_requests_are_counted_and_told() {
    let server = Scripted::new().model("m").turn(Turn::text("a")).turn(Turn::error(500, "no")).serve();
    let (code, result, err) =
        run(&["--base-url", &server.base_url(), "--num-prompts", "2", "--max-concurrency", "1"]);
    assert_eq!(
        (code, result["completed"].as_u64(), result["failed"].as_u64()),
        (1, Some(1), Some(1)),
        "{err}"
    );
    assert!(result["errors"][0].as_str().unwrap().contains("500"), "{result}");
    assert!(err.contains("1 of 2 requests failed"), "{err}");
}

#[test]
fn without_a_server_there_is_one_clear_error() {
    let (code, _, err) = run(&["--base-url", "http://127.0.0.1:9"]);
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("127.0.0.1:9") && err.contains("--model"), "{err}");
    assert_eq!(run(&["--base-url", "127.0.0.1"]).0, 2);
}

#[test]
fn a_rate_spreads_the_requests() {
    let mut scripted = Scripted::new().model("m");
    for _ in 0..4 {
        scripted = scripted.turn(Turn::text("a"));
    }
    let server = scripted.serve();
    let started = std::time::Instant::now();
    let (code, ..) = run(&["--base-url", &server.base_url(), "--num-prompts", "4", "--request-rate", "8"]);
    assert_eq!(code, 0);
    // Four requests at eight a second: the last one goes out after half a second.
    assert!(started.elapsed() >= Duration::from_millis(500));
}
