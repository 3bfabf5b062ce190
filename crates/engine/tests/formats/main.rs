//! Model files: what the reference packages wrote is read, and nothing else is believed.

#![allow(clippy::unwrap_used)]

mod dequantize;
mod folder;
mod gguf;
mod hostile;
mod safetensors;

use std::path::PathBuf;

/// A file of tests/fixtures.
fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The tiny model of the recordings: Qwen3, saved by transformers 5.19.0.
fn tiny_model() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/vllm-0.32/tiny-model")
}
