//! Tiny models of each family against what `transformers` computed; see `make_model_fixtures.py`.

#![allow(clippy::unwrap_used)]

mod fast;
mod fixture;
mod gguf;
mod interpreter;
mod places;
