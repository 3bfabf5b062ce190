//! `@path` in a message.

use chela_openai::models::ModelCard;
use chela_server::{Scripted, Turn};
use serde_json::{Value, json};

use crate::world::World;

fn user(body: &Value) -> Value {
    body["messages"][1]["content"].clone()
}

#[test]
fn files_go_with_the_message_and_the_rest_can_be_read() {
    let server = Scripted::new()
        .model("m")
        .max_model_len(8_192)
        .turn(Turn::text("short"))
        .turn(Turn::new().call("read", json!({"path": "long.log", "offset": 300, "limit": 2})))
        .turn(Turn::text("done"))
        .serve();
    let world = World::with_vllm(&server.base_url());
    world.file("src/main.rs", "fn main() {}\n");
    let lines: String = (1..=2_000).map(|n| format!("line {n} of the log\n")).collect();
    world.file("long.log", &lines);

    world.run(&["agent", "-m", "Explain @src/main.rs, for anna@example.com."]).succeeds();
    let sent = user(&server.chats()[0].json());
    let sent = sent.as_str().unwrap();
    assert!(sent.contains("<file name=\"src/main.rs\">\nfn main() {}\n</file>"), "{sent}");
    assert!(sent.ends_with("Explain @src/main.rs, for anna@example.com."), "{sent}");

    let ran = world.run(&["agent", "-m", "What is in @long.log?"]);
    assert!(
        ran.succeeds().err.contains("long.log: ") && ran.err.contains("the model can read the rest"),
        "{ran:?}"
    );
    let body = server.chats()[1].json();
    let sent = user(&body).as_str().unwrap().to_owned();
    // A quarter of the window at four characters to a token, and some for the words around.
    assert!(sent.len() < 8_192 + 1_000, "{}", sent.len());
    let kept = sent.matches(" of the log\n").count();
    assert!(
        sent.contains(&format!("[the first {kept} lines; for more, read long.log with offset={}]", kept + 1)),
        "{sent}"
    );
    let result = server.chats()[2].json()["messages"][3]["content"].to_string();
    assert!(result.contains("line 300 of the log"), "{result}");
}

#[test]
fn a_missing_file_is_named_before_anything_is_sent() {
    let server = Scripted::new().model("m").respond(|_| Turn::text("ok")).serve();
    let world = World::with_vllm(&server.base_url());
    world
        .run(&["agent", "-m", "Explain @nothing.rs"])
        .fails(2, &["@nothing.rs: there is no such file", "\\@"]);
    assert!(server.requests().is_empty());
    assert_eq!(world.json(&["sessions", "list", "--json"]), json!([]));
    // In what came through a pipe nobody names files.
    world.file("secret.txt", "s3cret");
    world.run_with_stdin(&["agent"], "Explain @secret.txt").succeeds();
    world.run_with_stdin(&["agent", "-m", "Summarise"], "see @secret.txt").succeeds();
    assert!(server.chats().iter().all(|chat| !chat.json().to_string().contains("s3cret")));
}

#[test]
fn a_picture_is_an_image_part_where_the_model_takes_pictures() {
    let sees = Scripted::new().model("m").respond(|_| Turn::text("A crab.")).serve();
    let world = World::with_config(&format!(
        "{{ models: {{ providers: {{ vllm: {{ baseUrl: '{}', models: [{{ id: 'm', input: ['text', 'image'] }}, {{ id: 'blind', input: ['text'] }}] }} }} }} }}",
        sees.base_url()
    ));
    std::fs::write(world.work().join("photo.png"), b"\x89PNG\r\n\x1a\nrest").unwrap();
    world.run(&["agent", "--model", "vllm/m", "-m", "What is on @photo.png?"]).succeeds();
    let parts = user(&sees.chats()[0].json());
    assert_eq!(
        parts[1],
        json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgpyZXN0"}})
    );
    assert!(parts[0]["text"].as_str().unwrap().ends_with("What is on @photo.png?"), "{parts}");
    let ran = world.run(&["agent", "--model", "vllm/blind", "-m", "What is on @photo.png?"]);
    ran.fails(2, &["vllm/blind", "photo.png", "\"image\""]);
    assert_eq!(sees.chats().len(), 1);
}

/// The listing of a folder goes along too, and a name without an ending.
#[test]
fn a_folder_is_listed() {
    let server = Scripted::new().models(vec![ModelCard::new("m")]).respond(|_| Turn::text("ok")).serve();
    let world = World::with_vllm(&server.base_url());
    world.file("src/a.rs", "").file("src/b/c.rs", "").file("Makefile", "all:\n");
    world.run(&["agent", "-m", "What do @src and @Makefile do?"]).succeeds();
    let sent = user(&server.chats()[0].json());
    let sent = sent.as_str().unwrap();
    assert!(
        sent.contains("<file name=\"src/\">\na.rs\nb/\n</file>")
            && sent.contains("<file name=\"Makefile\">\nall:"),
        "{sent}"
    );
}
