//! The flags of `chela serve`: vLLM's names where the meaning is the same.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::args::Bytes;

/// `chela serve`.
#[derive(Args, Debug)]
#[command(
    args_override_self = true,
    after_help = "\
Examples:
  chela serve ~/models/Qwen3-4B-Q4_K_M.gguf            at http://127.0.0.1:8000/v1
  chela serve Qwen/Qwen3-0.6B                          from the Hugging Face cache of this machine
  chela serve MODEL --served-model-name qwen --max-model-len 32k --port 8080
  chela serve MODEL --host 0.0.0.0 --api-key \"$KEY\"    for other machines too
  chela serve MODEL --uds /run/user/1000/chela.sock    a socket instead of a port

The flags are vLLM's, with dashes or underscores; those that make no sense on a CPU are accepted with a
note. No flag is needed for tool calls or reasoning: both follow the model's own chat template."
)]
pub struct Serve {
    /// A .gguf file, a folder with safetensors, or the name of a model in the Hugging Face cache.
    #[arg(value_name = "MODEL", value_hint = ValueHint::AnyPath, required_unless_present = "model_flag")]
    pub model: Option<String>,
    /// The same as MODEL.
    #[arg(long = "model", value_name = "MODEL", hide = true, conflicts_with = "model")]
    pub model_flag: Option<String>,
    /// The names that the model answers to; the first stands in answers [default: MODEL].
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub served_model_name: Vec<String>,

    /// The address to listen on. Another one than this machine's own needs a key.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", help_heading = "Listening")]
    pub host: String,
    /// The port; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 8000, help_heading = "Listening")]
    pub port: u16,
    /// A unix socket to listen on instead.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, help_heading = "Listening")]
    pub uds: Option<PathBuf>,
    /// A key that every request must bring; may be given several times [default: $VLLM_API_KEY].
    #[arg(long, value_name = "KEY", num_args = 1.., help_heading = "Listening")]
    pub api_key: Vec<String>,
    /// Origins whose web pages may call, as JSON: '["*"]'.
    #[arg(long, value_name = "JSON", help_heading = "Listening")]
    pub allowed_origins: Option<String>,
    /// Seconds of silence after which a stream gets a comment.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, help_heading = "Listening")]
    pub sse_keep_alive_interval: f64,

    /// The context window: tokens, 32k, or auto for what fits the memory [default: auto].
    #[arg(long, value_name = "TOKENS", help_heading = "Engine")]
    pub max_model_len: Option<String>,
    /// Requests that are computed at once.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least_one, help_heading = "Engine")]
    pub max_num_seqs: usize,
    /// Tokens of a step.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = at_least_one, help_heading = "Engine")]
    pub max_num_batched_tokens: usize,
    /// Requests that may wait; more are answered 429.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = at_least_one, help_heading = "Engine")]
    pub max_num_queued_reqs: usize,
    /// Prompt tokens that may wait.
    #[arg(long, value_name = "N", default_value_t = 4 << 20, value_parser = at_least_one, help_heading = "Engine")]
    pub max_num_queued_tokens: usize,
    /// Share the cache of equal beginnings; this is the default.
    #[arg(long, overrides_with = "no_enable_prefix_caching", help_heading = "Engine")]
    pub enable_prefix_caching: bool,
    /// Do not share it.
    #[arg(long, help_heading = "Engine")]
    pub no_enable_prefix_caching: bool,
    /// Round float weights on load: int8 or int4. Quantized files need nothing.
    #[arg(short, long, value_name = "KIND", help_heading = "Engine")]
    pub quantization: Option<String>,
    /// The type of cached keys and values: auto, float16 or bfloat16.
    #[arg(long, value_name = "TYPE", default_value = "auto", help_heading = "Engine")]
    pub kv_cache_dtype: String,
    /// Memory that the process may take, such as 6GiB [default: nine tenths of what is free].
    #[arg(long, value_name = "SIZE", help_heading = "Engine")]
    pub memory: Option<Bytes>,
    /// Threads that compute [default: one per core].
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Engine")]
    pub threads: Option<usize>,
    /// The seed of requests that bring none.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Engine")]
    pub seed: u64,

    /// A chat template in place of the model's: a file, or the template itself.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Answers")]
    pub chat_template: Option<String>,
    /// Variables of the chat template, as JSON; those of a request win.
    #[arg(long, value_name = "JSON", help_heading = "Answers")]
    pub default_chat_template_kwargs: Option<String>,
    /// Where sampling defaults come from: auto (the model) or vllm (OpenAI's).
    #[arg(long, value_name = "auto|vllm", default_value = "auto", help_heading = "Answers")]
    pub generation_config: String,
    /// Sampling defaults, as JSON, before those of the model.
    #[arg(long, value_name = "JSON", help_heading = "Answers")]
    pub override_generation_config: Option<String>,
    /// Tools may be called without being asked for; always so here.
    #[arg(long, help_heading = "Answers")]
    pub enable_auto_tool_choice: bool,
    /// How the model writes tool calls, by vLLM's name [default: what its chat template shows].
    #[arg(long, value_name = "NAME", help_heading = "Answers")]
    pub tool_call_parser: Option<String>,
    /// What counts as reasoning, by vLLM's name and rule [default: what template or model open].
    #[arg(long, value_name = "NAME", help_heading = "Answers")]
    pub reasoning_parser: Option<String>,
    /// Alternatives per token in log-probabilities; -1 is no limit.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 20,
        allow_negative_numbers = true,
        help_heading = "Answers"
    )]
    pub max_logprobs: i64,
    /// Tell in usage how much of the prompt came from the cache.
    #[arg(long, help_heading = "Answers")]
    pub enable_prompt_tokens_details: bool,
    /// Tell the times of a request in its answer.
    #[arg(long, help_heading = "Answers")]
    pub enable_per_request_metrics: bool,
    /// Send a request's X-Request-Id back.
    #[arg(long, help_heading = "Answers")]
    pub enable_request_id_headers: bool,
    /// Tell usage in every stream.
    #[arg(long, help_heading = "Answers")]
    pub enable_force_include_usage: bool,

    /// No throughput line every ten seconds.
    #[arg(long, help_heading = "Log")]
    pub disable_log_stats: bool,
    /// No line per request.
    #[arg(long, help_heading = "Log")]
    pub disable_log_requests: bool,
    /// A line per request; this is the default.
    #[arg(long, hide = true)]
    pub enable_log_requests: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("expected a number of at least 1".into()),
    }
}
