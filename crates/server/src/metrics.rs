//! `/metrics`, in Prometheus' text form under vLLM's names.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::backend::{Counts, Piece, Times};
use crate::validate::sampled::Sampled;

const LATENCY: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
    960.0, 1920.0, 7680.0,
];
const FIRST: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
];
const BETWEEN: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
];
/// 1, 2, 5 and their tens up to a window of 1,000; beyond that vLLM has more, by its window.
const TOKENS: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0, 20000.0, 50000.0,
    100000.0, 200000.0,
];
const CHOICES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0];

/// The histograms, in the order of [`Kind`].
const HISTOGRAMS: [(&str, &str, &[f64]); 14] = [
    ("request_prompt_tokens", "Number of prefill tokens processed.", TOKENS),
    ("request_generation_tokens", "Number of generation tokens processed.", TOKENS),
    ("request_max_num_generation_tokens", "Maximum number of requested generation tokens.", TOKENS),
    ("request_params_n", "The n request parameter.", CHOICES),
    ("request_params_max_tokens", "The max_tokens request parameter.", TOKENS),
    ("time_to_first_token_seconds", "Time to first token in seconds.", FIRST),
    ("inter_token_latency_seconds", "Inter-token latency in seconds.", BETWEEN),
    ("request_time_per_output_token_seconds", "Time per output token per request.", BETWEEN),
    ("e2e_request_latency_seconds", "Request latency in seconds, end to end.", LATENCY),
    ("request_queue_time_seconds", "Time spent waiting.", LATENCY),
    ("request_inference_time_seconds", "Time spent running.", LATENCY),
    ("request_prefill_time_seconds", "Time spent in the prefill.", LATENCY),
    ("request_decode_time_seconds", "Time spent decoding.", LATENCY),
    ("request_prefill_kv_computed_tokens", "Prompt tokens computed, without cached ones.", TOKENS),
];

#[derive(Clone, Copy)]
enum Kind {
    PromptTokens,
    GenerationTokens,
    MaxGenerationTokens,
    N,
    MaxTokens,
    FirstToken,
    BetweenTokens,
    PerToken,
    Total,
    Queue,
    Inference,
    Prefill,
    Decode,
    Computed,
}

/// Counts of the HTTP half.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    running: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    prompt_tokens: u64,
    generation_tokens: u64,
    finished: BTreeMap<String, u64>,
    rejected: u64,
    histograms: [Histogram; HISTOGRAMS.len()],
    http: BTreeMap<(String, String, u16), u64>,
}

#[derive(Debug, Default)]
struct Histogram {
    /// One more than the bounds; not cumulative.
    buckets: Vec<u64>,
    sum: f64,
}

impl Histogram {
    fn observe(&mut self, bounds: &[f64], value: f64) {
        self.buckets.resize(bounds.len() + 1, 0);
        self.buckets[bounds.partition_point(|bound| *bound < value)] += 1;
        self.sum += value;
    }
}

impl Inner {
    fn observe(&mut self, kind: Kind, value: f64) {
        let at = kind as usize;
        self.histograms[at].observe(HISTOGRAMS[at].2, value);
    }
}

/// A request under way; it counts as running until it is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    metrics: Arc<Metrics>,
    id: String,
    began: Instant,
    first: Option<Instant>,
    last: Instant,
    max_tokens: Option<i64>,
    prompt: u64,
    cached: Option<u64>,
    generated: u64,
    /// Time between the first token and the last, by the engine's clock.
    decode: Duration,
    reason: Option<String>,
}

impl Running {
    /// The request was taken up under this id.
    pub(crate) fn named(&mut self, id: &str) {
        id.clone_into(&mut self.id);
        tracing::debug!(id, max_tokens = self.max_tokens, "request accepted");
    }

    /// Takes notice of a piece on its way out.
    pub(crate) fn piece(&mut self, piece: &Piece) {
        match piece {
            Piece::Delta { tokens, .. } => self.grew(tokens.count),
            Piece::End { reason, tokens, .. } => {
                self.grew(tokens.count);
                self.reason = Some(reason.as_str().to_owned());
                let mut inner = self.metrics.inner();
                *inner.finished.entry(reason.as_str().to_owned()).or_default() += 1;
            }
            Piece::Usage(usage) => {
                self.prompt = usage.prompt_tokens;
                self.generated = usage.completion_tokens;
                self.cached = usage.cached_tokens().or(self.cached);
            }
            Piece::Times(times) => self.ended(times),
            Piece::Prompt { .. } => {}
        }
    }

