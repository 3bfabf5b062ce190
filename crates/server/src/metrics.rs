//! `/metrics`, in Prometheus' text form under vLLM's names.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use chela_openai::usage::Usage;

/// Counts of the HTTP half.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    running: AtomicU64,
    prompt_tokens: AtomicU64,
    generation_tokens: AtomicU64,
    finished: Mutex<BTreeMap<String, u64>>,
}

/// A request that counts as running until it is dropped.
#[derive(Debug)]
pub(crate) struct Running(Arc<Metrics>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Relaxed);
    }
}

impl Running {
    /// A choice ended.
    pub(crate) fn finished(&self, reason: &str) {
        let mut finished = self.0.finished.lock().unwrap_or_else(PoisonError::into_inner);
        *finished.entry(reason.to_owned()).or_default() += 1;
    }

    /// The request ended with these counts.
    pub(crate) fn used(&self, usage: &Usage) {
        self.0.prompt_tokens.fetch_add(usage.prompt_tokens, Relaxed);
        self.0.generation_tokens.fetch_add(usage.completion_tokens, Relaxed);
    }
}

impl Metrics {
    pub(crate) fn start(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Relaxed);
        Running(self.clone())
    }

    /// The text of `/metrics`; `model` labels every row, as in vLLM.
    pub(crate) fn render(&self, model: &str) -> String {
        let label = model.replace('\\', r"\\").replace('"', "\\\"");
        let labels = format!("engine=\"0\",model_name=\"{label}\"");
        let mut out = String::new();
        let rows = [
            ("num_requests_running", "gauge", "Requests being answered.", &self.running),
            ("prompt_tokens_total", "counter", "Prompt tokens processed.", &self.prompt_tokens),
            ("generation_tokens_total", "counter", "Tokens generated.", &self.generation_tokens),
        ];
        for (name, kind, help, value) in rows {
            head(&mut out, name, kind, help);
            let value = value.load(Relaxed);
            let _ = writeln!(out, "vllm:{name}{{{labels}}} {value}.0");
        }
        let name = "request_success_total";
        head(&mut out, name, "counter", "Answers completed, by the reason they ended.");
        let finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        for (reason, count) in finished.iter() {
            let _ = writeln!(out, "vllm:{name}{{{labels},finished_reason=\"{reason}\"}} {count}.0");
        }
        out
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP vllm:{name} {help}\n# TYPE vllm:{name} {kind}");
}
