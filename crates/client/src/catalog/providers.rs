//! The bundled rows of known servers: vendors are data, not code paths.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// What is known of one kind of server.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Row {
    /// Provider id, the part of a model reference before the first slash.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Where the server listens by default.
    pub base_url: Option<String>,
    /// Environment variable of the key.
    pub key_variable: Option<String>,
    /// Environment variable that moves the server, and opts in by itself.
    pub url_variable: Option<String>,
    /// Whether a set key variable alone makes the provider exist.
    #[serde(default)]
    pub key_opts_in: bool,
    /// Wire API.
    pub api: String,
    /// Values of `owned_by` in its model list that tell the server apart.
    #[serde(default)]
    pub owned_by: Vec<String>,
    /// Where it says its limits.
    pub limits: LimitsProbe,
    /// Path, from the server's root, that answers 200 while the server lives.
    #[serde(default = "default_health")]
    pub health: String,
    /// Gauges of `/metrics` that count requests running or waiting.
    #[serde(default)]
    pub activity: Vec<String>,
    /// Whether it renders the model's own chat template and takes `chat_template_kwargs` for it.
    #[serde(default)]
    pub templates: bool,
    /// How it counts tokens, where it does.
    pub tokenize: Option<TokenizeApi>,
    /// Window of a model that is not loaded and says nothing, where the server has a default.
    pub default_window: Option<u32>,
    /// Command that starts it.
    pub start: Option<String>,
}

fn default_health() -> String {
    "/health".to_owned()
}

/// Where a server says its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitsProbe {
    /// In the rows of the model list.
    List,
    /// llama.cpp: `GET /props`.
    LlamacppProps,
    /// Ollama: `POST /api/show` and `GET /api/ps`.
    OllamaShow,
    /// LM Studio: `GET /api/v0/models`.
    LmstudioModels,
    /// LiteLLM: `GET /model/info`.
    LitellmInfo,
}

/// How a server counts the tokens of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenizeApi {
    /// `POST /tokenize {messages, tools}` answers `{count, max_model_len}`.
    Vllm,
    /// `POST /apply-template {messages, tools}`, then `POST /tokenize {content}`.
    Llamacpp,
}

static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("providers.json"))
        .unwrap_or_else(|error| unreachable!("providers.json is part of the program and tested: {error}"))
});

/// All rows.
pub fn rows() -> &'static [Row] {
    &ROWS
}

/// The row of a provider id.
pub fn row(id: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.id == id)
}

/// The row of a server about which nothing is known.
pub fn generic() -> &'static Row {
    row("openai").unwrap_or(&ROWS[0])
}

/// The row that a model list's `owned_by` points to: the server itself knows best what it is.
pub fn row_of_owner(owned_by: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.owned_by.iter().any(|owner| owner == owned_by))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_rows_are_read_and_agree_with_the_documentation() {
        let vllm = row("vllm").unwrap();
        assert_eq!(vllm.base_url.as_deref(), Some("http://127.0.0.1:8000/v1"));
        assert_eq!(vllm.key_variable.as_deref(), Some("VLLM_API_KEY"));
        let ids: Vec<_> = rows().iter().map(|row| row.id.as_str()).collect();
        assert_eq!(ids, ["vllm", "sglang", "llamacpp", "ollama", "lmstudio", "litellm", "openai"]);
        for row in rows() {
            assert!(row.base_url.as_ref().is_none_or(|url| url::Url::parse(url).is_ok()), "{}", row.id);
        }
        assert_eq!(row_of_owner("llamacpp").unwrap().id, "llamacpp");
    }
}
