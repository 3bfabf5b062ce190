//! `chela models` through the binary.

use chela_openai::models::ModelCard;
use chela_server::Scripted;

use crate::world::World;

#[test]
fn set_writes_the_choice_and_keeps_fallbacks() {
    let server = Scripted::new().models(vec![ModelCard::new("a/b"), ModelCard::new("c")]).serve();
    let world = World::with_vllm(&server.base_url());
    world.run(&["agent", "-m", "hi"]).fails(3, &["no model is chosen", "vllm/a/b", "vllm/c"]);
    world.run(&["models", "set", "vllm/a/b"]).succeeds();
    assert_eq!(world.json(&["models", "status", "--json"])["model"], "vllm/a/b");
    world.write_config(
        "{ agents: { defaults: { model: { primary: 'vllm/c', fallbacks: ['vllm/a/b'] } } } } // mine",
    );
    world.run(&["models", "set", "a/b"]).succeeds();
    assert_eq!(
        world.config(),
        r#"{ agents: { defaults: { model: { primary: "vllm/a/b", fallbacks: ['vllm/a/b'] } } } } // mine"#
    );
    let ran = world.run(&["models", "set", "vllm/typo"]);
    assert!(ran.succeeds().err.contains("warning") && ran.err.contains("vllm/typo"), "{ran:?}");
    world.run(&["models", "set", "nobody/x"]).fails(3, &["nobody"]);
}

#[test]
fn a_dead_server_is_one_line_and_others_go_on() {
    let server = Scripted::new().model("alive").serve();
    let config = format!(
        "{{ models: {{ providers: {{ dead: {{ baseUrl: 'http://127.0.0.1:9/v1' }}, live: {{ baseUrl: '{}' }} }} }} }}",
        server.base_url()
    );
    let world = World::with_config(&config);
    let ran = world.run(&["models", "list"]);
    assert!(ran.succeeds().out.contains("live/alive"), "{ran:?}");
    assert_eq!(ran.err.lines().filter(|l| l.contains("127.0.0.1:9")).count(), 1, "{ran:?}");
    world.run(&["models", "list", "--provider", "dead"]).fails(3, &["127.0.0.1:9"]);
    world.run(&["models", "list", "--provider", "live"]).succeeds();
    world.run(&["models", "list", "--provider", "other"]).fails(3, &["no provider `other`", "dead", "live"]);
}

#[test]
fn discovery_is_remembered_with_its_age() {
    let server = Scripted::new().model("m").serve();
    let world = World::with_vllm(&server.base_url());
    world.run(&["models", "list"]).succeeds();
    world.run(&["models", "list"]).succeeds();
    assert_eq!(server.requests().iter().filter(|r| r.path == "/v1/models").count(), 1);
    let list = world.json(&["models", "list", "--json"]);
    assert!(list["providers"][0]["age"].is_u64(), "{list}");
    world.run(&["models", "list", "--refresh"]).succeeds();
    assert_eq!(server.requests().iter().filter(|r| r.path == "/v1/models").count(), 2);
}

#[test]
fn the_smaller_window_holds_and_a_larger_claim_is_said() {
    let server = Scripted::new().model("m").max_model_len(2000).serve();
    let config = format!(
        "{{ models: {{ providers: {{ vllm: {{ baseUrl: '{}', models: [{{ id: 'm', contextWindow: 128000 }}] }} }} }} }}",
        server.base_url()
    );
    let ran = World::with_config(&config).run(&["models", "status", "vllm/m"]);
    assert!(ran.succeeds().out.contains("2,000"), "{ran:?}");
    assert!(ran.err.contains("128000") || ran.err.contains("128,000"), "{ran:?}");
}

#[test]
fn an_unknown_window_is_small_and_said() {
    let server = Scripted::new().model("nobody-knows-this").without_max_model_len().serve();
    let ran = World::with_vllm(&server.base_url()).run(&["models", "status"]);
    assert!(ran.succeeds().out.contains("8,192") && ran.out.contains("assumed"), "{ran:?}");
    assert!(ran.err.contains("warning"), "{ran:?}");
}

#[test]
fn mode_replace_lists_only_what_is_declared() {
    let server = Scripted::new().model("m").serve();
    let world = World::with_vllm(&server.base_url());
    world.write_config(&format!(
        "{{ models: {{ mode: 'replace', providers: {{ mine: {{ baseUrl: '{}', models: [{{ id: 'x', contextWindow: 9000, maxTokens: 100 }}] }} }} }} }}",
        server.base_url()
    ));
    let names = |world: &World| {
        let list = world.json(&["models", "list", "--json"]);
        list["models"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m["model"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&world), ["mine/x"]);
    world.run(&["config", "set", "models.mode", "merge"]).succeeds();
    assert_eq!(names(&world), ["mine/x", "vllm/m"]);
}
