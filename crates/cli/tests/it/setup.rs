//! `chela setup`: the choice, its proof, and what is written.

use chela_openai::models::ModelCard;
use chela_server::{Scripted, Turn};
use serde_json::json;

use crate::served::recordings;
use crate::world::World;

/// Reads the file when it is asked for the first time.
fn works(server: Scripted) -> Scripted {
    server
        .turn(Turn::new().call("read", json!({"path": "notes.txt"})))
        .turn(Turn::text("It says that the meeting is on Friday."))
}

fn two() -> Scripted {
    Scripted::new().models(vec![ModelCard::new("a"), ModelCard::new("b")])
}

#[test]
fn a_server_is_proved_and_written_with_the_comments_kept() {
    let server = works(Scripted::new().model("m")).serve();
    let world = World::with_config("{\n  // mine\n  network: { localOnly: true },\n}\n");
    // Without a scheme and without /v1, as people write it.
    let base = server.base_url();
    let address = base.trim_start_matches("http://").trim_end_matches("/v1");
    let done = world.json(&["setup", "--non-interactive", "--server", address, "--json"]);
    assert_eq!(done["written"], true, "{done}");
    assert_eq!(done["proof"]["ok"], true);
    assert_eq!(done["proof"]["calls"][0]["tool"], "read");
    let model = done["model"].as_str().unwrap();
    assert!(model.ends_with("/m"), "{done}");
    let config = world.config();
    assert!(config.contains("// mine") && config.contains(&base) && config.contains(model), "{config}");
    let sent = server.chats();
    assert!(sent[1].json()["messages"].to_string().contains("The meeting is on Friday."), "a real file");
    assert!(!world.home().join("sessions.db").exists(), "it leaves no session");
}

#[test]
fn a_model_that_calls_no_tool_is_not_written_unless_forced() {
    let server = Scripted::new().model("m").respond(|_| Turn::text("I would read it.")).serve();
    let world = World::new();
    let args = ["setup", "--server", &server.base_url()].map(str::to_owned);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let says = ["I would read it.", "was not written: the model called no tool", "--force"];
    world.run(&args).fails(1, &says);
    assert!(!world.config_file().exists());
    let ran = world.run(&[&args[..], &["--json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&ran.fails(1, &[]).out).unwrap();
    assert_eq!((&json["written"], &json["proof"]["ok"]), (&json!(false), &json!(false)));
    let forced = world.run(&[&args[..], &["--force"]].concat());
    assert!(forced.succeeds().err.contains("warning: the model called no tool"), "{forced:?}");
    assert!(world.config().contains(&server.base_url()));
}

#[test]
fn a_key_is_named_and_never_written_and_one_of_several_models_is_chosen() {
    let server = works(two().api_key("right")).serve();
    let base = server.base_url();
    let world = World::new().env("MY_KEY", "right");
    world.run(&["setup", "--server", &base]).fails(3, &["wants a key", "--api-key-env"]);
    world.run(&["setup", "--server", &base, "--api-key-env", "NONE"]).fails(3, &["NONE is not set"]);
    let keyed = ["setup", "--server", &base, "--api-key-env", "MY_KEY"];
    world.run(&keyed).fails(2, &["several models", "--model: a, b"]);
    world.run(&[&keyed[..], &["--model", "c"]].concat()).fails(2, &["no model c"]);
    assert!(!world.config_file().exists());
    world.run(&[&keyed[..], &["--model", "b"]].concat()).succeeds();
    let config = world.config();
    assert!(config.contains("${MY_KEY}") && !config.contains("right") && config.contains("/b"), "{config}");
}

#[test]
fn what_is_not_there_or_cannot_be_asked_is_an_error() {
    let world = World::new();
    world.run(&["setup"]).fails(2, &["nobody can be asked", "--server URL, --model PATH or --demo"]);
    world.run(&["setup", "--server", "127.0.0.1:9"]).fails(3, &["nothing answers at http://127.0.0.1:9"]);
    world.run(&["setup", "--server", "ftp://x"]).fails(2, &["no address"]);
    world.run(&["setup", "--model", "nothing.gguf"]).fails(3, &["no model nothing.gguf"]);
    world.run(&["setup", "--demo", "--server", "x"]).fails(2, &["cannot be used with"]);
    // A model whose window does not hold the task.
    let tiny = recordings().join("tiny-model");
    let ran = world.run(&["setup", "--model", tiny.to_str().unwrap()]);
    assert!(ran.fails(1, &["was not written: "]).err.contains("reads about "), "{ran:?}");
    assert!(!world.config_file().exists());
}

#[test]
fn the_demo_model_is_kept_only_where_somebody_says_so() {
    let world = World::new();
    world.run(&["setup", "--demo"]).succeeds();
    assert!(world.config().contains("local/demo"));
    let ran = world.run(&["models", "status"]);
    assert!(
        ran.succeeds().out.contains("local/demo") && !ran.err.contains("no model is configured"),
        "{ran:?}"
    );
}

#[test]
fn on_a_terminal_setup_asks_proves_and_asks_again_before_it_writes_what_failed() {
    let server = works(two()).respond(|_| Turn::text("No.")).serve();
    let world = World::new();
    let mut setup = world.terminal(&["setup"]);
    setup.sees("Enter: leave everything as it is]: ").send("\r");
    setup.sees("nothing was changed");
    assert_eq!(setup.ends(), 0);
    assert!(!world.config_file().exists());
    let mut setup = world.terminal(&["setup"]);
    setup.sees("use which one?").send(&format!("{}\r", server.base_url()));
    setup.sees("it has 2 models").sees("which one? [1-2]: ").send("2\r");
    setup.sees("it called read notes.txt").sees("Friday").sees("/b is now the model");
    assert_eq!(setup.ends(), 0);
    let before = world.config();
    let mut setup = world.terminal(&["setup", "--server", &server.base_url(), "--model", "a"]);
    setup.sees("it does not work: the model called no tool").sees("all the same? ").send("n\r");
    assert_eq!(setup.ends(), 1);
    assert_eq!(world.config(), before);
}
