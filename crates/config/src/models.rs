//! The area `models`: providers and the models that they serve.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::decode::{Decode, Decoder, nearest};
use crate::diagnostic::Diagnostic;
use crate::key_path::Segment;
use crate::openclaw;
use crate::secret::SecretRef;
use crate::shape::Shape;
use crate::text::{BaseUrl, Params, PathText, Text};
use crate::tree::{Entry, Node, Value};

object! {
    /// Providers and the models that they serve.
    #[derive(Default)]
    pub struct Models {
        /// Which providers are listed and used.
        "mode" => mode: Option<Mode>,
        /// Servers by their id. An id stands before the slash of `"provider/model"`.
        "providers" => providers: BTreeMap<String, Provider>,
    }
    check provider_ids
}

choice! {
    /// Which providers are listed and used.
    pub enum Mode {
        /// Those of the config, and the ones that environment variables or auth profiles opt in
        /// to. The default.
        "merge" => Merge,
        /// Only those of the config.
        "replace" => Replace,
    }
}

object! {
    /// A server.
    #[derive(Default)]
    pub struct Provider {
        /// The address below which the API stands, with its `/v1`. The providers that Chela knows
        /// have a default; all others need it.
        "baseUrl" => base_url: Option<BaseUrl>,
        /// The key: the key itself, `"${NAME}"`, the bare name of the provider's own variable
        /// (`"VLLM_API_KEY"`), or a reference.
        "apiKey" => api_key: Option<SecretRef>,
        /// The API that the server speaks.
        "api" => api: Api,
        /// Headers that stand on every request, on discovery too. Each value is a string or a
        /// reference.
        "headers" => headers: BTreeMap<String, SecretRef>,
        /// How long to wait for the next byte where the server gives no other sign of life; 300
        /// without it.
        "timeoutSeconds" => timeout: Option<Duration>,
        /// How requests are made.
        "request" => request: Request,
        /// The models. Without any, the server is asked.
        "models" => models: Vec<Model>,
    }
    check unique_models
}

/// The API that a server speaks. `"openai-completions"`, also where the key is left out, is the one
/// that Chela speaks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Api {
    /// `POST {baseUrl}/chat/completions` and `GET {baseUrl}/models`.
    #[default]
    OpenaiCompletions,
    /// One of OpenClaw's others. The provider is read and cannot be used.
    Other(String),
}

/// A provider speaks an API that Chela does not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "models.providers.{provider}.api is \"{api}\"; Chela speaks \"openai-completions\": use the server's OpenAI-compatible address, or another provider"
)]
pub struct UnsupportedApi {
    /// The id of the provider.
    pub provider: String,
    /// Its API.
    pub api: String,
}

impl Decode for Api {
    const REQUIRED: bool = false;

    fn shape() -> Shape {
        Shape::Choice(vec![("openai-completions", "Chat completions. The default.")])
    }

    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<Self> {
        let api = cx.string_now::<Self>(node)?;
        if api == "openai-completions" {
            return Some(Api::OpenaiCompletions);
        }
        let others = openclaw::names("Api");
        if others.contains(&api.as_str()) {
            let message = format!("\"{api}\" is not spoken here, so this provider cannot be used");
            let hint = "use \"openai-completions\" with the server's OpenAI-compatible address";
            cx.warn(node.span, Diagnostic::warning(message).hint(hint));
            return Some(Api::Other(api));
        }
        let known = others.into_iter().chain(["openai-completions"]);
        cx.wrong_value::<Self, _>(node, nearest(&api, known).map(|near| format!("did you mean \"{near}\"?")))
    }

    fn missing(_: crate::source::Span, _: &mut Decoder<'_>) -> Option<Self> {
        Some(Api::default())
    }
}

impl Provider {
    /// An error if the provider speaks an API that Chela does not; `id` is its id.
    pub fn supported(&self, id: &str) -> Result<(), UnsupportedApi> {
        match &self.api {
            Api::OpenaiCompletions => Ok(()),
            Api::Other(api) => Err(UnsupportedApi { provider: id.to_owned(), api: api.clone() }),
        }
    }
}

object! {
    /// How requests are made.
    #[derive(Default)]
    pub struct Request {
        /// Transport security.
        "tls" => tls: Tls,
    }
}

object! {
    /// Transport security.
    #[derive(Default)]
    pub struct Tls {
        /// A file of certificate authorities (PEM) that are trusted for this server.
        "caFile" => ca_file: Option<PathText>,
    }
}

