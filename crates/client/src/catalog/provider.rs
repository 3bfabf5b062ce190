//! Which providers there are: those of the configuration, and those that the environment or an
//! auth profile opts in to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chela_config::env::{OPENAI_BASE_URL, VLLM_BASE_URL};
use chela_config::{Config, Env, Mode, Provider as Declared, Secret};
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::model::{Endpoint, Key};
use super::providers::{self, Row};
use crate::fault::ExitClass;
use crate::transport::{Http, Locality, Transport, Via, show};

/// Silence allowed where the configuration says nothing.
pub const SILENCE: Duration = Duration::from_secs(300);

/// Everything that a catalog is made of, handed in: nothing here is read from the process.
#[derive(Debug)]
pub struct Settings {
    /// The configuration.
    pub config: Arc<Config>,
    /// The environment.
    pub env: Arc<Env>,
    /// Keys of the auth file, by provider id.
    pub profiles: BTreeMap<String, Secret>,
    /// Cache folder, if anything is to be kept between processes.
    pub cache: Option<PathBuf>,
    /// The one HTTP client. The catalog tells it which endpoints are configured.
    pub http: Arc<Http>,
    /// Servers of this process.
    pub in_process: Vec<InProcessServer>,
}

/// A server of this process.
#[derive(Clone, Debug)]
pub struct InProcessServer {
    /// Provider id.
    pub id: String,
    /// What carries its requests.
    pub transport: Arc<dyn Transport>,
}

/// How a provider came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `models.providers` declares it.
    Config,
    /// An environment variable, an auth profile or a wildcard opts in.
    OptIn,
    /// It runs in this process.
    InProcess,
}

/// A provider cannot be used as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    /// Provider id.
    pub provider: String,
    /// What is wrong and what to do, naming the key.
    pub message: String,
    /// What it means for the exit status.
    pub class: ExitClass,
}

/// One provider, before anything of it is looked up.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Id.
    pub id: String,
    /// How it came to be.
    pub origin: Origin,
    /// What is known of its kind.
    pub row: &'static Row,
    /// Whether the server is asked which models it has.
    pub discovers: bool,
    in_process: Option<Arc<dyn Transport>>,
}

/// The providers of these settings, in the order in which they are listed.
pub fn providers(settings: &Settings) -> Vec<Provider> {
    let config = &settings.config;
    let mut list: Vec<Provider> = Vec::new();
    for (id, declared) in &config.models.providers {
        list.push(Provider {
            id: id.to_string(),
            origin: Origin::Config,
            row: providers::row(id).unwrap_or_else(providers::generic),
            discovers: declared.models.is_empty() || config.agents.defaults.has_wildcard(id),
            in_process: None,
        });
    }
    if config.models.mode != Some(Mode::Replace) {
        for row in providers::rows() {
            if !list.iter().any(|provider| provider.id == row.id) && opts_in(settings, row) {
                let (id, origin) = (row.id.clone(), Origin::OptIn);
                list.push(Provider { id, origin, row, discovers: true, in_process: None });
            }
        }
    }
    for server in &settings.in_process {
        list.push(Provider {
            id: server.id.clone(),
            origin: Origin::InProcess,
            row: providers::row("vllm").unwrap_or_else(providers::generic),
            discovers: true,
            in_process: Some(Arc::clone(&server.transport)),
        });
    }
    list
}

/// Whether something that the user did names this server: its address variable, its key variable
/// where that opts in, an auth profile, or a wildcard.
fn opts_in(settings: &Settings, row: &Row) -> bool {
    let env = &settings.env;
    let set = |name: &Option<String>| name.as_deref().is_some_and(|name| env.get(name).is_some());
    if set(&row.url_variable) {
        return true;
    }
    let named = settings.profiles.contains_key(&row.id)
        || (row.key_opts_in && set(&row.key_variable))
        || settings.config.agents.defaults.has_wildcard(&row.id);
    row.base_url.is_some() && named
}

