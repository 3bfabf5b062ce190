//! From what is declared and what the server said to models.

use chela_chat::family::{self, Family, ReasoningBack};
use chela_config as config;
use chela_config::{Effort, MaxTokensField, ThinkingFormat};
use serde_json::{Map, Value};

use super::discovery::{Discovered, Found};
use super::limits::{self, Known};
use super::model::{Caps, Compat, Cost, Endpoint, Input, Model, ModelRef, Source, Sourced, ThinkingControl};
use super::provider::{Provider, Settings, key_in_clear};
use super::providers;
use crate::stream::{Field, RESERVED};

/// The models of one provider: the declared ones first, then what the server lists besides, if
/// it is asked for models. Models that only make embeddings are left out.
pub fn models(
    settings: &Settings,
    provider: &Provider,
    endpoint: &Endpoint,
    discovered: Option<&Discovered>,
) -> Vec<Model> {
    let declared = provider.declared(settings).map(|declared| declared.models.as_slice()).unwrap_or_default();
    let found = discovered.map(|discovered| discovered.models.as_slice()).unwrap_or_default();
    let mut endpoint = endpoint.clone();
    if let Some(row) = discovered.and_then(|discovered| providers::row(&discovered.kind)) {
        endpoint.row = row;
    }
    let mut models = Vec::new();
    for model in declared {
        match model.id.resolve(&settings.env) {
            Ok(id) => {
                let found = found.iter().find(|found| found.id == id);
                models.push(build(settings, &endpoint, &id, Some(model), found));
            }
            Err(error) => tracing::warn!(%error, "a declared model is left out"),
        }
    }
    if provider.discovers {
        for found in found {
            let known = models.iter().any(|model| model.reference.model == found.id);
            if !known && !found.embeddings {
                models.push(build(settings, &endpoint, &found.id, None, Some(found)));
            }
        }
    }
    models
}

fn build(
    settings: &Settings,
    endpoint: &Endpoint,
    id: &str,
    declared: Option<&config::Model>,
    found: Option<&Found>,
) -> Model {
    let reference = ModelRef::new(&endpoint.id, id);
    let family = family_of(id, found);
    let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let (limits, mut warnings) = limits::resolve(
        &reference,
        Known {
            config_window: declared.and_then(|model| model.context_window).map(narrow),
            config_answer: declared.and_then(|model| model.max_tokens).map(narrow),
            found,
            row: Some(endpoint.row),
            table_window: family.map(|family| family.window.assume),
        },
    );
    warnings.extend(key_in_clear(endpoint));
    let caps = Caps {
        tools: tools(declared, found),
        reasoning: match (declared.and_then(|model| model.reasoning), found.and_then(|found| found.reasoning))
        {
            (Some(config), _) => Sourced::new(config, Source::Config),
            (None, Some(server)) => Sourced::new(server, Source::Runtime),
            (None, None) => match family {
                Some(family) => Sourced::new(family.reasoning.is_some(), Source::Table),
                None => Sourced::new(false, Source::Assumed),
            },
        },
        input: input(declared, found),
    };
    let thinking = thinking(declared, &caps.reasoning, family, endpoint);
    let name =
        declared.and_then(|model| model.name.as_ref()).and_then(|name| name.resolve(&settings.env).ok());
    Model {
        params: params(settings, &reference, declared, &mut warnings),
        name: name.unwrap_or_else(|| id.to_owned()),
        provider: endpoint.clone(),
        cost: declared.and_then(|model| model.cost.as_ref()).map(cost).unwrap_or_default(),
        compat: compat(declared.map(|model| &model.compat), family),
        reference,
        limits,
        caps,
        thinking,
        resend_reasoning: family.is_some_and(|family| family.reasoning_back != ReasoningBack::Never),
        warnings,
        family,
    }
}

/// The family: by the id, by what discovery saw of the template, or by the name of the weights.
fn family_of(id: &str, found: Option<&Found>) -> Option<&'static Family> {
    let seen = found.and_then(|found| found.family.as_deref());
    family::of_model(id)
        .or_else(|| family::all().iter().find(|family| Some(family.id.as_str()) == seen))
        .or_else(|| family::of_model(found?.root.as_deref()?))
}

fn tools(declared: Option<&config::Model>, found: Option<&Found>) -> Sourced<bool> {
    match (declared.and_then(|model| model.compat.supports_tools), found.and_then(|found| found.tools)) {
        (Some(config), _) => Sourced::new(config, Source::Config),
        (None, Some(server)) => Sourced::new(server, Source::Runtime),
        (None, None) => Sourced::new(true, Source::Assumed),
    }
}

