//! What is answered: whole, or chunk by chunk.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::message::ToolCall;
use crate::de::{self, Nullable};
use crate::error::ErrorBody;
use crate::sse;
use crate::usage::{PromptProgress, RequestMetrics, Timings, Usage};

/// A whole answer, not streamed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatCompletion {
    /// `chatcmpl-…`.
    #[serde(default, deserialize_with = "de::id")]
    pub id: String,
    /// `chat.completion`.
    #[serde(default, deserialize_with = "de::or_default")]
    pub object: String,
    /// Unix seconds.
    #[serde(default, deserialize_with = "de::seconds")]
    pub created: u64,
    /// Served model name.
    #[serde(default, deserialize_with = "de::or_default")]
    pub model: String,
    /// The answers.
    pub choices: Vec<Choice>,
    /// Always null in vLLM.
    #[serde(default)]
    pub service_tier: Option<String>,
    /// Names the server's build.
    #[serde(default)]
    pub system_fingerprint: Option<String>,
    /// Token counts.
    #[serde(default)]
    pub usage: Option<Usage>,
    /// Log-probabilities of the prompt's tokens. vLLM.
    #[serde(default)]
    pub prompt_logprobs: Option<PromptLogprobs>,
    /// With `return_token_ids`. vLLM.
    #[serde(default)]
    pub prompt_token_ids: Option<Vec<u32>>,
    /// With `return_prompt_text`. vLLM.
    #[serde(default)]
    pub prompt_text: Option<String>,
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

/// Per prompt token: none for the first, else token id to
/// `{logprob, rank, decoded_token}`, in the server's order.
pub type PromptLogprobs = Vec<Option<Map<String, Value>>>;

/// One answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Place among the choices.
    #[serde(default, deserialize_with = "de::int")]
    pub index: u32,
    /// What the model said.
    pub message: AssistantMessage,
    /// Log-probabilities of its tokens.
    #[serde(default, deserialize_with = "de::lenient")]
    pub logprobs: Option<Logprobs>,
    /// Why it ended.
    #[serde(default, deserialize_with = "FinishReason::opt")]
    pub finish_reason: Option<FinishReason>,
    /// The stop string or token id that ended it. vLLM.
    #[serde(default)]
    pub stop_reason: Option<StopReason>,
    /// With `return_token_ids`. vLLM.
    #[serde(default)]
    pub token_ids: Option<Vec<u32>>,
    /// Expert ids of a mixture-of-experts model. vLLM.
    #[serde(default)]
    pub routed_experts: Option<Value>,
}

/// The model's message in a whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AssistantMessage {
    /// `assistant`.
    #[serde(default = "assistant", deserialize_with = "de::or_default")]
    pub role: String,
    /// The text; null beside tool calls or reasoning alone.
    #[serde(default, deserialize_with = "de::opt_text")]
    pub content: Option<String>,
    /// OpenAI's refusal.
    #[serde(default)]
    pub refusal: Option<String>,
    /// Always null in vLLM.
    #[serde(default)]
    pub annotations: Option<Value>,
    /// Always null in vLLM.
    #[serde(default)]
    pub audio: Option<Value>,
    /// OpenAI's first form of tool calls.
    #[serde(default)]
    pub function_call: Option<Value>,
    /// The calls; absent from the wire when there are none.
    #[serde(default, deserialize_with = "de::or_default", skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The reasoning, as vLLM names it.
    #[serde(default)]
    pub reasoning: Option<String>,
    /// The reasoning, as llama.cpp, SGLang, DeepSeek and vLLM before 0.16 name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
}

fn assistant() -> String {
    "assistant".into()
}

impl Default for AssistantMessage {
    fn default() -> Self {
        Self {
            role: assistant(),
            content: None,
            refusal: None,
            annotations: None,
            audio: None,
            function_call: None,
            tool_calls: Vec::new(),
            reasoning: None,
            reasoning_content: None,
        }
    }
}

impl AssistantMessage {
    /// The reasoning under either name (servers that send both send the same).
    pub fn reasoning_text(&self) -> Option<&str> {
        self.reasoning.as_deref().filter(|text| !text.is_empty()).or(self.reasoning_content.as_deref())
    }
}

