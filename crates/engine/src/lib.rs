//! The inference engine: formats, tokenizers, scheduler and model runner.

pub mod formats;
pub mod tokenizer;
