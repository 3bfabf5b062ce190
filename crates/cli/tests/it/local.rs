//! Models in files through the binary: `models show`, `bench`, `cache` and `generate`, with the tiny
//! model whose greedy answers vLLM recorded.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Command;

use crate::world::{World, finish};

fn model() -> String {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/vllm-0.32");
    fixtures.join("tiny-model").display().to_string()
}

/// A copy of the model whose `config.json` has this field set.
fn changed(world: &World, key: &str, value: serde_json::Value) -> String {
    let to = world.work().join("changed");
    std::fs::create_dir_all(&to).unwrap();
    for file in std::fs::read_dir(model()).unwrap() {
        let file = file.unwrap().path();
        std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
    let config = to.join("config.json");
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    json[key] = value;
    std::fs::write(&config, json.to_string()).unwrap();
    to.display().to_string()
}

#[test]
fn show_tells_what_a_model_is_and_whether_it_runs_here() {
    let world = World::new();
    let shown = world.run(&["models", "show", &model()]);
    for part in
        ["Qwen3ForCausalLM", "451 K (450,560)", "2,048 tokens", "BF16", "hermes", "KV cache", "yes, with"]
    {
        assert!(shown.succeeds().out.contains(part), "no {part:?} in {shown:?}");
    }
    let json =
        world.json(&["models", "show", &model(), "--context", "1024", "--quantization", "int4", "--json"]);
    assert_eq!(json["fits"], true);
    assert_eq!(json["window"], 1024);
    assert_eq!(json["memory"]["context"], 1024);
    // 2 layers of one head of 64, keys and values, 2 bytes each.
    assert_eq!(json["memory"]["cache"], 1024 * 2 * 64 * 2 * 2);
    assert_eq!(json["dialect"], "hermes");
    assert_eq!(json["panels"], serde_json::Value::Null);
}

#[test]
fn what_does_not_run_here_is_refused_with_the_reason() {
    let world = World::new();
    world.run(&["models", "show", "nothing.gguf"]).fails(3, &["no file or folder nothing.gguf"]);
    let ran = world.run(&["models", "show", &model(), "--context", "9999"]);
    assert!(ran.fails(2, &[]).out.contains("the model was made for 2048"), "{ran:?}");
    let ran = world.run(&["models", "show", &model(), "--memory", "20M"]);
    assert!(ran.fails(2, &[]).out.contains("of 20.0 MiB (the given limit)"), "{ran:?}");
    world.run(&["models", "show", &model(), "--memory", "20X"]).fails(2, &["512M, 6G or 1.5GiB"]);

    let other = changed(&world, "architectures", serde_json::json!(["MambaForCausalLM"]));
    let ran = world.run(&["models", "show", &other]);
    assert!(ran.fails(3, &[]).out.contains("\"MambaForCausalLM\" is not supported"), "{ran:?}");
    assert!(ran.out.contains("882.5 KiB in 1 file"), "{ran:?}");
    world.run(&["generate", &other, "-p", "x"]).fails(3, &["\"MambaForCausalLM\" is not supported", "Qwen3"]);
}

#[test]
fn generate_gives_the_recorded_greedy_answer_as_text_and_as_json() {
    let world = World::new();
    let fox = ["generate", &model(), "-p", "The quick brown fox", "--temperature", "0"].map(str::to_owned);
    let run = |more: &[&str]| {
        let args: Vec<&str> = fox.iter().map(String::as_str).chain(more.iter().copied()).collect();
        world.run(&args)
    };
    let ran = run(&[]);
    assert_eq!(ran.succeeds().out, " jumps over the lazy dog.\n");
    for part in ["window 2,048 tokens (the model's own limit)", "loaded in", "ended by the model"] {
        assert!(ran.err.contains(part), "no {part:?} in {ran:?}");
    }
    assert_eq!(run(&["--echo", "--stop", " lazy"]).out, "The quick brown fox jumps over the\n");
    assert_eq!(run(&["--max-tokens", "3", "--quantization", "int8"]).out, " jump\n");
    let ran = run(&["--max-tokens", "1", "--logprobs", "2", "--prompt-logprobs", "0", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&ran.succeeds().out).unwrap();
    assert_eq!(json["choices"][0]["finish_reason"], "length");
    assert_eq!(json["choices"][0]["logprobs"][0]["top"].as_array().unwrap().len(), 2);
    assert_eq!(json["prompt_logprobs"].as_array().unwrap().len(), json["usage"]["prompt_tokens"]);
}

#[test]
fn generate_samples_reproducibly_keeps_to_grammars_and_reads_stdin() {
    let world = World::new();
    let sample =
        ["generate", &model(), "-p", "The", "--temperature", "1.5", "--seed", "7", "--max-tokens", "8"];
    let first = world.run(&[&sample[..], &["-n", "2", "--ignore-eos"]].concat());
    let again = world.run(&[&sample[..], &["-n", "2", "--ignore-eos"]].concat());
    assert_eq!(first.succeeds().out, again.out);
    assert!(first.err.contains("--- answer 2 of 2"), "{first:?}");
    assert_eq!(world.run(&["generate", &model(), "-p", "x", "--choice", "yes"]).out, "yes\n");
    let chat = ["generate", &model(), "--chat", "--system", "Be brief.", "--regex", "[ab]{3}"];
    let ran = world.run_with_stdin(&chat, "Hello");
    assert_eq!(ran.succeeds().out.trim_end().len(), 3, "{ran:?}");

    world
        .run(&["generate", &model(), "-p", "x", "--temperature", "3"])
        .fails(2, &["temperature must be in [0, 2]"]);
    world.run(&["generate", &model(), "-p", &"x y ".repeat(3000)]).fails(2, &["the window holds 2048"]);
    world
        .run(&["generate", &model(), "-p", "x", "--regex", "("])
        .fails(2, &["the grammar cannot be enforced"]);
    world.run(&["generate", &model()]).fails(2, &["no prompt"]);
    let forced = World::new().env("CHELA_ISA", "mmx");
    forced.run(&["generate", &model(), "-p", "x"]).fails(2, &["CHELA_ISA", "\"mmx\"", "generic, avx2"]);
}

#[test]
fn the_instruction_set_is_the_user_s_choice_and_changes_nothing() {
    let answer = |isa: &str| {
        let world = World::new().env("CHELA_ISA", isa);
        world.json(&["generate", &model(), "-p", "The quick brown fox", "--temperature", "0", "--json"])
    };
    let plain = answer("generic");
    assert_eq!(plain["engine"]["isa"], "generic");
    assert_eq!(plain["choices"][0]["text"], " jumps over the lazy dog.");
}

#[test]
fn repacked_weights_are_kept_listed_and_removed() {
    let world = World::new();
    let mapped = || world.run(&["generate", &model(), "-p", "x", "--max-tokens", "1"]).err.contains("mapped");
    assert!(!mapped());
    assert!(mapped());
    let list = world.json(&["models", "cache", "list", "--json"]);
    assert_eq!(list["entries"].as_array().unwrap().len(), 1);
    assert_eq!(list["entries"][0]["quantization"], "as stored");
    assert!(world.json(&["models", "show", &model(), "--json"])["panels"]["bytes"].as_u64() > Some(800_000));
    world.run(&["models", "cache", "remove", &model()]).succeeds();
    world.run(&["models", "cache", "remove", &model()]).fails(1, &["nothing is kept of"]);
    assert!(!mapped());
    world.run(&["models", "cache", "remove", "--all"]).succeeds();
    assert_eq!(world.json(&["models", "cache", "list", "--json"])["entries"], serde_json::json!([]));
}

#[test]
fn bench_tells_rates_beside_what_the_machine_can_do() {
    let world = World::new();
    let args = ["models", "bench", &model(), "--prompts", "16", "--batches", "2", "--steps", "1", "--json"];
    let json = world.json(&args);
    let readings = json["readings"].as_array().unwrap();
    assert_eq!(readings.len(), 2);
    assert_eq!((&readings[0]["work"], &readings[1]["size"]), (&"prefill".into(), &2.into()));
    for figure in ["tokens_per_second", "bandwidth", "peak"] {
        assert!(readings.iter().all(|r| r[figure].as_f64() > Some(0.0)), "{figure}: {json}");
    }
    world.run(&["models", "bench", &model(), "--batches", "0"]).fails(2, &["numbers from 1"]);
}

#[test]
fn an_interrupt_ends_generation_at_once() {
    let world = World::new();
    let args = ["generate", &model(), "-p", "x", "--ignore-eos", "-n", "64", "--temperature", "1.9"];
    let mut child = world.spawn(&args);
    let mut err = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("loaded in") {
        line.clear();
        assert!(err.read_line(&mut line).unwrap() > 0, "ended before it began");
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(finish(child).code, 130);
}
