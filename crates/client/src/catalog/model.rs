//! A model as the rest of the program sees it: where it is, what it can, and how that is known.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chela_chat::family::Family;
use http::{HeaderMap, HeaderValue, Method, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use super::providers::Row;
use crate::stream::Field;
use crate::transport::{Locality, Request, Transport, Via, show};

/// `provider/model`, split on the first slash: model ids may contain more of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String")]
pub struct ModelRef {
    /// Provider id.
    pub provider: String,
    /// Id as the server knows it.
    pub model: String,
}

impl ModelRef {
    /// A reference of both parts.
    pub fn new(provider: impl Into<String>, model: impl Into<String>) -> Self {
        Self { provider: provider.into(), model: model.into() }
    }

    /// Split `provider/model` on the first slash; `None` if either part is empty.
    pub fn parse(text: &str) -> Option<Self> {
        let (provider, model) = text.split_once('/')?;
        (!provider.is_empty() && !model.is_empty()).then(|| Self::new(provider, model))
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

impl From<ModelRef> for String {
    fn from(reference: ModelRef) -> Self {
        reference.to_string()
    }
}

/// Where a figure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The configuration file.
    Config,
    /// The running server: what it really allows.
    Runtime,
    /// What the server says of the model's file or training.
    ModelCard,
    /// The bundled table by family.
    Table,
    /// Nothing known: a small safe value.
    Assumed,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Config => "config",
            Source::Runtime => "server",
            Source::ModelCard => "model card",
            Source::Table => "table",
            Source::Assumed => "assumed",
        })
    }
}

/// A value that knows where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// Its source.
    pub from: Source,
}

impl<T> Sourced<T> {
    /// A value of a source.
    pub fn new(value: T, from: Source) -> Self {
        Self { value, from }
    }
}

/// What fits, in tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Prompt and answer together.
    pub context_window: Sourced<u32>,
    /// Answer alone.
    pub max_tokens: Sourced<u32>,
}

/// A kind of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Input {
    /// Text.
    Text,
    /// Images.
    Image,
    /// Sound.
    Audio,
}

/// What a model can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Caps {
    /// Takes tools.
    pub tools: Sourced<bool>,
    /// Thinks before it answers.
    pub reasoning: Sourced<bool>,
    /// Kinds of input.
    pub input: Sourced<Vec<Input>>,
}

/// Prices per million tokens, in the currency of the configuration file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Prompt tokens.
    pub input: f64,
    /// Answer tokens.
    pub output: f64,
    /// Prompt tokens taken from the cache.
    pub cache_read: f64,
    /// Prompt tokens written to the cache.
    pub cache_write: f64,
}

impl Cost {
    /// Price of one request.
    pub fn of(&self, usage: &chela_openai::usage::Usage) -> f64 {
        let cached = usage.cached_tokens().unwrap_or(0).min(usage.prompt_tokens);
        let written = usage
            .prompt_tokens_details
            .as_ref()
            .and_then(Option::as_ref)
            .and_then(|details| details.created_cache_tokens)
            .unwrap_or(0)
            .min(usage.prompt_tokens - cached);
        let fresh = usage.prompt_tokens - cached - written;
        (fresh as f64 * self.input
            + cached as f64 * self.cache_read
            + written as f64 * self.cache_write
            + usage.completion_tokens as f64 * self.output)
            / 1e6
    }
}

/// How a model is told to think, or not to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThinkingControl {
    /// By a boolean of this name in `chat_template_kwargs`.
    Template(String),
    /// By `enable_thinking` as a field of the request.
    EnableThinkingField,
    /// By `reasoning_effort`: gpt-oss and hosted APIs.
    ReasoningEffort,
    /// Not at all.
    None,
}

/// A key, as the header that carries it. It cannot be printed.
#[derive(Clone)]
pub struct Key {
    header: HeaderValue,
    /// Where it was taken from, for people: `VLLM_API_KEY`, `auth profile vllm`, …
    pub source: String,
}

impl Key {
    /// A key sent as `Authorization: Bearer`.
    ///
    /// # Errors
    /// A key with characters that no header may carry.
    pub fn bearer(key: &str, source: impl Into<String>) -> Result<Self, InvalidKey> {
        let source = source.into();
        let Ok(mut header) = HeaderValue::from_str(&format!("Bearer {}", key.trim())) else {
            return Err(InvalidKey { source_name: source });
        };
        header.set_sensitive(true);
        Ok(Self { header, source })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key(*** from {})", self.source)
    }
}

/// A key that no header can carry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key from {source_name} contains a line break or a control character and cannot be sent")]
pub struct InvalidKey {
    /// Where the key came from.
    pub source_name: String,
}

