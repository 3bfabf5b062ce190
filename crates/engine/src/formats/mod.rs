//! Model files: GGUF, safetensors and the Hugging Face folder, behind one view.
//!
//! Everything here reads a memory map and treats it as hostile: arithmetic is checked, a
//! length is believed only when the bytes that it promises are there, and whatever does not
//! hold becomes a [`FormatError`] that names the field, its offset, what was expected and
//! what was found.

mod error;
pub mod mmap;

pub use error::FormatError;
pub use mmap::Mmap;
