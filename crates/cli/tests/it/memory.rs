//! Notes and pages through the binary, as a day's work has them.

use chela_server::{Scripted, Turn};
use serde_json::{Value, json};

use crate::world::World;

fn notes(world: &World) -> Vec<(String, String)> {
    let Ok(folder) = std::fs::read_dir(world.work().join("memory")) else { return Vec::new() };
    let file = |entry: std::fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(entry.path()).unwrap())
    };
    folder.flatten().map(file).collect()
}

#[test]
fn a_note_is_kept_found_by_another_session_and_taken_back() {
    let server = Scripted::new()
        .model("m")
        .turn(Turn::new().call("memory", json!({"action": "add", "text": "The dog is called Rex."})))
        .turn(Turn::text("Noted."))
        .turn(Turn::new().call("memory", json!({"action": "search", "text": "dog's name"})))
        .turn(Turn::text("Rex."))
        .serve();
    let world = World::with_vllm(&server.base_url());
    world
        .run(&["agent", "--session", "s", "--approve", "edits", "-m", "Remember: the dog is called Rex."])
        .succeeds();
    let kept = notes(&world);
    assert_eq!(kept.len(), 1);
    assert!(kept[0].1.starts_with(&format!("# {}\n\n- ", kept[0].0.trim_end_matches(".md"))), "{kept:?}");
    let ran = world.run(&["agent", "-m", "What is the dog called?"]);
    assert_eq!(ran.succeeds().out, "Rex.\n");
    let found =
        server.chats()[3].json()["messages"].as_array().unwrap().last().unwrap()["content"].to_string();
    assert!(found.contains("The dog is called Rex.") && found.contains("memory/"), "{found}");
    world.run(&["sessions", "undo", "s"]).succeeds();
    assert!(!world.work().join("memory").exists());
}

#[test]
fn without_approval_a_note_is_refused_and_the_option_named() {
    let server = Scripted::new()
        .model("m")
        .turn(Turn::new().call("memory", json!({"action": "add", "text": "x"})))
        .turn(Turn::text("I may not."))
        .serve();
    let world = World::with_vllm(&server.base_url());
    world.run(&["agent", "-m", "Remember x."]).fails(4, &["--approve edits"]);
    assert!(notes(&world).is_empty());
}

/// In a trusted folder a note rides in the message that it bears on, as a quote with its origin; what
/// was sent once is sent the same ever after.
#[test]
fn notes_of_a_trusted_folder_are_quoted_and_the_prefix_holds() {
    let server = Scripted::new().model("m").respond(|_| Turn::text("ok")).serve();
    let world = World::with_vllm(&server.base_url());
    let long = "word ".repeat(200);
    world.file(
        "MEMORY.md",
        &format!("- Deploy a release with make ship.\n- Rex is the dog.\n- dog release {long}\n"),
    );
    let sent = |n: usize| server.chats()[n].json()["messages"].clone();
    world.run(&["agent", "-m", "How do we deploy a release?"]).succeeds();
    assert!(!sent(0).to_string().contains("make ship"), "the folder is not trusted yet");
    world.run(&["trust"]).succeeds();
    world.run(&["agent", "--session", "s", "-m", "How do we deploy a release?"]).succeeds();
    let first = sent(1);
    let message = first[1]["content"].as_str().unwrap().to_owned();
    assert!(message.contains("note in MEMORY.md:1: \"Deploy a release with make ship.\""), "{message}");
    assert!(!message.contains("Rex is"), "{message}");
    world.file("MEMORY.md", "- Deploy a release by hand.\n");
    world.run(&["agent", "--session", "s", "-m", "And the weather?"]).succeeds();
    let second = sent(2);
    let all: Vec<&Value> = second.as_array().unwrap().iter().collect();
    assert_eq!(all[..2], [&first[0], &first[1]]);
    assert!(!all.last().unwrap().to_string().contains("note in"));
}