/// A server, and everything needed to send it a request.
#[derive(Clone)]
pub struct Endpoint {
    /// Provider id.
    pub id: String,
    /// Base URL; the API's paths hang below it. It usually ends in `/v1`.
    pub base_url: Url,
    /// Key, if one is configured.
    pub key: Option<Key>,
    /// Headers for every request, discovery too.
    pub headers: HeaderMap,
    /// Silence allowed while no sign of life can be had (`timeoutSeconds`).
    pub silence: Duration,
    /// How to connect.
    pub via: Via,
    /// What carries the requests.
    pub transport: Arc<dyn Transport>,
    /// What is known of this kind of server.
    pub row: &'static Row,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("id", &self.id)
            .field("base_url", &show(&self.base_url))
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// URL of an API path, such as `chat/completions`.
    pub fn api(&self, path: &str) -> Url {
        let mut url = self.base_url.clone();
        url.set_path(&format!("{}/{path}", self.base_url.path().trim_end_matches('/')));
        url
    }

    /// URL of a path below the server's root, where `/health` and `/metrics` are: the base URL
    /// without its `/v1`.
    pub fn root(&self, path: &str) -> Url {
        let base = self.base_url.path().trim_end_matches('/');
        let mut url = self.base_url.clone();
        url.set_path(&format!(
            "{}/{}",
            base.strip_suffix("/v1").unwrap_or(base),
            path.trim_start_matches('/')
        ));
        url
    }

    /// A GET with the endpoint's headers and key.
    pub fn get(&self, url: Url) -> Request {
        let mut request = Request::new(Method::GET, url, self.via.clone());
        request.headers = self.headers.clone();
        if let Some(key) = &self.key {
            request.headers.insert(header::AUTHORIZATION, key.header.clone());
        }
        request
    }

    /// A POST of a JSON body with the endpoint's headers and key.
    pub fn post(&self, url: Url, body: Bytes) -> Request {
        let mut request = self.get(url);
        request.method = Method::POST;
        request.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.body = body;
        request
    }

    /// How far away the server is, by the spelling of its address.
    pub fn locality(&self) -> Locality {
        if self.via.socket.is_some() { Locality::Local } else { Locality::of_host(&self.base_url) }
    }
}

/// A model that can be asked.
#[derive(Clone, Debug)]
pub struct Model {
    /// `provider/model`.
    pub reference: ModelRef,
    /// Name for people.
    pub name: String,
    /// Where it is served.
    pub provider: Endpoint,
    /// What fits.
    pub limits: Limits,
    /// What it can do.
    pub caps: Caps,
    /// What it costs.
    pub cost: Cost,
    /// Request fields from the configuration: sampling, `extra_body`, `chat_template_kwargs`.
    pub params: Map<String, Value>,
    /// How it is told to think.
    pub thinking: ThinkingControl,
    /// Whether the family wants its reasoning back in later requests; without that it is not sent.
    pub resend_reasoning: bool,
    /// What the configuration's `compat` says.
    pub compat: Compat,
    /// What the user should know, one line each: a guessed window, a key over plain http.
    pub warnings: Vec<String>,
    /// What is known of its family, by its name or its template.
    pub family: Option<&'static Family>,
}

/// What the server or the model does differently, as the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compat {
    /// Content must be a string, never a list of parts.
    pub string_content: bool,
    /// Fields that are never sent.
    pub without: BTreeSet<Field>,
    /// Values of `reasoning_effort` that it takes; empty if nothing is known.
    pub efforts: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_split_on_the_first_slash() {
        assert_eq!(ModelRef::parse("vllm/Qwen/Qwen3-8B"), Some(ModelRef::new("vllm", "Qwen/Qwen3-8B")));
        assert_eq!(ModelRef::parse("bare"), None);
        assert_eq!(ModelRef::parse("/x"), None);
        assert_eq!(ModelRef::parse("x/"), None);
        assert_eq!(ModelRef::new("a", "b/c").to_string(), "a/b/c");
    }

    #[test]
    fn a_key_is_never_printed() {
        let key = Key::bearer("sk-secret", "VLLM_API_KEY").unwrap();
        assert_eq!(format!("{key:?}"), "Key(*** from VLLM_API_KEY)");
        assert!(key.header.is_sensitive());
        let error = Key::bearer("sk\nsecret", "VLLM_API_KEY").unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn cost_counts_cached_tokens_at_their_own_price() {
        let usage: chela_openai::usage::Usage = serde_json::from_value(serde_json::json!({
            "prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100,
            "prompt_tokens_details": {"cached_tokens": 400}
        }))
        .unwrap();
        let cost = Cost { input: 2.0, output: 8.0, cache_read: 0.5, cache_write: 0.0 };
        assert!((cost.of(&usage) - (600.0 * 2.0 + 400.0 * 0.5 + 100.0 * 8.0) / 1e6).abs() < 1e-12);
    }
}
