//! Requests in, tokens out: one thread that schedules, computes and samples.
//!
//! [`Engine::load`] opens a model and starts the thread; [`Engine::submit`] hands it a [`Request`] and
//! answers a [`Handle`], from which the [`Output`] is read, blocking or by polling. Dropping the handle
//! cancels the request before the next step.

mod inbox;
mod live;
mod options;
mod request;
mod stats;
mod stream;
mod worker;

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Instant;

use chela_kernels::{Isa, Kernels};

use crate::formats::{ChatTemplate, GenerationDefaults, Source, SpecialTokens};
use crate::grammar::{GrammarError, Grammars, TokenBytes};
use crate::model::{KvStore, LoadError, LoadOptions, Model, PanelStatus, Plan, Progress, Weights};
use crate::scheduler::{Admission, Scheduler, SchedulerConfig, SequenceError};
use crate::spec::ModelSpec;
use crate::tokenizer::Tokenizer;
use inbox::{Inbox, Job};
use worker::Worker;

pub use options::{EngineOptions, Needs, Sizing};
pub use request::{Request, SubmitError, ThinkingBudget};
pub use stats::Stats;
pub use stream::{Delta, FinishReason, Handle, Output, TimedOut, Usage};

/// What is known of a loaded model.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// What it computes.
    pub spec: ModelSpec,
    /// How much of it is served, and why.
    pub sizing: Sizing,
    /// The types of its matrices as they are held, with the number of matrices of each.
    pub formats: Vec<(chela_kernels::Format, usize)>,
    /// Whether the repacked weights came from the cache on disk.
    pub panels: PanelStatus,
    /// The instruction set in use.
    pub isa: Isa,
    /// Threads that compute.
    pub threads: usize,
    /// The ids of the usual roles, the tokenizer's own end of sequence among them.
    pub specials: SpecialTokens,
    /// What the model recommends for generation, with all ids that end an output.
    pub defaults: GenerationDefaults,
    /// Its chat templates.
    pub templates: Vec<ChatTemplate>,
    /// Whether blocks of prompts are shared and kept for later requests.
    pub prefix_cache: bool,
}

/// A model in memory, ready to run.
pub(crate) struct Loaded {
    pub source: Source,
    pub sizing: Sizing,
    pub model: Model,
    pub cache: KvStore,
    pub state_slots: usize,
    pub panels: PanelStatus,
}

impl Loaded {
    pub(crate) fn of(
        source: Source,
        options: &EngineOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, LoadError> {
        let spec = ModelSpec::from_source(&source)?;
        let plan = Plan::compile(&spec)?;
        let sizing = options.size(&spec, &plan, &source)?;
        let pool = options.pool(options.threads())?;
        let kernels = options.isa.map_or_else(|| Ok(Kernels::detect()), Kernels::for_isa)?;
        let load = LoadOptions {
            quantization: options.quantization,
            pool: &pool,
            cache: options.panel_cache.as_ref(),
        };
        let (weights, panels) = Weights::load(&spec, &plan, &source, load, progress)?;
        let state_slots = options.state_slots(&plan);
        let cache = KvStore::new(&plan, options.kv_type, sizing.blocks, state_slots)?;
        let model = Model::new(spec, plan, weights, kernels, pool, options.batch_tokens());
        Ok(Self { source, sizing, model, cache, state_slots, panels })
    }
}

/// Shared by the engine and its thread.
struct Shared {
    info: ModelInfo,
    tokenizer: Arc<Tokenizer>,
    stats: Mutex<Stats>,
}

/// A loaded model that takes requests.
pub struct Engine {
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    grammars: OnceLock<Result<Grammars, GrammarError>>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Opens a `.gguf` file or a Hugging Face folder, loads the weights and starts the engine's thread.
    ///
    /// # Errors
    /// If the files are damaged, the model is not supported, or it does not fit the memory.
    pub fn load(
        path: &Path,
        options: &EngineOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, LoadError> {
        Self::load_source(Source::open(path)?, options, progress)
    }

    /// The same of a model whose files are open.
    ///
    /// # Errors
    /// As [`Engine::load`].
    pub fn load_source(
        source: Source,
        options: &EngineOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, LoadError> {
        let Loaded { source, sizing, model, cache, state_slots, panels } =
            Loaded::of(source, options, progress)?;
        let tokenizer = Arc::new(source.tokenizer()?);
        let info = ModelInfo {
            formats: model.weights().formats(),
            panels,
            isa: model.kernels().isa(),
            threads: options.threads(),
            specials: source.special_tokens(&tokenizer)?,
            defaults: source.generation_defaults(&tokenizer)?,
            templates: source.chat_templates().to_vec(),
            sizing,
            spec: model.spec().clone(),
            prefix_cache: options.prefix_cache,
        };
        let scheduler = Scheduler::new(SchedulerConfig {
            blocks: info.sizing.blocks as u32,
            max_running: options.max_running,
            window: info.sizing.window,
            prefix_cache: options.prefix_cache,
            state_slots: state_slots as u32,
            quantum: options.batch_tokens(),
            patience: options.patience,
        });
        let shared = Arc::new(Shared { info, tokenizer, stats: Mutex::default() });
        let inbox = Arc::new(Inbox::new(Admission::new(options.max_waiting, options.max_waiting_tokens)));
        let worker = Worker::new(model, cache, scheduler, shared.clone(), inbox.clone(), options);
        let thread = std::thread::Builder::new().name("engine".into()).spawn(move || worker.run());
        let thread = thread.map_err(|e| chela_kernels::Error::Threads { reason: e.to_string() })?;
        Ok(Self { shared, inbox, grammars: OnceLock::new(), thread: Some(thread) })
    }

    /// What is known of the model.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.shared.info
    }

    /// The model's tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.shared.tokenizer
    }

