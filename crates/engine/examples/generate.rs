//! Completes a prompt greedily: `generate MODEL PROMPT [MAX_TOKENS] [int8|int4]`.

use std::io::{Write, stderr, stdout};
use std::path::Path;
use std::time::Instant;

use chela_engine::engine::{Engine, EngineOptions, Output, Request};
use chela_engine::model::Quantization;
use chela_engine::sampler::SamplingParams;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().collect();
    let [_, model, prompt, more @ ..] = args.as_slice() else {
        return Err("usage: generate MODEL PROMPT [MAX_TOKENS] [int8|int4]".into());
    };
    let max_tokens = more.first().map_or(Ok(64), |n| n.parse())?;
    let quantization = match more.get(1).map(String::as_str) {
        None => None,
        Some("int8") => Some(Quantization::Int8),
        Some("int4") => Some(Quantization::Int4),
        Some(other) => return Err(format!("unknown quantization {other:?}; known are int8 and int4").into()),
    };
    let options = EngineOptions { quantization, ..EngineOptions::default() };
    let began = Instant::now();
    let engine = Engine::load(Path::new(model), &options, &mut |_| {})?;
    let info = engine.info();
    let mut log = stderr();
    writeln!(log, "{}", info.spec)?;
    writeln!(
        log,
        "{:?} on {} with {} threads; window {}, {}; loaded in {:.2?}",
        info.formats,
        info.isa,
        info.threads,
        info.sizing.window,
        info.sizing.reason,
        began.elapsed()
    )?;
    let prompt = engine.tokenizer().encode(prompt, true, true)?;
    let params = SamplingParams { max_tokens: Some(max_tokens), ..SamplingParams::greedy() };
    let mut handle = engine.submit(Request::new(prompt, params))?;
    while let Some(output) = handle.recv() {
        match output {
            Output::Delta(delta) => {
                write!(stdout(), "{}", delta.text)?;
                stdout().flush()?;
                if let Some((reason, usage)) = delta.finish {
                    let decode = (usage.total - usage.first_token).as_secs_f64();
                    let rate = (usage.completion_tokens.saturating_sub(1)) as f64 / decode;
                    writeln!(log, "\n{reason:?} {usage:?} {rate:.1} tokens/s")?;
                }
            }
            Output::Failed(reason) => return Err(reason.into()),
            Output::Prompt { .. } | Output::PromptLogprobs(_) => {}
        }
    }
    Ok(())
}
