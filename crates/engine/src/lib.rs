//! The inference engine: formats, tokenizers, scheduler and model runner.

pub mod block;
pub mod formats;
pub mod sampler;
pub mod scheduler;
pub mod tokenizer;
