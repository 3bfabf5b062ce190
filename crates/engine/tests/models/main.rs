//! Tiny models of each family against what `transformers` computed; see `make_model_fixtures.py`.

#![allow(clippy::unwrap_used)]

mod fixture;
mod interpreter;
