//! Text to token ids and back: byte-level BPE and SentencePiece-BPE over compact tables.

mod error;

pub use error::TokenizerError;
