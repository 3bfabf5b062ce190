//! The OpenAI-compatible server: router, request validation and the backend seam.
//!
//! [`router`] turns a [`Backend`] into a plain tower service: it reads a
//! request into a [`Validated`], hands that to [`Backend::submit`], and writes
//! the [`Piece`]s that come back as one JSON answer or as server-sent events.
//! It needs no port: `cli` serves it on a socket, or calls it in process.
//!
//! [`Scripted`] is the backend that tests use: its answers are data, its
//! server speaks real HTTP on a real socket, and it records what it was asked.
//! [`misbehave`] plays bytes that no router would send.
//!
//! # Tests with [`Scripted`]
//!
//! ```
//! use chela_server::{Scripted, Turn};
//!
//! let server = Scripted::new()
//!     .turn(Turn::new().reasoning("Where?").call("ls", serde_json::json!({"path": "."})))
//!     .turn(Turn::text("Two files."))
//!     .serve();
//! let base_url = server.base_url(); // http://127.0.0.1:PORT/v1, for the client under test
//! // … run the client …
//! for request in server.requests() {
//!     println!("{} {} {}", request.method, request.path, request.closed_early());
//! }
//! # assert!(base_url.ends_with("/v1"));
//! ```
//!
//! A server that differs from the default is built up:
//! `Scripted::new().model("qwen3").max_model_len(4096)`, `.no_parser()` (a
//! vLLM started without flags: 400 for tools), `.api_key("k")`,
//! `.without_health()`, `.route("GET", "/props", Canned::json(…))` (llama.cpp,
//! Ollama and others). A turn may wait, fail (`Turn::error(429, …)
//! .header("retry-after", "2")`), fail half way (`.error_event(…)`), break off
//! (`.disconnect()`), or end without a word (`.truncate()`). A [`Gate`] holds
//! it (`.hold(&gate)`) until the test has seen what it waits for.

mod backend;
mod chat;
mod completions;
mod engine;
mod error;
mod events;
mod host;
mod metrics;
pub mod misbehave;
mod router;
mod scripted;
mod validate;

pub use backend::{Backend, Counts, Health, Part, Piece, Pieces, PromptEcho, Times, Tokens};
pub use engine::{
    EngineBackend, REASONING_PARSERS, ReasoningRule, ServeError, ServeSettings, Served as ServedModel,
};
pub use error::ApiError;
pub use router::{Options, ROUTES, ReasoningField, router};
pub use scripted::{Canned, Gate, Recorded, Scripted, Served, Turn};
pub use validate::sampled::Sampled;
pub use validate::{Validated, context_overflow};
