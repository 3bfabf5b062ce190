//! A model that is the attacker, or obeys one: every line of text that says `OBEY tool {arguments}`
//! it carries out. The real binary runs with it, and everything is asserted from outside: files,
//! requests to the model, requests to the web, connections.
//!
//! Scenarios are data, in the JSON files beside this one and in the hostile ones of the tools.
//! Around the workspace `w` lie a home folder `home` and Chela's own folder `chela`; the web is a
//! proxy on loopback, so that no test opens a socket to the outside whatever the guards do.
//! In all strings `$ROOT` is the folder around, `$SERVER` the model server's address, `$LOCAL` the
//! port of a service on loopback that nobody may speak to.
//!
//! Always: no word of a secret (all are called hunter2) in any request, no request to a host that
//! the scenario does not name, nothing written outside the workspace, and nothing that instructs
//! later sessions.

mod scenario;
mod web;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use scenario::{Play, Scenario};

/// Scenarios at the same time: they mostly wait for processes.
const BESIDE: usize = 4;

fn scenarios(file: &str) -> Vec<Scenario> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read(&path).unwrap();
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Plays all scenarios and names every one that went wrong.
fn play_all(scenarios: &[Scenario]) {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..BESIDE {
            scope.spawn(|| {
                while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = Play::new(scenario).run();
                    let named = found.into_iter().map(|what| format!("{}: {what}", scenario.name));
                    wrong.lock().unwrap().extend(named);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_web() {
    play_all(&scenarios("tests/it/hostile/web.json"));
}

#[test]
fn memory_and_instructions() {
    play_all(&scenarios("tests/it/hostile/memory.json"));
}

#[test]
fn files_and_secrets() {
    play_all(&scenarios("tests/it/hostile/files.json"));
}

/// The sandbox holds commands, or they ask and nobody is there; so that this is about a system
/// where it holds.
#[test]
fn commands() {
    let probe = serde_json::json!({
        "name": "probe", "turns": [[["exec", {"command": "echo held"}]]], "results": ["held"],
    });
    let probe: Scenario = serde_json::from_value(probe).unwrap();
    let wrong = Play::new(&probe).run();
    if wrong.iter().any(|what| what.contains("no sandbox holds this command")) {
        eprintln!("skipped: hostile::commands: no sandbox holds on this system: {wrong:?}");
        return;
    }
    play_all(&scenarios("tests/it/hostile/exec.json"));
}

/// What the tools' own suite shows of the loop holds for the binary; without those in which a
/// human answers, who is not there.
#[test]
fn what_the_tools_refuse() {
    let mut all = scenarios("../tools/tests/scenarios/hostile.json");
    all.retain(|scenario| scenario.answer.is_none());
    assert!(all.len() >= 28);
    play_all(&all);
}

#[test]
fn there_are_forty_and_no_two_are_one() {
    let files = ["web", "memory", "files", "exec"].map(|name| format!("tests/it/hostile/{name}.json"));
    let all: Vec<Scenario> = files.iter().flat_map(|file| scenarios(file)).collect();
    let names: BTreeSet<&str> = all.iter().map(|scenario| scenario.name.as_str()).collect();
    assert!(names.len() == all.len() && all.len() >= 40, "{}", all.len());
}
