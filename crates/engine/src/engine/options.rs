use std::time::Duration;

use chela_kernels::{Isa, KvType, Pool, PoolOptions};

use crate::block::{BLOCK_TOKENS, blocks_for};
use crate::formats::Source;
use crate::memory::{self, Available};
use crate::model::{KvStore, LoadError, Model, PanelCache, Plan, Quantization, Weights};
use crate::spec::ModelSpec;

/// How to serve a model.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineOptions {
    /// The window in tokens; `None` for the largest that fits.
    pub context: Option<usize>,
    /// Bytes that the process may take; `None` for nine tenths of what is free.
    pub memory: Option<u64>,
    /// Threads that compute; `None` for one per available core.
    pub threads: Option<usize>,
    /// Cores to bind the workers to; empty to let the system decide.
    pub pin: Vec<usize>,
    /// How long an idle worker spins before it sleeps.
    pub spin: Duration,
    /// A forced instruction set; `None` for the best.
    pub isa: Option<Isa>,
    /// Rounding of float weights on load.
    pub quantization: Option<Quantization>,
    /// Where repacked weights are kept for the next start.
    pub panel_cache: Option<PanelCache>,
    /// Type of the cached keys and values.
    pub kv_type: KvType,
    /// Most sequences in a batch.
    pub max_running: usize,
    /// Most tokens in a step.
    pub max_batch_tokens: usize,
    /// Most sequences that may wait.
    pub max_waiting: usize,
    /// Most prompt tokens that may wait.
    pub max_waiting_tokens: usize,
    /// Whether requests share cached prefixes.
    pub prefix_cache: bool,
    /// The time that a step with prompt tokens should take.
    pub step_target: Duration,
    /// Steps after which a waiting background request counts as interactive.
    pub patience: u64,
    /// Seed of requests that bring none.
    pub seed: u64,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            context: None,
            memory: None,
            threads: None,
            pin: Vec::new(),
            spin: PoolOptions::default().spin,
            isa: None,
            quantization: None,
            panel_cache: None,
            kv_type: KvType::F16,
            max_running: 64,
            max_batch_tokens: 512,
            max_waiting: 1024,
            max_waiting_tokens: 4 << 20,
            prefix_cache: true,
            step_target: Duration::from_millis(80),
            patience: 2000,
            seed: 0,
        }
    }
}

/// How much of a model is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizing {
    /// Longest sequence in tokens.
    pub window: usize,
    /// Why it is that long, as a sentence part.
    pub reason: String,
    /// KV blocks.
    pub blocks: usize,
    /// Bytes of all KV blocks.
    pub kv_bytes: u64,
    /// Bytes of the weights.
    pub weight_bytes: u64,
    /// Bytes that the process may take.
    pub budget: u64,
}

/// Memory that a model takes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Its weights as they are held.
    pub weights: u64,
    /// Activations, recurrent states, tokenizer, requests.
    pub working: u64,
    /// Keys and values of 32 tokens.
    pub block: u64,
}

impl Needs {
    /// The keys and values of one sequence of so many tokens.
    #[must_use]
    pub fn cache(&self, tokens: usize) -> u64 {
        blocks_for(tokens) as u64 * self.block
    }
}

/// What else the process needs: tokenizer, grammars, requests.
const OVERHEAD: u64 = 48 << 20;
/// Full windows that the cache holds if memory allows, for requests at once and for kept prefixes.
const WINDOWS: usize = 4;
/// A window below this is not worth serving.
const LEAST_WINDOW: usize = 256;
/// What is assumed to be free where the system does not say it.
const ASSUMED: Available = Available { bytes: 4 << 30, limited_by: "an assumption" };

impl EngineOptions {
    /// Workers, of which the calling thread is one.
    pub(crate) fn pool(&self, threads: usize) -> Result<Pool, chela_kernels::Error> {
        Pool::with_options(PoolOptions { threads, pin: self.pin.clone(), spin: self.spin })
    }

    pub(crate) fn threads(&self) -> usize {
        let available = || std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.unwrap_or_else(available).max(1)
    }

    /// Tokens in a step: room for all that decode and for a chunk of a prompt.
    pub(crate) fn batch_tokens(&self) -> usize {
        self.max_batch_tokens.max(self.max_running + BLOCK_TOKENS)
    }

    /// Slots for recurrent states: one for each sequence that may run, if the model has such layers.
    pub(crate) fn state_slots(&self, plan: &Plan) -> usize {
        if plan.states.is_empty() { 0 } else { self.max_running }
    }