object! {
    /// A model.
    pub struct Model {
        /// The id, as the server knows it.
        "id" => id: Text,
        /// What lists call it. Without it, the id.
        "name" => name: Option<Text>,
        /// Whether it thinks before it answers; decides which thinking parameters are sent.
        "reasoning" => reasoning: Option<bool>,
        /// What it takes. Without it, text.
        "input" => input: Option<Vec<Input>>,
        /// What it costs, for the usage that is shown.
        "cost" => cost: Option<Cost>,
        /// Tokens of prompt and answer together. A server that says less wins.
        "contextWindow" => context_window: Option<u64>,
        /// Tokens of an answer at most.
        "maxTokens" => max_tokens: Option<u64>,
        /// Fields added to every request; those of `agents.defaults.models` win.
        "params" => params: Params,
        /// What the server or the model does differently.
        "compat" => compat: Compat,
    }
}

choice! {
    /// What a model takes.
    pub enum Input {
        /// Text.
        "text" => Text,
        /// Pictures.
        "image" => Image,
    }
    otherwise
        /// Something that Chela does not send.
        Other
}

object! {
    /// What a model costs, in dollars for a million tokens.
    #[derive(Default)]
    pub struct Cost {
        /// Tokens of the prompt.
        "input" => input: Option<f64>,
        /// Tokens of the answer.
        "output" => output: Option<f64>,
        /// Tokens of the prompt that the server had cached.
        "cacheRead" => cache_read: Option<f64>,
        /// Tokens of the prompt that the server put into its cache.
        "cacheWrite" => cache_write: Option<f64>,
    }
}

object! {
    /// What a server or a model does differently.
    #[derive(Default)]
    pub struct Compat {
        /// Whether it takes tools at all.
        "supportsTools" => supports_tools: Option<bool>,
        /// Whether tools may be sent with `strict: true`.
        "supportsStrictMode" => supports_strict_mode: Option<bool>,
        /// Whether `stream_options.include_usage` may be sent.
        "supportsUsageInStreaming" => supports_usage_in_streaming: Option<bool>,
        /// Which field limits the answer.
        "maxTokensField" => max_tokens_field: Option<MaxTokensField>,
        /// Whether the content of a message must be a string, not a list of parts.
        "requiresStringContent" => requires_string_content: Option<bool>,
        /// How thinking is switched on and off.
        "thinkingFormat" => thinking_format: Option<ThinkingFormat>,
        /// The values of `reasoning_effort` that it takes.
        "supportedReasoningEfforts" => supported_reasoning_efforts: Option<Vec<Effort>>,
    }
}

choice! {
    /// Which field limits the answer.
    pub enum MaxTokensField {
        /// `max_tokens`.
        "max_tokens" => MaxTokens,
        /// `max_completion_tokens`.
        "max_completion_tokens" => MaxCompletionTokens,
    }
}

choice! {
    /// How thinking is switched on and off.
    pub enum ThinkingFormat {
        /// `reasoning_effort`.
        "openai" => Openai,
        /// `enable_thinking`.
        "qwen" => Qwen,
        /// `chat_template_kwargs: {enable_thinking}`.
        "qwen-chat-template" => QwenChatTemplate,
    }
    otherwise
        /// A way that Chela does not speak: thinking is left to the server.
        Other
}

choice! {
    /// A value of `reasoning_effort`.
    pub enum Effort {
        /// No thinking.
        "none" => None,
        /// The least.
        "minimal" => Minimal,
        /// A little.
        "low" => Low,
        /// Some.
        "medium" => Medium,
        /// Much.
        "high" => High,
        /// The most.
        "xhigh" => Xhigh,
    }
    otherwise
        /// An effort that Chela does not ask for.
        Other
}

/// The id of a provider stands before the slash of `provider/model`.
fn provider_ids(models: &[Entry], cx: &mut Decoder<'_>) {
    let providers = models.iter().find(|entry| entry.key == "providers");
    for entry in providers.map_or(&[][..], |providers| providers.value.entries()) {
        if entry.key.is_empty() || entry.key.contains(|c: char| "/*".contains(c) || c.is_whitespace()) {
            let path = ["providers", &entry.key].map(|key| Segment::Key(key.to_owned()));
            let diagnostic = Diagnostic::error("wrong key").expected("an id without slash, blank and `*`");
            cx.refuse_below(&path, entry.key_span, diagnostic);
        }
    }
}

/// A provider has no two models of one id.
fn unique_models(provider: &[Entry], cx: &mut Decoder<'_>) {
    let mut seen = BTreeSet::new();
    let models = provider.iter().find(|entry| entry.key == "models");
    let Some(Value::Array(models)) = models.map(|models| &models.value.value) else { return };
    for (n, model) in models.iter().enumerate() {
        let Some((id, text)) = model.text("id") else { continue };
        if !seen.insert(text) {
            let path = [Segment::Key("models".to_owned()), Segment::Index(n), Segment::Key("id".to_owned())];
            let diagnostic = Diagnostic::error("two models with this id").hint("keep one of the two");
            cx.refuse_below(&path, id.span, diagnostic);
        }
    }
}
