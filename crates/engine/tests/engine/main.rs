//! The engine as a whole, on the trained tiny model of vLLM's recordings.

#![allow(clippy::unwrap_used)]

mod invariance;
mod panels;
mod recordings;
mod requests;

use std::path::PathBuf;
use std::time::Duration;

use chela_engine::engine::{Delta, Engine, EngineOptions, FinishReason, Handle, Output, Usage};
use chela_engine::sampler::Logprobs;

/// Where vLLM's recorded traffic and the model it served are.
fn recordings_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/vllm-0.32")
}

/// Enough for the tiny model beside what else runs on the machine.
fn options() -> EngineOptions {
    EngineOptions {
        memory: Some(160 << 20),
        threads: Some(2),
        spin: Duration::ZERO,
        ..EngineOptions::default()
    }
}

fn engine(options: &EngineOptions) -> Engine {
    Engine::load(&recordings_folder().join("tiny-model"), options, &mut |_| {}).unwrap()
}

/// All that a request answered.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    prompt_logprobs: Vec<Option<Logprobs>>,
    choices: Vec<Choice>,
    failed: Option<String>,
}

#[derive(Debug, Default, PartialEq)]
struct Choice {
    tokens: Vec<u32>,
    text: String,
    logprobs: Vec<Logprobs>,
    finish: Option<FinishReason>,
    usage: Usage,
}

fn collect(mut handle: Handle, n: usize) -> Answer {
    let mut answer = Answer { choices: (0..n).map(|_| Choice::default()).collect(), ..Answer::default() };
    while let Some(output) = handle.recv_timeout(Duration::from_secs(120)).unwrap() {
        match output {
            Output::Prompt { .. } => {}
            Output::PromptLogprobs(logprobs) => answer.prompt_logprobs = logprobs,
            Output::Failed(reason) => answer.failed = Some(reason),
            Output::Delta(Delta { index, tokens, text, logprobs, finish }) => {
                let choice = &mut answer.choices[index];
                assert!(choice.finish.is_none(), "nothing follows the end");
                choice.tokens.extend(tokens);
                choice.text += &text;
                choice.logprobs.extend(logprobs);
                if let Some((reason, usage)) = finish {
                    (choice.finish, choice.usage) = (Some(reason), usage);
                }
            }
        }
    }
    answer
}