impl Provider {
    /// What the configuration declares of it.
    pub fn declared<'s>(&self, settings: &'s Settings) -> Option<&'s Declared> {
        match self.origin {
            Origin::Config => settings.config.models.providers.get(self.id.as_str()),
            Origin::OptIn | Origin::InProcess => None,
        }
    }

    /// Its base URL.
    ///
    /// # Errors
    /// No address is known, or it cannot be used.
    pub fn base_url(&self, settings: &Settings) -> Result<Url, ProviderError> {
        if self.in_process.is_some() {
            // A name of its own, so that what is learned of it is kept apart.
            return self.parse(&format!("http://{}.localhost/v1", self.id), "its address in this process");
        }
        let declared = self.declared(settings).and_then(|declared| declared.base_url.as_ref());
        if let Some(base) = declared {
            let text = base.resolve(&settings.env).map_err(|error| self.error(error, ExitClass::Usage))?;
            return self.parse(&text, &format!("models.providers.{}.baseUrl", self.id));
        }
        if let Some(variable) = self.row_of_own().and_then(|row| row.url_variable.as_deref())
            && let Some(text) = settings.env.get(variable)
        {
            return self.parse(text, variable);
        }
        match self.row_of_own().and_then(|row| row.base_url.as_deref()) {
            Some(text) => self.parse(text, "the default address"),
            None => Err(self.error(
                format!("models.providers.{} has no baseUrl; set it to the server's address, usually ending in /v1", self.id),
                ExitClass::Usage,
            )),
        }
    }

    /// The row if it is this provider's own, and not just the generic one.
    fn row_of_own(&self) -> Option<&'static Row> {
        (self.row.id == self.id).then_some(self.row)
    }

    fn parse(&self, text: &str, from: &str) -> Result<Url, ProviderError> {
        let hint = "expected an address like http://127.0.0.1:8000/v1";
        match Url::parse(text.trim()) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
            Ok(url) => Err(self.error(format!("{from} is {}; {hint}", show(&url)), ExitClass::Usage)),
            Err(error) => {
                Err(self.error(format!("{from} is not an address ({error}); {hint}"), ExitClass::Usage))
            }
        }
    }

    /// Everything needed to send it a request.
    ///
    /// # Errors
    /// A missing variable, an unusable address, header or key, an API that is not spoken; each
    /// names its key.
    pub fn endpoint(&self, settings: &Settings) -> Result<Endpoint, ProviderError> {
        let base_url = self.base_url(settings)?;
        let declared = self.declared(settings);
        if let Some(declared) = declared {
            declared.supported(&self.id).map_err(|error| self.error(error, ExitClass::Usage))?;
        }
        let ca_file = declared.and_then(|declared| declared.request.tls.ca_file.as_ref());
        let ca_file = ca_file.map(|path| path.resolve(&settings.env)).transpose();
        let via = Via {
            ca_file: ca_file.map_err(|error| self.error(error, ExitClass::Usage))?,
            ..Via::configured()
        };
        let transport: Arc<dyn Transport> = match &self.in_process {
            Some(transport) => Arc::clone(transport),
            None => {
                settings.http.egress().trust(&base_url);
                Arc::clone(&settings.http) as Arc<dyn Transport>
            }
        };
        Ok(Endpoint {
            id: self.id.clone(),
            key: self.key(settings)?,
            headers: self.headers(settings)?,
            silence: declared.and_then(|declared| declared.timeout).unwrap_or(SILENCE),
            base_url,
            via,
            transport,
            row: self.row,
        })
    }

    /// The key: of the configuration, else of an auth profile, else of the provider's variable.
    fn key(&self, settings: &Settings) -> Result<Option<Key>, ProviderError> {
        let variable = self.row_of_own().and_then(|row| row.key_variable.as_deref());
        let declared = self.declared(settings).and_then(|declared| declared.api_key.as_ref());
        let secret = match (declared, settings.profiles.get(&self.id)) {
            (Some(reference), _) => Some(
                reference
                    .resolve(variable, &settings.env)
                    .map_err(|error| self.error(error, ExitClass::Unusable))?,
            ),
            (None, Some(profile)) => Some(profile.clone()),
            (None, None) => {
                let value = variable.and_then(|name| Some((name, settings.env.get(name)?)));
                value.map(|(name, value)| {
                    Secret::new(value, chela_config::SecretSource::Variable(name.to_owned()))
                })
            }
        };
        let Some(secret) = secret.filter(|_| self.in_process.is_none()) else { return Ok(None) };
        let key = Key::bearer(secret.expose(), secret.source().to_string());
        key.map(Some).map_err(|error| self.error(error, ExitClass::Unusable))
    }

    fn headers(&self, settings: &Settings) -> Result<HeaderMap, ProviderError> {
        let mut headers = HeaderMap::new();
        let Some(declared) = self.declared(settings) else { return Ok(headers) };
        for (name, value) in &declared.headers {
            let at = format!("models.providers.{}.headers.{name}", self.id);
            let secret =
                value.resolve(None, &settings.env).map_err(|error| self.error(error, ExitClass::Unusable))?;
            let (Ok(header), Ok(mut value)) =
                (name.parse::<HeaderName>(), HeaderValue::from_str(secret.expose()))
            else {
                return Err(self.error(format!("{at} is no header that can be sent"), ExitClass::Usage));
            };
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        Ok(headers)
    }

    fn error(&self, message: impl ToString, class: ExitClass) -> ProviderError {
        ProviderError { provider: self.id.clone(), message: message.to_string(), class }
    }
}

/// The warning for a key that would be readable on the way.
pub fn key_in_clear(endpoint: &Endpoint) -> Option<String> {
    let clear = endpoint.key.is_some()
        && endpoint.base_url.scheme() == "http"
        && endpoint.locality() == Locality::Public;
    clear.then(|| {
        format!(
            "{}: the key goes unencrypted to {}; use https for a public host",
            endpoint.id,
            show(&endpoint.base_url)
        )
    })
}

/// What to do when nothing is configured.
pub fn how_to_begin() -> String {
    format!(
        "run `chela setup`, or name a server: export VLLM_API_KEY=any for a vLLM at http://127.0.0.1:8000/v1, \
         {VLLM_BASE_URL} or {OPENAI_BASE_URL} for one elsewhere, or models.providers in the \
         configuration; `chela models scan` looks for servers on this machine"
    )
}
