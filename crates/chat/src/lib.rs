//! How a model family talks: templates, tool-call dialects and reasoning.
//!
//! Going out, a [`ChatTemplate`](template::ChatTemplate) renders messages and tools to the text
//! that a model reads. Coming back, an [`OutputParser`] turns the model's text, arriving in pieces
//! of any size, into [`Piece`]s: visible text, reasoning, tool calls. Which [`Dialect`] and which
//! [`ReasoningStyle`] a model speaks is data: a row of the [`family`] table, or what
//! [`TemplateFacts`](template::TemplateFacts) learns from its chat template. What a model put into
//! a call goes through [`arguments::repair`] before a tool sees it.
//!
//! Nothing here does I/O. The server uses the crate to split what its engine generates; the client
//! uses it for servers that were started without a parser.

pub mod arguments;
pub mod dialect;
pub mod family;
pub mod grammar;
mod json;
mod parse;
mod reasoning;
pub mod render;
mod schema;
pub mod template;
mod tools;
mod utf8;

pub use dialect::Dialect;
pub use json::dumps;
pub use parse::{Answer, CallText, Detect, Malformed, OutputParser, ParserOptions, Piece};
pub use reasoning::{ReasoningMarkers, ReasoningMode, ReasoningStyle};
pub use tools::{ToolSet, ToolSpec};
pub use utf8::Utf8Chunks;
