//! `chela config` through the binary; the rules themselves are tested in the crate `config`.

use crate::world::World;

const COMMENTED: &str = "// my server\n{\n  models: { // here\n    providers: {\n      vllm: { baseUrl: 'http://127.0.0.1:1/v1', apiKey: 'sk-very-secret', timeoutSeconds: 0x10 },\n    },\n  },\n}\n";

#[test]
fn set_and_unset_keep_every_comment_and_back_up() {
    let world = World::with_config(COMMENTED);
    world.run(&["config", "set", "models.providers.vllm.timeoutSeconds", "600"]).succeeds();
    assert_eq!(world.config(), COMMENTED.replace("0x10", "600"));
    assert_eq!(std::fs::read_to_string(world.home().join("chela.json5.bak")).unwrap(), COMMENTED);
    world.run(&["config", "unset", "models.providers.vllm.timeoutSeconds"]).succeeds();
    assert!(world.config().contains("// my server") && world.config().contains("// here"));
    assert!(!world.config().contains("timeoutSeconds"));
    let ran = world.run(&["config", "set", "models.providers.vllm.timeoutSeconds", "soon"]);
    ran.fails(2, &["timeoutSeconds", "expected", "nothing was changed"]);
    assert!(!world.config().contains("soon"));
}

#[test]
fn set_makes_the_file() {
    let world = World::new();
    world.run(&["config", "set", "agents.defaults.model", "vllm/a/b"]).succeeds();
    assert_eq!(world.run(&["config", "get", "agents.defaults.model"]).out, "vllm/a/b\n");
}

#[test]
fn a_secret_is_never_shown() {
    let world = World::with_config(COMMENTED).env("CHELA_LOG", "trace");
    for args in [
        &["config", "get"][..],
        &["config", "get", "models.providers.vllm.apiKey"],
        &["config", "validate"],
        &["models", "list"],
        &["models", "list", "--json"],
        &["doctor", "--json"],
        &["agent", "-m", "hi", "--model", "vllm/x"],
    ] {
        let ran = world.run(args);
        assert!(!ran.out.contains("very-secret") && !ran.err.contains("very-secret"), "{args:?}: {ran:?}");
    }
    assert!(world.run(&["config", "get", "models.providers.vllm.apiKey"]).out.contains("***"));
    let all = world.json(&["config", "get"]);
    assert_eq!(all["models"]["providers"]["vllm"]["timeoutSeconds"], 16, "{all}");
    let log = std::fs::read_to_string(world.home().join("logs/chela.log")).unwrap();
    assert!(!log.contains("very-secret"));
}

#[test]
fn errors_come_all_at_once_with_place_and_caret() {
    let world =
        World::with_config("{\n  models: { mode: 'both', providers: { vllm: { baseUrl: 7 } } },\n}\n");
    for args in [&["models", "list"][..], &["agent", "-m", "hi"], &["doctor"]] {
        let ran = world.run(args);
        ran.fails(2, &["chela.json5:2:19", "chela.json5:2:", "^", "expected", "found", "baseUrl"]);
    }
    world.run(&["config", "validate"]).fails(2, &["2 errors"]);
    let ran = world.run(&["config", "validate", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&value["valid"], value["findings"].as_array().unwrap().len()), (&false.into(), 2));
}

#[test]
fn unknown_keys_warn_and_openclaws_are_counted() {
    let world = World::with_config(
        "{ agents: { defaults: { modle: 'x', heartbeat: { every: '30m' } } }, gateway: { mode: 'local' } }",
    );
    let ran = world.run(&["models", "list"]);
    for part in ["modle", "did you mean", "model", "2 keys of OpenClaw have no effect here"] {
        assert!(ran.succeeds().err.contains(part), "{ran:?}");
    }
    let ran = world.run(&["config", "validate"]);
    assert!(
        ran.succeeds().out.contains("gateway") && ran.out.contains("agents.defaults.heartbeat"),
        "{ran:?}"
    );
}

#[test]
fn schema_and_path() {
    let world = World::new();
    assert!(world.json(&["config", "schema"])["properties"]["models"].is_object());
    assert_eq!(world.run(&["config", "path"]).out.trim(), world.config_file().display().to_string());
    let other = world.work().join("o.json5");
    let flag = other.display().to_string();
    assert_eq!(world.run(&["config", "path", "--config", &flag]).out.trim(), flag);
    world.run(&["models", "list", "--config", &flag]).fails(2, &["o.json5", "--config"]);
}
