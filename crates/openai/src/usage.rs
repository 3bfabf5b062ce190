//! Token counts and timings.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::de::{self, Nullable};

/// Tokens of one request, prompt and answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt, those from the cache included.
    #[serde(default, deserialize_with = "de::int")]
    pub prompt_tokens: u64,
    /// Sum of prompt and completion.
    #[serde(default, deserialize_with = "de::int")]
    pub total_tokens: u64,
    /// Tokens generated, reasoning and the end-of-sequence token included.
    #[serde(default, deserialize_with = "de::int")]
    pub completion_tokens: u64,
    /// Where the prompt's tokens came from.
    #[serde(default, deserialize_with = "de::nullable", skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_details: Nullable<PromptTokensDetails>,
    /// What the generated tokens were.
    #[serde(default, deserialize_with = "de::nullable", skip_serializing_if = "Option::is_none")]
    pub completion_tokens_details: Nullable<CompletionTokensDetails>,
}

impl Usage {
    /// Counts without details, as a stream's usage chunk has them.
    pub fn new(prompt_tokens: u64, completion_tokens: u64) -> Self {
        Self {
            prompt_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            completion_tokens,
            ..Self::default()
        }
    }

    /// Prompt tokens that came from the prefix cache, where the server says so.
    pub fn cached_tokens(&self) -> Option<u64> {
        self.prompt_tokens_details.as_ref()?.as_ref()?.cached_tokens
    }

    /// Generated tokens that were reasoning, where the server says so.
    pub fn reasoning_tokens(&self) -> Option<u64> {
        self.completion_tokens_details.as_ref()?.as_ref()?.reasoning_tokens
    }
}

/// Parts of `prompt_tokens`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PromptTokensDetails {
    /// Taken from the prefix cache.
    #[serde(default, deserialize_with = "de::opt_int")]
    pub cached_tokens: Option<u64>,
    /// Written to the prefix cache. vLLM.
    #[serde(default, deserialize_with = "de::opt_int", skip_serializing_if = "Option::is_none")]
    pub created_cache_tokens: Option<u64>,
    /// Of images, audio and video. vLLM.
    #[serde(default, deserialize_with = "de::nullable", skip_serializing_if = "Option::is_none")]
    pub multimodal_tokens: Nullable<Value>,
}

/// Parts of `completion_tokens`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CompletionTokensDetails {
    /// Inside the reasoning block.
    #[serde(default, deserialize_with = "de::opt_int")]
    pub reasoning_tokens: Option<u64>,
}

/// vLLM's `metrics` of one request (`--enable-per-request-metrics`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RequestMetrics {
    /// Milliseconds from arrival to the first token.
    #[serde(default)]
    pub time_to_first_token_ms: Option<f64>,
    /// Milliseconds from the first token to the last.
    #[serde(default)]
    pub generation_time_ms: Option<f64>,
    /// Milliseconds in the queue.
    #[serde(default)]
    pub queue_time_ms: Option<f64>,
    /// Mean milliseconds between tokens.
    #[serde(default)]
    pub mean_itl_ms: Option<f64>,
    /// Generated tokens per second.
    #[serde(default)]
    pub tokens_per_second: Option<f64>,
    /// Counts of the speculative decoder.
    #[serde(default, deserialize_with = "de::nullable", skip_serializing_if = "Option::is_none")]
    pub speculative_decoding: Nullable<Value>,
}

/// llama.cpp's `timings` of one request, on the answer or a chunk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// Prompt tokens taken from the cache.
    #[serde(default, deserialize_with = "de::opt_int", skip_serializing_if = "Option::is_none")]
    pub cache_n: Option<u64>,
    /// Prompt tokens computed.
    #[serde(default, deserialize_with = "de::int")]
    pub prompt_n: u64,
    /// Milliseconds for them.
    #[serde(default)]
    pub prompt_ms: f64,
    /// Prompt tokens per second.
    #[serde(default)]
    pub prompt_per_second: Option<f64>,
    /// Tokens generated.
    #[serde(default, deserialize_with = "de::int")]
    pub predicted_n: u64,
    /// Milliseconds for them.
    #[serde(default)]
    pub predicted_ms: f64,
    /// Generated tokens per second.
    #[serde(default)]
    pub predicted_per_second: Option<f64>,
}

/// llama.cpp's `prompt_progress` on a chunk (`return_progress`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PromptProgress {
    /// Tokens of the prompt.
    #[serde(default, deserialize_with = "de::int")]
    pub total: u64,
    /// Of these from the cache.
    #[serde(default, deserialize_with = "de::int")]
    pub cache: u64,
    /// Computed so far, the cached ones included.
    #[serde(default, deserialize_with = "de::int")]
    pub processed: u64,
    /// Milliseconds since the prefill began.
    #[serde(default)]
    pub time_ms: f64,
}
