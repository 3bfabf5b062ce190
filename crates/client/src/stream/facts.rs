//! What a server taught us about one of its models: the fields that it refuses, how tools reach
//! the model, its real window. Kept between processes, so that a session's first request already
//! goes out the way its last one will.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::catalog::{Model, State};
use crate::transport::show;

/// Facts older than this are asked anew: the server may have been started with other flags.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
const KIND: &str = "facts";

/// What is known of one model of one server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The window that the server named.
    pub window: Option<u32>,
    /// How tools reach the model.
    #[serde(default)]
    pub tools: ToolRoute,
    /// Where reasoning comes from, for a model whose prompt opens it.
    #[serde(default)]
    pub reasoning: Option<Reasoning>,
    /// Fields that the server refuses.
    #[serde(default)]
    pub without: BTreeSet<Field>,
}

/// How tools reach the model, and its calls reach us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToolRoute {
    /// As fields of the API.
    #[default]
    Native,
    /// As a field with `tool_choice: "none"`: the template puts the tools into the prompt, and
    /// the calls come back as text.
    Text,
    /// Rendered into the system text, calls as text: the template knows no tools.
    Rendered,
}

/// Where a server puts reasoning that the prompt has opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reasoning {
    /// Into a field of its own: it has a reasoning parser.
    Field,
    /// Into the text, which starts inside it.
    Text,
}

/// A field that a server may refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Field {
    /// `stream_options`.
    StreamOptions,
    /// `strict` of a tool.
    Strict,
    /// `max_tokens`, which newer APIs call `max_completion_tokens`.
    MaxTokens,
    /// `chat_template_kwargs`.
    ChatTemplateKwargs,
    /// `reasoning_effort`.
    ReasoningEffort,
}

impl Field {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Field::StreamOptions => "stream_options",
            Field::Strict => "strict tools",
            Field::MaxTokens => "max_tokens",
            Field::ChatTemplateKwargs => "chat_template_kwargs",
            Field::ReasoningEffort => "reasoning_effort",
        }
    }

    /// Words of an error message, in lower case, that blame the field.
    pub fn blamed_by(self) -> &'static [&'static str] {
        match self {
            Field::StreamOptions => &["stream_options", "stream options", "include_usage"],
            Field::Strict => {
                &["strict", "additionalproperties", "structural tag", "structural_tag", "grammar"]
            }
            Field::MaxTokens => &["max_completion_tokens"],
            Field::ChatTemplateKwargs => &["chat_template_kwargs", "enable_thinking"],
            Field::ReasoningEffort => &["reasoning_effort", "reasoning effort"],
        }
    }
}

/// The facts of all models, in memory and in the cache folder.
#[derive(Debug, Default)]
pub struct FactBook {
    state: State,
    known: Mutex<BTreeMap<String, BTreeMap<String, Facts>>>,
}

impl FactBook {
    /// A book kept in `state`.
    pub fn new(state: State) -> Self {
        Self { state, known: Mutex::default() }
    }

    /// What is known of a model.
    pub fn of(&self, model: &Model) -> Facts {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        self.server(&mut known, model).get(&model.reference.model).cloned().unwrap_or_default()
    }

    /// Change what is known of a model, here and in the cache folder.
    pub fn learn(&self, model: &Model, change: impl FnOnce(&mut Facts)) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let server = self.server(&mut known, model);
        let facts = server.entry(model.reference.model.clone()).or_default();
        let before = facts.clone();
        change(facts);
        if *facts != before {
            self.state.write(KIND, &model.provider.base_url, server);
        }
    }

    fn server<'a>(
        &self,
        known: &'a mut BTreeMap<String, BTreeMap<String, Facts>>,
        model: &Model,
    ) -> &'a mut BTreeMap<String, Facts> {
        let base = &model.provider.base_url;
        known.entry(show(base)).or_insert_with(|| kept(&self.state, base))
    }
}

/// What an earlier process learned about a server's models, by model id.
pub fn kept(state: &State, base_url: &url::Url) -> BTreeMap<String, Facts> {
    let kept = state.read::<BTreeMap<String, Facts>>(KIND, base_url);
    kept.filter(|kept| kept.age < LIFETIME).map(|kept| kept.value).unwrap_or_default()
}

/// Forget what is known of a server's models; a refresh of its catalog does.
pub fn forget(state: &State, base_url: &url::Url) {
    state.forget(KIND, base_url);
}
