//! The engine as a backend.
//!
//! [`EngineBackend`] renders and tokenizes off the runtime, hands requests to the engine's thread, and
//! reads its output back through the family's parser. It can be made before its model is loaded; until
//! then it answers 503.

mod answer;
mod choice;
mod model;
mod prompt;
mod sample;
mod settings;
mod tokens;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use chela_engine::block::BLOCK_TOKENS;
use chela_engine::engine::{Engine, EngineOptions, Handle, Output, Request, Stats, SubmitError};
use chela_engine::formats::Source;
use chela_engine::model::{LoadError, Progress};
use chela_engine::sampler::SamplingParams;
use chela_openai::completions::CompletionRequest;
use chela_openai::models::ModelCard;
use chela_openai::tokenize::{DetokenizeRequest, DetokenizeResponse, TokenizeRequest, TokenizeResponse};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};

pub use model::ServeError;
pub use settings::{REASONING_PARSERS, ReasoningRule, ServeSettings};

use crate::backend::{Backend, Counts, Health, Pieces};
use crate::error::ApiError;
use crate::router::now;
use crate::validate::{self, Validated};
use answer::Answer;
use model::{Conversation, Model};
use prompt::Prepared;

/// A probe younger than this is not repeated.
const PROBED: Duration = Duration::from_secs(10);
/// An engine that makes no step for so long hangs.
const HUNG: Duration = Duration::from_secs(20);

/// One model, computed in this process. Cheap to clone.
#[derive(Clone)]
pub struct EngineBackend(Arc<Inner>);

struct Inner {
    settings: ServeSettings,
    created: u64,
    state: RwLock<State>,
    draining: AtomicBool,
    rate: Arc<Rate>,
    probe: tokio::sync::Mutex<Option<(Instant, Health)>>,
}

enum State {
    Loading,
    Ready(Arc<Model>),
    Failed(String),
}

impl EngineBackend {
    /// A backend whose model is not loaded yet.
    pub fn new(settings: ServeSettings) -> Self {
        Self(Arc::new(Inner {
            settings,
            created: now(),
            state: RwLock::new(State::Loading),
            draining: AtomicBool::new(false),
            rate: Arc::default(),
            probe: tokio::sync::Mutex::default(),
        }))
    }

    /// Loads the model. Blocks; meant for a thread of its own.
    ///
    /// # Errors
    /// If the model cannot be served; then every request is answered 503 with the reason.
    pub fn load(
        &self,
        path: &Path,
        options: &EngineOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), ServeError> {
        let source = Source::open(path).map_err(|error| ServeError::from(LoadError::from(error)));
        self.loaded(source.and_then(|source| self.model_of(source, options, progress)))
    }

    /// The same of a model whose files are open.
    ///
    /// # Errors
    /// As [`EngineBackend::load`].
    pub fn load_source(
        &self,
        source: Source,
        options: &EngineOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), ServeError> {
        self.loaded(self.model_of(source, options, progress))
    }

    fn model_of(
        &self,
        source: Source,
        options: &EngineOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Model, ServeError> {
        Model::load(source, options, self.0.settings.clone(), progress)
    }

    fn loaded(&self, loaded: Result<Model, ServeError>) -> Result<(), ServeError> {
        let (state, result) = match loaded {
            Ok(model) => (State::Ready(Arc::new(model)), Ok(())),
            Err(error) => (State::Failed(error.to_string()), Err(error)),
        };
        *self.0.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        result
    }

    /// Refuses new requests from now on; those under way go on.
    pub fn drain(&self) {
        self.0.draining.store(true, Relaxed);
    }

    /// What is known of the model, once it is loaded.
    pub fn served(&self) -> Option<Served> {
        let model = self.model().ok()?;
        Some(Served {
            info: model.engine.info().clone(),
            dialect: model.dialect,
            reasoning: model.style,
            family: model.family().map(|family| family.title.clone()),
            has_template: model.has_template(),
        })
    }

    /// Counts of the engine, once it is there.
    pub fn stats(&self) -> Option<Stats> {
        self.model().ok().map(|model| model.engine.stats())
    }

    fn model(&self) -> Result<Arc<Model>, ApiError> {
        match &*self.0.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Ready(model) => Ok(model.clone()),
            State::Loading => Err(unavailable("the model is loading").header(RETRY_AFTER, seconds(1))),
            State::Failed(why) => Err(unavailable(why)),
        }
    }

