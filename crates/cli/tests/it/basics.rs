//! Help, completions, exit codes, streams.

use crate::world::World;

#[test]
fn help_names_every_command_and_needs_nothing() {
    let world = World::new();
    let ran = world.run(&["--help"]);
    ran.succeeds();
    for word in
        ["chat", "agent", "models", "config", "auth", "doctor", "completions", "Examples:", "Exit codes:"]
    {
        assert!(ran.out.contains(word), "{word}");
    }
    assert!(ran.err.is_empty());
    assert_eq!(std::fs::read_dir(world.home()).unwrap().count(), 0, "help leaves no file behind");
}

#[test]
fn every_command_has_help() {
    let world = World::new();
    for args in [
        &["chat"][..],
        &["agent"],
        &["models", "list"],
        &["models", "status"],
        &["models", "set"],
        &["models", "scan"],
        &["config", "get"],
        &["config", "set"],
        &["config", "unset"],
        &["config", "validate"],
        &["config", "schema"],
        &["config", "path"],
        &["auth", "add"],
        &["auth", "list"],
        &["auth", "remove"],
        &["setup"],
        &["doctor"],
        &["completions"],
    ] {
        let ran = world.run(&[args, &["--help"]].concat());
        assert!(ran.code == 0 && ran.out.contains("Usage: chela"), "{args:?}: {ran:?}");
    }
}

#[test]
fn a_wrong_command_line_is_2_and_suggests() {
    let ran = World::new().run(&["modles"]);
    ran.fails(2, &["models"]);
    assert!(ran.out.is_empty());
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = World::new().run(&["completions", shell]);
        assert!(ran.succeeds().out.contains("chela"), "{shell}");
    }
}

#[test]
fn without_home_the_remedy_is_named() {
    let world = World::new();
    let output = world.command(&["models", "list"]).env_remove("CHELA_HOME").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("CHELA_HOME"));
}

#[test]
fn the_log_is_a_file_and_never_on_stdout() {
    let world = World::new().env("CHELA_LOG", "debug");
    let ran = world.run(&["models", "list"]);
    assert!(!ran.out.contains("DEBUG"), "{ran:?}");
    assert!(world.home().join("logs/chela.log").exists());
    World::new()
        .env("CHELA_LOG", "a=b=c")
        .run(&["models", "list"])
        .fails(2, &["CHELA_LOG", "a=b=c", "examples"]);
}