    /// What a model takes.
    ///
    /// # Errors
    /// If a tensor is missing or of a type that there are no kernels for.
    pub fn needs(&self, spec: &ModelSpec, plan: &Plan, source: &Source) -> Result<Needs, LoadError> {
        let states = (KvStore::slot_bytes(plan) * self.state_slots(plan)) as u64;
        Ok(Needs {
            weights: Weights::bytes(spec, source, self.quantization)?,
            working: Model::step_bytes(spec, plan, self.batch_tokens()) + states + OVERHEAD,
            block: KvStore::block_bytes(plan, self.kv_type)? as u64,
        })
    }

    /// Divides the memory; public so that a model can be shown with its sizes before it is loaded.
    ///
    /// # Errors
    /// If the window that was asked for, or any useful one, does not fit.
    pub fn size(&self, spec: &ModelSpec, plan: &Plan, source: &Source) -> Result<Sizing, LoadError> {
        let needs = self.needs(spec, plan, source)?;
        self.divide(spec.context, needs, memory::available().unwrap_or(ASSUMED))
    }

    fn divide(&self, context: usize, needs: Needs, available: Available) -> Result<Sizing, LoadError> {
        let (budget, limit) = match self.memory {
            Some(bytes) => (bytes, "the given limit"),
            None => (available.bytes / 10 * 9, available.limited_by),
        };
        let left = budget.saturating_sub(needs.weights + needs.working);
        // Block ids have 32 bits.
        let room = (left / needs.block.max(1)).min(u64::from(u32::MAX)) as usize;
        let fits = room.saturating_mul(BLOCK_TOKENS);
        let shortage = |window: usize| {
            LoadError::Memory(format!(
                "a window of {window} tokens needs {} of KV cache beside {} of weights and {} of working memory; \
                 of {} ({limit}) {} are left, enough for {fits} tokens; ask for a smaller window, more memory or \
                 a smaller model",
                size(blocks_for(window) as u64 * needs.block),
                size(needs.weights),
                size(needs.working),
                size(budget),
                size(left),
            ))
        };
        let (window, reason) = match self.context {
            Some(asked) if asked > fits || asked < 2 => return Err(shortage(asked)),
            Some(asked) if asked > context => {
                return Err(LoadError::Memory(format!(
                    "a window of {asked} tokens was asked for; the model was made for {context}"
                )));
            }
            Some(asked) => (asked, "asked for".to_owned()),
            None if fits >= context => (context, "the model's own limit".to_owned()),
            None if fits < LEAST_WINDOW.min(context) => return Err(shortage(LEAST_WINDOW.min(context))),
            None => (fits, format!("of the model's {context}, what fits {} ({limit})", size(budget))),
        };
        let blocks = room.min(WINDOWS * blocks_for(window));
        let kv_bytes = blocks as u64 * needs.block;
        Ok(Sizing { window, reason, blocks, kv_bytes, weight_bytes: needs.weights, budget })
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 30 => format!("{:.1} GiB", b as f64 / f64::from(1 << 30)),
        b => format!("{:.1} MiB", b as f64 / f64::from(1 << 20)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn divide(options: &EngineOptions, available: u64) -> Result<Sizing, String> {
        let available = Available { bytes: available, limited_by: "the cgroup" };
        // A block of 1 MiB: 32 KiB per token.
        let needs = Needs { weights: 1000 * MIB, working: 100 * MIB, block: MIB };
        options.divide(4096, needs, available).map_err(|e| e.to_string())
    }

    #[test]
    fn the_window_is_the_largest_that_fits() {
        let options = EngineOptions::default();
        let all = divide(&options, 4000 * MIB).unwrap();
        assert_eq!((all.window, all.blocks, &*all.reason), (4096, 512, "the model's own limit"));
        let some = divide(&options, 1300 * MIB).unwrap();
        // 1170 MiB less weights, step and overhead.
        assert_eq!((some.window, some.blocks, some.kv_bytes), (70 * 32, 70, 70 * MIB));
        assert_eq!(some.reason, "of the model's 4096, what fits 1.1 GiB (the cgroup)");
        let none = divide(&options, 1100 * MIB).unwrap_err();
        assert!(none.starts_with("a window of 256 tokens needs 8.0 MiB of KV cache"), "{none}");
    }

    #[test]
    fn a_window_that_was_asked_for_fits_or_is_an_error() {
        let with = |context| EngineOptions {
            context: Some(context),
            memory: Some(1200 * MIB),
            ..EngineOptions::default()
        };
        assert_eq!(divide(&with(3200), 0).unwrap().window, 3200);
        assert_eq!(divide(&with(100), 0).unwrap().blocks, 16);
        let error = divide(&with(3201), 0).unwrap_err();
        assert!(
            error.contains("of 1.2 GiB (the given limit) 100.0 MiB are left, enough for 3200 tokens"),
            "{error}"
        );
        let beyond = EngineOptions { context: Some(5000), ..EngineOptions::default() };
        assert!(divide(&beyond, 4000 * MIB).unwrap_err().contains("made for 4096"));
    }
}
