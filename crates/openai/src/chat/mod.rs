//! Chat completions: request, answer, stream chunk, and the fold of a stream.

mod fold;
mod message;
mod request;
mod response;

pub use fold::Fold;
pub use message::{Content, ContentPart, FunctionCall, ImageUrl, Message, ToolCall};
pub use request::{
    ChatRequest, FunctionDef, JsonSchema, ResponseFormat, StreamOptions, StructuredOutputs, Tool, ToolChoice,
};
pub use response::{
    AssistantMessage, ChatChunk, ChatCompletion, Choice, ChunkChoice, Delta, FinishReason, FunctionDelta,
    Logprobs, PromptLogprobs, StopReason, StreamEvent, TokenLogprob, ToolCallDelta, TopLogprob,
};
