//! The area `agents`: which model the agent uses, and how.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::decode::{DecodeKey, Decoder};
use crate::diagnostic::Diagnostic;
use crate::key_path::Segment;
use crate::text::{Params, PathText, Text};
use crate::tree::Entry;

object! {
    /// The agent.
    #[derive(Default)]
    pub struct Agents {
        /// What holds for every agent.
        "defaults" => defaults: AgentDefaults,
    }
}

object! {
    /// What holds for every agent.
    #[derive(Default)]
    pub struct AgentDefaults {
        /// The model: `"provider/model"` or an alias, or an object that names fallbacks too. The
        /// part before the first slash is the provider; the rest, slashes and all, is the model.
        "model" => model: Option<ModelChoice>,
        /// Settings per model. A wildcard such as `"vllm/*": {}` asks that provider's server for
        /// its models even where the config declares some.
        "models" => models: BTreeMap<ModelPattern, ModelEntry>,
        /// The folder that the agent works in. Without it, the current folder.
        "workspace" => workspace: Option<PathText>,
        /// How long a whole turn may take. Without it, as long as it makes progress.
        "timeoutSeconds" => timeout: Option<Duration>,
    }
    check unique_aliases
}

object! {
    /// The model, and what stands in for it.
    #[derive(Default)]
    pub struct ModelChoice {
        /// The model: `"provider/model"` or an alias.
        "primary" => primary: Option<Text>,
        /// Models that are tried in this order when the server of the primary one fails.
        "fallbacks" => fallbacks: Vec<Text>,
    }
    shorthand "primary"
}

object! {
    /// Settings of one model, or of all models of a provider.
    #[derive(Default)]
    pub struct ModelEntry {
        /// A short name for the model.
        "alias" => alias: Option<Text>,
        /// Fields added to every request: `temperature`, `top_p`, `chat_template_kwargs`,
        /// `extra_body` (whose fields are added as well), and so on.
        "params" => params: Params,
    }
}

/// A key of `agents.defaults.models`: `provider/model`, or `provider/*` for all of a provider.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModelPattern {
    /// The id of the provider.
    pub provider: String,
    /// The id of the model, which may hold slashes; `None` stands for all.
    pub model: Option<String>,
}

impl fmt::Display for ModelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model.as_deref().unwrap_or("*"))
    }
}

impl DecodeKey for ModelPattern {
    const WHAT: &'static str = "\"provider/model\" or \"provider/*\"";

    fn decode_key(key: &str) -> Result<Self, &'static str> {
        let (provider, model) = key.split_once('/').ok_or("name the provider too, as in \"vllm/model\"")?;
        if provider.is_empty() || model.is_empty() {
            return Err("write something on both sides of the slash");
        }
        if provider.contains('*') || (model.contains('*') && model != "*") {
            return Err("a `*` stands alone after the slash, for all models of one provider");
        }
        let model = (model != "*").then(|| model.to_owned());
        Ok(ModelPattern { provider: provider.to_owned(), model })
    }
}

impl AgentDefaults {
    /// The entries that hold for a model: that of the wildcard, then its own.
    pub fn entries_for<'c>(&'c self, provider: &str, model: &str) -> impl Iterator<Item = &'c ModelEntry> {
        let key = |model: Option<&str>| ModelPattern {
            provider: provider.to_owned(),
            model: model.map(str::to_owned),
        };
        [key(None), key(Some(model))].into_iter().filter_map(|key| self.models.get(&key))
    }

    /// Whether `"provider/*"` stands among the models.
    pub fn has_wildcard(&self, provider: &str) -> bool {
        self.models.keys().any(|pattern| pattern.provider == provider && pattern.model.is_none())
    }
}

/// An alias names one model.
fn unique_aliases(defaults: &[Entry], cx: &mut Decoder<'_>) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    let models = defaults.iter().find(|entry| entry.key == "models");
    for entry in models.map_or(&[][..], |models| models.value.entries()) {
        let Some((alias, text)) = entry.value.text("alias") else { continue };
        let message = match seen.insert(text, &entry.key) {
            _ if entry.key.ends_with("/*") => "an alias for all models of a provider".to_owned(),
            Some(first) => format!("the alias of {first} too"),
            None => continue,
        };
        let path = ["models", &entry.key, "alias"].map(|key| Segment::Key(key.to_owned()));
        let diagnostic = Diagnostic::error(message).hint("give each model its own");
        cx.refuse_below(&path, alias.span, diagnostic);
    }
}
