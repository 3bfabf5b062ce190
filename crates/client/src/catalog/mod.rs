//! Providers, their models, and what is known of each.

mod build;
pub mod discovery;
mod limits;
mod model;
mod provider;
pub mod providers;
mod scan;
mod state;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde::Serialize;

pub use self::discovery::{Discovered, DiscoveryError, Found};
pub use self::limits::SAFE_WINDOW;
pub use self::model::{
    Caps, Compat, Cost, Endpoint, Input, InvalidKey, Key, Limits, Model, ModelRef, Source, Sourced,
    ThinkingControl,
};
pub use self::provider::{InProcessServer, Origin, Provider, ProviderError, Settings, how_to_begin};
pub use self::scan::{Scanned, Target, scan, targets};
pub use self::state::{Aged, State};
use crate::fault::ExitClass;
use crate::transport::{Http, show};

/// A list of models younger than this is not asked for again.
pub const FRESH: Duration = Duration::from_secs(60);
const KIND: &str = "models";

/// Answers which models there are.
#[derive(Debug)]
pub struct Catalog {
    settings: Settings,
    state: State,
    /// What was asked in this process, by provider id.
    asked: Mutex<HashMap<String, (Instant, Asked)>>,
}

/// What is known of a provider's server.
#[derive(Clone, Debug, Default)]
struct Asked {
    discovered: Option<Discovered>,
    age: Duration,
    error: Option<DiscoveryError>,
    /// Asked for this very question, not remembered.
    now: bool,
}

/// Which providers to list, and how.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// This provider alone.
    pub provider: Option<String>,
    /// Ask the servers, whatever is cached.
    pub refresh: bool,
}

/// All models of the providers that were asked.
#[derive(Debug, Default)]
pub struct Listing {
    /// The models, by provider in the order of the configuration.
    pub models: Vec<Model>,
    /// How each provider fared.
    pub providers: Vec<ProviderStatus>,
    /// One line each: servers that did not answer, limits that are guessed.
    pub warnings: Vec<String>,
}

/// How a provider fared.
#[derive(Clone, Debug, Serialize)]
pub struct ProviderStatus {
    /// Id.
    pub id: String,
    /// Base URL, without credentials; absent if it cannot be known.
    pub base_url: Option<String>,
    /// Where the key comes from.
    pub key: Option<String>,
    /// Whether the server was asked which models it has.
    pub discovers: bool,
    /// Age of what the server said, in seconds.
    pub age: Option<u64>,
    /// Number of models.
    pub models: usize,
    /// Why it cannot be used, or did not answer.
    pub error: Option<String>,
    /// What the error means for the exit status.
    #[serde(skip)]
    pub class: Option<ExitClass>,
}

/// Why a model cannot be asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ResolveError {
    /// Nothing is configured at all.
    #[error("no model server is configured; {hint}")]
    NothingConfigured {
        /// What to do.
        hint: String,
    },
    /// No model is chosen, and there are several, or none.
    #[error("no model is chosen; {hint}")]
    NoneChosen {
        /// What to do, with candidates.
        hint: String,
    },
    /// The provider does not exist.
    #[error("there is no provider {id:?}; {hint}")]
    UnknownProvider {
        /// Its id.
        id: String,
        /// What to do.
        hint: String,
    },
    /// The provider does not have the model.
    #[error("{reference} does not exist; {hint}")]
    UnknownModel {
        /// What was asked for.
        reference: String,
        /// What there is.
        hint: String,
    },
    /// Several providers have it.
    #[error("{id:?} could be {}; write it with its provider", candidates.join(" or "))]
    Ambiguous {
        /// What was asked for.
        id: String,
        /// Whom it could mean.
        candidates: Vec<String>,
    },
    /// The provider is not usable as configured.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The server does not say which models it has.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
}

impl ResolveError {
    /// What the error means for the exit status.
    pub fn exit_class(&self) -> ExitClass {
        match self {
            ResolveError::Provider(error) => error.class,
            ResolveError::Ambiguous { .. } => ExitClass::Usage,
            _ => ExitClass::Unusable,
        }
    }
}

impl Catalog {
    /// A catalog. Nothing is asked yet.
    pub fn new(settings: Settings) -> Self {
        let state = State::new(settings.cache.clone());
        let catalog = Self { settings, state, asked: Mutex::default() };
        // Every configured address is known to the egress rules before anything is sent.
        for provider in catalog.providers() {
            if let (Ok(url), false) =
                (provider.base_url(&catalog.settings), provider.origin == Origin::InProcess)
            {
                catalog.settings.http.egress().trust(&url);
            }
        }
        catalog
    }

