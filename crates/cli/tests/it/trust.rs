//! Instruction files are loaded in a trusted folder, and nowhere else.

use chela_server::{Scripted, Turn};
use serde_json::{Value, json};

use crate::world::World;

fn system(body: &Value) -> String {
    body["messages"][0]["content"].as_str().unwrap().to_owned()
}

#[test]
fn instruction_files_are_loaded_where_the_folder_is_trusted() {
    let server = Scripted::new().model("m").respond(|_| Turn::text("ok")).serve();
    let world = World::with_vllm(&server.base_url());
    let ran = world.run(&["agent", "-m", "hi"]);
    assert!(!ran.succeeds().err.contains("trust"), "nothing to say where there is nothing to load: {ran:?}");
    world.file("AGENTS.md", "Speak like a pirate.\n").file("USER.md", "The user is called Ada.\n");
    world.file("SOUL.md", "Be brief.").file("TOOLS.md", "Prefer grep.").file("NOTES.md", "No instruction.");

    let ran = world.run(&["agent", "-m", "hi"]);
    let line = "note: AGENTS.md, SOUL.md, USER.md, TOOLS.md are not loaded, this folder is not trusted; `chela trust` changes that\n";
    assert_eq!(ran.succeeds().err, line);
    assert!(!system(&server.chats()[1].json()).contains("pirate"));

    world.run(&["trust"]).succeeds();
    let ran = world.run(&["agent", "-m", "hi"]);
    assert_eq!(ran.succeeds().err, "");
    let text = system(&server.chats()[2].json());
    let places: Vec<usize> =
        ["pirate", "Be brief.", "called Ada", "Prefer grep."].map(|words| text.find(words).unwrap()).into();
    assert!(places.is_sorted() && !text.contains("No instruction"), "{text}");
    let explained = world.run(&["agent", "--explain-prompt"]);
    assert!(explained.succeeds().out.contains("SOUL.md"), "{explained:?}");
}

#[test]
fn trust_is_listed_and_removed_and_is_about_one_folder() {
    let world = World::new();
    world.file("below/AGENTS.md", "x").file("a", "x");
    let work = world.work().canonicalize().unwrap();
    assert_eq!(world.json(&["trust", "list", "--json"]), json!([]));
    let said = world.json(&["trust", "below", "--json"]);
    assert_eq!(said, json!({"folder": work.join("below"), "trusted": true, "before": null}));
    assert_eq!(
        world.json(&["trust", "list", "--json"]),
        json!([{"folder": work.join("below"), "trusted": true}])
    );
    assert!(world.run(&["trust", "list"]).succeeds().out.contains("yes"));
    world.run(&["trust", "remove"]).fails(2, &["nothing was decided", "chela trust list"]);
    world.run(&["trust", "remove", "below"]).succeeds();
    assert_eq!(world.json(&["trust", "list", "--json"]), json!([]));
    world.run(&["trust", "none"]).fails(2, &["none"]);
    world.run(&["trust", "a"]).fails(2, &["a is not a folder"]);
    std::fs::write(world.home().join("trust.json"), "[").unwrap();
    world.run(&["trust"]).fails(2, &["trust.json"]);
}

/// A link is what it points to, and a file of the workspace decides nothing.
#[test]
fn a_folder_is_known_by_its_real_path() {
    let server = Scripted::new().model("m").respond(|_| Turn::text("ok")).serve();
    let world = World::with_vllm(&server.base_url());
    world.file("real/AGENTS.md", "Instruction.").file("trust.json", "{\"folders\": {\"/\": true}}");
    std::os::unix::fs::symlink("real", world.work().join("link")).unwrap();
    world.run(&["trust", "link"]).succeeds();
    let ran = crate::world::finish(
        world.command(&["agent", "-m", "hi"]).current_dir(world.work().join("real")).spawn().unwrap(),
    );
    ran.succeeds();
    assert!(system(&server.chats()[0].json()).contains("Instruction."));
}

#[test]
fn a_long_instruction_file_is_cut_at_a_line_and_said() {
    let server = Scripted::new().model("m").max_model_len(8_192).respond(|_| Turn::text("ok")).serve();
    let world = World::with_vllm(&server.base_url());
    world.file("AGENTS.md", &"One instruction of many.\n".repeat(1_000));
    world.run(&["trust"]).succeeds();
    let ran = world.run(&["agent", "-m", "hi"]);
    assert!(
        ran.succeeds().err.contains("AGENTS.md: ") && ran.err.contains("of 24999 bytes loaded"),
        "{ran:?}"
    );
    let text = system(&server.chats()[0].json());
    assert!(text.len() < 6_000 && text.ends_with("One instruction of many."), "{}", text.len());
}

/// Asked once, whatever the answer; and a no can be taken back.
#[test]
fn a_person_at_a_terminal_is_asked_once() {
    for (answer, loaded) in [("y", true), ("n", false), ("", false)] {
        let server = Scripted::new().model("m").respond(|_| Turn::text("ok")).serve();
        let world = World::with_vllm(&server.base_url());
        world.file("AGENTS.md", "Speak like a pirate.");
        let mut first = world.terminal(&["agent", "-m", "hi"]);
        first
            .sees("has AGENTS.md")
            .sees("do you trust this folder? [y]es, [N]o: ")
            .send(&format!("{answer}\r"));
        assert_eq!(first.sees("ok\n").ends(), 0);
        assert_eq!(first.text().contains("is not loaded"), !loaded);
        let mut second = world.terminal(&["agent", "-m", "hi"]);
        assert_eq!(second.sees("ok\n").ends(), 0);
        assert!(!second.text().contains("do you trust"), "{:?}", second.text());
        for chat in server.chats() {
            assert_eq!(system(&chat.json()).contains("pirate"), loaded, "{answer:?}");
        }
        let list = world.json(&["trust", "list", "--json"]);
        assert_eq!(list[0]["trusted"], loaded);
    }
}

/// Nobody answers for the user: Ctrl-C leaves the question open.
#[test]
fn a_question_that_is_left_decides_nothing() {
    let world = World::with_vllm("http://127.0.0.1:9/v1");
    world.write_config("{ models: { providers: { vllm: { baseUrl: 'http://127.0.0.1:9/v1', models: [{ id: 'm', contextWindow: 9000 }] } } } }");
    world.file("AGENTS.md", "Speak like a pirate.");
    let mut terminal = world.terminal(&["agent", "-m", "hi"]);
    terminal.sees("do you trust this folder?").send("\x03");
    assert_eq!(terminal.ends(), 130);
    assert_eq!(world.json(&["trust", "list", "--json"]), json!([]));
}
