//! The OpenAI-compatible wire types of both directions, and the SSE codec.
//!
//! [`chat::ChatRequest`] goes to a server; what comes back is a
//! [`chat::ChatCompletion`], or a stream of [`chat::ChatChunk`]s that
//! [`sse::Decoder`] cuts out of the bytes, [`chat::StreamEvent`] tells apart
//! (chunk, error, end) and [`chat::Fold`] adds up to the same
//! [`chat::ChatCompletion`]. The server half writes with the same types.
//!
//! Reading is tolerant: unknown fields are ignored, `null` stands for an
//! absent optional, numbers may come as strings, tool arguments as an object.
//! Writing is exact: a response serialises in the key order and with the
//! nulls of vLLM 0.32, a request leaves out what is not set.
//!
//! There is no I/O in this crate.

mod de;
#[macro_use]
mod sampled;

pub mod chat;
pub mod completions;
pub mod error;
pub mod models;
pub mod sse;
pub mod tokenize;
pub mod usage;

pub use de::Nullable;