    /// The HTTP client by which it reaches servers.
    pub fn http(&self) -> &Arc<Http> {
        &self.settings.http
    }

    /// What is kept between processes.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The providers, without asking anybody.
    pub fn providers(&self) -> Vec<Provider> {
        provider::providers(&self.settings)
    }

    /// A provider's server, without asking it anything.
    ///
    /// # Errors
    /// The provider does not exist, or is not usable as configured.
    pub fn endpoint(&self, provider: &str) -> Result<Endpoint, ResolveError> {
        let found = self.providers().into_iter().find(|one| one.id == provider);
        let found = found.ok_or_else(|| self.unknown_provider(provider))?;
        Ok(found.endpoint(&self.settings)?)
    }

    /// All models; servers are asked at once, and those that do not answer become a warning.
    pub async fn models(&self, scope: &Scope) -> Listing {
        let providers = self.providers();
        let wanted = providers.iter().filter(|one| scope.provider.as_ref().is_none_or(|id| one.id == *id));
        // Collected first: a future that holds the iterator is not `Send` for every lifetime.
        let asked: Vec<_> = wanted.map(|provider| self.of_provider(provider, scope.refresh)).collect();
        let each = join_all(asked).await;
        let mut listing = Listing::default();
        for (models, status, warnings) in each {
            for model in &models {
                listing.warnings.extend(model.warnings.iter().cloned());
            }
            listing.warnings.extend(warnings);
            listing.models.extend(models);
            listing.providers.push(status);
        }
        let mut seen = std::collections::HashSet::new();
        listing.warnings.retain(|warning| seen.insert(warning.clone()));
        listing
    }

