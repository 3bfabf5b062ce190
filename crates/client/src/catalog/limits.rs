//! What fits a model, and how that is known.

use chela_chat::family::{self, Hints};
use chela_openai::models::ModelCard;
use futures_util::StreamExt;
use futures_util::stream;
use serde_json::{Value, json};

use super::discovery::Found;
use super::model::{Endpoint, Input, Limits, ModelRef, Source, Sourced};
use super::providers::{LimitsProbe, Row};

/// Window where nothing is known at all.
pub const SAFE_WINDOW: u32 = 8192;
/// Answer where nothing is known, if the window has room for it twice.
const SAFE_ANSWER: u32 = 8192;
/// Questions to one server at a time.
const AT_ONCE: usize = 8;
/// Largest answer of a limits question.
const ANSWER_LIMIT: usize = 16 << 20;

fn narrow(value: u64) -> Option<u32> {
    u32::try_from(value).ok().filter(|value| *value > 0)
}

/// What a row of the model list says. A LoRA row without a window has its parent's.
pub fn from_card(card: &ModelCard, all: &[ModelCard]) -> Found {
    let parent = card.parent.as_deref().and_then(|parent| all.iter().find(|other| other.id == parent));
    let live = |card: &ModelCard| {
        card.max_model_len
            .or(card.loaded_context_length)
            .or(card.meta.as_ref().and_then(|meta| meta.n_ctx))
            .or(card.max_input_tokens)
            .and_then(narrow)
    };
    let of_file = |card: &ModelCard| {
        card.context_length
            .or(card.context_window)
            .or(card.max_context_length)
            .or(card.meta.as_ref().and_then(|meta| meta.n_ctx_train))
            .and_then(narrow)
    };
    let says = |word: &str| match &card.capabilities {
        Some(Value::Array(words)) => Some(words.iter().any(|one| one.as_str() == Some(word))),
        _ => None,
    };
    Found {
        id: card.id.clone(),
        window: live(card).or_else(|| parent.and_then(live)),
        card_window: of_file(card).or_else(|| parent.and_then(of_file)),
        max_tokens: card.max_output_tokens.and_then(narrow),
        input: (card.kind.as_deref() == Some("vlm") || says("multimodal") == Some(true))
            .then(|| vec![Input::Text, Input::Image]),
        tools: says("tool_use").filter(|_| card.kind.is_some()),
        reasoning: None,
        embeddings: matches!(card.kind.as_deref(), Some("embeddings" | "embedding")),
        root: card.root.clone().filter(|root| *root != card.id),
        family: None,
    }
}

/// Ask a server for the limits that its model list leaves out. Best effort.
pub async fn probe(endpoint: &Endpoint, row: &Row, models: &mut [Found]) {
    match row.limits {
        LimitsProbe::List => {}
        LimitsProbe::LlamacppProps => llamacpp(endpoint, models).await,
        LimitsProbe::OllamaShow => ollama(endpoint, models).await,
        LimitsProbe::LmstudioModels => lmstudio(endpoint, models).await,
        LimitsProbe::LitellmInfo => litellm(endpoint, models).await,
    }
}

async fn get(endpoint: &Endpoint, path: &str) -> Option<Value> {
    let response = endpoint.transport.send(endpoint.get(endpoint.root(path))).await.ok()?;
    if !response.status.is_success() {
        return None;
    }
    serde_json::from_slice(&response.bytes(ANSWER_LIMIT).await.ok()?).ok()
}

async fn llamacpp(endpoint: &Endpoint, models: &mut [Found]) {
    let Some(props) = get(endpoint, "/props").await else { return };
    let slot = props.pointer("/default_generation_settings/n_ctx").and_then(Value::as_u64).and_then(narrow);
    let sees = props.pointer("/modalities/vision").and_then(Value::as_bool);
    let template = props.get("chat_template").and_then(Value::as_str);
    for model in models {
        model.window = slot.or(model.window);
        let family = family::find(Hints { model: Some(&model.id), architecture: None, template });
        model.family = family.map(|family| family.id.clone());
        if sees == Some(true) {
            model.input = Some(vec![Input::Text, Input::Image]);
        }
    }
}

async fn ollama(endpoint: &Endpoint, models: &mut [Found]) {
    let running = get(endpoint, "/api/ps").await.unwrap_or_default();
    // Collected first: a future that holds the closure over references is not `Send` for every lifetime.
    let asked: Vec<_> = models.iter().map(|model| ollama_show(endpoint, model.id.clone())).collect();
    let shown: Vec<Option<Value>> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    for (model, shown) in models.iter_mut().zip(shown) {
        if let Some(shown) = shown {
            read_ollama(model, &shown, &running);
        }
    }
}

