//! `GET /v1/models`, with the fields that servers add to say what a model can take.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::de;

/// Answer of `/v1/models`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelList {
    /// `list`.
    #[serde(default = "list")]
    pub object: String,
    /// One row per model, LoRA adapters included. `null` (Ollama without
    /// models) reads as empty; a missing `data` is an error, since such a
    /// body is no model list.
    #[serde(deserialize_with = "de::or_default")]
    pub data: Vec<ModelCard>,
}

impl ModelList {
    /// A list of these rows.
    pub fn new(data: Vec<ModelCard>) -> Self {
        Self { object: list(), data }
    }
}

/// vLLM's rows, or none: what others put there decides nothing.
fn permissions<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<ModelPermission>, D::Error> {
    Ok(de::lenient(d)?.unwrap_or_default())
}

fn list() -> String {
    "list".into()
}

fn model() -> String {
    "model".into()
}

/// One row. The fields up to `permission` are vLLM's, always written; the
/// others are read where a server has them and left out otherwise; one of
/// another type than expected counts as absent, so that a row is not lost over it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// Name to ask for; may contain slashes.
    pub id: String,
    /// `model`.
    #[serde(default = "model")]
    pub object: String,
    /// Unix seconds.
    #[serde(default, deserialize_with = "de::seconds")]
    pub created: u64,
    /// Who runs or made it: `vllm`, `llamacpp`, `library`, …
    #[serde(default, deserialize_with = "de::id")]
    pub owned_by: String,
    /// Path or repository of the weights. vLLM.
    #[serde(default, deserialize_with = "de::lenient")]
    pub root: Option<String>,
    /// Id of the base model of a LoRA row. vLLM.
    #[serde(default, deserialize_with = "de::lenient")]
    pub parent: Option<String>,
    /// Window in tokens, prompt and answer; `null` on LoRA rows. vLLM, SGLang.
    #[serde(default, deserialize_with = "de::lenient_int")]
    pub max_model_len: Option<u64>,
    /// OpenAI's permission rows, as vLLM writes them.
    #[serde(default, deserialize_with = "permissions")]
    pub permission: Vec<ModelPermission>,
    /// Facts about the file. llama.cpp.
    #[serde(default, deserialize_with = "de::lenient", skip_serializing_if = "Option::is_none")]
    pub meta: Option<ModelMeta>,
    /// Window in tokens. OpenRouter, Together, others.
    #[serde(default, deserialize_with = "de::lenient_int", skip_serializing_if = "Option::is_none")]
    pub context_length: Option<u64>,
    /// Window in tokens. Groq, others.
    #[serde(default, deserialize_with = "de::lenient_int", skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u64>,
    /// Window in tokens. Mistral; LM Studio's greatest.
    #[serde(
        default,
        alias = "max_context_window",
        deserialize_with = "de::lenient_int",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_context_length: Option<u64>,
    /// Window the model is loaded with. LM Studio's own API.
    #[serde(default, deserialize_with = "de::lenient_int", skip_serializing_if = "Option::is_none")]
    pub loaded_context_length: Option<u64>,
    /// Most prompt tokens. LiteLLM.
    #[serde(default, deserialize_with = "de::lenient_int", skip_serializing_if = "Option::is_none")]
    pub max_input_tokens: Option<u64>,
    /// Most answer tokens. LiteLLM, Groq.
    #[serde(
        default,
        alias = "max_completion_tokens",
        deserialize_with = "de::lenient_int",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_output_tokens: Option<u64>,
    /// `llm`, `vlm`, `embeddings`. LM Studio.
    #[serde(
        default,
        rename = "type",
        deserialize_with = "de::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub kind: Option<String>,
    /// `loaded`, `not-loaded`. LM Studio.
    #[serde(default, deserialize_with = "de::lenient", skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Architecture: `qwen3`, `llama`. LM Studio.
    #[serde(default, deserialize_with = "de::lenient", skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// `Q4_K_M`, `4bit`. LM Studio.
    #[serde(default, deserialize_with = "de::lenient", skip_serializing_if = "Option::is_none")]
    pub quantization: Option<String>,
    /// `tool_use` and others: a list (LM Studio, llama.cpp) or a map (Mistral).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Value>,
}

impl Default for ModelCard {
    fn default() -> Self {
        Self::new("")
    }
}

impl ModelCard {
    /// A row with this id and nothing else.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            object: model(),
            created: 0,
            owned_by: String::new(),
            root: None,
            parent: None,
            max_model_len: None,
            permission: Vec::new(),
            meta: None,
            context_length: None,
            context_window: None,
            max_context_length: None,
            loaded_context_length: None,
            max_input_tokens: None,
            max_output_tokens: None,
            kind: None,
            state: None,
            arch: None,
            quantization: None,
            capabilities: None,
        }
    }
}

/// llama.cpp's `meta`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelMeta {
    /// Window the model was trained with.
    #[serde(default, deserialize_with = "de::lenient_int", skip_serializing_if = "Option::is_none")]
    pub n_ctx_train: Option<u64>,
    /// Window of one slot.
    #[serde(default, deserialize_with = "de::lenient_int", skip_serializing_if = "Option::is_none")]
    pub n_ctx: Option<u64>,
    /// Parameters.
    #[serde(default, deserialize_with = "de::lenient_int", skip_serializing_if = "Option::is_none")]
    pub n_params: Option<u64>,
    /// Bytes.
    #[serde(default, deserialize_with = "de::lenient_int", skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The other facts.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// OpenAI's old permission row; vLLM still writes one per model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelPermission {
    /// `modelperm-…`.
    #[serde(default, deserialize_with = "de::id")]
    pub id: String,
    /// `model_permission`.
    #[serde(default)]
    pub object: String,
    /// Unix seconds.
    #[serde(default, deserialize_with = "de::seconds")]
    pub created: u64,
    /// Always false.
    #[serde(default)]
    pub allow_create_engine: bool,
    /// Always true.
    #[serde(default)]
    pub allow_sampling: bool,
    /// Always true.
    #[serde(default)]
    pub allow_logprobs: bool,
    /// Always false.
    #[serde(default)]
    pub allow_search_indices: bool,
    /// Always true.
    #[serde(default)]
    pub allow_view: bool,
    /// Always false.
    #[serde(default)]
    pub allow_fine_tuning: bool,
    /// `*`.
    #[serde(default)]
    pub organization: String,
    /// Always null.
    #[serde(default)]
    pub group: Option<String>,
    /// Always false.
    #[serde(default)]
    pub is_blocking: bool,
}

impl ModelPermission {
    /// The row that vLLM writes, with this id and time.
    pub fn new(id: impl Into<String>, created: u64) -> Self {
        Self {
            id: id.into(),
            object: "model_permission".into(),
            created,
            allow_create_engine: false,
            allow_sampling: true,
            allow_logprobs: true,
            allow_search_indices: false,
            allow_view: true,
            allow_fine_tuning: false,
            organization: "*".into(),
            group: None,
            is_blocking: false,
        }
    }
}
