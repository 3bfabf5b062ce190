//! `chela bench serve`: loads any OpenAI-compatible server and measures it.
//!
//! What a figure means is what `vllm bench serve` means by it (vLLM 0.32); see [`report`].

mod load;
mod report;
mod work;

use std::io::IsTerminal;
use std::time::Instant;

use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::commands::agent::wait_for_interrupt;
use crate::context::{Context, runtime};
use crate::exit::{Code, Failure, Outcome};
use crate::output::{self, say};
use load::Target;
use report::Report;

/// `chela bench`.
#[derive(Subcommand, Debug)]
pub enum BenchCommand {
    /// Load an OpenAI-compatible server and measure it, as `vllm bench serve` does.
    Serve(BenchServe),
}

/// Which requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Endpoint {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completions,
}

/// `chela bench serve`.
#[derive(Args, Debug, Clone)]
#[command(after_help = "\
Examples:
  chela bench serve --base-url http://127.0.0.1:8000 --model qwen3
  chela bench serve --num-prompts 200 --request-rate 4        four requests a second, as they come
  chela bench serve --max-concurrency 16 --input-len 1024 --output-len 128 --prefix-len 512
  chela bench serve --json > run.json

TTFT is the time to the first token, TPOT the time per output token after it, ITL the time between two
pieces of a stream, E2EL the time to the last token. A key is taken from OPENAI_API_KEY.
Exit code 1 if a request failed, 3 if the server does not answer.")]
pub struct BenchServe {
    /// Where the server listens; `/v1` is added where it is missing.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000")]
    pub base_url: String,
    /// The model [default: the first that the server lists].
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// The kind of request.
    #[arg(long, value_name = "KIND", default_value = "chat")]
    pub endpoint: Endpoint,
    /// Requests to send.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub num_prompts: u32,
    /// Requests that are sent and not counted, before the others.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub num_warmups: u32,
    /// Requests a second, at random times (a Poisson process); `inf` sends all at once.
    #[arg(long, value_name = "RATE", default_value = "inf", value_parser = rate)]
    pub request_rate: f64,
    /// Requests under way at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_concurrency: Option<u32>,
    /// Tokens of a prompt, beside the shared prefix.
    #[arg(long, visible_alias = "random-input-len", value_name = "TOKENS", default_value_t = 256)]
    pub input_len: u32,
    /// Tokens to generate.
    #[arg(long, visible_alias = "random-output-len", value_name = "TOKENS", default_value_t = 64)]
    pub output_len: u32,
    /// Tokens that all prompts begin with.
    #[arg(long, visible_alias = "random-prefix-len", value_name = "TOKENS", default_value_t = 0)]
    pub prefix_len: u32,
    /// Lengths are drawn from this share below to this share above what is asked, in [0, 1).
    #[arg(long, visible_alias = "random-range-ratio", value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub range_ratio: f64,
    /// Makes prompts, lengths and times the same again.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Let answers end before their length is reached.
    #[arg(long)]
    pub stop_at_eos: bool,
    /// Sampling temperature.
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    pub temperature: f64,
    /// Percentiles to report, separated by commas.
    #[arg(long, visible_alias = "metric-percentiles", value_name = "LIST", default_value = "50,90,99", value_delimiter = ',', value_parser = percentile)]
    pub percentiles: Vec<f64>,
    /// Seconds after which a request has failed.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub timeout: u64,
    /// The result as JSON on stdout, with the keys of vLLM's result file.
    #[arg(long)]
    pub json: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 => Ok(rate),
        _ => Err("expected a number above 0, or inf".into()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..1.0).contains(&share) => Ok(share),
        _ => Err("expected a number from 0 to below 1".into()),
    }
}

fn percentile(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(p) if (0.0..=100.0).contains(&p) => Ok(p),
        _ => Err("expected numbers from 0 to 100".into()),
    }
}

/// Runs `chela bench`.
pub fn run(command: BenchCommand, context: &Context) -> Outcome {
    let BenchCommand::Serve(args) = command;
    let runtime = runtime()?;
    let outcome = runtime.block_on(serve(&args, context));
    runtime.shutdown_background();
    outcome
}

async fn serve(args: &BenchServe, context: &Context) -> Outcome {
    let target = Target::open(args, context).await?;
    let words = target.words_per_token().await;
    let requests = work::requests(args, words);
    let warm_ups = requests.iter().cycle().take(args.num_warmups as usize);
    for request in warm_ups {
        let done = target.send(request).await;
        if let Some(error) = done.error {
            let failure = Failure::new(Code::NoModel, format!("the warm-up request failed: {error}"));
            return Err(failure.hint("is this the right --base-url and --model?"));
        }
    }
    let bar = bar(requests.len() as u64);
    let started = Instant::now();
    let (results, interrupted) = {
        let gathered = std::sync::Mutex::new(Vec::new());
        let interrupted = tokio::select! {
            () = load::all(&target, args, requests, &gathered, &bar) => false,
            () = wait_for_interrupt() => true,
        };
        (gathered.into_inner().unwrap_or_default(), interrupted)
    };
    let seconds = started.elapsed().as_secs_f64();
    bar.finish_and_clear();
    let report = Report::new(args, &target.model, &results, seconds);
    match args.json {
        true => output::json(&report.json())?,
        false => output::answer(&report.text())?,
    }
    if interrupted {
        return Err(Failure::new(Code::Interrupted, "interrupted; these are the requests that were done"));
    }
    let failed = results.iter().filter(|result| result.error.is_some()).count();
    match failed {
        0 => Ok(()),
        _ => Err(Failure::new(Code::Failed, format!("{failed} of {} requests failed", results.len()))),
    }
}

/// A bar on stderr, if that is a terminal; else a line that says what is being done.
fn bar(total: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        say(format_args!("sending {}", output::count(total as usize, "request")));
        return ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::new(total);
    let template = "[{bar:24}] {pos} of {len} requests, {per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// A text in a JSON object, if it is one and not empty.
fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key)?.as_str().filter(|text| !text.is_empty())
}
