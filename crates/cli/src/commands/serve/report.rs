//! What the server says on stderr: the start-up line, the throughput.

use std::time::Duration;

use chela_chat::ReasoningStyle;
use chela_engine::engine::Stats;
use chela_server::{EngineBackend, ServedModel};

use super::args::Serve;
use crate::local::size;
use crate::output::tokens;

/// How often the throughput is told.
const EVERY: Duration = Duration::from_secs(10);

/// The line that tells what is served, with whom and where.
pub fn start_line(args: &Serve, served: &ServedModel, names: &[String], url: &str, took: Duration) -> String {
    let info = &served.info;
    let sizing = &info.sizing;
    let format = info.formats.iter().max_by_key(|(_, count)| *count);
    let format = format.map_or_else(String::new, |(format, _)| format!(" {format:?},").to_lowercase());
    let calls = match (served.has_template, served.dialect) {
        (false, _) => "no chat template: plain completions only".to_owned(),
        (true, Some(dialect)) => {
            let parser = args.tool_call_parser.as_deref().or(dialect.table().vllm_parser);
            format!("tool calls as {}", parser.unwrap_or("json"))
        }
        (true, None) => "tool calls in any syntax".to_owned(),
    };
    let style = served.reasoning.map(ReasoningStyle::name);
    let reasoning = args.reasoning_parser.as_deref().or(style);
    let reasoning = reasoning.map(|name| format!(", reasoning as {name}")).unwrap_or_default();
    format!(
        "{names} ({arch},{format} {weights}) at {url}\n  \
         {threads} threads, {isa}; context {window} ({reason}); KV cache {kv} for {room} tokens of {budget}; \
         {calls}{reasoning}; ready in {took:.2} s",
        names = names.join(", "),
        arch = info.spec.arch,
        weights = size(sizing.weight_bytes),
        threads = info.threads,
        isa = info.isa,
        window = tokens(sizing.window as u64),
        reason = sizing.reason,
        kv = size(sizing.kv_bytes),
        room = tokens((sizing.blocks * chela_engine::block::BLOCK_TOKENS) as u64),
        budget = size(sizing.budget),
        took = took.as_secs_f64(),
    )
}

/// Tells the throughput of every ten seconds in which there was any.
pub async fn throughput(backend: EngineBackend) {
    let mut before = backend.stats().unwrap_or_default();
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(now) = backend.stats() else { return };
        if now.steps != before.steps || now.load.running > 0 {
            tracing::info!("{}", throughput_line(&before, &now));
        }
        before = now;
    }
}

fn throughput_line(before: &Stats, now: &Stats) -> String {
    let rate = |new: u64, old: u64| (new - old) as f64 / EVERY.as_secs_f64();
    let share = |part: f64, whole: f64| if whole > 0.0 { 100.0 * part / whole } else { 0.0 };
    format!(
        "prompt throughput: {:.1} tokens/s, generation throughput: {:.1} tokens/s, running: {}, waiting: {}, \
         KV cache usage: {:.1}%, prefix cache hit rate: {:.1}%",
        // as they are computed: a long prompt takes longer than a line's time here
        rate(now.prefilled_tokens, before.prefilled_tokens),
        rate(now.generated_tokens, before.generated_tokens),
        now.load.running,
        now.load.waiting.max(now.waiting_new),
        share(now.load.used_blocks as f64, now.load.total_blocks as f64),
        share(now.cached_tokens as f64, now.prompt_tokens as f64),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_that_takes_minutes_is_told_as_it_is_read() {
        let before = Stats { prompt_tokens: 33_000, prefilled_tokens: 1_000, ..Stats::default() };
        let now = Stats { prefilled_tokens: 2_500, ..before.clone() };
        let line = throughput_line(&before, &now);
        assert!(line.starts_with("prompt throughput: 150.0 tokens/s, generation throughput: 0.0"), "{line}");
    }
}