    async fn of_provider(
        &self,
        provider: &Provider,
        refresh: bool,
    ) -> (Vec<Model>, ProviderStatus, Vec<String>) {
        let mut status = ProviderStatus {
            id: provider.id.clone(),
            base_url: provider.base_url(&self.settings).ok().map(|url| show(&url)),
            key: None,
            discovers: provider.discovers,
            age: None,
            models: 0,
            error: None,
            class: None,
        };
        let endpoint = match provider.endpoint(&self.settings) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                status.error = Some(error.to_string());
                status.class = Some(error.class);
                return (Vec::new(), status, vec![error.to_string()]);
            }
        };
        status.key = endpoint.key.as_ref().map(|key| key.source.clone());
        let mut warnings = Vec::new();
        let mut asked = Asked::default();
        if self.needs_server(provider) {
            asked = self.ask(provider, &endpoint, refresh).await;
            status.age = asked.discovered.is_some().then_some(asked.age.as_secs());
        }
        if let Some(error) = &asked.error {
            let age = asked.age.as_secs();
            let stale = asked.discovered.is_some();
            warnings.push(if stale {
                format!("{error} (showing what it said {age} s ago)")
            } else {
                error.to_string()
            });
            status.error = Some(error.to_string());
            status.class = Some(error.exit_class());
        }
        let models = self.build(provider, &endpoint, asked.discovered.as_ref());
        status.models = models.len();
        (models, status, warnings)
    }

    fn build(&self, provider: &Provider, endpoint: &Endpoint, discovered: Option<&Discovered>) -> Vec<Model> {
        let mut models = build::models(&self.settings, provider, endpoint, discovered);
        let learned = crate::stream::kept_facts(&self.state, &endpoint.base_url);
        for model in &mut models {
            let window = learned.get(&model.reference.model).and_then(|facts| facts.window);
            if let Some(window) = window.filter(|window| *window < model.limits.context_window.value) {
                model.limits.context_window = Sourced::new(window, Source::Runtime);
                model.limits.max_tokens.value = model.limits.max_tokens.value.min(window);
            }
        }
        models
    }

    /// Whether the server must be asked: for its models, or for a limit that a declared model
    /// leaves out.
    fn needs_server(&self, provider: &Provider) -> bool {
        provider.discovers
            || provider.declared(&self.settings).is_some_and(|declared| {
                declared
                    .models
                    .iter()
                    .any(|model| model.context_window.is_none() || model.max_tokens.is_none())
            })
    }

    async fn ask(&self, provider: &Provider, endpoint: &Endpoint, refresh: bool) -> Asked {
        // A server of this process has other models in the next one.
        let kept = provider.origin != Origin::InProcess;
        if refresh {
            crate::stream::forget_facts(&self.state, &endpoint.base_url);
        } else if let Some(known) = self.remembered(endpoint, kept) {
            return known;
        }
        let asked = match discovery::ask(endpoint).await {
            Ok(discovered) => {
                if kept {
                    self.state.write(KIND, &endpoint.base_url, &discovered);
                }
                Asked { discovered: Some(discovered), now: true, ..Asked::default() }
            }
            Err(error) => {
                let old = self.state.read::<Discovered>(KIND, &endpoint.base_url);
                let (discovered, age) = old.map_or((None, Duration::ZERO), |old| (Some(old.value), old.age));
                Asked { discovered, age, error: Some(error), now: true }
            }
        };
        let mut known = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(endpoint.id.clone(), (Instant::now(), asked.clone()));
        asked
    }

    /// A fresh answer of this process or, where it was `kept`, of another one.
    fn remembered(&self, endpoint: &Endpoint, kept: bool) -> Option<Asked> {
        let known = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, asked)) = known.get(&endpoint.id)
            && at.elapsed() < FRESH
        {
            return Some(Asked { age: asked.age + at.elapsed(), now: false, ..asked.clone() });
        }
        let kept = self.state.read::<Discovered>(KIND, &endpoint.base_url).filter(|_| kept)?;
        (kept.age < FRESH).then_some(Asked {
            discovered: Some(kept.value),
            age: kept.age,
            error: None,
            now: false,
        })
    }

    /// The model that a reference names.
    ///
    /// # Errors
    /// There is no such provider or model, or it cannot be used.
    pub async fn resolve(&self, reference: &ModelRef) -> Result<Model, ResolveError> {
        let providers = self.providers();
        let Some(provider) = providers.iter().find(|one| one.id == reference.provider) else {
            return Err(self.unknown_provider(&reference.provider));
        };
        // Report what makes the provider unusable before anything else.
        let endpoint = provider.endpoint(&self.settings)?;
        for refresh in [false, true] {
            let needs = self.needs_server(provider);
            let asked = if needs { self.ask(provider, &endpoint, refresh).await } else { Asked::default() };
            let mut models = self.build(provider, &endpoint, asked.discovered.as_ref());
            if let Some(at) = models.iter().position(|model| model.reference == *reference) {
                return Ok(models.swap_remove(at));
            }
            if let Some(error) = asked.error {
                return Err(error.into());
            }
            // A cached list may be older than the model.
            if !needs || asked.now {
                return Err(unknown_model(reference, &models, provider));
            }
        }
        Err(unknown_model(reference, &[], provider))
    }

    /// The reference that a text stands for: an alias, `provider/model`, or a bare model id that
    /// only one provider has.
    ///
    /// # Errors
    /// It stands for nothing, or for several models.
    pub async fn reference(&self, text: &str) -> Result<ModelRef, ResolveError> {
        let text = text.trim();
        for (pattern, entry) in &self.settings.config.agents.defaults.models {
            let alias = entry.alias.as_ref().and_then(|alias| alias.resolve(&self.settings.env).ok());
            if let (Some(alias), Some(model)) = (alias, &pattern.model)
                && alias == text
            {
                return Ok(ModelRef::new(&pattern.provider, model));
            }
        }
        let split = ModelRef::parse(text);
        let providers = self.providers();
        if let Some(reference) = &split
            && providers.iter().any(|one| one.id == reference.provider)
        {
            return Ok(reference.clone());
        }
        if providers.is_empty() {
            return Err(self.nothing_configured(split.as_ref()));
        }
        let listing = self.models(&Scope::default()).await;
        let named: Vec<&Model> =
            listing.models.iter().filter(|model| model.reference.model == text).collect();
        match (named.as_slice(), split) {
            ([one], _) => Ok(one.reference.clone()),
            ([], Some(reference)) => Err(self.unknown_provider(&reference.provider)),
            ([], None) => Err(ResolveError::UnknownModel {
                reference: text.to_owned(),
                hint: available(&listing.models, &listing.warnings),
            }),
            (several, _) => Err(ResolveError::Ambiguous {
                id: text.to_owned(),
                candidates: several.iter().map(|model| model.reference.to_string()).collect(),
            }),
        }
    }

    /// The model that a text stands for.
    ///
    /// # Errors
    /// As [`Catalog::reference`] and [`Catalog::resolve`].
    pub async fn find(&self, text: &str) -> Result<Model, ResolveError> {
        let reference = self.reference(text).await?;
        self.resolve(&reference).await
    }

    /// The model to use where none is named: the configured one, else the only one there is.
    ///
    /// # Errors
    /// None is configured and there is not exactly one; or the configured one cannot be used.
    pub async fn default_model(&self) -> Result<Model, ResolveError> {
        let choice = self.settings.config.agents.defaults.model.as_ref();
        if let Some(primary) = choice.and_then(|choice| choice.primary.as_ref()) {
            let text = primary.resolve(&self.settings.env).map_err(|error| ProviderError {
                provider: String::new(),
                message: error.to_string(),
                class: ExitClass::Usage,
            })?;
            return self.find(&text).await;
        }
        if self.providers().is_empty() {
            return Err(self.nothing_configured(None));
        }
        let mut listing = self.models(&Scope::default()).await;
        if listing.models.len() == 1 {
            return Ok(listing.models.swap_remove(0));
        }
        let hint = format!(
            "{}; choose one with `chela models set PROVIDER/MODEL` or --model",
            available(&listing.models, &listing.warnings)
        );
        Err(ResolveError::NoneChosen { hint })
    }

    /// The models that stand in when the first fails, as configured; a text that resolves to
    /// nothing becomes a warning.
    pub async fn fallbacks(&self) -> (Vec<Model>, Vec<String>) {
        let choice = self.settings.config.agents.defaults.model.as_ref();
        let (mut models, mut warnings) = (Vec::new(), Vec::new());
        for text in choice.map(|choice| choice.fallbacks.as_slice()).unwrap_or_default() {
            let found = match text.resolve(&self.settings.env) {
                Ok(text) => self.find(&text).await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match found {
                Ok(model) => models.push(model),
                Err(error) => warnings.push(format!("fallback {}: {error}", text.raw())),
            }
        }
        (models, warnings)
    }

    fn nothing_configured(&self, wanted: Option<&ModelRef>) -> ResolveError {
        match wanted.filter(|reference| providers::row(&reference.provider).is_some()) {
            Some(reference) => self.unknown_provider(&reference.provider),
            None => ResolveError::NothingConfigured { hint: how_to_begin() },
        }
    }

    fn unknown_provider(&self, id: &str) -> ResolveError {
        let hint = match providers::row(id) {
            Some(row) => match (row.key_opts_in, row.key_variable.as_deref(), row.base_url.as_deref()) {
                (true, Some(variable), Some(base)) => format!(
                    "export {variable} (any value, if the server wants no key) to use the server at {base}, \
                     or set models.providers.{id}"
                ),
                (_, _, Some(_)) => {
                    format!("set models.providers.{id} to {{}} to use the server at its default address")
                }
                _ => format!(
                    "export {} to its address, or set models.providers.{id}.baseUrl",
                    row.url_variable.as_deref().unwrap_or("its variable")
                ),
            },
            None => {
                let known: Vec<String> = self.providers().into_iter().map(|provider| provider.id).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                format!("configured are: {known}; set models.providers.{id}.baseUrl to add it")
            }
        };
        ResolveError::UnknownProvider { id: id.to_owned(), hint }
    }
}

/// The environment variable that holds the key of a known provider.
pub fn key_variable(provider: &str) -> Option<&'static str> {
    providers::row(provider)?.key_variable.as_deref()
}

fn unknown_model(reference: &ModelRef, models: &[Model], provider: &Provider) -> ResolveError {
    let mut hint = available(models, &[]);
    if !provider.discovers {
        hint.push_str(&format!(
            "; declare it in models.providers.{id}.models, or add \"{id}/*\": {{}} to agents.defaults.models \
             to ask the server",
            id = provider.id
        ));
    }
    ResolveError::UnknownModel { reference: reference.to_string(), hint }
}

/// What there is, for an error message.
fn available(models: &[Model], warnings: &[String]) -> String {
    const SHOWN: usize = 8;
    if models.is_empty() {
        return warnings.first().cloned().unwrap_or_else(|| "there is no model at all".to_owned());
    }
    let mut names: Vec<String> = models.iter().take(SHOWN).map(|model| model.reference.to_string()).collect();
    if models.len() > SHOWN {
        names.push(format!("{} more (`chela models list`)", models.len() - SHOWN));
    }
    format!("there is {}", names.join(", "))
}