    /// Prepares requests off the runtime and hands them to the engine.
    async fn start<P>(&self, prepare: P) -> Result<Pieces, ApiError>
    where
        P: FnOnce(&Model) -> Result<Vec<Prepared>, ApiError> + Send + 'static,
    {
        if self.0.draining.load(Relaxed) {
            return Err(unavailable("the server is shutting down"));
        }
        let model = self.model()?;
        let rate = self.0.rate.clone();
        let started = off_runtime(move || {
            let prepared = prepare(&model)?;
            let submit = |prepared: Prepared| {
                let handle = submit(&model.engine, prepared.request.clone(), &rate)?;
                Ok((prepared, handle))
            };
            let started: Result<Vec<_>, ApiError> = prepared.into_iter().map(submit).collect();
            Ok(Answer::new(model.clone(), rate.clone(), started?))
        });
        Ok(started.await?.boxed())
    }

    /// One token for real, unless the engine has shown since the last look that it works.
    async fn probe(&self) -> Health {
        let model = match self.model() {
            Ok(model) => model,
            Err(error) => {
                return match &*self.0.state.read().unwrap_or_else(PoisonError::into_inner) {
                    State::Loading => Health::Loading,
                    _ => Health::Dead(error.body().error.message.clone()),
                };
            }
        };
        if !model.engine.is_alive() {
            return Health::Dead("the engine has stopped".into());
        }
        let mut last = self.0.probe.lock().await;
        if let Some((at, health)) = &*last
            && at.elapsed() < PROBED
        {
            return health.clone();
        }
        let health = decode_one(&model).await;
        *last = Some((Instant::now(), health.clone()));
        health
    }
}

/// A model that is served.
#[derive(Debug, Clone)]
pub struct Served {
    /// What the engine knows of it.
    pub info: chela_engine::engine::ModelInfo,
    /// How it writes tool calls.
    pub dialect: Option<chela_chat::Dialect>,
    /// How it marks reasoning.
    pub reasoning: Option<chela_chat::ReasoningStyle>,
    /// The family that it belongs to, for people.
    pub family: Option<String>,
    /// Whether it can chat.
    pub has_template: bool,
}

/// Generates one token. An engine that is busy with others shows by its steps that it works.
async fn decode_one(model: &Model) -> Health {
    let before = model.engine.stats().steps;
    let params = SamplingParams { max_tokens: Some(1), ignore_eos: true, ..SamplingParams::greedy() };
    let request = Request { cache_salt: Some("health".into()), ..Request::new(vec![0], params) };
    let mut handle = match model.engine.submit(request) {
        Ok(handle) => handle,
        // a full queue is a busy engine; whether it moves is seen below
        Err(SubmitError::QueueFull(_)) => return moves(model, before).await,
        Err(error) => return Health::Dead(error.to_string()),
    };
    let answer = async {
        loop {
            match std::future::poll_fn(|context| handle.poll_recv(context)).await {
                Some(Output::Delta(_)) => return Health::Ready,
                Some(Output::Failed(why)) => return Health::Dead(why),
                Some(_) => {}
                None => return Health::Dead("the engine gave no token".into()),
            }
        }
    };
    // Behind a long queue the token may be long in coming, while others show that the engine works.
    let busy = async {
        if model.engine.stats().load.running == 0 {
            tokio::time::sleep(HUNG).await;
        }
        moves(model, before).await
    };
    tokio::select! { health = answer => health, health = busy => health }
}