    /// Counts since the start and of the moment.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { waiting_new: self.inbox.waiting(), ..stream::lock(&self.shared.stats).clone() }
    }

    /// Whether the engine's thread runs. It ends only when the engine is dropped or by a defect.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.inbox.stopped() && self.thread.as_ref().is_some_and(|t| !t.is_finished())
    }

    /// Queues a request.
    ///
    /// # Errors
    /// If it is not valid for this model, its grammar cannot be enforced, or the queue is full.
    pub fn submit(&self, request: Request) -> Result<Handle, SubmitError> {
        let vocab = self.shared.info.spec.vocab;
        request.params.validate(vocab)?;
        if let Some(&id) = request.prompt.iter().find(|id| **id as usize >= vocab) {
            return Err(SubmitError::Token { id, vocab });
        }
        let (tokens, window) = (request.prompt.len(), self.shared.info.sizing.window);
        if tokens == 0 {
            return Err(SequenceError::Empty.into());
        }
        if tokens >= window {
            return Err(SequenceError::TooLong { tokens, window }.into());
        }
        let matchers = match &request.grammar {
            None => Vec::new(),
            Some(grammar) => {
                let grammars = self.grammars()?;
                (0..request.params.n).map(|_| grammars.compile(grammar)).collect::<Result<_, _>>()?
            }
        };
        let bad_words = self.bad_words(&request.params.bad_words);
        let (sender, handle) = stream::mailbox(request.params.n, self.inbox.clone());
        let submitted = Instant::now();
        self.inbox.submit(Job { request, bad_words, matchers, sender, submitted })?;
        Ok(handle)
    }

    /// Checks a grammar without a request.
    ///
    /// # Errors
    /// If it cannot be enforced.
    pub fn check_grammar(&self, grammar: &crate::grammar::Grammar) -> Result<(), GrammarError> {
        self.grammars()?.compile(grammar).map(|_| ())
    }

    fn grammars(&self) -> Result<&Grammars, GrammarError> {
        let build = || {
            let tokenizer = self.shared.tokenizer.clone();
            let token = |id: u32| match tokenizer.is_special(id) {
                true => TokenBytes::Special(tokenizer.token_to_piece(id).unwrap_or_default()),
                false => TokenBytes::Text(tokenizer.token_bytes(id).unwrap_or_default()),
            };
            let tokens = (0..tokenizer.vocab_size() as u32).map(token).collect();
            let mut ends: Vec<u32> = self.shared.info.specials.eos.into_iter().collect();
            let more = self.shared.info.defaults.stop_token_ids.iter();
            ends.extend(more.filter(|id| Some(**id) != self.shared.info.specials.eos));
            let encode = move |text: &[u8]| {
                let text = String::from_utf8_lossy(text);
                tokenizer.encode(&text, false, false).unwrap_or_default()
            };
            Grammars::new(tokens, &ends, Arc::new(encode))
        };
        self.grammars.get_or_init(build).as_ref().map_err(Clone::clone)
    }

    /// The token sequences of bad words: as they stand, and with a space before where that makes the
    /// first token another one (vLLM's rule).
    fn bad_words(&self, words: &[String]) -> Vec<Vec<u32>> {
        let encode = |text: &str| self.shared.tokenizer.encode(text, false, false).unwrap_or_default();
        let mut all = Vec::new();
        for word in words.iter().map(|w| w.trim_start_matches(' ')) {
            let (plain, spaced) = (encode(word), encode(&format!(" {word}")));
            let differs = spaced.first() != plain.first() && spaced.len() == plain.len();
            all.push(plain);
            if differs {
                all.push(spaced);
            }
        }
        all
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.inbox.stop();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has failed its requests already.
            let _ = thread.join();
        }
    }
}
