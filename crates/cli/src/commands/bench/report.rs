//! The figures.
//!
//! Definitions, those of `vllm bench serve` 0.32: TTFT is the time from sending a request to its first
//! token. TPOT is (E2EL - TTFT) / (output tokens - 1), one figure a request, without requests of one
//! token. ITL is the time between two pieces of a stream, all requests together. E2EL is the time to
//! the last token. Failed requests count in none of them. Percentiles are interpolated linearly, and
//! throughput is over the time from the first request to the end of the last.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::BenchServe;
use super::load::Done;

/// One kind of time, in milliseconds, in ascending order.
struct Times {
    name: &'static str,
    title: &'static str,
    sorted: Vec<f64>,
}

impl Times {
    fn new(name: &'static str, title: &'static str, seconds: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = seconds.map(|seconds| seconds * 1000.0).collect();
        sorted.sort_by(f64::total_cmp);
        Self { name, title, sorted }
    }

    fn mean(&self) -> f64 {
        self.sorted.iter().sum::<f64>() / self.sorted.len().max(1) as f64
    }

    fn deviation(&self) -> f64 {
        let mean = self.mean();
        let squares: f64 = self.sorted.iter().map(|value| (value - mean).powi(2)).sum();
        (squares / self.sorted.len().max(1) as f64).sqrt()
    }

    fn percentile(&self, p: f64) -> f64 {
        let Some(last) = self.sorted.len().checked_sub(1) else { return 0.0 };
        let at = p / 100.0 * last as f64;
        let (low, high) = (self.sorted[at.floor() as usize], self.sorted[at.ceil() as usize]);
        low + (high - low) * (at - at.floor())
    }
}

/// The figures of a run.
pub(super) struct Report {
    head: Map<String, Value>,
    times: Vec<Times>,
    percentiles: Vec<f64>,
    errors: Vec<String>,
}

impl Report {
    pub(super) fn new(args: &BenchServe, model: &str, results: &[Done], seconds: f64) -> Self {
        let good: Vec<&Done> = results.iter().filter(|done| done.error.is_none()).collect();
        // A server that counts nothing gives one token with each piece.
        let output = |done: &Done| match done.output_tokens {
            0 => done.itl.len() as u64 + 1,
            counted => counted,
        };
        let input: u64 = good.iter().map(|done| done.prompt_tokens).sum();
        let generated: u64 = good.iter().map(|done| output(done)).sum();
        let many = good.iter().filter(|done| output(done) > 1);
        let per_token = many.map(|done| (done.latency - done.ttft) / (output(done) - 1) as f64);
        let mut errors: Vec<String> = results.iter().filter_map(|done| done.error.clone()).collect();
        errors.sort();
        let head = json!({
            "model_id": model,
            "base_url": args.base_url,
            "num_prompts": args.num_prompts,
            "request_rate": if args.request_rate.is_finite() { json!(args.request_rate) } else { json!("inf") },
            "max_concurrency": args.max_concurrency,
            "seed": args.seed,
            "duration": seconds,
            "completed": good.len(),
            "failed": errors.len(),
            "total_input_tokens": input,
            "total_output_tokens": generated,
            "request_throughput": good.len() as f64 / seconds,
            "output_throughput": generated as f64 / seconds,
            "total_token_throughput": (input + generated) as f64 / seconds,
        });
        Self {
            head: head.as_object().cloned().unwrap_or_default(),
            times: vec![
                Times::new("ttft", "Time to first token", good.iter().map(|done| done.ttft)),
                Times::new("tpot", "Time per output token, without the first", per_token),
                Times::new("itl", "Inter-token latency", good.iter().flat_map(|done| done.itl.clone())),
                Times::new("e2el", "End-to-end latency", good.iter().map(|done| done.latency)),
            ],
            percentiles: args.percentiles.clone(),
            errors,
        }
    }

    /// With the keys of vLLM's result file.
    pub(super) fn json(&self) -> Value {
        let mut all = self.head.clone();
        for times in &self.times {
            let mut put = |what: String, value: f64| all.insert(what, value.into());
            put(format!("mean_{}_ms", times.name), times.mean());
            put(format!("median_{}_ms", times.name), times.percentile(50.0));
            put(format!("std_{}_ms", times.name), times.deviation());
            for p in &self.percentiles {
                put(format!("p{p}_{}_ms", times.name), times.percentile(*p));
            }
        }
        all.insert("errors".into(), self.errors.clone().into());
        Value::Object(all)
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        let number = |key: &str| self.head.get(key).and_then(Value::as_f64).unwrap_or_default();
        let mut line = |title: &str, value: String| {
            let _ = writeln!(out, "{title:<44} {value:>14}");
        };
        for (title, key) in [("Requests done", "completed"), ("Requests failed", "failed")] {
            line(title, number(key).to_string());
        }
        line("Duration (s)", format!("{:.2}", number("duration")));
        line("Input tokens", number("total_input_tokens").to_string());
        line("Output tokens", number("total_output_tokens").to_string());
        line("Requests per second", format!("{:.2}", number("request_throughput")));
        line("Output tokens per second", format!("{:.2}", number("output_throughput")));
        line("Input and output tokens per second", format!("{:.2}", number("total_token_throughput")));
        for times in &self.times {
            let name = times.name.to_uppercase();
            line(&format!("{} ({name}, ms)", times.title), String::new());
            line("  mean", format!("{:.2}", times.mean()));
            for p in &self.percentiles {
                line(&format!("  p{p}"), format!("{:.2}", times.percentile(*p)));
            }
        }
        let mut shown: Vec<&String> = self.errors.iter().collect();
        shown.dedup();
        for error in shown.iter().take(10) {
            let _ = writeln!(out, "error: {error}");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Oracle: numpy 2, `np.percentile([1, 2, 3, 4], p)`, `np.std`.
    #[test]
    fn percentiles_and_deviation() {
        let times = Times::new("x", "x", [4.0, 1.0, 3.0, 2.0].into_iter().map(|ms| ms / 1000.0));
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(times.percentile(50.0), 2.5));
        assert!(near(times.percentile(90.0), 3.7));
        assert!(near(times.percentile(99.0), 3.97));
        assert!(near(times.deviation(), 1.118_033_988_749_895));
        assert!(near(Times::new("x", "x", std::iter::empty()).percentile(99.0), 0.0));
    }
}