/// One event of a streamed answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatChunk {
    /// The same in every chunk of an answer.
    #[serde(default, deserialize_with = "de::id")]
    pub id: String,
    /// `chat.completion.chunk`.
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
    pub choices: Vec<ChunkChoice>,
    /// In the last chunk, or in each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// In the last chunk of vLLM's streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_fingerprint: Option<String>,
    /// In the usage chunk. vLLM.
    #[serde(default, deserialize_with = "de::lenient", skip_serializing_if = "Option::is_none")]
    pub metrics: Option<RequestMetrics>,
    /// In the first chunk. vLLM.
    #[serde(default, deserialize_with = "de::nullable", skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Nullable<Vec<u32>>,
    /// In the first chunk. vLLM.
    #[serde(default, deserialize_with = "de::nullable", skip_serializing_if = "Option::is_none")]
    pub prompt_text: Nullable<String>,
    /// llama.cpp's timings, in the last chunk or in each.
    #[serde(default, deserialize_with = "de::lenient", skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
    /// llama.cpp's progress of the prefill.
    #[serde(default, deserialize_with = "de::lenient", skip_serializing_if = "Option::is_none")]
    pub prompt_progress: Option<PromptProgress>,
}

/// What one chunk adds to one choice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChunkChoice {
    /// Place among the choices.
    #[serde(default, deserialize_with = "de::int")]
    pub index: u32,
    /// What is added.
    #[serde(default, deserialize_with = "de::or_default")]
    pub delta: Delta,
    /// Log-probabilities of the tokens added.
    #[serde(default, deserialize_with = "de::lenient")]
    pub logprobs: Option<Logprobs>,
    /// In the choice's last chunk.
    #[serde(default, deserialize_with = "FinishReason::opt")]
    pub finish_reason: Option<FinishReason>,
    /// In the choice's last chunk. vLLM.
    #[serde(default, deserialize_with = "de::nullable", skip_serializing_if = "Option::is_none")]
    pub stop_reason: Nullable<StopReason>,
    /// The tokens added. vLLM.
    #[serde(default, deserialize_with = "de::nullable", skip_serializing_if = "Option::is_none")]
    pub token_ids: Nullable<Vec<u32>>,
}

/// The part of a message that a chunk adds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// `assistant`, in a choice's first chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// More text; vLLM writes null beside tool calls.
    #[serde(default, deserialize_with = "de::nullable_text", skip_serializing_if = "Option::is_none")]
    pub content: Nullable<String>,
    /// More reasoning, as vLLM names it.
    #[serde(default, deserialize_with = "de::nullable", skip_serializing_if = "Option::is_none")]
    pub reasoning: Nullable<String>,
    /// More reasoning, as llama.cpp, SGLang, DeepSeek and vLLM before 0.16 name it.
    #[serde(default, deserialize_with = "de::nullable", skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Nullable<String>,
    /// OpenAI's refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// Calls begun or gone on with.
    #[serde(default, deserialize_with = "de::or_default", skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCallDelta>,
}

impl Delta {
    /// The text added, empty without any.
    pub fn text(&self) -> &str {
        present(&self.content).unwrap_or("")
    }

    /// The reasoning added, under either name, empty without any.
    pub fn reasoning_text(&self) -> &str {
        // servers that send both names send the same text twice
        present(&self.reasoning)
            .filter(|text| !text.is_empty())
            .or(present(&self.reasoning_content))
            .unwrap_or("")
    }
}

fn present(field: &Nullable<String>) -> Option<&str> {
    field.as_ref()?.as_deref()
}

/// The part of a call that a chunk adds: id, kind and name come once, then
/// pieces of the arguments; some servers send all at once.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolCallDelta {
    /// In the call's first piece.
    #[serde(default, deserialize_with = "de::opt_id", skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `function`, in the call's first piece.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Place among the calls; some servers leave it out.
    #[serde(default, deserialize_with = "de::opt_int", skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// Name or arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<FunctionDelta>,
}

/// Name, or a piece of the arguments.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FunctionDelta {
    /// In the call's first piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// More of the arguments' JSON text.
    #[serde(default, deserialize_with = "de::opt_arguments", skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended, or a stop string or token came.
    Stop,
    /// The token limit or the window was reached.
    Length,
    /// The model called tools.
    ToolCalls,
    /// A filter cut it.
    ContentFilter,
    /// OpenAI's first form of tool calls.
    FunctionCall,
    /// Any other word: vLLM's `abort` and `repetition`, `error`, …
    Other(String),
}

impl FinishReason {
    /// Reads the field; servers that mean none also write `""`.
    pub(crate) fn opt<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Self>, D::Error> {
        let word = Option::<String>::deserialize(d)?;
        Ok(word.filter(|w| !w.is_empty()).map(|w| w.as_str().into()))
    }

    /// The word on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::FunctionCall => "function_call",
            Self::Other(word) => word,
        }
    }
}

