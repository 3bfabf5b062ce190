//! `POST /v1/chat/completions`: what is asked.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::message::{Message, function};
use crate::de;

sampled_request! {
    /// The body of a chat completion request.
    ///
    /// `None` and empty are left out, so that a server sees standard fields
    /// only; what is not named here goes through in `extra`. Keys are written
    /// in the order of the fields.
    pub struct ChatRequest {
        /// Served model name; vLLM takes its default model where it is empty.
        #[serde(default, deserialize_with = "de::or_default", skip_serializing_if = "String::is_empty")]
        pub model: String,
        /// The conversation.
        pub messages: Vec<Message>,
        /// Functions that the model may call. `[]` is not absent: vLLM refuses it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub tools: Option<Vec<Tool>>,
        /// Whether and what to call.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub tool_choice: Option<ToolChoice>,
        /// False: at most one call.
        #[serde(default, deserialize_with = "de::opt_bool", skip_serializing_if = "Option::is_none")]
        pub parallel_tool_calls: Option<bool>,
        /// Most tokens to generate, reasoning included.
        #[serde(default, deserialize_with = "de::opt_int", skip_serializing_if = "Option::is_none")]
        pub max_completion_tokens: Option<i64>,
        /// Log-probabilities of the answer's tokens.
        #[serde(default, deserialize_with = "de::opt_bool", skip_serializing_if = "Option::is_none")]
        pub logprobs: Option<bool>,
        /// Alternatives per token, 0 to 20.
        #[serde(default, deserialize_with = "de::opt_int", skip_serializing_if = "Option::is_none")]
        pub top_logprobs: Option<i64>,
        /// `none`, `minimal`, `low`, `medium`, `high`, `xhigh`, `max`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub reasoning_effort: Option<String>,
        /// False: the reasoning is generated and dropped. vLLM.
        #[serde(default, deserialize_with = "de::opt_bool", skip_serializing_if = "Option::is_none")]
        pub include_reasoning: Option<bool>,
        /// Most reasoning tokens; -1 is no limit. vLLM.
        #[serde(default, deserialize_with = "de::opt_int", skip_serializing_if = "Option::is_none")]
        pub thinking_token_budget: Option<i64>,
        /// Variables for the chat template, such as `enable_thinking`. vLLM, SGLang, llama.cpp.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub chat_template_kwargs: Option<Map<String, Value>>,
        /// A template in place of the model's. vLLM.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub chat_template: Option<String>,
        /// End the prompt with the header of the assistant's turn. vLLM.
        #[serde(default, deserialize_with = "de::opt_bool", skip_serializing_if = "Option::is_none")]
        pub add_generation_prompt: Option<bool>,
        /// Leave the last message open and go on with it. vLLM.
        #[serde(default, deserialize_with = "de::opt_bool", skip_serializing_if = "Option::is_none")]
        pub continue_final_message: Option<bool>,
        /// Answer with the rendered prompt too. vLLM.
        #[serde(default, deserialize_with = "de::opt_bool", skip_serializing_if = "Option::is_none")]
        pub return_prompt_text: Option<bool>,
    }
}

/// A function that the model may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// `function`; servers have other kinds of their own.
    #[serde(default = "function", rename = "type")]
    pub kind: String,
    /// The function.
    pub function: FunctionDef,
}

impl From<FunctionDef> for Tool {
    fn from(function: FunctionDef) -> Self {
        Self { kind: self::function(), function }
    }
}

/// Name, purpose and parameters of a function.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FunctionDef {
    /// The name.
    pub name: String,
    /// What it does, for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema of the arguments; null where there are none.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub parameters: Value,
    /// Hold the model to the schema.
    #[serde(default, deserialize_with = "de::opt_bool", skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// Whether the model may, must or must not call, and what.
#[derive(Debug, Clone, PartialEq)]
pub enum ToolChoice {
    /// Text only.
    None,
    /// The model decides.
    Auto,
    /// At least one call.
    Required,
    /// This function.
    Function(String),
    /// Anything else as it stands, for a server to refuse.
    Other(Value),
}

impl Serialize for ToolChoice {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => s.serialize_str("none"),
            Self::Auto => s.serialize_str("auto"),
            Self::Required => s.serialize_str("required"),
            Self::Function(name) => json!({"type": "function", "function": {"name": name}}).serialize(s),
            Self::Other(value) => value.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for ToolChoice {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(d)?;
        let named = || value.get("function")?.get("name")?.as_str();
        Ok(match value.as_str() {
            Some("none") => Self::None,
            Some("auto") => Self::Auto,
            Some("required") => Self::Required,
            _ => match named() {
                Some(name) => Self::Function(name.to_owned()),
                None => Self::Other(value),
            },
        })
    }
}

/// What else a stream carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamOptions {
    /// A last chunk without choices tells the usage.
    #[serde(default, deserialize_with = "de::opt_bool", skip_serializing_if = "Option::is_none")]
    pub include_usage: Option<bool>,
    /// Every chunk tells the usage so far. vLLM.
    #[serde(default, deserialize_with = "de::opt_bool", skip_serializing_if = "Option::is_none")]
    pub continuous_usage_stats: Option<bool>,
}

/// Form that the answer is held to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ResponseFormat {
    /// `text`, `json_object`, `json_schema`, `structural_tag`.
    #[serde(rename = "type")]
    pub kind: String,
    /// With `json_schema`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_schema: Option<JsonSchema>,
    /// What other kinds carry.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A named schema.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JsonSchema {
    /// A name for the model.
    pub name: String,
    /// What it is, for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// Hold the model to the schema.
    #[serde(default, deserialize_with = "de::opt_bool", skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// vLLM's `structured_outputs`: exactly one of the kinds, and settings in `rest`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StructuredOutputs {
    /// JSON Schema, as an object or as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// Regular expression for the whole text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// One of these strings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<Vec<String>>,
    /// GBNF, EBNF or Lark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grammar: Option<String>,
    /// Any JSON object.
    #[serde(default, deserialize_with = "de::opt_bool", skip_serializing_if = "Option::is_none")]
    pub json_object: Option<bool>,
    /// xgrammar's structural tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structural_tag: Option<Value>,
    /// No whitespace between JSON tokens.
    #[serde(default, deserialize_with = "de::opt_bool", skip_serializing_if = "Option::is_none")]
    pub disable_any_whitespace: Option<bool>,
    /// Further settings.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}
