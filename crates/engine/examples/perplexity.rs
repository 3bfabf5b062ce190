//! The perplexity of a text: of a model as it is stored, and with its float weights rounded to 8 and to 4 bits.
//!
//! A `.jsonl` file has a document a line, `{"prefix": …, "text": …}`: the prefix is context, and only the
//! text counts. Any other file is one document. A document beyond the window, or 2,048 tokens, is cut, and
//! each part begins anew; the first token of a document without prefix is not predicted. Prints JSON.

#![allow(clippy::print_stdout)]

use std::{error::Error, fs, path::Path};

use chela_engine::engine::{Engine, EngineOptions, Output, Request};
use chela_engine::model::Quantization;
use chela_engine::sampler::SamplingParams;
use serde_json::{Value, json};

const USAGE: &str = "usage: perplexity MODEL TEXT [--quantization none|int8|int4]";
const LONGEST: usize = 2048;

struct Document {
    prefix: String,
    text: String,
}

/// Tokens that were predicted, and the sum of their negative log-probabilities.
#[derive(Clone, Copy, Default)]
struct Loss {
    tokens: usize,
    nats: f64,
}

impl Loss {
    fn perplexity(self) -> f64 {
        (self.nats / self.tokens as f64).exp()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (model, text, wanted) = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [model, text] => (model, text, vec!["none", "int8", "int4"]),
        [model, text, "--quantization", kind @ ("none" | "int8" | "int4")] => (model, text, vec![kind]),
        _ => return Err(USAGE.into()),
    };
    let documents = documents(Path::new(text))?;
    let mut losses = serde_json::Map::new();
    let mut stored = None;
    for kind in wanted {
        let quantization = match kind {
            "int8" => Some(Quantization::Int8),
            "int4" => Some(Quantization::Int4),
            _ => None,
        };
        let loss = measure(Path::new(model), quantization, &documents)?;
        if loss.tokens == 0 {
            return Err(format!("{text} has no token to predict").into());
        }
        let mut of = json!({"perplexity": loss.perplexity(), "tokens": loss.tokens});
        match (kind, stored) {
            ("none", _) => stored = Some(loss.perplexity()),
            (_, Some(stored)) => of["percentAbove"] = (100.0 * (loss.perplexity() / stored - 1.0)).into(),
            _ => {}
        }
        losses.insert(kind.to_owned(), of);
    }
    let report = json!({"documents": documents.len(), "quantization": losses});
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

fn documents(path: &Path) -> Result<Vec<Document>, Box<dyn Error>> {
    let content = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    if path.extension().is_none_or(|end| end != "jsonl") {
        return Ok(vec![Document { prefix: String::new(), text: content }]);
    }
    let document = |(number, line): (usize, &str)| {
        let value: Value = serde_json::from_str(line)?;
        let part = |key: &str| value[key].as_str().map(str::to_owned);
        let text = part("text").ok_or_else(|| format!("{}:{}: no text", path.display(), number + 1))?;
        Ok(Document { prefix: part("prefix").unwrap_or_default(), text })
    };
    content.lines().enumerate().map(document).collect()
}

fn measure(
    model: &Path,
    quantization: Option<Quantization>,
    documents: &[Document],
) -> Result<Loss, Box<dyn Error>> {
    let engine =
        Engine::load(model, &EngineOptions { quantization, ..EngineOptions::default() }, &mut |_| {})?;
    let longest = LONGEST.min(engine.info().sizing.window - 1);
    let mut loss = Loss::default();
    for document in documents {
        let mut ids = engine.tokenizer().encode(&document.prefix, false, true)?;
        let prefix = ids.len();
        ids.extend(engine.tokenizer().encode(&document.text, false, true)?);
        if prefix >= longest {
            return Err(format!("a prefix of {prefix} tokens leaves no room of {longest}").into());
        }
        for part in ids[prefix..].chunks(longest - prefix) {
            score(&engine, [&ids[..prefix], part].concat(), prefix, &mut loss)?;
        }
    }
    Ok(loss)
}

/// Adds the loss of the tokens from `prefix` on.
fn score(engine: &Engine, prompt: Vec<u32>, prefix: usize, loss: &mut Loss) -> Result<(), Box<dyn Error>> {
    let params = SamplingParams { max_tokens: Some(0), prompt_logprobs: Some(0), ..SamplingParams::greedy() };
    let mut handle = engine.submit(Request::new(prompt, params))?;
    while let Some(output) = handle.recv() {
        match output {
            Output::PromptLogprobs(logprobs) => {
                for logprobs in logprobs.iter().skip(prefix).flatten() {
                    loss.tokens += 1;
                    loss.nats -= f64::from(logprobs.chosen.logprob);
                }
            }
            Output::Failed(reason) => return Err(reason.into()),
            Output::Prompt { .. } | Output::Delta(_) => {}
        }
    }
    Ok(())
}
