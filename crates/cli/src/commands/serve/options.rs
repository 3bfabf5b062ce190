//! From flags to the settings of the server and its engine.

use std::path::Path;
use std::time::Duration;

use chela_chat::Dialect;
use chela_config::{Env, env};
use chela_engine::engine::EngineOptions;
use chela_engine::model::{PanelCache, Quantization};
use chela_kernels::{Isa, KvType};
use chela_server::{Options, REASONING_PARSERS, ReasoningRule, ServeSettings};
use serde_json::{Map, Value};

use super::args::Serve;
use crate::exit::Failure;
use crate::local::PANEL_LIMIT;

/// How the engine computes.
///
/// # Errors
/// A value that cannot be read.
pub fn engine(args: &Serve, cache: Option<&Path>, env: &Env) -> Result<EngineOptions, Failure> {
    let context = match args.max_model_len.as_deref() {
        None | Some("auto" | "-1") => None,
        Some(text) => Some(tokens(text).ok_or_else(|| {
            wrong("--max-model-len", text, "a number of tokens such as 32768, 32k, or auto")
        })?),
    };
    let isa = env.get(env::CHELA_ISA).map(str::parse::<Isa>).transpose();
    let isa = isa.map_err(|error| Failure::usage(format!("{}: {error}", env::CHELA_ISA)))?;
    let quantization = match args.quantization.as_deref() {
        None | Some("none" | "gguf") => None,
        Some("int8" | "w8") => Some(Quantization::Int8),
        Some("int4" | "w4") => Some(Quantization::Int4),
        Some(other) => {
            return Err(wrong("--quantization", other, "int8 or int4; a quantized model needs no flag"));
        }
    };
    let kv_type = match args.kv_cache_dtype.as_str() {
        "auto" | "float16" | "fp16" | "half" => KvType::F16,
        "bfloat16" | "bf16" => KvType::Bf16,
        other => return Err(wrong("--kv-cache-dtype", other, "auto, float16 or bfloat16")),
    };
    Ok(EngineOptions {
        context,
        memory: args.memory.map(|memory| memory.0),
        isa,
        threads: args.threads,
        quantization,
        panel_cache: cache.map(|folder| PanelCache { folder: folder.join("panels"), limit: PANEL_LIMIT }),
        kv_type,
        max_running: args.max_num_seqs,
        max_batch_tokens: args.max_num_batched_tokens,
        max_waiting: args.max_num_queued_reqs,
        max_waiting_tokens: args.max_num_queued_tokens,
        prefix_cache: !args.no_enable_prefix_caching,
        seed: args.seed,
        ..EngineOptions::default()
    })
}

/// How the model is served.
///
/// # Errors
/// A value that cannot be read, a parser that is not known.
pub fn serving(args: &Serve, model: &str) -> Result<ServeSettings, Failure> {
    let names = match args.served_model_name.is_empty() {
        true => vec![model.to_owned()],
        false => args.served_model_name.clone(),
    };
    let dialect = match args.tool_call_parser.as_deref() {
        None => None,
        Some(name) => Some(Dialect::from_vllm_parser(name).ok_or_else(|| {
            let known =
                "a parser of vLLM that is known here, such as hermes, qwen3_coder, llama3_json or mistral";
            wrong("--tool-call-parser", name, known)
        })?),
    };
    let reasoning = match args.reasoning_parser.as_deref() {
        None => None,
        Some(name) => Some(
            ReasoningRule::from_vllm_parser(name)
                .ok_or_else(|| wrong("--reasoning-parser", name, &REASONING_PARSERS.join(", ")))?,
        ),
    };
    let plain_generation = match args.generation_config.as_str() {
        "auto" => false,
        "vllm" => true,
        other => return Err(wrong("--generation-config", other, "auto or vllm")),
    };
    Ok(ServeSettings {
        names,
        root: model.to_owned(),
        dialect,
        reasoning,
        chat_template: args.chat_template.as_deref().map(template).transpose()?,
        template_kwargs: object(
            "--default-chat-template-kwargs",
            args.default_chat_template_kwargs.as_deref(),
        )?,
        plain_generation,
        generation: object("--override-generation-config", args.override_generation_config.as_deref())?,
        prompt_tokens_details: args.enable_prompt_tokens_details,
    })
}

/// How the router answers.
///
/// # Errors
/// A value that cannot be read.
pub fn answers(args: &Serve, api_keys: Vec<String>) -> Result<Options, Failure> {
    let allowed_origins = match args.allowed_origins.as_deref() {
        None => Vec::new(),
        Some(text) => serde_json::from_str(text)
            .map_err(|_| wrong("--allowed-origins", text, "a list in JSON, such as '[\"*\"]'"))?,
    };
    let seconds = args.sse_keep_alive_interval;
    let keep_alive = if seconds > 0.0 { Duration::try_from_secs_f64(seconds) } else { Ok(Duration::MAX) };
    let keep_alive = keep_alive.map_err(|_| {
        wrong("--sse-keep-alive-interval", &seconds.to_string(), "seconds, or 0 for no comments")
    })?;
    Ok(Options {
        api_keys,
        keep_alive,
        max_logprobs: args.max_logprobs,
        request_id_headers: args.enable_request_id_headers,
        force_usage: args.enable_force_include_usage,
        per_request_metrics: args.enable_per_request_metrics,
        null_content: args.reasoning_parser.is_some(),
        allowed_origins,
        ..Options::default()
    })
}

fn wrong(flag: &str, got: &str, expected: &str) -> Failure {
    Failure::usage(format!("{flag} {got}: expected {expected}"))
}

/// The text of a template: of the file, or, with a brace in it, the text itself.
fn template(text: &str) -> Result<String, Failure> {
    if text.contains('{') {
        return Ok(text.to_owned());
    }
    std::fs::read_to_string(text).map_err(|error| Failure::usage(format!("--chat-template {text}: {error}")))
}

fn object(flag: &str, text: Option<&str>) -> Result<Map<String, Value>, Failure> {
    let Some(text) = text else { return Ok(Map::new()) };
    serde_json::from_str(text).map_err(|error| wrong(flag, text, &format!("an object in JSON ({error})")))
}

/// `32768`, `32k` (thousands) and `32K` (of 1,024), as vLLM reads them.
fn tokens(text: &str) -> Option<usize> {
    let units = [("k", 1_000), ("K", 1 << 10), ("m", 1_000_000), ("M", 1 << 20)];
    let (number, unit) = units
        .iter()
        .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))
        .unwrap_or((text, 1));
    let number: f64 = number.trim().parse().ok()?;
    let tokens = number * unit as f64;
    (tokens >= 1.0 && tokens.fract() == 0.0 && tokens < 1e12).then_some(tokens as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, want) in [
            ("1024", Some(1024)),
            ("32k", Some(32_000)),
            ("32K", Some(32_768)),
            ("1.5k", Some(1500)),
            ("x", None),
            ("0", None),
            ("-1", None),
        ] {
            assert_eq!(tokens(text), want, "{text}");
        }
    }
}