/// Waits until the engine has made a step.
async fn moves(model: &Model, before: u64) -> Health {
    let began = Instant::now();
    while model.engine.stats().steps == before {
        if began.elapsed() > HUNG {
            return Health::Dead(format!("the engine has made no step for {} s", HUNG.as_secs()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Health::Ready
}

fn submit(engine: &Engine, request: Request, rate: &Rate) -> Result<Handle, ApiError> {
    engine.submit(request).map_err(|error| match error {
        SubmitError::QueueFull(full) => {
            let wait = rate.until_free(&engine.stats());
            let status = StatusCode::TOO_MANY_REQUESTS;
            let message = format!("the server is busy: {full}; try again in {wait} s");
            ApiError::of(status, "RateLimitError", None, message).header(RETRY_AFTER, seconds(wait))
        }
        SubmitError::Stopped => unavailable("the engine has stopped"),
        SubmitError::Params(error) => ApiError::bad_request(Some(error.name), error.to_string()),
        SubmitError::Grammar(error) => {
            ApiError::bad_request(None, format!("Grammar error: {}", error.reason.trim_end()))
        }
        error @ (SubmitError::Prompt(_) | SubmitError::Token { .. }) => {
            ApiError::bad_request(None, error.to_string())
        }
    })
}

fn unavailable(why: &str) -> ApiError {
    ApiError::of(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableError", None, why)
}

fn seconds(seconds: u64) -> HeaderValue {
    HeaderValue::from(seconds)
}

/// Runs what takes more than a moment on a thread of its own.
async fn off_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(ApiError::internal(format!("a request could not be prepared: {error}"))))
}

/// How fast answers come to their ends.
#[derive(Default)]
struct Rate(Mutex<Option<Pace>>);

/// Mean time between the ends of answers, and when the last one ended.
struct Pace {
    last: Instant,
    seconds: f64,
}

impl Rate {
    fn finished(&self) {
        let mut pace = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        *pace = Some(match pace.take() {
            None => Pace { last: now, seconds: 0.0 },
            Some(before) => {
                let since = now.duration_since(before.last).as_secs_f64();
                let seconds = if before.seconds > 0.0 { 0.8 * before.seconds + 0.2 * since } else { since };
                Pace { last: now, seconds }
            }
        });
    }

    /// Seconds until a place in the queue should be free: the measured time between two ends, or,
    /// before two answers have ended, the time that a waiting prompt takes.
    fn until_free(&self, stats: &Stats) -> u64 {
        let pace = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let between = pace.as_ref().map_or(0.0, |pace| pace.seconds);
        let prompt = stats.prompt_tokens as f64 / (stats.finished_stop + stats.finished_length).max(1) as f64;
        let estimate = if between > 0.0 { between } else { prompt * stats.seconds_per_prompt_token };
        (estimate.ceil() as u64).clamp(1, 600)
    }
}

impl Backend for EngineBackend {
    fn models(&self) -> Vec<ModelCard> {
        match self.model() {
            Ok(model) => model.cards(),
            Err(_) => {
                let settings = &self.0.settings;
                let names = settings.names.iter();
                names.map(|name| model::card(name, &settings.root, None, self.0.created)).collect()
            }
        }
    }

    fn health(&self) -> BoxFuture<'_, Health> {
        self.probe().boxed()
    }

    fn submit(&self, request: Validated) -> BoxFuture<'_, Result<Pieces, ApiError>> {
        self.start(move |model| Ok(vec![model.prepare_chat(&request)?])).boxed()
    }

    fn complete(&self, request: Validated<CompletionRequest>) -> BoxFuture<'_, Result<Pieces, ApiError>> {
        self.start(move |model| model.prepare_completion(&request)).boxed()
    }

    fn tokenize(&self, request: TokenizeRequest) -> BoxFuture<'_, Result<TokenizeResponse, ApiError>> {
        async move {
            validate::find(&self.models(), request.model.as_deref().unwrap_or(""))?;
            let model = self.model()?;
            off_runtime(move || tokenize(&model, request)).await
        }
        .boxed()
    }

    fn detokenize(&self, request: DetokenizeRequest) -> BoxFuture<'_, Result<DetokenizeResponse, ApiError>> {
        async move {
            validate::find(&self.models(), request.model.as_deref().unwrap_or(""))?;
            let model = self.model()?;
            let ids: Vec<u32> = request.tokens.iter().filter_map(|id| u32::try_from(*id).ok()).collect();
            Ok(DetokenizeResponse { prompt: model.engine.tokenizer().decode(&ids, false) })
        }
        .boxed()
    }

    fn counts(&self) -> Counts {
        let Ok(model) = self.model() else { return Counts::default() };
        let stats = model.engine.stats();
        Counts {
            running: stats.load.running as u64,
            waiting: stats.load.waiting.max(stats.waiting_new) as u64,
            kv_usage: stats.load.used_blocks as f64 / stats.load.total_blocks.max(1) as f64,
            prompt_tokens: stats.prompt_tokens,
            cached_tokens: stats.cached_tokens,
            generated_tokens: stats.generated_tokens,
            preemptions: stats.preemptions,
            block_tokens: BLOCK_TOKENS as u64,
            blocks: model.engine.info().sizing.blocks as u64,
            prefix_cache: model.engine.info().prefix_cache,
        }
    }
}

fn tokenize(model: &Model, request: TokenizeRequest) -> Result<TokenizeResponse, ApiError> {
    let add_special = request.add_special_tokens;
    let ids = match (&request.prompt, &request.messages) {
        (Some(prompt), _) => model.encode(prompt, add_special.unwrap_or(true), false)?,
        (None, Some(messages)) => {
            let mut kwargs = model.settings.template_kwargs.clone();
            kwargs.extend(request.chat_template_kwargs.clone().unwrap_or_default());
            let text = model.render(Conversation {
                messages,
                tools: request.tools.as_deref(),
                kwargs,
                documents: None,
                add_generation_prompt: request.add_generation_prompt.unwrap_or(true),
                continue_final_message: request.continue_final_message.unwrap_or(false),
            })?;
            model.encode(&text, add_special.unwrap_or(false), false)?
        }
        (None, None) => Vec::new(),
    };
    let spell = |id: &u32| model.engine.tokenizer().token_to_piece(*id).unwrap_or_default();
    Ok(TokenizeResponse {
        count: ids.len() as u64,
        max_model_len: Some(model.window() as u64),
        token_strs: request.return_token_strs.unwrap_or(false).then(|| ids.iter().map(spell).collect()),
        tokens: ids,
    })
}