async fn ollama_show(endpoint: &Endpoint, id: String) -> Option<Value> {
    let body = serde_json::to_vec(&json!({"model": id})).ok()?;
    let request = endpoint.post(endpoint.root("/api/show"), body.into());
    let response = endpoint.transport.send(request).await.ok()?;
    if !response.status.is_success() {
        return None;
    }
    serde_json::from_slice(&response.bytes(ANSWER_LIMIT).await.ok()?).ok()
}

/// The running window if the model is loaded, else the Modelfile's `num_ctx`; the file's own
/// window is only what it could be.
fn read_ollama(model: &mut Found, shown: &Value, running: &Value) {
    let named = |row: &&Value| {
        ["name", "model"].iter().any(|key| row.get(*key).and_then(Value::as_str) == Some(model.id.as_str()))
    };
    let loaded = running
        .get("models")
        .and_then(Value::as_array)
        .and_then(|rows| rows.iter().find(named))
        .and_then(|row| row.get("context_length"))
        .and_then(Value::as_u64);
    let set = shown.get("parameters").and_then(Value::as_str).and_then(|parameters| {
        parameters.lines().find_map(|line| line.trim().strip_prefix("num_ctx")?.trim().parse::<u64>().ok())
    });
    model.window = loaded.or(set).and_then(narrow);
    model.card_window = shown
        .get("model_info")
        .and_then(Value::as_object)
        .and_then(|info| info.iter().find(|(key, _)| key.ends_with(".context_length")))
        .and_then(|(_, value)| value.as_u64())
        .and_then(narrow);
    if let Some(words) = shown.get("capabilities").and_then(Value::as_array) {
        let says = |word: &str| words.iter().any(|one| one.as_str() == Some(word));
        model.tools = Some(says("tools"));
        model.reasoning = Some(says("thinking"));
        model.embeddings = says("embedding") && !says("completion");
        let vision = says("vision").then_some(Input::Image);
        model.input = Some(std::iter::once(Input::Text).chain(vision).collect());
    }
}

async fn lmstudio(endpoint: &Endpoint, models: &mut [Found]) {
    let Some(list) = get(endpoint, "/api/v0/models").await else { return };
    let Ok(list) = serde_json::from_value::<chela_openai::models::ModelList>(list) else { return };
    for card in &list.data {
        if let Some(model) = models.iter_mut().find(|model| model.id == card.id) {
            *model = from_card(card, &list.data);
        }
    }
}

async fn litellm(endpoint: &Endpoint, models: &mut [Found]) {
    let Some(info) = get(endpoint, "/model/info").await else { return };
    let rows = info.get("data").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for row in rows {
        let name = row.get("model_name").and_then(Value::as_str);
        let Some(model) = models.iter_mut().find(|model| Some(model.id.as_str()) == name) else { continue };
        let Some(info) = row.get("model_info") else { continue };
        let figure = |key: &str| info.get(key).and_then(Value::as_u64).and_then(narrow);
        model.window = figure("max_input_tokens").or(model.window);
        model.max_tokens = figure("max_output_tokens").or(model.max_tokens);
        model.tools = info.get("supports_function_calling").and_then(Value::as_bool).or(model.tools);
        model.reasoning = info.get("supports_reasoning").and_then(Value::as_bool).or(model.reasoning);
        if info.get("supports_vision").and_then(Value::as_bool) == Some(true) {
            model.input = Some(vec![Input::Text, Input::Image]);
        }
    }
}

/// What is known of a model's limits, by source.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// `contextWindow` of the configuration.
    pub config_window: Option<u32>,
    /// `maxTokens` of the configuration.
    pub config_answer: Option<u32>,
    /// What the server said.
    pub found: Option<&'a Found>,
    /// The server's kind.
    pub row: Option<&'a Row>,
    /// Window of the model's family in the table.
    pub table_window: Option<u32>,
}

/// The limits, and what the user should know about them.
pub fn resolve(reference: &ModelRef, known: Known<'_>) -> (Limits, Vec<String>) {
    let mut warnings = Vec::new();
    let server = server_window(known);
    let context_window = match (known.config_window, server) {
        (Some(config), Some(server)) if config > server.value && server.from != Source::Assumed => {
            warnings.push(format!(
                "{reference}: the configuration claims a window of {config} tokens, the server allows {}; \
                 using {}",
                server.value, server.value
            ));
            server
        }
        (Some(config), _) => Sourced::new(config, Source::Config),
        (None, Some(server)) => {
            if server.from == Source::Assumed {
                warnings.push(format!(
                    "{reference}: the server loads models with {} tokens unless it is told otherwise; assuming \
                     that (load the model with a larger window, or set contextWindow)",
                    server.value
                ));
            }
            server
        }
        (None, None) => match known.table_window {
            Some(table) => Sourced::new(table, Source::Table),
            None => {
                warnings.push(format!(
                    "{reference}: nobody says how long its window is; assuming {SAFE_WINDOW} tokens \
                     (set contextWindow of the model to what the server runs with)"
                ));
                Sourced::new(SAFE_WINDOW, Source::Assumed)
            }
        },
    };
    let window = context_window.value;
    let server_answer = known.found.and_then(|found| found.max_tokens);
    let max_tokens = match (known.config_answer, server_answer) {
        (Some(config), Some(server)) if config > server => {
            warnings.push(format!(
                "{reference}: the configuration claims answers of {config} tokens, the server allows {server}; \
                 using {server}"
            ));
            Sourced::new(server, Source::Runtime)
        }
        (Some(config), _) => Sourced::new(config, Source::Config),
        (None, Some(server)) => Sourced::new(server, Source::Runtime),
        (None, None) => Sourced::new(SAFE_ANSWER.min(window / 2).max(1), Source::Assumed),
    };
    let max_tokens = Sourced { value: max_tokens.value.min(window), ..max_tokens };
    (Limits { context_window, max_tokens }, warnings)
}