    fn grew(&mut self, count: u64) {
        let now = Instant::now();
        let since = now.duration_since(self.last).as_secs_f64();
        self.last = now;
        let mut inner = self.metrics.inner();
        if self.first.is_none() {
            self.first = Some(now);
            inner.observe(Kind::FirstToken, now.duration_since(self.began).as_secs_f64());
        } else {
            for _ in 0..count {
                inner.observe(Kind::BetweenTokens, since / count as f64);
            }
        }
    }

    fn ended(&mut self, times: &Times) {
        let seconds = |time: Duration| time.as_secs_f64();
        let decode = times.total.saturating_sub(times.first_token);
        self.decode = self.decode.max(decode);
        let mut inner = self.metrics.inner();
        inner.observe(Kind::PromptTokens, times.prompt as f64);
        inner.observe(Kind::GenerationTokens, times.tokens as f64);
        inner.observe(Kind::MaxGenerationTokens, times.tokens as f64);
        if let Some(most) = self.max_tokens {
            inner.observe(Kind::MaxTokens, most as f64);
        }
        if times.tokens > 1 {
            inner.observe(Kind::PerToken, seconds(decode) / (times.tokens - 1) as f64);
        }
        inner.observe(Kind::Total, seconds(times.total));
        inner.observe(Kind::Queue, seconds(times.queued));
        inner.observe(Kind::Inference, seconds(times.total.saturating_sub(times.queued)));
        inner.observe(Kind::Prefill, seconds(times.first_token.saturating_sub(times.queued)));
        inner.observe(Kind::Decode, seconds(decode));
        inner.observe(Kind::Computed, times.computed as f64);
    }

    /// The request failed on the way.
    pub(crate) fn failed(&mut self) {
        self.reason = Some("error".into());
        *self.metrics.inner().finished.entry("error".into()).or_default() += 1;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.metrics.running.fetch_sub(1, Relaxed);
        let mut inner = self.metrics.inner();
        inner.prompt_tokens += self.prompt;
        inner.generation_tokens += self.generated;
        drop(inner);
        if self.id.is_empty() {
            return;
        }
        let total = self.began.elapsed();
        let first = self.first.map(|first| first.duration_since(self.began));
        let decode = self.decode.as_secs_f64();
        let rate = if decode > 0.0 { self.generated.saturating_sub(1) as f64 / decode } else { 0.0 };
        tracing::info!(
            id = %self.id,
            prompt = self.prompt,
            cached = self.cached,
            generated = self.generated,
            ttft_ms = first.map(|first| first.as_millis()),
            total_ms = total.as_millis(),
            tokens_per_s = %format_args!("{rate:.1}"),
            finish = self.reason.as_deref().unwrap_or("abandoned"),
            "request"
        );
    }
}

impl Metrics {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A valid request has come.
    pub(crate) fn start(self: &Arc<Self>, request: &Sampled) -> Running {
        self.running.fetch_add(1, Relaxed);
        self.inner().observe(Kind::N, request.n.unwrap_or(1) as f64);
        let now = Instant::now();
        Running {
            metrics: self.clone(),
            id: String::new(),
            began: now,
            first: None,
            last: now,
            max_tokens: request.max_tokens,
            prompt: 0,
            cached: None,
            generated: 0,
            decode: Duration::ZERO,
            reason: None,
        }
    }

    /// A request was answered.
    pub(crate) fn http(&self, method: &str, route: &str, status: u16) {
        let mut inner = self.inner();
        if status == 429 {
            inner.rejected += 1;
        }
        *inner.http.entry((route.to_owned(), method.to_owned(), status / 100)).or_default() += 1;
    }

