//! Arguments of the commands that run a model in this process.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

/// A model's files, and how much of the machine it gets.
#[derive(Args, Debug, Clone)]
pub struct LocalModel {
    /// A .gguf file (any part of a split one) or a Hugging Face folder.
    #[arg(value_name = "MODEL", value_hint = ValueHint::AnyPath)]
    pub model: PathBuf,
    /// The window: tokens of a request, prompt and answer together [default: as many as fit].
    #[arg(long, value_name = "TOKENS")]
    pub context: Option<usize>,
    /// Memory that the process may take, such as 6G [default: nine tenths of what is free].
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Bytes>,
    /// Round float weights while they are loaded.
    #[arg(long, value_name = "KIND")]
    pub quantization: Option<Rounding>,
    /// How keys and values are cached.
    #[arg(long, value_name = "KIND", default_value = "f16")]
    pub kv_cache_dtype: CacheType,
}

/// Rounding of float weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rounding {
    /// 8 bits with a scale per 32 weights.
    Int8,
    /// 4 bits with a scale per 32 weights; embedding and head get 8.
    Int4,
}

/// Types of cached keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CacheType {
    /// Half precision.
    F16,
    /// bfloat16.
    Bf16,
}

/// A size in bytes: `512M`, `6G`, `1.5GiB` or a plain number. Units are powers of 1,024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected a size such as 512M, 6G or 1.5GiB, got {text:?}");
        let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(at);
        let shift = match unit.trim().to_ascii_lowercase().trim_end_matches("ib").trim_end_matches('b') {
            "" => 0,
            "k" => 10,
            "m" => 20,
            "g" => 30,
            "t" => 40,
            _ => return Err(wrong()),
        };
        let bytes = number.parse::<f64>().map_err(|_| wrong())? * f64::from(1u32 << 10).powi(shift / 10);
        if bytes >= 1.0 && bytes < u64::MAX as f64 { Ok(Self(bytes as u64)) } else { Err(wrong()) }
    }
}

/// `chela models show`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chela models show Qwen3-0.6B-Q8_0.gguf
  chela models show ~/models/Qwen3-4B --quantization int4 --context 16384
  chela models show model.gguf --json | jq .fits

