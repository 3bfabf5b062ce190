//! The inference engine: formats, tokenizers, scheduler and model runner.

pub mod block;
pub mod engine;
pub mod formats;
pub mod grammar;
pub mod interpreter;
pub mod memory;
pub mod model;
pub mod sampler;
pub mod scheduler;
pub mod spec;
pub mod tokenizer;
