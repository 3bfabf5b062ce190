//! Model files: GGUF, safetensors and the Hugging Face folder, behind one view.
//!
//! [`Source::open`] takes the path of a model and gives what a runner needs: its hyperparameters
//! ([`Config`]), its [`Tensor`]s by name, its tokenizer, chat templates and generation defaults.
//! The formats themselves are in [`gguf`], [`safetensors`] and [`hf`]; [`dequant`] turns stored
//! elements into numbers.
//!
//! Everything here reads a memory map and treats it as hostile: arithmetic is checked, a
//! length is believed only when the bytes that it promises are there, and whatever does not
//! hold becomes a [`FormatError`] that names the field, its offset, what was expected and
//! what was found.

pub mod dequant;
mod dtype;
mod error;
pub mod gguf;
pub mod hf;
pub mod mmap;
pub mod safetensors;
mod source;
mod tensor;
mod value;

pub use dtype::DType;
pub use error::FormatError;
pub use mmap::Mmap;
pub use source::{ChatTemplate, Format, GenerationDefaults, Source, SpecialTokens};
pub use tensor::{Tensor, TensorInfo};
pub use value::{Config, List, Value};
