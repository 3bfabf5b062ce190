//! vLLM's `/tokenize` and `/detokenize`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::chat::{Message, Tool};
use crate::de;

/// `POST /tokenize`: either `prompt` or `messages`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenizeRequest {
    /// Served model name; the default model where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Text to tokenize as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Conversation to render by the chat template, then tokenize.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<Vec<Message>>,
    /// Tools for the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Tool>>,
    /// End with the header of the assistant's turn (default true).
    #[serde(default, deserialize_with = "de::opt_bool", skip_serializing_if = "Option::is_none")]
    pub add_generation_prompt: Option<bool>,
    /// Leave the last message open.
    #[serde(default, deserialize_with = "de::opt_bool", skip_serializing_if = "Option::is_none")]
    pub continue_final_message: Option<bool>,
    /// Add the tokenizer's own beginning and end tokens.
    #[serde(default, deserialize_with = "de::opt_bool", skip_serializing_if = "Option::is_none")]
    pub add_special_tokens: Option<bool>,
    /// Answer with the vocabulary's strings too.
    #[serde(default, deserialize_with = "de::opt_bool", skip_serializing_if = "Option::is_none")]
    pub return_token_strs: Option<bool>,
    /// Variables for the chat template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template_kwargs: Option<Map<String, Value>>,
}

/// Answer of `/tokenize`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenizeResponse {
    /// Number of tokens.
    #[serde(default, deserialize_with = "de::int")]
    pub count: u64,
    /// The model's window.
    #[serde(default, deserialize_with = "de::opt_int")]
    pub max_model_len: Option<u64>,
    /// Token ids.
    #[serde(default, deserialize_with = "de::or_default")]
    pub tokens: Vec<u32>,
    /// The vocabulary's strings, if asked for.
    #[serde(default)]
    pub token_strs: Option<Vec<String>>,
}

/// `POST /detokenize`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DetokenizeRequest {
    /// Served model name; the default model where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Token ids.
    pub tokens: Vec<i64>,
}

/// Answer of `/detokenize`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DetokenizeResponse {
    /// The text; an id outside the vocabulary gives nothing.
    pub prompt: String,
}
