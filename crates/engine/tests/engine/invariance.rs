//! An answer does not depend on what else happens.

use std::time::Duration;

use chela_engine::engine::{Engine, EngineOptions, Handle, Request};
use chela_engine::formats::Source;
use chela_engine::model::{Plan, Quantization};
use chela_engine::sampler::{Logprobs, SamplingParams};
use chela_engine::spec::ModelSpec;
use chela_kernels::Isa;

use crate::{Answer, collect, engine, options, recordings_folder};

/// Prompts of many lengths that share beginnings, half of them sampled.
fn requests(engine: &Engine) -> Vec<Request> {
    let text = "The quick brown fox jumps over the lazy dog. def add(a, b):\n    return a + b\n".repeat(6);
    let ids = engine.tokenizer().encode(&text, false, false).unwrap();
    (0..9)
        .map(|i| {
            let params = SamplingParams {
                max_tokens: Some(40 + 3 * i),
                ignore_eos: true,
                temperature: if i % 2 == 0 { 0.0 } else { 1.3 },
                seed: Some(i as u64),
                logprobs: Some(3),
                ..SamplingParams::default()
            };
            // A third shares a beginning with nothing else.
            let from = if i % 3 == 2 { i } else { 0 };
            let prompt = ids[from..from + (ids.len() - from) / (1 + i / 3)].to_vec();
            Request { client: format!("{}", i % 4), ..Request::new(prompt, params) }
        })
        .collect()
}

/// What must be equal to the last bit.
type Content = (Vec<u32>, String, Vec<Logprobs>);

fn content(mut answer: Answer) -> Content {
    assert_eq!(answer.failed, None);
    let choice = answer.choices.remove(0);
    (choice.tokens, choice.text, choice.logprobs)
}

fn one_by_one(engine: &Engine) -> Vec<Content> {
    requests(engine).into_iter().map(|r| content(collect(engine.submit(r).unwrap(), 1))).collect()
}

fn check(isa: Isa, quantization: Option<Quantization>) {
    let base = EngineOptions { isa: Some(isa), quantization, prefix_cache: false, ..options() };
    let plain = engine(&EngineOptions { threads: Some(1), ..base.clone() });
    let alone = one_by_one(&plain);

    // All at once, in short steps, with shared prefixes, on little memory.
    let tight = with_blocks(
        17,
        EngineOptions {
            prefix_cache: true,
            context: Some(512),
            max_running: 8,
            max_batch_tokens: 48,
            step_target: Duration::from_micros(1),
            ..base
        },
    );
    let shared = engine(&tight);
    let handles: Vec<Handle> = requests(&shared).into_iter().map(|r| shared.submit(r).unwrap()).collect();
    let together: Vec<_> = handles.into_iter().map(|h| content(collect(h, 1))).collect();
    assert!(alone == together, "{isa} {quantization:?}: batched and chunked");
    assert!(shared.stats().preemptions > 0, "{:?}", shared.stats());

    // Once more, with everything in the prefix cache.
    let again = one_by_one(&shared);
    assert!(alone == again, "{isa} {quantization:?}: from the prefix cache");
    assert!(shared.stats().cached_tokens > 0);
}

/// The same with just enough memory for so many blocks.
fn with_blocks(blocks: usize, options: EngineOptions) -> EngineOptions {
    let source = Source::open(&recordings_folder().join("tiny-model")).unwrap();
    let spec = ModelSpec::from_source(&source).unwrap();
    let plan = Plan::compile(&spec).unwrap();
    let fits = |memory: u64| {
        let options = EngineOptions { memory: Some(memory), ..options.clone() };
        options.size(&spec, &plan, &source).is_ok_and(|sizing| sizing.blocks >= blocks)
    };
    let (mut low, mut high) = (0u64, 1 << 30);
    while low + 1 < high {
        let middle = low.midpoint(high);
        *if fits(middle) { &mut high } else { &mut low } = middle;
    }
    EngineOptions { memory: Some(high), ..options }
}

#[test]
fn answers_have_the_same_bits_alone_batched_chunked_preempted_and_cached() {
    for isa in Isa::available() {
        check(isa, None);
    }
    check(Isa::detect(), Some(Quantization::Int8));
    check(Isa::detect(), Some(Quantization::Int4));
}