    /// The text of `/metrics`; `model` labels every row, as in vLLM.
    pub(crate) fn render(&self, model: &str, counts: &Counts) -> String {
        let label = model.replace('\\', r"\\").replace('"', "\\\"");
        let mut text = Text { out: String::new(), labels: format!("engine=\"0\",model_name=\"{label}\"") };
        let inner = self.inner();
        let running = counts.running.max(self.running.load(Relaxed).saturating_sub(counts.waiting));
        text.value("num_requests_running", "gauge", "Requests in execution batches.", running as f64);
        text.value(
            "num_requests_waiting",
            "gauge",
            "Requests waiting to be processed.",
            counts.waiting as f64,
        );
        text.head("num_requests_waiting_by_reason", "gauge", "Waiting requests by reason.");
        text.row("num_requests_waiting_by_reason", ",reason=\"capacity\"", counts.waiting as f64);
        text.row("num_requests_waiting_by_reason", ",reason=\"deferred\"", 0.0);
        text.value("kv_cache_usage_perc", "gauge", "KV-cache usage, 1 is full.", counts.kv_usage);
        let queries = counts.prompt_tokens as f64;
        let hits = counts.cached_tokens as f64;
        text.value("prefix_cache_queries_total", "counter", "Prompt tokens looked up.", queries);
        text.value("prefix_cache_hits_total", "counter", "Prompt tokens found in the prefix cache.", hits);
        text.value("num_preemptions_total", "counter", "Preemptions.", counts.preemptions as f64);
        let prompt = counts.prompt_tokens.max(inner.prompt_tokens) as f64;
        let generated = counts.generated_tokens.max(inner.generation_tokens) as f64;
        text.value("prompt_tokens_total", "counter", "Prefill tokens processed.", prompt);
        text.head("prompt_tokens_by_source_total", "counter", "Prompt tokens by source.");
        text.row("prompt_tokens_by_source_total", ",source=\"local_compute\"", prompt - hits);
        text.row("prompt_tokens_by_source_total", ",source=\"local_cache_hit\"", hits);
        text.value("prompt_tokens_cached_total", "counter", "Cached prompt tokens.", hits);
        text.value("generation_tokens_total", "counter", "Generation tokens processed.", generated);
        text.head("request_success_total", "counter", "Answers completed, by the reason they ended.");
        for reason in ["stop", "length", "abort", "error"] {
            // a call is an end like any other to the engine, as in vLLM
            let calls = if reason == "stop" { inner.finished.get("tool_calls").copied() } else { None };
            let count = inner.finished.get(reason).copied().unwrap_or(0) + calls.unwrap_or(0);
            text.row("request_success_total", &format!(",finished_reason=\"{reason}\""), count as f64);
        }
        text.head("admission_rejections_total", "counter", "Requests refused by the queue's limit.");
        text.row("admission_rejections_total", ",reason=\"max_num_queued_reqs\"", inner.rejected as f64);
        for ((name, help, bounds), histogram) in HISTOGRAMS.iter().zip(&inner.histograms) {
            text.histogram(name, help, bounds, histogram);
        }
        text.cache_config(counts);
        text.http(&inner.http);
        text.process();
        text.out
    }
}

struct Text {
    out: String,
    labels: String,
}

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.out, "# HELP vllm:{name} {help}\n# TYPE vllm:{name} {kind}");
    }

    fn row(&mut self, name: &str, more: &str, value: f64) {
        let _ = writeln!(self.out, "vllm:{name}{{{}{more}}} {value:?}", self.labels);
    }

    fn value(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.head(name, kind, help);
        self.row(name, "", value);
    }

    fn histogram(&mut self, name: &str, help: &str, bounds: &[f64], histogram: &Histogram) {
        self.head(name, "histogram", help);
        let mut count = 0;
        let ends = bounds.iter().map(|bound| format!("{bound:?}")).chain(["+Inf".to_owned()]);
        for (at, end) in ends.enumerate() {
            count += histogram.buckets.get(at).copied().unwrap_or(0);
            self.row(&format!("{name}_bucket"), &format!(",le=\"{end}\""), count as f64);
        }
        self.row(&format!("{name}_count"), "", count as f64);
        self.row(&format!("{name}_sum"), "", histogram.sum);
    }

    fn cache_config(&mut self, counts: &Counts) {
        if counts.blocks == 0 {
            return;
        }
        self.head("cache_config_info", "gauge", "The KV cache.");
        let (block, blocks) = (counts.block_tokens, counts.blocks);
        let caching = if counts.prefix_cache { "True" } else { "False" };
        let _ = writeln!(
            self.out,
            "vllm:cache_config_info{{block_size=\"{block}\",enable_prefix_caching=\"{caching}\",engine=\"0\",\
             num_cpu_blocks=\"{blocks}\"}} 1.0"
        );
    }

    fn http(&mut self, requests: &BTreeMap<(String, String, u16), u64>) {
        let name = "http_requests_total";
        let _ = writeln!(
            self.out,
            "# HELP {name} Requests by method, status and handler.\n# TYPE {name} counter"
        );
        for ((handler, method, class), count) in requests {
            let _ = writeln!(
                self.out,
                "{name}{{handler=\"{handler}\",method=\"{method}\",status=\"{class}xx\"}} {count}.0"
            );
        }
    }

    /// What the system says of this process, where it is Linux.
    fn process(&mut self) {
        let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return };
        let bytes = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field))?;
            line.split_whitespace().next()?.parse::<f64>().ok().map(|kib| kib * 1024.0)
        };
        for (name, field) in
            [("process_virtual_memory_bytes", "VmSize:"), ("process_resident_memory_bytes", "VmRSS:")]
        {
            if let Some(value) = bytes(field) {
                let _ = writeln!(self.out, "# HELP {name} Memory.\n# TYPE {name} gauge\n{name} {value:?}");
            }
        }
    }
}
