//! The inference engine: open models on the CPU.
//!
//! An [`Engine`](engine::Engine) opens a model's files (a [`Source`](formats::Source)), reads what they
//! compute as a [`ModelSpec`](spec::ModelSpec), compiles it to a [`Plan`](model::Plan) of kernels and
//! answers [`Request`](engine::Request)s from a thread of its own. In each step the
//! [`Scheduler`](scheduler::Scheduler) chooses the tokens, the [`Model`](model::Model) computes them and
//! a [`Sampler`](sampler::Sampler) per sequence takes the next ones. The
//! [`Interpreter`](interpreter::Interpreter) computes the same spec in the plainest way, as the oracle.

pub mod bench;
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
