//! `chela doctor` through the binary.

use chela_server::{Canned, Scripted, Turn};

use crate::world::World;

#[test]
fn all_is_well() {
    let server = Scripted::new().model("m").max_model_len(4096).turn(Turn::text("ok")).serve();
    let ran = World::with_vllm(&server.base_url()).env("VLLM_API_KEY", "k").run(&["doctor"]);
    for part in ["server vllm", "VLLM_API_KEY", "vllm/m", "4,096 tokens (server)", "first token"] {
        assert!(ran.succeeds().out.contains(part), "{part}: {ran:?}");
    }
    assert!(!ran.out.contains("problem"), "{ran:?}");
}

#[test]
fn each_problem_has_its_fix() {
    let world = World::with_vllm("http://127.0.0.1:9/v1");
    let ran = world.run(&["doctor"]);
    assert_eq!(ran.code, 3);
    assert!(ran.out.contains("problem") && ran.out.contains("http://127.0.0.1:9/v1"), "{ran:?}");

    let server = Scripted::new().model("m").serve();
    let world = World::with_vllm(&server.base_url());
    world.write_config("{ agents: { defaults: { model: 'vllm/gone' } } }");
    let ran = world.run(&["doctor"]);
    assert_eq!(ran.code, 3);
    assert!(ran.out.contains("vllm/gone") && ran.out.contains("fix: chela models set"), "{ran:?}");

    let ran = World::with_config(
        "{ models: { providers: { vllm: { baseUrl: 'http://127.0.0.1:9/v1', apiKey: '${NOT_SET}' } } } }",
    )
    .run(&["doctor"]);
    assert_eq!(ran.code, 2);
    assert!(ran.out.contains("NOT_SET") && ran.out.contains("fix:"), "{ran:?}");
}

/// It ended the whole check.
#[test]
fn a_workspace_that_is_gone_is_one_problem_among_the_checks() {
    let server = Scripted::new().model("m").turn(Turn::text("ok")).serve();
    let world = World::with_vllm(&server.base_url());
    world.write_config("{ agents: { defaults: { workspace: '/no/such/folder' } } }");
    let ran = world.run(&["doctor"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.out.contains("/no/such/folder") && ran.out.contains("server vllm"), "{ran:?}");
}

#[test]
fn json_is_one_list() {
    let html = Canned::new(200, "text/html", "<html>It works</html>");
    let server = Scripted::new().route("GET", "/v1/models", html).serve();
    let ran = World::with_vllm(&server.base_url()).run(&["doctor", "--json"]);
    assert_eq!(ran.code, 3);
    let checks: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let problem = checks.as_array().unwrap().iter().find(|c| c["verdict"] == "problem").unwrap();
    assert!(problem["found"].as_str().unwrap().contains("a web page answered"), "{problem}");
}
