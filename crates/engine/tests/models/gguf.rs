//! Tiny GGUF files against llama.cpp; see `make_gguf_fixtures.py`.

use std::path::PathBuf;

use chela_engine::formats::Source;
use chela_engine::spec::ModelSpec;
use chela_kernels::{Isa, Kernels};

use crate::fast::{Runner, rms_difference};
use crate::interpreter::interpreter;

/// Each file with the root mean square by which we may differ from llama.cpp, relative to that of the
/// log-probabilities. llama.cpp rounds activations to 8 bits, per 32 values before Q8_0 and Q4_0 and per
/// 256 before K-quants, and to the weights' type before F16 and BF16. The kernels do the same but for
/// K-quants, where they round per 32, and F16, where they do not; the interpreter rounds nothing.
const FILES: [(&str, f32); 4] =
    [("qwen3-q8_0", 0.01), ("llama-q4_0-f16", 0.01), ("mistral3-bf16", 0.005), ("llama-k-quants", 0.02)];

fn open(name: &str) -> (Source, Vec<u32>, Vec<usize>, Vec<Vec<f32>>) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gguf-models");
    let source = Source::open(&folder.join(format!("{name}.gguf"))).unwrap();
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join(format!("{name}.json"))).unwrap()).unwrap();
    let numbers =
        |v: &serde_json::Value| v.as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect::<Vec<_>>();
    let prompt = numbers(&json["prompt"]).into_iter().map(|n| n as u32).collect();
    let lengths = numbers(&json["lengths"]).into_iter().map(|n| n as usize).collect();
    let rows = json["logprobs"].as_array().unwrap();
    (
        source,
        prompt,
        lengths,
        rows.iter().map(|row| numbers(row).into_iter().map(|n| n as f32).collect()).collect(),
    )
}

/// Log-probabilities after prompts of these lengths.
fn logprobs(logits: &[Vec<f32>], lengths: &[usize]) -> Vec<Vec<f32>> {
    let one = |row: &Vec<f32>| {
        let sum = Kernels::detect().log_sum_exp(row);
        row.iter().map(|l| l - sum).collect()
    };
    lengths.iter().map(|n| one(&logits[n - 1])).collect()
}

#[test]
fn gguf_models_agree_with_llama_cpp() {
    for (name, bound) in FILES {
        let (source, prompt, lengths, expected) = open(name);
        let spec = || ModelSpec::from_source(&source).unwrap();
        let check = |what: &str, logits: &[Vec<f32>]| {
            let d = rms_difference(&logprobs(logits, &lengths), &expected);
            assert!(d < bound, "{name} by {what}: {d}");
        };
        check("the interpreter", &interpreter(&source, spec()).run(&prompt).logits);
        for isa in Isa::available() {
            let mut runner = Runner::of((open(name).0, spec()), isa, 2, None);
            check(&isa.to_string(), &runner.prompt(&prompt));
        }
    }
}
