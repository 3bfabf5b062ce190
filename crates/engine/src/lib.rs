//! The inference engine: formats, tokenizers, scheduler and model runner.
