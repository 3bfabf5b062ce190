//! `chela auth` through the binary.

use std::os::unix::fs::PermissionsExt;

use chela_server::Scripted;

use crate::world::World;

#[test]
fn a_profile_opts_in_to_the_implicit_provider_and_is_sent() {
    let server = Scripted::new().model("m").api_key("sk-kept").serve();
    let world = World::with_vllm(&server.base_url());
    world.run(&["models", "list", "--provider", "vllm", "--refresh"]).fails(3, &["401"]);
    world.run_with_stdin(&["auth", "add", "vllm"], "sk-kept\n").succeeds();
    let mode = std::fs::metadata(world.home().join("auth.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(world.run(&["models", "list", "--refresh"]).succeeds().out.contains("vllm/m"));
    let ran = world.run(&["auth", "list", "--json"]);
    assert!(ran.out.contains("vllm") && !ran.out.contains("sk-kept"));
    world.run(&["auth", "remove", "vllm"]).succeeds();
    world.run(&["auth", "remove", "vllm"]).fails(2, &["no key of `vllm`"]);
    world.run(&["models", "list", "--provider", "vllm", "--refresh"]).fails(3, &["401"]);
}

#[test]
fn a_key_is_one_word_from_standard_input() {
    let world = World::new();
    world.run(&["auth", "add", "vllm"]).fails(2, &["no key on standard input", "printf"]);
    world.run_with_stdin(&["auth", "add", "vllm"], "two words").fails(2, &["one word"]);
}
