//! The quick start, the discovery rules, the explicit configuration and the troubleshooting of the
//! page for vLLM, sentence by sentence. The address is moved by a variable, never port 8000.

use chela_openai::models::ModelCard;
use chela_server::{Scripted, Turn};

use crate::world::World;

/// "Opt in (any value works if no auth is configured)", then "Select a model".
#[test]
fn quick_start() {
    let server = Scripted::new().model("your-model-id").turn(Turn::text("Hello.")).serve();
    let world = World::with_vllm(&server.base_url()).env("VLLM_API_KEY", "vllm-local");
    world.write_config("{\n  agents: {\n    defaults: {\n      model: { primary: \"vllm/your-model-id\" },\n    },\n  },\n}\n");
    let ran = world.run(&["agent", "-m", "hi"]);
    assert_eq!(ran.succeeds().out, "Hello.\n");
    let models: Vec<_> = server.requests().into_iter().filter(|r| r.path == "/v1/models").collect();
    assert_eq!(models.len(), 1, "asked once");
    assert_eq!(models[0].header("authorization"), "Bearer vllm-local");
    let chat = server.chats().remove(0);
    assert_eq!(chat.header("authorization"), "Bearer vllm-local");
    let body = chat.json();
    assert_eq!(body["model"], "your-model-id");
    assert_eq!((&body["stream"], &body["stream_options"]["include_usage"]), (&true.into(), &true.into()));
}

/// "When VLLM_API_KEY is set … OpenClaw will query GET /v1/models and convert the returned IDs
/// into model entries", by every command that needs it.
#[test]
fn every_command_that_needs_it_discovers() {
    let server =
        Scripted::new().model("org/model-a").max_model_len(4096).respond(|_| Turn::text("ok")).serve();
    let world = World::with_vllm(&server.base_url()).env("VLLM_API_KEY", "x");
    let list = world.json(&["models", "list", "--json"]);
    assert_eq!(list["models"][0]["model"], "vllm/org/model-a");
    let window = &list["models"][0]["limits"]["context_window"];
    assert_eq!((&window["value"], &window["from"]), (&4096.into(), &"runtime".into()));
    // The only model there is needs no choice.
    assert_eq!(world.run(&["agent", "-m", "hi"]).succeeds().out, "ok\n");
    let status = world.run(&["models", "status"]);
    assert!(status.succeeds().out.contains("4,096") && status.out.contains("from: server"), "{status:?}");
    world.run(&["doctor"]).succeeds();
}

/// "If you set models.providers.vllm explicitly, auto-discovery is skipped and you must define
/// models manually."
#[test]
fn explicit_models_skip_discovery() {
    let server = Scripted::new().model("served").turn(Turn::text("ok")).serve();
    let config = format!(
        "{{ models: {{ providers: {{ vllm: {{ baseUrl: '{}', apiKey: '${{VLLM_API_KEY}}', api: 'openai-completions', \
         models: [{{ id: 'served', name: 'Local vLLM Model', reasoning: false, input: ['text'], \
         cost: {{ input: 0, output: 0, cacheRead: 0, cacheWrite: 0 }}, contextWindow: 128000, maxTokens: 8192 }}] }} }} }} }}",
        server.base_url()
    );
    let world = World::with_config(&config).env("VLLM_API_KEY", "real");
    let list = world.json(&["models", "list", "--json"]);
    assert_eq!(list["models"].as_array().unwrap().len(), 1);
    assert_eq!(list["models"][0]["limits"]["context_window"]["value"], 128_000);
    assert!(server.requests().is_empty(), "all limits are declared, so nobody is asked");
    assert_eq!(world.run(&["agent", "-m", "hi", "--model", "vllm/served"]).succeeds().out, "ok\n");
    assert_eq!(server.chats()[0].header("authorization"), "Bearer real");
}

/// A wildcard turns discovery back on, and declared values win.
#[test]
fn a_wildcard_discovers_at_the_explicit_endpoint() {
    let server = Scripted::new()
        .models(vec![ModelCard::new("one"), ModelCard::new("two")])
        .max_model_len(8000)
        .serve();
    let config = format!(
        "{{ agents: {{ defaults: {{ models: {{ 'vllm/*': {{}} }} }} }}, models: {{ providers: {{ vllm: {{ baseUrl: '{}', \
         models: [{{ id: 'one', contextWindow: 3000, maxTokens: 500 }}] }} }} }} }}",
        server.base_url()
    );
    let list = World::with_config(&config).json(&["models", "list", "--json"]);
    let windows: Vec<_> = list["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| {
            (
                m["model"].as_str().unwrap().to_owned(),
                m["limits"]["context_window"]["value"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(windows, [("vllm/one".to_owned(), 3000), ("vllm/two".to_owned(), 8000)]);
}

/// "Your server requires a real API key": a missing variable is named with its key, and never sent.
#[test]
fn a_missing_variable_is_never_sent_as_text() {
    let server = Scripted::new().serve();
    let config = format!(
        "{{ models: {{ providers: {{ vllm: {{ baseUrl: '{}', apiKey: '${{VLLM_API_KEY}}' }} }} }} }}",
        server.base_url()
    );
    for world in [World::with_config(&config), World::with_config(&config).env("VLLM_API_KEY", "")] {
        let ran = world.run(&["agent", "-m", "hi", "--model", "vllm/m"]);
        assert!(matches!(ran.code, 2 | 3), "{ran:?}");
        assert!(
            ran.err.contains("VLLM_API_KEY") && ran.err.contains("models.providers.vllm.apiKey"),
            "{ran:?}"
        );
        assert!(server.requests().is_empty());
    }
}

/// "If requests fail with auth errors, set a real VLLM_API_KEY": each failure says so itself.
#[test]
fn troubleshooting_is_in_the_errors() {
    let server = Scripted::new().api_key("right").serve();
    let world = World::with_vllm(&server.base_url()).env("VLLM_API_KEY", "wrong");
    let doctor = world.run(&["doctor"]);
    assert_eq!(doctor.code, 3, "{doctor:?}");
    assert!(doctor.out.contains("401") && doctor.out.contains("VLLM_API_KEY"), "{doctor:?}");

    let gone = "http://127.0.0.1:9/v1";
    let ran = World::with_vllm(gone).run(&["models", "list", "--provider", "vllm"]);
    ran.fails(3, &[gone]);
}

#[test]
fn with_nothing_configured_the_way_to_a_server_is_shown() {
    let world = World::new();
    for args in [&["models", "list"][..], &["models", "status"], &["doctor"]] {
        let ran = world.run(args);
        assert!(format!("{}{}", ran.succeeds().out, ran.err).contains("chela setup"), "{ran:?}");
    }
    // A model that is named is the one, or none.
    world.run(&["agent", "-m", "hi", "--model", "vllm/m"]).fails(3, &["VLLM_API_KEY"]);
}