fn input(declared: Option<&config::Model>, found: Option<&Found>) -> Sourced<Vec<Input>> {
    if let Some(kinds) = declared.and_then(|model| model.input.as_ref()) {
        let kinds = kinds.iter().filter_map(|kind| match kind {
            config::Input::Text => Some(Input::Text),
            config::Input::Image => Some(Input::Image),
            config::Input::Other => None,
        });
        return Sourced::new(kinds.collect(), Source::Config);
    }
    match found.and_then(|found| found.input.clone()) {
        Some(kinds) => Sourced::new(kinds, Source::Runtime),
        None => Sourced::new(vec![Input::Text], Source::Assumed),
    }
}

fn cost(cost: &config::Cost) -> Cost {
    Cost {
        input: cost.input.unwrap_or(0.0),
        output: cost.output.unwrap_or(0.0),
        cache_read: cost.cache_read.unwrap_or(0.0),
        cache_write: cost.cache_write.unwrap_or(0.0),
    }
}

/// How the model is told to think: as the configuration says, not at all if it says that the
/// model does not, else as the family and the server want it.
fn thinking(
    declared: Option<&config::Model>,
    reasoning: &Sourced<bool>,
    family: Option<&Family>,
    endpoint: &Endpoint,
) -> ThinkingControl {
    match declared.and_then(|model| model.compat.thinking_format.as_ref()) {
        Some(ThinkingFormat::Openai) => return ThinkingControl::ReasoningEffort,
        Some(ThinkingFormat::Qwen) => return ThinkingControl::EnableThinkingField,
        Some(ThinkingFormat::QwenChatTemplate) => return enable_thinking(),
        Some(ThinkingFormat::Other) => return ThinkingControl::None,
        None => {}
    }
    if !reasoning.value && reasoning.from != Source::Assumed {
        return ThinkingControl::None;
    }
    if !endpoint.row.templates {
        return if reasoning.value { ThinkingControl::ReasoningEffort } else { ThinkingControl::None };
    }
    // A template ignores a variable that it does not know.
    let Some(family) = family else { return enable_thinking() };
    match &family.thinking {
        Some(switch) if !switch.effort.is_empty() => ThinkingControl::ReasoningEffort,
        Some(switch) => switch.kwarg.clone().map_or(ThinkingControl::None, ThinkingControl::Template),
        None => ThinkingControl::None,
    }
}

fn enable_thinking() -> ThinkingControl {
    ThinkingControl::Template("enable_thinking".to_owned())
}

fn compat(declared: Option<&config::Compat>, family: Option<&Family>) -> Compat {
    let levels = family.and_then(|family| family.thinking.as_ref()).map(|thinking| thinking.effort.clone());
    let Some(compat) = declared else {
        return Compat { efforts: levels.unwrap_or_default(), ..Compat::default() };
    };
    let mut without = std::collections::BTreeSet::new();
    if compat.supports_strict_mode == Some(false) {
        without.insert(Field::Strict);
    }
    if compat.supports_usage_in_streaming == Some(false) {
        without.insert(Field::StreamOptions);
    }
    if compat.max_tokens_field == Some(MaxTokensField::MaxCompletionTokens) {
        without.insert(Field::MaxTokens);
    }
    let efforts = compat.supported_reasoning_efforts.iter().flatten().filter_map(|effort| match effort {
        Effort::None => Some("none"),
        Effort::Minimal => Some("minimal"),
        Effort::Low => Some("low"),
        Effort::Medium => Some("medium"),
        Effort::High => Some("high"),
        Effort::Xhigh => Some("xhigh"),
        Effort::Other => None,
    });
    let efforts: Vec<String> = efforts.map(str::to_owned).collect();
    Compat {
        string_content: compat.requires_string_content == Some(true),
        without,
        efforts: if efforts.is_empty() { levels.unwrap_or_default() } else { efforts },
    }
}

/// The request fields: of the declared model, then of the wildcard, then of the model's own entry.
fn params(
    settings: &Settings,
    reference: &ModelRef,
    declared: Option<&config::Model>,
    warnings: &mut Vec<String>,
) -> Map<String, Value> {
    let entries = settings.config.agents.defaults.entries_for(&reference.provider, &reference.model);
    let all = declared.map(|model| &model.params).into_iter().chain(entries.map(|entry| &entry.params));
    let mut merged = Map::new();
    for params in all {
        match params.resolve(&settings.env) {
            Ok(fields) => merged.extend(fields),
            Err(error) => warnings.push(format!("{reference}: params left out: {error}")),
        }
    }
    for name in RESERVED {
        if merged.remove(name).is_some() {
            warnings.push(format!("{reference}: params.{name} has no effect: Chela sets it itself"));
        }
    }
    merged
}