impl From<&str> for FinishReason {
    fn from(word: &str) -> Self {
        match word {
            "stop" => Self::Stop,
            "length" => Self::Length,
            "tool_calls" => Self::ToolCalls,
            "content_filter" => Self::ContentFilter,
            "function_call" => Self::FunctionCall,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl Serialize for FinishReason {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for FinishReason {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(String::deserialize(d)?.as_str().into())
    }
}

/// The stop string or token id that ended an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StopReason {
    /// A token id, of `stop_token_ids` or a second end-of-sequence token.
    Token(i64),
    /// One of `stop`.
    Text(String),
}

/// Log-probabilities of an answer's tokens.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Logprobs {
    /// One entry per token.
    #[serde(default)]
    pub content: Option<Vec<TokenLogprob>>,
}

/// One token, its log-probability and its rivals.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token's text.
    pub token: String,
    /// Natural logarithm; -9999 stands for minus infinity.
    pub logprob: f64,
    /// The text's bytes.
    #[serde(default)]
    pub bytes: Option<Vec<u8>>,
    /// The most probable tokens.
    #[serde(default, deserialize_with = "de::or_default")]
    pub top_logprobs: Vec<TopLogprob>,
}

/// A rival of a token.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TopLogprob {
    /// The token's text.
    pub token: String,
    /// Natural logarithm.
    pub logprob: f64,
    /// The text's bytes.
    #[serde(default)]
    pub bytes: Option<Vec<u8>>,
}

/// The data of one event of a chat stream, told apart.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamEvent {
    /// More of the answer.
    Chunk(Box<ChatChunk>),
    /// The server failed after the stream had begun.
    Error(ErrorBody),
    /// `[DONE]`.
    Done,
}

impl StreamEvent {
    /// Reads the data of one event. A whole [`ChatCompletion`] (from a server
    /// that ignores `stream`) reads as one chunk.
    ///
    /// # Errors
    /// The data is neither `[DONE]`, an error body, nor a chunk.
    pub fn parse(data: &str) -> Result<Self, serde_json::Error> {
        let data = data.trim();
        if data == sse::DONE {
            return Ok(Self::Done);
        }
        // only a body with one of these words can be an error or a whole
        // answer; the common chunk is parsed once
        if ["\"error\"", "\"detail\"", "\"message\""].iter().any(|word| data.contains(word)) {
            let body: Value = serde_json::from_str(data)?;
            if let Some(error) = ErrorBody::from_value(&body) {
                return Ok(Self::Error(error));
            }
            let whole = body
                .pointer("/choices/0")
                .is_some_and(|c| c.get("delta").is_none() && c.get("message").is_some());
            if whole {
                let whole: ChatCompletion = serde_json::from_value(body)?;
                return Ok(Self::Chunk(Box::new(whole.into())));
            }
        }
        let chunk: ChatChunk = serde_json::from_str(data)?;
        Ok(Self::Chunk(Box::new(chunk)))
    }
}

impl From<ChatCompletion> for ChatChunk {
    /// The whole answer as one chunk, so that there is one way to read both.
    fn from(whole: ChatCompletion) -> Self {
        Self {
            id: whole.id,
            object: "chat.completion.chunk".into(),
            created: whole.created,
            model: whole.model,
            choices: whole.choices.into_iter().map(ChunkChoice::from).collect(),
            usage: whole.usage,
            system_fingerprint: whole.system_fingerprint,
            metrics: whole.metrics,
            prompt_token_ids: Some(whole.prompt_token_ids),
            prompt_text: Some(whole.prompt_text),
            timings: whole.timings,
            prompt_progress: None,
        }
    }
}

impl From<Choice> for ChunkChoice {
    fn from(choice: Choice) -> Self {
        let message = choice.message;
        let tool_calls = message
            .tool_calls
            .into_iter()
            .zip(0..)
            .map(|(call, index)| ToolCallDelta {
                id: Some(call.id).filter(|id| !id.is_empty()),
                kind: Some(call.kind),
                index: Some(index),
                function: Some(FunctionDelta {
                    name: Some(call.function.name),
                    arguments: Some(call.function.arguments),
                }),
            })
            .collect();
        Self {
            index: choice.index,
            delta: Delta {
                role: Some(message.role),
                content: Some(message.content),
                reasoning: Some(message.reasoning),
                reasoning_content: message.reasoning_content.map(Some),
                refusal: message.refusal,
                tool_calls,
            },
            logprobs: choice.logprobs,
            finish_reason: choice.finish_reason,
            stop_reason: Some(choice.stop_reason),
            token_ids: Some(choice.token_ids),
        }
    }
}
