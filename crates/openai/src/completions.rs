//! Plain completions, `POST /v1/completions`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::chat::{FinishReason, PromptLogprobs, StopReason};
use crate::de;
use crate::usage::{RequestMetrics, Timings, Usage};

sampled_request! {
    /// The body of a completion request; see [`crate::chat::ChatRequest`] for how it is written.
    pub struct CompletionRequest {
        /// Served model name; vLLM takes its default model where it is empty.
        #[serde(default, deserialize_with = "de::or_default", skip_serializing_if = "String::is_empty")]
        pub model: String,
        /// What to go on with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub prompt: Option<Prompt>,
        /// Text after the answer, for fill-in-the-middle models.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub suffix: Option<String>,
        /// Alternatives per token; 0 is the token alone.
        #[serde(default, deserialize_with = "de::opt_int", skip_serializing_if = "Option::is_none")]
        pub logprobs: Option<i64>,
    }
}

/// One prompt or several, as text or as token ids.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Prompt {
    /// One text.
    Text(String),
    /// Several texts (`[]` included).
    Texts(Vec<String>),
    /// One list of token ids.
    Tokens(Vec<i64>),
    /// Several lists of token ids.
    TokenLists(Vec<Vec<i64>>),
}

/// A whole answer, not streamed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// `cmpl-…`.
    #[serde(default, deserialize_with = "de::id")]
    pub id: String,
    /// `text_completion`.
    #[serde(default, deserialize_with = "de::or_default")]
    pub object: String,
    /// Unix seconds.
    #[serde(default, deserialize_with = "de::seconds")]
    pub created: u64,
    /// Served model name.
    #[serde(default, deserialize_with = "de::or_default")]
    pub model: String,
    /// The answers: `n` per prompt, index = prompt · n + k.
    pub choices: Vec<CompletionChoice>,
    /// Always null in vLLM.
    #[serde(default)]
    pub service_tier: Option<String>,
    /// Names the server's build.
    #[serde(default)]
    pub system_fingerprint: Option<String>,
    /// Token counts, summed over the prompts.
    #[serde(default)]
    pub usage: Option<Usage>,
    /// For disaggregated prefill. vLLM.
    #[serde(default)]
    pub kv_transfer_params: Option<Value>,
    /// For disaggregated encoders. vLLM.
    #[serde(default)]
    pub ec_transfer_params: Option<Value>,
    /// With `--enable-per-request-metrics`. vLLM.
    #[serde(default, deserialize_with = "de::lenient")]
    pub metrics: Option<RequestMetrics>,
    /// llama.cpp's timings.
    #[serde(default, deserialize_with = "de::lenient", skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
}

/// One answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CompletionChoice {
    /// Place among the choices.
    #[serde(default, deserialize_with = "de::int")]
    pub index: u32,
    /// The text.
    #[serde(default, deserialize_with = "de::or_default")]
    pub text: String,
    /// Log-probabilities of its tokens.
    #[serde(default)]
    pub logprobs: Option<CompletionLogprobs>,
    /// Why it ended.
    #[serde(default, deserialize_with = "FinishReason::opt")]
    pub finish_reason: Option<FinishReason>,
    /// The stop string or token id that ended it. vLLM.
    #[serde(default)]
    pub stop_reason: Option<StopReason>,
    /// With `return_token_ids`. vLLM.
    #[serde(default)]
    pub token_ids: Option<Vec<u32>>,
    /// Log-probabilities of the prompt's tokens. vLLM.
    #[serde(default)]
    pub prompt_logprobs: Option<PromptLogprobs>,
    /// With `return_token_ids`. vLLM.
    #[serde(default)]
    pub prompt_token_ids: Option<Vec<u32>>,
    /// Expert ids of a mixture-of-experts model. vLLM.
    #[serde(default)]
    pub routed_experts: Option<Value>,
}

/// Log-probabilities in OpenAI's first form: parallel lists, one entry per token.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CompletionLogprobs {
    /// Character at which the token begins, from the start of the choice's text.
    #[serde(default, deserialize_with = "de::or_default")]
    pub text_offset: Vec<u64>,
    /// Natural logarithms; null for a prompt's first token.
    #[serde(default, deserialize_with = "de::or_default")]
    pub token_logprobs: Vec<Option<f64>>,
    /// Texts.
    #[serde(default, deserialize_with = "de::or_default")]
    pub tokens: Vec<String>,
    /// Rivals: text to log-probability, in the server's order.
    #[serde(default, deserialize_with = "de::or_default")]
    pub top_logprobs: Vec<Option<Map<String, Value>>>,
}

/// One event of a streamed answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CompletionChunk {
    /// The same in every chunk of an answer.
    #[serde(default, deserialize_with = "de::id")]
    pub id: String,
    /// `text_completion`.
    #[serde(default, deserialize_with = "de::or_default")]
    pub object: String,
    /// Unix seconds.
    #[serde(default, deserialize_with = "de::seconds")]
    pub created: u64,
    /// Served model name.
    #[serde(default, deserialize_with = "de::or_default")]
    pub model: String,
    /// What was added, per choice; empty in a usage chunk.
    #[serde(default, deserialize_with = "de::or_default")]
    pub choices: Vec<CompletionChunkChoice>,
    /// In the last chunk, or in each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// In the last chunk of vLLM's streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_fingerprint: Option<String>,
    /// In the usage chunk. vLLM.
    #[serde(default, deserialize_with = "de::lenient", skip_serializing_if = "Option::is_none")]
    pub metrics: Option<RequestMetrics>,
}

/// What one chunk adds to one choice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CompletionChunkChoice {
    /// Place among the choices.
    #[serde(default, deserialize_with = "de::int")]
    pub index: u32,
    /// More text.
    #[serde(default, deserialize_with = "de::or_default")]
    pub text: String,
    /// Log-probabilities of the tokens added.
    #[serde(default)]
    pub logprobs: Option<CompletionLogprobs>,
    /// In the choice's last chunk.
    #[serde(default, deserialize_with = "FinishReason::opt")]
    pub finish_reason: Option<FinishReason>,
    /// The stop string or token id that ended it. vLLM.
    #[serde(default)]
    pub stop_reason: Option<StopReason>,
    /// In the choice's first chunk, with `return_token_ids`. vLLM.
    #[serde(default)]
    pub prompt_token_ids: Option<Vec<u32>>,
    /// The tokens added. vLLM.
    #[serde(default)]
    pub token_ids: Option<Vec<u32>>,
}