Exit codes: 0 it runs here; 3 it does not, and why.")]
pub struct Show {
    /// The model.
    #[command(flatten)]
    pub local: LocalModel,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `chela models cache`.
#[derive(Debug, Subcommand)]
pub enum Cache {
    /// List the models whose repacked weights are kept.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove the repacked weights of a model, or of all.
    #[command(
        after_help = "Examples:\n  chela models cache remove Qwen3-0.6B-Q8_0.gguf\n  chela models cache remove --all"
    )]
    Remove {
        /// The model.
        #[arg(value_name = "MODEL", value_hint = ValueHint::AnyPath, required_unless_present = "all")]
        model: Option<PathBuf>,
        /// Those of every model.
        #[arg(long, conflicts_with = "model")]
        all: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// `chela models bench`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chela models bench Qwen3-0.6B-Q8_0.gguf
  chela models bench ~/models/Qwen3-4B --quantization int4 --threads 1,2,4
  chela models bench model.gguf --batches 1,8 --prompts 512 --json

Each figure is a median. MEMORY is the rate at which weights, keys and values were read, and its share of
what all threads can read, measured beside it; COMPUTE is the rate of multiplications and additions, and its
share of the most that these threads do with operands of this type.")]
pub struct Bench {
    /// The model.
    #[command(flatten)]
    pub local: LocalModel,
    /// Numbers of threads [default: one per core].
    #[arg(long, value_name = "N,…", value_delimiter = ',')]
    pub threads: Vec<usize>,
    /// Lengths of prompts.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [64, 512])]
    pub prompts: Vec<usize>,
    /// Numbers of sequences that decode together.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 2, 4, 8, 16])]
    pub batches: Vec<usize>,
    /// Tokens that each of them has before.
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub depth: usize,
    /// Measured steps of each kind.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: u32,
    /// Neither use nor keep repacked weights on disk.
    #[arg(long)]
    pub no_panel_cache: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `chela generate`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chela generate Qwen3-0.6B-Q8_0.gguf -p 'The capital of France is' --max-tokens 16
  chela generate ~/models/Qwen3-4B --quantization int8 --chat -p 'Why is the sky blue?'
  git log -5 | chela generate model.gguf --chat --system 'Summarise.' --temperature 0
  chela generate model.gguf --chat -p 'A random person' --json-schema '{\"type\":\"object\"}'
  chela generate model.gguf -p '2+2=' --max-tokens 1 --logprobs 5 --json | jq .choices

Sampling starts from what the model's own generation config recommends.")]
pub struct Generate {
    /// The model.
    #[command(flatten)]
    pub local: LocalModel,
    /// The prompt. Without it, standard input is the prompt.
    #[arg(short, long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Take the prompt for a user's message and put it through the model's chat template.
    #[arg(long)]
    pub chat: bool,
    /// The system message before it.
    #[arg(long, value_name = "TEXT", requires = "chat")]
    pub system: Option<String>,
    /// Whether the model thinks, if its template lets one choose.
    #[arg(long, value_name = "BOOL", requires = "chat")]
    pub enable_thinking: Option<bool>,
    /// Threads that compute [default: one per core].
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Neither use nor keep repacked weights on disk.
    #[arg(long)]
    pub no_panel_cache: bool,
    /// Sampling.
    #[command(flatten)]
    pub sampling: Sampling,
    /// What the answer must be.
    #[command(flatten)]
    pub structure: Structure,
    /// Print one JSON object at the end instead of the text as it comes.
    #[arg(long)]
    pub json: bool,
}

/// How to sample; the names are vLLM's.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Sampling")]
pub struct Sampling {
    /// Most tokens to generate [default: the rest of the window].
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<usize>,
    /// Tokens before which nothing ends the answer.
    #[arg(long, value_name = "N")]
    pub min_tokens: Option<usize>,
    /// 0 takes the likeliest token; higher is more random.
    #[arg(long, value_name = "T")]
    pub temperature: Option<f32>,
    /// Keep the likeliest tokens that together reach this probability.
    #[arg(long, value_name = "P")]
    pub top_p: Option<f32>,
    /// Keep so many of the likeliest tokens; 0 keeps all.
    #[arg(long, value_name = "N")]
    pub top_k: Option<u32>,
    /// Drop tokens less likely than this share of the likeliest.
    #[arg(long, value_name = "P")]
    pub min_p: Option<f32>,
    /// Above 1 makes tokens of prompt and answer less likely.
    #[arg(long, value_name = "X")]
    pub repetition_penalty: Option<f32>,
    /// Taken from the logits of tokens in the answer.
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub presence_penalty: Option<f32>,
    /// Taken once per occurrence in the answer.
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub frequency_penalty: Option<f32>,
    /// Add to the logit of a token id; may be given several times.
    #[arg(long, value_name = "ID=BIAS", value_parser = bias)]
    pub logit_bias: Vec<(u32, f32)>,
    /// Make the answer reproducible.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Number of answers.
    #[arg(short, value_name = "N", default_value_t = 1)]
    pub n: usize,
    /// Log-probabilities of each token and so many alternatives.
    #[arg(long, value_name = "N")]
    pub logprobs: Option<u32>,
    /// The same for the tokens of the prompt.
    #[arg(long, value_name = "N")]
    pub prompt_logprobs: Option<u32>,
    /// Print the prompt before the answer.
    #[arg(long)]
    pub echo: bool,
    /// A text that ends the answer; may be given several times.
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// A token id that ends the answer; may be given several times.
    #[arg(long, value_name = "ID")]
    pub stop_token_id: Vec<u32>,
    /// Keep the text that ended the answer.
    #[arg(long)]
    pub include_stop: bool,
    /// Go on after the model's end token.
    #[arg(long)]
    pub ignore_eos: bool,
    /// A text that must not occur; may be given several times.
    #[arg(long, value_name = "TEXT")]
    pub bad_word: Vec<String>,
    /// The only token ids that may occur.
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    pub allowed_token_ids: Option<Vec<u32>>,
    /// Show special tokens in the answer.
    #[arg(long)]
    pub show_special_tokens: bool,
}

/// A grammar for the answer.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Structured output")]
#[group(multiple = false)]
pub struct Structure {
    /// The answer is JSON of this schema: JSON text, or @FILE.
    #[arg(long, value_name = "SCHEMA")]
    pub json_schema: Option<String>,
    /// The answer matches this regular expression as a whole.
    #[arg(long, value_name = "REGEX")]
    pub regex: Option<String>,
    /// The answer is one of these; may be given several times.
    #[arg(long, value_name = "TEXT")]
    pub choice: Vec<String>,
    /// The answer follows this grammar in llguidance's dialect of Lark: its text, or @FILE.
    #[arg(long, value_name = "LARK")]
    pub grammar: Option<String>,
}

fn bias(text: &str) -> Result<(u32, f32), String> {
    let wrong = || format!("expected a token id and a number, such as 42=-1.5, got {text:?}");
    let (id, bias) = text.split_once('=').ok_or_else(wrong)?;
    Ok((id.trim().parse().map_err(|_| wrong())?, bias.trim().parse().map_err(|_| wrong())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in
            [("1", 1), ("512M", 512 << 20), ("6g", 6 << 30), ("1.5GiB", 3 << 29), ("8 KB", 8192)]
        {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for text in ["", "G", "1X", "-1", "1.2.3G", "0"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_bias_is_an_id_and_a_number() {
        assert_eq!(bias("42=-1.5"), Ok((42, -1.5)));
        assert!(bias("42").is_err() && bias("x=1").is_err() && bias("1=x").is_err());
    }
}