/// The window as far as the server tells. What a server with a small default could load is not
/// what it will load.
fn server_window(known: Known<'_>) -> Option<Sourced<u32>> {
    let found = known.found?;
    if let Some(window) = found.window {
        return Some(Sourced::new(window, Source::Runtime));
    }
    let default = known.row.and_then(|row| row.default_window);
    match (found.card_window, default) {
        (Some(card), Some(default)) if default < card => Some(Sourced::new(default, Source::Assumed)),
        (Some(card), _) => Some(Sourced::new(card, Source::ModelCard)),
        (None, Some(default)) => Some(Sourced::new(default, Source::Assumed)),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::providers;

    fn reference() -> ModelRef {
        ModelRef::new("p", "m")
    }

    fn window(known: Known<'_>) -> (u32, Source, usize) {
        let (limits, warnings) = resolve(&reference(), known);
        (limits.context_window.value, limits.context_window.from, warnings.len())
    }

    #[test]
    fn the_window_is_the_smaller_of_config_and_server() {
        let live = Found { window: Some(32768), card_window: Some(131_072), ..Found::default() };
        let card = Found { card_window: Some(40960), ..Found::default() };
        let none = Known::default();
        assert_eq!(
            window(Known { config_window: Some(128_000), found: Some(&live), ..none }),
            (32768, Source::Runtime, 1)
        );
        assert_eq!(
            window(Known { config_window: Some(8000), found: Some(&live), ..none }),
            (8000, Source::Config, 0)
        );
        assert_eq!(
            window(Known { config_window: Some(128_000), found: Some(&card), ..none }),
            (40960, Source::ModelCard, 1)
        );
        assert_eq!(window(Known { found: Some(&live), ..none }), (32768, Source::Runtime, 0));
        assert_eq!(window(Known { found: Some(&card), ..none }), (40960, Source::ModelCard, 0));
        assert_eq!(window(Known { table_window: Some(32768), ..none }), (32768, Source::Table, 0));
        assert_eq!(window(none), (SAFE_WINDOW, Source::Assumed, 1));
    }

    #[test]
    fn an_unloaded_ollama_model_gets_its_servers_default_not_its_cards_window() {
        let card = Found { card_window: Some(131_072), ..Found::default() };
        let row = providers::row("ollama");
        assert_eq!(window(Known { found: Some(&card), row, ..Known::default() }), (4096, Source::Assumed, 1));
    }

    #[test]
    fn a_lora_row_has_its_parents_window() {
        let base = ModelCard { max_model_len: Some(1024), ..ModelCard::new("base") };
        let lora = ModelCard { parent: Some("base".to_owned()), ..ModelCard::new("lora") };
        let all = [base, lora];
        assert_eq!(from_card(&all[1], &all).window, Some(1024));
    }

    #[test]
    fn ollama_answers_are_read() {
        let shown = json!({
            "parameters": "stop \"<|im_end|>\"\nnum_ctx                        16384\n",
            "model_info": {"general.architecture": "qwen3", "qwen3.context_length": 40960},
            "capabilities": ["completion", "tools", "thinking"]
        });
        let mut model = Found { id: "qwen3:8b".to_owned(), ..Found::default() };
        read_ollama(&mut model, &shown, &json!({"models": []}));
        assert_eq!((model.window, model.card_window), (Some(16384), Some(40960)));
        assert_eq!((model.tools, model.reasoning), (Some(true), Some(true)));
        let running = json!({"models": [{"name": "qwen3:8b", "context_length": 8192}]});
        read_ollama(&mut model, &shown, &running);
        assert_eq!(model.window, Some(8192));
    }

    #[test]
    fn answers_never_exceed_the_window() {
        let (limits, _) = resolve(
            &reference(),
            Known { config_window: Some(4096), config_answer: Some(8192), ..Known::default() },
        );
        assert_eq!(limits.max_tokens, Sourced::new(4096, Source::Config));
        let (limits, _) = resolve(&reference(), Known { config_window: Some(4096), ..Known::default() });
        assert_eq!(limits.max_tokens, Sourced::new(2048, Source::Assumed));
    }
}
